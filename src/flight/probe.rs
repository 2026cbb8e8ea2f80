//! Notices that the store is gone while a task waits on it (F6): one probe for all waiters of an
//! instance, once per call bound.

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::sleep;

use crate::dust::Error;

use super::Flight;

/// The probe of an instance. Its task runs only while there are waiters.
#[derive(Debug, Default)]
pub(super) struct StoreProbe {
    state: Mutex<ProbeState>,
    /// Rung for all waiters, in the order in which they came: a simulation repeats. (A watch
    /// channel wakes in random order.)
    bell: Notify,
}

/// A waiter's share in the probe. Dropped, it is withdrawn; the last one ends the task.
#[derive(Debug)]
pub struct StoreWatch<'a> {
    probe: &'a StoreProbe,
    /// The count of failures when it began: those before do not concern it.
    before: u64,
}

#[derive(Debug, Default)]
struct ProbeState {
    waiters: usize,
    probing: bool,
    failures: u64,
    last: Option<Error>,
}

/// The probing task. Its drop marks the task as gone, however it ends.
struct Prober {
    flight: Arc<Flight>,
    done: bool,
}

// === impl Flight ===

impl Flight {
    /// Watches the store while the caller waits for a change at `key` (F6). Needs a runtime.
    pub fn watch(self: &Arc<Self>, key: &Arc<str>) -> StoreWatch<'_> {
        let mut state = self.probe.state();
        state.waiters += 1;
        if !std::mem::replace(&mut state.probing, true) {
            let prober = Prober { flight: Arc::clone(self), done: false };
            tokio::spawn(probe(prober, Arc::clone(key)));
        }
        StoreWatch { probe: &self.probe, before: state.failures }
    }
}

async fn probe(mut prober: Prober, key: Arc<str>) {
    let flight = Arc::clone(&prober.flight);
    loop {
        sleep(flight.settings.call_bound).await;
        {
            let mut state = flight.probe.state();
            if state.waiters == 0 {
                state.probing = false;
                prober.done = true;
                return;
            }
        }
        if let Err(error) = flight.bounded(flight.dust.entry(&key)).await {
            let mut state = flight.probe.state();
            state.failures += 1;
            state.last = Some(error);
            drop(state);
            flight.probe.bell.notify_waiters();
        }
    }
}

// === impl StoreProbe ===

impl StoreProbe {
    fn state(&self) -> MutexGuard<'_, ProbeState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl StoreWatch ===

impl StoreWatch<'_> {
    /// Waits until a probe fails. Cancel safe.
    pub async fn failed(&self) -> Error {
        let mut rung = pin!(self.probe.bell.notified());
        loop {
            // Registered before the check: a failure in between is not missed.
            rung.as_mut().enable();
            if let Some(error) = self.failure() {
                return error;
            }
            rung.as_mut().await;
            rung.set(self.probe.bell.notified());
        }
    }

    fn failure(&self) -> Option<Error> {
        let state = self.probe.state();
        state.last.clone().filter(|_| state.failures > self.before)
    }
}

impl Drop for StoreWatch<'_> {
    fn drop(&mut self) {
        self.probe.state().waiters -= 1;
    }
}

// === impl Prober ===

impl Drop for Prober {
    fn drop(&mut self) {
        if !self.done {
            self.flight.probe.state().probing = false;
        }
    }
}
