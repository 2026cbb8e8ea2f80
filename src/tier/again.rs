//! When everything is read again.
//!
//! At once after a loss. A store in which changes are lost all the time would have an instance read without end, and
//! its limit on calls would be used up by that. So what was done lately, or has just failed, waits: longer each time.

use std::time::Duration;

use tokio::time::Instant;

/// The first pause. It doubles.
const FIRST: Duration = Duration::from_millis(100);
/// The longest pause where calls cost nothing.
const LONGEST: Duration = Duration::from_secs(1);
/// How long after a pause nothing was read again for the next one to be as short as at first.
const QUIET: Duration = Duration::from_mins(1);

/// The pause before everything is read again.
#[derive(Debug, Clone, Copy)]
pub(super) struct Again {
    at: Instant,
    pause: Duration,
}

// === impl Again ===

impl Again {
    pub(super) fn new(now: Instant) -> Self {
        Self { at: now, pause: FIRST }
    }

    /// Not before then.
    pub(super) fn at(&self) -> Instant {
        self.at
    }

    /// Everything was read. `most` is the longest pause.
    pub(super) fn done(&mut self, now: Instant, most: Duration, random: impl FnOnce(Duration) -> Duration) {
        self.waits(now, most, random);
    }

    /// It has failed. `is_costly`: the store had taken a write for it.
    pub(super) fn failed(
        &mut self,
        now: Instant,
        is_costly: bool,
        most: Duration,
        random: impl FnOnce(Duration) -> Duration,
    ) {
        self.waits(now, if is_costly { most } else { LONGEST }, random);
    }

    fn waits(&mut self, now: Instant, most: Duration, random: impl FnOnce(Duration) -> Duration) {
        if now >= self.at + QUIET {
            self.pause = FIRST;
        }
        let pause = self.pause.min(most);
        // Where calls are scarce it is no shorter than a half.
        let (least, more) = if most > LONGEST { (pause / 2, pause / 2) } else { (Duration::ZERO, pause) };
        self.at = now + least + random(more);
        self.pause = (pause * 2).min(most);
    }

    /// The longest pause of an instance that shows life so often, in a store that does or does not count its calls.
    pub(super) fn longest(beat: Duration, counts_calls: bool) -> Duration {
        if counts_calls { beat.max(LONGEST) } else { LONGEST.min(beat) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: Duration = Duration::from_secs(10);

    fn none(_: Duration) -> Duration {
        Duration::ZERO
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_read_again_and_again_waits_longer_each_time() {
        let mut now = Instant::now();
        let mut again = Again::new(now);
        assert_eq!(again.at(), now);
        let mut times = 0;
        while again.pause < MOST {
            times += 1;
            now = again.at();
            again.done(now, MOST, none);
        }
        assert_eq!(times, 7, "100 ms, 200, … 6.4 s");
        again.done(again.at(), MOST, none);
        assert_eq!(again.pause, MOST);
        let quiet = again.at() + QUIET;
        let mut other = again;
        again.done(quiet, MOST, none);
        other.failed(quiet, true, MOST, none);
        assert_eq!([again.pause, other.pause], [FIRST * 2; 2], "nothing was read again for a while");
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_takes_nothing_is_tried_more_often_than_one_that_is_written_to() {
        let now = Instant::now();
        for (is_costly, most) in [(false, LONGEST), (true, MOST)] {
            let mut again = Again::new(now);
            (0..20).for_each(|_| again.failed(now, is_costly, MOST, none));
            assert_eq!(again.at() - now, if is_costly { most / 2 } else { Duration::ZERO });
            again.failed(now, false, MOST, none);
            assert_eq!(again.pause, LONGEST, "as soon as it takes nothing");
        }
    }
}
