//! Work that is done in the background: releasing leases (F11), and offering the results of
//! uncoordinated fills (S14).

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::dust::{Holder, Lease, Result};

use super::Flight;

/// Leases to release, and a count of the jobs under way in the background.
#[derive(Debug, Default)]
pub(super) struct ReleaseQueue {
    queue: Mutex<Queue>,
    jobs: watch::Sender<usize>,
}

/// A lease to release, or what may be one.
#[derive(Debug, Clone)]
pub(super) enum Pending {
    /// Held until now.
    Lease(Lease),
    /// Asked for under a holder's name, without an answer.
    Unheard {
        /// The lock key.
        key: Arc<str>,
        /// The name it was asked for under.
        holder: Holder,
    },
}

#[derive(Debug, Default)]
struct Queue {
    /// The leases, each with the time at which it has certainly expired.
    debts: VecDeque<(Pending, Instant)>,
    paying: bool,
}

/// A job in the background, counted until it is dropped.
struct Job {
    flight: Arc<Flight>,
}

/// The task that releases what is queued. Its drop marks the task as gone, also when a runtime that
/// shuts down drops it.
struct Releaser {
    job: Job,
    done: bool,
}

/// How many are released at once, oldest first.
const BATCH: usize = 32;
/// The most in the queue. Beyond it the oldest are left to expire: the store has been down for long.
const MOST: usize = 10_000;
/// The longest pause between attempts: what is queued is released within a second after the store
/// answers again.
const PAUSE: Duration = Duration::from_millis(250);

// === impl ReleaseQueue ===

impl ReleaseQueue {
    pub(super) async fn idle(&self) {
        // It fails only if the sender is gone, and `self` holds the sender.
        let _ = self.jobs.subscribe().wait_for(|jobs| *jobs == 0).await;
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Flight ===

impl Flight {
    /// Releases a lease in the background, with retries until the store has answered or the lease has
    /// expired. Does nothing outside a runtime.
    pub(super) fn hand_back(self: &Arc<Self>, debt: Pending) {
        let Ok(runtime) = Handle::try_current() else { return };
        // A call that timed out may land one call bound later.
        let until = Instant::now() + self.settings.lease_ttl + self.settings.call_bound;
        let mut queue = self.owed.queue();
        if queue.debts.len() == MOST {
            queue.debts.pop_front();
        }
        queue.debts.push_back((debt, until));
        let begins = !std::mem::replace(&mut queue.paying, true);
        // A runtime that shuts down drops a spawned task at once, and that drop takes the lock.
        drop(queue);
        if begins {
            runtime.spawn(pay(Releaser { job: Job::new(self), done: false }));
        }
    }

    /// Runs a job in the background, counted by [`Flight::idle`]. Outside a runtime it is dropped.
    pub(super) fn background(self: &Arc<Self>, job: impl Future<Output = ()> + Send + 'static) {
        let Ok(runtime) = Handle::try_current() else { return };
        let counted = Job::new(self);
        runtime.spawn(async move {
            job.await;
            drop(counted);
        });
    }

    async fn give_back(&self, debt: &Pending) -> Result<()> {
        match debt {
            Pending::Lease(lease) => self.bounded(self.dust.release(lease)).await,
            Pending::Unheard { key, holder } => self.bounded(self.dust.release_holder(key, holder)).await,
        }
    }
}

async fn pay(mut payer: Releaser) {
    let flight = Arc::clone(&payer.job.flight);
    loop {
        let batch: Vec<_> = {
            let mut queue = flight.owed.queue();
            if queue.debts.is_empty() {
                // Under the lock: a lease queued after this starts another task.
                queue.paying = false;
                payer.done = true;
                return;
            }
            let batch = queue.debts.len().min(BATCH);
            queue.debts.drain(..batch).collect()
        };
        let answers = join_all(batch.iter().map(|(debt, _)| flight.give_back(debt))).await;
        let now = Instant::now();
        let unpaid: Vec<_> = batch
            .into_iter()
            .zip(answers)
            .filter(|((_, until), answer)| answer.is_err() && now < *until)
            .map(|(debt, _)| debt)
            .collect();
        if !unpaid.is_empty() {
            flight.owed.queue().debts.extend(unpaid);
            sleep(flight.settings.call_bound.min(PAUSE)).await;
        }
    }
}

// === impl Job ===

impl Job {
    fn new(flight: &Arc<Flight>) -> Self {
        flight.owed.jobs.send_modify(|jobs| *jobs += 1);
        Self { flight: Arc::clone(flight) }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        self.flight.owed.jobs.send_modify(|jobs| *jobs -= 1);
    }
}

// === impl Releaser ===

impl Drop for Releaser {
    fn drop(&mut self) {
        if !self.done {
            self.job.flight.owed.queue().paying = false;
        }
    }
}
