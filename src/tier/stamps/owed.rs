//! Stamps that the store has not taken yet.
//!
//! After an unsafe request has succeeded, what it invalidates is invalid, whether or not the store takes the
//! stamp. This instance covers its own records at once. The stamp stays owed: it is written as soon as the
//! store takes it, and in any case before the store is trusted again.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use tokio::sync::Notify;

mod tags;

use super::life::{Ends, SLACK, stamp_life};
use super::{Force, Scope, Stamps, TagName};
use crate::clock::{WallMs, millis};
use crate::dust::{Dust, Error, Grant, Holder, Number, within};
use crate::key::KeyHash;
use tags::OwedTags;

/// How many URLs may be owed a stamp before unsafe requests are refused. Requests that are under way by then still add
/// theirs. Tags have a bound of their own, and no request is refused for them.
pub const OWED: usize = 1 << 18;
/// How many URLs may be stored here under keys that could not be noted in the store.
const UNNOTED: usize = 16_384;
/// How many stamps are written at a time.
const AT_A_TIME: usize = 16;

/// The stamps that are owed.
#[derive(Debug, Default)]
pub(super) struct Owed {
    book: Mutex<Book>,
    bell: Notify,
}

#[derive(Debug, Default)]
struct Book {
    debts: BTreeMap<KeyHash, Debt>,
    tags: OwedTags,
    /// URLs stored here under keys that could not be noted in the store, and when those records end.
    unnoted: BTreeMap<KeyHash, WallMs>,
}

/// An owed stamp over a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Debt {
    /// The hash of the URL's plain key.
    plain: KeyHash,
    /// The number of the stamp that covers the URL here meanwhile.
    number: Number,
    /// The end of what it covers, as far as known here.
    ends: Ends,
}

/// What writing owed stamps needs.
#[derive(Debug, Clone)]
pub struct Purse {
    /// The name of a lease holder, used once.
    pub holder: Holder,
    /// The highest number that is known here: the stamps must be written under higher ones.
    pub seen: Number,
    /// The timeout of a call to the store.
    pub bound: Duration,
}

/// Which owed stamps were written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Paid {
    /// How many are no longer owed.
    pub count: usize,
    /// The highest number that one was written under; 0 if none was.
    pub number: Number,
}

impl Stamps {
    /// Notes that a URL is owed a hard stamp, and covers it here under `number` meanwhile.
    pub fn owe(&self, url: KeyHash, plain: KeyHash, ends: Ends, number: Number, now: WallMs) {
        self.cover_here(url, number, now.saturating_add(millis(stamp_life(ends, now, self.max_life))));
        let mut book = self.owed.book();
        let debt = book.debts.entry(url).or_insert(Debt { plain, number, ends });
        *debt = Debt { plain, number: number.max(debt.number), ends: ends.and(debt.ends) };
        drop(book);
        self.owed.bell.notify_one();
    }

    /// Notes that a tag, or all tags of a place, are owed a hard stamp, and covers them here under `number`
    /// meanwhile. With too many, more than they are owed one.
    pub fn owe_tags(&self, tags: Scope, number: Number, now: WallMs) {
        let tags = self.owed.book().tags.room_for(tags);
        self.cover_tags_here(tags, number, now);
        self.owed.book().tags.owe(tags, number);
        self.owed.bell.notify_one();
    }

    /// How many stamps are owed.
    pub fn owed(&self) -> usize {
        let book = self.owed.book();
        book.debts.len() + book.tags.len()
    }

    /// Returns whether unsafe requests should be refused: there might be no room for their stamps.
    pub fn owes_too_much(&self) -> bool {
        self.owed.book().debts.len() >= OWED
    }

    /// Waits until another stamp is owed. Cancel safe.
    pub async fn owing(&self) {
        self.owed.bell.notified().await;
    }

    /// The URLs that are owed a stamp: the stamps that cover them here are needed until then.
    pub(super) fn owing_to(&self) -> HashSet<KeyHash> {
        self.owed.book().debts.keys().copied().collect()
    }

    /// The same of tags.
    pub(super) fn owing_tags(&self) -> HashSet<TagName> {
        let name = |(tags, _)| match tags {
            Scope::Tag(name) => Some(name),
            _ => None,
        };
        self.owed.book().tags.iter().filter_map(name).collect()
    }

    /// Writes the owed stamps. For a URL of which nothing is stored, noted or being filled, no stamp is
    /// stored; if other instances share the store, it is announced to them. Where as many URLs have stamps as
    /// may be, the stamp stays owed, and the URL is covered here meanwhile. An error means that the store has
    /// not answered; what is left is still owed.
    ///
    /// If dropped half-way, some are written.
    pub async fn pay(&self, dust: &dyn Dust, purse: &Purse) -> Result<Paid, Error> {
        let (debts, tags) = {
            let book = self.owed.book();
            (book.debts.clone(), book.tags.clone())
        };
        if debts.is_empty() && tags.len() == 0 {
            return Ok(Paid::default());
        }
        self.raise(dust, purse).await?;
        let each = debts.into_iter().map(|(url, debt)| self.pay_one(dust, purse.bound, url, debt));
        let mut all = stream::iter(each).buffer_unordered(AT_A_TIME);
        let mut paid = Paid::default();
        while let Some(number) = all.next().await {
            paid.add(number?);
        }
        let each = tags.iter().map(|(tags, number)| self.pay_tags(dust, purse.bound, tags, number));
        let mut all = stream::iter(each).buffer_unordered(AT_A_TIME);
        while let Some(number) = all.next().await {
            paid.add(Some(number?));
        }
        Ok(paid)
    }

    /// Returns the number of the stamp.
    async fn pay_tags(
        &self,
        dust: &dyn Dust,
        bound: Duration,
        tags: Scope,
        owed: Number,
    ) -> Result<Number, Error> {
        // A tag takes two writes.
        let number = within(bound * 2, self.write_tags(dust, tags)).await?;
        self.owed.book().tags.paid(tags, owed);
        Ok(number)
    }

    /// Returns the number of the stamp, 0 if none was needed; `None` if there was no room for it.
    async fn pay_one(
        &self,
        dust: &dyn Dust,
        bound: Duration,
        url: KeyHash,
        debt: Debt,
    ) -> Result<Option<Number>, Error> {
        let there = within(bound, self.look(dust, url, debt.plain)).await?;
        let ends = there.and(debt.ends);
        let mut number = 0;
        if !ends.is_nothing() {
            if !self.has_place(dust, Scope::Url(url)) {
                return Ok(None);
            }
            let lives = stamp_life(ends, dust.now_ms(), self.max_life);
            number = within(bound, self.write(dust, Scope::Url(url), Force::Hard, lives, true)).await?;
        } else if dust.shared() {
            number = within(bound, self.announce_after(dust, url, 0)).await?.0;
        }
        let mut book = self.owed.book();
        // If it was owed again meanwhile, it must be written again.
        if book.debts.get(&url).is_some_and(|now| now.number == debt.number) {
            book.debts.remove(&url);
        }
        Ok(Some(number))
    }

    /// Raises the numbers of the store above every number that is known here.
    pub async fn raise(&self, dust: &dyn Dust, purse: &Purse) -> Result<(), Error> {
        let key = format!("_dust:sf/{}raise/{}", self.prefix, purse.holder);
        // No other instance acquires this lease; if the answer is lost, it soon expires.
        let span = purse.bound * 2;
        let lease = within(purse.bound, dust.lease(&key, span, &purse.holder, purse.seen)).await?;
        if let Grant::Granted(lease) = lease {
            within(purse.bound, dust.release(&lease)).await?;
        }
        Ok(())
    }

    /// Notes that a URL is stored here, until `end`, under a key that could not be noted in the store.
    /// Returns whether that is remembered; if not, the record must not be kept.
    pub fn keep_unnoted(&self, url: KeyHash, end: WallMs, now: WallMs) -> bool {
        let mut book = self.owed.book();
        if book.unnoted.len() >= UNNOTED && !book.unnoted.contains_key(&url) {
            book.unnoted.retain(|_, end| *end > now);
            if book.unnoted.len() >= UNNOTED {
                return false;
            }
        }
        let until = book.unnoted.entry(url).or_default();
        *until = end.max(*until);
        true
    }

    /// When the records end that a URL has here under keys that could not be noted.
    pub fn unnoted(&self, url: KeyHash) -> Ends {
        self.owed.book().unnoted.get(&url).map_or(Ends::NOTHING, |end| Ends::at(*end))
    }

    /// Covers here what was kept under keys that could not be noted: other instances that handled unsafe
    /// requests have not found it. Returns whether there was anything.
    pub fn cover_unnoted(&self, number: Number) -> bool {
        let unnoted = std::mem::take(&mut self.owed.book().unnoted);
        for (url, end) in &unnoted {
            self.cover_here(*url, number, end.saturating_add(millis(SLACK)));
        }
        !unnoted.is_empty()
    }
}

// === impl Paid ===

impl Paid {
    fn add(&mut self, number: Option<Number>) {
        if let Some(number) = number {
            self.count += 1;
            self.number = self.number.max(number);
        }
    }
}

// === impl Owed ===

impl Owed {
    fn book(&self) -> MutexGuard<'_, Book> {
        // Each change is made in one step: a panic elsewhere broke nothing.
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
