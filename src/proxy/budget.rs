//! A budget that a fleet has for an upstream: the most exchanges at the same time, over all instances
//! (`max_concurrent_fleet`).
//!
//! A permit is a lease in the store; there are as many as the budget has. Each instance has one keeper for
//! each budget: a task that holds the permits, and opens as many places of the upstream's [`Limit`] as it
//! holds. So requests queue at the limit, fills before passes, with the upstream's own bounds on the queue,
//! whichever of the two limits they wait for. A fill waits for a permit after it has the lease of its key,
//! which its heartbeat keeps alive meanwhile.
//!
//! - Only the keeper asks the store, for a few permits at a time. In a crowd it asks only for permits that
//!   are known to be free, by events or because a lease has run out: a thousand waiting requests cost the
//!   store no more than one.
//! - A permit serves one exchange after the other, so a busy instance seldom asks. So that no instance
//!   starves, a permit has its turn (a sixth of a lease's time). Then it is given back when the exchange
//!   under way ends, one permit after the other and not all together, and the instance that gave it back does
//!   not ask for it again before others could. A permit that this instance does not use is given back after a
//!   short pause, in which the next request may come.
//! - One heartbeat renews all permits. A lost permit cuts no exchange off: it is counted, and nothing new
//!   begins until there are as many permits as exchanges again. The permits of an instance that died are free
//!   when their leases run out.
//! - If the store does not answer, no request waits for it: each instance goes by its own limit, which is
//!   never above the budget, until the store answers again. Exchanges that began meanwhile count: they get
//!   permits before anything new begins.
//!
//! # Cancel safety
//! A request that leaves the queue takes no permit along: permits belong to the keeper. A budget that is
//! dropped gives its permits back in the background.

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
    /// The keeper's task, which ends when this is dropped.
    _keeper: Task,
}

/// The terms of a budget.
#[derive(Debug, Clone, Copy)]
pub struct Terms<'a> {
    /// The prefix of every key in the store.
    pub prefix: &'a str,
    /// The name of the upstream.
    pub name: &'a str,
    /// The most exchanges at the same time, over all instances that have the same store and prefix.
    pub permits: usize,
    /// The most exchanges at the same time on this instance, whether or not the store answers.
    pub most: usize,
}

/// The state of a budget, as this instance sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BudgetStanding {
    /// Permits of the whole fleet.
    pub permits: usize,
    /// Those that are held here.
    pub held: usize,
    /// Whether this instance goes by its own limit, because the store does not answer.
    pub alone: bool,
    /// How often that has happened.
    pub fallbacks: u64,
    /// Permits that the store said are not held any more.
    pub lost_not_held: u64,
    /// Permits for which no renewal was answered in time.
    pub lost_unanswered: u64,
}

/// What the keeper and [`Budget`] share.
struct Shared {
    flight: Arc<Flight>,
    dice: Arc<Dice>,
    rules: Rules,
    /// The names of its permits, without their numbers.
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
    /// Starts the keeper of a budget. `limit` is the upstream's own: the keeper alone sets its places from
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
            // A keeper that has panicked leaves permits that run out: exchanges under way have none any more.
            limit.resize(0);
            kept.tell(0, 0, false);
            Keeper::new(kept.clone(), limit.clone()).run()
        };
        Self { shared, _keeper: tasks.supervise("budget", Need::Helps, begins) }
    }

    /// The state of the budget.
    pub fn standing(&self) -> BudgetStanding {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        BudgetStanding {
            permits: self.shared.rules.permits,
            held: self.shared.held.load(Ordering::Relaxed),
            alone: self.shared.alone.load(Ordering::Relaxed),
            fallbacks: of(&self.shared.fallbacks),
            lost_not_held: of(&self.shared.lost_not_held),
            lost_unanswered: of(&self.shared.lost_unanswered),
        }
    }

    /// Waits until this instance holds no permit, which is soon after its last exchange has ended. For a
    /// graceful end (F9), before [`Flight::idle`]. Cancel safe.
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
