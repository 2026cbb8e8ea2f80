//! Where a body is cut into segments. Pure.
//!
//! A segment ends by size or by time since its first byte, whichever is first. The size is
//! 1 MiB and the time 25 ms, doubling to 1 s while the body drips; both double every 128
//! segments. So 512 segments cover 1.9 GiB that flow, and some five hours that drip.

use std::time::Duration;

use crate::record::MAX_SEGMENTS;

/// The size of the first 128 segments, in bytes.
pub(super) const SIZE: u64 = 1024 * 1024;
/// How long the first segment stays open.
const TIME: Duration = Duration::from_millis(25);
/// The longest that a segment of a dripping body stays open, before the doublings by index.
const SLOW: Duration = Duration::from_secs(1);
/// Size and time double after so many segments.
const EVERY: usize = MAX_SEGMENTS / 4;
/// In the last quarter the time doubles after so many segments: the rest of the manifest has to last.
const LATE: usize = 16;

/// The most bytes of the segment at `index`.
pub(super) fn size(index: usize) -> u64 {
    SIZE << (index / EVERY).min(3)
}

/// How long the segment at `index` stays open after its first byte. `drips` is how many segments before it,
/// in a row, were cut by time.
pub(super) fn time(index: usize, drips: u32) -> Duration {
    let doublings = if index < 3 * EVERY { index / EVERY } else { 3 + (index - 3 * EVERY) / LATE };
    let base = TIME.saturating_mul(1 << drips.min(6)).min(SLOW);
    base.saturating_mul(1 << doublings.min(16))
}

/// How many bytes may be written and not yet acknowledged by the store before the writer waits.
pub(super) fn outstanding(index: usize) -> u64 {
    2 * size(index) + 2 * SIZE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_doubles_every_quarter_of_the_row() {
        let all: u64 = (0..MAX_SEGMENTS).map(size).sum();
        assert_eq!([size(0), size(127), size(128), size(256), size(511)].map(|s| s / SIZE), [1, 1, 2, 4, 8]);
        assert_eq!(all, 1920 * SIZE);
    }

    #[test]
    fn the_time_doubles_while_it_drips_and_with_the_row() {
        let first: Vec<u128> = (0..8).map(|drips| time(0, drips).as_millis()).collect();
        assert_eq!(first, [25, 50, 100, 200, 400, 800, 1000, 1000]);
        assert_eq!(time(128, 9), Duration::from_secs(2));
        assert_eq!(time(384, 9), Duration::from_secs(8));
        assert_eq!(time(400, 9), Duration::from_secs(16));
        let all: Duration = (0..MAX_SEGMENTS).map(|index| time(index, 9)).sum();
        assert!(all > Duration::from_hours(5), "{all:?}");
    }
}
