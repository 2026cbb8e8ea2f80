//! A body that is stored no more, and goes on to those who read it, at the pace of the slowest.

use tokio::time::Instant;

use super::super::Error;
use super::attached::Pace;
use super::{Fill, Phase};

/// What the slowest reader may be behind before the others wait for it.
const BACKLOG: u64 = 256 * 1024;

impl Fill {
    /// From here on it goes to those who read it and to no store, because of `cause`.
    pub(in crate::body) fn begin_spill(&self, cause: Error) {
        let mut state = self.lock();
        state.failure.get_or_insert(cause);
        state.readers.are_waited_for(Instant::now());
        drop(state);
        self.enter(Phase::Spilling);
    }

    /// Why it is not stored, if that is known.
    pub(in crate::body) fn refusal(&self) -> Option<Error> {
        self.lock().failure.clone()
    }

    /// Waits until all who read it are near enough. Who takes nothing for too long is broken off.
    ///
    /// # Errors
    /// [`Error::Gone`] once nobody reads it.
    pub(in crate::body) async fn keep_pace(&self) -> Result<(), Error> {
        let began = Instant::now();
        loop {
            let until = match self.pace(began) {
                Pace::Nobody => return Err(Error::Gone),
                Pace::Near => return Ok(()),
                Pace::Behind(until) => until,
            };
            // Woken or not, it is looked at again.
            let _ = tokio::time::timeout_at(until, self.room.notified()).await;
        }
    }

    /// Waits until nobody reads it. Cancel safe.
    pub(in crate::body) async fn deserted(&self) {
        while self.is_read() {
            self.room.notified().await;
        }
    }

    /// Returns whether anybody reads it, once it is stored no more.
    pub(in crate::body) fn is_read(&self) -> bool {
        let state = self.lock();
        state.readers.floor(state.window.start(), state.acknowledged).is_some()
    }

    fn pace(&self, since: Instant) -> Pace {
        let patience = self.bodies.settings.patience;
        let mut state = self.lock();
        let end = state.window.end();
        let pace = state.readers.pace(end, BACKLOG, patience, since, Instant::now());
        // Those who were broken off need nothing.
        let before = state.window.len();
        self.trim(&mut state, before);
        pace
    }
}
