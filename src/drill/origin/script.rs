//! How the origin answers requests for a path.

use std::time::Duration;

/// How the origin answers requests for a path.
#[derive(Debug, Clone, Copy)]
pub struct Script {
    /// The time until the response's head.
    pub delay: Duration,
    /// The size of the body, in bytes.
    pub size: usize,
    /// The number of pieces in which the body is sent.
    pub chunks: usize,
    /// The pause between two pieces.
    pub gap: Duration,
    /// The value of `Cache-Control`.
    pub cache_control: &'static str,
    /// Whether the response has a strong entity tag, and ranges are answered.
    pub etag: bool,
    /// Whether what is sent changes.
    pub versions: Versions,
    /// The part of the body, in percent, after which the first fetch is held.
    pub hold: Option<usize>,
    /// The status of every answer, if it is a failure.
    pub fails: Option<u16>,
}

/// Whether what is sent changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Versions {
    /// It is always the same.
    Steady,
    /// Each whole fetch gets another version.
    Changing,
    /// It changes when it is edited: by a POST to its path, or by [`super::Origin::edit`].
    Edited,
}

/// A `Cache-Control` for responses that may be stored.
pub const PUBLIC: &str = "public, max-age=600";

// === impl Script ===

impl Script {
    /// A body of 64 KiB that may be stored, sent in one piece after a delay.
    pub fn plain(delay: Duration) -> Self {
        Self {
            delay,
            size: 64 << 10,
            chunks: 1,
            gap: Duration::ZERO,
            cache_control: PUBLIC,
            etag: false,
            versions: Versions::Changing,
            hold: None,
            fails: None,
        }
    }

    /// A body of 256 KiB with a tag, sent in pieces for as long again as the delay.
    pub fn stream(delay: Duration) -> Self {
        Self { size: 256 << 10, chunks: 21, gap: delay / 20, etag: true, ..Self::plain(delay) }
    }

    /// How long one fetch takes by itself.
    pub fn takes(&self) -> Duration {
        let gaps = u32::try_from(self.chunks.saturating_sub(1)).unwrap_or(u32::MAX);
        self.delay + self.gap.saturating_mul(gaps)
    }

    /// The ends of the body's pieces, from the byte `from` on, and after each a gap, a hold or nothing.
    pub fn cuts(&self, from: usize, held: bool) -> Vec<Cut> {
        let chunks = self.chunks.max(1);
        let mut cuts: Vec<_> = (1..=chunks).map(|n| (self.size * n / chunks, Pause::Gap)).collect();
        if let Some(percent) = self.hold.filter(|_| held) {
            cuts.push((self.size * percent.min(100) / 100, Pause::Hold));
        }
        cuts.sort_by_key(|(end, _)| *end);
        let cuts = cuts.into_iter().filter(|(end, pause)| *end > from || *pause == Pause::Hold);
        cuts.map(|(end, pause)| Cut { end, pause }).collect()
    }
}

/// The end of a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// The offset of its last byte, plus one.
    pub end: usize,
    /// What comes before the next piece.
    pub pause: Pause,
}

/// What is between two pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pause {
    /// The script's gap.
    Gap,
    /// A hold, until the fetch is released.
    Hold,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_takes_twice_its_delay() {
        assert_eq!(Script::stream(Duration::from_millis(500)).takes(), Duration::from_secs(1));
    }

    #[test]
    fn it_is_held_where_the_script_says() {
        let script = Script { size: 100, chunks: 2, hold: Some(99), ..Script::plain(Duration::ZERO) };
        let ends = |cuts: Vec<Cut>| cuts.iter().map(|cut| (cut.end, cut.pause)).collect::<Vec<_>>();
        assert_eq!(ends(script.cuts(0, true)), [(50, Pause::Gap), (99, Pause::Hold), (100, Pause::Gap)]);
        assert_eq!(ends(script.cuts(60, false)), [(100, Pause::Gap)]);
        let script = Script { hold: Some(0), ..script };
        assert_eq!(ends(script.cuts(0, true))[0], (0, Pause::Hold));
    }
}
