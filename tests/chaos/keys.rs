//! What there is to ask for: bodies of every kind, each byte of which follows from key and version.

use std::time::Duration;

/// How many there are.
pub const KEYS: usize = 40;

/// Those that come in drops, and can be gone on with: they have a strong tag.
pub const RESUMABLE: [usize; 4] = [28, 29, 25, 26];

/// How long the slowest of them takes to fetch.
pub const SLOWEST: Duration = Duration::from_millis(2500);

/// How the origin sends a key.
#[derive(Debug, Clone, Copy)]
pub struct Script {
    /// Until the head.
    pub delay: Duration,
    /// Of the body, in bytes.
    pub size: usize,
    /// In how many pieces it is sent.
    pub chunks: usize,
    /// Between two pieces.
    pub gap: Duration,
    /// For how many seconds it is fresh.
    pub max_age: i64,
    /// Whether it has a strong entity tag, and parts can be had.
    pub etag: bool,
}

/// Where a key is.
pub fn path(key: usize) -> String {
    format!("/k/{key}")
}

/// What the origin does with it.
pub fn script(key: usize) -> Script {
    let ms = Duration::from_millis;
    let plain = Script {
        delay: ms(20),
        size: 64 << 10,
        chunks: 1,
        gap: Duration::ZERO,
        max_age: LONGEST,
        etag: !key.is_multiple_of(3),
    };
    match key {
        // Small: in the store, beside their records.
        0..16 => Script { size: 900 + key, delay: ms(5 * key as u64), ..plain },
        // One segment.
        16..24 => Script { size: 40_000 + key, delay: ms(100), ..plain },
        // In drops: they grow for a second or two.
        24..31 => Script { size: 60_000 + key, chunks: 12, gap: ms(120), ..plain },
        // Several segments.
        31..34 => Script { size: (5 << 19) + key, chunks: 5, gap: ms(60), ..plain },
        // Slow to begin with.
        34..37 => Script { size: 5_000 + key, delay: ms(1500), ..plain },
        // Soon stale, and validated.
        _ => Script { size: 3_000 + key, max_age: 2, etag: true, ..plain },
    }
}

/// The longest lifetime that any of them has, in seconds.
pub const LONGEST: i64 = 600;

// === impl Script ===

impl Script {
    pub fn cache_control(&self) -> String {
        format!("public, max-age={}", self.max_age)
    }
}

#[test]
fn none_takes_longer_than_the_slowest() {
    for key in 0..KEYS {
        let Script { delay, gap, chunks, .. } = script(key);
        assert!(delay + gap * u32::try_from(chunks - 1).unwrap() <= SLOWEST, "{key}");
    }
}
