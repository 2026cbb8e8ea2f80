//! Leases and fenced entries without clocks, threads or I/O of their own.
//!
//! A [`Table`] decides; [`Entries`] keeps the entries. The caller passes the time to every call, and
//! emits the change that it returns to its [`super::Hub`] before any other use of the table: so
//! events are in the order of their numbers.
//!
//! Leases are in memory, on the monotonic clock, and are lost with the process. Entries expire on the
//! wall clock, which a restart does not reset.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{Change, Entry, Error, Grant, Holder, Lease, Number, Put, Renewal, Result, Value, What, Written};
use crate::clock::{WallMs, millis};

/// The longest time to live of a lease; a longer one is cut to it. About a century, which a monotonic
/// clock can still add.
const MAX_TTL: Duration = Duration::from_hours(100 * 365 * 24);

/// The highest number. No store counts that far; a caller that claims to have seen a higher one would
/// use up the numbers of all.
const MAX_NUMBER: Number = 1 << 62;

/// The time of a call.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// The clock of leases.
    pub mono: Instant,
    /// The clock of entries' expiry.
    pub wall: WallMs,
}

/// Where entries are kept. It may return expired ones: the table checks the time.
pub trait Entries: Send {
    /// Returns the row at `key`.
    fn get(&self, key: &str) -> Result<Option<Row>>;

    /// Keeps `row` at `key`: [`Entries::get`] returns it from now on. An error means that nothing was
    /// changed; an error of the [`Receipt`] means that the write was undone.
    fn put(&mut self, key: &Arc<str>, row: Row, durable: bool, now: WallMs) -> Result<Receipt>;

    /// Removes the row at `key`.
    fn remove(&mut self, key: &Arc<str>, number: Number, now: WallMs) -> Result<Receipt>;

    /// Returns all rows whose keys begin with `prefix`, in the order of their keys.
    fn range(&self, prefix: &str) -> Result<Vec<(String, Row)>>;

    /// How much is kept, expired but not yet swept rows included.
    fn usage(&self) -> Usage;

    /// Ensures that no later start with these entries gives `number` again. `None`: that is ensured;
    /// otherwise it is when the receipt reports it.
    fn reserve(&mut self, number: Number, now: WallMs) -> Result<Option<Receipt>>;
}

/// A kept value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The text.
    pub value: Arc<str>,
    /// The number it was written under.
    pub number: Number,
    /// When it expires.
    pub expires_at: Option<WallMs>,
}

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Rows.
    pub count: u64,
    /// Bytes of keys and values.
    pub bytes: u64,
}

/// Reports when a write is kept.
#[derive(Debug)]
pub enum Receipt {
    /// It is kept already.
    Kept,
    /// It is kept when this reports success.
    Later(oneshot::Receiver<Result<()>>),
}

/// What a call did.
#[derive(Debug)]
pub struct Done<T> {
    /// The answer, valid once `receipt` reports success.
    pub answer: T,
    /// The change to emit to the hub.
    pub change: Option<Change>,
    /// Reports when the result is kept.
    pub receipt: Receipt,
}

/// The leases and entries of an embedded store.
#[derive(Debug)]
pub struct Table<E> {
    entries: E,
    leases: HashMap<Arc<str>, HeldLease>,
    last: Number,
    sweep_at: usize,
}

#[derive(Debug, Clone)]
struct HeldLease {
    token: Number,
    holder: Holder,
    until: Instant,
}

#[deny(clippy::missing_trait_methods)]
impl<E: Entries + ?Sized> Entries for Box<E> {
    fn get(&self, key: &str) -> Result<Option<Row>> {
        (**self).get(key)
    }

    fn put(&mut self, key: &Arc<str>, row: Row, durable: bool, now: WallMs) -> Result<Receipt> {
        (**self).put(key, row, durable, now)
    }

    fn remove(&mut self, key: &Arc<str>, number: Number, now: WallMs) -> Result<Receipt> {
        (**self).remove(key, number, now)
    }

    fn range(&self, prefix: &str) -> Result<Vec<(String, Row)>> {
        (**self).range(prefix)
    }

    fn usage(&self) -> Usage {
        (**self).usage()
    }

    fn reserve(&mut self, number: Number, now: WallMs) -> Result<Option<Receipt>> {
        (**self).reserve(number, now)
    }
}

// === impl Table ===

impl<E: Entries> Table<E> {
    /// A table without leases. Its numbers are above `last`, which must be at least the highest
    /// that was ever given for these entries.
    pub fn new(entries: E, last: Number) -> Self {
        Self { entries, leases: HashMap::new(), last, sweep_at: 64 }
    }

    /// The highest number given so far.
    pub fn last(&self) -> Number {
        self.last
    }

    /// Must be called before a call that may give a number above `seen`. If it returns a receipt, wait for
    /// that and call it again.
    pub fn reserve(&mut self, now: Now, seen: Number) -> Result<Option<Receipt>> {
        let number = self.last.max(seen).saturating_add(1);
        if number > MAX_NUMBER {
            return Err(Error::Refused(format!("{seen} is no number of a store")));
        }
        self.entries.reserve(number, now.wall)
    }

    /// Copies the table, with its entries into `entries`.
    pub fn copied<F: Entries>(&self, mut entries: F, now: Now) -> Result<Table<F>> {
        for (key, row) in self.entries.range("")? {
            entries.put(&key.into(), row, false, now.wall)?;
        }
        Ok(Table { entries, leases: self.leases.clone(), last: self.last, sweep_at: self.sweep_at })
    }

    /// Where entries are kept.
    pub fn kept(&self) -> &E {
        &self.entries
    }

    /// See [`super::Dust::entry`].
    pub fn entry(&self, now: Now, key: &str) -> Result<Option<Entry>> {
        if let Some(held) = self.live(now, key) {
            return Ok(Some(held.entry(now)));
        }
        Ok(self.row(now, key)?.map(Row::entry))
    }

    /// See [`super::Dust::put`].
    pub fn put(&mut self, now: Now, key: &str, value: &str, how: Put<'_>) -> Result<Done<Written>> {
        if !self.passes(now, how.fence) {
            return Ok(Done::unchanged(Written::Fenced));
        }
        let number = self.last + 1;
        let expires_at = how.expires_in.map(|ttl| now.wall.saturating_add(millis(ttl)));
        let key: Arc<str> = key.into();
        let row = Row { value: value.into(), number, expires_at };
        let receipt = self.entries.put(&key, row, how.durable, now.wall)?;
        Ok(self.wrote(key, What::Set { lives: how.expires_in }, receipt))
    }

    /// See [`super::Dust::delete`].
    pub fn delete(&mut self, now: Now, key: &str, fence: Option<&Lease>) -> Result<Done<Written>> {
        if !self.passes(now, fence) {
            return Ok(Done::unchanged(Written::Fenced));
        }
        let key: Arc<str> = key.into();
        let receipt = self.entries.remove(&key, self.last + 1, now.wall)?;
        Ok(self.wrote(key, What::Delete, receipt))
    }

    /// See [`super::Dust::announce`].
    pub fn announce(&mut self, key: &str, lives: Duration) -> Done<Number> {
        self.last += 1;
        Done::changed(self.last, key.into(), What::Set { lives: Some(lives) }, self.last)
    }

    /// See [`super::Dust::lease`].
    pub fn lease(
        &mut self,
        now: Now,
        key: &str,
        ttl: Duration,
        holder: &Holder,
        seen: Number,
    ) -> Result<Done<Grant>> {
        let until = now.mono + ttl.min(MAX_TTL);
        if let Some((key, held)) = self.leases.get_key_value(key).filter(|(_, held)| held.lives(now)) {
            let (key, token) = (key.clone(), held.token);
            if held.holder != *holder {
                let rest = Some(held.until.duration_since(now.mono));
                return Ok(Done::unchanged(Grant::Held {
                    rest,
                    token: Some(token),
                    holder: Some(held.holder.clone()),
                }));
            }
            let lease = Lease { key: (*key).into(), token, holder: holder.clone() };
            // The very same lease: waiters see a renewal.
            self.leases.entry(key.clone()).and_modify(|held| held.until = until);
            return Ok(Done::changed(Grant::Granted(lease), key, What::Renew(ttl), token));
        }
        if self.row(now, key)?.is_some() {
            return Ok(Done::unchanged(Grant::Occupied));
        }
        let token = self.last.max(seen) + 1;
        self.last = token;
        self.sweep(now);
        let lease = Lease { key: key.into(), token, holder: holder.clone() };
        let key: Arc<str> = key.into();
        self.leases.insert(key.clone(), HeldLease { token, holder: holder.clone(), until });
        Ok(Done::changed(Grant::Granted(lease), key, What::Lease(ttl), token))
    }

    /// See [`super::Dust::renew`].
    pub fn renew(&mut self, now: Now, lease: &Lease, ttl: Duration) -> Done<Renewal> {
        let until = now.mono + ttl.min(MAX_TTL);
        match self.leases.get_mut(&*lease.key) {
            Some(held) if held.is(now, lease) => {
                held.until = until;
                Done::changed(Renewal::Renewed, (*lease.key).into(), What::Renew(ttl), lease.token)
            }
            _ => Done::unchanged(Renewal::NotHeld),
        }
    }

    /// See [`super::Dust::release`].
    pub fn release(&mut self, now: Now, lease: &Lease) -> Done<()> {
        self.release_if(&lease.key, |held| held.lives(now) && held.token == lease.token)
    }

    /// See [`super::Dust::release_holder`].
    pub fn release_holder(&mut self, now: Now, key: &str, holder: &Holder) -> Done<()> {
        self.release_if(key, |held| held.lives(now) && held.holder == *holder)
    }

    /// See [`super::Dust::entries`].
    pub fn entries(&self, now: Now, prefix: &str) -> Result<Vec<(String, Entry)>> {
        let live = |row: &Row| row.lives(now);
        let mut all: Vec<(String, Entry)> = self
            .entries
            .range(prefix)?
            .into_iter()
            .filter(|(key, row)| live(row) && self.live(now, key).is_none())
            .map(|(key, row)| (key, row.entry()))
            .collect();
        let leases = self.leases.iter().filter(|(key, held)| key.starts_with(prefix) && held.lives(now));
        all.extend(leases.map(|(key, held)| ((**key).into(), held.entry(now))));
        all.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        Ok(all)
    }

    fn passes(&self, now: Now, fence: Option<&Lease>) -> bool {
        fence.is_none_or(|lease| self.leases.get(&*lease.key).is_some_and(|held| held.is(now, lease)))
    }

    fn wrote(&mut self, key: Arc<str>, what: What, receipt: Receipt) -> Done<Written> {
        self.last += 1;
        // A plain write to a lock key ends the lease, as on the Dust server.
        self.leases.remove(&key);
        let change = Change { key, what, number: self.last };
        Done { answer: Written::At(self.last), change: Some(change), receipt }
    }

    fn release_if(&mut self, key: &str, theirs: impl FnOnce(&HeldLease) -> bool) -> Done<()> {
        if !self.leases.get(key).is_some_and(theirs) {
            return Done::unchanged(());
        }
        match self.leases.remove_entry(key) {
            Some((key, held)) => Done::changed((), key, What::Release, held.token),
            None => Done::unchanged(()),
        }
    }

    fn live(&self, now: Now, key: &str) -> Option<&HeldLease> {
        self.leases.get(key).filter(|held| held.lives(now))
    }

    fn row(&self, now: Now, key: &str) -> Result<Option<Row>> {
        Ok(self.entries.get(key)?.filter(|row| row.lives(now)))
    }

    /// Removes expired leases each time that the number of leases has doubled.
    fn sweep(&mut self, now: Now) {
        if self.leases.len() >= self.sweep_at {
            self.leases.retain(|_, held| held.lives(now));
            self.sweep_at = (self.leases.len() * 2).max(64);
        }
    }
}

// === impl HeldLease ===

impl HeldLease {
    fn lives(&self, now: Now) -> bool {
        now.mono < self.until
    }

    fn is(&self, now: Now, lease: &Lease) -> bool {
        self.lives(now) && self.token == lease.token && self.holder == lease.holder
    }

    fn entry(&self, now: Now) -> Entry {
        let rest = Some(self.until.duration_since(now.mono));
        Entry { value: Value::Lease { rest }, number: self.token }
    }
}

// === impl Row ===

impl Row {
    /// The bytes that it counts for in the limits.
    pub fn bytes(&self, key: &str) -> u64 {
        (key.len() + self.value.len()) as u64
    }

    fn lives(&self, now: Now) -> bool {
        self.expires_at.is_none_or(|at| now.wall < at)
    }

    fn entry(self) -> Entry {
        Entry { value: Value::Text(self.value), number: self.number }
    }
}

// === impl Receipt ===

impl Receipt {
    /// Waits until the write is kept. Dropping this future does not undo the write.
    pub async fn kept(self) -> Result<()> {
        match self {
            Self::Kept => Ok(()),
            Self::Later(word) => word.await.unwrap_or_else(|_| Err(Error::Unavailable("closing".into()))),
        }
    }
}

// === impl Done ===

impl<T> Done<T> {
    fn unchanged(answer: T) -> Self {
        Self { answer, change: None, receipt: Receipt::Kept }
    }

    fn changed(answer: T, key: Arc<str>, what: What, number: Number) -> Self {
        Self { answer, change: Some(Change { key, what, number }), receipt: Receipt::Kept }
    }
}
