//! What the origin does with a path.

use std::time::Duration;

/// How a path behaves.
#[derive(Debug, Clone, Copy)]
pub struct Script {
    /// Until the response's head.
    pub delay: Duration,
    /// Of the body, in bytes.
    pub size: usize,
    /// In how many pieces it is sent.
    pub chunks: usize,
    /// Between two pieces.
    pub gap: Duration,
    /// The field.
    pub cache_control: &'static str,
    /// Whether it has a strong entity tag, and parts can be had.
    pub etag: bool,
    /// Whether what is sent changes.
    pub versions: Versions,
    /// After how much of the body, in percent, the first fetch is held.
    pub hold: Option<usize>,
    /// The status of every answer, if it is a failure.
    pub fails: Option<u16>,
}

/// Whether what is sent changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Versions {
    /// It is always the same.
    Steady,
    /// Each fetch gets something else.
    Changing,
    /// It changes when it is edited: by a POST to its path, or by [`super::Origin::edit`].
    Edited,
}

/// What may be stored.
pub const PUBLIC: &str = "public, max-age=600";

// === impl Script ===

impl Script {
    /// Something of 64 KiB that may be stored, sent in one piece after a delay.
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

    /// The same in a stream of 256 KiB that takes as long again as its delay, with a tag.
    pub fn stream(delay: Duration) -> Self {
        Self { size: 256 << 10, chunks: 21, gap: delay / 20, etag: true, ..Self::plain(delay) }
    }

    /// How long one fetch takes by itself.
    pub fn takes(&self) -> Duration {
        let gaps = u32::try_from(self.chunks.saturating_sub(1)).unwrap_or(u32::MAX);
        self.delay + self.gap.saturating_mul(gaps)
    }

    /// Where the body is cut, from the byte `from` on: the ends of its pieces, and whether the
    /// fetch is held before the next one, or there is a gap.
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
    /// Its last byte, and one.
    pub end: usize,
    /// What comes then.
    pub pause: Pause,
}

/// What there is between two pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pause {
    /// The script's gap.
    Gap,
    /// Until it is let go.
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
