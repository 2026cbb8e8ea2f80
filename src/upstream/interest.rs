//! How many are known to wait for an exchange. One that nobody is known to wait for gives way when
//! an upstream's places are short.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::limit::Place;

/// Those who are known to wait for one exchange. Clones are the same interest. Without anybody in
/// it from the start, the exchange is one that nobody waits for.
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
    known: usize,
    /// Where the exchange stands with its upstream.
    place: Option<Place>,
}

impl Interest {
    /// One more waits. Each is to [`leave`](Self::leave) once.
    pub fn enter(&self) {
        let mut state = self.lock();
        state.known += 1;
        if state.known == 1
            && let Some(place) = &state.place
        {
            place.turn(true);
        }
    }

    /// One of them waits no more, or is not known to.
    pub fn leave(&self) {
        let mut state = self.lock();
        state.known = state.known.saturating_sub(1);
        if state.known > 0 {
            return;
        }
        if let Some(place) = &state.place {
            place.turn(false);
        }
        drop(state);
        self.inner.nobody.notify_waiters();
    }

    /// Waits until nobody is known to wait: at once if nobody is.
    ///
    /// Cancel safe.
    pub async fn unwanted(&self) {
        loop {
            let left = self.inner.nobody.notified();
            if !self.lock().is_known() {
                return;
            }
            left.await;
        }
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
    async fn it_is_unwanted_while_nobody_is_known_to_wait() {
        let interest = Interest::default();
        interest.unwanted().await;
        interest.enter();
        interest.enter();
        let mut unwanted = Box::pin(interest.unwanted());
        assert!((&mut unwanted).now_or_never().is_none());
        interest.leave();
        assert!((&mut unwanted).now_or_never().is_none());
        interest.leave();
        unwanted.await;
    }
}
