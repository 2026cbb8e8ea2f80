//! The embedded store of a process that was started while its disk was full.
//!
//! Until the file can be opened, which is retried, every call fails with [`Error::Unavailable`] and the
//! file stays as it is. From then on calls go to that store. It reports itself as shared: this
//! instance was started without it, and has to find out which life it is in and what was purged in it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::sleep;

use super::bucket::{BucketTerms, Draw, Drawn};
use super::embedded::Limits;
use super::{
    Changes, Dust, Embedded, Entry, Error, Feed, Findings, Grant, Holder, Inquiry, Landing, Lease, Number,
    Panics, Part, Publication, Put, Renewal, Result, Room, Traits, Written,
};
use crate::clock::{Clock, WallMs};

/// The pause between attempts to open the file.
const AGAIN: Duration = Duration::from_secs(1);

/// An embedded store that is not open yet.
#[derive(Debug)]
pub struct Late {
    store: OnceLock<Embedded>,
    clock: Arc<dyn Clock>,
}

// === impl Late ===

impl Late {
    /// Tries to open the store in the directory `path` until that works or this is dropped. Needs a
    /// tokio runtime. The entry `first` (key and value) is written into an empty store before any caller
    /// can use it: it shows that the store's life has only begun.
    pub fn open(
        path: PathBuf,
        clock: Arc<dyn Clock>,
        limits: Limits,
        first: (String, &'static str),
    ) -> Arc<Self> {
        let late = Arc::new(Self { store: OnceLock::new(), clock: clock.clone() });
        let waiting = Arc::downgrade(&late);
        tokio::spawn(async move {
            loop {
                sleep(AGAIN).await;
                if waiting.strong_count() == 0 {
                    return;
                }
                let Ok(store) = try_open(&path, &clock, limits, &first).await else { continue };
                if let Some(late) = waiting.upgrade() {
                    // It is never set already: only this task sets it.
                    let _ = late.store.set(store);
                }
                return;
            }
        });
        late
    }

    fn store(&self) -> Result<&Embedded> {
        self.store.get().ok_or_else(|| Error::Unavailable("its file can't be opened yet".into()))
    }
}

async fn try_open(
    path: &Path,
    clock: &Arc<dyn Clock>,
    limits: Limits,
    (key, value): &(String, &'static str),
) -> Result<Embedded> {
    let (path, clock) = (path.to_owned(), clock.clone());
    let opened = tokio::task::spawn_blocking(move || Embedded::open(&path, clock, limits)).await;
    let store = opened.map_err(|error| Error::Unavailable(error.to_string()))??;
    if store.count() == 0 {
        store.put(key, value, Put { durable: true, ..Put::default() }).await?;
    }
    Ok(store)
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Dust for Late {
    async fn entry(&self, key: &str) -> Result<Option<Entry>> {
        self.store()?.entry(key).await
    }

    async fn put(&self, key: &str, value: &str, how: Put<'_>) -> Result<Written> {
        self.store()?.put(key, value, how).await
    }

    async fn delete(&self, key: &str, fence: Option<&Lease>) -> Result<Written> {
        self.store()?.delete(key, fence).await
    }

    async fn announce(&self, key: &str, lives: Duration) -> Result<Number> {
        self.store()?.announce(key, lives).await
    }

    async fn lease(&self, key: &str, ttl: Duration, holder: &Holder, seen: Number) -> Result<Grant> {
        self.store()?.lease(key, ttl, holder, seen).await
    }

    async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<Renewal> {
        self.store()?.renew(lease, ttl).await
    }

    async fn release(&self, lease: &Lease) -> Result<()> {
        self.store()?.release(lease).await
    }

    async fn release_holder(&self, key: &str, holder: &Holder) -> Result<()> {
        self.store()?.release_holder(key, holder).await
    }

    async fn enter(&self, inquiry: Inquiry<'_>) -> Result<Findings> {
        self.store()?.enter(inquiry).await
    }

    async fn publish(&self, publication: Publication<'_>) -> Result<Landing> {
        self.store()?.publish(publication).await
    }

    async fn entry_with_body(&self, key: &str) -> Result<Option<(Entry, Option<Bytes>)>> {
        self.store()?.entry_with_body(key).await
    }

    async fn bytes(&self, name: &str) -> Result<Option<Bytes>> {
        self.store()?.bytes(name).await
    }

    async fn put_bytes(&self, name: &str, bytes: &Bytes, lives: Duration) -> Result<()> {
        self.store()?.put_bytes(name, bytes, lives).await
    }

    async fn remove_bytes(&self, names: &[String]) -> Result<()> {
        self.store()?.remove_bytes(names).await
    }

    async fn draw(&self, name: &str, terms: BucketTerms, draw: Draw) -> Result<Option<Drawn>> {
        self.store()?.draw(name, terms, draw).await
    }

    async fn flush(&self) -> Result<()> {
        self.store()?.flush().await
    }

    async fn on(&self, keys: &[&str]) -> Result<Changes> {
        self.store()?.on(keys).await
    }

    async fn feed(&self) -> Result<Feed> {
        self.store()?.feed().await
    }

    async fn entries(&self, prefix: &str) -> Result<Vec<(String, Entry)>> {
        self.store()?.entries(prefix).await
    }

    async fn part(&self, prefix: &str, from: Option<&str>) -> Result<Part> {
        self.store()?.part(prefix, from).await
    }

    async fn life(&self, propose: Option<&str>) -> Result<Option<Arc<str>>> {
        self.store()?.life(propose).await
    }

    fn now_ms(&self) -> WallMs {
        self.clock.wall_ms()
    }

    fn ceiling(&self) -> Number {
        self.store().map_or(Number::MAX, Dust::ceiling)
    }

    fn impossible(&self) -> u64 {
        self.store.get().map_or(0, Dust::impossible)
    }

    fn lacks(&self) -> Option<Arc<str>> {
        self.store.get().and_then(Dust::lacks)
    }

    fn panics(&self) -> Panics {
        Panics::default()
    }

    fn offset_ms(&self) -> i64 {
        0
    }

    fn shared(&self) -> bool {
        true
    }

    fn traits(&self) -> Traits {
        Traits::HERE
    }

    fn kind(&self) -> &'static str {
        "embedded"
    }

    fn room(&self) -> Option<Room> {
        self.store.get()?.room()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    fn first() -> (String, &'static str) {
        ("first".into(), "true")
    }

    fn clock() -> Arc<dyn Clock> {
        Arc::new(SystemClock)
    }

    async fn opened(late: &Late) {
        while late.store.get().is_none() {
            sleep(AGAIN).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_away_until_its_file_can_be_opened_and_then_all_is_there() {
        let directory = tempfile::TempDir::new().unwrap();
        let path = directory.path().join("dust");
        let before = Embedded::open(&path, clock(), Limits::default()).unwrap();
        before.put("a", "1", Put { durable: true, ..Put::default() }).await.unwrap();
        let id = before.store_id().to_owned();
        // Open elsewhere, it can't be opened here: as good as a full disk.
        let late = Late::open(path, clock(), Limits::default(), first());
        sleep(AGAIN * 3).await;
        assert!(matches!(late.entry("a").await, Err(Error::Unavailable(_))));
        assert!(matches!(late.life(None).await, Err(Error::Unavailable(_))));
        assert!(late.room().is_none() && late.shared());
        drop(before);
        opened(&late).await;
        assert_eq!(late.entry("a").await.unwrap().unwrap().text().unwrap().as_ref(), "1");
        assert_eq!(late.life(None).await.unwrap().as_deref(), Some(&*id), "it is known already");
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_begins_says_so_and_one_that_stands_does_not() {
        let directory = tempfile::TempDir::new().unwrap();
        let path = directory.path().join("dust");
        for wanted in [true, false] {
            let late = Late::open(path.clone(), clock(), Limits::default(), first());
            opened(&late).await;
            assert_eq!(late.entry("first").await.unwrap().is_some(), wanted);
            late.put("a", "1", Put::default()).await.unwrap();
            late.delete("first", None).await.unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn dropped_it_tries_no_more() {
        let directory = tempfile::TempDir::new().unwrap();
        let path = directory.path().join("dust");
        let held = Embedded::open(&path, clock(), Limits::default()).unwrap();
        drop(Late::open(path.clone(), clock(), Limits::default(), first()));
        drop(held);
        sleep(AGAIN * 3).await;
        Embedded::open(&path, clock(), Limits::default()).expect("nobody has it");
    }
}
