//! What the readers of a growing body are made from.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::watch;

use super::fill::Fill;
use super::{Error, Reader};
use crate::record::Manifest;

/// A body that is being written here, or was. Cheap to clone; while one lives, the recent bytes
/// stay in memory.
#[derive(Debug, Clone)]
pub struct Growing {
    fill: Arc<Fill>,
}

// === impl Growing ===

impl Growing {
    pub(super) fn of(fill: Arc<Fill>) -> Self {
        Self { fill }
    }

    /// A reader from the first byte, or of `first..=last`; a `last` of `u64::MAX` is the end of
    /// the body. It may begin where the body is not yet. If the body ends before the range
    /// does, the reader ends with an error.
    pub fn reader(&self, range: Option<(u64, u64)>) -> Reader {
        let seat = self.fill.take_seat(range.map_or(0, |(first, _)| first));
        Reader::growing(Arc::clone(&self.fill), range, seat)
    }

    /// As [`Growing::reader`], for one that can still do without.
    ///
    /// # Errors
    /// Why the body is not stored, if that is why its first byte is not to be had here any more.
    pub fn reader_if_served(&self, range: Option<(u64, u64)>) -> Result<Reader, Error> {
        let seat = self.fill.take_seat_if_served(range.map_or(0, |(first, _)| first))?;
        Ok(Reader::growing(Arc::clone(&self.fill), range, seat))
    }

    /// Why it will not be stored, once that is known. Those who read it get the rest nevertheless.
    pub fn refusal(&self) -> Option<Error> {
        self.fill.refusal()
    }

    /// The length of the whole, when all of it was written.
    pub fn len_if_done(&self) -> Option<u64> {
        self.fill.len_if_complete()
    }

    /// The length that upstream promised.
    pub fn len_hint(&self) -> Option<u64> {
        self.fill.len_hint
    }

    /// How many bytes were written so far.
    pub fn written(&self) -> u64 {
        self.fill.written()
    }

    /// Returns whether a byte is in memory, or still to come.
    pub fn has_in_memory(&self, at: u64) -> bool {
        self.fill.has_in_memory(at)
    }

    /// Returns whether one of its segments was found missing or wrong a moment ago.
    pub fn is_gone(&self) -> bool {
        self.fill.bodies.knows(&self.fill.name, &self.acknowledged()).is_err()
    }

    /// The whole in one piece of its own, if it is complete and no longer than
    /// [`super::Settings::hold`].
    pub fn held(&self) -> Option<Bytes> {
        self.fill.held()
    }

    /// The segments that the store has, from the first without a gap; `len` is their sum.
    pub fn acknowledged(&self) -> Manifest {
        self.fill.acknowledged()
    }

    /// Whether no more bytes will come although the body is not complete.
    pub fn is_broken(&self) -> bool {
        self.fill.is_broken()
    }

    /// Returns whether it was broken off before a byte came, which will not come any more.
    pub fn is_broken_at(&self, at: u64) -> bool {
        self.fill.is_broken_at(at)
    }

    /// Waits until nothing was heard for too long of whoever writes it elsewhere: who has had no byte of
    /// it should not wait for more. For ever if that never is. Cancel safe.
    pub async fn until_doubted(&self) {
        self.fill.until_doubted().await;
    }

    /// Tells how many segments are acknowledged, whenever that changes, and that the body has
    /// ended, one way or the other.
    pub fn progress(&self) -> watch::Receiver<usize> {
        self.fill.progress.subscribe()
    }
}
