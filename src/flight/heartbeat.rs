//! Keeping a lease alive while its fill runs (S3).

use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::dust::{Lease, Renewal};

use super::Flight;

/// The heartbeat of one lease. Dropped, it stops.
#[derive(Debug)]
pub(super) struct Heartbeat {
    task: AbortHandle,
    lost: watch::Receiver<Option<Lost>>,
}

/// How a lease was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lost {
    /// The store answered that it is not held.
    NotHeld,
    /// No renewal was answered for a whole time to live.
    Silence,
}

/// A lease is renewed after a third of its time to live ...
const BEAT: u32 = 3;
/// ... and after a sixth if the last renewal was not answered.
const AGAIN: u32 = 6;

// === impl Heartbeat ===

impl Heartbeat {
    /// Starts the heartbeat of a lease that was asked for at `sent`.
    pub(super) fn start(flight: &Arc<Flight>, lease: Lease, sent: Instant) -> Self {
        let (told, lost) = watch::channel(None);
        let flight = Arc::clone(flight);
        let task = tokio::spawn(async move {
            let how = beat(&flight, &lease, sent).await;
            flight.counters.lost(how);
            told.send_replace(Some(how));
        });
        Self { task: task.abort_handle(), lost }
    }

    pub(super) fn lost(&self) -> Option<Lost> {
        *self.lost.borrow()
    }

    pub(super) fn stop(&self) {
        self.task.abort();
    }

    pub(super) async fn until_lost(&self) {
        let mut lost = self.lost.clone();
        if lost.wait_for(Option::is_some).await.is_err() {
            // The task was dropped with its runtime, or stopped: no loss will be reported.
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Renews until the lease is lost. The time to live counts from when a renewal was *sent*: the store
/// may have applied it at any moment since.
async fn beat(flight: &Flight, lease: &Lease, sent: Instant) -> Lost {
    let ttl = flight.settings.lease_ttl;
    let mut ends = sent + ttl;
    let mut next = sent + ttl / BEAT;
    loop {
        sleep_until(next.min(ends)).await;
        let sent = Instant::now();
        if sent >= ends {
            return Lost::Silence;
        }
        let renewal = flight.bounded(flight.dust.renew(lease, ttl));
        match timeout_at(ends, renewal).await {
            Ok(Ok(Renewal::Renewed)) => {
                ends = sent + ttl;
                next = sent + ttl / BEAT;
            }
            Ok(Ok(Renewal::NotHeld)) => return Lost::NotHeld,
            Ok(Err(_)) | Err(_) => next = sent + ttl / AGAIN,
        }
    }
}
