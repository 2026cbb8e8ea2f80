//! A store that can't be read is gone past for a moment: nobody new waits for it, and one read at a time
//! finds out whether it is back.
//!
//! A reader that has had bytes of a body has nowhere else to go and still tries; but what has failed a
//! moment ago has failed for all.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quick_cache::sync::Cache;
use tokio::time::Instant;

use super::blocks::SegmentAt;
use super::store::Name;
use super::{Bodies, Error};
use crate::record::{Manifest, Segment};

/// For how long a failure is everybody's, and how long after one the store is tried again.
const PAUSE: Duration = Duration::from_secs(1);
/// How many failed segments are remembered at most.
const CAPACITY: usize = 4_096;

/// Whether the store can be read, as far as is known.
#[derive(Debug)]
pub(super) struct Away {
    state: Mutex<State>,
    failed: Cache<SegmentAt, (Error, Instant)>,
}

#[derive(Debug, Default)]
struct State {
    /// How many reads the store has answered.
    answers: u64,
    /// It is away, and is tried again from then on.
    until: Option<Instant>,
    /// It is being tried.
    tried: bool,
}

/// How many reads had been answered when one began.
#[derive(Debug, Clone, Copy)]
pub(super) struct Began(u64);

/// What becomes of a read by a reader that has had no bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// It is done.
    Open,
    /// It is not: the store is away.
    Past,
    /// It is not, and somebody should try.
    Due,
}

/// The right to try, until it is dropped.
struct Trial(Arc<Bodies>);

// === impl Away ===

impl Away {
    pub(super) fn new() -> Self {
        Self { state: Mutex::default(), failed: Cache::new(CAPACITY) }
    }

    /// A read begins.
    pub(super) fn begins(&self) -> Began {
        Began(self.lock().answers)
    }

    /// The store has answered, if only that it has not what was asked for.
    pub(super) fn answered(&self) {
        let mut state = self.lock();
        state.answers += 1;
        state.until = None;
    }

    /// A read has failed. If no other one was answered since it began, the store is away.
    pub(super) fn failed(&self, at: SegmentAt, began: Began, cause: &Error) {
        let until = Instant::now() + PAUSE;
        self.failed.insert(at, (cause.clone(), until));
        let mut state = self.lock();
        if state.answers == began.0 {
            state.until = Some(until);
        }
    }

    /// How a segment could not be read a moment ago, if it was tried.
    pub(super) fn lately(&self, at: &SegmentAt) -> Option<Error> {
        let (cause, until) = self.failed.get(at)?;
        (Instant::now() < until).then_some(cause)
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

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics half way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Bodies ===

impl Bodies {
    /// Returns whether the bytes of a body can't be had now: the store is away, or one of its segments
    /// could not be read a moment ago. Waits for nothing; where it is time for that, the store is tried in
    /// the background.
    pub fn is_out_of_reach(self: &Arc<Self>, key_hash: &str, manifest: &Manifest) -> bool {
        let Some(first) = manifest.segments.iter().find(|segment| segment.len > 0) else { return false };
        let name = self.store.name(key_hash);
        self.goes_past(&name, first).is_some()
            || manifest.segments.iter().any(|segment| {
                let at = SegmentAt::of(&name, segment);
                self.store.away.lately(&at).is_some()
            })
    }

    /// Why a reader that has had no bytes does not read a segment, if that is so.
    pub(super) fn goes_past(self: &Arc<Self>, name: &Name, segment: &Segment) -> Option<Error> {
        match self.store.away.way() {
            Way::Open => return None,
            Way::Past => {}
            Way::Due => {
                let (trial, name, segment) = (Trial(Arc::clone(self)), name.clone(), *segment);
                tokio::spawn(async move {
                    // What comes of it is noted where it is read.
                    let _ = trial.0.try_segment(&name, &segment).await;
                });
            }
        }
        Some(Error::Away)
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        self.0.store.away.lock().tried = false;
    }
}
