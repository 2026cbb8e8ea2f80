//! The single flight: one fill per key, first elected in this process, then between processes
//! by a lease in Dust. No HTTP in it.
//!
//! [`Flights`] elects a leader inside the process (F1). The leader calls [`Flight::enter`], which
//! finds the result of another instance's fill, waits for it, or wins the right to fill: a
//! [`Fill`], kept alive by a heartbeat and spent by publishing, aborting or releasing it.
//!
//! A key is filled at least once, and once only *while Dust is reachable*: a lease that runs out
//! during a fill, a crash before the publish, or a store that is down each cause a second fill.
//! What is published stays correct, for every write is fenced.
//!
//! # Cancel safety
//! Every future here may be dropped at any point.
//! - [`Flight::enter`]: subscriptions end (S17); a lease whose answer was not heard is released in
//!   the background by its holder's name (F11).
//! - [`Fill`]: dropped, its heartbeat stops and the lease is released in the background. Dropped by
//!   a panic, it releases nothing: the lease expires (S7).
//! - [`Fill::publish`]: whether the write landed is unknown, and the lease is released.
//! - [`Leader`]: dropped before it settled the flight, its followers elect again.
//! - [`Follower`]: leaves the flight.
//!
//! A release in the background needs a tokio runtime; outside of one the lease expires by itself.
//! [`Flight::idle`] waits for all of them.

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
pub use fill::{Fill, Found, Product};
pub use local::{Flights, Follower, Joined, Leader, Listed, Settled};
pub use outcome::{Attempt, Entered, Judged, Noted, Published, Standing, Uncoordinated};
pub use probe::StoreWatch;
pub use settings::{OnUnavailable, Settings};
pub use watch_fill::{FillWatch, Snapshot};

/// The names that one flight has in Dust.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// The key of the value: the published result.
    pub value: Arc<str>,
    /// The key of the verdict, which is known before the result.
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
    young: heartbeat::Young,
    probe: probe::StoreProbe,
    counters: Arc<Counters>,
}

/// What the name of a lease begins with.
const LOCKS: &str = "_dust:sf/";

// === impl Names ===

impl Names {
    /// The seed's names: the lease at `_dust:sf/<key>`, the verdict at `<key>!`.
    pub fn of(key: &str) -> Self {
        let mut text = String::with_capacity(LOCKS.len() + key.len() + 1);
        text.push_str(LOCKS);
        text.push_str(key);
        let lock = text.as_str().into();
        text.push('!');
        Self { value: key.into(), verdict: text[LOCKS.len()..].into(), lock }
    }

    /// The key at which a holder that has lost its lease keeps informing the requests that ride its
    /// fill. It is not the verdict's, which belongs to the next holder.
    pub fn aside(&self, token: Number) -> String {
        format!("{}{token}", self.verdict)
    }
}

// === impl Flight ===

impl Flight {
    /// A single flight over `dust`. `dice` gives the jitter and the random part of holders' names.
    pub fn new(dust: Arc<dyn Dust>, dice: Arc<Dice>, settings: Settings) -> Arc<Self> {
        Self::named("", dust, dice, settings)
    }

    /// The same for an instance with a name, which its leases carry.
    pub fn named(instance: &str, dust: Arc<dyn Dust>, dice: Arc<Dice>, settings: Settings) -> Arc<Self> {
        Arc::new(Self {
            instance: instance.into(),
            leaders: leaders::Leaders::default(),
            dust,
            dice,
            settings,
            seen: AtomicU64::new(0),
            owed: handback::ReleaseQueue::default(),
            young: heartbeat::Young::default(),
            probe: probe::StoreProbe::default(),
            counters: Arc::default(),
        })
    }

    /// The highest number that this instance knows of.
    pub fn seen(&self) -> Number {
        self.seen.load(Ordering::Relaxed)
    }

    /// Records a number that was learned elsewhere (a stamp, an entry): later tokens are above it.
    pub fn saw(&self, number: Number) {
        self.seen.fetch_max(number, Ordering::Relaxed);
    }

    /// Returns which other instance held the lease with this token, if a recent request for that lease
    /// was answered *held*. For logs and lists.
    pub fn leader(&self, token: Number) -> Option<Arc<str>> {
        self.leaders.of(token)
    }

    /// Returns the token and the instance that held this lock when it was last asked for here in vain.
    pub fn leader_at(&self, lock: &str) -> Option<(Number, Arc<str>)> {
        self.leaders.at(lock)
    }

    /// Its counters, for metrics.
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

    /// Waits until every lease in the release queue was released or has expired, and every uncoordinated
    /// result was offered. For a graceful shutdown (F9). Cancel safe.
    pub async fn idle(&self) {
        self.owed.idle().await;
    }

    /// Calls the store within the call bound: no request ever hangs on Dust (F6).
    pub async fn bounded<T>(&self, call: impl Future<Output = Result<T>> + Send) -> Result<T> {
        within(self.settings.call_bound, call).await
    }

    fn silent(&self) -> Error {
        Error::silent(self.settings.call_bound)
    }
}
