//! How many clients are known to wait for an exchange. One without such a client gives way when an upstream's
//! places are short.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::limit::Slot;

/// The clients that wait for one exchange. Each is either known to be there, or doubted: it may be gone.
/// Clones share one count. If no client is known at the start, the exchange begins as one that no client is
/// known to wait for.
#[derive(Debug, Clone, Default)]
pub struct Interest {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    state: Mutex<InterestState>,
    /// Notified when the last client leaves.
    nobody: Notify,
}

#[derive(Debug, Default)]
pub(super) struct InterestState {
    /// All clients, the doubted ones included.
    there: usize,
    /// The clients that are known to be there.
    known: usize,
    /// The exchange's entry in its upstream's limit.
    place: Option<Slot>,
}

impl Interest {
    /// Adds a client that is known to be there. Each calls [`leave`](Self::leave) once.
    pub fn enter(&self) {
        self.lock().there += 1;
        self.believe();
    }

    /// Adds a client that may be gone. Each calls [`leave_doubted`](Self::leave_doubted) once.
    pub fn enter_doubted(&self) {
        self.lock().there += 1;
    }

    /// Removes a client that was known to be there.
    pub fn leave(&self) {
        self.doubt();
        self.leave_doubted();
    }

    /// Removes a client that was doubted.
    pub fn leave_doubted(&self) {
        let mut state = self.lock();
        state.there = state.there.saturating_sub(1);
        let deserted = state.there == 0;
        drop(state);
        if deserted {
            self.inner.nobody.notify_waiters();
        }
    }

    /// Doubts a client that was known to be there: it may be gone.
    pub fn doubt(&self) {
        let mut state = self.lock();
        state.known = state.known.saturating_sub(1);
        if state.known == 0
            && let Some(place) = &state.place
        {
            place.turn(false);
        }
    }

    /// Takes a doubt back: the client is known to be there.
    pub fn believe(&self) {
        let mut state = self.lock();
        state.known += 1;
        if state.known == 1
            && let Some(place) = &state.place
        {
            place.turn(true);
        }
    }

    /// Waits until no client is left, not even a doubted one. Returns at once if there is none.
    ///
    /// Cancel safe.
    pub async fn deserted(&self) {
        loop {
            let left = self.inner.nobody.notified();
            if self.lock().there == 0 {
                return;
            }
            left.await;
        }
    }

    /// Returns whether a client is known to wait.
    #[cfg(test)]
    pub(crate) fn is_known(&self) -> bool {
        self.lock().is_known()
    }

    /// Locks the counts: before the limit's own state and never after it.
    pub(super) fn lock(&self) -> MutexGuard<'_, InterestState> {
        // Each change is one step that cannot panic half way.
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl InterestState {
    /// Returns whether a client is known to wait.
    pub(super) fn is_known(&self) -> bool {
        self.known > 0
    }

    /// Sets the exchange's entry in a limit, where it has a place or waits for one.
    pub(super) fn stands(&mut self, place: Slot) {
        self.place = Some(place);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn it_is_deserted_while_nobody_is_there_and_one_that_may_be_gone_is() {
        let interest = Interest::default();
        interest.deserted().await;
        interest.enter();
        interest.enter_doubted();
        let mut deserted = Box::pin(interest.deserted());
        assert!((&mut deserted).now_or_never().is_none());
        interest.leave();
        assert!(!interest.is_known());
        assert!((&mut deserted).now_or_never().is_none());
        interest.leave_doubted();
        deserted.await;
    }
}
