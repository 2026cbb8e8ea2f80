//! How many requests wait for a verdict on this instance, and how many may.

use std::sync::atomic::{AtomicUsize, Ordering};

/// The count of requests that wait for a verdict on this instance.
#[derive(Debug)]
pub(crate) struct Waiters {
    now: AtomicUsize,
    most: usize,
}

/// One waiting request. Dropped, it is no longer counted.
pub(crate) struct WaiterGuard<'a>(&'a Waiters);

// === impl Waiters ===

impl Waiters {
    pub(crate) fn new(most: usize) -> Self {
        Self { now: AtomicUsize::new(0), most }
    }

    /// Counts a request in, unless as many as may wait already.
    pub(crate) fn enter(&self) -> Option<WaiterGuard<'_>> {
        let before = self.now.fetch_add(1, Ordering::AcqRel);
        let waiting = WaiterGuard(self);
        (before < self.most).then_some(waiting)
    }
}

impl Drop for WaiterGuard<'_> {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::AcqRel);
    }
}
