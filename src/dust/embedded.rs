//! The store in this process: it needs no server.
//!
//! [`Embedded::memory`] answers inline, without threads, so it runs under paused time and in
//! simulations. [`Embedded::open`] keeps entries in a file ([`super::sqlite`]): an answered write
//! survives the process, and a [`Put::durable`] one a power cut too. Leases and numbers are
//! decided in memory in both, by the same [`Table`].

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::Instant;

use super::bucket::{Bucket, BucketTerms, Draw, Drawn};
use super::entries::{Deed, Entries, Kept, Until, Usage};
use super::hub::{Changes, Feed, Hub};
use super::memory::Memory;
use super::sqlite::Sqlite;
use super::sqlite::warm::Warmer;
use super::table::{Done, Now, Table};
use super::{
    Dust, Entry, Error, Findings, Grant, Holder, Inquiry, Landing, Lease, LeaseRequest, Number, Panics,
    Publication, Put, Renewal, Result, Room, Traits, Written,
};
use crate::clock::{Clock, Dice, WallMs};

/// How much an embedded store keeps. A write beyond it fails with [`Error::Unavailable`].
///
/// The last sixteenth is reserved for durable writes and for those that live for a minute or less: a
/// full store must still accept purges and signs of life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Entries.
    pub count: u64,
    /// Bytes of keys and values together.
    pub bytes: u64,
    /// Bytes that are carried: those beside values and those under names of their own.
    pub carried: u64,
}

/// The embedded store.
pub struct Embedded {
    table: Mutex<Table<Box<dyn Entries>>>,
    buckets: Buckets,
    warmer: Option<Arc<Warmer>>,
    hub: Arc<Hub>,
    clock: Arc<dyn Clock>,
    limits: Limits,
    store_id: String,
    shared: bool,
}

/// Buckets of tokens. They are in memory alone: after a restart they are full.
struct Buckets {
    made: Instant,
    by_name: Mutex<HashMap<String, Bucket>>,
}

// === impl Limits ===

impl Limits {
    /// Checks that all `deeds` may be done, as if what they write were new.
    pub fn admit(&self, mut kept: Kept, deeds: &[Deed], until: Until, now: WallMs) -> Result<()> {
        for deed in deeds {
            kept.add(deed);
            let expires_at = match deed {
                Deed::Put { row, .. } => row.expires_at,
                Deed::Carry { carried, .. } => carried.expires_at,
                Deed::Remove { .. } | Deed::Prolong { .. } | Deed::Discard { .. } => continue,
            };
            let small_sign =
                until == Until::Durable || expires_at.is_some_and(|at| at <= now.saturating_add(60_000));
            let most = |limit: u64| if small_sign { limit } else { limit - limit / 16 };
            if kept.entries.count > most(self.count)
                || kept.entries.bytes > most(self.bytes)
                || kept.carried > most(self.carried)
            {
                return Err(Error::Unavailable("full".into()));
            }
        }
        Ok(())
    }
}

impl Default for Limits {
    /// 4 Mi entries, 1 GiB; 12.5 GiB of carried bytes.
    fn default() -> Self {
        Self { count: 4 << 20, bytes: 1 << 30, carried: 25 << 29 }
    }
}

// === impl Buckets ===

impl Buckets {
    fn new() -> Self {
        Self { made: Instant::now(), by_name: Mutex::default() }
    }

    fn draw(&self, name: &str, terms: BucketTerms, draw: Draw) -> Drawn {
        let now_us = u64::try_from(self.made.elapsed().as_micros()).unwrap_or(u64::MAX);
        // A bucket changes in one step that cannot panic half way.
        let mut buckets = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = buckets.entry(name.to_owned()).or_insert_with(|| Bucket::full(terms, now_us));
        bucket.draw(now_us, terms, draw)
    }
}

// === impl Embedded ===

impl Embedded {
    /// A store in memory, lost with the process (`embedded:`).
    pub fn memory(clock: Arc<dyn Clock>) -> Self {
        Self::memory_with(clock, Limits::default(), &Dice::new())
    }

    /// The same with other limits; its id comes from `dice`.
    pub fn memory_with(clock: Arc<dyn Clock>, limits: Limits, dice: &Dice) -> Self {
        let entries: Box<dyn Entries> = Box::new(Memory::new(limits));
        let table = Mutex::new(Table::new(entries, 0));
        let hub = Arc::new(Hub::new());
        Self {
            table,
            buckets: Buckets::new(),
            warmer: None,
            hub,
            clock,
            limits,
            store_id: dice.name(),
            shared: false,
        }
    }

    /// The same store, shared by several instances in this process: a simulated fleet.
    #[must_use]
    pub fn in_common(self) -> Self {
        Self { shared: true, ..self }
    }

    /// Copies the store into memory: the same life, entries and leases. From then on both are
    /// independent, numbers included.
    ///
    /// # Errors
    /// The entries can't be read.
    pub fn replica(&self, clock: Arc<dyn Clock>) -> Result<Self> {
        let entries: Box<dyn Entries> = Box::new(Memory::new(self.limits));
        let table = Mutex::new(self.table().copied(entries, self.now())?);
        let (limits, store_id, shared) = (self.limits, self.store_id.clone(), self.shared);
        let (buckets, hub) = (Buckets::new(), Arc::new(Hub::new()));
        Ok(Self { table, buckets, warmer: None, hub, clock, limits, store_id, shared })
    }

    /// Opens the store in the directory `path` (`embedded:PATH`), which is made if it is missing. Blocks
    /// on the disk for a few milliseconds, however much is stored. Its calls need a tokio runtime.
    ///
    /// # Errors
    /// [`Error::Refused`] if another process has it open, or it cannot be written;
    /// [`Error::Broken`] if its file is damaged. Both name the path.
    pub fn open(path: &Path, clock: Arc<dyn Clock>, limits: Limits) -> Result<Self> {
        let hub = Arc::new(Hub::new());
        let (entries, store_id, last) = Sqlite::open(path, limits, hub.clone(), &Dice::new())?;
        let warmer = Some(entries.warmer());
        let entries: Box<dyn Entries> = Box::new(entries);
        let table = Mutex::new(Table::new(entries, last));
        Ok(Self { table, buckets: Buckets::new(), warmer, hub, clock, limits, store_id, shared: false })
    }

    /// The id of this life of the store: another one after it was emptied or made anew.
    pub fn store_id(&self) -> &str {
        &self.store_id
    }

    /// How many entries are kept, expired ones that are not yet swept included.
    pub fn count(&self) -> u64 {
        self.table().kept().entries.count
    }

    /// The bytes of their keys and values.
    pub fn weight(&self) -> u64 {
        self.table().kept().entries.bytes
    }

    /// The limits of [`Embedded::count`] and [`Embedded::weight`].
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// How many [`Changes`] and [`Feed`]s are alive.
    pub fn subscriptions(&self) -> usize {
        self.hub.len()
    }

    fn now(&self) -> Now {
        Now { mono: Instant::now(), wall: self.clock.wall_ms() }
    }

    fn table(&self) -> MutexGuard<'_, Table<Box<dyn Entries>>> {
        // The table changes its fields last, after everything that can fail.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn warm(&self, key: &str) {
        if let Some(warmer) = &self.warmer {
            warmer.warm(key).await;
        }
    }

    /// Runs `what`, which may give a number above `seen`, on the table, and waits until the result is
    /// kept.
    async fn number<T>(
        &self,
        seen: Number,
        what: impl FnOnce(&mut Table<Box<dyn Entries>>, Now) -> Result<Done<T>> + Send,
    ) -> Result<T> {
        let done = loop {
            let wait = {
                let (mut table, now) = (self.table(), self.now());
                match table.reserve(now, seen)? {
                    None => break self.tell(what(&mut table, now)?),
                    Some(receipt) => receipt,
                }
            };
            wait.kept().await?;
        };
        done.receipt.kept().await?;
        Ok(done.answer)
    }

    /// Emits the changes while the table is still locked: so events keep the order of numbers.
    fn tell<T>(&self, mut done: Done<T>) -> Done<T> {
        for change in done.changes.iter_mut().filter_map(Option::take) {
            self.hub.emit(change);
        }
        done
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Dust for Embedded {
    async fn entry(&self, key: &str) -> Result<Option<Entry>> {
        self.warm(key).await;
        let table = self.table();
        table.entry(self.now(), key)
    }

    async fn put(&self, key: &str, value: &str, how: Put<'_>) -> Result<Written> {
        self.number(0, |table, now| table.put(now, key, value, how)).await
    }

    async fn delete(&self, key: &str, fence: Option<&Lease>) -> Result<Written> {
        self.number(0, |table, now| table.delete(now, key, fence)).await
    }

    async fn announce(&self, key: &str, lives: Duration) -> Result<Number> {
        self.number(0, |table, _| Ok(table.announce(key, lives))).await
    }

    async fn lease(&self, key: &str, ttl: Duration, holder: &Holder, seen: Number) -> Result<Grant> {
        self.warm(key).await;
        let request = LeaseRequest { ttl, holder, seen };
        self.number(seen, |table, now| table.lease(now, key, request)).await
    }

    async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<Renewal> {
        let (mut table, now) = (self.table(), self.now());
        Ok(self.tell(table.renew(now, lease, ttl)).answer)
    }

    async fn release(&self, lease: &Lease) -> Result<()> {
        let (mut table, now) = (self.table(), self.now());
        self.tell(table.release(now, lease));
        Ok(())
    }

    async fn release_holder(&self, key: &str, holder: &Holder) -> Result<()> {
        let (mut table, now) = (self.table(), self.now());
        self.tell(table.release_holder(now, key, holder));
        Ok(())
    }

    async fn enter(&self, inquiry: Inquiry<'_>) -> Result<Findings> {
        self.warm(inquiry.value).await;
        self.warm(inquiry.lock).await;
        if let Some(LeaseRequest { seen, .. }) = inquiry.lease {
            return self.number(seen, |table, now| table.enter(now, inquiry)).await;
        }
        let (mut table, now) = (self.table(), self.now());
        Ok(table.enter(now, inquiry)?.answer)
    }

    async fn publish(&self, publication: Publication<'_>) -> Result<Landing> {
        self.number(0, |table, now| table.publish(now, publication)).await
    }

    async fn entry_with_body(&self, key: &str) -> Result<Option<(Entry, Option<Bytes>)>> {
        self.warm(key).await;
        let table = self.table();
        table.entry_with_body(self.now(), key, 0)
    }

    async fn bytes(&self, name: &str) -> Result<Option<Bytes>> {
        let table = self.table();
        table.bytes(self.now(), name)
    }

    async fn put_bytes(&self, name: &str, bytes: &Bytes, lives: Duration) -> Result<()> {
        let receipt = {
            let (mut table, now) = (self.table(), self.now());
            table.put_bytes(now, name, bytes, lives)?
        };
        receipt.kept().await
    }

    async fn remove_bytes(&self, names: &[String]) -> Result<()> {
        let receipt = {
            let (mut table, now) = (self.table(), self.now());
            table.remove_bytes(now, names)?
        };
        receipt.kept().await
    }

    async fn draw(&self, name: &str, terms: BucketTerms, draw: Draw) -> Result<Option<Drawn>> {
        Ok(Some(self.buckets.draw(name, terms, draw)))
    }

    async fn flush(&self) -> Result<()> {
        let receipt = {
            let (mut table, now) = (self.table(), self.now());
            table.flush(now)?
        };
        receipt.kept().await
    }

    async fn on(&self, keys: &[&str]) -> Result<Changes> {
        Ok(self.hub.on(keys))
    }

    async fn feed(&self) -> Result<Feed> {
        Ok(self.hub.feed())
    }

    async fn entries(&self, prefix: &str) -> Result<Vec<(String, Entry)>> {
        self.table().entries(self.now(), prefix)
    }

    async fn part(&self, prefix: &str, from: Option<&str>) -> Result<super::Part> {
        let _ = from;
        Ok(super::Part { entries: self.entries(prefix).await?, next: None })
    }

    async fn life(&self, _propose: Option<&str>) -> Result<Option<Arc<str>>> {
        Ok(Some(self.store_id.as_str().into()))
    }

    fn now_ms(&self) -> WallMs {
        self.clock.wall_ms()
    }

    fn ceiling(&self) -> Number {
        self.table().last()
    }

    fn impossible(&self) -> u64 {
        0
    }

    fn lacks(&self) -> Option<Arc<str>> {
        None
    }

    fn panics(&self) -> Panics {
        Panics::default()
    }

    fn offset_ms(&self) -> i64 {
        0
    }

    fn shared(&self) -> bool {
        self.shared
    }

    fn traits(&self) -> Traits {
        Traits::HERE
    }

    fn kind(&self) -> &'static str {
        "embedded"
    }

    fn room(&self) -> Option<Room> {
        let Limits { count, bytes, carried } = self.limits;
        let kept = self.table().kept();
        let limit = Usage { count, bytes };
        Some(Room { used: kept.entries, limit, carried: kept.carried, may_carry: carried })
    }
}

impl fmt::Debug for Embedded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Embedded").field("store_id", &self.store_id).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
