//! Why the last response of a key was not stored, for explanations. What was not stored leaves no record that
//! could say so.

use quick_cache::sync::Cache;

use crate::clock::WallMs;
use crate::key::KeyHash;
use crate::policy::PassReason;
use crate::proxy::state::Proxy;
use crate::route::Route;

/// The most keys that are remembered.
const CAPACITY: usize = 4_096;

/// The last responses that were not stored, by key.
#[derive(Debug)]
pub(crate) struct UnstoredResponses(Cache<KeyHash, LastUnstored>);

/// A response that was not stored.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LastUnstored {
    /// Why it was not stored.
    pub(crate) reason: PassReason,
    /// When that was known.
    pub(crate) at: WallMs,
}

// === impl UnstoredResponses ===

impl UnstoredResponses {
    pub(crate) fn new() -> Self {
        Self(Cache::new(CAPACITY))
    }

    /// The last response of a key, if it was not stored.
    pub(crate) fn last(&self, key: KeyHash) -> Option<LastUnstored> {
        self.0.peek(&key)
    }

    /// Forgets a key, because a response for it was stored.
    pub(crate) fn forget(&self, key: KeyHash) {
        self.0.remove(&key);
    }
}

impl Proxy {
    /// Counts a response of the origin that is not stored, and remembers why, if its key is known.
    pub(crate) fn unstored(&self, route: &Route, key: Option<KeyHash>, reason: PassReason) {
        self.observer.unstored(route, reason);
        if let Some(key) = key {
            self.unstored.0.insert(key, LastUnstored { reason, at: self.now_ms() });
        }
    }
}
