//! Fan-out of a store's changes inside one process.
//!
//! A store has one [`Hub`] and emits every change to it, in the order of numbers. Waiters watch a few
//! keys ([`Changes`]), the tier watches all of them ([`Feed`]). A waiter's queue is one merged
//! [`Wake`], so a slow waiter costs no memory; a feed's queue is bounded and reports an overflow.
//! Both unsubscribe when dropped (S17).

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::{Change, Number, What};

/// How many changes a [`Feed`] holds before it discards them and returns [`FeedItem::Lost`].
pub const FEED_ROOM: usize = 8192;

/// The receiver of a store's changes.
///
/// Dropping it reports to every subscriber that events are lost: there will be no more.
#[derive(Debug, Default)]
pub struct Hub {
    book: Arc<Mutex<Subscriptions>>,
}

/// The changes of some keys, merged. Made by [`super::Dust::on`].
#[derive(Debug)]
pub struct Changes {
    book: Arc<Mutex<Subscriptions>>,
    keys: Vec<Arc<str>>,
    mailbox: Arc<KeyWaiter>,
}

/// Every change in order. Made by [`super::Dust::feed`].
#[derive(Debug)]
pub struct Feed {
    book: Arc<Mutex<Subscriptions>>,
    tape: Arc<FeedQueue>,
}

/// What happened to the watched keys since the last call, all keys taken together.
///
/// It is a reason to read again, never a result (S9).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wake {
    /// A value was written or deleted.
    pub touched: bool,
    /// The newest lease or renewal: its token, and its time to live from when the event arrived.
    pub lease: Option<(Number, Duration)>,
    /// The highest token among the leases that were released.
    pub released: Option<Number>,
    /// The highest number among the deletions.
    pub deleted: Option<Number>,
    /// Events were or will be missed: what was learned from events is no longer certain.
    pub lost: bool,
}

/// What a [`Feed`] returns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FeedItem {
    /// The next change.
    Change(Change),
    /// Changes between the last one returned and the next one were missed.
    Lost,
    /// Changes of records may have been missed. None of them is of a stamp or of an instance, and the order of
    /// those is whole.
    Doubt,
}

#[derive(Debug, Default)]
struct Subscriptions {
    /// Hashed alike in every run: watchers are woken in the same order, and a simulation repeats.
    watchers: HashMap<Arc<str>, Vec<Arc<KeyWaiter>>, BuildHasherDefault<DefaultHasher>>,
    feeds: Vec<Arc<FeedQueue>>,
    count: usize,
}

#[derive(Debug, Default)]
struct KeyWaiter {
    wake: Mutex<Wake>,
    bell: Notify,
}

#[derive(Debug, Default)]
struct FeedQueue {
    queue: Mutex<Queue>,
    bell: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    lost: bool,
    doubted: bool,
    changes: VecDeque<Change>,
}

// === impl Hub ===

impl Hub {
    /// A hub without subscribers.
    pub fn new() -> Self {
        Self::default()
    }

    /// Passes a change to all watchers of its key and to all feeds.
    pub fn emit(&self, change: Change) {
        let book = lock(&self.book);
        for mailbox in book.watchers.get(&*change.key).into_iter().flatten() {
            mailbox.tell(|wake| wake.add(&change));
        }
        if let Some((last, others)) = book.feeds.split_last() {
            for tape in others {
                tape.push(change.clone());
            }
            last.push(change);
        }
    }

    /// Reports to all subscribers that events were, or may have been, missed.
    pub fn lost(&self) {
        let book = lock(&self.book);
        for mailbox in book.watchers.values().flatten() {
            mailbox.tell(|wake| wake.lost = true);
        }
        for tape in &book.feeds {
            tape.lose();
        }
    }

    /// Reports to all feeds that changes were missed. Those who watch a key lose no more than time by it, and are
    /// told by [`Hub::wake`].
    pub fn missed(&self) {
        lock(&self.book).feeds.iter().for_each(|tape| tape.lose());
    }

    /// Reports to all feeds that changes of records may have been missed.
    pub fn doubt(&self) {
        lock(&self.book).feeds.iter().for_each(|tape| tape.doubt());
    }

    /// Reports to those who watch a key for which `is_of` returns true that changes of it may have been missed.
    pub fn wake(&self, is_of: impl Fn(&str) -> bool) {
        let book = lock(&self.book);
        let watched = book.watchers.iter().filter(|(key, _)| is_of(key));
        for mailbox in watched.flat_map(|(_, mailboxes)| mailboxes) {
            mailbox.tell(|wake| wake.lost = true);
        }
    }

    /// Watches `keys` from now on.
    pub fn on(&self, keys: &[&str]) -> Changes {
        let mailbox = Arc::new(KeyWaiter::default());
        let mut watched: Vec<Arc<str>> = Vec::with_capacity(keys.len());
        let mut book = lock(&self.book);
        book.count += 1;
        for key in keys {
            if watched.iter().any(|known| **known == **key) {
                continue;
            }
            let key =
                book.watchers.get_key_value(*key).map_or_else(|| Arc::from(*key), |(known, _)| known.clone());
            book.watchers.entry(key.clone()).or_default().push(mailbox.clone());
            watched.push(key);
        }
        Changes { book: self.book.clone(), keys: watched, mailbox }
    }

    /// Subscribes to all changes from now on.
    pub fn feed(&self) -> Feed {
        let tape = Arc::new(FeedQueue::default());
        let mut book = lock(&self.book);
        book.count += 1;
        book.feeds.push(tape.clone());
        Feed { book: self.book.clone(), tape }
    }

    /// How many [`Changes`] and [`Feed`]s are alive.
    pub fn len(&self) -> usize {
        lock(&self.book).count
    }

    /// Returns whether any key is watched.
    pub fn is_watched(&self) -> bool {
        !lock(&self.book).watchers.is_empty()
    }

    /// Returns whether there are no subscriptions.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.lost();
    }
}

// === impl Changes ===

impl Changes {
    /// Waits until something has happened since the last call, and returns it.
    ///
    /// Cancel safe: what was not returned is still there for the next call.
    pub async fn next(&mut self) -> Wake {
        loop {
            if let Some(wake) = self.now() {
                return wake;
            }
            self.mailbox.bell.notified().await;
        }
    }

    /// Returns what happened since the last call, without waiting.
    pub fn now(&mut self) -> Option<Wake> {
        let wake = std::mem::take(&mut *lock(&self.mailbox.wake));
        (wake != Wake::default()).then_some(wake)
    }
}

impl Drop for Changes {
    fn drop(&mut self) {
        let mut book = lock(&self.book);
        book.count -= 1;
        for key in &self.keys {
            if let Some(mailboxes) = book.watchers.get_mut(key) {
                mailboxes.retain(|mailbox| !Arc::ptr_eq(mailbox, &self.mailbox));
                if mailboxes.is_empty() {
                    book.watchers.remove(key);
                }
            }
        }
    }
}

// === impl Feed ===

impl Feed {
    /// Waits for the next change, or for the report that some were missed.
    ///
    /// Cancel safe: what was not returned is still there for the next call.
    pub async fn next(&mut self) -> FeedItem {
        loop {
            if let Some(item) = self.now() {
                return item;
            }
            self.tape.bell.notified().await;
        }
    }

    /// Returns the next item, if there is one already.
    pub fn now(&mut self) -> Option<FeedItem> {
        let mut queue = lock(&self.tape.queue);
        if std::mem::take(&mut queue.lost) {
            return Some(FeedItem::Lost);
        }
        if std::mem::take(&mut queue.doubted) {
            return Some(FeedItem::Doubt);
        }
        queue.changes.pop_front().map(FeedItem::Change)
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        let mut book = lock(&self.book);
        book.count -= 1;
        book.feeds.retain(|tape| !Arc::ptr_eq(tape, &self.tape));
    }
}

// === impl Wake ===

impl Wake {
    fn add(&mut self, change: &Change) {
        match change.what {
            What::Set { .. } => self.touched = true,
            What::Delete => {
                self.touched = true;
                self.deleted = self.deleted.max(Some(change.number));
            }
            What::Lease(ttl) | What::Renew(ttl) => {
                // Not the last one emitted: among several keys, or after a reordering, the higher
                // token is the newer lease.
                if self.lease.is_none_or(|(token, _)| token <= change.number) {
                    self.lease = Some((change.number, ttl));
                }
            }
            What::Release => self.released = self.released.max(Some(change.number)),
        }
    }
}

// === impl KeyWaiter ===

impl KeyWaiter {
    fn tell(&self, what: impl FnOnce(&mut Wake)) {
        what(&mut lock(&self.wake));
        self.bell.notify_one();
    }
}

// === impl FeedQueue ===

impl FeedQueue {
    fn push(&self, change: Change) {
        let mut queue = lock(&self.queue);
        if queue.changes.len() >= FEED_ROOM {
            queue.changes.clear();
            queue.lost = true;
        }
        queue.changes.push_back(change);
        drop(queue);
        self.bell.notify_one();
    }

    fn lose(&self) {
        let mut queue = lock(&self.queue);
        // A reader that gets `Lost` reads everything again: earlier changes add nothing.
        queue.changes.clear();
        (queue.lost, queue.doubted) = (true, false);
        drop(queue);
        self.bell.notify_one();
    }

    fn doubt(&self) {
        lock(&self.queue).doubted = true;
        self.bell.notify_one();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change made under these locks is complete at each step: a panic elsewhere broke nothing.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
