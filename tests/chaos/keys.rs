//! What there is to ask for: bodies of every kind, each byte of which follows from key and version.

use std::time::Duration;

use dustgate::drill::origin::Origin;
use dustgate::drill::origin::script::{PUBLIC, Script, Versions};

/// How many there are.
pub const KEYS: usize = 40;

/// Those that come in drops, and can be gone on with: they have a strong tag.
pub const RESUMABLE: [usize; 4] = [28, 29, 25, 26];

/// How long the slowest of them takes to fetch.
pub const SLOWEST: Duration = Duration::from_millis(2500);

/// Where a key is.
pub fn path(key: usize) -> String {
    format!("/k/{key}")
}

/// What the origin does with it.
fn script(key: usize) -> Script {
    let ms = Duration::from_millis;
    let plain = Script { versions: Versions::Edited, etag: !key.is_multiple_of(3), ..Script::plain(ms(20)) };
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
        _ => Script { size: 3_000 + key, cache_control: "max-age=2", etag: true, ..plain },
    }
}

/// The longest lifetime that any of them has, in seconds.
pub const LONGEST: i64 = 600;

/// Puts all of it there.
pub fn put(origin: &Origin) {
    assert!(PUBLIC.ends_with(&format!("={LONGEST}")));
    for key in 0..KEYS {
        assert!(script(key).takes() <= SLOWEST);
        origin.put(&path(key), script(key));
    }
}
