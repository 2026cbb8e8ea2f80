//! This instance's own share of a rate, for as long as the fleet has no bucket in common. No clock and no I/O: the
//! caller passes the time in.
//!
//! What a share holds is counted in tokens, so that it stays the same when instances come and go. Shares that are
//! counted alike give together no more than the rate and one burst, as long as the burst has a token for each.

use std::time::Duration;

use crate::dust::{Bucket, BucketTerms, Draw, Drawn};

/// A share of a rate.
pub(crate) struct OwnShare {
    /// The terms of the whole fleet.
    terms: BucketTerms,
    /// Of how many shares this is one.
    living: u64,
    bucket: Bucket,
    /// When it begins to fill.
    begins_us: u64,
}

// === impl OwnShare ===

impl OwnShare {
    /// The whole rate, and a full burst: of an instance that is the whole fleet.
    pub(crate) fn whole(terms: BucketTerms, now_us: u64) -> Self {
        Self { terms, living: 1, bucket: Bucket::full(terms, now_us), begins_us: now_us }
    }

    /// One of `living` shares. It is empty, and begins to fill after `wait`: what it would hold, others may have
    /// spent or hold still.
    pub(crate) fn one_of(terms: BucketTerms, living: u64, now_us: u64, wait: Duration) -> Self {
        let begins_us = now_us.saturating_add(u64::try_from(wait.as_micros()).unwrap_or(u64::MAX));
        Self { terms, living: living.max(1), bucket: Bucket::empty(begins_us), begins_us }
    }

    /// From now on it is one of so many shares. It keeps the tokens that it has, if it may hold as many.
    pub(crate) fn is_one_of(&mut self, living: u64, now_us: u64) {
        let living = living.max(1);
        if living == self.living {
            return;
        }
        if now_us >= self.begins_us {
            self.bucket = self.bucket.on_terms(now_us, self.its_terms(), self.terms.share(living));
        }
        self.living = living;
    }

    /// Of how many shares this is one.
    pub(crate) fn living(&self) -> u64 {
        self.living
    }

    /// Takes tokens.
    pub(crate) fn draw(&mut self, now_us: u64, draw: Draw) -> Drawn {
        if now_us < self.begins_us {
            return Drawn { tokens: 0, wait: Duration::from_micros(self.begins_us - now_us) };
        }
        let terms = self.its_terms();
        self.bucket.draw(now_us, terms, draw)
    }

    fn its_terms(&self) -> BucketTerms {
        self.terms.share(self.living)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Ten a second, six at once.
    const TERMS: BucketTerms = BucketTerms { tokens: 10, period_us: 1_000_000, burst: 6 };
    const SECOND: u64 = 1_000_000;
    const WANTED: Draw = Draw { fills: 100, passes: 0, spent: 0 };

    #[test]
    fn a_share_keeps_its_tokens_when_another_instance_goes() {
        let mut share = OwnShare::one_of(TERMS, 3, 0, Duration::ZERO);
        // 0.9 of a token has come.
        assert_eq!(share.draw(270_000, WANTED).tokens, 0);
        share.is_one_of(1, 270_000);
        assert_eq!(share.draw(279_999, WANTED).tokens, 0);
        assert_eq!(share.draw(280_000, WANTED).tokens, 1, "the last tenth comes three times as fast");
    }

    #[test]
    fn what_came_before_another_instance_did_came_at_the_old_share() {
        let mut share = OwnShare::one_of(TERMS, 1, 0, Duration::ZERO);
        share.is_one_of(2, SECOND / 2);
        assert_eq!(share.draw(SECOND / 2, WANTED).tokens, 3, "five came, and half a burst may be held");
        assert_eq!(share.draw(SECOND / 2 + 199_999, WANTED).tokens, 0);
        assert_eq!(share.draw(SECOND / 2 + 200_000, WANTED).tokens, 1);
    }

    #[test]
    fn a_share_that_has_just_begun_waits() {
        let mut share = OwnShare::one_of(TERMS, 1, 0, Duration::from_secs(1));
        share.is_one_of(2, SECOND / 2);
        assert_eq!(share.draw(SECOND / 2, WANTED), Drawn { tokens: 0, wait: Duration::from_millis(500) });
        assert_eq!(share.draw(SECOND, WANTED), Drawn { tokens: 0, wait: Duration::from_millis(200) });
        assert_eq!(share.draw(SECOND + 200_000, WANTED).tokens, 1);
    }

    proptest! {
        /// Instances come, are counted by all at once, and go with what they had.
        #[test]
        fn shares_never_give_more_together_than_the_rate_and_a_burst(
            tokens in 1_u64..50,
            burst in 6_u64..40,
            steps in prop::collection::vec((0_u64..700_000, 0_u8..8, 0_usize..6, 0_u64..12), 1..80),
        ) {
            let terms = BucketTerms { tokens, period_us: SECOND, burst };
            let (mut now, mut given) = (0, Vec::new());
            let mut shares = vec![OwnShare::one_of(terms, 1, 0, Duration::ZERO)];
            for (later, what, which, wanted) in steps {
                now += later;
                match what {
                    0 if shares.len() < 6 => {
                        let new = shares.len() as u64 + 1;
                        shares.push(OwnShare::one_of(terms, new, now, Duration::ZERO));
                    }
                    1 if shares.len() > 1 => drop(shares.remove(which % shares.len())),
                    _ => {}
                }
                let living = shares.len() as u64;
                for share in &mut shares {
                    share.is_one_of(living, now);
                }
                let which = which % shares.len();
                given.push((now, shares[which].draw(now, Draw { fills: wanted, ..Draw::default() }).tokens));
            }
            for (from, (began, _)) in given.iter().enumerate() {
                let mut sum = 0;
                for (at, tokens_then) in &given[from..] {
                    sum += tokens_then;
                    let came = u128::from(at - began) * u128::from(tokens) / u128::from(SECOND);
                    prop_assert!(u128::from(sum) <= u128::from(burst) + came, "{sum} from {began} to {at}");
                }
            }
        }
    }
}
