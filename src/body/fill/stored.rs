//! What the store has of a body that grows.

use super::Fill;
use crate::record::Segment;

impl Fill {
    /// Shows the segments that can be had from the store alone, from the one that begins at `at` on, and
    /// where each begins, until `more` says that it has seen enough.
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
