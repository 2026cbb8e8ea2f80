//! The memory tier of this instance, in front of the store.
//!
//! A hit does no I/O and does not wait: it is one lookup in a sharded cache, and one comparison of a number
//! with the newest purge. Records of large bodies are held without their bytes.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use quick_cache::sync::{Cache, EntryAction, EntryResult};
use quick_cache::{DefaultHashBuilder, Lifecycle, OptionsBuilder};
use tokio::task::coop::consume_budget;

use crate::dust::Number;
use crate::key::KeyHash;
use crate::record::VaryNode;

mod again;
mod confirm;
mod doubts;
mod follow;
mod index;
pub mod member;
pub mod numbers;
mod resync;
pub mod settings;
pub mod stamps;
pub mod stood;
pub mod stored;
pub mod trust;
mod walk;
mod weight;
pub mod write_tracking;

pub use member::{Host, Member, News};
pub use numbers::Numbers;
pub use settings::{Belief, Memory};
pub use stamps::{Covered, Stamps};
pub use stored::{Stored, url_hash};
pub use trust::{Doubt, Trust, WhenUnsure};
pub use walk::{Counted, Page, Walks, Wants};
pub use write_tracking::Own;

use doubts::Doubts;
use numbers::Stands;
use stored::{DOUBTED, USED};
use weight::Weigh;

/// The longest body that is held in memory, in bytes, however large the tier is.
const HOLD_CEILING: u64 = 8 << 20;
/// The most shards: those of a tier of 16 GiB. A larger tier has larger ones.
const SHARDS: usize = 256;
/// The share of entries that were used again. The rest is for new ones: with less, what becomes popular is
/// evicted before its second use.
const HOT: f64 = 0.85;
/// The share of evicted keys that are remembered, and count as used again when they come back. Where sizes
/// differ that keeps large bodies at the expense of many small ones. `tests/scale.rs` compares.
const GHOSTS: f64 = 0.0;

/// The records and Vary nodes that this instance holds in memory.
#[derive(Debug)]
pub struct Tier {
    memory: Cache<Arc<str>, Held, Weigh, DefaultHashBuilder, Evictions>,
    evicted: Arc<AtomicU64>,
    hold: u64,
    max_life_ms: u64,
    /// Set only if other instances change the store too.
    watch: Option<Arc<Doubts>>,
    /// Whether a record is held that no entry of the store names.
    unbacked: AtomicBool,
}

/// What is held under a key.
#[derive(Debug, Clone)]
pub enum Held {
    /// A response.
    Stored(Arc<Stored>),
    /// The responses of this key vary: the record is under the key of a variant.
    Vary(Arc<VaryNode>),
}

#[derive(Debug, Clone)]
struct Evictions {
    count: Arc<AtomicU64>,
    watch: Option<Arc<Doubts>>,
}

/// The result of offering an entry to the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Placed {
    /// It is held now, and is new.
    New,
    /// It, or its bytes, was merged into the held entry with the same token.
    Joined,
    /// It was not taken: the held entry is newer.
    Not,
}

/// What a sweep does with an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It is dropped.
    Goes,
    /// It is kept, and so is the soft stamp that covers it.
    Stale,
    /// It is kept.
    Stays,
}

// === impl Tier ===

impl Tier {
    /// A tier of about `capacity` bytes, for an instance that does not share its store.
    pub fn new(capacity: u64) -> Self {
        Self::build(capacity, None)
    }

    /// A tier for an instance of a fleet: entries are also found by their names in the store, and none is
    /// taken in that `numbers` know to be older than the store's.
    pub fn in_fleet(capacity: u64, numbers: Arc<Numbers>) -> Self {
        Self::build(capacity, Some(Arc::new(Doubts::new(numbers))))
    }

    fn build(capacity: u64, watch: Option<Arc<Doubts>>) -> Self {
        let evicted = Arc::new(AtomicU64::new(0));
        let hold = Self::hold_of(capacity);
        // A shard silently refuses what is heavier than its share. So shards are not small, and nothing is
        // offered that is heavier than an eighth of one. They are not large either: one that grows is locked
        // until all of its keys are hashed again.
        let shards = usize::try_from(capacity / (hold * 8).max(1)).unwrap_or(1).clamp(1, SHARDS);
        let items = usize::try_from(capacity / 4096).unwrap_or(1024).clamp(1024, 4_000_000);
        let options = OptionsBuilder::new()
            .estimated_items_capacity(items)
            .weight_capacity(capacity.max(1))
            .hot_allocation(HOT)
            .ghost_allocation(GHOSTS)
            .shards(shards)
            .build()
            .expect("the three required options are given");
        let lifecycle = Evictions { count: evicted.clone(), watch: watch.clone() };
        let memory = Cache::with_options(
            options,
            Weigh::new(watch.is_some()),
            DefaultHashBuilder::default(),
            lifecycle,
        );
        Self { memory, evicted, hold, max_life_ms: u64::MAX, watch, unbacked: AtomicBool::new(false) }
    }

    /// Limits the life of records: none is served from the tier once it is older than `max_life`, whatever it
    /// says. A record is cut to that when it is taken in, so a hit compares nothing more.
    #[must_use]
    pub fn with_max_life(self, max_life: Duration) -> Self {
        Self { max_life_ms: crate::clock::millis(max_life), ..self }
    }

    /// The longest body that a tier of `capacity` bytes holds, in bytes.
    pub fn hold_of(capacity: u64) -> u64 {
        (capacity / 32).min(HOLD_CEILING)
    }

    /// The longest body that is held, in bytes.
    pub fn hold(&self) -> u64 {
        self.hold
    }

    /// Finds the entry of a key. The caller checks purges with [`Stamps`].
    pub fn find(&self, key: &str) -> Option<Held> {
        let held = self.memory.get(key);
        match &held {
            // Loads before it stores: a cache line that all cores share is not written by each hit.
            Some(Held::Stored(stored)) if stored.mark.load(Ordering::Relaxed) != USED => self.used(stored),
            Some(Held::Vary(_)) => {
                if let Some(watch) = &self.watch {
                    watch.found_node(key);
                }
            }
            Some(Held::Stored(_)) | None => {}
        }
        held
    }

    /// Notes the first use of a record since [`Tier::was_used`], or since changes were missed.
    #[cold]
    fn used(&self, stored: &Stored) {
        let before = stored.mark.swap(USED, Ordering::Relaxed);
        if before & DOUBTED != 0
            && let Some(watch) = &self.watch
            && !watch.ask(stored.hash)
        {
            stored.mark.fetch_or(DOUBTED, Ordering::Relaxed);
        }
    }

    /// As [`Tier::find`], but does not count as a use.
    pub fn peek(&self, key: &str) -> Option<Held> {
        self.memory.peek(key)
    }

    /// Returns whether a record was found, or kept again, since the last call for its key.
    pub fn was_used(&self, key: &str) -> bool {
        match self.peek(key) {
            Some(Held::Stored(stored)) => stored.mark.fetch_and(!USED, Ordering::Relaxed) & USED != 0,
            Some(Held::Vary(_)) | None => false,
        }
    }

    /// Takes a record in, unless a newer one of its key is held. A body that is held stays: a record read
    /// from the store has none.
    pub fn keep(&self, stored: Arc<Stored>) {
        let stored = stored.within(self.max_life_ms);
        let key: Arc<str> = stored.record.key.clone();
        let number = stored.number();
        if stored.is_unbacked() {
            self.unbacked.store(true, Ordering::Release);
        }
        self.place(&key, Held::Stored(stored), number);
    }

    /// Takes a Vary node in, unless a newer entry of its key is held.
    pub fn keep_node(&self, node: Arc<VaryNode>) {
        self.keep_node_at(node, 0);
    }

    /// As [`Tier::keep_node`], for a node read from an entry with this number.
    pub fn keep_node_at(&self, node: Arc<VaryNode>, number: Number) {
        let key: Arc<str> = Arc::from(node.key.as_str());
        self.place(&key, Held::Vary(node), number);
    }

    /// In a fleet a new entry is compared with the known changes of the store: before it is taken in, and
    /// again once a change can find it here.
    fn place(&self, key: &Arc<str>, held: Held, number: Number) {
        let Some(watch) = &self.watch else {
            self.put(key, held);
            return;
        };
        let (hash, token) = (held.hash(), held.token());
        if watch.numbers.stands(hash, token, number) == Stands::Older {
            return;
        }
        let placed = self.put(key, held.clone());
        self.settle(watch);
        self.index(watch, hash, key, || key.clone());
        match watch.numbers.stands(hash, token, number) {
            Stands::At(number) => {
                if let Held::Stored(stored) = &held {
                    stored.stands_at(number);
                }
            }
            Stands::Older => {
                self.memory.remove_if(&**key, |there| there.token() == token);
                self.index(watch, hash, key, || key.clone());
            }
            Stands::Unread => {
                watch.ask(hash);
            }
            // Perhaps no other instance knows of it: the store is read when the entry is next used.
            Stands::Unknown if placed == Placed::New => self.doubt(hash),
            Stands::Newer | Stands::Unknown => {}
        }
    }

    /// Takes an entry in, in one step: no request finds the key empty, and no older entry comes in between.
    fn put(&self, key: &Arc<str>, held: Held) -> Placed {
        let mut became = Placed::Not;
        let placed = self.memory.entry(key, None, |_, there| {
            let next = there.next(&held);
            if let Some(next) = &next {
                became = if there.token() == held.token() { Placed::Joined } else { Placed::New };
                if let Held::Stored(stored) = next {
                    stored.mark.fetch_or(USED, Ordering::Relaxed);
                }
            }
            // The replaced entry is dropped after the shard is unlocked.
            EntryAction::Retain(next.map(|next| std::mem::replace(there, next)))
        });
        match placed {
            EntryResult::Vacant(guard) => {
                // Fails if the placeholder was removed meanwhile (a purge of everything): then the entry is
                // not wanted.
                if guard.insert(held).is_ok() {
                    became = Placed::New;
                }
            }
            // An entry that grew in place evicts nothing by itself.
            EntryResult::Retained(Some(_)) if self.memory.weight() > self.memory.capacity() => {
                self.memory.set_capacity(self.memory.capacity());
            }
            EntryResult::Retained(_)
            | EntryResult::Removed(..)
            | EntryResult::Replaced(..)
            | EntryResult::Timeout => {}
        }
        became
    }

    /// Forgets a key if it holds this record, with or without its bytes.
    pub fn forget(&self, stored: &Stored) {
        let key = &*stored.record.key;
        self.memory.remove_if(key, |held| matches!(held, Held::Stored(there) if there.is(stored)));
        self.left(key);
    }

    /// Forgets a key, whatever it holds.
    pub fn forget_key(&self, key: &str) {
        self.memory.remove(key);
        self.left(key);
    }

    /// Forgets records that no entry of the store names: unsafe requests on other instances have not found
    /// them.
    pub fn drop_unbacked(&self) {
        if !self.unbacked.swap(false, Ordering::AcqRel) {
            return;
        }
        for (key, held) in self.memory.iter() {
            let is_unbacked = |held: &Held| matches!(held, Held::Stored(stored) if stored.is_unbacked());
            if is_unbacked(&held) && self.memory.remove_if(&*key, is_unbacked).is_some() {
                self.left(&key);
            }
        }
    }

    /// Forgets everything.
    pub fn clear(&self) {
        // One at a time, so that no shard is locked for as long as it takes to drop all of its records.
        self.memory.drain().for_each(drop);
        // Entries that are being inserted go, too.
        self.memory.clear();
        if let Some(watch) = &self.watch {
            watch.index.sift(|key| self.memory.contains_key(key));
        }
    }

    /// Bytes held, as weighed.
    pub fn bytes(&self) -> u64 {
        self.memory.weight()
    }

    /// Entries held.
    pub fn len(&self) -> usize {
        self.memory.len()
    }

    /// Returns whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many entries were evicted since the start.
    pub fn evicted(&self) -> u64 {
        self.evicted.load(Ordering::Relaxed)
    }

    /// Drops records that are past their end at `now` or covered by a hard stamp. Then has `stamps` forget
    /// those that have ended and cover nothing here. Returns how many records were dropped.
    ///
    /// Walks the whole tier. It locks a shard for one entry at a time and lets other tasks run in between, so
    /// requests don't wait for it.
    ///
    /// # Cancel safety
    /// Dropped on the way, it has dropped some of the records and no stamp.
    pub async fn sweep(&self, now: u64, stamps: &Stamps) -> usize {
        let (mut stale, mut dropped) = (HashSet::new(), 0);
        for (key, held) in self.memory.iter() {
            // Other tasks run after some hundred entries.
            consume_budget().await;
            let mut fate = held.fate(now, stamps);
            if fate == Fate::Goes {
                let gone = self.memory.remove_if(&*key, |there| {
                    // It may have been replaced meanwhile.
                    fate = there.fate(now, stamps);
                    fate == Fate::Goes
                });
                if gone.is_some() {
                    dropped += 1;
                    self.left(&key);
                }
            }
            if let (Fate::Stale, Held::Stored(stored)) = (fate, &held) {
                stale.insert(stored.url());
            }
        }
        stamps.forget(now, &stale);
        dropped
    }
}

// === impl Held ===

impl Held {
    fn token(&self) -> Number {
        match self {
            Self::Stored(stored) => stored.record.token,
            Self::Vary(node) => node.token,
        }
    }

    fn hash(&self) -> KeyHash {
        match self {
            Self::Stored(stored) => stored.hash,
            Self::Vary(node) => KeyHash::of(&node.key),
        }
    }

    fn fate(&self, now: u64, stamps: &Stamps) -> Fate {
        let Self::Stored(stored) = self else { return Fate::Stays };
        match stored.covered(stamps) {
            Covered::Hard => Fate::Goes,
            Covered::Soft | Covered::No if stored.record.end() <= now => Fate::Goes,
            Covered::Soft => Fate::Stale,
            Covered::No => Fate::Stays,
        }
    }

    /// The entry to hold after `newcomer` was offered; `None` to keep the present one.
    fn next(&self, newcomer: &Self) -> Option<Self> {
        let (Self::Stored(here), Self::Stored(comes)) = (self, newcomer) else {
            return (newcomer.token() >= self.token()).then(|| newcomer.clone());
        };
        let same_bytes = here.record.body == comes.record.body;
        match (here.body(), comes.body()) {
            (Some(_), None) if same_bytes && comes.record.token == here.record.token => None,
            (Some(body), None) if same_bytes && comes.record.token > here.record.token => {
                Some(Self::Stored(Arc::new(comes.with_body(body))))
            }
            (None, Some(body)) if same_bytes && comes.record.token < here.record.token => {
                Some(Self::Stored(Arc::new(here.with_body(body))))
            }
            _ => (comes.record.token >= here.record.token).then(|| newcomer.clone()),
        }
    }
}

// === impl Evictions ===

impl Lifecycle<Arc<str>, Held> for Evictions {
    // The cache also reports values that an insert replaced, but [`Tier`] replaces in place.
    type RequestState = ();

    fn on_evict(&self, (): &mut Self::RequestState, key: Arc<str>, _: Held) {
        self.count.fetch_add(1, Ordering::Relaxed);
        if let Some(watch) = &self.watch {
            // A shard is locked here: the caller whose entry evicted this one updates the index afterwards.
            watch.gone(key);
        }
    }
}

#[cfg(test)]
mod tests;
