//! Keeping a lease alive while its fill runs (S3).
//!
//! Most fills end before their first renewal is due. Until then a lease has no task and no timer of its own:
//! one task of the instance waits for the first that falls due.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::dust::{Lease, Renewal};

use super::Flight;

/// The heartbeat of one lease. Dropped, it stops.
#[derive(Debug)]
pub(super) struct Heartbeat {
    beat: Arc<Beat>,
}

/// The heartbeats of an instance whose first renewal is not due yet.
#[derive(Debug, Default)]
pub(super) struct Young {
    queue: Mutex<Queue>,
    /// Notified when another heartbeat is the first to fall due.
    sooner: Arc<Notify>,
}

/// How a lease was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lost {
    /// The store answered that it is not held.
    NotHeld,
    /// No renewal was answered for a whole time to live.
    Silence,
}

#[derive(Debug, Default)]
struct Queue {
    /// Each with the time of its first renewal, the earliest first. Those that have stopped leave with the
    /// first one that has not.
    young: VecDeque<(Instant, Weak<Beat>)>,
    /// Whether a task waits for the first that falls due.
    watched: bool,
}

#[derive(Debug)]
struct Beat {
    lease: Lease,
    /// When the lease was asked for.
    sent: Instant,
    stage: Mutex<Stage>,
    lost: OnceLock<Lost>,
    /// Notified when the lease is lost.
    told: Notify,
}

#[derive(Debug)]
enum Stage {
    /// No renewal is due yet.
    Young,
    /// A task renews the lease.
    Beating(AbortHandle),
    Stopped,
}

/// The task that waits for the first that falls due. Its drop marks the task as gone, also when a runtime
/// that shuts down drops it.
struct Watch {
    flight: Weak<Flight>,
    sooner: Arc<Notify>,
    done: bool,
}

/// A lease is renewed after a third of its time to live ...
const BEAT: u32 = 3;
/// ... and after a sixth if the last renewal was not answered.
const AGAIN: u32 = 6;

// === impl Heartbeat ===

impl Heartbeat {
    /// Starts the heartbeat of a lease that was asked for at `sent`.
    pub(super) fn start(flight: &Arc<Flight>, lease: Lease, sent: Instant) -> Self {
        let (stage, lost, told) = (Mutex::new(Stage::Young), OnceLock::new(), Notify::new());
        let beat = Arc::new(Beat { lease, sent, stage, lost, told });
        if flight.young.enter(sent + flight.settings.lease_ttl / BEAT, &beat) {
            tokio::spawn(Watch::of(flight).watch());
        }
        Self { beat }
    }

    pub(super) fn lost(&self) -> Option<Lost> {
        self.beat.lost.get().copied()
    }

    pub(super) fn stop(&self) {
        if let Stage::Beating(task) = std::mem::replace(&mut *self.beat.stage(), Stage::Stopped) {
            task.abort();
        }
    }

    pub(super) async fn until_lost(&self) {
        loop {
            let told = self.beat.told.notified();
            if self.lost().is_some() {
                return;
            }
            told.await;
        }
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        self.stop();
    }
}

// === impl Young ===

impl Young {
    /// Adds a heartbeat whose first renewal is due at `due`. Returns whether a task is needed that watches.
    fn enter(&self, due: Instant, beat: &Arc<Beat>) -> bool {
        let mut queue = self.queue();
        while queue.young.front().is_some_and(|(_, beat)| beat.strong_count() == 0) {
            queue.young.pop_front();
        }
        // Almost always the last place: a lease whose answer was slow goes before those asked for later.
        let place = queue.young.partition_point(|(other, _)| *other <= due);
        queue.young.insert(place, (due, Arc::downgrade(beat)));
        let unwatched = !std::mem::replace(&mut queue.watched, true);
        drop(queue);
        if place == 0 && !unwatched {
            self.sooner.notify_one();
        }
        unwatched
    }

    /// Begins to renew the leases that are due by now. Returns when the next one is; with the last one the
    /// watch ends.
    fn begin_due(&self, flight: &Arc<Flight>) -> Option<Instant> {
        let now = Instant::now();
        let mut queue = self.queue();
        while let Some((due, beat)) = queue.young.front() {
            let beat = beat.upgrade();
            if beat.is_some() && *due > now {
                return Some(*due);
            }
            queue.young.pop_front();
            if let Some(beat) = beat {
                beat.begin(flight);
            }
        }
        queue.watched = false;
        None
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Each change is one step that cannot panic half way.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Watch ===

impl Watch {
    fn of(flight: &Arc<Flight>) -> Self {
        let sooner = Arc::clone(&flight.young.sooner);
        Self { flight: Arc::downgrade(flight), sooner, done: false }
    }

    async fn watch(mut self) {
        loop {
            let Some(flight) = self.flight.upgrade() else { return };
            let Some(next) = flight.young.begin_due(&flight) else { break };
            drop(flight);
            // Woken or due: what is due then is looked for again.
            let _ = timeout_at(next, self.sooner.notified()).await;
        }
        self.done = true;
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if !self.done
            && let Some(flight) = self.flight.upgrade()
        {
            flight.young.queue().watched = false;
        }
    }
}

// === impl Beat ===

impl Beat {
    /// Begins to renew the lease, unless its heartbeat was stopped.
    fn begin(self: &Arc<Self>, flight: &Arc<Flight>) {
        let mut stage = self.stage();
        if matches!(*stage, Stage::Young) {
            let task = tokio::spawn(Arc::clone(self).renew(Arc::clone(flight)));
            *stage = Stage::Beating(task.abort_handle());
        }
    }

    /// Renews until the lease is lost. The time to live counts from when a renewal was *sent*: the store
    /// may have applied it at any moment since.
    async fn renew(self: Arc<Self>, flight: Arc<Flight>) {
        let ttl = flight.settings.lease_ttl;
        let mut ends = self.sent + ttl;
        let mut next = self.sent + ttl / BEAT;
        let how = loop {
            sleep_until(next.min(ends)).await;
            let sent = Instant::now();
            if sent >= ends {
                break Lost::Silence;
            }
            let renewal = flight.bounded(flight.dust.renew(&self.lease, ttl));
            match timeout_at(ends, renewal).await {
                Ok(Ok(Renewal::Renewed)) => {
                    ends = sent + ttl;
                    next = sent + ttl / BEAT;
                }
                Ok(Ok(Renewal::NotHeld)) => break Lost::NotHeld,
                Ok(Err(_)) | Err(_) => next = sent + ttl / AGAIN,
            }
        };
        flight.counters.lost(how);
        let _ = self.lost.set(how);
        self.told.notify_waiters();
    }

    fn stage(&self) -> MutexGuard<'_, Stage> {
        // Plain assignments cannot be left half done.
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
