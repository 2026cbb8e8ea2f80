//! A token bucket: how many tokens it has at a time, and which requests get them. No clock and no I/O: the
//! caller passes the time in.
//!
//! A bucket fills evenly and holds a burst at most. One that was never drawn from is full. It is counted in
//! parts, so that all is whole numbers: a token is as many parts as its period has microseconds, and each
//! microsecond brings as many parts as the period has tokens.

use std::time::Duration;

/// After fills were left without tokens, passes get none until a token has come and this time has passed: fills of
/// any instance go before passes of any other. Longer than an instance waits to ask again once one has come.
pub const FILLS_FIRST: Duration = Duration::from_millis(100);

/// The terms of a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BucketTerms {
    /// So many tokens come in a period.
    pub tokens: u64,
    /// The period in microseconds.
    pub period_us: u64,
    /// The most tokens that it holds.
    pub burst: u64,
}

/// What is asked of a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Draw {
    /// Tokens for fills.
    pub fills: u64,
    /// Tokens for passes: given only while no fill has been left without one lately.
    pub passes: u64,
    /// Tokens that were spent without the bucket, and are taken out of it first.
    pub spent: u64,
}

/// What was drawn from a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drawn {
    /// Tokens that were taken.
    pub tokens: u64,
    /// How long until there is a token again, or passes may have one. Zero if there is one left.
    pub wait: Duration,
}

/// A bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bucket {
    /// Its parts at the time `at_us`. Below zero for what was spent without it.
    level: i64,
    at_us: u64,
    /// Until when passes get no token.
    fills_until_us: u64,
}

// === impl BucketTerms ===

impl BucketTerms {
    /// The terms of one share of `shares` equal ones. Each holds a token at least.
    #[must_use]
    pub fn share(self, shares: u64) -> Self {
        let shares = shares.max(1);
        let burst = (self.burst / shares).max(1);
        Self { tokens: self.tokens, period_us: self.period_us.saturating_mul(shares), burst }
    }

    /// The parts of so many tokens.
    fn parts(self, tokens: u64) -> i64 {
        i64::try_from(tokens.saturating_mul(self.period_us)).unwrap_or(i64::MAX)
    }

    /// How long until so many parts have come, in microseconds.
    fn time_of(self, parts: i64) -> u64 {
        u64::try_from(parts).unwrap_or(0).div_ceil(self.tokens.max(1))
    }
}

// === impl Draw ===

impl Draw {
    /// The tokens that are asked for.
    pub fn wanted(self) -> u64 {
        self.fills.saturating_add(self.passes)
    }
}

// === impl Bucket ===

impl Bucket {
    /// A full bucket.
    pub fn full(terms: BucketTerms, now_us: u64) -> Self {
        Self { level: terms.parts(terms.burst), at_us: now_us, fills_until_us: 0 }
    }

    /// An empty bucket.
    pub fn empty(now_us: u64) -> Self {
        Self { level: 0, at_us: now_us, fills_until_us: 0 }
    }

    /// The same bucket on other terms, from `now_us` on: until then it fills on the old ones. It keeps its tokens,
    /// as far as it may hold them.
    #[must_use]
    pub fn on_terms(mut self, now_us: u64, old: BucketTerms, new: BucketTerms) -> Self {
        self.draw(now_us, old, Draw::default());
        let level = i128::from(self.level) * i128::from(new.period_us);
        // Rounded down, also below zero.
        let level = level.div_euclid(i128::from(old.period_us.max(1)));
        self.level = i64::try_from(level).unwrap_or(i64::MAX).min(new.parts(new.burst));
        self
    }

    /// Takes tokens at the time `now_us`.
    pub fn draw(&mut self, now_us: u64, terms: BucketTerms, draw: Draw) -> Drawn {
        let came = now_us.saturating_sub(self.at_us).saturating_mul(terms.tokens);
        let came = i64::try_from(came).unwrap_or(i64::MAX);
        self.level = self.level.saturating_add(came).min(terms.parts(terms.burst));
        // A clock that was set back brings nothing, and does not stop the bucket from filling.
        self.at_us = now_us;
        let spent = terms.parts(draw.spent.min(terms.burst));
        self.level = self.level.saturating_sub(spent).max(-terms.parts(terms.burst));
        let first = u64::try_from(FILLS_FIRST.as_micros()).unwrap_or(u64::MAX);
        let there = u64::try_from(self.level).unwrap_or(0) / terms.period_us.max(1);
        let fills = draw.fills.min(there);
        // No longer than any fill is waited for: the clock may have been set back.
        let longest = terms.time_of(terms.parts(terms.burst.saturating_add(1))).saturating_add(first);
        let held_back = self.fills_until_us.saturating_sub(now_us).min(longest);
        let passes = if held_back > 0 { 0 } else { draw.passes.min(there - fills) };
        self.level -= terms.parts(fills + passes);
        let lacks = terms.time_of(terms.parts(1) - self.level);
        if fills < draw.fills {
            self.fills_until_us = now_us.saturating_add(lacks).saturating_add(first);
        }
        let wait = if passes < draw.passes { lacks.max(held_back) } else { lacks };
        Drawn { tokens: fills + passes, wait: Duration::from_micros(wait) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Ten a second, five at once.
    const TERMS: BucketTerms = BucketTerms { tokens: 10, period_us: 1_000_000, burst: 5 };
    const TENTH: u64 = 100_000;

    fn fills(fills: u64) -> Draw {
        Draw { fills, ..Draw::default() }
    }

    fn passes(passes: u64) -> Draw {
        Draw { passes, ..Draw::default() }
    }

    fn drawn(tokens: u64, wait_us: u64) -> Drawn {
        Drawn { tokens, wait: Duration::from_micros(wait_us) }
    }

    #[test]
    fn it_gives_a_burst_and_then_one_token_after_the_other() {
        let mut bucket = Bucket::full(TERMS, 7);
        assert_eq!(bucket.draw(7, TERMS, fills(3)), drawn(3, 0));
        assert_eq!(bucket.draw(7, TERMS, fills(3)), drawn(2, TENTH));
        assert_eq!(bucket.draw(7 + TENTH - 1, TERMS, fills(1)), drawn(0, 1));
        assert_eq!(bucket.draw(7 + TENTH, TERMS, fills(1)), drawn(1, TENTH));
        assert_eq!(bucket.draw(1 << 50, TERMS, fills(9)), drawn(5, TENTH), "it holds no more");
    }

    #[test]
    fn a_clock_that_is_set_back_brings_nothing_and_stops_nothing() {
        let mut bucket = Bucket::empty(1 << 40);
        assert_eq!(bucket.draw(0, TERMS, fills(1)), drawn(0, TENTH));
        assert_eq!(bucket.draw(TENTH, TERMS, fills(1)), drawn(1, TENTH));
    }

    #[test]
    fn fills_that_lack_tokens_go_before_passes_of_others() {
        let mut bucket = Bucket::empty(0);
        assert_eq!(bucket.draw(0, TERMS, fills(1)), drawn(0, TENTH));
        assert_eq!(bucket.draw(TENTH - 1, TERMS, passes(1)).tokens, 0);
        assert_eq!(bucket.draw(TENTH, TERMS, Draw { fills: 1, passes: 1, spent: 0 }), drawn(1, TENTH));
        assert_eq!(bucket.draw(2 * TENTH, TERMS, passes(1)), drawn(1, TENTH), "no fill lacks any now");
    }

    #[test]
    fn passes_that_are_held_back_are_told_for_how_long() {
        let mut bucket = Bucket::full(TERMS, 0);
        bucket.draw(0, TERMS, fills(6));
        assert_eq!(bucket.draw(TENTH / 2, TERMS, passes(1)), drawn(0, TENTH * 3 / 2));
    }

    #[test]
    fn what_was_spent_without_it_is_missing_but_never_more_than_a_burst() {
        let mut bucket = Bucket::full(TERMS, 0);
        assert_eq!(bucket.draw(0, TERMS, Draw { fills: 5, spent: 2, passes: 0 }).tokens, 3);
        assert_eq!(bucket.draw(0, TERMS, Draw { fills: 1, spent: 2, passes: 0 }), drawn(0, 3 * TENTH));
        assert_eq!(bucket.draw(0, TERMS, Draw { fills: 1, spent: 1 << 40, passes: 0 }), drawn(0, 6 * TENTH));
    }

    #[test]
    fn shares_make_up_the_whole() {
        let third = TERMS.share(3);
        assert_eq!(third, BucketTerms { tokens: 10, period_us: 3_000_000, burst: 1 });
        assert_eq!(TERMS.share(0), TERMS);
        let mut bucket = Bucket::empty(0);
        assert_eq!(bucket.draw(300_000, third, fills(9)).tokens, 1);
    }

    proptest! {
        #[test]
        fn over_any_span_it_gives_no_more_than_the_burst_and_what_comes_meanwhile(
            tokens in 1_u64..1000,
            period_us in 1_u64..10_000_000,
            burst in 1_u64..100,
            steps in prop::collection::vec((0_u64..2_000_000, 0_u64..20, 0_u64..20, 0_u64..3), 1..60),
        ) {
            let terms = BucketTerms { tokens, period_us, burst };
            let (mut bucket, mut now, mut given) = (Bucket::full(terms, 0), 0, Vec::new());
            for (later, fills, passes, spent) in steps {
                now += later;
                let drawn = bucket.draw(now, terms, Draw { fills, passes, spent });
                prop_assert!(drawn.tokens <= fills + passes);
                given.push((now, drawn.tokens));
            }
            for (from, (began, _)) in given.iter().enumerate() {
                let mut sum = 0;
                for (at, tokens_then) in &given[from..] {
                    sum += tokens_then;
                    let came = u128::from(at - began) * u128::from(tokens) / u128::from(period_us);
                    prop_assert!(u128::from(sum) <= u128::from(burst) + came);
                }
            }
        }
    }
}
