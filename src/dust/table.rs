//! Leases and fenced entries without clocks, threads or I/O of their own.
//!
//! A [`Table`] decides; [`Entries`] keeps entries and bytes. The caller passes the time to every call, and
//! emits the change that it returns to its [`super::Hub`] before any other use of the table: so
//! events are in the order of their numbers.
//!
//! Leases are in memory, on the monotonic clock, and are lost with the process. Entries expire on the
//! wall clock, which a restart does not reset.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use foldhash::fast::RandomState;
use tokio::time::Instant;

use super::entries::{Body, Carried, Deed, Entries, Kept, Names, Receipt, Row, Until, owners};
use super::{
    Change, Entry, Error, Findings, Grant, Holder, Inquiry, Landing, Lease, LeaseRequest, Lock, Number,
    Publication, Publish, Put, Renewal, Result, Value, What, Written,
};
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

/// What a call did.
#[derive(Debug)]
pub struct Done<T> {
    /// The answer, valid once `receipt` reports success.
    pub answer: T,
    /// The changes to emit to the hub, in this order.
    pub changes: [Option<Change>; 3],
    /// Reports when the result is kept.
    pub receipt: Receipt,
}

/// The leases and entries of an embedded store.
#[derive(Debug)]
pub struct Table<E> {
    entries: E,
    leases: HashMap<Arc<str>, HeldLease, RandomState>,
    last: Number,
    sweep_at: usize,
}

#[derive(Debug, Clone)]
struct HeldLease {
    token: Number,
    holder: Holder,
    until: Instant,
}

// === impl Table ===

impl<E: Entries> Table<E> {
    /// A table without leases. Its numbers are above `last`, which must be at least the highest
    /// that was ever given for these entries.
    pub fn new(entries: E, last: Number) -> Self {
        Self { entries, leases: HashMap::default(), last, sweep_at: 64 }
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

    /// Reports when all that was written so far survives the process.
    pub fn flush(&mut self, now: Now) -> Result<Receipt> {
        self.entries.write(Vec::new(), Until::Written, now.wall)
    }

    /// Copies the table, with its entries into `entries`.
    pub fn copied<F: Entries>(&self, mut entries: F, now: Now) -> Result<Table<F>> {
        entries.write(self.entries.copy()?, Until::Written, now.wall)?;
        Ok(Table { entries, leases: self.leases.clone(), last: self.last, sweep_at: self.sweep_at })
    }

    /// How much is kept.
    pub fn kept(&self) -> Kept {
        self.entries.kept()
    }

    /// See [`super::Dust::entry`].
    pub fn entry(&self, now: Now, key: &str) -> Result<Option<Entry>> {
        if let Some(held) = self.live(now, key) {
            return Ok(Some(held.entry(now)));
        }
        Ok(self.row(now, key)?.map(Row::entry))
    }

    /// See [`super::Dust::entry_with_body`]. The body is left out if the entry has the number `known`.
    pub fn entry_with_body(
        &self,
        now: Now,
        key: &str,
        known: Number,
    ) -> Result<Option<(Entry, Option<Bytes>)>> {
        if let Some(held) = self.live(now, key) {
            return Ok(Some((held.entry(now), None)));
        }
        let found = self.entries.get_with_body(key, known)?.filter(|(row, _)| row.lives(now));
        Ok(found.map(|(row, body)| (row.entry(), body.map(|body| body.bytes))))
    }

    /// See [`super::Dust::bytes`].
    pub fn bytes(&self, now: Now, name: &str) -> Result<Option<Bytes>> {
        let found = self.entries.bytes(name)?.filter(|carried| carried.lives(now));
        Ok(found.map(|carried| carried.bytes))
    }

    /// See [`super::Dust::put_bytes`].
    pub fn put_bytes(&mut self, now: Now, name: &str, bytes: &Bytes, lives: Duration) -> Result<Receipt> {
        let carried = Carried::new(now, name, bytes, lives)?;
        self.entries.write(vec![Deed::Carry { name: name.into(), carried }], Until::Ordered, now.wall)
    }

    /// See [`super::Dust::remove_bytes`].
    pub fn remove_bytes(&mut self, now: Now, names: &[String]) -> Result<Receipt> {
        let mut deeds = Vec::with_capacity(names.len());
        for name in names {
            match self.beside(name)? {
                Some((key, row)) => deeds.push(Deed::Put { key: key.into(), row, body: None }),
                None => deeds.push(Deed::Discard { name: name.as_str().into() }),
            }
        }
        self.entries.write(deeds, Until::Written, now.wall)
    }

    /// See [`super::Dust::enter`].
    pub fn enter(&mut self, now: Now, inquiry: Inquiry<'_>) -> Result<Done<Findings>> {
        let Inquiry { value, verdict, lock, known, lease } = inquiry;
        let view = self.entries.look(&Names { value, verdict, lock }, known.value)?;
        let (value, body) = match (self.live(now, value), view.value) {
            (Some(held), _) => (Some(held.entry(now)), None),
            (None, Some((row, body))) if row.lives(now) => (Some(row.entry()), body.map(|body| body.bytes)),
            (None, _) => (None, None),
        };
        let verdict = match (self.live(now, verdict), view.verdict) {
            (Some(held), _) => Some(held.entry(now)),
            (None, row) => row.filter(|row| row.lives(now)).map(Row::entry),
        };
        let occupied = view.lock.is_some_and(|row| row.lives(now));
        let done = match lease {
            Some(request) if known.covers(value.as_ref(), verdict.as_ref()) => {
                self.grant(now, lock, request, occupied).map(Lock::from)
            }
            _ => Done::unchanged(match self.live(now, lock) {
                Some(held) => held.told(now).into(),
                None if occupied => Lock::Occupied,
                None => Lock::Free,
            }),
        };
        Ok(done.map(|lock| Findings { value, body, verdict, lock }))
    }

    /// See [`super::Dust::publish`].
    pub fn publish(&mut self, now: Now, publication: Publication<'_>) -> Result<Done<Landing>> {
        let Publication { lease, value, verdict } = publication;
        if !self.passes(now, Some(lease)) {
            return Ok(Done::unchanged(Landing::Fenced));
        }
        let mut deeds = Vec::with_capacity(2);
        let mut changes = [const { None }; 3];
        let mut number = self.last;
        if let Some(value) = value {
            number += 1;
            let key: Arc<str> = value.key.into();
            self.deeds_of(now, &key, number, value, &mut deeds)?;
            changes[0] = Some(Change { key, what: What::Set { lives: value.expires_in }, number });
        }
        if let Some(note) = verdict {
            number += 1;
            let key: Arc<str> = note.key.into();
            let row = Row::new(now, note.text, number, note.expires_in);
            deeds.push(Deed::Put { key: key.clone(), row, body: None });
            changes[1] = Some(Change { key, what: What::Set { lives: note.expires_in }, number });
        }
        let receipt = if deeds.is_empty() {
            Receipt::Kept
        } else {
            self.entries.write(deeds, Until::Ordered, now.wall)?
        };
        self.last = number;
        for change in changes.iter().flatten() {
            self.leases.remove(&change.key);
        }
        let first = changes.iter().flatten().next().map_or(0, |change| change.number);
        if let Some((key, held)) = self.leases.remove_entry(&*lease.key) {
            changes[2] = Some(Change { key, what: What::Release, number: held.token });
        }
        Ok(Done { answer: Landing::At(first), changes, receipt })
    }

    /// Adds what publishing `value` changes.
    fn deeds_of(
        &self,
        now: Now,
        key: &Arc<str>,
        number: Number,
        value: Publish<'_>,
        deeds: &mut Vec<Deed>,
    ) -> Result<()> {
        let row = Row::new(now, value.text, number, value.expires_in);
        let mut body = value.body.map(|beside| Body::of(key, beside)).transpose()?;
        for name in value.keeps {
            match name.strip_prefix(&**key).and_then(|tail| tail.strip_prefix('/')) {
                // It may lie beside the row that is replaced now.
                Some(tail) if body.is_none() => {
                    let earlier = self.entries.get_with_body(key, 0)?.filter(|(row, _)| row.lives(now));
                    body = earlier.and_then(|(_, body)| body).filter(|body| *body.tail == *tail);
                }
                _ => {}
            }
            let is_beside = body.as_ref().is_some_and(|body| body.is_named(key, name));
            if !is_beside {
                deeds.push(Deed::Prolong { name: name.as_str().into(), expires_at: row.expires_at });
            }
        }
        deeds.push(Deed::Put { key: key.clone(), row, body });
        Ok(())
    }

    /// Returns the row that the bytes under `name` lie beside, if they do.
    fn beside<'a>(&self, name: &'a str) -> Result<Option<(&'a str, Row)>> {
        for (key, tail) in owners(name) {
            if let Some((row, Some(body))) = self.entries.get_with_body(key, 0)?
                && *body.tail == *tail
            {
                return Ok(Some((key, row)));
            }
        }
        Ok(None)
    }

    /// See [`super::Dust::put`].
    pub fn put(&mut self, now: Now, key: &str, value: &str, how: Put<'_>) -> Result<Done<Written>> {
        if !self.passes(now, how.fence) {
            return Ok(Done::unchanged(Written::Fenced));
        }
        let number = self.last + 1;
        let key: Arc<str> = key.into();
        let row = Row::new(now, value, number, how.expires_in);
        let until = if how.durable { Until::Durable } else { Until::Written };
        let receipt =
            self.entries.write(vec![Deed::Put { key: key.clone(), row, body: None }], until, now.wall)?;
        Ok(self.wrote(key, What::Set { lives: how.expires_in }, receipt))
    }

    /// See [`super::Dust::delete`].
    pub fn delete(&mut self, now: Now, key: &str, fence: Option<&Lease>) -> Result<Done<Written>> {
        if !self.passes(now, fence) {
            return Ok(Done::unchanged(Written::Fenced));
        }
        let key: Arc<str> = key.into();
        let deeds = vec![Deed::Remove { key: key.clone() }];
        let receipt = self.entries.write(deeds, Until::Written, now.wall)?;
        Ok(self.wrote(key, What::Delete, receipt))
    }

    /// See [`super::Dust::announce`].
    pub fn announce(&mut self, key: &str, lives: Duration) -> Done<Number> {
        self.last += 1;
        Done::changed(self.last, key.into(), What::Set { lives: Some(lives) }, self.last)
    }

    /// See [`super::Dust::lease`].
    pub fn lease(&mut self, now: Now, key: &str, request: LeaseRequest<'_>) -> Result<Done<Grant>> {
        let occupied = self.live(now, key).is_none() && self.row(now, key)?.is_some();
        Ok(self.grant(now, key, request, occupied))
    }

    /// Grants a lease unless another holder has it or, `occupied`, a row is at its key.
    fn grant(&mut self, now: Now, key: &str, request: LeaseRequest<'_>, occupied: bool) -> Done<Grant> {
        let LeaseRequest { ttl, holder, seen } = request;
        let until = now.mono + ttl.min(MAX_TTL);
        if let Some((key, held)) = self.leases.get_key_value(key).filter(|(_, held)| held.lives(now)) {
            let (key, token) = (key.clone(), held.token);
            if held.holder != *holder {
                return Done::unchanged(held.told(now));
            }
            let lease = Lease { key: (*key).into(), token, holder: holder.clone() };
            // The very same lease: waiters see a renewal.
            self.leases.entry(key.clone()).and_modify(|held| held.until = until);
            return Done::changed(Grant::Granted(lease), key, What::Renew(ttl), token);
        }
        if occupied {
            return Done::unchanged(Grant::Occupied);
        }
        let token = self.last.max(seen) + 1;
        self.last = token;
        self.sweep(now);
        let lease = Lease { key: key.into(), token, holder: holder.clone() };
        let key: Arc<str> = key.into();
        self.leases.insert(key.clone(), HeldLease { token, holder: holder.clone(), until });
        Done::changed(Grant::Granted(lease), key, What::Lease(ttl), token)
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
        Done { answer: Written::At(self.last), changes: [Some(change), None, None], receipt }
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

// === impl Now ===

impl Now {
    /// The time on the wall clock after `lives`.
    pub fn after(self, lives: Duration) -> WallMs {
        self.wall.saturating_add(millis(lives))
    }
}

// === impl HeldLease ===

impl HeldLease {
    fn told(&self, now: Now) -> Grant {
        let rest = Some(self.until.duration_since(now.mono));
        Grant::Held { rest, token: Some(self.token), holder: Some(self.holder.clone()) }
    }

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

// === impl Done ===

impl<T> Done<T> {
    fn unchanged(answer: T) -> Self {
        Self { answer, changes: [None, None, None], receipt: Receipt::Kept }
    }

    fn changed(answer: T, key: Arc<str>, what: What, number: Number) -> Self {
        Self { answer, changes: [Some(Change { key, what, number }), None, None], receipt: Receipt::Kept }
    }

    fn map<U>(self, what: impl FnOnce(T) -> U) -> Done<U> {
        Done { answer: what(self.answer), changes: self.changes, receipt: self.receipt }
    }
}
