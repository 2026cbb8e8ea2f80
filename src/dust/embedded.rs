//! The store in this process: it needs no server.
//!
//! [`Embedded::memory`] answers inline, without threads, so it runs under paused time and in
//! simulations. [`Embedded::open`] keeps entries in a file ([`super::sqlite`]): an answered write
//! survives the process, and a [`Put::durable`] one a power cut too. Leases and numbers are
//! decided in memory in both, by the same [`Table`].

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use super::hub::{Changes, Feed, Hub};
use super::memory::Memory;
use super::sqlite::Sqlite;
use super::sqlite::warm::Warmer;
use super::table::{Done, Entries, Now, Row, Table, Usage};
use super::{Dust, Entry, Error, Grant, Holder, Lease, Number, Put, Renewal, Result, Room, Traits, Written};
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
}

/// The embedded store.
pub struct Embedded {
    table: Mutex<Table<Box<dyn Entries>>>,
    warmer: Option<Arc<Warmer>>,
    hub: Arc<Hub>,
    clock: Arc<dyn Clock>,
    limits: Limits,
    store_id: String,
    shared: bool,
}

// === impl Limits ===

impl Limits {
    /// Checks that `row` may be added, as if its key were new.
    pub fn admit(&self, now_kept: Usage, key: &str, row: &Row, durable: bool, now: WallMs) -> Result<()> {
        let small_sign = durable || row.expires_at.is_some_and(|at| at <= now.saturating_add(60_000));
        let kept_back = |limit: u64| if small_sign { 0 } else { limit / 16 };
        if now_kept.count >= self.count - kept_back(self.count)
            || now_kept.bytes.saturating_add(row.bytes(key)) > self.bytes - kept_back(self.bytes)
        {
            return Err(Error::Unavailable("full".into()));
        }
        Ok(())
    }
}

impl Default for Limits {
    /// 4 Mi entries, 1 GiB.
    fn default() -> Self {
        Self { count: 4 << 20, bytes: 1 << 30 }
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
        Self { table, warmer: None, hub, clock, limits, store_id: dice.name(), shared: false }
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
        Ok(Self { table, warmer: None, hub: Arc::new(Hub::new()), clock, limits, store_id, shared })
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
        Ok(Self { table, warmer, hub, clock, limits, store_id, shared: false })
    }

    /// The id of this life of the store: another one after it was emptied or made anew.
    pub fn store_id(&self) -> &str {
        &self.store_id
    }

    /// How many entries are kept, expired ones that are not yet swept included.
    pub fn count(&self) -> u64 {
        self.table().kept().usage().count
    }

    /// The bytes of their keys and values.
    pub fn weight(&self) -> u64 {
        self.table().kept().usage().bytes
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

    /// Emits the change while the table is still locked: so events keep the order of numbers.
    fn tell<T>(&self, mut done: Done<T>) -> Done<T> {
        if let Some(change) = done.change.take() {
            self.hub.emit(change);
        }
        done
    }
}

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
        self.number(seen, |table, now| table.lease(now, key, ttl, holder, seen)).await
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

    async fn on(&self, keys: &[&str]) -> Result<Changes> {
        Ok(self.hub.on(keys))
    }

    async fn feed(&self) -> Result<Feed> {
        Ok(self.hub.feed())
    }

    async fn entries(&self, prefix: &str) -> Result<Vec<(String, Entry)>> {
        self.table().entries(self.now(), prefix)
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
        let limit = Usage { count: self.limits.count, bytes: self.limits.bytes };
        Some(Room { used: self.table().kept().usage(), limit })
    }
}

impl fmt::Debug for Embedded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Embedded").field("store_id", &self.store_id).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    #[tokio::test]
    async fn it_tells_how_much_room_it_has() {
        let limits = Limits { count: 10, bytes: 1_000 };
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(0));
        let dust = Embedded::memory_with(clock, limits, &Dice::new());
        dust.put("a", "1234", Put::default()).await.unwrap();
        let room = dust.room().unwrap();
        assert_eq!(room.used, Usage { count: 1, bytes: 5 });
        assert_eq!(room.limit, Usage { count: 10, bytes: 1_000 });
    }
}
