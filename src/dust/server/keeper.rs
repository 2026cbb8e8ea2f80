//! Keeps a store joined: makes another channel when one is over.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep};

use super::super::{Error, Result};
use super::channel::Channel;
use super::recent::Recent;
use super::socket::{self, Joined};
use super::state::{Line, Push, Shared, lock};

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
/// answer until `patience` is over, the failure is reported and attempts go on. A refusal ends it.
pub(super) async fn keep(
    shared: Arc<Shared>,
    index: usize,
    patience: Duration,
    tell: oneshot::Sender<First>,
) {
    let began = Instant::now();
    let mut pause = FIRST_PAUSE;
    let mut tell = Some(tell);
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
            Ok((joined, line, pushes)) => {
                serve(&shared, index, joined, line, pushes).await;
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

async fn join(shared: &Arc<Shared>, index: usize) -> Result<(Joined, Line, mpsc::Receiver<Push>)> {
    let name = shared.dice.name();
    let joined =
        socket::join(&shared.target, &shared.stores[index].name, &format!("dustgate-{name}")).await?;
    let (line, pushes) = Line::new(&name);
    // Before the first call: what was heard on the line before may have changed since.
    *lock(&shared.stores[index].recent) = Recent::after(joined.count);
    shared.stores[index].up(line.clone());
    Ok((joined, line, pushes))
}

async fn serve(shared: &Arc<Shared>, index: usize, joined: Joined, line: Line, pushes: mpsc::Receiver<Push>) {
    // It is joined: a reader that reads everything now misses nothing after.
    shared.hub.lost();
    let channel = Channel::new(shared, index, line);
    let why = channel.run(joined, pushes).await;
    drop(channel);
    shared.stores[index].down(why);
    shared.hub.lost();
}
