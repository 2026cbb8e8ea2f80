//! A budget that a fleet has for an origin: so many exchanges at the same time, over all
//! instances (`max_concurrent_fleet`).
//!
//! A permit is a lease in the store, one of as many as the budget has. Each instance has one
//! keeper for each budget: a task that holds the permits, and opens as many places of the
//! upstream's [`Limit`] as there are. So requests queue there, fills before passes, with the
//! upstream's own bounds on the queue, whichever limit it is that they wait for; and a fill
//! waits for a permit after it has the lease of its key, which its heartbeat keeps alive
//! meanwhile.
//!
//! - Only the keeper asks the store, for a few permits at a time, and in a crowd only for those
//!   that are known to be free, by events or because a lease has run out: a thousand waiting
//!   requests are no more to the store than one.
//! - A permit serves one exchange after the other, so a busy instance asks seldom. So that this
//!   starves nobody, a permit has its turn (a sixth of a lease's time): then it goes back when the
//!   exchange under way ends, one permit after the other and not all together, and who gave it
//!   back does not ask for it again before others could. One that nobody here uses goes back at
//!   once, but for a pause in which the next request may come.
//! - One heartbeat renews all permits. One that is lost cuts nothing off: it is counted, and
//!   nothing new begins until there are as many permits as exchanges again. Those of an instance
//!   that died are free when their leases run out.
//! - A store that does not answer is no reason to wait: then each instance goes by its own limit,
//!   which is never above the budget, until the store answers again. What began meanwhile counts:
//!   permits are had for it before anything new begins.
//!
//! # Cancel safety
//! A request that leaves the queue takes nothing along: permits are the keeper's. A budget that
//! is dropped gives back what it has, in the background.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use tokio::sync::watch;

use self::keeper::Keeper;
use self::permits::Rules;
use crate::clock::Dice;
use crate::flight::Flight;
use crate::tasks::{Need, Task, Tasks};
use crate::upstream::limit::Limit;

pub(crate) mod keeper;
pub(crate) mod permits;

/// This instance's share of a fleet's budget for one origin.
pub struct Budget {
    shared: Arc<Shared>,
    /// Ends with this.
    _keeper: Task,
}

/// What a budget is.
#[derive(Debug, Clone, Copy)]
pub struct Terms<'a> {
    /// Of every key in the store.
    pub prefix: &'a str,
    /// The upstream's.
    pub name: &'a str,
    /// Exchanges at the same time, over all instances that have the same store and prefix.
    pub permits: usize,
    /// Exchanges at the same time on this instance, store or no store.
    pub most: usize,
}

/// How a budget stands, seen from this instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Permits of the whole fleet.
    pub permits: usize,
    /// Those that are held here.
    pub held: usize,
    /// Whether the store does not answer, so that this instance goes by its own limit.
    pub alone: bool,
    /// How often that has begun.
    pub fallbacks: u64,
    /// Permits that the store said are not held any more.
    pub lost_not_held: u64,
    /// Permits for which no renewal was answered in time.
    pub lost_unanswered: u64,
}

/// What keeper and handle share.
struct Shared {
    flight: Arc<Flight>,
    dice: Arc<Dice>,
    rules: Rules,
    /// The names of its permits, but for their numbers.
    prefix: String,
    held: AtomicUsize,
    /// Permits that are held or asked for.
    owned: watch::Sender<usize>,
    alone: AtomicBool,
    fallbacks: AtomicU64,
    lost_not_held: AtomicU64,
    lost_unanswered: AtomicU64,
}

// === impl Budget ===

impl Budget {
    /// Starts keeping a budget. `limit` is the upstream's own: its places are the budget's from
    /// now on. Needs a runtime.
    pub fn start(
        flight: Arc<Flight>,
        dice: Arc<Dice>,
        limit: Limit,
        terms: &Terms<'_>,
        tasks: &Arc<Tasks>,
    ) -> Self {
        let Terms { prefix, name, permits, most } = *terms;
        let ttl = flight.settings().lease_ttl;
        let shared = Arc::new(Shared {
            flight,
            dice,
            rules: Rules { permits, most: most.min(permits), ttl },
            prefix: format!("{prefix}/b/{name}/"),
            held: AtomicUsize::new(0),
            owned: watch::Sender::new(0),
            alone: AtomicBool::new(false),
            fallbacks: AtomicU64::new(0),
            lost_not_held: AtomicU64::new(0),
            lost_unanswered: AtomicU64::new(0),
        });
        // Before the keeper runs: nothing begins without a permit.
        limit.resize(0);
        let kept = shared.clone();
        let begins = move || {
            // One that has panicked leaves permits that run out: what is under way has none any more.
            limit.resize(0);
            kept.tell(0, 0, false);
            Keeper::new(kept.clone(), limit.clone()).run()
        };
        Self { shared, _keeper: tasks.supervise("budget", Need::Helps, begins) }
    }

    /// How it stands.
    pub fn standing(&self) -> Standing {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Standing {
            permits: self.shared.rules.permits,
            held: self.shared.held.load(Ordering::Relaxed),
            alone: self.shared.alone.load(Ordering::Relaxed),
            fallbacks: of(&self.shared.fallbacks),
            lost_not_held: of(&self.shared.lost_not_held),
            lost_unanswered: of(&self.shared.lost_unanswered),
        }
    }

    /// Waits until no permit is held here: soon after the last exchange has ended. For a graceful
    /// end (F9), before [`Flight::idle`]. Cancel safe.
    pub async fn quiet(&self) {
        // An error means that the keeper is gone, and its permits with it.
        let _ = self.shared.owned.subscribe().wait_for(|owned| *owned == 0).await;
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Budget").field(&self.standing()).finish()
    }
}

// === impl Shared ===

impl Shared {
    fn key(&self, number: usize) -> Arc<str> {
        format!("{}{number}", self.prefix).into()
    }

    fn number(&self, key: &str) -> Option<usize> {
        key.strip_prefix(&self.prefix)?.parse().ok()
    }

    fn tell(&self, held: usize, asked: usize, alone: bool) {
        self.alone.store(alone, Ordering::Relaxed);
        self.held.store(held, Ordering::Relaxed);
        let owned = held + asked;
        self.owned.send_if_modified(|known| std::mem::replace(known, owned) != owned);
    }

    fn fell_back(&self) {
        self.fallbacks.fetch_add(1, Ordering::Relaxed);
    }

    fn lost_not_held(&self) {
        self.lost_not_held.fetch_add(1, Ordering::Relaxed);
    }

    fn lost_unanswered(&self) {
        self.lost_unanswered.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
