//! What reads must know of writes: which commit is the newest, and whether snapshots may be kept open.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The pace of commits.
#[derive(Debug, Default)]
pub struct Pace {
    commits: AtomicU64,
    hurried: AtomicBool,
}

// === impl Pace ===

impl Pace {
    /// Returns the number of the newest commit, or `None` while no snapshot may be kept open.
    pub fn newest(&self) -> Option<u64> {
        let kept = !self.hurried.load(Ordering::Acquire);
        kept.then(|| self.commits.load(Ordering::Acquire))
    }

    /// Counts a commit: what is older is no longer read.
    pub fn committed(&self) {
        self.commits.fetch_add(1, Ordering::Release);
    }

    /// Says whether reads must close their snapshots at once.
    pub fn hurry(&self, on: bool) {
        self.hurried.store(on, Ordering::Release);
    }
}
