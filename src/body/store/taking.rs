//! Whether a body is taken, as far as that can be told before its first byte.

use std::sync::atomic::{AtomicBool, Ordering};

use super::super::destination::Destination;
use super::Store;

/// Whether the last put worked.
#[derive(Debug, Default)]
pub(super) struct Takes {
    failed: AtomicBool,
}

/// Whether a body will be stored, as far as the store is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taking {
    /// It will, unless the store fails from now on.
    Expected,
    /// The last put failed, and it depends on the body's length whether this one is put there.
    Unsure,
    /// The last put where it would go failed.
    Unlikely,
}

// === impl Takes ===

impl Takes {
    /// Notes the result of a put. Writes only if it is another one than that of the put before.
    pub(super) fn note(&self, worked: bool) {
        if self.failed.load(Ordering::Relaxed) == worked {
            self.failed.store(!worked, Ordering::Relaxed);
        }
    }

    fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }
}

// === impl Store ===

impl Store {
    /// Whether a body of this length will be stored, if it is known.
    pub(in crate::body) fn taking(&self, len: Option<u64>) -> Taking {
        let small = self.small();
        if len.is_some_and(|len| len <= small) {
            return Taking::Expected;
        }
        let [objects, carried] = &self.taken;
        let fails = match self.destination(len) {
            Destination::Objects => objects.has_failed() || self.is_unmarked(),
            Destination::Carrier { .. } => carried.has_failed(),
        };
        match (fails, len) {
            (false, _) => Taking::Expected,
            (true, None) if small > 0 => Taking::Unsure,
            (true, _) => Taking::Unlikely,
        }
    }
}
