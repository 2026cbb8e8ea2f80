//! What a tier needs to keep up with a store that other instances change too.

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::index::Index;
use super::{DOUBTED, Held, Numbers, Tier};
use crate::dust::Number;
use crate::key::KeyHash;

/// The most keys that wait to be read again. A record that finds no place stays doubted, and asks again at
/// its next use.
const ASKS: usize = 65_536;

/// The index, the numbers, and the keys that are to be read again.
#[derive(Debug)]
pub(super) struct Doubts {
    pub(super) numbers: Arc<Numbers>,
    pub(super) index: Index,
    /// Keys that left the cache and are still in the index.
    gone: Mutex<Vec<Arc<str>>>,
    asked: Mutex<VecDeque<KeyHash>>,
    bell: Notify,
    /// Keys of Vary nodes whose changes may have been missed. Nodes have no mark of their own.
    nodes: Mutex<BTreeSet<Arc<str>>>,
    doubted_nodes: AtomicUsize,
}

// === impl Doubts ===

impl Doubts {
    pub(super) fn new(numbers: Arc<Numbers>) -> Self {
        Self {
            numbers,
            index: Index::new(),
            gone: Mutex::default(),
            asked: Mutex::default(),
            bell: Notify::new(),
            nodes: Mutex::default(),
            doubted_nodes: AtomicUsize::new(0),
        }
    }

    /// Notes that a key left the cache. May be called while a shard is locked.
    pub(super) fn gone(&self, key: Arc<str>) {
        lock(&self.gone).push(key);
    }

    /// Asks for a key to be read again. Returns false if too many keys wait.
    pub(super) fn ask(&self, hash: KeyHash) -> bool {
        let mut asked = lock(&self.asked);
        if asked.len() >= ASKS {
            return false;
        }
        asked.push_back(hash);
        drop(asked);
        self.bell.notify_one();
        true
    }

    /// Notes that a node is used: if it is doubted, it is read again.
    pub(super) fn found_node(&self, key: &str) {
        if self.doubted_nodes.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut nodes = lock(&self.nodes);
        if nodes.contains(key) && self.ask(KeyHash::of(key)) {
            nodes.remove(key);
        }
        self.doubted_nodes.store(nodes.len(), Ordering::Relaxed);
    }

    fn doubt_nodes(&self, keys: impl IntoIterator<Item = Arc<str>>) {
        let mut nodes = lock(&self.nodes);
        nodes.extend(keys);
        self.doubted_nodes.store(nodes.len(), Ordering::Relaxed);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change made under these locks is complete at each step: a panic elsewhere broke nothing.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

// === impl Tier ===

impl Tier {
    /// The numbers that an entry is compared with before it is taken in; `None` if no other instance writes.
    pub fn numbers(&self) -> Option<&Arc<Numbers>> {
        self.watch.as_ref().map(|watch| &watch.numbers)
    }

    /// The token of the entry held under a hash, and the number of its entry in the store; 0 if that is not
    /// known.
    pub fn holds(&self, hash: KeyHash) -> Option<(Number, Number)> {
        let key = self.watch.as_ref()?.index.text(hash)?;
        match self.memory.peek(&*key)? {
            Held::Stored(stored) => Some((stored.record.token, stored.number())),
            Held::Vary(node) => Some((node.token, 0)),
        }
    }

    /// Forgets what is held under a hash, if its token is below `than`.
    pub fn forget_older(&self, hash: KeyHash, than: Number) {
        let Some(watch) = &self.watch else { return };
        let Some(key) = watch.index.text(hash) else { return };
        self.memory.remove_if(&*key, |held| held.token() < than);
        self.index(watch, hash, &key, || key.clone());
    }

    /// Doubts a key: changes of it may have been missed, so it is read again when it is next used.
    pub fn doubt(&self, hash: KeyHash) {
        let Some(watch) = &self.watch else { return };
        let Some(key) = watch.index.text(hash) else { return };
        match self.memory.peek(&*key) {
            Some(Held::Stored(stored)) => {
                stored.mark.fetch_or(DOUBTED, Ordering::Relaxed);
            }
            Some(Held::Vary(_)) => watch.doubt_nodes([key]),
            None => {}
        }
    }

    /// Doubts every key that is held now. Walks the whole tier, a shard at a time.
    pub fn doubt_all(&self) {
        let Some(watch) = &self.watch else { return };
        let nodes = Mutex::new(Vec::new());
        self.memory.retain(|key, held| {
            match held {
                Held::Stored(stored) => {
                    stored.mark.fetch_or(DOUBTED, Ordering::Relaxed);
                }
                Held::Vary(_) => lock(&nodes).push(key.clone()),
            }
            true
        });
        let nodes = std::mem::take(&mut *lock(&nodes));
        watch.doubt_nodes(nodes);
    }

    /// Waits for the next key that is to be read again; for ever if no other instance writes. Cancel safe.
    pub async fn asked(&self) -> KeyHash {
        let Some(watch) = &self.watch else { return std::future::pending().await };
        loop {
            if let Some(hash) = lock(&watch.asked).pop_front() {
                return hash;
            }
            watch.bell.notified().await;
        }
    }

    /// Brings the index up to date for one key.
    pub(super) fn index(&self, watch: &Doubts, hash: KeyHash, key: &str, text: impl FnOnce() -> Arc<str>) {
        watch.index.update(hash, text, || self.memory.contains_key(key));
    }

    /// As [`Tier::index`], after a removal.
    pub(super) fn left(&self, key: &str) {
        if let Some(watch) = &self.watch {
            self.index(watch, KeyHash::of(key), key, || Arc::from(key));
        }
    }

    /// As [`Tier::index`], for keys that were evicted or swept.
    pub(super) fn settle(&self, watch: &Doubts) {
        let gone = std::mem::take(&mut *lock(&watch.gone));
        for key in gone {
            self.index(watch, KeyHash::of(&key), &key, || key.clone());
        }
    }

    #[cfg(test)]
    pub(super) fn indexed(&self) -> usize {
        self.watch.as_ref().map_or(0, |watch| watch.index.len())
    }
}
