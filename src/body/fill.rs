//! What a writer, its pump and its readers share.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::store::Name;
use super::sweep::Written;
use super::waiting::{Waiting, wake};
use super::window::Window;
use super::{Bodies, Error, segmenting};
use crate::record::{MAX_SEGMENTS, Manifest, Segment};

mod attached;
mod reading;
mod stored;
mod taken_over;
mod unstored;

use attached::Attached;
pub(super) use attached::Seat;

/// The longest piece that a reader is given at once.
pub(super) const BLOCK: u64 = 256 * 1024;

/// One body being written.
#[derive(Debug)]
pub(super) struct Fill {
    pub(super) bodies: Arc<Bodies>,
    pub(super) name: Name,
    pub(super) token: u64,
    pub(super) len_hint: Option<u64>,
    /// Tells the pump that there may be something to cut.
    pub(super) nudge: Notify,
    /// Tells whoever writes that there may be room, or that all is settled.
    pub(super) room: Notify,
    /// Tells those who have had no byte that more is in doubt.
    doubts: Notify,
    /// How many segments are acknowledged.
    pub(super) progress: watch::Sender<usize>,
    /// Its segments are no record's yet: the sweep leaves them alone.
    _written: Written,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    window: Window,
    /// Acknowledged segments, without a gap, and where each begins.
    segments: Vec<Segment>,
    starts: Vec<u64>,
    acknowledged: u64,
    /// Acknowledged ones after a gap.
    early: BTreeMap<usize, Segment>,
    /// Where the open segment begins, which place it has, since when it has bytes.
    cut_to: u64,
    index: usize,
    opened_at: Instant,
    drips: u32,
    /// What is here is put without waiting for more.
    flushes: bool,
    failure: Option<Error>,
    /// Nothing was heard of whoever writes it elsewhere, for too long.
    doubted: bool,
    readers: Attached,
    waiting: Waiting,
}

/// How far the body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Bytes come.
    Open,
    /// They are all here.
    Complete,
    /// No more will come.
    Broken,
    /// They come, and are stored no more: for those who read it now.
    Spilling,
}

/// What a reader does next.
pub(super) enum Next {
    /// Passes these on.
    Chunk(Bytes),
    /// Reads from this segment, which begins there.
    Fetch(Segment, u64),
    /// Ends.
    End,
    /// Ends with this.
    Fail(Error),
    /// Waits to be woken.
    Wait,
}

/// What the pump does next.
pub(super) enum Step {
    /// Puts these as the segment at this place.
    Put(usize, Vec<Bytes>),
    /// Waits: for a nudge, and until then at most.
    Wait(Option<Instant>),
    /// Ends.
    Stop,
}

// === impl Fill ===

impl Fill {
    pub(super) fn new(bodies: Arc<Bodies>, name: Name, token: u64, len_hint: Option<u64>) -> Self {
        let state = State {
            phase: Phase::Open,
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
            readers: Attached::default(),
            waiting: Waiting::default(),
        };
        Self {
            _written: bodies.writing.enter(name.hash, token),
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

    /// Takes bytes in. They are the readers' at once.
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
        let due = opened || state.window.end() - state.cut_to >= segmenting::size(state.index);
        let wakers = state.waiting.take();
        drop(state);
        if due {
            self.nudge.notify_one();
        }
        wake(wakers);
    }

    /// How many bytes were taken in, those of a predecessor included.
    pub(super) fn written(&self) -> u64 {
        self.lock().window.end()
    }

    /// Whether the store is so far behind that the writer should wait.
    pub(super) fn crowded(&self) -> Result<bool, Error> {
        let state = self.lock();
        match &state.failure {
            Some(cause) => Err(cause.clone()),
            None => Ok(state.window.end() - state.acknowledged > segmenting::outstanding(state.index)),
        }
    }

    /// All bytes are in: readers end cleanly.
    pub(super) fn complete(&self) {
        self.enter(Phase::Complete);
    }

    /// No more bytes will come, unless all are in.
    pub(super) fn break_off(&self) {
        self.enter(Phase::Broken);
    }

    fn enter(&self, phase: Phase) {
        let mut state = self.lock();
        // What is complete stays so, what is broken too.
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

    /// The whole manifest, once everything is acknowledged; an error, once it cannot be.
    pub(super) fn settled(&self) -> Option<Result<Manifest, Error>> {
        let state = self.lock();
        if state.phase == Phase::Complete && state.acknowledged == state.window.end() {
            return Some(Ok(self.manifest(&state)));
        }
        state.failure.clone().map(Err)
    }

    // --- the pump's side ---

    /// What there is to put. `patient`: enough puts are under way, let the rest gather unless
    /// it fills a segment.
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
        let size = segmenting::size(state.index);
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

    /// The store has the segment at this place.
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

    /// The store has it not, and will not.
    pub(super) fn fail(&self, cause: Error) {
        self.lock().failure.get_or_insert(cause);
        self.room.notify_one();
        // Who goes by what is acknowledged must not wait for more.
        self.progress.send_modify(|_| ());
    }

    // --- what is known ---

    /// It is in doubt whether more of it will come. Those who have begun to read wait on.
    pub(super) fn doubt(&self) {
        self.lock().doubted = true;
        self.doubts.notify_waiters();
    }

    /// Waits until that is in doubt. Cancel safe.
    pub(super) async fn until_doubted(&self) {
        let mut doubted = pin!(self.doubts.notified());
        // Before it is looked at: what comes in between is heard.
        doubted.as_mut().enable();
        if !self.lock().doubted {
            doubted.await;
        }
    }

    /// The acknowledged segments; `len` is their sum.
    pub(super) fn acknowledged(&self) -> Manifest {
        self.manifest(&self.lock())
    }

    /// The length of the whole, once known for certain.
    pub(super) fn len_if_complete(&self) -> Option<u64> {
        let state = self.lock();
        (state.phase == Phase::Complete).then(|| state.window.end())
    }

    /// Whether it will never be stored whole.
    pub(super) fn is_broken(&self) -> bool {
        let state = self.lock();
        matches!(state.phase, Phase::Broken | Phase::Spilling) || state.failure.is_some()
    }

    /// Whether a byte has not left the window.
    pub(super) fn has_in_memory(&self, at: u64) -> bool {
        at >= self.lock().window.start()
    }

    /// The whole, if it is complete and all here.
    pub(super) fn held(&self) -> Option<Bytes> {
        let mut state = self.lock();
        let whole = state.phase == Phase::Complete && state.window.start() == 0;
        (whole && state.window.end() <= self.bodies.settings.hold).then(|| state.window.join())
    }

    // --- inside ---

    fn manifest(&self, state: &State) -> Manifest {
        let life = Some(self.name.life().clone());
        Manifest { life, len: state.acknowledged, segments: state.segments.clone() }
    }

    /// Lets go of what nobody needs; `before` is what the window held when the lock was taken.
    fn trim(&self, state: &mut State, before: u64) {
        let settings = &self.bodies.settings;
        let (start, end) = (state.window.start(), state.window.end());
        let (until, budget) = match state.phase {
            Phase::Spilling => (state.readers.floor(start, state.acknowledged).unwrap_or(end), 0),
            _ if end <= settings.hold => (0, settings.hold),
            _ => (state.acknowledged, settings.window),
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

    fn lock(&self) -> MutexGuard<'_, State> {
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
