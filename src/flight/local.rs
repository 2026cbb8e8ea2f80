//! Election inside this process (F1): of all requests for a key, one leads and the others follow.
//!
//! A flight stays in its slot from the election until its leader retires it or is dropped, so a late
//! request still rides a result that is being delivered. A [`Leader`] that is dropped before it
//! settled the flight ends it as [`Settled::Abandoned`]. Its slot is emptied *before* that, so a
//! follower that elects again never meets the dead flight.
//!
//! Only the primitives of `super::sync` are used: `tests/interleavings` checks this very file under
//! every interleaving.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt::{self, Debug};
use std::hash::{BuildHasher as _, Hash};
use std::sync::PoisonError;

use foldhash::fast::{FixedState, RandomState};

use super::cell::Cell;
pub use super::cell::{Follower, Settled};
use super::sync::{Arc, AtomicU64, Mutex, MutexGuard, Ordering};

/// The flights of this process, by key. Clones share them.
///
/// `V` is the leader's result; `I` is what a list shows of each flight (see [`Leader::inform`]).
pub struct Flights<K, V, I = ()> {
    slots: Arc<Slots<K, V, I>>,
}

/// The role of a request in a flight.
#[derive(Debug)]
pub enum Joined<K: Eq + Hash, V, I = ()> {
    /// No flight was at the key: the caller leads a new one.
    Lead(Leader<K, V, I>),
    /// A flight is at the key: the caller waits for its result.
    Follow(Follower<V, I>),
}

/// The right and the duty to settle one key in this process.
///
/// Dropping it retires the flight. If it was not settled, its followers get [`Settled::Abandoned`].
pub struct Leader<K: Eq + Hash, V, I = ()> {
    slots: Arc<Slots<K, V, I>>,
    cell: Arc<Cell<V, I>>,
    keys: Vec<K>,
}

/// A flight in a list.
#[derive(Debug, Clone)]
pub struct Listed<K, I> {
    /// A key that it is at.
    pub key: K,
    /// Tells flights of this process apart.
    pub serial: u64,
    /// How many [`Follower`]s it has now.
    pub followers: usize,
    /// Whether it has ended: settled or abandoned.
    pub settled: bool,
    /// The info that its leader has set.
    pub info: I,
}

type Shard<K, V, I> = HashMap<K, Arc<Cell<V, I>>, RandomState>;

struct Slots<K, V, I> {
    shards: Box<[Mutex<Shard<K, V, I>>]>,
    serial: AtomicU64,
}

const SHARDS: usize = 64;

// === impl Flights ===

impl<K: Clone + Eq + Hash, V: Clone, I: Default> Flights<K, V, I> {
    /// No flights.
    pub fn new() -> Self {
        Self::with_shards(SHARDS)
    }

    /// No flights, over this many locks (at least one).
    pub fn with_shards(shards: usize) -> Self {
        let shards = (0..shards.max(1)).map(|_| Mutex::new(HashMap::default())).collect();
        Self { slots: Arc::new(Slots { shards, serial: AtomicU64::new(0) }) }
    }

    /// Leads a new flight of `key`, or follows the one that is there.
    pub fn join(&self, key: &K) -> Joined<K, V, I> {
        self.elect(key, None)
    }

    /// As [`join`](Self::join), for a caller that can't use the result of `refused`: that flight is
    /// superseded. The first such caller leads the next flight, and all others, refused too or new,
    /// follow it (F5). Followers of the old one stay in it.
    pub fn join_after(&self, key: &K, refused: &Follower<V, I>) -> Joined<K, V, I> {
        self.elect(key, Some(&refused.cell))
    }

    /// Follows the flight at `key`, if there is one.
    pub fn peek(&self, key: &K) -> Option<Follower<V, I>> {
        self.slots.shard(key).get(key).map(Follower::of)
    }

    fn elect(&self, key: &K, refused: Option<&Arc<Cell<V, I>>>) -> Joined<K, V, I> {
        let mut shard = self.slots.shard(key);
        if let Some(cell) = shard.get(key)
            && !refused.is_some_and(|refused| Arc::ptr_eq(refused, cell))
        {
            return Joined::Follow(Follower::of(cell));
        }
        let serial = self.slots.serial.fetch_add(1, Ordering::Relaxed);
        let cell = Arc::new(Cell::new(serial, I::default()));
        let superseded = shard.insert(key.clone(), Arc::clone(&cell));
        drop(shard);
        drop(superseded);
        Joined::Lead(Leader { slots: Arc::clone(&self.slots), cell, keys: vec![key.clone()] })
    }
}

impl<K: Clone + Eq + Hash, V, I: Clone> Flights<K, V, I> {
    /// Lists the flights that are in a slot now, each once, oldest first. Retired and superseded ones
    /// are left out, though they may still be under way.
    pub fn list(&self) -> Vec<Listed<K, I>> {
        let mut list = Vec::new();
        for shard in &self.slots.shards {
            for (key, cell) in lock(shard).iter() {
                list.push(Listed {
                    key: key.clone(),
                    serial: cell.serial,
                    followers: cell.followers(),
                    settled: cell.is_told(),
                    info: cell.with_info(|info| info.clone()),
                });
            }
        }
        list.sort_by_key(|listed| listed.serial);
        list.dedup_by_key(|listed| listed.serial);
        list
    }

    /// How many slots are taken.
    pub fn len(&self) -> usize {
        self.slots.shards.iter().map(|shard| lock(shard).len()).sum()
    }

    /// Returns whether no slot is taken.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<K, V, I> Clone for Flights<K, V, I> {
    fn clone(&self) -> Self {
        Self { slots: Arc::clone(&self.slots) }
    }
}

impl<K: Clone + Eq + Hash, V: Clone, I: Default> Default for Flights<K, V, I> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K, V, I> Debug for Flights<K, V, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flights").field("shards", &self.slots.shards.len()).finish_non_exhaustive()
    }
}

// === impl Slots ===

impl<K: Hash, V, I> Slots<K, V, I> {
    fn shard(&self, key: &K) -> MutexGuard<'_, Shard<K, V, I>> {
        // Not seeded: a key has the same shard in every schedule of a model run. The maps
        // themselves are seeded.
        let at = FixedState::with_seed(0).hash_one(key) % self.shards.len() as u64;
        lock(&self.shards[usize::try_from(at).unwrap_or(0)])
    }
}

impl<K: Eq + Hash, V, I> Slots<K, V, I> {
    /// Empties the slot at `key` if `cell` is in it.
    fn vacate(&self, key: &K, cell: &Arc<Cell<V, I>>) {
        let mut shard = self.shard(key);
        if shard.get(key).is_some_and(|stands| Arc::ptr_eq(stands, cell)) {
            shard.remove(key);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A map of slots is whole between any two statements here.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

// === impl Leader ===

impl<K: Clone + Eq + Hash, V: Clone, I> Leader<K, V, I> {
    /// Follows its own flight: for the request that leads it, whose client may leave too.
    pub fn follower(&self) -> Follower<V, I> {
        Follower::of(&self.cell)
    }

    /// Settles the flight with its result, for all followers now and later. Only the first call has an
    /// effect.
    pub fn settle(&mut self, value: V) {
        self.cell.tell(Settled::Told(value));
    }

    /// Empties the slots: the next request elects anew. Followers stay and still get the result.
    pub fn retire(&self) {
        for key in &self.keys {
            self.slots.vacate(key, &self.cell);
        }
    }

    /// Puts the flight at `key` too. Returns false if another flight is there.
    pub fn also(&mut self, key: &K) -> bool {
        let mut shard = self.slots.shard(key);
        match shard.entry(key.clone()) {
            Entry::Occupied(stands) => return Arc::ptr_eq(stands.get(), &self.cell),
            Entry::Vacant(slot) => drop(slot.insert(Arc::clone(&self.cell))),
        }
        drop(shard);
        self.keys.push(key.clone());
        true
    }

    /// Empties the slot at `key` alone: the flight goes on at its other keys.
    pub fn leave(&mut self, key: &K) {
        self.slots.vacate(key, &self.cell);
        self.keys.retain(|stood| stood != key);
    }

    /// Changes what a list shows of this flight.
    pub fn inform(&self, change: impl FnOnce(&mut I)) {
        self.cell.with_info(change);
    }

    /// Waits until the flight has no follower: at once if it never had one, so take the client's own
    /// ([`follower`](Self::follower)) first. A new follower may come the moment after; if the leader is
    /// dropped then, that one gets [`Settled::Abandoned`].
    ///
    /// Cancel safe.
    pub async fn unwanted(&self) {
        self.cell.forsaken().await;
    }

    /// How many [`Follower`]s the flight has.
    pub fn followers(&self) -> usize {
        self.cell.followers()
    }

    /// Tells flights of this process apart.
    pub fn serial(&self) -> u64 {
        self.cell.serial
    }
}

impl<K: Eq + Hash, V, I> Drop for Leader<K, V, I> {
    fn drop(&mut self) {
        // In this order: a follower that is told *abandoned* and elects again must not meet this flight.
        for key in &self.keys {
            self.slots.vacate(key, &self.cell);
        }
        self.cell.tell(Settled::Abandoned);
    }
}

impl<K: Eq + Hash, V, I> Debug for Leader<K, V, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leader").field("flight", &self.cell.serial).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
