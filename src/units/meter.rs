//! How many things of a rate are left.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::Rate;

/// How many things of a rate are left: as many at once as the rate's number, and then one at a time.
/// Below 0, some were taken ahead.
#[derive(Debug, Default)]
pub struct Meter(Mutex<Option<(f64, Instant)>>);

impl Meter {
    /// Takes so many things of a rate. More than are left may be taken, if one is; then there is none until they
    /// would have come. If none is left, returns how long until there is one.
    pub fn take(&self, rate: Rate, count: usize, now: Instant) -> Result<(), Duration> {
        let most = rate.count() as f64;
        // One assignment changes it: a panic elsewhere broke nothing.
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (left, since) = state.unwrap_or((most, now));
        let each = rate.interval().as_secs_f64().max(f64::EPSILON);
        let left = (left + (now - since).as_secs_f64() / each).min(most);
        let taken = left >= 1.0;
        *state = Some((if taken { left - count as f64 } else { left }, now));
        if taken { Ok(()) } else { Err(Duration::from_secs_f64((1.0 - left) * each)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_lets_so_many_through_and_then_one_at_a_time() {
        let (meter, rate, now) =
            (Meter::default(), "3/m".parse().expect("a rate"), tokio::time::Instant::now().into_std());
        for _ in 0..3 {
            assert_eq!(meter.take(rate, 1, now), Ok(()));
        }
        let wait = meter.take(rate, 1, now).expect_err("none is left");
        assert!(wait <= Duration::from_secs(20) && wait > Duration::from_secs(19), "{wait:?}");
        let later = now + Duration::from_secs(21);
        assert_eq!(meter.take(rate, 1, later), Ok(()));
        assert!(meter.take(rate, 1, later).is_err());
    }

    #[test]
    fn many_things_taken_at_once_are_waited_for_until_they_would_have_come() {
        let (meter, rate, mut now) =
            (Meter::default(), "60/m".parse().expect("a rate"), tokio::time::Instant::now().into_std());
        assert_eq!(meter.take(rate, 90, now), Ok(()));
        for left in [31, 1] {
            let wait = meter.take(rate, 1, now).expect_err("30 were taken ahead");
            assert_eq!(wait.as_millis().div_ceil(1000), left);
            now += Duration::from_secs(30);
        }
        assert_eq!(meter.take(rate, 1, now), Ok(()));
    }
}
