//! Segments that another writer has stored. Its manifests name them, and readers read them like those of this
//! writer.

use std::sync::MutexGuard;
use std::sync::atomic::Ordering;

use super::super::Error;
use super::super::waiting::wake;
use super::super::window::Window;
use super::{Fill, WriterState};
use crate::record::{MAX_SEGMENTS, Manifest, Segment};

impl Fill {
    /// Appends segments that are stored already to those that are known. `manifest` begins with the known
    /// ones.
    pub(in crate::body) fn extend(&self, manifest: &Manifest) -> Result<(), Error> {
        self.is_ours(manifest)?;
        let mut state = self.lock();
        let known = state.segments.len();
        if !manifest.segments.starts_with(&state.segments) || manifest.segments.len() > MAX_SEGMENTS {
            return Err(Error::Manifest);
        }
        state.append(&manifest.segments[known..])?;
        self.moved_on(state);
        Ok(())
    }

    /// Replaces the known segments by those of another writer. The caller has checked that the bytes are the
    /// same.
    pub(in crate::body) fn graft(&self, manifest: &Manifest) -> Result<(), Error> {
        self.is_ours(manifest)?;
        let mut state = self.lock();
        if manifest.len < state.acknowledged || manifest.segments.len() > MAX_SEGMENTS {
            return Err(Error::Manifest);
        }
        state.segments.clear();
        state.starts.clear();
        state.acknowledged = 0;
        state.append(&manifest.segments)?;
        self.moved_on(state);
        Ok(())
    }

    /// Appends segments that are stored already to all that was written. Returns false, and changes nothing,
    /// until what was written is acknowledged.
    pub(in crate::body) fn attach(&self, manifest: &Manifest) -> Result<bool, Error> {
        self.is_ours(manifest)?;
        let mut state = self.lock();
        if state.acknowledged < state.window.end() {
            state.flushes = true;
            drop(state);
            self.nudge.notify_one();
            return Ok(false);
        }
        if state.segments.len() + manifest.segments.len() > MAX_SEGMENTS {
            return Err(Error::Full);
        }
        state.append(&manifest.segments)?;
        let held = state.window.len();
        self.bodies.store.counters.window.fetch_sub(held, Ordering::Relaxed);
        self.moved_on(state);
        Ok(true)
    }

    /// Fails if these segments are of another life of the store than this body.
    fn is_ours(&self, manifest: &Manifest) -> Result<(), Error> {
        match manifest.segments.first() {
            Some(Segment { token, n, .. }) if !manifest.is_of(self.name.life()) => {
                Err(Error::Missing { token: *token, n: *n })
            }
            _ => Ok(()),
        }
    }

    /// The segments have changed: resets the window behind them and wakes the readers.
    fn moved_on(&self, mut state: MutexGuard<'_, WriterState>) {
        state.cut_to = state.acknowledged;
        state.index = state.segments.len();
        state.window = Window::at(state.acknowledged);
        let count = state.segments.len();
        let wakers = state.waiting.take();
        drop(state);
        self.progress.send_replace(count);
        wake(wakers);
    }
}

impl WriterState {
    fn append(&mut self, segments: &[Segment]) -> Result<(), Error> {
        for segment in segments {
            let start = self.acknowledged;
            self.acknowledged = start.checked_add(segment.len).ok_or(Error::Manifest)?;
            self.starts.push(start);
            self.segments.push(*segment);
        }
        Ok(())
    }
}
