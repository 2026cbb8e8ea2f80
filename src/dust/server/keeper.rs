//! Keeps a store joined: makes another channel when one is over.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use super::super::{Error, Result};
use super::channel::Channel;
use super::raise;
use super::recent::Recent;
use super::socket;
use super::state::{Line, Shared, lock};

/// The first pause between two attempts to connect.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The longest.
const MAX_PAUSE: Duration = Duration::from_secs(2);
/// The longest after a refusal: only an operator mends that.
const REFUSED_PAUSE: Duration = Duration::from_secs(15);
/// A channel that has lasted for this long was sound: the next attempt comes at once.
const SOUND: Duration = Duration::from_secs(5);
/// The longest pause between attempts at the start of the process.
const FIRST_TRIES: Duration = Duration::from_millis(200);

/// What the first attempts came to: `None` is a joined store, an error is why there is none yet.
pub(super) type First = Result<Option<Error>>;

/// Joins the store with this index and reports the outcome to `tell`, then keeps it. If the server does not
/// answer until `patience` is over, the failure is reported and attempts go on. A refusal ends it. Without
/// `tell`, the first outcome was reported before.
pub(super) async fn keep(
    shared: Arc<Shared>,
    index: usize,
    patience: Duration,
    mut tell: Option<oneshot::Sender<First>>,
) {
    let began = Instant::now();
    let mut pause = FIRST_PAUSE;
    loop {
        let attempt = join(&shared, index).await;
        let refused = matches!(attempt, Err(Error::Refused(_)));
        let first = match &attempt {
            Ok(_) => Some(Ok(None)),
            Err(why) if refused => Some(Err(why.clone())),
            Err(why) if began.elapsed() >= patience => Some(Ok(Some(why.clone()))),
            Err(_) => None,
        };
        let began_channel = Instant::now();
        let is_starting = tell.is_some();
        if let Err(why) = &attempt {
            shared.stores[index].down(why.clone());
        }
        if let Some(first) = first
            && let Some(tell) = tell.take()
            // The receiver is gone: so is the store.
            && (tell.send(first).is_err() || refused)
        {
            return;
        }
        match attempt {
            Ok(channel) => {
                serve(&shared, index, channel).await;
                if began_channel.elapsed() >= SOUND {
                    pause = FIRST_PAUSE;
                }
            }
            Err(_) if is_starting => {
                sleep(shared.dice.up_to(FIRST_TRIES)).await;
                continue;
            }
            Err(_) => {}
        }
        let longest = if refused { REFUSED_PAUSE } else { MAX_PAUSE };
        sleep(pause / 2 + shared.dice.up_to(pause / 2)).await;
        pause = (pause * 2).min(longest);
    }
}

/// Joins the store. Calls may be made when this returns; its channel is to be run.
async fn join(shared: &Arc<Shared>, index: usize) -> Result<BoxFuture<'_, Error>> {
    let name = shared.dice.name();
    let store = &shared.stores[index];
    // Before: what is heard of after the join may be above its count.
    let known = shared.numbers.known(index);
    let joined = socket::join(&shared.target, &store.name, &format!("dustgate-{name}")).await?;
    let (line, pushes) = Line::new(&name);
    let count = joined.count;
    if count >= shared.numbers.most() {
        shared.numbers.beyond();
        return Err(Error::Broken(format!("it counts {count} writes, which no store has")));
    }
    shared.numbers.joined(index, count);
    // Before the first call: what was heard on the line before may have changed since.
    *lock(&store.recent) = Recent::after(count);
    let channel = Channel::new(shared, index, line.clone());
    let mut running = async move { channel.run(joined, pushes).await }.boxed();
    tokio::select! {
        why = &mut running => return Err(why),
        settled = raise::settle(shared, index, &line, count, known) => settled?,
    }
    store.up(line);
    store.rejoined.notify_one();
    Ok(running)
}

async fn serve(shared: &Arc<Shared>, index: usize, channel: BoxFuture<'_, Error>) {
    // It is joined: a reader that reads everything now misses nothing after.
    shared.hub.lost();
    let why = channel.await;
    shared.stores[index].down(why);
    shared.hub.lost();
}
