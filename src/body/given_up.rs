//! Carried segments of records that were removed or replaced. No listing finds them, so the instance that saw
//! them go remembers them until their readers have had `linger`. What is forgotten goes with its time to live.

use std::collections::VecDeque;
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::Bodies;
use super::name::Name;
use super::store::Store;
use super::sweep::Swept;
use crate::record::{Manifest, Segment};

/// The most bodies that are remembered.
const MOST: usize = 100_000;

/// Bodies in the order in which they were given up.
#[derive(Debug, Default)]
pub(super) struct GivenUp(VecDeque<Carried>);

/// The carried segments of one body.
#[derive(Debug)]
pub(super) struct Carried {
    since: Instant,
    pub(super) name: Name,
    pub(super) segments: Vec<Segment>,
    /// The space that they take.
    pub(super) takes: u64,
}

// === impl GivenUp ===

impl GivenUp {
    /// Notes that no record names the carried segments of this manifest any more. (One that lay beside its
    /// record has gone with it: removing it again is no error.)
    pub(super) fn note(&mut self, store: &Store, name: Name, manifest: &Manifest) {
        let segments: Vec<_> = manifest.segments.iter().filter(|one| one.carried).copied().collect();
        if segments.is_empty() || self.0.len() >= MOST {
            return;
        }
        let takes = segments.iter().map(|segment| store.space(segment)).sum();
        self.0.push_back(Carried { since: Instant::now(), name, segments, takes });
    }

    /// The space that they take.
    pub(super) fn takes(&self) -> u64 {
        self.0.iter().map(|body| body.takes).sum()
    }

    /// Takes a body that was given up at least `linger` ago.
    pub(super) fn next(&mut self, linger: Duration) -> Option<Carried> {
        self.0.pop_front_if(|body| body.since.elapsed() >= linger)
    }
}

// === impl Bodies ===

impl Bodies {
    /// Notes that the record which named these segments is gone, or names others now. The carried ones among
    /// them are removed by [`Bodies::drop_left`], once their readers have had `linger`.
    pub fn leave(&self, key_hash: &str, manifest: &Manifest) {
        if manifest.segments.iter().any(|segment| segment.carried) {
            let name = self.store.name(key_hash);
            self.left().note(&self.store, name, manifest);
        }
    }

    /// Removes what was left `linger` ago.
    pub async fn drop_left(&self) -> Swept {
        let mut swept = Swept::default();
        loop {
            let Some(body) = self.left().next(self.settings.linger) else { return swept };
            if self.store.drop_carried(&body.name, &body.segments).await.is_ok() {
                swept.removed += body.segments.len() as u64;
                swept.freed += body.takes;
            } else {
                swept.failed += body.segments.len() as u64;
            }
        }
    }

    /// The space that is left and not removed yet.
    pub(super) fn left_behind(&self) -> u64 {
        self.left().takes()
    }

    fn left(&self) -> MutexGuard<'_, GivenUp> {
        self.given_up.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
