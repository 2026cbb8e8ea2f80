//! The handle that readers of a growing body are made from.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use tokio::sync::watch;

use super::fill::Fill;
use super::{Error, Reader};
use crate::record::Manifest;

/// A body that is being written on this instance, or was. Cheap to clone. While a clone lives, the recent
/// bytes stay in memory.
#[derive(Debug, Clone)]
pub struct Growing {
    fill: Arc<Fill>,
}

// === impl Growing ===

impl Growing {
    pub(super) fn of(fill: Arc<Fill>) -> Self {
        Self { fill }
    }

    /// A reader of the whole body, or of its bytes `first..=last`; a `last` of `u64::MAX` is the end of the
    /// body. The range may begin at a byte that has not arrived yet. If the body ends before the range does,
    /// the reader ends with an error.
    pub fn reader(&self, range: Option<(u64, u64)>) -> Reader {
        let seat = self.fill.take_seat(range.map_or(0, |(first, _)| first));
        Reader::growing(Arc::clone(&self.fill), range, seat)
    }

    /// As [`Growing::reader`], for a caller that still has an alternative.
    ///
    /// # Errors
    /// Why the body is not stored, if its first byte can't be had here any more for that reason.
    pub fn reader_if_served(&self, range: Option<(u64, u64)>) -> Result<Reader, Error> {
        let seat = self.fill.take_seat_if_served(range.map_or(0, |(first, _)| first))?;
        Ok(Reader::growing(Arc::clone(&self.fill), range, seat))
    }

    /// Why the body will not be stored, once that is known. Its readers get the rest nevertheless.
    pub fn refusal(&self) -> Option<Error> {
        self.fill.refusal()
    }

    /// The length of the body, once all of it was written.
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

    /// Returns whether one of its segments was found missing or corrupt a moment ago.
    pub fn is_gone(&self) -> bool {
        self.fill.bodies.knows(&self.fill.name, &self.acknowledged()).is_err()
    }

    /// The whole body in an allocation of its own, if it is complete and no longer than
    /// [`super::Settings::hold`].
    pub fn held(&self) -> Option<Bytes> {
        self.fill.held()
    }

    /// The whole of a complete body that no store will have all of: a small one that is not put, or one whose
    /// last bytes came from memory. `None` for any other.
    pub async fn in_memory(&self) -> Option<Bytes> {
        if let Some(whole) = self.held() {
            return Some(whole);
        }
        if !self.fill.is_unshelved() {
            return None;
        }
        let (mut reader, mut whole) = (self.reader(None), BytesMut::new());
        while let Some(next) = reader.next().await {
            whole.extend_from_slice(&next.ok()?);
        }
        Some(whole.freeze())
    }

    /// The manifest of the segments that the store has acknowledged, without a gap; `len` is their sum.
    pub fn acknowledged(&self) -> Manifest {
        self.fill.acknowledged()
    }

    /// Returns whether the body will never be stored whole: it broke off or the store refused it.
    pub fn is_broken(&self) -> bool {
        self.fill.is_broken()
    }

    /// Returns whether the body broke off before the byte at `at`.
    pub fn is_broken_at(&self, at: u64) -> bool {
        self.fill.is_broken_at(at)
    }

    /// Waits until nothing was heard for too long of the instance that writes the body: a caller that has had
    /// no byte should not wait for more. Waits for ever if that never happens. Cancel safe.
    pub async fn until_doubted(&self) {
        self.fill.until_doubted().await;
    }

    /// Watches how many segments are acknowledged. Also notifies when the body has ended, completely or not.
    pub fn progress(&self) -> watch::Receiver<usize> {
        self.fill.progress.subscribe()
    }
}
