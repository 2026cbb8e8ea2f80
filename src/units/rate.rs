//! A number of things in a time, such as `"10/s"`.

use std::fmt::{self, Display};
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Measured;

/// A rate such as `"10/s"`, `"600/m"`, `"5000/h"` or `"100000/d"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rate {
    /// How many, at least 1.
    count: u64,
    period: Period,
}

/// The time that a rate is told for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Period {
    Second,
    Minute,
    Hour,
    Day,
}

const PERIODS: [Period; 4] = [Period::Second, Period::Minute, Period::Hour, Period::Day];

// === impl Rate ===

impl Rate {
    /// How many come in a period.
    pub fn count(self) -> u64 {
        self.count
    }

    /// The period.
    pub fn period(self) -> Duration {
        Duration::from_secs(self.period.seconds())
    }

    /// The time from one to the next.
    pub fn interval(self) -> Duration {
        Duration::from_nanos(self.period.seconds().saturating_mul(1_000_000_000) / self.count)
    }

    /// How many come in that time, in whole ones.
    pub fn within(self, time: Duration) -> u64 {
        let nanos = time.as_nanos().saturating_mul(u128::from(self.count)) / self.period().as_nanos();
        u64::try_from(nanos).unwrap_or(u64::MAX)
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "a rate is a whole number in a time: s, m, h or d, as in \"10/s\"".to_owned();
        let (count, unit) = text.split_once('/').ok_or_else(wrong)?;
        let period = PERIODS.into_iter().find(|period| period.unit() == unit).ok_or_else(wrong)?;
        if count.is_empty() || !count.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(wrong());
        }
        match count.parse() {
            Ok(0) => Err("must be at least 1; without the setting there is no such limit".to_owned()),
            Ok(count) => Ok(Self { count, period }),
            Err(_) => Err("too large a number".to_owned()),
        }
    }
}

impl Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.count, self.period.unit())
    }
}

// === impl Period ===

impl Period {
    fn unit(self) -> &'static str {
        match self {
            Self::Second => "s",
            Self::Minute => "m",
            Self::Hour => "h",
            Self::Day => "d",
        }
    }

    fn seconds(self) -> u64 {
        match self {
            Self::Second => 1,
            Self::Minute => 60,
            Self::Hour => 3_600,
            Self::Day => 86_400,
        }
    }
}

impl Serialize for Rate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Measured { say: "a rate such as \"10/s\"", from: Self::from_str })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates() {
        for (text, seconds, interval_ms) in
            [("10/s", 1, 100), ("600/m", 60, 100), ("3600/h", 3_600, 1_000), ("100000/d", 86_400, 864)]
        {
            let rate: Rate = text.parse().unwrap();
            assert_eq!((rate.to_string().as_str(), rate.period().as_secs()), (text, seconds));
            assert_eq!(rate.interval(), Duration::from_millis(interval_ms));
        }
        let rate: Rate = "600/m".parse().unwrap();
        assert_eq!((rate.within(Duration::from_secs(1)), rate.within(Duration::from_millis(99))), (10, 0));
    }

    #[test]
    fn what_is_no_rate() {
        for text in ["", "10", "/s", "10/", "10/ms", "1.5/s", "-1/s", "10 /s", "10/S", "10/10s", "+1/s"] {
            let why = text.parse::<Rate>().unwrap_err();
            assert!(why.starts_with("a rate is a whole number in a time"), "{text:?}: {why}");
        }
        assert!("0/s".parse::<Rate>().unwrap_err().starts_with("must be at least 1"));
        assert_eq!("99999999999999999999/s".parse::<Rate>().unwrap_err(), "too large a number");
    }
}
