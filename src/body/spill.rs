//! The rest of a body that cannot be stored, for its readers on this instance.

use std::sync::Arc;

use bytes::Bytes;

use super::Error;
use super::fill::Fill;

/// Passes bytes to all readers that the body has on this instance, at the pace of the slowest. A reader that
/// takes nothing for [`super::Settings::patience`] while this waits for it is broken off. Dropped before
/// [`Spill::finish`], the readers end with an error.
#[derive(Debug)]
pub struct Spill {
    fill: Arc<Fill>,
    ended: bool,
}

// === impl Spill ===

impl Spill {
    pub(super) fn begin(fill: Arc<Fill>, cause: Error, refused: Vec<Bytes>) -> Self {
        fill.begin_spill(cause);
        for bytes in refused {
            fill.append(bytes);
        }
        Self { fill, ended: false }
    }

    /// Returns whether there are readers left.
    pub fn wanted(&self) -> bool {
        self.fill.is_read()
    }

    /// The length of the body so far.
    pub fn written(&self) -> u64 {
        self.fill.written()
    }

    /// Waits until there are no readers. Cancel safe.
    pub async fn deserted(&self) {
        self.fill.deserted().await;
    }

    /// Passes `bytes` on, and waits while a reader is behind.
    ///
    /// # Errors
    /// [`Error::Gone`] if there are no readers left.
    ///
    /// # Cancel safety
    /// The bytes are taken at the first poll: if dropped while it waits, nothing is lost.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), Error> {
        if !self.wanted() {
            return Err(Error::Gone);
        }
        self.fill.append(bytes);
        self.fill.keep_pace().await
    }

    /// Completes the body: its readers end cleanly.
    ///
    /// # Errors
    /// [`Error::Truncated`] if its length is not the promised one: then the readers end with an error.
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
