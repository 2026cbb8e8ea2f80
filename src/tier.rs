//! This instance's own memory in front of the store.
//!
//! A hit does no I/O and waits for nothing: one look into a sharded cache, one comparison of a
//! number against the newest purge. Records of large bodies are held without their bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use quick_cache::sync::Cache;
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
    /// The newest stamp that it was checked against.
    checked: AtomicU64,
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
        Self { memory, evicted, hold }
    }

    /// The longest body that is held, in bytes.
    pub fn hold(&self) -> u64 {
        self.hold
    }

    /// What is remembered under a key's text. Whether a purge covers it is asked of [`Stamps`].
    pub fn find(&self, key: &str) -> Option<Held> {
        self.memory.get(key)
    }

    /// Remembers a record, unless a newer one of that key is there.
    pub fn keep(&self, stored: Arc<Stored>) {
        if let Some(Held::Stored(there)) = self.memory.peek(stored.record.key.as_str())
            && there.record.token > stored.record.token
        {
            return;
        }
        self.memory.insert(Arc::from(stored.record.key.as_str()), Held::Stored(stored));
    }

    /// Remembers that a key's responses vary.
    pub fn keep_node(&self, node: Arc<VaryNode>) {
        if let Some(Held::Vary(there)) = self.memory.peek(node.key.as_str())
            && there.token > node.token
        {
            return;
        }
        self.memory.insert(Arc::from(node.key.as_str()), Held::Vary(node));
    }

    /// Forgets a key, if what is there is this very record.
    pub fn forget(&self, stored: &Arc<Stored>) {
        self.memory.remove_if(
            stored.record.key.as_str(),
            |held| matches!(held, Held::Stored(there) if Arc::ptr_eq(there, stored)),
        );
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
        }
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
        let newest = stamps.newest();
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
    type RequestState = ();

    fn on_evict(&self, (): &mut Self::RequestState, _: Arc<str>, _: Held) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}
