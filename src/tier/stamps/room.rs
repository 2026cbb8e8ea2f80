//! How much of a store's room stamps may take.

use std::sync::PoisonError;

use super::{Scope, Stamps};
use crate::clock::WallMs;
use crate::dust::{Dust, Room, Usage};

/// How many URLs may have stamps in the store before clients may add no more; fewer, if that is more than a
/// 32nd of its room. A stamp takes about 200 bytes there, and 100 in each instance.
pub const URLS: usize = 1 << 20;
/// Stamps may take this fraction of a store's room: half of what the store reserves for durable and
/// short-lived entries.
const SHARE: u64 = 32;
/// The bytes of key and value that a stamp takes, with a long prefix.
const BYTES: u64 = 192;
/// The pause between two counts, in ms, while there may be too many: a count visits each stamp.
const COUNTED_MS: u64 = 1_000;

/// How many URLs had stamps in the store at the last count, plus those admitted since.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counted {
    at: WallMs,
    urls: u64,
}

// === impl Stamps ===

impl Stamps {
    /// Returns whether there is room for a stamp of an unsafe request. A URL that has stamps in the store
    /// takes no more room. Stamps that only cover here, or have expired, take none.
    pub(super) fn has_place(&self, dust: &dyn Dust, scope: Scope) -> bool {
        let Scope::Url(url) = scope else { return true };
        let share = share(dust).min(URLS as u64);
        let now = dust.now_ms();
        let table = self.table();
        if (table.len() as u64) < share || table.is_stored(url, now) {
            return true;
        }
        // Each change is made in one step: a panic elsewhere broke nothing.
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        if now.abs_diff(counted.at) >= COUNTED_MS {
            *counted = Counted { at: now, urls: table.count_stored(now) as u64 };
        }
        let has = counted.urls < share;
        counted.urls += u64::from(has);
        has
    }

    /// The room that the stamps take in the store at `now`, estimated.
    pub fn usage(&self, now: WallMs) -> Usage {
        let table = self.table();
        let (tags, buckets) = table.tags.len();
        let count = (table.count_stored(now) + table.count_areas() + tags + buckets) as u64;
        Usage { count, bytes: count * BYTES }
    }
}

/// How many stamps of a kind a store has room for.
pub(super) fn share(dust: &dyn Dust) -> u64 {
    let of = |room: Room| (room.limit.count / SHARE).min(room.limit.bytes / SHARE / BYTES).max(1);
    dust.room().map_or(u64::MAX, of)
}
