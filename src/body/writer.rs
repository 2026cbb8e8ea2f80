//! The writing end of a growing body.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::fill::Fill;
use super::{Error, Growing, Spill, uploader};
use crate::record::Manifest;

/// Takes a body as it arrives. Dropped before [`Writer::finish`], its readers end with an error.
#[derive(Debug)]
pub struct Writer {
    fill: Arc<Fill>,
    max: u64,
    /// Why no more bytes are stored, and the bytes that were written nevertheless.
    refusal: Option<Error>,
    refused: Vec<Bytes>,
    ended: bool,
}

/// A complete body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// Its segments.
    pub manifest: Manifest,
    /// Its bytes, if its only segment is nowhere yet: they belong beside the record that names it. The same
    /// storage as [`Growing::held`].
    pub beside: Option<Bytes>,
}

// === impl Writer ===

impl Writer {
    pub(super) fn begin(fill: Fill, max: u64) -> (Self, Growing) {
        let fill = Arc::new(fill);
        let growing = Growing::of(Arc::clone(&fill));
        let writer = Self { fill, max, refusal: None, refused: Vec::new(), ended: false };
        (writer, growing)
    }

    /// Takes `bytes` in, gives them to the readers, and waits while the store is behind. Does not wait for
    /// readers.
    ///
    /// After an error every call returns that error, and the body can only be [spilt](Self::spill) or
    /// dropped. No byte is lost: a spill begins with those that were refused.
    ///
    /// # Errors
    /// [`Error::TooLarge`] over the limit, [`Error::Full`] over the segments of a manifest,
    /// [`Error::Truncated`] over the promised length, [`Error::Store`] or [`Error::NoRoom`] if
    /// the store fails.
    ///
    /// # Cancel safety
    /// The bytes are taken at the first poll: if dropped while it waits, nothing is lost.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), Error> {
        if bytes.is_empty() {
            return Ok(());
        }
        if self.refusal.is_none() {
            let len = self.fill.written().saturating_add(bytes.len() as u64);
            self.refusal = if len > self.max {
                Some(Error::TooLarge)
            } else if self.fill.len_hint.is_some_and(|hint| len > hint) {
                Some(Error::Truncated)
            } else {
                self.fill.crowded().err()
            };
        }
        if let Some(cause) = &self.refusal {
            self.refused.push(bytes);
            return Err(cause.clone());
        }
        self.fill.append(bytes);
        uploader::begin(&self.fill);
        loop {
            match self.fill.crowded() {
                Ok(false) => return Ok(()),
                Ok(true) => self.fill.room.notified().await,
                Err(cause) => {
                    self.refusal = Some(cause.clone());
                    return Err(cause);
                }
            }
        }
    }

    /// Appends segments of this body's key that are stored already to all that was written, once that is
    /// stored too.
    ///
    /// # Errors
    /// [`Error::Manifest`] if `stored` is invalid, [`Error::Full`] over the segments of a manifest; else the
    /// error of the store.
    ///
    /// # Cancel safety
    /// If dropped while it waits, nothing is appended.
    pub async fn append(&mut self, stored: &Manifest) -> Result<(), Error> {
        super::check(stored)?;
        loop {
            let taken = match &self.refusal {
                Some(cause) => Err(cause.clone()),
                None => self.fill.crowded().and_then(|_| self.fill.attach(stored)),
            };
            match taken {
                Ok(true) => return Ok(()),
                Ok(false) => {
                    uploader::begin_at_last(&self.fill);
                    self.fill.room.notified().await;
                }
                Err(cause) => {
                    self.refusal = Some(cause.clone());
                    return Err(cause);
                }
            }
        }
    }

    /// Returns whether the body is still shorter than upstream promised.
    pub fn is_short(&self) -> bool {
        self.fill.len_hint.is_some_and(|hint| self.fill.written() < hint)
    }

    /// Sets how long segments live that are carried: until the end of the record that will name them. To be
    /// called before the first byte is written. The default is [`super::Settings::max_life`].
    pub fn lives(&self, lives: Duration) {
        self.fill.set_lives(lives);
    }

    /// Completes the body: its readers end cleanly at once. Returns the manifest when the store has all of
    /// it. A small body that is complete before any of it was put is not stored: its bytes are returned with
    /// its manifest, to be written beside the record.
    ///
    /// # Errors
    /// The error of the store: the readers end cleanly nevertheless. [`Error::Truncated`] if the body is
    /// shorter than was promised, or the error of an earlier [`Writer::write`]: then the readers end with an
    /// error.
    ///
    /// # Cancel safety
    /// If dropped while it waits, the store still gets the rest, but its manifest is lost.
    pub async fn finish(mut self) -> Result<Finished, Error> {
        if let Some(cause) = self.refusal.take() {
            return Err(cause);
        }
        if self.fill.len_hint.is_some_and(|hint| hint != self.fill.written()) {
            return Err(Error::Truncated);
        }
        self.ended = true;
        if let Some((manifest, bytes)) = self.fill.complete_beside()? {
            return Ok(Finished { manifest, beside: Some(bytes) });
        }
        self.fill.complete();
        loop {
            if let Some(settled) = self.fill.settled() {
                return settled.map(|manifest| Finished { manifest, beside: None });
            }
            self.fill.room.notified().await;
        }
    }

    /// Stops storing, because of the error of [`Writer::write`]. The rest goes to the readers on this
    /// instance, at the pace of the slowest.
    pub fn spill(mut self) -> Spill {
        self.ended = true;
        let cause = self.refusal.take().unwrap_or(Error::Broken);
        Spill::begin(Arc::clone(&self.fill), cause, std::mem::take(&mut self.refused))
    }

    /// How many bytes were taken in, including those of an earlier writer.
    pub fn written(&self) -> u64 {
        self.fill.written()
    }

    /// The manifest of the segments that the store has acknowledged, without a gap; `len` is their sum.
    pub fn acknowledged(&self) -> Manifest {
        self.fill.acknowledged()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if !self.ended {
            self.fill.break_off();
        }
    }
}
