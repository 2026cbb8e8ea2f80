//! The part of a growing body that is in the store.

use super::Fill;
use crate::record::Segment;

impl Fill {
    /// Calls `more` with each segment that is only in the store, and its offset, from the one that begins at
    /// `at` on, until `more` returns false.
    pub(in crate::body) fn stored_from(&self, at: u64, mut more: impl FnMut(u64, &Segment) -> bool) {
        let state = self.lock();
        let first = state.starts.partition_point(|start| *start < at);
        for (segment, start) in state.segments.iter().zip(&state.starts).skip(first) {
            if *start >= state.window.start() || (segment.len > 0 && !more(*start, segment)) {
                return;
            }
        }
    }
}
