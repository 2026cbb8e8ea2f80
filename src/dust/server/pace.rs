//! The pace of reads that nobody waits for.
//!
//! A token's reads of a minute are limited, too. Housekeeping takes an eighth of them, and none while less
//! than half of a minute's reads is left: those are for requests. Reads of logs take another eighth, of all stores
//! together; most of what was saved up is left to the first store, for purges are in it.

use std::time::Duration;

use tokio::time::Instant;

/// How many reads a minute a server as it comes allows a token.
const STOCK: u64 = 1000;
/// The part of them that housekeeping takes.
const PART: u64 = 8;
/// How many may go out at once after a rest.
const BURST: u32 = 10;
/// The length of the server's window.
const WINDOW: Duration = Duration::from_mins(1);

/// When the next read of the background may go out.
#[derive(Debug)]
pub(super) struct Pace {
    limit: u64,
    /// When it would go out if there were no bursts.
    next: Option<Instant>,
    /// None go out before then.
    rests: Option<Instant>,
}

// === impl Pace ===

impl Default for Pace {
    fn default() -> Self {
        Self { limit: STOCK, next: None, rests: None }
    }
}

impl Pace {
    /// Takes the next turn, and returns when it comes.
    pub(super) fn turn(&mut self, now: Instant) -> Instant {
        let (at, step) = self.next(now);
        self.takes(now, step);
        self.rests.map_or(at, |rests| rests.max(at))
    }

    /// The same for what must not rest and is of no use after `due`: without a turn by then none is taken. What
    /// `gives_way` takes one at once, and leaves a half of what may go out so.
    pub(super) fn turn_by(&mut self, now: Instant, due: Instant, gives_way: bool) -> Option<Instant> {
        let (at, step) = self.next(now);
        let is_ahead = self.next.is_some_and(|next| next > now + step * (BURST / 2));
        if at > due || gives_way && is_ahead {
            return None;
        }
        self.takes(now, step);
        Some(at)
    }

    /// When the next turn comes, and the time from one to the next.
    fn next(&self, now: Instant) -> (Instant, Duration) {
        let step = WINDOW / u32::try_from(self.limit / PART).unwrap_or(u32::MAX).max(1);
        let next = self.next.map_or(now, |next| next.max(now));
        (next.checked_sub(step * BURST).unwrap_or(now).max(now), step)
    }

    fn takes(&mut self, now: Instant, step: Duration) {
        self.next = Some(self.next.map_or(now, |next| next.max(now)) + step);
    }

    /// Returns until when the background rests, if it does.
    pub(super) fn rests(&self, now: Instant) -> Option<Instant> {
        self.rests.filter(|rests| *rests > now)
    }

    /// Records what the server says of the token: so many reads a minute, and what is left until `ends`.
    pub(super) fn told(&mut self, limit: u64, remaining: u64, ends: Instant) {
        self.limit = limit;
        self.rests = (remaining < limit / 2).then_some(ends);
    }

    /// Records that reads are refused until then.
    pub(super) fn refused(&mut self, until: Instant) {
        self.rests = Some(until);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_background_takes_its_part_of_a_minute_and_no_more() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        let in_time = (0..1000).take_while(|_| pace.turn(now) < now + WINDOW).count();
        assert_eq!(in_time, 125 + BURST as usize);
        let later = now + WINDOW * 20;
        assert_eq!((0..20).take_while(|_| pace.turn(later) == later).count(), BURST as usize + 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_that_comes_too_late_is_not_taken() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        let step = WINDOW / 125;
        let taken = (0..100).filter(|_| pace.turn_by(now, now + step / 2, false).is_some()).count();
        assert_eq!(taken, BURST as usize + 1);
        let next = pace.turn_by(now, now + step, false);
        assert_eq!(next, Some(now + step), "those that were not taken cost nothing");
    }

    #[tokio::test(start_paused = true)]
    async fn what_gives_way_leaves_a_half_and_waits_for_nothing() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        let taken = (0..100).filter(|_| pace.turn_by(now, now + WINDOW, true) == Some(now)).count();
        assert_eq!(taken, BURST as usize / 2 + 1);
        assert_eq!(pace.turn_by(now, now + WINDOW, true), None);
        let left = (0..100).filter(|_| pace.turn_by(now, now, false) == Some(now)).count();
        assert_eq!(left, BURST as usize / 2);
    }

    #[tokio::test(start_paused = true)]
    async fn the_second_half_of_a_minute_is_for_requests() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        let ends = now + WINDOW / 3;
        pace.told(1000, 500, ends);
        assert_eq!((pace.turn(now), pace.rests(now)), (now, None));
        pace.told(1000, 499, ends);
        assert_eq!((pace.turn(now), pace.rests(now)), (ends, Some(ends)));
        pace.refused(ends);
        assert_eq!((pace.rests(ends), pace.turn(ends)), (None, ends));
    }
}
