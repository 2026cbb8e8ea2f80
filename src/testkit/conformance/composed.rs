//! A store whose steps are made of its other calls, whatever the one below can do by itself.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use crate::clock::WallMs;
use crate::dust::{
    Changes, Dust, Entry, Feed, Grant, Holder, Lease, Number, Put, Renewal, Result, Room, Traits, Written,
};

/// A store of which only the calls are used that every store must have: it carries no bytes, and `enter` and
/// `publish` are the trait's own.
#[derive(Debug)]
pub struct Composed {
    inner: Arc<dyn Dust>,
    meanwhile: Mutex<Option<(String, String)>>,
}

// === impl Composed ===

impl Composed {
    /// Of the calls of `inner`.
    pub fn of(inner: Arc<dyn Dust>) -> Self {
        Self { inner, meanwhile: Mutex::default() }
    }

    /// Just before the next lease is asked for, `text` is written at `key`: as if another instance came
    /// between the reads and the lease.
    pub fn meanwhile(&self, key: &str, text: &str) {
        *self.meanwhile.lock().unwrap_or_else(PoisonError::into_inner) = Some((key.into(), text.into()));
    }
}

#[async_trait]
impl Dust for Composed {
    async fn entry(&self, key: &str) -> Result<Option<Entry>> {
        self.inner.entry(key).await
    }

    async fn put(&self, key: &str, value: &str, how: Put<'_>) -> Result<Written> {
        self.inner.put(key, value, how).await
    }

    async fn delete(&self, key: &str, fence: Option<&Lease>) -> Result<Written> {
        self.inner.delete(key, fence).await
    }

    async fn announce(&self, key: &str, lives: Duration) -> Result<Number> {
        self.inner.announce(key, lives).await
    }

    async fn lease(&self, key: &str, ttl: Duration, holder: &Holder, seen: Number) -> Result<Grant> {
        let meanwhile = self.meanwhile.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((key, text)) = meanwhile {
            self.inner.put(&key, &text, Put::default()).await?;
        }
        self.inner.lease(key, ttl, holder, seen).await
    }

    async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<Renewal> {
        self.inner.renew(lease, ttl).await
    }

    async fn release(&self, lease: &Lease) -> Result<()> {
        self.inner.release(lease).await
    }

    async fn release_holder(&self, key: &str, holder: &Holder) -> Result<()> {
        self.inner.release_holder(key, holder).await
    }

    async fn on(&self, keys: &[&str]) -> Result<Changes> {
        self.inner.on(keys).await
    }

    async fn feed(&self) -> Result<Feed> {
        self.inner.feed().await
    }

    async fn entries(&self, prefix: &str) -> Result<Vec<(String, Entry)>> {
        self.inner.entries(prefix).await
    }

    async fn life(&self, propose: Option<&str>) -> Result<Option<Arc<str>>> {
        self.inner.life(propose).await
    }

    fn now_ms(&self) -> WallMs {
        self.inner.now_ms()
    }

    fn ceiling(&self) -> Number {
        self.inner.ceiling()
    }

    fn impossible(&self) -> u64 {
        self.inner.impossible()
    }

    fn lacks(&self) -> Option<Arc<str>> {
        self.inner.lacks()
    }

    fn panics(&self) -> crate::dust::Panics {
        self.inner.panics()
    }

    fn offset_ms(&self) -> i64 {
        self.inner.offset_ms()
    }

    fn shared(&self) -> bool {
        self.inner.shared()
    }

    fn traits(&self) -> Traits {
        Traits { carries: 0, ..self.inner.traits() }
    }

    fn kind(&self) -> &'static str {
        self.inner.kind()
    }

    fn room(&self) -> Option<Room> {
        self.inner.room()
    }
}
