//! A body that is no longer stored: its bytes go to its readers, at the pace of the slowest.

use tokio::time::Instant;

use super::super::Error;
use super::attached::Pace;
use super::{Fill, Phase};

/// How many bytes the slowest reader may be behind before the writer waits for it.
const BACKLOG: u64 = 256 * 1024;

impl Fill {
    /// From now on the body goes to its readers and not to the store, because of `cause`.
    pub(in crate::body) fn begin_spill(&self, cause: Error) {
        let mut state = self.lock();
        state.failure.get_or_insert(cause);
        state.readers.are_waited_for(Instant::now());
        drop(state);
        self.enter(Phase::Spilling);
    }

    /// Why the body is not stored, if that is known.
    pub(in crate::body) fn refusal(&self) -> Option<Error> {
        self.lock().failure.clone()
    }

    /// Waits until all readers are near enough. A reader that takes nothing for too long is broken off.
    ///
    /// # Errors
    /// [`Error::Gone`] once there are no readers.
    pub(in crate::body) async fn keep_pace(&self) -> Result<(), Error> {
        let began = Instant::now();
        loop {
            let until = match self.pace(began) {
                Pace::Nobody => return Err(Error::Gone),
                Pace::Near => return Ok(()),
                Pace::Behind(until) => until,
            };
            // Woken or timed out, the pace is checked again.
            let _ = tokio::time::timeout_at(until, self.room.notified()).await;
        }
    }

    /// Waits until there are no readers. Cancel safe.
    pub(in crate::body) async fn deserted(&self) {
        while self.is_read() {
            self.room.notified().await;
        }
    }

    /// Returns whether the body has readers. Of use only once it is no longer stored.
    pub(in crate::body) fn is_read(&self) -> bool {
        let state = self.lock();
        state.readers.floor(state.window.start(), state.acknowledged).is_some()
    }

    fn pace(&self, since: Instant) -> Pace {
        let patience = self.bodies.settings.patience;
        let mut state = self.lock();
        let end = state.window.end();
        let pace = state.readers.pace(end, BACKLOG, patience, since, Instant::now());
        // Readers that were broken off need no bytes.
        let before = state.window.len();
        self.trim(&mut state, before);
        pace
    }
}
