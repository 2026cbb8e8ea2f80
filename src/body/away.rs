//! A store that can't be read, be it that of the objects or what carries segments, is *away* for a moment: new
//! readers do not wait for it, and one read at a time finds out whether it is back.
//!
//! A reader whose client has had bytes has no alternative and still tries. But it does not repeat a read of a
//! segment that failed a moment ago.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quick_cache::sync::Cache;
use tokio::time::Instant;

use super::blocks::SegmentAt;
use super::name::Name;
use super::{Bodies, Error};
use crate::record::{Manifest, Segment};

/// How long a failure is shared by all readers of a segment, and how long after a failure the store is tried
/// again.
const PAUSE: Duration = Duration::from_secs(1);
/// The most failed segments that are remembered.
const CAPACITY: usize = 4_096;

/// Whether the store can be read, and which segments failed lately.
#[derive(Debug)]
pub(super) struct Away {
    state: Mutex<AwayState>,
    failed: Cache<SegmentAt, (Error, Instant)>,
}

#[derive(Debug, Default)]
struct AwayState {
    /// How many reads the store has answered.
    answers: u64,
    /// Set while the store is away: when it is tried again.
    until: Option<Instant>,
    /// Whether a trial read is under way.
    tried: bool,
}

/// How many reads had been answered when a read began.
#[derive(Debug, Clone, Copy)]
pub(super) struct Began(u64);

/// Whether a reader that has had no bytes may read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// It may.
    Open,
    /// It may not: the store is away.
    Past,
    /// It may not, and the caller should start a trial read.
    Due,
}

/// The right to run the trial read. Dropping it ends the trial.
struct Trial(Arc<Bodies>, Segment);

// === impl Away ===

impl Away {
    pub(super) fn new() -> Self {
        Self { state: Mutex::default(), failed: Cache::new(CAPACITY) }
    }

    /// Notes that a read begins.
    pub(super) fn begins(&self) -> Began {
        Began(self.lock().answers)
    }

    /// Notes that the store has answered, even if it lacks the object.
    pub(super) fn answered(&self) {
        let mut state = self.lock();
        state.answers += 1;
        state.until = None;
    }

    /// Notes that a read has failed. If no other read was answered since it began, the store is away.
    pub(super) fn failed(&self, at: SegmentAt, began: Began, cause: &Error) {
        let until = Instant::now() + PAUSE;
        self.failed.insert(at, (cause.clone(), until));
        let mut state = self.lock();
        if state.answers == began.0 {
            state.until = Some(until);
        }
    }

    /// The error with which a segment failed a moment ago, if it did.
    pub(super) fn lately(&self, at: &SegmentAt) -> Option<Error> {
        let (cause, until) = self.failed.get(at)?;
        (Instant::now() < until).then_some(cause)
    }

    /// Whether the last reads have failed.
    pub(super) fn is_away(&self) -> bool {
        self.lock().until.is_some()
    }

    fn way(&self) -> Way {
        let mut state = self.lock();
        match state.until {
            None => Way::Open,
            Some(until) if state.tried || Instant::now() < until => Way::Past,
            Some(_) => {
                state.tried = true;
                Way::Due
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, AwayState> {
        // Nothing in here panics half way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Bodies ===

impl Bodies {
    /// Returns whether the bytes of a body can't be read now: the store is away, or one of its segments
    /// failed a moment ago. Does not wait; when a trial read is due, it runs in the background.
    pub fn is_out_of_reach(self: &Arc<Self>, key_hash: &str, manifest: &Manifest) -> bool {
        let Some(first) = manifest.segments.iter().find(|segment| segment.len > 0) else { return false };
        let name = self.store.name(key_hash);
        self.goes_past(&name, first).is_some()
            || manifest.segments.iter().any(|segment| {
                let at = SegmentAt::of(&name, segment);
                self.store.away(segment).lately(&at).is_some()
            })
    }

    /// The error for a reader that has had no bytes and must not read this segment now; `None` if it may.
    pub(super) fn goes_past(self: &Arc<Self>, name: &Name, segment: &Segment) -> Option<Error> {
        match self.store.away(segment).way() {
            Way::Open => return None,
            Way::Past => {}
            Way::Due => {
                let (trial, name) = (Trial(Arc::clone(self), *segment), name.clone());
                tokio::spawn(async move {
                    // The read itself notes its result.
                    let _ = trial.0.try_segment(&name, &trial.1).await;
                });
            }
        }
        Some(Error::Away)
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        self.0.store.away(&self.1).lock().tried = false;
    }
}
