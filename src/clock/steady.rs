//! A wall clock that goes on evenly when the machine's clock jumps.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::Instant;

use super::{Clock, WallMs};

/// How often the machine's clock is read, to find whether it was set.
const LOOK_MS: u64 = 1_000;
/// From this difference on, the clock counts as set. A smaller one is corrected without a word.
const STEP_MS: u64 = 1_000;

/// The wall time at the start, plus the monotonic time since then. If the machine's clock differs by
/// more than a second at two looks in a row, it was set on purpose, and is followed from then on. A
/// clock that jumps and comes back changes nothing.
#[derive(Debug)]
pub struct Steady {
    wall: Arc<dyn Clock>,
    base: Instant,
    /// What the wall showed at `base`.
    origin: AtomicU64,
    /// When the wall clock was last read, in ms from `base`.
    looked: AtomicU64,
    /// The origin that the last look gave, if that was another one; else 0.
    doubt: AtomicU64,
    steps: AtomicU64,
}

// === impl Steady ===

impl Steady {
    /// A steady clock over this one.
    pub fn new(wall: Arc<dyn Clock>) -> Self {
        let origin = AtomicU64::new(wall.wall_ms());
        let (looked, doubt, steps) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
        Self { wall, base: Instant::now(), origin, looked, doubt, steps }
    }

    /// How often the clock below was set and this one has followed.
    pub fn steps(&self) -> u64 {
        self.steps.load(Ordering::Relaxed)
    }

    #[cold]
    fn look(&self, mono: u64, last: u64) {
        // Of callers at the same moment, one looks.
        if self.looked.compare_exchange(last, mono, Ordering::AcqRel, Ordering::Relaxed).is_err() {
            return;
        }
        let found = self.wall.wall_ms().saturating_sub(mono);
        let (origin, doubt) = (self.origin.load(Ordering::Relaxed), self.doubt.load(Ordering::Relaxed));
        let differs = found.abs_diff(origin) > STEP_MS;
        if differs && (doubt == 0 || found.abs_diff(doubt) > STEP_MS) {
            self.doubt.store(found.max(1), Ordering::Relaxed);
            return;
        }
        if differs {
            self.steps.fetch_add(1, Ordering::Relaxed);
        }
        self.doubt.store(0, Ordering::Relaxed);
        self.origin.store(found, Ordering::Relaxed);
    }
}

impl Clock for Steady {
    fn wall_ms(&self) -> WallMs {
        let mono = super::millis(self.base.elapsed());
        let last = self.looked.load(Ordering::Relaxed);
        if mono.saturating_sub(last) >= LOOK_MS {
            self.look(mono, last);
        }
        self.origin.load(Ordering::Relaxed).saturating_add(mono)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::ManualClock;
    use super::*;

    const HOURS: u64 = 2 * 60 * 60 * 1000;
    const AT: u64 = 1_700_000_000_000;

    async fn seconds(wall: &ManualClock, clock: &Steady, seconds: u64) -> u64 {
        for _ in 0..seconds {
            tokio::time::advance(Duration::from_secs(1)).await;
            wall.advance(Duration::from_secs(1));
            clock.wall_ms();
        }
        clock.wall_ms()
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_is_set_is_followed_at_the_second_look() {
        for step in [1_i64, -1] {
            let step = step * i64::try_from(HOURS).unwrap();
            let wall = Arc::new(ManualClock::at(AT));
            let clock = Steady::new(wall.clone());
            assert_eq!(seconds(&wall, &clock, 5).await, AT + 5_000);
            wall.set(wall.wall_ms().saturating_add_signed(step));
            assert_eq!(clock.wall_ms(), AT + 5_000, "between looks nothing changes");
            assert_eq!(seconds(&wall, &clock, 1).await, AT + 6_000, "once may be a mistake");
            assert_eq!(seconds(&wall, &clock, 1).await, (AT + 7_000).saturating_add_signed(step));
            assert_eq!(clock.steps(), 1);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_jumps_and_comes_back_changes_nothing() {
        let wall = Arc::new(ManualClock::at(AT));
        let clock = Steady::new(wall.clone());
        wall.set(AT + HOURS);
        seconds(&wall, &clock, 1).await;
        wall.set(AT + 1_000);
        assert_eq!(seconds(&wall, &clock, 3).await, AT + 4_000);
        assert_eq!(clock.steps(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_is_slewed_is_followed_without_a_word() {
        let wall = Arc::new(ManualClock::at(AT));
        let clock = Steady::new(wall.clone());
        for _ in 0..10 {
            seconds(&wall, &clock, 1).await;
            wall.advance(Duration::from_millis(300));
        }
        assert_eq!(seconds(&wall, &clock, 1).await, AT + 11_000 + 3_000);
        assert_eq!(clock.steps(), 0);
    }
}
