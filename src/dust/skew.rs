//! The offset of the server's clock from this process's monotonic clock.

use std::collections::VecDeque;
use std::time::Duration;

/// How many measurements are kept. At one a second, the clocks do not drift noticeably meanwhile.
const KEPT: usize = 16;
/// The most by which a measurement may differ beyond its own error; more means that a clock was set.
const STEP_MS: u64 = 100;

/// The offset by the quickest of the latest measurements: the shorter the call, the smaller its error.
#[derive(Debug, Default)]
pub(super) struct Skew {
    measured: VecDeque<(Duration, i64)>,
}

// === impl Skew ===

impl Skew {
    /// Adds a measurement: the server's clock was ahead by `offset_ms`, plus or minus half of `took`.
    /// Returns the offset to use.
    pub(super) fn add(&mut self, offset_ms: i64, took: Duration) -> i64 {
        let may_differ = STEP_MS + u64::try_from(took.as_millis()).unwrap_or(u64::MAX / 2);
        if self.best().is_some_and(|best| best.abs_diff(offset_ms) > may_differ) {
            self.measured.clear();
        }
        if self.measured.len() == KEPT {
            self.measured.pop_front();
        }
        self.measured.push_back((took, offset_ms));
        self.best().unwrap_or(offset_ms)
    }

    fn best(&self) -> Option<i64> {
        self.measured.iter().min_by_key(|(took, _)| *took).map(|(_, offset)| *offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn the_quickest_answer_is_believed() {
        let mut skew = Skew::default();
        assert_eq!(skew.add(40, ms(80)), 40);
        assert_eq!(skew.add(3, ms(1)), 3);
        assert_eq!(skew.add(-30, ms(70)), 3);
        for _ in 0..KEPT {
            skew.add(5, ms(2));
        }
        assert_eq!(skew.add(5, ms(2)), 5);
    }

    #[test]
    fn a_clock_that_was_set_is_believed_at_once() {
        let mut skew = Skew::default();
        skew.add(3, ms(1));
        assert_eq!(skew.add(-300_000, ms(20)), -300_000);
        assert_eq!(skew.add(7, ms(2)), 7);
    }
}
