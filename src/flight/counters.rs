//! Counters of the leases, read by telemetry.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::heartbeat::Lost;

/// What has happened to leases since the start.
#[derive(Debug, Default)]
pub struct Counters {
    /// Leases lost while their fill went on: the store said that they are not held.
    pub lost_not_held: AtomicU64,
    /// Leases lost while their fill went on: no renewal was answered for a whole TTL (S3).
    pub lost_unanswered: AtomicU64,
    /// Leases that turned out to have been granted after the answer was given up (F11).
    pub orphaned: AtomicU64,
    /// Leases asked for at a key that holds a value (S14).
    pub occupied: AtomicU64,
    occupied_key: Mutex<Option<Arc<str>>>,
}

// === impl Counters ===

impl Counters {
    pub(super) fn lost(&self, how: Lost) {
        let count = match how {
            Lost::NotHeld => &self.lost_not_held,
            Lost::Silence => &self.lost_unanswered,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn occupied(&self, key: &Arc<str>) {
        *self.occupied_key.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(key));
        self.occupied.fetch_add(1, Ordering::Relaxed);
    }

    /// The last lock key that held a value, as it is named in the store.
    pub fn occupied_key(&self) -> Option<Arc<str>> {
        self.occupied_key.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn orphaned(&self) {
        self.orphaned.fetch_add(1, Ordering::Relaxed);
    }
}
