//! The highest number seen of each key, remembered for about a minute, including deletions. An entry read
//! from the store and taken into memory a moment later must not be older than a change that was told
//! meanwhile.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use foldhash::fast::RandomState;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::dust::Number;
use crate::key::KeyHash;

/// How long a number is remembered at least; at most twice as long.
const REMEMBERED: Duration = Duration::from_mins(1);
/// How many keys are remembered in that time; at most twice as many. Of keys dropped early only the highest
/// number is kept.
const KEYS: usize = 65_536;

/// The changes of records and Vary nodes that were seen lately.
#[derive(Debug)]
pub struct Numbers {
    prefix: String,
    book: Mutex<Book>,
    written: Notify,
}

/// How a record compares with the known changes of its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stands {
    /// It is the newest in the store that is known, under this number.
    At(Number),
    /// It is newer than all known changes.
    Newer,
    /// A newer change is known: it must not be taken in.
    Older,
    /// A change is known whose entry this instance has not read yet: that may be this record or a newer one.
    Unread,
    /// No change of the key is known.
    Unknown,
}

/// A write of this instance that is under way. Until it is dropped, [`Numbers::quiet`] waits for it.
#[derive(Debug)]
pub struct Writing {
    numbers: Arc<Numbers>,
    hash: KeyHash,
}

#[derive(Debug)]
struct Book {
    young: HashMap<KeyHash, Seen, RandomState>,
    old: HashMap<KeyHash, Seen, RandomState>,
    turned: Instant,
    /// The highest number among those that were dropped early.
    floor: Number,
    /// How many writes of this instance are under way, by key.
    busy: HashMap<KeyHash, usize, RandomState>,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    number: Number,
    /// The token of the written record or node, once this instance knows it.
    token: Option<Number>,
    deleted: bool,
}

// === impl Numbers ===

impl Numbers {
    /// No numbers yet, for the fleet called `prefix`.
    pub fn new(prefix: &str) -> Arc<Self> {
        let book = Book {
            young: HashMap::default(),
            old: HashMap::default(),
            turned: Instant::now(),
            floor: 0,
            busy: HashMap::default(),
        };
        Arc::new(Self { prefix: format!("{prefix}/1/"), book: Mutex::new(book), written: Notify::new() })
    }

    /// The hash in the name of a value key; `None` for other keys.
    pub fn hash_of(&self, key: &str) -> Option<KeyHash> {
        let digits = key.strip_prefix(&self.prefix)?;
        let plain = digits.len() == 32 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        let hash = u128::from_str_radix(digits, 16).ok().filter(|_| plain)?;
        Some(KeyHash(hash.to_be_bytes()))
    }

    /// The value key of a hash.
    pub fn key_of(&self, hash: KeyHash) -> String {
        format!("{}{hash}", self.prefix)
    }

    /// Notes a change that was told: a write, or a deletion.
    pub fn saw(&self, hash: KeyHash, number: Number, deleted: bool) {
        self.book().note(hash, Seen { number, token: None, deleted });
    }

    /// Notes the token of the record or node that was written under this number.
    pub fn learn(&self, hash: KeyHash, number: Number, token: Number) {
        self.book().note(hash, Seen { number, token: Some(token), deleted: false });
    }

    /// The token of the newest known entry, if known.
    pub fn token(&self, hash: KeyHash) -> Option<Number> {
        self.book().seen(hash)?.token
    }

    /// How a record with this token compares; `number` is that of its entry, 0 if unknown.
    pub fn stands(&self, hash: KeyHash, token: Number, number: Number) -> Stands {
        let mut book = self.book();
        if number > 0 {
            book.note(hash, Seen { number, token: Some(token), deleted: false });
        }
        let floor = book.floor;
        let Some(seen) = book.seen(hash) else {
            return if token < floor { Stands::Unread } else { Stands::Unknown };
        };
        match seen {
            Seen { number: last, .. } if number > 0 && number < last => Stands::Older,
            Seen { token: Some(last), .. } if token < last => Stands::Older,
            Seen { token: Some(last), number, .. } if token == last => Stands::At(number),
            Seen { token: Some(_), .. } => Stands::Newer,
            // A token is above every write from before its lease.
            Seen { number: last, .. } if token >= last => Stands::Newer,
            Seen { deleted: true, .. } => Stands::Older,
            Seen { .. } => Stands::Unread,
        }
    }

    /// Notes that this instance begins to write a key.
    pub fn writes(self: &Arc<Self>, hash: KeyHash) -> Writing {
        *self.book().busy.entry(hash).or_default() += 1;
        Writing { numbers: self.clone(), hash }
    }

    /// Waits until no write of that key by this instance is under way. Cancel safe.
    pub async fn quiet(&self, hash: KeyHash) {
        loop {
            let written = self.written.notified();
            if !self.book().busy.contains_key(&hash) {
                return;
            }
            written.await;
        }
    }

    /// Forgets all numbers: another life of the store has another order.
    pub fn clear(&self) {
        let mut book = self.book();
        book.young.clear();
        book.old.clear();
        book.floor = 0;
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        // Every change made under this lock is complete at each step: a panic elsewhere broke nothing.
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Writing ===

impl Drop for Writing {
    fn drop(&mut self) {
        let mut book = self.numbers.book();
        if let Some(count) = book.busy.get_mut(&self.hash) {
            *count -= 1;
            if *count == 0 {
                book.busy.remove(&self.hash);
            }
        }
        drop(book);
        self.numbers.written.notify_waiters();
    }
}

// === impl Book ===

impl Book {
    fn seen(&self, hash: KeyHash) -> Option<Seen> {
        self.young.get(&hash).or_else(|| self.old.get(&hash)).copied()
    }

    fn note(&mut self, hash: KeyHash, comes: Seen) {
        let last = self.seen(hash);
        let next = match last {
            Some(last) if last.number > comes.number => return,
            Some(last) if last.number == comes.number => Seen { token: last.token.or(comes.token), ..last },
            Some(_) | None => comes,
        };
        self.turn();
        self.young.insert(hash, next);
    }

    /// Turns to an empty young table when the present one is full or old.
    fn turn(&mut self) {
        let full = self.young.len() >= KEYS;
        let age = self.turned.elapsed();
        if !full && age < REMEMBERED {
            return;
        }
        let gone = std::mem::replace(&mut self.old, std::mem::take(&mut self.young));
        if age < REMEMBERED {
            let highest = gone.values().map(|seen| seen.number).max().unwrap_or(0);
            self.floor = self.floor.max(highest);
        }
        self.turned = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: KeyHash = KeyHash([7; 16]);

    #[tokio::test(start_paused = true)]
    async fn what_is_older_than_a_change_that_was_told_is_known_to_be() {
        let numbers = Numbers::new("dustgate");
        assert_eq!(numbers.stands(KEY, 3, 0), Stands::Unknown);
        numbers.saw(KEY, 8, false);
        assert_eq!(numbers.stands(KEY, 3, 4), Stands::Older, "an entry from before");
        assert_eq!(numbers.stands(KEY, 3, 0), Stands::Unread, "it may be that very write");
        assert_eq!(numbers.stands(KEY, 9, 0), Stands::Newer, "its lease came after");
        numbers.learn(KEY, 8, 7);
        assert_eq!(numbers.stands(KEY, 7, 0), Stands::At(8));
        assert_eq!(numbers.stands(KEY, 3, 0), Stands::Older);
        numbers.saw(KEY, 6, true);
        assert_eq!(numbers.stands(KEY, 7, 0), Stands::At(8), "told late");
        numbers.saw(KEY, 12, true);
        assert_eq!(numbers.stands(KEY, 7, 8), Stands::Older, "deleted since");
        assert_eq!(numbers.stands(KEY, 11, 0), Stands::Older);
        assert_eq!(numbers.stands(KEY, 13, 14), Stands::At(14));
    }

    #[tokio::test(start_paused = true)]
    async fn numbers_are_remembered_for_a_minute_and_not_much_longer() {
        let numbers = Numbers::new("dustgate");
        numbers.saw(KEY, 8, true);
        tokio::time::advance(REMEMBERED * 9 / 10).await;
        assert_eq!(numbers.stands(KEY, 3, 0), Stands::Older);
        for _ in 0..2 {
            tokio::time::advance(REMEMBERED).await;
            numbers.saw(KeyHash([1; 16]), 9, false);
        }
        assert_eq!(numbers.stands(KEY, 3, 0), Stands::Unknown);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_given_up_before_its_time_leaves_a_floor() {
        let numbers = Numbers::new("dustgate");
        numbers.saw(KEY, 8, true);
        for n in 0..2 * KEYS as u64 {
            numbers.saw(KeyHash((u128::from(n) + 1).to_be_bytes()), n + 9, false);
        }
        assert_eq!(numbers.stands(KEY, 3, 0), Stands::Unread, "to be read, and not to be believed");
    }

    #[tokio::test(start_paused = true)]
    async fn who_hears_of_a_write_of_its_own_waits_until_it_knows_its_number() {
        let numbers = Numbers::new("dustgate");
        let writing = numbers.writes(KEY);
        let mut quiet = Box::pin(numbers.quiet(KEY));
        assert!(futures_util::poll!(&mut quiet).is_pending());
        numbers.quiet(KeyHash([1; 16])).await;
        drop(writing);
        quiet.await;
    }

    #[test]
    fn a_value_key_is_told_from_others() {
        let numbers = Numbers::new("dustgate");
        let hash = KeyHash::of("http://h/a");
        assert_eq!(numbers.hash_of(&numbers.key_of(hash)), Some(hash));
        for other in ["dustgate/1/fleet", "dustgate/1/s/all/h", "other/1/00", "_dust:sf/dustgate/1/00"] {
            assert_eq!(numbers.hash_of(other), None, "{other}");
        }
        assert_eq!(numbers.hash_of(&format!("{}!", numbers.key_of(hash))), None);
    }
}
