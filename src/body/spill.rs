//! The rest of a body that cannot be stored, for the client that asked for it.

use std::sync::Arc;

use bytes::Bytes;

use super::Error;
use super::fill::Fill;

/// Passes bytes to the owner's reader and to nobody else. Dropped before [`Spill::finish`], that
/// reader ends with an error.
#[derive(Debug)]
pub struct Spill {
    fill: Arc<Fill>,
    ended: bool,
}

// === impl Spill ===

impl Spill {
    pub(super) fn begin(fill: Arc<Fill>, refused: Vec<Bytes>) -> Self {
        fill.begin_spill();
        for bytes in refused {
            fill.append(bytes);
        }
        Self { fill, ended: false }
    }

    /// Whether there is anybody to spill to.
    pub fn wanted(&self) -> bool {
        self.fill.owner_behind().is_ok()
    }

    /// Passes `bytes` on, and waits while the reader is behind.
    ///
    /// # Errors
    /// [`Error::Gone`] if it has gone, or was never made.
    ///
    /// # Cancel safety
    /// The bytes are taken at the first poll; dropped while it waits, nothing is lost.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), Error> {
        self.fill.owner_behind()?;
        self.fill.append(bytes);
        while self.fill.owner_behind()? {
            self.fill.room.notified().await;
        }
        Ok(())
    }

    /// The body is complete: the reader ends cleanly.
    ///
    /// # Errors
    /// [`Error::Truncated`] if it is not as long as was promised: then the reader is broken off.
    pub fn finish(mut self) -> Result<(), Error> {
        if self.fill.len_hint.is_some_and(|hint| hint != self.fill.written()) {
            return Err(Error::Truncated);
        }
        self.ended = true;
        self.fill.complete();
        Ok(())
    }
}

impl Drop for Spill {
    fn drop(&mut self) {
        if !self.ended {
            self.fill.break_off();
        }
    }
}
