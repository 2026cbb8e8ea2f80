//! Counters of the body store.

use std::sync::atomic::AtomicU64;

/// Counters since the start, for telemetry.
#[derive(Debug, Default)]
pub struct Counters {
    /// Bytes that the current life takes, as far as this instance knows: what the last listing found, and its
    /// own puts and deletions since. In a directory they are disk space.
    pub used: AtomicU64,
    /// Puts that failed.
    pub put_errors: AtomicU64,
    /// Reads that failed, except for missing segments.
    pub get_errors: AtomicU64,
    /// Deletes that failed.
    pub delete_errors: AtomicU64,
    /// Listings that failed.
    pub list_errors: AtomicU64,
    /// Segments whose length or digest was not that of the manifest.
    pub corrupt: AtomicU64,
    /// Segments that a manifest names and the store does not have.
    pub missing: AtomicU64,
    /// Objects removed by the janitor because no record named them.
    pub swept: AtomicU64,
    /// Bytes of other lives of the store that nothing touches and that are not removed yet.
    pub others: AtomicU64,
    /// Bytes of growing bodies in memory now.
    pub window: AtomicU64,
    /// The highest value of `window`.
    pub window_peak: AtomicU64,
    /// Bytes put since the start. With `deleted` it tells what changed during a listing.
    pub put: AtomicU64,
    /// Bytes deleted since the start.
    pub deleted: AtomicU64,
}
