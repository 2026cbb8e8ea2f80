//! The index of the tier: from the hash of a key, which names it in the store, to its text, which names it in
//! memory.
//!
//! The index follows the cache: a task that has inserted or removed a key updates the key's line afterwards,
//! under the line's lock, by what the cache holds at that moment. So the last update is right, in whatever
//! order two tasks changed the cache.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::key::KeyHash;

/// How many locks the lines are spread over.
const SHARDS: usize = 16;

/// The texts of the keys that are held, by hash.
#[derive(Debug)]
pub(super) struct Index {
    shards: [Mutex<Shard>; SHARDS],
}

/// Hashed alike in every run, so that a simulation is reproducible. Clients can't choose the keys: they are
/// hashes.
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

    /// Updates a line. `held` says whether the cache holds the key, whose text is `text`; they are called
    /// under the lock.
    pub(super) fn update(&self, hash: KeyHash, text: impl FnOnce() -> Arc<str>, held: impl FnOnce() -> bool) {
        let mut shard = self.shard(hash);
        if held() {
            shard.entry(hash).or_insert_with(text);
        } else {
            shard.remove(&hash);
        }
    }

    /// Removes the lines of keys that are not held.
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
        // An update is one insertion or removal: a panic elsewhere broke nothing.
        self.shards[at].lock().unwrap_or_else(PoisonError::into_inner)
    }
}
