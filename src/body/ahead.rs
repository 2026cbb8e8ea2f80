//! Segments that a reader has sent for before it needs them.
//!
//! As many as it takes: a reader that had to wait for a segment has twice as many read from then on,
//! one that finds all of them there whenever it goes on to the next has one less. So a client that is
//! slower than the store holds one, and a fast one as many as hide the store's way.

use std::collections::VecDeque;
use std::sync::Arc;

use super::blocks::Sound;
use super::share::Read;
use crate::record::Segment;

/// How many segments are read ahead at most.
const MOST: usize = 8;
/// And bytes of them, if that is more than one.
const MOST_BYTES: u64 = 8 << 20;
/// So often in a row all of them have to be there: those that were sent for together come together.
const IDLE: u32 = 3;

type Reading = Arc<Read<Arc<Sound>>>;

/// The segment that is being passed on, if it is kept, and those after it.
#[derive(Debug)]
pub(super) struct Ahead {
    kept: VecDeque<Kept>,
    /// How many are read ahead.
    depth: usize,
    /// How often in a row all of them were there.
    idle: u32,
    /// Where the segment begins that is being passed on.
    at: Option<u64>,
}

#[derive(Debug)]
struct Kept {
    start: u64,
    segment: Segment,
    read: Reading,
}

// === impl Ahead ===

impl Default for Ahead {
    fn default() -> Self {
        Self { kept: VecDeque::new(), depth: 1, idle: 0, at: None }
    }
}

impl Ahead {
    /// The read of the segment that begins at `start`, which is passed on now. Those before it are let go.
    pub(super) fn at(&mut self, start: u64, segment: &Segment) -> Option<&Reading> {
        while self.kept.front().is_some_and(|kept| kept.start < start) {
            self.kept.pop_front();
        }
        if self.at.replace(start).is_some_and(|before| before != start) {
            let all = self.kept.len() >= self.depth && self.kept.iter().all(|kept| kept.read.get().is_some());
            self.idle = if all { self.idle + 1 } else { 0 };
            if self.idle >= IDLE {
                (self.depth, self.idle) = ((self.depth - 1).max(1), 0);
            }
        }
        let front = self.kept.front().filter(|kept| kept.start == start && kept.segment == *segment)?;
        Some(&front.read)
    }

    /// Keeps the segment that is passed on now, which was not sent for.
    pub(super) fn keep(
        &mut self,
        start: u64,
        segment: &Segment,
        read: impl FnOnce() -> Option<Reading>,
    ) -> Option<Reading> {
        // It is of another manifest.
        if self.kept.front().is_some_and(|kept| kept.start == start) {
            self.kept.clear();
        }
        let read = read()?;
        self.kept.push_front(Kept { start, segment: *segment, read: Arc::clone(&read) });
        Some(read)
    }

    /// A segment had to be waited for.
    pub(super) fn waits(&mut self) {
        self.depth = (self.depth * 2).min(MOST);
    }

    /// Returns whether more segments may be sent for.
    pub(super) fn wants_more(&self) -> bool {
        self.coming().count() < self.depth && self.bytes() < MOST_BYTES
    }

    /// Sends for a segment that comes after all that were sent for, unless it was. `read`: none if it
    /// need not be read, none of that if there is no room for it. Returns whether to go on to the next.
    pub(super) fn send_for(
        &mut self,
        start: u64,
        segment: &Segment,
        read: impl FnOnce() -> Option<Option<Reading>>,
    ) -> bool {
        if self.kept.back().is_some_and(|last| last.start >= start) {
            return true;
        }
        if !self.wants_more() || (self.coming().next().is_some() && self.bytes() + segment.len > MOST_BYTES) {
            return false;
        }
        match read() {
            None => true,
            Some(None) => false,
            Some(Some(read)) => {
                self.kept.push_back(Kept { start, segment: *segment, read });
                true
            }
        }
    }

    /// Those after the one that is passed on.
    fn coming(&self) -> impl Iterator<Item = &Kept> {
        self.kept.iter().filter(|kept| self.at.is_none_or(|at| kept.start > at))
    }

    fn bytes(&self) -> u64 {
        self.coming().map(|kept| kept.segment.len).sum()
    }
}
