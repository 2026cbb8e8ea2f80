//! A body that may turn out to be small. It is not put as long as it may lie beside its record.

use std::time::Duration;

use bytes::Bytes;

use super::super::Error;
use super::super::name::digest;
use super::{Fill, Phase};
use crate::record::{Manifest, Segment};

/// Whether a body is put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Upload {
    /// Nothing was written yet.
    Waits,
    /// It may yet be complete, and small, before its time is over.
    InGrace,
    /// Its segments are put.
    Runs,
    /// It is complete and small, and is not put.
    Spared,
}

/// Whether the uploader starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::body) enum Start {
    Now,
    /// When the body has had its time.
    Later,
    No,
}

impl Fill {
    /// Sets how long carried segments live, unless that was set.
    pub(in crate::body) fn set_lives(&self, lives: Duration) {
        // The first stays.
        let _ = self.lives.set(lives);
    }

    /// How long carried segments live.
    pub(in crate::body) fn lives(&self) -> Duration {
        self.lives.get().copied().unwrap_or(self.bodies.settings.max_life)
    }

    /// Returns whether the uploader starts, now that bytes were written. It starts once.
    pub(in crate::body) fn starts(&self) -> Start {
        let mut state = self.lock();
        let may_be_small = state.segments.is_empty() && state.window.end() <= self.small;
        let (next, start) = match state.upload {
            Upload::Waits if may_be_small => (Upload::InGrace, Start::Later),
            Upload::Waits => (Upload::Runs, Start::Now),
            Upload::InGrace if !may_be_small => (Upload::Runs, Start::Now),
            same => (same, Start::No),
        };
        state.upload = next;
        start
    }

    /// Returns whether the uploader starts, although the body may still be small. It starts once, and only
    /// while more bytes may come.
    pub(in crate::body) fn starts_at_last(&self) -> bool {
        let mut state = self.lock();
        let waits = matches!(state.upload, Upload::Waits | Upload::InGrace);
        let starts = waits && state.phase == Phase::Open;
        if starts {
            state.upload = Upload::Runs;
        }
        starts
    }

    /// Completes a small body of which nothing was put: its readers end cleanly. Returns its manifest and its
    /// bytes; `None`, and changes nothing, if it is another body.
    ///
    /// # Errors
    /// [`Error::NoRoom`] if there is no room for it; its readers end cleanly nevertheless.
    pub(in crate::body) fn complete_beside(&self) -> Result<Option<(Manifest, Bytes)>, Error> {
        let mut state = self.lock();
        if state.upload != Upload::InGrace || state.phase != Phase::Open || !state.segments.is_empty() {
            return Ok(None);
        }
        state.upload = Upload::Spared;
        let bytes = state.window.join();
        drop(state);
        self.complete();
        let len = bytes.len() as u64;
        self.bodies.store.has_room_beside(len).inspect_err(|cause| self.fail(cause.clone()))?;
        let segment = Segment { token: self.token, n: 0, len, digest: digest([&bytes[..]]), carried: true };
        let life = Some(self.name.life().clone());
        Ok(Some((Manifest { life, len, segments: [segment].into() }, bytes)))
    }
}
