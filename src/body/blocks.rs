//! Reading back: a segment is read whole and verified before its first byte is passed on, and its blocks
//! are shared. What its blocks must be is remembered: one that has left memory is read again by itself,
//! and checked again.

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
use super::store::{Name, digest, first_half};
use super::{Bodies, Error, cut};
use crate::record::Segment;

/// Segments whose blocks' digests are remembered.
const VERIFIED: usize = 32 * 1024;
/// Segments that are verified at a time: each may hold one of the small ones.
const SCANS: usize = 8;
/// Blocks that are read ahead at a time.
const AHEAD: usize = 16;

/// The first half of a SHA-256.
type Digest = [u8; 16];

/// Blocks in memory, and what the blocks of sound segments are.
pub(super) struct Blocks {
    cache: Cache<BlockAt, Bytes, Weight>,
    verified: Cache<SegmentAt, Arc<[Digest]>>,
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
    digest: Digest,
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

    /// A block of a segment that was verified, itself verified. Who asks for the same at the same time
    /// shares one read. To be run in a task of its own: others wait for it.
    pub(super) async fn block(&self, name: &Name, segment: &Segment, block: u64) -> Result<Bytes, Error> {
        let at = SegmentAt::of(name, segment);
        let digests = match self.blocks.verified.get_value_or_guard_async(&at).await {
            Ok(digests) => digests,
            Err(guard) => {
                let digests = self.verify(name, segment, at).await?;
                let _ = guard.insert(Arc::clone(&digests));
                digests
            }
        };
        let first = block.saturating_mul(BLOCK);
        let end = first.saturating_add(BLOCK).min(segment.len);
        let digest = usize::try_from(block).ok().and_then(|block| digests.get(block));
        let Some(digest) = digest.filter(|_| first < end) else { return Err(Error::Range) };
        let read = async {
            let bytes = self.store.get_range(name, segment, first..end).await?;
            // What was sound when it was read first need not be when it is read again.
            if sha(&bytes) == *digest { Ok(bytes) } else { Err(self.store.corrupt(name, segment)) }
        };
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
        let mut scanned = self.scan(name, segment, true).await?;
        if scanned.blocks.len() == 1 {
            return Ok(scanned.blocks.swap_remove(0));
        }
        Ok(scanned.blocks.concat().into())
    }

    /// Reads all of a segment and compares. A small one leaves its blocks in memory; a large
    /// one only passes through.
    async fn verify(&self, name: &Name, segment: &Segment, at: SegmentAt) -> Result<Arc<[Digest]>, Error> {
        // Closed never, so this only waits.
        let _turn = self.blocks.scans.acquire().await;
        let scanned = self.scan(name, segment, segment.len <= cut::SIZE).await?;
        for (block, bytes) in (0..).zip(scanned.blocks) {
            self.blocks.cache.insert(BlockAt { segment: at, block }, bytes);
        }
        Ok(scanned.digests.into())
    }

    /// Reads all of a segment, compares, and says what its blocks are; all of them if they are to be
    /// kept.
    async fn scan(&self, name: &Name, segment: &Segment, keep: bool) -> Result<Scanned, Error> {
        let got = self.store.get(name, segment).await?;
        let bound = self.store.call_timeout();
        let scanned = match got.payload {
            GetResultPayload::File(file, _) => {
                let task = tokio::task::spawn_blocking(move || scan_file(file, keep));
                let read = timeout(bound, task).await.map_err(|_| self.store.stalled())?;
                let read = read.map_err(|cause| Error::store(&cause))?;
                read.map_err(|cause| Error::store(&cause))?
            }
            GetResultPayload::Stream(mut stream) => {
                let mut scan = Scan::new(keep);
                // Not the whole: what comes slowly comes.
                while let Some(chunk) =
                    timeout(bound, stream.next()).await.map_err(|_| self.store.stalled())?
                {
                    scan.push(chunk.map_err(|cause| self.store.failed_get(name, segment, &cause))?);
                }
                scan.end()
            }
        };
        if scanned.digest == segment.digest { Ok(scanned) } else { Err(self.store.corrupt(name, segment)) }
    }
}

/// A segment that was read.
struct Scanned {
    digest: Digest,
    /// Of each of its blocks.
    digests: Vec<Digest>,
    /// The blocks, if they are kept.
    blocks: Vec<Bytes>,
}

/// Hashes a stream, and cuts it into blocks.
struct Scan {
    whole: Sha256,
    keep: bool,
    digests: Vec<Digest>,
    blocks: Vec<Bytes>,
    rest: BytesMut,
}

// === impl Scan ===

impl Scan {
    fn new(keep: bool) -> Self {
        let (digests, blocks) = (Vec::new(), Vec::new());
        Self { whole: Sha256::new(), keep, digests, blocks, rest: BytesMut::new() }
    }

    fn push(&mut self, mut chunk: Bytes) {
        const WHOLE: usize = 256 * 1024;
        self.whole.update(&chunk);
        while !chunk.is_empty() {
            let room = WHOLE - self.rest.len();
            let part = chunk.split_to(room.min(chunk.len()));
            if self.rest.is_empty() && part.len() == WHOLE {
                self.block(part);
                continue;
            }
            self.rest.extend_from_slice(&part);
            if self.rest.len() == WHOLE {
                let block = self.rest.split().freeze();
                self.block(block);
            }
        }
    }

    /// A block is there.
    fn block(&mut self, block: Bytes) {
        self.digests.push(sha(&block));
        if self.keep {
            self.blocks.push(block);
        }
    }

    fn end(mut self) -> Scanned {
        if !self.rest.is_empty() {
            let block = self.rest.split().freeze();
            if self.digests.is_empty() {
                // All there is: it need not be hashed twice.
                return Scanned::of_one(first_half(self.whole), block, self.keep);
            }
            self.block(block);
        }
        Scanned { digest: first_half(self.whole), digests: self.digests, blocks: self.blocks }
    }
}

// === impl Scanned ===

impl Scanned {
    /// A segment of one block.
    fn of_one(digest: Digest, block: Bytes, keep: bool) -> Self {
        Self { digest, digests: vec![digest], blocks: if keep { vec![block] } else { Vec::new() } }
    }
}

fn scan_file(mut file: File, keep: bool) -> std::io::Result<Scanned> {
    let mut scan = Scan::new(keep);
    loop {
        let mut block = Vec::new();
        if file.by_ref().take(BLOCK).read_to_end(&mut block)? == 0 {
            return Ok(scan.end());
        }
        block.shrink_to_fit();
        scan.push(Bytes::from(block));
    }
}

fn sha(bytes: &Bytes) -> Digest {
    digest([&bytes[..]])
}
