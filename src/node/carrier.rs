//! The coordination store as the carrier of segments.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::body::{self, Carrier};
use crate::dust::{self, Dust, within};
use crate::record::Segment;

/// Carries segments under the names of their records' values. Every call ends within the store's own bound.
#[derive(Debug)]
pub struct DustCarrier {
    dust: Arc<dyn Dust>,
    /// The prefix of every name, with the format's version.
    root: String,
}

// === impl DustCarrier ===

impl DustCarrier {
    /// The segments of the fleet that has this prefix, in `dust`.
    pub fn new(dust: Arc<dyn Dust>, prefix: &str) -> Self {
        Self { dust, root: format!("{prefix}/1/") }
    }

    fn name(&self, key_hash: &str, segment: &Segment) -> String {
        segment.name(&format!("{}{key_hash}", self.root))
    }

    async fn call<T>(&self, call: impl Future<Output = dust::Result<T>>) -> Result<T, body::Error> {
        let called = within(self.dust.traits().call_bound, call).await;
        called.map_err(|error| body::Error::Store(error.to_string().into()))
    }
}

#[async_trait]
impl Carrier for DustCarrier {
    fn most(&self) -> u64 {
        self.dust.traits().carries
    }

    fn used(&self) -> u64 {
        self.dust.room().map_or(0, |room| room.carried)
    }

    async fn get(&self, key_hash: &str, segment: &Segment) -> Result<Option<Bytes>, body::Error> {
        self.call(self.dust.bytes(&self.name(key_hash, segment))).await
    }

    async fn put(
        &self,
        key_hash: &str,
        segment: &Segment,
        bytes: &Bytes,
        lives: Duration,
    ) -> Result<(), body::Error> {
        self.call(self.dust.put_bytes(&self.name(key_hash, segment), bytes, lives)).await
    }

    async fn remove(&self, key_hash: &str, segments: &[Segment]) -> Result<(), body::Error> {
        let names: Vec<_> = segments.iter().map(|segment| self.name(key_hash, segment)).collect();
        self.call(self.dust.remove_bytes(&names)).await
    }
}
