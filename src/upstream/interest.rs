//! How many are known to wait for an exchange. One that nobody is known to wait for gives way when
//! an upstream's places are short.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::limit::Place;

/// Those who wait for one exchange, and which of them are known to. Clones are the same interest.
/// Without anybody known in it from the start, the exchange is one that nobody waits for.
#[derive(Debug, Clone, Default)]
pub struct Interest {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    state: Mutex<State>,
    /// Rung when the last one leaves.
    nobody: Notify,
}

#[derive(Debug, Default)]
pub(super) struct State {
    /// All that are there.
    there: usize,
    /// Those of them that are known to be.
    known: usize,
    /// Where the exchange stands with its upstream.
    place: Option<Place>,
}

impl Interest {
    /// One more waits, and is known to. Each is to [`leave`](Self::leave) once.
    pub fn enter(&self) {
        self.lock().there += 1;
        self.believe();
    }

    /// One more waits that may be gone. Each is to [`leave_doubted`](Self::leave_doubted) once.
    pub fn enter_doubted(&self) {
        self.lock().there += 1;
    }

    /// One that was known to wait waits no more.
    pub fn leave(&self) {
        self.doubt();
        self.leave_doubted();
    }

    /// One that may have been gone waits no more.
    pub fn leave_doubted(&self) {
        let mut state = self.lock();
        state.there = state.there.saturating_sub(1);
        let deserted = state.there == 0;
        drop(state);
        if deserted {
            self.inner.nobody.notify_waiters();
        }
    }

    /// One that is there may be gone.
    pub fn doubt(&self) {
        let mut state = self.lock();
        state.known = state.known.saturating_sub(1);
        if state.known == 0
            && let Some(place) = &state.place
        {
            place.turn(false);
        }
    }

    /// One that may have been gone is known to wait after all.
    pub fn believe(&self) {
        let mut state = self.lock();
        state.known += 1;
        if state.known == 1
            && let Some(place) = &state.place
        {
            place.turn(true);
        }
    }

    /// Waits until nobody is there, not even one that may be gone: at once if nobody is.
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

    /// Whether anybody is known to wait.
    #[cfg(test)]
    pub(crate) fn is_known(&self) -> bool {
        self.lock().is_known()
    }

    /// Locked before the limit's own state and never after it.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // Each change is one step that cannot panic half way.
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether anybody is known to wait.
    pub(super) fn is_known(&self) -> bool {
        self.known > 0
    }

    /// The exchange waits for a place, or has one, there.
    pub(super) fn stands(&mut self, place: Place) {
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
