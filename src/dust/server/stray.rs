//! Looks for leases that a busy server grants later.
//!
//! A server whose writer is busy answers so after five seconds, and the write may land later: no event tells
//! of it. A lease that lands so would stay until it expires, for its caller has given up.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::frame::Envelope;
use super::holders::Landed;
use super::names::rendered;
use super::state::{Shared, lock};

/// When such a lease is looked for, after the answer: a store that is compacted answers for up to a minute
/// that its writer is busy.
const LOOKS: [Duration; 4] =
    [Duration::from_secs(2), Duration::from_secs(6), Duration::from_secs(15), Duration::from_secs(30)];
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
        for stray in due {
            if !shared.is_caught(&stray).await
                && let Some(later) = stray.later()
            {
                shared.keep(later);
            }
        }
    }
}

// === impl Stray ===

impl Stray {
    fn due(&self) -> Instant {
        self.since + LOOKS.get(self.looks).copied().unwrap_or_default()
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
        let Some(lease) = Envelope::of(&row.value) else { return false };
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
    async fn it_is_looked_for_four_times() {
        let since = Instant::now();
        let mut stray = Some(Stray { key: "k".into(), holder: "h".into(), since, looks: 0 });
        let mut times = Vec::new();
        while let Some(one) = stray {
            times.push((one.due() - since).as_secs());
            stray = one.later();
        }
        assert_eq!(times, [2, 6, 15, 30]);
    }
}
