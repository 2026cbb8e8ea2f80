//! The readers' side of a body that is being written.

use std::sync::MutexGuard;
use std::task::Waker;

use tokio::time::Instant;

use super::super::Error;
use super::super::waiting::Place;
use super::{BLOCK, Fill, Next, Phase, Seat, WriterState};

impl Fill {
    /// Adds a reader that begins at `at`. Its seat is kept until [`Fill::leave`].
    pub(in crate::body) fn take_seat(&self, at: u64) -> Seat {
        self.lock().readers.enter(at, Instant::now())
    }

    /// As [`Fill::take_seat`], unless the bytes from `at` on can't be had to the end: then the error is why.
    pub(in crate::body) fn take_seat_if_served(&self, at: u64) -> Result<Seat, Error> {
        let mut state = self.lock();
        let is_here = at >= state.window.start() || at < state.acknowledged;
        match &state.failure {
            Some(cause) if state.phase == Phase::Broken || !is_here => Err(cause.clone()),
            _ => Ok(state.readers.enter(at, Instant::now())),
        }
    }

    /// Returns whether a reader at `at` would get only the error that the body broke off.
    pub(in crate::body) fn is_broken_at(&self, at: u64) -> bool {
        let state = self.lock();
        state.phase == Phase::Broken && at >= state.window.end()
    }

    /// Removes a reader that was dropped or has ended.
    pub(in crate::body) fn leave(&self, seat: Seat) {
        let mut state = self.lock();
        state.readers.leave(seat);
        self.let_go(state);
    }

    /// Notes that a reader is not read yet but will be: it is not too slow.
    pub(in crate::body) fn stays(&self, seat: Seat) {
        self.lock().readers.stays(seat, Instant::now());
    }

    /// What a reader at `at` does next. `end` is where its range ends, `None` for the end of the body. For
    /// [`Next::Wait`], `waker` is registered.
    pub(in crate::body) fn next(
        &self,
        at: u64,
        end: Option<u64>,
        seat: Seat,
        place: &mut Place,
        waker: &Waker,
    ) -> Next {
        let mut state = self.lock();
        if state.readers.is_cut(seat) {
            return Next::Fail(Error::TooSlow);
        }
        let next = state.next(at, end, place, waker);
        if state.readers.moved(seat, at) {
            self.let_go(state);
        }
        next
    }

    /// A reader has moved on: drops what no reader needs any more, and wakes the writer that waits for that.
    fn let_go(&self, mut state: MutexGuard<'_, WriterState>) {
        if state.phase == Phase::Spilling {
            let before = state.window.len();
            self.trim(&mut state, before);
            drop(state);
            self.room.notify_one();
        }
    }
}

impl WriterState {
    fn next(&mut self, at: u64, end: Option<u64>, place: &mut Place, waker: &Waker) -> Next {
        if end.is_some_and(|end| at >= end) {
            return Next::End;
        }
        if at < self.window.start() {
            // Bytes that left the window are acknowledged and so found in the store. While spilling they may
            // not be: then every reader had had them.
            let index = self.starts.partition_point(|start| *start <= at).saturating_sub(1);
            return match (self.segments.get(index), self.starts.get(index)) {
                (Some(segment), Some(start)) if at < self.acknowledged => Next::Fetch(*segment, *start),
                _ => Next::Fail(Error::Broken),
            };
        }
        if let Some(chunk) = self.window.from(at) {
            let most = end.map_or(BLOCK, |end| (end - at).min(BLOCK));
            let most = usize::try_from(most).unwrap_or(usize::MAX);
            return Next::Chunk(if chunk.len() > most { chunk.slice(..most) } else { chunk });
        }
        match self.phase {
            Phase::Complete if end.is_some() => Next::Fail(Error::Range),
            Phase::Complete if at > self.window.end() => Next::Fail(Error::Range),
            Phase::Complete => Next::End,
            Phase::Broken => Next::Fail(Error::Broken),
            Phase::Open | Phase::Spilling => {
                self.waiting.enter(place, waker);
                Next::Wait
            }
        }
    }
}
