//! The coordination store as the carrier of segments.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::Semaphore;

use crate::body::{self, Carrier};
use crate::dust::{self, Dust, within};
use crate::record::Segment;

/// The bytes that are on their way at a time. Leases go over the same line, and must not wait behind bodies: at
/// 100 Mbit/s these take 40 ms.
const ON_THE_WAY: usize = 512 << 10;
/// How long a call may take once its bytes are on the way.
const BOUND: Duration = Duration::from_secs(6);

/// Carries segments under the names of their records' values. Calls wait for their turn.
#[derive(Debug)]
pub struct DustCarrier {
    dust: Arc<dyn Dust>,
    /// A permit for each byte on the way.
    turns: Semaphore,
    /// The prefix of every name, with the format's version.
    root: String,
}

// === impl DustCarrier ===

impl DustCarrier {
    /// The segments of the fleet that has this prefix, in `dust`.
    pub fn new(dust: Arc<dyn Dust>, prefix: &str) -> Self {
        Self { dust, turns: Semaphore::new(ON_THE_WAY), root: format!("{prefix}/1/") }
    }

    fn name(&self, key_hash: &str, segment: &Segment) -> String {
        segment.name(&format!("{}{key_hash}", self.root))
    }

    /// Makes a call that carries so many bytes.
    async fn call<T>(&self, len: u64, call: impl Future<Output = dust::Result<T>>) -> Result<T, body::Error> {
        // A store in this process has no line.
        let turn = if self.dust.traits().exclusive {
            None
        } else {
            let most = u32::try_from(len.min(ON_THE_WAY as u64)).unwrap_or(u32::MAX);
            // The semaphore is never closed.
            self.turns.acquire_many(most).await.ok()
        };
        let called = within(BOUND, call).await;
        drop(turn);
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
        self.call(segment.len, self.dust.bytes(&self.name(key_hash, segment))).await
    }

    async fn put(
        &self,
        key_hash: &str,
        segment: &Segment,
        bytes: &Bytes,
        lives: Duration,
    ) -> Result<(), body::Error> {
        self.call(segment.len, self.dust.put_bytes(&self.name(key_hash, segment), bytes, lives)).await
    }

    async fn remove(&self, key_hash: &str, segments: &[Segment]) -> Result<(), body::Error> {
        let names: Vec<_> = segments.iter().map(|segment| self.name(key_hash, segment)).collect();
        self.call(0, self.dust.remove_bytes(&names)).await
    }
}
