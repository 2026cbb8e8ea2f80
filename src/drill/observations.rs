//! What was seen: the result of each client, and the requests that the origin got.

use std::time::Duration;

/// The result of one client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// The instance that it sent its request to.
    pub instance: usize,
    /// What it got.
    pub end: End,
    /// The time from the herd's start to the first byte of the body.
    pub first: Option<Duration>,
    /// The time from the herd's start to the end.
    pub done: Duration,
}

/// What a client got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The whole body of that version.
    Whole(u64),
    /// Bytes that the version does not have at that place, or a clean end of a body that is not whole.
    Wrong(String),
    /// No whole body, and the client could tell.
    Broken(String),
    /// No connection: no request was sent.
    Unreached(String),
    /// An error answer of this status.
    Refused(u16),
}

/// The requests that the origin got for one path.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OriginRequest {
    /// Requests for the whole body.
    pub whole: u64,
    /// Requests for a part.
    pub parts: u64,
    /// Requests that got a 304.
    pub unchanged: u64,
}

/// What a scenario saw.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// The results of all clients.
    pub samples: Vec<Sample>,
    /// The requests that the origin got.
    pub asked: OriginRequest,
}

/// The median and the largest of some times.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spread {
    /// The median.
    pub p50: Duration,
    /// The longest.
    pub max: Duration,
}

// === impl Sample ===

impl Sample {
    /// The version of the body, if it came whole.
    pub fn version(&self) -> Option<u64> {
        match self.end {
            End::Whole(version) => Some(version),
            _ => None,
        }
    }
}

// === impl OriginRequest ===

impl OriginRequest {
    /// All requests.
    pub fn total(self) -> u64 {
        self.whole + self.parts + self.unchanged
    }
}

// === impl Seen ===

impl Seen {
    /// The number of samples of which this is true.
    pub fn count(&self, is: impl Fn(&End) -> bool) -> usize {
        self.samples.iter().filter(|sample| is(&sample.end)).count()
    }

    /// The number of clients that got wrong bytes.
    pub fn wrong(&self) -> usize {
        self.count(|end| matches!(end, End::Wrong(_)))
    }

    /// The number of clients that got no whole body, and could tell.
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
