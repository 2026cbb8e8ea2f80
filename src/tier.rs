//! This instance's own memory in front of the store.
//!
//! A hit does no I/O and waits for nothing: one look into a sharded cache, one comparison of a
//! number against the newest purge. Records of large bodies are held without their bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use quick_cache::sync::{Cache, EntryAction, EntryResult};
use quick_cache::{DefaultHashBuilder, Lifecycle, OptionsBuilder, Weighter};

use crate::key::KeyHash;
use crate::policy::{Rules, Terms};
use crate::record::{Manifest, Record, VaryNode};

pub mod stamps;
pub use stamps::{Covered, Stamps};

/// No body above this is held in memory, however large the tier is.
const HOLD_CEILING: u64 = 8 << 20;
/// What an entry costs beside its record and bytes.
const ENTRY_OVERHEAD: u64 = 160;

/// What this instance remembers.
#[derive(Debug)]
pub struct Tier {
    memory: Cache<Arc<str>, Held, Weigh, DefaultHashBuilder, Evictions>,
    evicted: Arc<AtomicU64>,
    hold: u64,
    max_life_ms: u64,
}

/// What is remembered under a key.
#[derive(Debug, Clone)]
pub enum Held {
    /// A response.
    Stored(Arc<Stored>),
    /// The responses of this key vary: look under the variant's key.
    Vary(Arc<VaryNode>),
}

/// A record in memory, with what a hit needs worked out.
#[derive(Debug)]
pub struct Stored {
    /// What is remembered.
    pub record: Record,
    /// What its fields say, parsed once.
    pub terms: Terms,
    /// Its segments, shared with the readers.
    pub manifest: Arc<Manifest>,
    /// The bytes, if they are few enough to be held.
    pub body: Option<Bytes>,
    /// The name that its segments stand under.
    pub hash: KeyHash,
    /// The URL it is purged by: the hash of its key's first line.
    pub url: KeyHash,
    /// How many stamps had been applied when it was last checked against them.
    checked: AtomicU64,
    /// Found since somebody asked whether it was.
    used: AtomicBool,
}

#[derive(Debug, Clone)]
struct Weigh;

#[derive(Debug, Clone)]
struct Evictions(Arc<AtomicU64>);

// === impl Tier ===

impl Tier {
    /// A tier that holds about `capacity` bytes.
    pub fn new(capacity: u64) -> Self {
        let evicted = Arc::new(AtomicU64::new(0));
        let hold = (capacity / 32).min(HOLD_CEILING);
        // A shard refuses what is heavier than its share, without a word: few shards, and
        // nothing offered that is heavier than an eighth of one.
        let shards = usize::try_from(capacity / (hold * 8).max(1)).unwrap_or(1).clamp(1, 16);
        let items = usize::try_from(capacity / 4096).unwrap_or(1024).clamp(1024, 4_000_000);
        let options = OptionsBuilder::new()
            .estimated_items_capacity(items)
            .weight_capacity(capacity.max(1))
            .shards(shards)
            .build()
            .expect("the three required options are given");
        let memory =
            Cache::with_options(options, Weigh, DefaultHashBuilder::default(), Evictions(evicted.clone()));
        Self { memory, evicted, hold, max_life_ms: u64::MAX }
    }

    /// The same, and no record answers from it once it is older than `max_life`, whatever it says:
    /// what is kept is cut to that, so that a hit has nothing more to compare.
    #[must_use]
    pub fn with_max_life(self, max_life: Duration) -> Self {
        Self { max_life_ms: u64::try_from(max_life.as_millis()).unwrap_or(u64::MAX), ..self }
    }

    /// The longest body that is held, in bytes.
    pub fn hold(&self) -> u64 {
        self.hold
    }

    /// What is remembered under a key's text. Whether a purge covers it is asked of [`Stamps`].
    pub fn find(&self, key: &str) -> Option<Held> {
        let held = self.memory.get(key);
        // Read first: a line of memory that all cores share is written once and not by each hit.
        if let Some(Held::Stored(stored)) = &held
            && !stored.used.load(Ordering::Relaxed)
        {
            stored.used.store(true, Ordering::Relaxed);
        }
        held
    }

    /// The same, but it does not count as a use.
    pub fn peek(&self, key: &str) -> Option<Held> {
        self.memory.peek(key)
    }

    /// Whether a record was found, or kept anew, since this was last asked of it.
    pub fn was_used(&self, key: &str) -> bool {
        match self.peek(key) {
            Some(Held::Stored(stored)) => stored.used.swap(false, Ordering::Relaxed),
            Some(Held::Vary(_)) | None => false,
        }
    }

    /// Remembers a record, unless a newer one of that key is there. Bytes that are here already
    /// stay: a record read from the store has none.
    pub fn keep(&self, stored: Arc<Stored>) {
        let stored = stored.within(self.max_life_ms);
        let key: Arc<str> = Arc::from(stored.record.key.as_str());
        self.place(&key, Held::Stored(stored));
    }

    /// Remembers that a key's responses vary, unless something newer of that key is there.
    pub fn keep_node(&self, node: Arc<VaryNode>) {
        let key: Arc<str> = Arc::from(node.key.as_str());
        self.place(&key, Held::Vary(node));
    }

    /// In one step: nobody finds the key empty, and no older one comes in between.
    fn place(&self, key: &Arc<str>, held: Held) {
        let placed = self.memory.entry(key, None, |_, there| {
            let next = there.next(&held);
            if let Some(Held::Stored(stored)) = &next {
                stored.used.store(true, Ordering::Relaxed);
            }
            // What was there is dropped when the shard is no longer locked.
            EntryAction::Retain(next.map(|next| std::mem::replace(there, next)))
        });
        match placed {
            EntryResult::Vacant(guard) => {
                // Removed meanwhile (a purge of everything): then it is not wanted.
                let _ = guard.insert(held);
            }
            // What grew in its place has pushed nothing out yet.
            EntryResult::Retained(Some(_)) if self.memory.weight() > self.memory.capacity() => {
                self.memory.set_capacity(self.memory.capacity());
            }
            EntryResult::Retained(_)
            | EntryResult::Removed(..)
            | EntryResult::Replaced(..)
            | EntryResult::Timeout => {}
        }
    }

    /// Forgets a key, if what is there is this very record, with or without its bytes.
    pub fn forget(&self, stored: &Stored) {
        self.memory.remove_if(
            stored.record.key.as_str(),
            |held| matches!(held, Held::Stored(there) if there.is(stored)),
        );
    }

    /// Forgets a key, whatever is there.
    pub fn forget_key(&self, key: &str) {
        self.memory.remove(key);
    }

    /// Forgets everything.
    pub fn clear(&self) {
        self.memory.clear();
    }

    /// Bytes held, by the weights.
    pub fn bytes(&self) -> u64 {
        self.memory.weight()
    }

    /// Entries held.
    pub fn len(&self) -> usize {
        self.memory.len()
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many entries had to make room since the start.
    pub fn evicted(&self) -> u64 {
        self.evicted.load(Ordering::Relaxed)
    }

    /// Drops what is past its end at `now`. Walks the whole tier, a shard at a time.
    pub fn sweep(&self, now: u64) -> usize {
        let before = self.memory.len();
        self.memory.retain(|_, held| match held {
            Held::Stored(stored) => stored.record.end() > now,
            Held::Vary(_) => true,
        });
        before.saturating_sub(self.memory.len())
    }
}

// === impl Held ===

impl Held {
    fn token(&self) -> u64 {
        match self {
            Self::Stored(stored) => stored.record.token,
            Self::Vary(node) => node.token,
        }
    }

    /// What stands here once `newcomer` was here too; none, if that is what stands here now.
    fn next(&self, newcomer: &Self) -> Option<Self> {
        let (Self::Stored(here), Self::Stored(comes)) = (self, newcomer) else {
            return (newcomer.token() >= self.token()).then(|| newcomer.clone());
        };
        let same_bytes = here.manifest == comes.manifest;
        match (&here.body, &comes.body) {
            (Some(_), None) if same_bytes && comes.record.token == here.record.token => None,
            (Some(body), None) if same_bytes && comes.record.token > here.record.token => {
                Some(Self::Stored(Arc::new(comes.with_body(body.clone()))))
            }
            (None, Some(body)) if same_bytes && comes.record.token < here.record.token => {
                Some(Self::Stored(Arc::new(here.with_body(body.clone()))))
            }
            _ => (comes.record.token >= here.record.token).then(|| newcomer.clone()),
        }
    }
}

// === impl Stored ===

impl Stored {
    /// Works out what a hit needs of a record under its route's rules.
    pub fn new(mut record: Record, rules: &Rules, body: Option<Bytes>) -> Self {
        let terms = Terms::of(&record, rules);
        let manifest = Arc::new(std::mem::take(&mut record.body));
        Self {
            hash: KeyHash::of(&record.key),
            url: url_hash(&record.key),
            checked: AtomicU64::new(0),
            used: AtomicBool::new(false),
            terms,
            manifest,
            body,
            record,
        }
    }

    /// The same record with its bytes.
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
            used: AtomicBool::new(self.used.load(Ordering::Relaxed)),
        }
    }

    /// The same record, with an end at most `max_life_ms` after it was received.
    fn within(self: Arc<Self>, max_life_ms: u64) -> Arc<Self> {
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
            terms: Terms { fresh_until: record.fresh_until(), ..self.terms },
            manifest: self.manifest.clone(),
            body: self.body.clone(),
            hash: self.hash,
            url: self.url,
            checked: AtomicU64::new(self.checked.load(Ordering::Relaxed)),
            used: AtomicBool::new(self.used.load(Ordering::Relaxed)),
            record,
        })
    }

    /// Whether it is the same record, with or without its bytes.
    fn is(&self, other: &Self) -> bool {
        self.record.token == other.record.token && self.manifest == other.manifest
    }

    /// The length of the body.
    pub fn len(&self) -> u64 {
        self.manifest.len
    }

    /// Whether the body is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a purge covers it (F8). One comparison, unless there was a purge since last time.
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

// === impl Weigh ===

impl Weighter<Arc<str>, Held> for Weigh {
    fn weight(&self, key: &Arc<str>, held: &Held) -> u64 {
        let inside = match held {
            Held::Stored(stored) => {
                stored.record.weight()
                    + stored.manifest.segments.len() as u64 * 40
                    + stored.body.as_ref().map_or(0, |body| body.len() as u64)
            }
            Held::Vary(node) => node.key.len() as u64 + node.variants.len() as u64 * 56 + 128,
        };
        key.len() as u64 + inside + ENTRY_OVERHEAD
    }
}

// === impl Evictions ===

impl Lifecycle<Arc<str>, Held> for Evictions {
    // Also told of values that an insert replaced: but [`Tier`] replaces in place.
    type RequestState = ();

    fn on_evict(&self, (): &mut Self::RequestState, _: Arc<str>, _: Held) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
