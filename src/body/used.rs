//! How much of the body store is taken.

use std::sync::atomic::Ordering;

use futures_util::StreamExt as _;

use super::store::parse;
use super::{Bodies, Error};
use crate::record::Manifest;

// === impl Bodies ===

impl Bodies {
    /// What a stored body takes of the store, as far as that can be said without asking it.
    pub fn takes(&self, manifest: &Manifest) -> u64 {
        manifest.segments.iter().map(|segment| self.store.takes(segment.len)).sum()
    }

    /// Bytes that are taken in the store under this id, as far as this instance knows.
    pub fn used(&self) -> u64 {
        self.store.used()
    }

    /// Bytes over the limit that is set, which records have to be given up for.
    pub fn excess(&self) -> u64 {
        if self.settings.size == 0 { 0 } else { self.used().saturating_sub(self.settings.size) }
    }

    /// Learns what is stored from one who has counted it.
    pub fn learn_used(&self, bytes: u64) {
        self.counters().used.store(bytes, Ordering::Relaxed);
    }

    /// Counts what is stored, sets [`Bodies::used`] to it and gives it. For instances that do
    /// not sweep; reads the whole listing, so at start and then rarely.
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

    /// Bytes put and deleted so far.
    pub(super) fn moved(&self) -> (u64, u64) {
        let counters = self.counters();
        (counters.put.load(Ordering::Relaxed), counters.deleted.load(Ordering::Relaxed))
    }

    /// A listing that began at `before` found `bytes`. What was put meanwhile may be counted
    /// twice, until the next one: rather too much than too little.
    pub(super) fn counted(&self, bytes: u64, before: (u64, u64)) {
        let (put, deleted) = self.moved();
        let used = bytes.saturating_add(put - before.0).saturating_sub(deleted - before.1);
        self.counters().used.store(used, Ordering::Relaxed);
    }

    pub(super) fn listing_failed(&self) {
        self.counters().list_errors.fetch_add(1, Ordering::Relaxed);
    }
}
