//! What was seen: how each client fared, and what the origin was asked.

use std::time::Duration;

/// How one client fared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// Which instance it asked.
    pub instance: usize,
    /// What it got.
    pub end: End,
    /// From the herd's start to the first byte of the body.
    pub first: Option<Duration>,
    /// From the herd's start to the end.
    pub done: Duration,
}

/// What a client got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The whole body of that version.
    Whole(u64),
    /// Bytes that no version has in that place, or a clean end before the end.
    Wrong(String),
    /// No whole body, and the client could tell.
    Broken(String),
    /// No connection: nothing was asked.
    Unreached(String),
    /// An answer that is none: this status.
    Refused(u16),
}

/// What the origin was asked for one path.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Asked {
    /// For all of it.
    pub whole: u64,
    /// For a part.
    pub parts: u64,
    /// Whether it has changed, and it had not.
    pub unchanged: u64,
}

/// What a scenario saw.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// All clients.
    pub samples: Vec<Sample>,
    /// All fetches.
    pub asked: Asked,
}

/// The middle one and the largest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spread {
    /// Half are no longer than this.
    pub p50: Duration,
    /// The longest.
    pub max: Duration,
}

// === impl Sample ===

impl Sample {
    /// The version that was got whole.
    pub fn version(&self) -> Option<u64> {
        match self.end {
            End::Whole(version) => Some(version),
            _ => None,
        }
    }
}

// === impl Asked ===

impl Asked {
    /// All requests.
    pub fn total(self) -> u64 {
        self.whole + self.parts + self.unchanged
    }
}

// === impl Seen ===

impl Seen {
    /// How many samples are so.
    pub fn count(&self, is: impl Fn(&End) -> bool) -> usize {
        self.samples.iter().filter(|sample| is(&sample.end)).count()
    }

    /// How many got something wrong.
    pub fn wrong(&self) -> usize {
        self.count(|end| matches!(end, End::Wrong(_)))
    }

    /// How many got no whole body, and knew.
    pub fn broken(&self) -> usize {
        self.count(|end| matches!(end, End::Broken(_) | End::Unreached(_) | End::Refused(_)))
    }

    /// Times to the first byte.
    pub fn first(&self) -> Spread {
        spread(self.samples.iter().filter_map(|sample| sample.first))
    }

    /// Times to the end.
    pub fn done(&self) -> Spread {
        spread(self.samples.iter().map(|sample| sample.done))
    }
}

/// The spread of some times; zero for none.
pub fn spread(times: impl Iterator<Item = Duration>) -> Spread {
    let mut times: Vec<_> = times.collect();
    times.sort_unstable();
    let max = times.last().copied().unwrap_or_default();
    Spread { p50: times.get(times.len() / 2).copied().unwrap_or_default(), max }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spreads() {
        let ms = Duration::from_millis;
        assert_eq!(spread([3, 1, 2].map(ms).into_iter()), Spread { p50: ms(2), max: ms(3) });
        assert_eq!(spread(std::iter::empty()), Spread::default());
    }
}
