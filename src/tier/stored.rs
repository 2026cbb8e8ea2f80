//! Records in memory, prepared for hits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use bytes::Bytes;

use super::{Covered, Stamps};
use crate::dust::Number;
use crate::key::KeyHash;
use crate::policy::{ReuseTerms, Rules};
use crate::record::{Manifest, Record};

/// Mark: the record was used since [`super::Tier::was_used`] was last called for it.
pub(super) const USED: u8 = 1;
/// Mark: changes of the record may have been missed, so its next use has it read again.
pub(super) const DOUBTED: u8 = 2;

/// A record in memory, prepared for hits.
#[derive(Debug)]
pub struct Stored {
    /// The record; its manifest is moved to `manifest`.
    pub record: Record,
    /// How it may be reused by its fields, parsed once.
    pub terms: ReuseTerms,
    /// Its body's segments, shared with readers.
    pub manifest: Arc<Manifest>,
    /// The body, if it is small enough to be held.
    pub body: Option<Bytes>,
    /// The hash of its key, which names its entry and its segments.
    pub hash: KeyHash,
    /// The URL it is purged by: the hash of its key's first line.
    pub url: KeyHash,
    /// The count of applied stamps when it was last found not covered.
    checked: AtomicU64,
    /// The number of its entry in the store; 0 while unknown.
    number: AtomicU64,
    /// [`USED`] and [`DOUBTED`] in one byte, so that a hit loads one.
    pub(super) mark: AtomicU8,
    /// Whether no entry of the store names it, as far as is known.
    unbacked: AtomicBool,
}

// === impl Stored ===

impl Stored {
    /// Prepares a record for hits under its route's rules.
    pub fn new(mut record: Record, rules: &Rules, body: Option<Bytes>) -> Self {
        let terms = ReuseTerms::of(&record, rules);
        let manifest = Arc::new(std::mem::take(&mut record.body));
        Self {
            hash: KeyHash::of(&record.key),
            url: url_hash(&record.key),
            checked: AtomicU64::new(0),
            number: AtomicU64::new(0),
            mark: AtomicU8::new(0),
            unbacked: AtomicBool::new(false),
            terms,
            manifest,
            body,
            record,
        }
    }

    /// Sets the number of the entry that it was read from.
    #[must_use]
    pub fn at(self, number: Number) -> Self {
        Self { number: AtomicU64::new(number), ..self }
    }

    /// The number of its entry in the store; 0 while unknown.
    pub fn number(&self) -> Number {
        self.number.load(Ordering::Relaxed)
    }

    /// Notes the number of its entry.
    pub(super) fn stands_at(&self, number: Number) {
        self.number.fetch_max(number, Ordering::Relaxed);
    }

    /// Marks it as one that no entry of the store names.
    pub fn is_not_in_store(&self) {
        self.unbacked.store(true, Ordering::Relaxed);
    }

    /// Returns whether no entry of the store names it.
    pub(super) fn is_unbacked(&self) -> bool {
        self.unbacked.load(Ordering::Relaxed)
    }

    /// A copy of the record with its body.
    #[must_use]
    pub fn with_body(&self, body: Bytes) -> Self {
        Self {
            record: self.record.clone(),
            terms: self.terms,
            manifest: self.manifest.clone(),
            body: Some(body),
            hash: self.hash,
            url: self.url,
            checked: AtomicU64::new(self.checked.load(Ordering::Relaxed)),
            number: AtomicU64::new(self.number()),
            mark: AtomicU8::new(self.mark.load(Ordering::Relaxed)),
            unbacked: AtomicBool::new(self.is_unbacked()),
        }
    }

    /// The record with an end at most `max_life_ms` after it was received.
    pub(super) fn within(self: Arc<Self>, max_life_ms: u64) -> Arc<Self> {
        let record = &self.record;
        if record.end().saturating_sub(record.received_at) <= max_life_ms {
            return self;
        }
        let mut record = record.clone();
        record.fresh_ms = record.fresh_ms.min(max_life_ms);
        let rest = max_life_ms - record.fresh_ms;
        for grace in [&mut record.swr_ms, &mut record.sie_ms, &mut record.keep_ms] {
            *grace = rest.min(*grace);
        }
        Arc::new(Self {
            terms: ReuseTerms { fresh_until: record.fresh_until(), ..self.terms },
            manifest: self.manifest.clone(),
            body: self.body.clone(),
            hash: self.hash,
            url: self.url,
            checked: AtomicU64::new(self.checked.load(Ordering::Relaxed)),
            number: AtomicU64::new(self.number()),
            mark: AtomicU8::new(self.mark.load(Ordering::Relaxed)),
            unbacked: AtomicBool::new(self.is_unbacked()),
            record,
        })
    }

    /// Returns whether both are the same record, with or without the body.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.record.token == other.record.token && self.manifest == other.manifest
    }

    /// The length of the body.
    pub fn len(&self) -> u64 {
        self.manifest.len
    }

    /// Returns whether the body is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How purges cover it (F8). One comparison, unless a stamp was applied since it was last found not
    /// covered.
    pub fn covered(&self, stamps: &Stamps) -> Covered {
        let newest = stamps.applied();
        if self.checked.load(Ordering::Acquire) >= newest {
            return Covered::No;
        }
        let covered = stamps.covers(self.url, self.record.born, self.record.token);
        if covered == Covered::No {
            self.checked.fetch_max(newest, Ordering::AcqRel);
        }
        covered
    }
}

/// The hash that a URL is purged by: that of the first line of a key's text.
pub fn url_hash(key: &str) -> KeyHash {
    KeyHash::of(key.lines().next().unwrap_or_default())
}
