//! URLs whose note this instance wrote lately. A note in the store says that a URL is also stored under keys
//! that the URL alone does not give (keyed fields, variants), so that an unsafe request knows that there is
//! something to invalidate.

use quick_cache::sync::Cache;

use crate::clock::WallMs;
use crate::key::KeyHash;

/// The most URLs that are remembered as noted.
const CAPACITY: usize = 16_384;

/// URLs that are known to be noted in the store.
#[derive(Debug)]
pub(crate) struct NotedUrls(Cache<KeyHash, Written>);

/// A note as this instance last wrote it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Written {
    pub(crate) until: WallMs,
    /// The count of gaps in what this instance heard from the store, at that time. After another gap the note
    /// may be gone.
    pub(crate) gaps: usize,
}

// === impl NotedUrls ===

impl NotedUrls {
    pub(crate) fn new() -> Self {
        Self(Cache::new(CAPACITY))
    }

    /// The note of a URL, if it is known.
    pub(crate) fn get(&self, url: KeyHash) -> Option<Written> {
        self.0.get(&url)
    }

    /// Remembers a note that was written.
    pub(crate) fn insert(&self, url: KeyHash, written: Written) {
        self.0.insert(url, written);
    }
}
