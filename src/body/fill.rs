//! The state that a writer, its uploader and its readers share.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::destination::Destination;
use super::name::Name;
use super::sweep::Written;
use super::waiting::{ReadWaiter, wake};
use super::window::Window;
use super::{Bodies, Error, segmenting};
use crate::record::{MAX_SEGMENTS, Manifest, Segment, Segments};

mod attached;
mod beside;
mod reading;
mod stored;
mod taken_over;
mod unstored;

use attached::Attached;
pub(super) use attached::Seat;
pub(super) use beside::Start;
use beside::Upload;

/// The longest chunk that a reader is given at once, in bytes.
pub(super) const BLOCK: u64 = 256 * 1024;
/// The most bytes of all bodies in memory up to which one keeps more than [`super::Settings::window`], while
/// the store can't be read.
const SPARE: u64 = 64 << 20;

/// A body that is being written.
#[derive(Debug)]
pub(super) struct Fill {
    pub(super) bodies: Arc<Bodies>,
    pub(super) name: Name,
    pub(super) token: u64,
    pub(super) len_hint: Option<u64>,
    pub(super) destination: Destination,
    /// A body that is complete in time and no longer than this lies beside its record.
    small: u64,
    /// How long its carried segments live.
    lives: OnceLock<Duration>,
    /// Wakes the uploader: there may be something to cut.
    pub(super) nudge: Notify,
    /// Wakes the writer: there may be room, or everything is settled.
    pub(super) room: Notify,
    /// Wakes callers that wait for [`Fill::doubt`].
    doubts: Notify,
    /// How many segments are acknowledged.
    pub(super) progress: watch::Sender<usize>,
    /// Keeps the sweep away from its segments, which no record names yet.
    _written: Written,
    state: Mutex<WriterState>,
}

#[derive(Debug)]
struct WriterState {
    phase: Phase,
    upload: Upload,
    window: Window,
    /// Acknowledged segments, without a gap, and where each begins.
    segments: Vec<Segment>,
    starts: Vec<u64>,
    acknowledged: u64,
    /// Acknowledged segments after a gap, by index.
    early: BTreeMap<usize, Segment>,
    /// The segment that is being collected: where it begins, its index, and when it got its first byte.
    cut_to: u64,
    index: usize,
    opened_at: Instant,
    drips: u32,
    /// Whether to put what is collected without waiting for more.
    flushes: bool,
    failure: Option<Error>,
    /// Nothing was heard of the instance that writes the body for too long.
    doubted: bool,
    /// The last of it is in memory alone, and will never be acknowledged.
    unshelved: bool,
    readers: Attached,
    waiting: ReadWaiter,
}

/// The phase of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Bytes arrive.
    Open,
    /// All bytes have arrived.
    Complete,
    /// It broke off: no more bytes will come.
    Broken,
    /// Bytes arrive and are no longer stored: they go to the current readers only.
    Spilling,
}

/// What a reader does next.
pub(super) enum Next {
    /// Passes these bytes on.
    Chunk(Bytes),
    /// Reads from this segment, which begins at this offset of the body.
    Fetch(Segment, u64),
    /// Ends cleanly.
    End,
    /// Ends with this error.
    Fail(Error),
    /// Waits until its waker is called.
    Wait,
}

/// What the uploader does next.
pub(super) enum Step {
    /// Puts these bytes as the segment at this index.
    Put(usize, Vec<Bytes>),
    /// Waits for a nudge, and not longer than until this time.
    Wait(Option<Instant>),
    /// Stops.
    Stop,
}

// === impl Fill ===

impl Fill {
    pub(super) fn new(bodies: Arc<Bodies>, name: Name, token: u64, len_hint: Option<u64>) -> Self {
        let state = WriterState {
            phase: Phase::Open,
            upload: Upload::Waits,
            window: Window::at(0),
            segments: Vec::new(),
            starts: Vec::new(),
            acknowledged: 0,
            early: BTreeMap::new(),
            cut_to: 0,
            index: 0,
            opened_at: Instant::now(),
            drips: 0,
            flushes: false,
            failure: None,
            doubted: false,
            unshelved: false,
            readers: Attached::default(),
            waiting: ReadWaiter::default(),
        };
        Self {
            _written: bodies.writing.enter(name.hash, token),
            destination: bodies.store.destination(len_hint),
            small: bodies.store.small(),
            lives: OnceLock::new(),
            bodies,
            name,
            token,
            len_hint,
            nudge: Notify::new(),
            room: Notify::new(),
            doubts: Notify::new(),
            progress: watch::Sender::new(0),
            state: Mutex::new(state),
        }
    }

    // --- the writing side ---

    /// Takes bytes in. Readers can have them at once.
    pub(super) fn append(&self, mut bytes: Bytes) {
        if bytes.is_empty() {
            return;
        }
        let mut state = self.lock();
        let opened = state.window.end() == state.cut_to;
        if opened {
            state.opened_at = Instant::now();
        }
        let before = state.window.len();
        while bytes.len() as u64 > BLOCK {
            let block = bytes.split_to(usize::try_from(BLOCK).unwrap_or(usize::MAX));
            state.window.push(block);
        }
        state.window.push(bytes);
        self.trim(&mut state, before);
        let due = opened || state.window.end() - state.cut_to >= self.destination.size(state.index);
        let wakers = state.waiting.take();
        drop(state);
        if due {
            self.nudge.notify_one();
        }
        wake(wakers);
    }

    /// How many bytes were taken in, including those of an earlier writer.
    pub(super) fn written(&self) -> u64 {
        self.lock().window.end()
    }

    /// Returns whether the store is so far behind that the writer should wait.
    pub(super) fn crowded(&self) -> Result<bool, Error> {
        let state = self.lock();
        match &state.failure {
            Some(cause) => Err(cause.clone()),
            None => Ok(state.window.end() - state.acknowledged > self.destination.outstanding(state.index)),
        }
    }

    /// Marks the body as complete: its readers end cleanly.
    pub(super) fn complete(&self) {
        self.enter(Phase::Complete);
    }

    /// Breaks the body off, unless it is complete.
    pub(super) fn break_off(&self) {
        self.enter(Phase::Broken);
    }

    fn enter(&self, phase: Phase) {
        let mut state = self.lock();
        // Complete and broken are final.
        let open = match state.phase {
            Phase::Open => true,
            Phase::Spilling => phase != Phase::Spilling,
            Phase::Complete | Phase::Broken => false,
        };
        if !open {
            return;
        }
        state.phase = phase;
        let before = state.window.len();
        self.trim(&mut state, before);
        let wakers = state.waiting.take();
        drop(state);
        self.nudge.notify_one();
        self.progress.send_modify(|_| ());
        wake(wakers);
    }

    /// The manifest of the whole body, once all of it is acknowledged; an error, once that cannot be.
    pub(super) fn settled(&self) -> Option<Result<Manifest, Error>> {
        let state = self.lock();
        if state.phase == Phase::Complete && state.acknowledged == state.window.end() {
            return Some(Ok(self.manifest(&state)));
        }
        state.failure.clone().map(Err)
    }

    // --- the uploader's side ---

    /// What there is to put. `patient`: enough puts are under way, so only a full segment is cut.
    pub(super) fn step(&self, patient: bool) -> Step {
        let mut state = self.lock();
        if state.failure.is_some() || matches!(state.phase, Phase::Broken | Phase::Spilling) {
            return Step::Stop;
        }
        let open = state.window.end() - state.cut_to;
        let complete = state.phase == Phase::Complete;
        let all = complete || state.flushes;
        if open == 0 {
            let done = complete && state.acknowledged == state.window.end();
            return if done { Step::Stop } else { Step::Wait(None) };
        }
        if state.index >= MAX_SEGMENTS {
            drop(state);
            self.fail(Error::Full);
            return Step::Stop;
        }
        let size = self.destination.size(state.index);
        let due = state.opened_at + segmenting::time(state.index, state.drips);
        let now = Instant::now();
        if open >= size {
            state.drips = 0;
        } else if patient {
            return Step::Wait(None);
        } else if now >= due {
            state.drips += 1;
        } else if !all {
            return Step::Wait(Some(due));
        }
        let end = state.cut_to + open.min(size);
        let chunks = state.window.slice(state.cut_to, end);
        let index = state.index;
        state.cut_to = end;
        state.index += 1;
        state.opened_at = now;
        Step::Put(index, chunks)
    }

    /// Notes that the store has the segment at this index.
    pub(super) fn acknowledge(&self, index: usize, segment: Segment) {
        let mut state = self.lock();
        state.early.insert(index, segment);
        loop {
            let next = state.segments.len();
            let Some(segment) = state.early.remove(&next) else { break };
            let start = state.acknowledged;
            state.starts.push(start);
            state.segments.push(segment);
            state.acknowledged += segment.len;
        }
        let before = state.window.len();
        self.trim(&mut state, before);
        let count = state.segments.len();
        drop(state);
        self.progress.send_replace(count);
        self.room.notify_one();
    }

    /// Notes that the body can't be stored.
    pub(super) fn fail(&self, cause: Error) {
        self.lock().failure.get_or_insert(cause);
        self.room.notify_one();
        // Callers that follow the progress must not wait for more.
        self.progress.send_modify(|_| ());
    }

    // --- what is known ---

    /// Notes that more bytes may never come. Readers that have begun wait on.
    pub(super) fn doubt(&self) {
        self.lock().doubted = true;
        self.doubts.notify_waiters();
    }

    /// Waits until [`Fill::doubt`] is called. Cancel safe.
    pub(super) async fn until_doubted(&self) {
        let mut doubted = pin!(self.doubts.notified());
        // Before the check, so that a doubt noted in between is not missed.
        doubted.as_mut().enable();
        if !self.lock().doubted {
            doubted.await;
        }
    }

    /// The acknowledged segments; `len` is their sum.
    pub(super) fn acknowledged(&self) -> Manifest {
        self.manifest(&self.lock())
    }

    /// Completes the body with bytes that are in memory alone.
    pub(super) fn complete_with(&self, rest: Bytes) {
        self.lock().unshelved = true;
        self.append(rest);
        self.complete();
    }

    /// Returns whether the last of it is in memory alone.
    pub(super) fn is_unshelved(&self) -> bool {
        self.lock().unshelved
    }

    /// The length of the whole body, once all of it has arrived.
    pub(super) fn len_if_complete(&self) -> Option<u64> {
        let state = self.lock();
        (state.phase == Phase::Complete).then(|| state.window.end())
    }

    /// Returns whether the body will never be stored whole.
    pub(super) fn is_broken(&self) -> bool {
        let state = self.lock();
        matches!(state.phase, Phase::Broken | Phase::Spilling) || state.failure.is_some()
    }

    /// Returns whether a byte is in memory or still to come.
    pub(super) fn has_in_memory(&self, at: u64) -> bool {
        at >= self.lock().window.start()
    }

    /// The whole body, if it is complete and all of it is in memory.
    pub(super) fn held(&self) -> Option<Bytes> {
        let mut state = self.lock();
        let whole = state.phase == Phase::Complete && state.window.start() == 0;
        (whole && state.window.end() <= self.bodies.settings.hold).then(|| state.window.join())
    }

    // --- inside ---

    fn manifest(&self, state: &WriterState) -> Manifest {
        let life = Some(self.name.life().clone());
        Manifest { life, len: state.acknowledged, segments: Segments::from_slice(&state.segments) }
    }

    /// Drops the bytes that are no longer needed in memory; `before` is the length of the window when the
    /// lock was taken.
    fn trim(&self, state: &mut WriterState, before: u64) {
        let settings = &self.bodies.settings;
        let (start, end) = (state.window.start(), state.window.end());
        let (until, budget) = match state.phase {
            Phase::Spilling => (state.readers.floor(start, state.acknowledged).unwrap_or(end), 0),
            _ if end <= settings.hold => (0, settings.hold),
            _ => (state.acknowledged, settings.window + self.spare()),
        };
        state.window.trim(until, budget);
        let counters = &self.bodies.store.counters;
        let after = state.window.len();
        if after >= before {
            let now = counters.window.fetch_add(after - before, Ordering::Relaxed) + (after - before);
            counters.window_peak.fetch_max(now, Ordering::Relaxed);
        } else {
            counters.window.fetch_sub(before - after, Ordering::Relaxed);
        }
    }

    /// How many bytes more than usual stay in memory. A reader that is behind takes what left memory from the
    /// store: while that can't be read, it would be broken off.
    fn spare(&self) -> u64 {
        let store = &self.bodies.store;
        if !store.reads_fail(self.destination) {
            return 0;
        }
        SPARE.saturating_sub(store.counters.window.load(Ordering::Relaxed))
    }

    fn lock(&self) -> MutexGuard<'_, WriterState> {
        // Nothing in here panics half way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Fill {
    fn drop(&mut self) {
        let held = self.lock().window.len();
        self.bodies.store.counters.window.fetch_sub(held, Ordering::Relaxed);
    }
}

/// A range as `first..end`; `None` for a last byte of `u64::MAX`, the end of the body.
pub(super) fn bounds(range: Option<(u64, u64)>) -> (u64, Option<u64>) {
    match range {
        None => (0, None),
        Some((first, last)) => (first, last.checked_add(1).map(|end| end.max(first))),
    }
}
