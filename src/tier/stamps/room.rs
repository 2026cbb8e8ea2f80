//! How much of a store stamps may take.

use std::sync::PoisonError;

use super::{Scope, Stamps};
use crate::clock::WallMs;
use crate::dust::{Dust, Usage};

/// How many URLs have stamps in the store, when clients may add none; fewer, if that is more than a 32nd
/// of its room. One takes about 200 bytes there, and 100 in each instance.
pub const URLS: usize = 1 << 20;
/// The part of a store's room that may be stamps: half of what it keeps back for them and for
/// signs of life.
const SHARE: u64 = 32;
/// What a stamp takes, in bytes of key and value, with a long prefix.
const BYTES: u64 = 192;
/// How often they are counted, while there may be too many: that takes a look at each.
const COUNTED_MS: u64 = 1_000;

/// How many URLs had stamps in the store when they were last counted, and those that were let in since.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counted {
    at: WallMs,
    urls: u64,
}

// === impl Stamps ===

impl Stamps {
    /// Returns whether there is a place for a stamp that an unsafe request asks for. A URL that has
    /// stamps in the store takes no more room; what covers here alone, or has ended, takes none.
    pub(super) fn has_place(&self, dust: &dyn Dust, scope: Scope) -> bool {
        let Scope::Url(url) = scope else { return true };
        let share = dust
            .room()
            .map_or(u64::MAX, |room| (room.limit.count / SHARE).min(room.limit.bytes / SHARE / BYTES).max(1))
            .min(URLS as u64);
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

    /// What the stamps take of the room of a store at `now`, about.
    pub fn usage(&self, now: WallMs) -> Usage {
        let count = self.table().count_stored(now) as u64;
        Usage { count, bytes: count * BYTES }
    }
}
