//! How much space the bodies take.

use std::sync::atomic::Ordering;

use futures_util::StreamExt as _;

use super::store::parse;
use super::{Bodies, Error};
use crate::record::Manifest;

// === impl Bodies ===

impl Bodies {
    /// The space that a stored body takes, as an estimate without I/O.
    pub fn takes(&self, manifest: &Manifest) -> u64 {
        manifest.segments.iter().map(|segment| self.store.space(segment)).sum()
    }

    /// Bytes that the current life takes in the body store, as far as this instance knows, and those that are
    /// carried, where the carrier tells.
    pub fn used(&self) -> u64 {
        self.store.used()
    }

    /// Bytes above the configured limit: the janitor deletes records to free them.
    pub fn excess(&self) -> u64 {
        if self.settings.size == 0 { 0 } else { self.used().saturating_sub(self.settings.size) }
    }

    /// Sets [`Bodies::used`] to what another instance has counted.
    pub fn learn_used(&self, bytes: u64) {
        let carried = self.store.carries();
        self.counters().used.store(bytes.saturating_sub(carried), Ordering::Relaxed);
    }

    /// Counts what is stored, sets [`Bodies::used`] to it and returns it. For instances that do not sweep.
    /// Reads the whole listing: to be called at the start, and rarely after that.
    ///
    /// # Errors
    /// If the listing fails.
    pub async fn recount(&self) -> Result<u64, Error> {
        let (before, life) = (self.moved(), self.life());
        let mut bytes = 0;
        let mut listing = self.store.list(&life);
        while let Some(meta) = listing.next().await {
            let meta = meta.inspect_err(|_| self.listing_failed())?;
            bytes += if parse(&life, &meta.location).is_some() { meta.size } else { 0 };
        }
        self.counted(bytes + self.store.overhead(&life).await, before);
        Ok(self.used())
    }

    /// The counters of bytes put and bytes deleted so far.
    pub(super) fn moved(&self) -> (u64, u64) {
        let counters = self.counters();
        (counters.put.load(Ordering::Relaxed), counters.deleted.load(Ordering::Relaxed))
    }

    /// Takes the result of a listing: it found `bytes`, and began when the counters were at `before`. What
    /// was put meanwhile may be counted twice until the next listing: rather too much than too little.
    pub(super) fn counted(&self, bytes: u64, before: (u64, u64)) {
        let (put, deleted) = self.moved();
        let used = bytes.saturating_add(put - before.0).saturating_sub(deleted - before.1);
        self.counters().used.store(used, Ordering::Relaxed);
    }

    pub(super) fn listing_failed(&self) {
        self.counters().list_errors.fetch_add(1, Ordering::Relaxed);
    }
}
