//! The store with this instance's writes tracked: it need not read back what it wrote itself.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::Numbers;
use crate::clock::WallMs;
use crate::dust::{
    Changes, Dust, Entry, Feed, Findings, Grant, Holder, Inquiry, Landing, Lease, Number, Publication, Put,
    Renewal, Result, Room, Traits, Written,
};
use crate::record::{Pointer, codec};

/// A store that notes its writes in the [`Numbers`].
#[derive(Debug)]
pub struct Own {
    inner: Arc<dyn Dust>,
    numbers: Arc<Numbers>,
}

// === impl Own ===

impl Own {
    /// Wraps the store `inner`.
    pub fn new(inner: Arc<dyn Dust>, numbers: Arc<Numbers>) -> Self {
        Self { inner, numbers }
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Dust for Own {
    async fn put(&self, key: &str, value: &str, how: Put<'_>) -> Result<Written> {
        let Some(hash) = self.numbers.hash_of(key) else { return self.inner.put(key, value, how).await };
        let token = token_of(value);
        // The feed may tell of the change before this call is answered.
        let _writing = self.numbers.writes(hash);
        let written = self.inner.put(key, value, how).await?;
        if let (Written::At(number), Some(token)) = (written, token) {
            self.numbers.learn(hash, number, token);
        }
        Ok(written)
    }

    async fn delete(&self, key: &str, fence: Option<&Lease>) -> Result<Written> {
        let written = self.inner.delete(key, fence).await?;
        if let (Written::At(number), Some(hash)) = (written, self.numbers.hash_of(key)) {
            self.numbers.saw(hash, number, true);
        }
        Ok(written)
    }

    async fn entry(&self, key: &str) -> Result<Option<Entry>> {
        self.inner.entry(key).await
    }

    async fn announce(&self, key: &str, lives: Duration) -> Result<Number> {
        self.inner.announce(key, lives).await
    }

    async fn lease(&self, key: &str, ttl: Duration, holder: &Holder, seen: Number) -> Result<Grant> {
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

    async fn enter(&self, inquiry: Inquiry<'_>) -> Result<Findings> {
        self.inner.enter(inquiry).await
    }

    async fn publish(&self, publication: Publication<'_>) -> Result<Landing> {
        let Some((hash, value)) =
            publication.value.and_then(|value| Some((self.numbers.hash_of(value.key)?, value)))
        else {
            return self.inner.publish(publication).await;
        };
        let token = token_of(value.text);
        let _writing = self.numbers.writes(hash);
        let landing = self.inner.publish(publication).await?;
        if let (Landing::At(number) | Landing::Unreleased(number), Some(token)) = (landing, token) {
            self.numbers.learn(hash, number, token);
        }
        Ok(landing)
    }

    async fn entry_with_body(&self, key: &str) -> Result<Option<(Entry, Option<Bytes>)>> {
        self.inner.entry_with_body(key).await
    }

    async fn bytes(&self, name: &str) -> Result<Option<Bytes>> {
        self.inner.bytes(name).await
    }

    async fn put_bytes(&self, name: &str, bytes: &Bytes, lives: Duration) -> Result<()> {
        self.inner.put_bytes(name, bytes, lives).await
    }

    async fn remove_bytes(&self, names: &[String]) -> Result<()> {
        self.inner.remove_bytes(names).await
    }

    async fn draw(
        &self,
        name: &str,
        terms: crate::dust::BucketTerms,
        draw: crate::dust::Draw,
    ) -> Result<Option<crate::dust::Drawn>> {
        self.inner.draw(name, terms, draw).await
    }

    async fn flush(&self) -> Result<()> {
        self.inner.flush().await
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

    async fn part(&self, prefix: &str, from: Option<&str>) -> Result<crate::dust::Part> {
        self.inner.part(prefix, from).await
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
        self.inner.traits()
    }

    fn kind(&self) -> &'static str {
        self.inner.kind()
    }

    fn room(&self) -> Option<Room> {
        self.inner.room()
    }
}

/// The token of a record or a Vary node.
fn token_of(text: &str) -> Option<Number> {
    match codec::decode(text, &codec::Limits::NONE) {
        Ok(Pointer::Record(record)) => Some(record.token),
        Ok(Pointer::Vary(node)) => Some(node.token),
        Err(_) => None,
    }
}
