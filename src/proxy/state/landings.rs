//! Records that were published a moment ago, and are checked once more against purges that were written
//! beside them.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

use crate::clock::WallMs;
use crate::dust::Number;
use crate::key::KeyHash;
use crate::tier::stamps::Names;

/// The most records that are remembered. Beyond it the oldest are dropped unchecked.
const MOST: usize = 65_536;

/// Records published a moment ago, in the order of their publication.
#[derive(Debug, Default)]
pub(crate) struct Landings(Mutex<VecDeque<Landing>>);

/// A record that was published.
#[derive(Debug, Clone)]
pub(crate) struct Landing {
    pub(crate) due: Instant,
    pub(crate) key: KeyHash,
    pub(crate) names: Names,
    pub(crate) born: Number,
    pub(crate) token: Number,
    pub(crate) end: WallMs,
}

// === impl Landings ===

impl Landings {
    pub(crate) fn add(&self, landing: Landing) {
        let mut all = self.all();
        if all.len() >= MOST {
            all.pop_front();
        }
        all.push_back(landing);
    }

    pub(crate) fn due(&self) -> Option<Instant> {
        self.all().front().map(|landing| landing.due)
    }

    pub(crate) fn take(&self, now: Instant) -> Option<Landing> {
        let mut all = self.all();
        if all.front().is_none_or(|landing| landing.due > now) {
            return None;
        }
        all.pop_front()
    }

    fn all(&self) -> std::sync::MutexGuard<'_, VecDeque<Landing>> {
        // Each change is made in one step: a panic of another task leaves the queue intact.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
