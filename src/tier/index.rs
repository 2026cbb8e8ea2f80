//! From the hash of a key, which names it in the store, to its text, which names it in memory.
//!
//! The index follows the cache and not the other way round: whoever put something in or took
//! something out brings the key's line up to date afterwards, under the line's lock and by what
//! the cache holds *then*. So whoever comes last writes what is true, in whatever order two of
//! them met in the cache.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::key::KeyHash;

/// How many locks share the lines.
const SHARDS: usize = 16;

/// The texts of the keys that are held, by hash.
#[derive(Debug)]
pub(super) struct Index {
    shards: [Mutex<Shard>; SHARDS],
}

/// Hashed alike in every run: a simulation repeats. The keys are hashes that nobody chooses.
type Shard = HashMap<KeyHash, Arc<str>, BuildHasherDefault<DefaultHasher>>;

// === impl Index ===

impl Index {
    pub(super) fn new() -> Self {
        Self { shards: std::array::from_fn(|_| Mutex::default()) }
    }

    /// The text of a key that is held.
    pub(super) fn text(&self, hash: KeyHash) -> Option<Arc<str>> {
        self.shard(hash).get(&hash).cloned()
    }

    /// Brings a line up to date. `held`: whether the cache holds the key, asked under the lock.
    pub(super) fn update(&self, hash: KeyHash, key: &str, held: impl FnOnce() -> bool) {
        let mut shard = self.shard(hash);
        if held() {
            shard.entry(hash).or_insert_with(|| Arc::from(key));
        } else {
            shard.remove(&hash);
        }
    }

    /// Brings all lines up to date.
    pub(super) fn sift(&self, held: impl Fn(&str) -> bool) {
        for shard in &self.shards {
            shard.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, key| held(key));
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().expect("no test panics with it").len()).sum()
    }

    fn shard(&self, hash: KeyHash) -> MutexGuard<'_, Shard> {
        let at = usize::from(hash.0[15]) % SHARDS;
        // A line is one insertion or removal: a panic elsewhere broke nothing.
        self.shards[at].lock().unwrap_or_else(PoisonError::into_inner)
    }
}
