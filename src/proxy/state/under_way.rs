//! Exchanges that are neither flights nor in the store, and whose response may yet be served or stored. An
//! unsafe request that is answered meanwhile invalidates it (F8).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldhash::fast::RandomState;

use crate::clock::WallMs;
use crate::key::KeyHash;
use crate::proxy::state::Proxy;
use crate::tier::{Stamps, Trust};

/// The URLs of such exchanges under way, and how many each has.
#[derive(Debug, Default)]
pub(crate) struct UnderWay(Mutex<HashMap<KeyHash, usize, RandomState>>);

/// One exchange in that count, for as long as this lives.
pub(crate) struct Counted {
    proxy: Arc<Proxy>,
    url: KeyHash,
}

/// Whether this instance heard of all stamps when an exchange was sent, and its count of gaps then.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Heard {
    sure: bool,
    gaps: usize,
}

// === impl UnderWay ===

impl UnderWay {
    /// How many exchanges for a URL are under way.
    pub(crate) fn count(&self, url: KeyHash) -> usize {
        self.all().get(&url).copied().unwrap_or_default()
    }

    fn all(&self) -> MutexGuard<'_, HashMap<KeyHash, usize, RandomState>> {
        // Each change is made in one step: a panic of another task leaves the map intact.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Counted ===

impl Counted {
    pub(crate) fn of(proxy: &Arc<Proxy>, url: KeyHash) -> Self {
        *proxy.under_way.all().entry(url).or_default() += 1;
        Self { proxy: proxy.clone(), url }
    }

    /// Returns whether the exchange is for that URL.
    pub(crate) fn is_of(&self, url: KeyHash) -> bool {
        self.url == url
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut all = self.proxy.under_way.all();
        if let Some(count) = all.get_mut(&self.url) {
            *count -= 1;
            if *count == 0 {
                all.remove(&self.url);
            }
        }
    }
}

// === impl Heard ===

impl Heard {
    /// Returns whether this instance has heard of every stamp since then, even of those that were announced
    /// and not written.
    pub(crate) fn all(self, stamps: &Stamps, trust: &Trust, now: WallMs) -> bool {
        self.sure && trust.holds(now) && stamps.gaps() == self.gaps
    }
}

// === impl Proxy ===

impl Proxy {
    /// Whether this instance hears of all stamps now.
    pub(crate) fn hears(&self) -> Heard {
        // In this order: a gap that comes between the two is noticed.
        let gaps = self.stamps.gaps();
        Heard { sure: self.trust.holds(self.now_ms()), gaps }
    }

    /// Returns whether this instance has heard of every stamp since `since`.
    pub(crate) fn has_heard_all(&self, since: Heard) -> bool {
        since.all(&self.stamps, &self.trust, self.now_ms())
    }
}
