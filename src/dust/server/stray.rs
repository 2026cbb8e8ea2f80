//! Looks for leases that a busy server grants later.
//!
//! A server whose writer is busy answers so after five seconds, and the write may land later: no event tells
//! of it. A lease that lands so would stay until it expires, for its caller has given up.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use tokio::time::{Instant, sleep_until};

use super::holders::Landed;
use super::names::rendered;
use super::state::{Shared, lock};

/// When such a lease is looked for, in seconds after the answer. A store that is compacted has taken 54 s, in
/// which its writer was busy; and what lands lives for its time to live from then on.
const LOOKS: [u64; 8] = [2, 6, 15, 30, 45, 60, 75, 90];
/// How many are looked for at a time.
const AT_A_TIME: usize = 16;
/// The most that are looked for: beyond it they are left to expire.
const MOST: usize = 1024;

/// A lease that may land later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stray {
    key: Arc<str>,
    /// Its holder's name, as the server has it.
    holder: Arc<str>,
    since: Instant,
    /// How often it was looked for.
    looks: usize,
}

/// Looks for them until it is dropped.
pub(super) async fn chase(shared: Arc<Shared>) {
    loop {
        let rung = shared.strayed.notified();
        let first = lock(&shared.strays).iter().map(Stray::due).min();
        let turn = async {
            if let Some(first) = first { sleep_until(first).await } else { std::future::pending().await }
        };
        tokio::select! {
            () = rung => continue,
            () = turn => {}
        }
        let now = Instant::now();
        let due: Vec<_> = lock(&shared.strays).extract_if(.., |stray| stray.due() <= now).collect();
        let looks = due.into_iter().map(async |stray| {
            if !shared.is_caught(&stray).await
                && let Some(later) = stray.later()
            {
                shared.keep(later);
            }
        });
        stream::iter(looks).buffer_unordered(AT_A_TIME).collect::<()>().await;
    }
}

// === impl Stray ===

impl Stray {
    fn due(&self) -> Instant {
        self.since + Duration::from_secs(LOOKS.get(self.looks).copied().unwrap_or_default())
    }

    /// The same, to be looked for once more; `None` if that was the last time.
    fn later(self) -> Option<Self> {
        let looks = self.looks + 1;
        (looks < LOOKS.len()).then_some(Self { looks, ..self })
    }
}

// === impl Shared ===

impl Shared {
    /// Records that the lease of this holder may land later.
    pub(super) fn strays(&self, key: &Arc<str>, holder: &Arc<str>) {
        self.keep(Stray { key: key.clone(), holder: holder.clone(), since: Instant::now(), looks: 0 });
        self.strayed.notify_one();
    }

    /// Forgets a lease for which its holder asks again.
    pub(super) fn forgets_strays(&self, key: &str, holder: &str) {
        lock(&self.strays)
            .retain(|stray| *stray.key != *key || self.numbers.unsigned(&stray.holder).0 != holder);
    }

    fn keep(&self, stray: Stray) {
        let mut strays = lock(&self.strays);
        if strays.len() < MOST {
            strays.push(stray);
        }
    }

    /// Returns whether the lease has landed. Unless its holder has asked for it again, it is released.
    async fn is_caught(&self, stray: &Stray) -> bool {
        let Stray { key, holder, .. } = stray;
        let spot = self.spot(key);
        let (store, path) = (&self.stores[spot.store], rendered(&self.names.path(key)));
        let Ok(Some(row)) = self.reads.row(&store.entries, &path).await else { return false };
        let Some(lease) = row.lease() else { return false };
        if lease.holder.as_deref() != Some(&**holder) {
            return false;
        }
        let number = self.numbers.of_lease(spot, lease.holder.as_deref(), lease.token);
        self.lands(key, holder, Landed { token: lease.token, number, until: lease.expires_at });
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_is_looked_for_until_a_compaction_is_certainly_over() {
        let since = Instant::now();
        let mut stray = Some(Stray { key: "k".into(), holder: "h".into(), since, looks: 0 });
        let mut times = Vec::new();
        while let Some(one) = stray {
            times.push((one.due() - since).as_secs());
            stray = one.later();
        }
        assert_eq!(times, LOOKS);
        let compaction = 54;
        assert!(times.last().is_some_and(|last| *last > compaction * 3 / 2));
    }
}
