//! Reading back: segments are verified once, and their blocks shared.

use std::fmt::{self, Debug};
use std::fs::File;
use std::io::Read as _;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use object_store::GetResultPayload;
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::fill::BLOCK;
use super::store::{Name, first_half};
use super::{Bodies, Error, cut};
use crate::record::Segment;

/// Segments whose verification is remembered.
const VERIFIED: usize = 32 * 1024;
/// Segments that are verified at a time: each may hold one of the small ones.
const SCANS: usize = 8;
/// Blocks that are read ahead at a time.
const AHEAD: usize = 16;

/// Blocks in memory, and what is known to be sound.
pub(super) struct Blocks {
    cache: Cache<BlockAt, Bytes, Weight>,
    verified: Cache<SegmentAt, ()>,
    scans: Semaphore,
    ahead: Arc<Semaphore>,
}

/// A segment as a manifest claims it: one with another digest is another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct SegmentAt {
    body: u128,
    token: u64,
    n: u32,
    len: u64,
    digest: [u8; 16],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct BlockAt {
    segment: SegmentAt,
    block: u64,
}

#[derive(Debug, Clone)]
struct Weight;

// === impl Blocks ===

impl Blocks {
    /// With room for `capacity` bytes.
    pub(super) fn new(capacity: u64) -> Self {
        // A block must be small beside its shard, or it is not admitted. Half is for the new:
        // readers stream, so a block is wanted now or never.
        let shards = usize::try_from(capacity / (16 * BLOCK)).unwrap_or(1).clamp(1, 8);
        let options = OptionsBuilder::new()
            .shards(shards)
            .weight_capacity(capacity)
            .estimated_items_capacity(usize::try_from(capacity / BLOCK).unwrap_or(1).max(shards * 32))
            .hot_allocation(0.5)
            .build()
            .expect("both capacities are set");
        let cache =
            Cache::with_options(options, Weight, DefaultHashBuilder::default(), DefaultLifecycle::default());
        let verified = Cache::new(VERIFIED);
        Self { cache, verified, scans: Semaphore::new(SCANS), ahead: Arc::new(Semaphore::new(AHEAD)) }
    }

    /// Bytes held.
    pub(super) fn weight(&self) -> u64 {
        self.cache.weight()
    }
}

impl Debug for Blocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Blocks").field("weight", &self.weight()).finish_non_exhaustive()
    }
}

impl Weighter<BlockAt, Bytes> for Weight {
    fn weight(&self, _: &BlockAt, block: &Bytes) -> u64 {
        block.len() as u64 + 128
    }
}

// === impl SegmentAt ===

impl SegmentAt {
    fn of(name: &Name, segment: &Segment) -> Self {
        let Segment { token, n, len, digest } = *segment;
        Self { body: name.hash, token, n, len, digest }
    }
}

// === impl Bodies ===

impl Bodies {
    /// A block of a segment, if it is in memory.
    pub(super) fn cached(&self, name: &Name, segment: &Segment, block: u64) -> Option<Bytes> {
        self.blocks.cache.get(&BlockAt { segment: SegmentAt::of(name, segment), block })
    }

    /// A block of a verified segment. Who asks for the same at the same time shares one read.
    /// To be run in a task of its own: others wait for it.
    pub(super) async fn block(&self, name: &Name, segment: &Segment, block: u64) -> Result<Bytes, Error> {
        let at = SegmentAt::of(name, segment);
        if let Err(guard) = self.blocks.verified.get_value_or_guard_async(&at).await {
            self.verify(name, segment, at).await?;
            let _ = guard.insert(());
        }
        let first = block.saturating_mul(BLOCK);
        let end = first.saturating_add(BLOCK).min(segment.len);
        if first >= end {
            return Err(Error::Range);
        }
        let read = self.store.get_range(name, segment, first..end);
        self.blocks.cache.get_or_insert_async(&BlockAt { segment: at, block }, read).await
    }

    /// Reads a block that will be wanted soon, unless many are being read already.
    pub(super) fn read_ahead(self: &Arc<Self>, name: &Name, segment: &Segment, block: u64) {
        let at = BlockAt { segment: SegmentAt::of(name, segment), block };
        if self.blocks.cache.contains_key(&at) {
            return;
        }
        let Ok(permit) = Arc::clone(&self.blocks.ahead).try_acquire_owned() else { return };
        let (bodies, name, segment) = (Arc::clone(self), name.clone(), *segment);
        tokio::spawn(async move {
            // Whoever wants it will meet the error, if there is one.
            let _ = bodies.block(&name, &segment, block).await;
            drop(permit);
        });
    }

    /// A whole segment, verified, past the blocks.
    pub(super) async fn segment(&self, name: &Name, segment: &Segment) -> Result<Bytes, Error> {
        let (digest, mut blocks) = self.scan(name, segment, true).await?;
        if digest != segment.digest {
            return Err(self.store.corrupt(segment));
        }
        self.blocks.verified.insert(SegmentAt::of(name, segment), ());
        if blocks.len() == 1 {
            return Ok(blocks.swap_remove(0));
        }
        Ok(blocks.concat().into())
    }

    /// Reads all of a segment and compares. A small one leaves its blocks in memory; a large
    /// one only passes through.
    async fn verify(&self, name: &Name, segment: &Segment, at: SegmentAt) -> Result<(), Error> {
        // Closed never, so this only waits.
        let _turn = self.blocks.scans.acquire().await;
        let (digest, blocks) = self.scan(name, segment, segment.len <= cut::SIZE).await?;
        if digest != segment.digest {
            return Err(self.store.corrupt(segment));
        }
        for (block, bytes) in (0..).zip(blocks) {
            self.blocks.cache.insert(BlockAt { segment: at, block }, bytes);
        }
        Ok(())
    }

    /// The digest of what the store has, and all of its blocks if they are to be kept.
    async fn scan(
        &self,
        name: &Name,
        segment: &Segment,
        keep: bool,
    ) -> Result<([u8; 16], Vec<Bytes>), Error> {
        let got = self.store.get(name, segment).await?;
        let bound = self.store.call_timeout();
        match got.payload {
            GetResultPayload::File(file, _) => {
                let task = tokio::task::spawn_blocking(move || scan_file(file, keep));
                let read = timeout(bound, task).await.map_err(|_| self.store.stalled())?;
                let read = read.map_err(|cause| Error::store(&cause))?;
                read.map_err(|cause| Error::store(&cause))
            }
            GetResultPayload::Stream(mut stream) => {
                let mut scan = Scan::new(keep);
                // Not the whole: what comes slowly comes.
                while let Some(chunk) =
                    timeout(bound, stream.next()).await.map_err(|_| self.store.stalled())?
                {
                    scan.push(chunk.map_err(|cause| self.store.failed_get(segment, &cause))?);
                }
                Ok(scan.end())
            }
        }
    }
}

/// Hashes a stream, and cuts it into blocks.
struct Scan {
    sha: Sha256,
    keep: bool,
    blocks: Vec<Bytes>,
    rest: BytesMut,
}

// === impl Scan ===

impl Scan {
    fn new(keep: bool) -> Self {
        Self { sha: Sha256::new(), keep, blocks: Vec::new(), rest: BytesMut::new() }
    }

    fn push(&mut self, mut chunk: Bytes) {
        const WHOLE: usize = 256 * 1024;
        self.sha.update(&chunk);
        while self.keep && !chunk.is_empty() {
            let room = WHOLE - self.rest.len();
            let part = chunk.split_to(room.min(chunk.len()));
            if self.rest.is_empty() && part.len() == WHOLE {
                self.blocks.push(part);
                continue;
            }
            self.rest.extend_from_slice(&part);
            if self.rest.len() == WHOLE {
                self.blocks.push(self.rest.split().freeze());
            }
        }
    }

    fn end(mut self) -> ([u8; 16], Vec<Bytes>) {
        if !self.rest.is_empty() {
            self.blocks.push(self.rest.freeze());
        }
        (first_half(self.sha), self.blocks)
    }
}

fn scan_file(mut file: File, keep: bool) -> std::io::Result<([u8; 16], Vec<Bytes>)> {
    let mut sha = Sha256::new();
    let mut blocks = Vec::new();
    loop {
        let mut block = Vec::new();
        if file.by_ref().take(BLOCK).read_to_end(&mut block)? == 0 {
            return Ok((first_half(sha), blocks));
        }
        sha.update(&block);
        if keep {
            block.shrink_to_fit();
            blocks.push(Bytes::from(block));
        }
    }
}
