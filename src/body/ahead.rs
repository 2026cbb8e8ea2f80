//! Segments that are read before their reader needs them.
//!
//! The depth adapts. A reader that had to wait for a segment has twice as many read ahead from then on. A
//! reader that repeatedly finds all of them present when it goes on to the next has one less. So a client
//! that is slower than the store holds one, and a fast client holds as many as hide the latency of the store.

use std::collections::VecDeque;
use std::sync::Arc;

use super::blocks::Sound;
use super::share::Read;
use crate::record::Segment;

/// The most segments that are read ahead.
const MOST: usize = 8;
/// The most bytes that are read ahead, unless one segment alone has more.
const MOST_BYTES: u64 = 8 << 20;
/// The depth shrinks after all segments were present so many times in a row. Once is not enough: segments
/// that were requested together arrive together.
const IDLE: u32 = 3;

type Reading = Arc<Read<Arc<Sound>>>;

/// The segment that is being passed on, if it is kept, and the segments read ahead.
#[derive(Debug)]
pub(super) struct Ahead {
    kept: VecDeque<Kept>,
    /// How many segments to read ahead.
    depth: usize,
    /// How often in a row all of them were present.
    idle: u32,
    /// The offset in the body of the segment that is being passed on.
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
    /// The read of the segment at offset `start`, which is passed on now. Drops the segments before it.
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

    /// Keeps the segment that is passed on now, which was not read ahead.
    pub(super) fn keep(
        &mut self,
        start: u64,
        segment: &Segment,
        read: impl FnOnce() -> Option<Reading>,
    ) -> Option<Reading> {
        // The kept segment is of another manifest.
        if self.kept.front().is_some_and(|kept| kept.start == start) {
            self.kept.clear();
        }
        let read = read()?;
        self.kept.push_front(Kept { start, segment: *segment, read: Arc::clone(&read) });
        Some(read)
    }

    /// The reader had to wait for a segment: reads more ahead from now on.
    pub(super) fn waits(&mut self) {
        self.depth = (self.depth * 2).min(MOST);
    }

    /// Returns whether more segments may be read ahead.
    pub(super) fn wants_more(&self) -> bool {
        self.coming().count() < self.depth && self.bytes() < MOST_BYTES
    }

    /// Starts to read a segment that comes after all that are read ahead, unless it is one of them. `read`
    /// returns `None` if the segment need not be read, and `Some(None)` if there is no room for it. Returns
    /// whether to go on to the next segment.
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

    /// The segments after the one that is passed on.
    fn coming(&self) -> impl Iterator<Item = &Kept> {
        self.kept.iter().filter(|kept| self.at.is_none_or(|at| kept.start > at))
    }

    fn bytes(&self) -> u64 {
        self.coming().map(|kept| kept.segment.len).sum()
    }
}
