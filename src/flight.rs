//! The single flight: one fill per key, first elected in this process, then between processes
//! by a lease in Dust. No HTTP in it.
//!
//! [`Flights`] elects inside the process (F1). Who leads there goes through [`Flight::enter`],
//! which finds the result of somebody else's fill, waits for it, or wins the right to fill: a
//! [`Fill`], kept alive by a heartbeat and spent by publishing, aborting or releasing it.
//!
//! At least once, and once only *while Dust is reachable*: a lease that runs out in the middle
//! of a fill, a crash before the publish, or a store that is down all cause a second one. What
//! is published is safe all the same, for every write is fenced.
//!
//! # Cancel safety
//! Every future here may be dropped at any point.
//! - [`Flight::enter`]: subscriptions end (S17); a lease that was asked for and not heard of is
//!   given back in the background by its holder's name (F11).
//! - [`Fill`]: dropped, it hands on: its heartbeat stops and the lease is given back in the
//!   background. Dropped by a panic, it gives nothing back: the lease runs out (S7).
//! - [`Fill::publish`]: whether the write landed is unknown, the lease is given back.
//! - [`Leader`]: dropped without a word, its followers elect again. [`Follower`]: withdraws.
//!
//! What is given back in the background needs a tokio runtime; outside of one the lease runs
//! out by itself. [`Flight::idle`] waits until nothing is owed.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::clock::Dice;
use crate::dust::{Dust, Error, Number, Result, within};

mod cell;
mod counters;
mod enter;
mod fill;
mod handback;
mod heartbeat;
mod leaders;
mod lease;
mod local;
mod outcome;
mod probe;
mod settings;
mod sync;
#[cfg(test)]
mod tests;
mod wait;
mod watch_fill;

pub use counters::Counters;
pub use enter::Judge;
pub use fill::Fill;
pub use local::{Flights, Follower, Joined, Leader, Listed, Settled};
pub use outcome::{Attempt, Entered, Judged, Noted, Published, Standing, Uncoordinated};
pub use probe::Watch;
pub use settings::{OnUnavailable, Settings};
pub use watch_fill::{FillWatch, Snapshot};

/// The names that one flight has in Dust.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// Where the result is published.
    pub value: Arc<str>,
    /// Where the verdict is, known before the result.
    pub verdict: Arc<str>,
    /// The key of the lease.
    pub lock: Arc<str>,
}

/// The single flight between processes: one per instance and store.
#[derive(Debug)]
pub struct Flight {
    instance: Arc<str>,
    leaders: leaders::Leaders,
    dust: Arc<dyn Dust>,
    dice: Arc<Dice>,
    settings: Settings,
    seen: AtomicU64,
    owed: handback::ReleaseQueue,
    probe: probe::Probe,
    counters: Arc<Counters>,
}

// === impl Names ===

impl Names {
    /// The seed's names: the lease at `_dust:sf/<key>`, the verdict at `<key>!`.
    pub fn of(key: &str) -> Self {
        Self { value: key.into(), verdict: format!("{key}!").into(), lock: format!("_dust:sf/{key}").into() }
    }

    /// Where a holder goes on telling those who ride its fill when its lease is lost: a place of
    /// its own, for the verdict is its successor's.
    pub fn aside(&self, token: Number) -> String {
        format!("{}{token}", self.verdict)
    }
}

// === impl Flight ===

impl Flight {
    /// A single flight over `dust`. `dice` gives jitter and the holders' names.
    pub fn new(dust: Arc<dyn Dust>, dice: Arc<Dice>, settings: Settings) -> Arc<Self> {
        Self::named("", dust, dice, settings)
    }

    /// The same of an instance with a name: its leases tell whose they are.
    pub fn named(instance: &str, dust: Arc<dyn Dust>, dice: Arc<Dice>, settings: Settings) -> Arc<Self> {
        Arc::new(Self {
            instance: instance.into(),
            leaders: leaders::Leaders::default(),
            dust,
            dice,
            settings,
            seen: AtomicU64::new(0),
            owed: handback::ReleaseQueue::default(),
            probe: probe::Probe::default(),
            counters: Arc::default(),
        })
    }

    /// The highest number that this instance knows of.
    pub fn seen(&self) -> Number {
        self.seen.load(Ordering::Relaxed)
    }

    /// Makes a number known that was learned elsewhere (a stamp, an entry): tokens will be above.
    pub fn saw(&self, number: Number) {
        self.seen.fetch_max(number, Ordering::Relaxed);
    }

    /// Which other instance held the lease with this token, if that was heard lately while asking
    /// for it. For logs and lists.
    pub fn leader(&self, token: Number) -> Option<Arc<str>> {
        self.leaders.of(token)
    }

    /// Token and instance of whoever held this lock when it was last asked for here in vain.
    pub fn leader_at(&self, lock: &str) -> Option<(Number, Arc<str>)> {
        self.leaders.at(lock)
    }

    /// What it counts, for metrics.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// The settings it runs under.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The store it coordinates by.
    pub fn dust(&self) -> &Arc<dyn Dust> {
        &self.dust
    }

    /// Waits until every lease to be given back in the background has been, or has run out, and
    /// every uncoordinated result has been offered. For a graceful end (F9). Cancel safe.
    pub async fn idle(&self) {
        self.owed.idle().await;
    }

    /// A call of the store with the bound that every one has: no request ever hangs on Dust (F6).
    pub async fn bounded<T>(&self, call: impl Future<Output = Result<T>> + Send) -> Result<T> {
        within(self.settings.call_bound, call).await
    }

    fn silent(&self) -> Error {
        Error::silent(self.settings.call_bound)
    }
}
