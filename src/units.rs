//! Values of settings as people write them: durations, sizes, rates, addresses, networks, lists. A number
//! without a unit is refused: `30` could be seconds or milliseconds.
//!
//! A field of a plain type is read and shown so by `#[serde(with = "units::duration")]` or
//! `#[serde(with = "units::size")]`.

use std::fmt::{self, Display};
use std::str::FromStr;
use std::time::Duration;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

mod address;
pub mod duration;
mod list;
mod meter;
pub mod ms;
mod rate;
pub mod size;
mod web_url;

pub use address::{Listen, Net, Socket};
pub use list::List;
pub use meter::Meter;
pub use rate::Rate;
pub use web_url::{has_user, has_web_scheme, web_url};

/// A duration such as `"250ms"`, `"10s"`, `"5m"`, `"1h"` or `"30d"`; `"0s"` is off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Dur(pub Duration);

/// A number of bytes such as `"32KiB"`, `"10MiB"` or `"1GiB"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Size(pub u64);

/// The units of a duration in milliseconds, the largest first.
const DURATIONS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];
const SIZES: [(&str, u64); 5] =
    [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

// === impl Dur ===

impl Dur {
    /// A duration of this many seconds.
    pub const fn secs(secs: u64) -> Self {
        Self(Duration::from_secs(secs))
    }

    /// In milliseconds.
    pub fn ms(self) -> u64 {
        u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX)
    }

    /// The duration, or `None` for `"0s"`, which is off.
    pub fn on(self) -> Option<Duration> {
        (!self.0.is_zero()).then_some(self.0)
    }
}

impl FromStr for Dur {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let ms = measured(text, &DURATIONS)
            .map_err(|why| why.say(text, "a duration has a unit: ms, s, m, h or d", "s"))?;
        Ok(Self(Duration::from_millis(ms)))
    }
}

impl Display for Dur {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_zero() { f.write_str("0s") } else { write_measured(f, self.ms(), &DURATIONS) }
    }
}

// === impl Size ===

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bytes = measured(text, &SIZES)
            .map_err(|why| why.say(text, "a size has a unit: B, KiB, MiB, GiB or TiB", "B"))?;
        Ok(Self(bytes))
    }
}

impl Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 { f.write_str("0B") } else { write_measured(f, self.0, &SIZES) }
    }
}

/// What is wrong with a measured number.
enum Wrong {
    NoUnit,
    Unit,
    Number,
    TooLarge,
}

fn measured(text: &str, units: &[(&str, u64)]) -> Result<u64, Wrong> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    if number.is_empty() {
        return Err(Wrong::Number);
    }
    if unit.is_empty() {
        return Err(Wrong::NoUnit);
    }
    let (_, factor) = units.iter().find(|(name, _)| *name == unit).ok_or(Wrong::Unit)?;
    let number: u64 = number.parse().map_err(|_| Wrong::TooLarge)?;
    number.checked_mul(*factor).ok_or(Wrong::TooLarge)
}

impl Wrong {
    fn say(&self, text: &str, units: &str, usual: &str) -> String {
        match self {
            Self::NoUnit => format!("{units}; write \"{text}{usual}\""),
            Self::Unit => format!("{units}, behind one whole number, as in \"{}\"", example(usual)),
            Self::Number => format!("{units}, behind a whole number, as in \"{}\"", example(usual)),
            Self::TooLarge => "too large a number".to_owned(),
        }
    }
}

fn example(usual: &str) -> &'static str {
    if usual == "s" { "30s" } else { "64KiB" }
}

fn write_measured(f: &mut fmt::Formatter<'_>, number: u64, units: &[(&str, u64)]) -> fmt::Result {
    let (unit, factor) = units.iter().find(|(_, factor)| number.is_multiple_of(*factor)).unwrap_or(&("", 1));
    write!(f, "{}{unit}", number / factor)
}

/// `"a", "b" or "c"` is meant.
pub(crate) fn one_of(names: &[&str]) -> String {
    let quoted: Vec<_> = names.iter().map(|name| format!("{name:?}")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last} is meant", rest.join(", ")),
        _ => format!("{} is meant", quoted.join(", ")),
    }
}

// === serde ===

impl Serialize for Dur {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Dur {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Measured { say: "a duration such as \"30s\"", from: Self::from_str })
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Measured { say: "a size such as \"64KiB\"", from: Self::from_str })
    }
}

/// Reads text. For a bare number, the error says what to write instead.
struct Measured<T> {
    say: &'static str,
    from: fn(&str) -> Result<T, String>,
}

impl<T> Visitor<'_> for Measured<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.say)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        (self.from)(text).map_err(E::custom)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations() {
        for (text, ms, shown) in [
            ("0s", 0, "0s"),
            ("250ms", 250, "250ms"),
            ("1000ms", 1000, "1s"),
            ("10s", 10_000, "10s"),
            ("90s", 90_000, "90s"),
            ("60s", 60_000, "1m"),
            ("1h", 3_600_000, "1h"),
            ("24h", 86_400_000, "1d"),
            ("30d", 2_592_000_000, "30d"),
        ] {
            let dur: Dur = text.parse().unwrap();
            assert_eq!((dur.ms(), dur.to_string().as_str()), (ms, shown));
        }
        assert_eq!(
            "60".parse::<Dur>().unwrap_err(),
            "a duration has a unit: ms, s, m, h or d; write \"60s\""
        );
        for text in
            ["", "s", "1.5s", "-1s", "1 s", "1S", "1h30m", "1y", "99999999999999999999s", "999999999999999d"]
        {
            assert!(text.parse::<Dur>().is_err(), "{text:?}");
        }
        assert_eq!(Dur::secs(0).on(), None);
    }

    #[test]
    fn sizes() {
        for (text, bytes, shown) in [
            ("0B", 0, "0B"),
            ("0KiB", 0, "0B"),
            ("1B", 1, "1B"),
            ("32KiB", 32 << 10, "32KiB"),
            ("1024KiB", 1 << 20, "1MiB"),
            ("1GiB", 1 << 30, "1GiB"),
            ("1536MiB", 1536 << 20, "1536MiB"),
            ("2TiB", 2 << 40, "2TiB"),
        ] {
            let size: Size = text.parse().unwrap();
            assert_eq!((size.0, size.to_string().as_str()), (bytes, shown));
        }
        assert_eq!(
            "1024".parse::<Size>().unwrap_err(),
            "a size has a unit: B, KiB, MiB, GiB or TiB; write \"1024B\""
        );
        for text in ["", "KiB", "1KB", "1kb", "1M", "1.5GiB", "99999999999TiB"] {
            assert!(text.parse::<Size>().is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_again(number in any::<u32>()) {
            let dur = Dur(Duration::from_millis(number.into()));
            prop_assert_eq!(dur.to_string().parse(), Ok(dur));
            let size = Size(number.into());
            prop_assert_eq!(size.to_string().parse(), Ok(size));
        }
    }
}
