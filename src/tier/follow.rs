//! Follows the changes of the store. Stamps are applied at once; records and Vary nodes that are held here
//! are read again.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::Member;
use super::stamps::is_announced;
use crate::dust::{Change, Entry, FeedItem, Number, What};
use crate::key::KeyHash;
use crate::record::{Pointer, codec};

/// How many entries are read at a time.
const AT_A_TIME: usize = 16;
/// The most entries that wait to be read. Above that the held entry is forgotten, and read when a request
/// needs it.
const WAITING: usize = 8_192;
/// How long this instance may take to take in what it has just written.
const TAKING_IN: Duration = Duration::from_millis(50);
/// The pause before it tries to subscribe to the changes again.
const AGAIN: Duration = Duration::from_millis(100);

/// Why an entry is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    /// The feed told of a change.
    Told,
    /// Changes may have been missed.
    Doubted,
}

/// The keys that are being read, or wait to be read; each once at a time.
#[derive(Default)]
struct Reads {
    running: JoinSet<KeyHash>,
    waiting: VecDeque<KeyHash>,
    /// The keys that wait and those that are read: why, and whether to read again after that.
    known: BTreeMap<KeyHash, Wanted>,
}

struct Wanted {
    why: Why,
    runs: bool,
    again: Option<Why>,
}

impl Member {
    /// Follows the store's changes. Never ends. If dropped, the reads under way end too.
    pub async fn follow(self: Arc<Self>) {
        let mut feed = loop {
            match self.bounded(self.parts.dust.feed()).await {
                Ok(feed) => break feed,
                Err(_) => sleep(AGAIN).await,
            }
        };
        self.missed();
        let mut reads = Reads::default();
        // An entry that was read while changes were missed may be taken in a moment later: after that moment
        // everything is doubted once more.
        let mut again_at = Some(Instant::now() + self.settings.call_bound);
        loop {
            tokio::select! {
                biased;
                item = feed.next() => match item {
                    FeedItem::Change(change) => self.told(&change, &mut reads),
                    FeedItem::Lost => {
                        self.missed();
                        again_at = Some(Instant::now() + self.settings.call_bound);
                    }
                    FeedItem::Doubt => {
                        self.parts.tier.doubt_all();
                        again_at = Some(Instant::now() + self.settings.call_bound);
                    }
                },
                Some(done) = reads.running.join_next() => reads.ended(done.ok()),
                hash = self.parts.tier.asked(), if reads.waiting.is_empty() => {
                    reads.want(&self, hash, Why::Doubted);
                }
                () = sleep_until(again_at.unwrap_or_else(Instant::now)), if again_at.is_some() => {
                    self.parts.tier.doubt_all();
                    again_at = None;
                }
            }
            reads.start(&self);
        }
    }

    fn told(&self, change: &Change, reads: &mut Reads) {
        self.host.saw(change.number);
        let key = &*change.key;
        if let Some(hash) = self.parts.numbers.hash_of(key) {
            self.told_value(hash, change, reads);
        } else if self.parts.stamps.told(key, change, self.parts.dust.now_ms()) {
            self.followed.fetch_max(change.number, Ordering::AcqRel);
            // No purge waits for the confirmation of an announced stamp.
            if !is_announced(change) {
                self.bell.notify_one();
            }
        } else if let Some(name) = key.strip_prefix(&self.members()) {
            self.told_member(name, change);
        }
    }

    fn told_value(&self, hash: KeyHash, change: &Change, reads: &mut Reads) {
        let (tier, numbers, number) = (&self.parts.tier, &self.parts.numbers, change.number);
        match change.what {
            What::Set { .. } => {
                // First, so that a task that takes in an older entry meanwhile sees this number.
                numbers.saw(hash, number, false);
                let older = |(token, at): (Number, Number)| at < number && token < number;
                if tier.holds(hash).is_some_and(older) {
                    reads.want(self, hash, Why::Told);
                }
            }
            What::Delete => {
                numbers.saw(hash, number, true);
                tier.forget_older(hash, number);
            }
            What::Lease(_) | What::Renew(_) | What::Release => {}
        }
    }

    fn told_member(&self, name: &str, change: &Change) {
        let own = name.strip_suffix('!').unwrap_or(name) == &*self.settings.instance;
        let mut known = self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match change.what {
            What::Set { .. } if own => {
                self.heard.send_if_modified(|heard| {
                    let newer = change.number > *heard;
                    *heard = change.number.max(*heard);
                    newer
                });
            }
            What::Lease(ttl) | What::Renew(ttl) => {
                if own {
                    self.beats.fetch_add(1, Ordering::AcqRel);
                }
                known.insert(name.to_owned(), Instant::now() + ttl);
            }
            What::Release => {
                known.remove(name);
            }
            What::Set { .. } | What::Delete => {}
        }
    }

    /// Reads an entry from the store, and replaces the one that is held here.
    async fn read(self: Arc<Self>, hash: KeyHash, why: Why) -> KeyHash {
        let (tier, numbers) = (&self.parts.tier, &self.parts.numbers);
        if why == Why::Told {
            // The number of a write of this instance is known as soon as the write is answered.
            let _ = timeout(self.settings.call_bound, numbers.quiet(hash)).await;
            if self.has_newest(hash) {
                return hash;
            }
            if numbers.token(hash).is_some() {
                // This instance has written or read it, and is about to take it in.
                sleep(TAKING_IN).await;
                if self.has_newest(hash) {
                    return hash;
                }
            }
        }
        let Some((token, _)) = tier.holds(hash) else { return hash };
        match self.bounded(self.parts.dust.entry(&numbers.key_of(hash))).await {
            Ok(Some(entry)) if self.take(hash, &entry) => {}
            Ok(_) => tier.forget_older(hash, token + 1),
            Err(_) => tier.doubt(hash),
        }
        hash
    }

    /// Returns whether the held entry is the newest that is known, or none is held.
    fn has_newest(&self, hash: KeyHash) -> bool {
        let Some((token, _)) = self.parts.tier.holds(hash) else { return true };
        self.parts.numbers.token(hash).is_some_and(|newest| token >= newest)
    }

    /// Takes an entry in. Returns false if it is of no use here.
    fn take(&self, hash: KeyHash, entry: &Entry) -> bool {
        let Some(text) = entry.text() else { return false };
        let dust = &self.parts.dust;
        let limits = codec::Limits { now_ms: dust.now_ms(), number: dust.ceiling() };
        match codec::decode(text, &limits) {
            Ok(Pointer::Record(record)) if KeyHash::of(&record.key) == hash => {
                let Some(stored) = self.host.stored(*record) else { return false };
                self.parts.tier.keep(Arc::new(stored.at(entry.number)));
                true
            }
            Ok(Pointer::Vary(node)) if KeyHash::of(&node.key) == hash => {
                self.parts.tier.keep_node_at(Arc::new(node), entry.number);
                true
            }
            Ok(_) => false,
            Err(error) => {
                self.host.hears(super::News::BadPointer(error.to_string()));
                false
            }
        }
    }
}

// === impl Reads ===

impl Reads {
    fn want(&mut self, member: &Member, hash: KeyHash, why: Why) {
        if let Some(known) = self.known.get_mut(&hash) {
            if known.runs {
                known.again = Some(known.again.unwrap_or(why));
            }
            return;
        }
        if self.waiting.len() >= WAITING {
            member.parts.tier.forget_older(hash, Number::MAX);
            return;
        }
        self.known.insert(hash, Wanted { why, runs: false, again: None });
        self.waiting.push_back(hash);
    }

    fn start(&mut self, member: &Arc<Member>) {
        while self.running.len() < AT_A_TIME
            && let Some(hash) = self.waiting.pop_front()
        {
            if let Some(wanted) = self.known.get_mut(&hash) {
                wanted.runs = true;
                self.running.spawn(member.clone().read(hash, wanted.why));
            }
        }
    }

    fn ended(&mut self, hash: Option<KeyHash>) {
        // A key whose read panicked stays known, and is not read again. Other keys are not affected.
        let Some(hash) = hash else { return };
        if let Some(Wanted { again: Some(why), .. }) = self.known.remove(&hash) {
            self.known.insert(hash, Wanted { why, runs: false, again: None });
            self.waiting.push_back(hash);
        }
    }
}
