//! The rest of a body that cannot be stored, for those who read it here.

use std::sync::Arc;

use bytes::Bytes;

use super::Error;
use super::fill::Fill;

/// Passes bytes to all readers that the body has on this instance, at the pace of the slowest. One that
/// takes nothing for [`super::Settings::patience`] while the others wait for it is broken off. Dropped
/// before [`Spill::finish`], all of them end with an error.
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

    /// Whether there is anybody to spill to.
    pub fn wanted(&self) -> bool {
        self.fill.is_read()
    }

    /// How many bytes the body has so far.
    pub fn written(&self) -> u64 {
        self.fill.written()
    }

    /// Waits until there is nobody to spill to. Cancel safe.
    pub async fn deserted(&self) {
        self.fill.deserted().await;
    }

    /// Passes `bytes` on, and waits while a reader is behind.
    ///
    /// # Errors
    /// [`Error::Gone`] if nobody reads any more.
    ///
    /// # Cancel safety
    /// The bytes are taken at the first poll; dropped while it waits, nothing is lost.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), Error> {
        if !self.wanted() {
            return Err(Error::Gone);
        }
        self.fill.append(bytes);
        self.fill.keep_pace().await
    }

    /// The body is complete: the readers end cleanly.
    ///
    /// # Errors
    /// [`Error::Truncated`] if it is not as long as was promised: then they are broken off.
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
