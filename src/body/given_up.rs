//! Carried segments of records that the janitor has given up. No listing finds them, so they are remembered
//! until their readers have had `linger`. Those of other records go with their time to live.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::name::Name;
use super::store::Store;
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
    /// Notes that the record with this manifest was deleted now. A body beside its record has gone with it.
    pub(super) fn note(&mut self, store: &Store, name: Name, manifest: &Manifest) {
        let segments: Vec<_> = manifest.segments.iter().filter(|one| one.carried).copied().collect();
        let beside = matches!(*manifest.segments, [only] if only.len <= store.small());
        if segments.is_empty() || beside || self.0.len() >= MOST {
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
