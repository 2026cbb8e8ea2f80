//! Records in memory, prepared for hits.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use bytes::Bytes;
use http::HeaderName;

use super::stamps::{Named, Names};
use super::{Covered, Stamps, weight};
use crate::dust::Number;
use crate::key::KeyHash;
use crate::policy::{ReuseTerms, RouteId, Rules};
use crate::record::{Fields, Manifest, Record, Tag};

/// Mark: the record was used since [`super::Tier::was_used`] was last called for it.
pub(super) const USED: u8 = 1;
/// Mark: changes of the record may have been missed, so its next use has it read again.
pub(super) const DOUBTED: u8 = 2;
/// Flag: no entry of the store names it, as far as is known.
const UNBACKED: u8 = 1;
/// Flag: the body lies behind the record's fields, in the same allocation. It does not change.
const TAIL: u8 = 2;

/// A record in memory, prepared for hits.
#[derive(Debug)]
pub struct Stored {
    /// The record.
    pub record: Record,
    /// How it may be reused by its fields, parsed once.
    pub terms: ReuseTerms,
    /// The body, if it has an allocation of its own.
    body: Option<Box<Bytes>>,
    /// The hash of its key, which names its entry and its segments.
    pub hash: KeyHash,
    /// The count of applied stamps when it was last found not covered.
    checked: AtomicU64,
    /// The number of its entry in the store; 0 while unknown.
    number: AtomicU64,
    /// The route whose rules it is used by.
    route: RouteId,
    /// [`USED`] and [`DOUBTED`] in one byte, so that a hit loads one.
    pub(super) mark: AtomicU8,
    /// [`UNBACKED`] and [`TAIL`] in one byte: with another one, the allocator would take 64 more for each record.
    flags: AtomicU8,
}

/// Where the bytes of a held body are.
#[derive(Debug)]
enum HeldBody {
    /// Not in memory.
    No,
    /// Behind the record's fields, in the same allocation.
    Tail,
    /// In an allocation of its own.
    Own(Box<Bytes>),
}

/// The longest body that lies behind the fields, in bytes. A longer one is not copied again, and what its own
/// allocation costs is little beside it.
const SHORT: usize = 32 * 1024;

// === impl Stored ===

impl Stored {
    /// Prepares a record for hits under its route's rules. `body` is in an allocation that has nothing but it,
    /// unless it is short: a short body is copied.
    pub fn new(mut record: Record, rules: &Rules, body: Option<Bytes>) -> Self {
        let terms = ReuseTerms::of(&record, rules);
        let hash = KeyHash::of(&record.key);
        let (headers, body) = laid(std::mem::take(&mut record.headers), body);
        let (flags, body) = body.parts();
        record.headers = headers;
        Self {
            hash,
            checked: AtomicU64::new(0),
            number: AtomicU64::new(0),
            route: rules.route,
            mark: AtomicU8::new(0),
            flags: AtomicU8::new(flags),
            terms,
            body,
            record,
        }
    }

    /// The same record as its body is when all of it has come.
    #[must_use]
    pub fn completed(&self, manifest: Manifest, body: Option<Bytes>) -> Self {
        let (headers, body) = laid(self.record.headers.clone(), body);
        let (flags, body) = body.parts();
        Self {
            record: Record { headers, body: manifest, ..self.record.clone() },
            terms: self.terms,
            body,
            hash: self.hash,
            route: self.route,
            checked: AtomicU64::new(0),
            number: AtomicU64::new(0),
            mark: AtomicU8::new(0),
            flags: AtomicU8::new(flags),
        }
    }

    /// The body, if it is held. Shares its bytes.
    pub fn body(&self) -> Option<Bytes> {
        match &self.body {
            None if self.has(TAIL) => Some(self.record.headers.tail()),
            None => None,
            Some(body) => Some((**body).clone()),
        }
    }

    /// Its body's segments, for a reader to keep. What most hits answer with is held, so that a count to share
    /// them would be one allocation more in each record.
    pub fn manifest(&self) -> Arc<Manifest> {
        Arc::new(self.record.body.clone())
    }

    /// The bytes that it takes in memory, with all that is its own.
    pub(super) fn weight(&self) -> u64 {
        let record = &self.record;
        let text = |text: &String| weight::taken(text.len());
        let selecting = record.select.iter().filter_map(|(_, value)| value.as_ref()).map(text);
        let body = match &self.body {
            None => 0,
            Some(body) => weight::of_bytes(body.len()) + weight::taken(size_of::<Bytes>()),
        };
        weight::of_stored()
            + weight::kept(record.headers.block_len())
            + weight::of_segments(&record.body.segments)
            + weight::of_thin(record.select.len(), size_of::<(HeaderName, Option<String>)>())
            + selecting.sum::<u64>()
            + weight::of_thin(record.tags.len(), size_of::<Tag>())
            + record.range.as_ref().map_or(0, |range| weight::taken(size_of_val(&**range)))
            + record.tags.iter().map(|tag| weight::taken(tag.text().len())).sum::<u64>()
            + body
    }

    /// The URL that it is purged by: the hash of its key's first line. Only variants have to make it anew.
    pub fn url(&self) -> KeyHash {
        let key = &self.record.key;
        if crate::key::is_of_url(key) { self.hash } else { url_hash(key) }
    }

    /// What it is purged by.
    pub fn named(&self) -> Named<'_> {
        let Record { key, tags, .. } = &self.record;
        Named { url: self.url(), key, route: self.route, tags }
    }

    /// The same, for as long as it is needed.
    pub fn names(&self) -> Names {
        self.named().owned(&self.record.key, &self.record.tags)
    }

    /// Returns whether the body is held.
    pub fn has_body(&self) -> bool {
        self.has(TAIL) || self.body.is_some()
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
        self.flags.fetch_or(UNBACKED, Ordering::Relaxed);
    }

    /// Returns whether no entry of the store names it.
    pub(super) fn is_unbacked(&self) -> bool {
        self.has(UNBACKED)
    }

    fn has(&self, flag: u8) -> bool {
        self.flags.load(Ordering::Relaxed) & flag != 0
    }

    /// A copy of the record with its body.
    #[must_use]
    pub fn with_body(&self, body: Bytes) -> Self {
        let (headers, body) = laid(self.record.headers.clone(), Some(body));
        let (flags, body) = body.parts();
        Self {
            record: Record { headers, ..self.record.clone() },
            terms: self.terms,
            body,
            hash: self.hash,
            route: self.route,
            checked: AtomicU64::new(self.checked.load(Ordering::Relaxed)),
            number: AtomicU64::new(self.number()),
            mark: AtomicU8::new(self.mark.load(Ordering::Relaxed)),
            flags: AtomicU8::new((self.flags.load(Ordering::Relaxed) & UNBACKED) | flags),
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
            terms: self.terms,
            body: self.body.clone(),
            hash: self.hash,
            route: self.route,
            checked: AtomicU64::new(self.checked.load(Ordering::Relaxed)),
            number: AtomicU64::new(self.number()),
            mark: AtomicU8::new(self.mark.load(Ordering::Relaxed)),
            flags: AtomicU8::new(self.flags.load(Ordering::Relaxed)),
            record,
        })
    }

    /// Returns whether both are the same record, with or without the body.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.record.token == other.record.token && self.record.body == other.record.body
    }

    /// The length of the body.
    pub fn len(&self) -> u64 {
        self.record.body.len
    }

    /// Returns whether the body is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How purges cover it (F8). One comparison, unless a stamp was applied since it was last found not
    /// covered.
    pub fn covered(&self, stamps: &Stamps) -> Covered {
        let (newest, checked) = (stamps.applied(), self.checked.load(Ordering::Acquire));
        if checked >= newest {
            return Covered::No;
        }
        let covered = stamps.covers_since(self.named(), self.record.born, self.record.token, checked);
        if covered == Covered::No {
            self.checked.fetch_max(newest, Ordering::AcqRel);
        }
        covered
    }
}

// === impl HeldBody ===

impl HeldBody {
    /// Its flag, and its own allocation.
    fn parts(self) -> (u8, Option<Box<Bytes>>) {
        match self {
            Self::No => (0, None),
            Self::Tail => (TAIL, None),
            Self::Own(body) => (0, Some(body)),
        }
    }
}

/// The fields with the body behind them, if it is short enough.
fn laid(fields: Fields, body: Option<Bytes>) -> (Fields, HeldBody) {
    match body {
        None => (fields.without_tail(), HeldBody::No),
        Some(body) if body.len() <= SHORT => (fields.with_tail(&body), HeldBody::Tail),
        Some(body) => (fields.without_tail(), HeldBody::Own(Box::new(body))),
    }
}

/// The hash that a URL is purged by: that of the first line of a key's text.
pub fn url_hash(key: &str) -> KeyHash {
    KeyHash::of(key.lines().next().unwrap_or_default())
}

/// A record in memory takes 256 bytes with the counts of its [`Arc`]: one more, and the allocator takes 320.
const _: () = assert!(size_of::<Stored>() <= 240, "the next step of the allocator is 64 bytes more");
