//! How often a fleet may ask an upstream: a rate over all instances (`max_rate_fleet`), and pauses that its
//! origin asks for (`retry_after = "upstream"`).
//!
//! Both are kept at the upstream's [`Limit`]: a request that has a place there waits, in the same queue and no
//! longer, until there is a token for it too. Fills go before passes. While the origin asks to be left alone,
//! a request that comes is told so at once.
//!
//! # The rate
//! The store has a bucket of tokens for the whole fleet, which fills on the store's clock. Each instance has a
//! keeper for each rate (`rate`): a task that takes tokens for the requests that wait, all of them in one call.
//! No token is taken in advance: kept for later, it would be one too many then.
//!
//! If the store does not answer, or has no buckets, the instance goes by its own share of the rate (`share`): one
//! of as many as instances were known to live when the store was last heard. When the store is back, each instance
//! has what it spent meanwhile taken out of the fleet's bucket, and only then, and once the others have had time
//! to do the same, takes tokens from there.
//!
//! # Pauses
//! An answer of 429 or 503 with Retry-After closes the upstream's gate, here at once. The keeper of pauses
//! (`pause`) leaves a note in the store, so that the gates of the other instances close too. When the time is
//! over, one exchange of the whole fleet goes out: a lease says whose. Its answer opens all gates or closes them
//! again.
//!
//! # Cancel safety
//! A request that leaves the queue takes no token along. A keeper that is dropped gives the lease of a trial back
//! in the background; tokens that were on their way to it are lost.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::catalog::Catalog;
use crate::clock::Dice;
use crate::dust::BucketTerms;
use crate::flight::Flight;
use crate::tasks::{Need, Task, Tasks};
use crate::telemetry::Log;
use crate::upstream::limit::{Counts, Demand, Gate, Limit};

pub(crate) mod pause;
pub(crate) mod rate;
pub(crate) mod share;
pub(crate) mod watched;

pub use watched::Watched;

/// The quota of one upstream, as this instance keeps it.
pub struct Quota {
    shared: Arc<Shared>,
    terms: Option<BucketTerms>,
    /// The keepers' tasks, which end when this is dropped.
    _keepers: Vec<Task>,
}

/// The terms of a quota.
#[derive(Debug, Clone, Copy)]
pub struct Terms<'a> {
    /// The prefix of every key in the store.
    pub prefix: &'a str,
    /// The name of the upstream.
    pub name: &'a Arc<str>,
    /// How often its origin may be asked, by all instances.
    pub rate: Option<BucketTerms>,
    /// Whether a pause that the origin asks for is of all that it serves.
    pub pauses: bool,
}

/// The fleet, as an instance knows it.
#[derive(Clone)]
pub enum Fleet {
    /// This instance alone has its store: it is the whole fleet.
    Alone,
    /// Instances that share the store. How many live, or `None` while the store is not heard.
    Shared(Arc<dyn Fn() -> Option<usize> + Send + Sync>),
}

/// What a keeper needs.
#[derive(Clone)]
pub struct Parts {
    /// Asks the store for leases.
    pub flight: Arc<Flight>,
    /// The source of randomness.
    pub dice: Arc<Dice>,
    /// The instances.
    pub fleet: Fleet,
    /// The log.
    pub log: Log,
}

/// The state of a quota, as this instance sees it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct QuotaStanding {
    /// The rate of the whole fleet, if there is one.
    pub rate: Option<BucketTerms>,
    /// Of how many shares this instance has one, while it goes by a share of its own; else 0.
    pub shares: u64,
    /// Whether it does so because the store does not answer.
    pub alone: bool,
    /// How often that has happened.
    pub fallbacks: u64,
    /// Requests that lack nothing but a token.
    pub demand: Demand,
    /// What happened since the start.
    pub counts: Counts,
    /// Whether the origin asks to be left alone.
    pub gate: Gate,
}

/// What the keepers and [`Quota`] share.
struct Shared {
    upstream: Arc<str>,
    catalog: Catalog,
    parts: Parts,
    limit: Limit,
    shares: AtomicU64,
    alone: AtomicBool,
    fallbacks: AtomicU64,
}

// === impl Quota ===

impl Quota {
    /// Starts the keepers of a quota. `limit` is the upstream's own. Needs a runtime.
    pub fn start(parts: Parts, limit: Limit, terms: &Terms<'_>, tasks: &Arc<Tasks>) -> Self {
        let Terms { prefix, name, rate, pauses } = *terms;
        let catalog = Catalog::new(prefix, parts.flight.dust().clone(), parts.flight.clone());
        let shared = Arc::new(Shared {
            upstream: name.clone(),
            catalog,
            parts,
            limit,
            shares: AtomicU64::new(0),
            alone: AtomicBool::new(false),
            fallbacks: AtomicU64::new(0),
        });
        let mut keepers = Vec::new();
        if let Some(rate) = rate {
            // Before the keeper runs: nothing begins without a token.
            shared.limit.counts_tokens();
            let kept = shared.clone();
            let begins = move || rate::Keeper::new(kept.clone(), rate).run();
            keepers.push(tasks.supervise("rate", Need::Helps, begins));
        }
        if pauses {
            let kept = shared.clone();
            let begins = move || pause::Keeper::new(kept.clone()).run();
            keepers.push(tasks.supervise("pause", Need::Helps, begins));
        }
        Self { shared, terms: rate, _keepers: keepers }
    }

    /// The state of the quota.
    pub fn standing(&self) -> QuotaStanding {
        let Shared { limit, shares, alone, fallbacks, .. } = &*self.shared;
        QuotaStanding {
            rate: self.terms,
            shares: shares.load(Ordering::Relaxed),
            alone: alone.load(Ordering::Relaxed),
            fallbacks: fallbacks.load(Ordering::Relaxed),
            demand: limit.demand(),
            counts: limit.counts(),
            gate: limit.gate(),
        }
    }
}

impl fmt::Debug for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Quota").field(&self.standing()).finish()
    }
}

impl fmt::Debug for Fleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Alone => f.write_str("Alone"),
            Self::Shared(living) => f.debug_tuple("Shared").field(&living()).finish(),
        }
    }
}

#[cfg(test)]
mod tests;
