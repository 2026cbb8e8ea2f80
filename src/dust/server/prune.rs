//! Deletes what has expired: the server keeps it for ever, and slows with the number of its entries.
//!
//! One instance walks through the fleet's entries at a time, and slowly, because each deletion counts against
//! the token's rate limit.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::sleep;

use super::super::{Error, Result};
use super::events::ms;
use super::fault::Reason;
use super::frame::Envelope;
use super::holders::Asking;
use super::http::Row;
use super::leaf::Leaf;
use super::names::{Named, parsed};
use super::op::{Tag, Write};
use super::state::Shared;

/// The time between two walks of an instance.
const WALK: Duration = Duration::from_mins(10);
/// The pause after a deletion.
const PACE: Duration = Duration::from_secs(5);
/// The most deletions of a walk. With their pauses, the lease outlives them.
const MOST: usize = 60;
/// How long something must have been expired. Clocks differ.
const GRACE_MS: u64 = 60_000;
/// The lock of the walk.
const LOCK: &str = "#prune";

/// Walks from time to time until it is dropped.
pub(super) async fn prune(shared: Arc<Shared>, prefix: String) {
    let mut ends = shared.ends.subscribe();
    loop {
        tokio::select! {
            () = sleep(WALK / 2 + shared.dice.up_to(WALK)) => {}
            _ = ends.wait_for(|ends| *ends) => return,
        }
        walk_until_the_end(&shared, &prefix).await;
    }
}

async fn walk_until_the_end(shared: &Shared, prefix: &str) {
    let mut ends = shared.ends.subscribe();
    let walks = Walks::begin(shared);
    tokio::select! {
        // Another instance walks, or the next time will do.
        _ = elected_walk(shared, prefix) => {}
        // Dropped, the walk leaves its lock to be released.
        _ = ends.wait_for(|ends| *ends) => {}
    }
    drop(walks);
}

/// That this instance walks.
struct Walks<'a>(&'a Shared);

// === impl Walks ===

impl<'a> Walks<'a> {
    fn begin(shared: &'a Shared) -> Self {
        shared.walks.store(true, Ordering::Release);
        Self(shared)
    }
}

impl Drop for Walks<'_> {
    fn drop(&mut self) {
        self.0.walks.store(false, Ordering::Release);
    }
}

async fn elected_walk(shared: &Shared, prefix: &str) -> Result<()> {
    let key = format!("{LOCK}/{prefix}");
    let (spot, path) = (shared.spot(&key), shared.names.path(&key));
    let holder = shared.dice.name();
    // Dropped, it has what was granted released: after a walk that has failed, too.
    let _asking = Asking::begin(shared, &key, &holder.as_str().into());
    let lease = Write::lease(key.as_str().into(), &path, ms(WALK), &holder);
    if shared.write(spot, lease).await?.is_ok() {
        walk(shared, prefix, PACE).await?;
    }
    Ok(())
}

/// Deletes what has expired, a page at a time and with a pause after each deletion. Returns how much it was.
pub(super) async fn walk(shared: &Shared, prefix: &str, pace: Duration) -> Result<usize> {
    let mut walk = Walk { shared, pace, tried: 0, deleted: 0 };
    let locks = shared.places(&format!("_dust:sf/{prefix}"));
    for place in shared.places(prefix).into_iter().chain(locks) {
        let entries = &shared.stores[place.store].entries;
        let mut after: Option<String> = None;
        loop {
            let page = shared.reads.page_for_housekeeping(entries, &place, after.as_deref()).await?;
            for row in &page.items {
                if walk.tried >= MOST {
                    return Ok(walk.deleted);
                }
                walk.judge(place.store, row).await?;
            }
            let Some(next) = page.next_cursor else { break };
            after = Some(next);
        }
    }
    Ok(walk.deleted)
}

/// A walk under way.
struct Walk<'a> {
    shared: &'a Shared,
    pace: Duration,
    tried: usize,
    deleted: usize,
}

// === impl Walk ===

impl Walk<'_> {
    /// Deletes a row if it has expired.
    async fn judge(&mut self, store: usize, row: &Row) -> Result<()> {
        let Named::Key(key) = self.shared.names.named(&parsed(&row.path)) else { return Ok(()) };
        let spot = self.shared.spot(&key);
        let Some(write) = expired(self.shared, key, row).filter(|_| spot.store == store) else {
            return Ok(());
        };
        self.tried += 1;
        match self.shared.write(spot, write.spare()).await {
            Ok(Ok(_)) => self.deleted += 1,
            // There is no room for it now: the next walk finds it again.
            Ok(Err(Reason::Conflict | Reason::NotHeld)) | Err(Error::NotDone(_)) => {}
            Ok(Err(reason)) => return Err(reason.error()),
            Err(error) => return Err(error),
        }
        sleep(self.pace).await;
        Ok(())
    }
}

/// The write that removes this row, if it has expired, and does nothing if it has changed meanwhile.
fn expired(shared: &Shared, key: String, row: &Row) -> Option<Write> {
    let (path, spot) = (parsed(&row.path), shared.spot(&key));
    let since = shared.server_ms().saturating_sub(GRACE_MS);
    if let Some(Envelope { token, holder, expires_at }) = row.lease() {
        let number = shared.numbers.of_lease(spot, holder.as_deref(), token);
        return (expires_at <= since).then(|| Write::release(key.into(), &path, token, number));
    }
    let until = Leaf::read(row.value.as_str()?).until?;
    let tag = Tag { number: None, epoch: shared.numbers.epoch(spot, 0) };
    (until <= since).then(|| Write::delete_if(key.into(), &path, row.revision, tag))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::dust::server::{Server, Target};
    use crate::dust::{Dust as _, Put};
    use crate::testkit::dust_server::{DustServer, Setup, TOKEN};

    #[tokio::test(flavor = "multi_thread")]
    async fn a_walk_that_the_end_of_the_process_cuts_short_gives_its_lock_back() {
        let server = DustServer::start(Setup::real().store("acme/cache")).await;
        let target = Target::parse(&server.url("acme/cache")).unwrap().with_token(TOKEN);
        let store =
            Server::open(target, "dustgate", Arc::new(SystemClock), Duration::from_secs(5)).await.unwrap();
        // Its deletion is followed by a pause.
        let brief = Put { expires_in: Some(Duration::from_millis(1)), ..Put::default() };
        store.put("dustgate/1/9f2c41d07a3b00000000000000000001", "{}", brief).await.unwrap();
        server.faults(|it| it.reply_delay = Duration::from_millis(20));
        let shared = store.shared.clone();
        let walk = tokio::spawn(async move { walk_until_the_end(&shared, "dustgate").await });
        let is_locked = || server.rows("acme/cache").iter().any(|path| path.contains("#prune"));
        let locked = async {
            while !is_locked() {
                sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), locked).await.expect("it walks");
        assert_eq!(store.flush().await, Ok(()));
        assert!(!is_locked(), "long before it expires");
        walk.await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_walk_gives_its_lock_back_when_it_ends_and_when_it_fails() {
        let server = DustServer::start(Setup::real().store("acme/cache")).await;
        let target = Target::parse(&server.url("acme/cache")).unwrap().with_token(TOKEN);
        let clock = Arc::new(SystemClock);
        let store = Server::open(target, "dustgate", clock, Duration::from_secs(5)).await.unwrap();
        for (n, status) in [(1, None), (2, Some(503))] {
            server.faults(|it| it.refused_requests = status);
            assert_eq!(elected_walk(&store.shared, "dustgate").await.is_err(), status.is_some());
            let given_back = async {
                while server.rows("acme/cache").iter().any(|path| path.contains("#prune")) {
                    sleep(Duration::from_millis(10)).await;
                }
            };
            let given_back = tokio::time::timeout(Duration::from_secs(5), given_back).await;
            given_back.expect("long before it expires");
            assert_eq!(server.count("lease"), n);
        }
    }
}
