//! Reading back from the store. A segment is read whole and verified before its first byte is passed on, and
//! its blocks are shared. The digests of its blocks are remembered: a block that has left memory is read
//! again alone, and checked again. Concurrent readers of the same bytes share one read, and its failure.

use std::fmt::{self, Debug};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use object_store::GetResultPayload;
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::away::Began;
use super::fill::BLOCK;
use super::name::Name;
use super::scan::{Digest, Scan, Scanned, scan_file, sha};
use super::share::{Read, Shares};
use super::store::FLOOR;
use super::{Bodies, Error, segmenting};
use crate::record::{Manifest, Segment};

/// How many segments have the digests of their blocks remembered.
const VERIFIED: usize = 32 * 1024;
/// How many segments are read at a time on demand. Each may hold the blocks of a small segment.
const SCANS: usize = 32;
/// Bytes of segments that are kept ahead of all readers.
const ROOM: u64 = 64 << 20;
/// The largest segment that is kept ahead: the largest that is cut.
const HELD_MOST: u64 = 8 * segmenting::SIZE;
/// Bytes of one permit of [`ROOM`].
const UNIT: u64 = 1024;
/// How many segments of a body are read at a time when it is read into one piece.
const AT_ONCE: usize = 4;

/// Blocks in memory, and the digests of the blocks of verified segments.
pub(super) struct Blocks {
    cache: Cache<BlockAt, Bytes, Weight>,
    verified: Cache<SegmentAt, Arc<[Digest]>>,
    /// Reads of segments.
    segments: Shares<SegmentAt, Arc<Sound>>,
    /// Reads of single blocks of segments that were verified before.
    pieces: Shares<BlockAt, Bytes>,
    /// Reads of bodies into one piece.
    wholes: Shares<WholeAt, Bytes>,
    scans: Semaphore,
    room: Arc<Semaphore>,
}

/// A segment as a manifest describes it: with another digest it is another segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct SegmentAt {
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

/// A body as a manifest describes it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct WholeAt(Vec<SegmentAt>);

/// A segment that was read and verified.
#[derive(Debug)]
pub(super) struct Sound {
    digests: Arc<[Digest]>,
    /// All of its blocks; none if it is large and was not to be kept.
    blocks: Vec<Bytes>,
    /// Its share of the room for segments kept ahead.
    _room: Option<OwnedSemaphorePermit>,
}

/// Which blocks of a segment are kept when it is read.
enum Keep {
    /// Those of a small segment.
    Small,
    /// All.
    All,
    /// All, in this room.
    In(OwnedSemaphorePermit),
}

#[derive(Debug, Clone)]
struct Weight;

// === impl Blocks ===

impl Blocks {
    /// A cache of `capacity` bytes.
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
        Self {
            cache,
            verified: Cache::new(VERIFIED),
            segments: Shares::new(),
            pieces: Shares::new(),
            wholes: Shares::new(),
            scans: Semaphore::new(SCANS),
            room: Arc::new(Semaphore::new(units(ROOM))),
        }
    }

    /// Bytes held. Segments kept ahead are mostly in the cache, too.
    pub(super) fn weight(&self) -> u64 {
        self.cache.weight().max(self.ahead())
    }

    /// Bytes kept ahead of readers.
    pub(super) fn ahead(&self) -> u64 {
        (units(ROOM) - self.room.available_permits()) as u64 * UNIT
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
    pub(super) fn of(name: &Name, segment: &Segment) -> Self {
        let Segment { token, n, len, digest, carried: _ } = *segment;
        Self { body: name.hash, token, n, len, digest }
    }
}

// === impl Sound ===

impl Sound {
    /// The block at an index, if the blocks were kept.
    pub(super) fn block(&self, block: u64) -> Option<Bytes> {
        self.blocks.get(usize::try_from(block).ok()?).cloned()
    }
}

fn units(bytes: u64) -> usize {
    usize::try_from(bytes.div_ceil(UNIT)).unwrap_or(usize::MAX)
}

// === impl Bodies ===

impl Bodies {
    /// A block of a segment, if it is in memory.
    pub(super) fn cached(&self, name: &Name, segment: &Segment, block: u64) -> Option<Bytes> {
        self.blocks.cache.get(&BlockAt { segment: SegmentAt::of(name, segment), block })
    }

    /// Returns whether all blocks of a segment are in memory.
    pub(super) fn has_cached(&self, name: &Name, segment: &Segment) -> bool {
        let at = SegmentAt::of(name, segment);
        let has = |block| self.blocks.cache.contains_key(&BlockAt { segment: at, block });
        (0..segment.len.div_ceil(BLOCK)).all(has)
    }

    /// A block of a segment. The segment is verified first unless it was before, and so is the block.
    pub(super) async fn block(
        self: &Arc<Self>,
        name: &Name,
        segment: &Segment,
        block: u64,
    ) -> Result<Bytes, Error> {
        let at = SegmentAt::of(name, segment);
        // A carried segment is short: what carries it returns it whole, and it is verified again.
        let known = if segment.carried { None } else { self.blocks.verified.get(&at) };
        let digests = if let Some(digests) = known {
            digests
        } else {
            let sound = self.read(name, segment, Keep::Small)?.wait().await?;
            if let Some(bytes) = sound.block(block) {
                return Ok(bytes);
            }
            sound.digests.clone()
        };
        self.piece(name, segment, block, &digests).await
    }

    /// A whole segment that is needed soon: a read that is under way, or a new one if there is room.
    pub(super) fn hold(self: &Arc<Self>, name: &Name, segment: &Segment) -> Option<Arc<Read<Arc<Sound>>>> {
        if let Some(read) = self.blocks.segments.find(&SegmentAt::of(name, segment)) {
            return Some(read);
        }
        if segment.len > HELD_MOST {
            return None;
        }
        let most = u32::try_from(units(segment.len)).ok()?;
        let room = Arc::clone(&self.blocks.room).try_acquire_many_owned(most).ok()?;
        // If it failed a moment ago, the reader gets that error when it arrives there.
        self.read(name, segment, Keep::In(room)).ok()
    }

    /// Reads a segment to find out whether the store can be read.
    pub(super) async fn try_segment(self: &Arc<Self>, name: &Name, segment: &Segment) -> Result<(), Error> {
        self.begin(name, segment, Keep::Small).wait().await.map(drop)
    }

    /// A body in one piece, without the cache of blocks.
    pub(super) async fn in_one(self: &Arc<Self>, name: &Name, manifest: &Manifest) -> Result<Bytes, Error> {
        let segments: Vec<_> = manifest.segments.iter().filter(|segment| segment.len > 0).copied().collect();
        let Some(first) = segments.first() else { return Ok(Bytes::new()) };
        if let Some(cause) = self.goes_past(name, first) {
            return Err(cause);
        }
        if let [only] = segments.as_slice()
            && only.len <= BLOCK
        {
            return self.segment(name, *only).await;
        }
        let at = WholeAt(segments.iter().map(|segment| SegmentAt::of(name, segment)).collect());
        let read = self.blocks.wholes.join(at, || {
            let (bodies, name) = (Arc::clone(self), name.clone());
            async move {
                let bodies = &bodies;
                let read = |segment| bodies.segment(&name, segment);
                let pieces: Vec<Bytes> =
                    stream::iter(segments).map(read).buffered(AT_ONCE).try_collect().await?;
                Ok(pieces.concat().into())
            }
        });
        read.wait().await
    }

    /// A whole segment, verified.
    async fn segment(self: &Arc<Self>, name: &Name, segment: Segment) -> Result<Bytes, Error> {
        let sound = self.read(name, &segment, Keep::All)?.wait().await?;
        match sound.blocks.as_slice() {
            [only] => Ok(only.clone()),
            // The shared read was begun by a caller that keeps no blocks.
            [] => Ok(self.verify(name, &segment, Keep::All).await?.blocks.concat().into()),
            blocks => Ok(blocks.concat().into()),
        }
    }

    /// A block of a segment that was verified when it was first read. It is verified again.
    async fn piece(
        self: &Arc<Self>,
        name: &Name,
        segment: &Segment,
        block: u64,
        digests: &Arc<[Digest]>,
    ) -> Result<Bytes, Error> {
        let first = block.saturating_mul(BLOCK);
        let end = first.saturating_add(BLOCK).min(segment.len);
        let digest = usize::try_from(block).ok().and_then(|block| digests.get(block)).copied();
        let Some(digest) = digest.filter(|_| first < end) else { return Err(Error::Range) };
        let at = BlockAt { segment: SegmentAt::of(name, segment), block };
        if let Some(cause) = self.store.away(segment).lately(&at.segment) {
            return Err(cause);
        }
        let read = self.blocks.pieces.join(at, || {
            let (bodies, name, segment) = (Arc::clone(self), name.clone(), *segment);
            async move {
                let began = bodies.store.away(&segment).begins();
                let read = async {
                    let bytes = bodies.store.get_range(&name, &segment, first..end).await?;
                    if sha(&bytes) == digest { Ok(bytes) } else { Err(bodies.store.corrupt(&name, &segment)) }
                };
                let read = read.await;
                bodies.heard(&segment, at.segment, began, &read);
                let bytes = read?;
                bodies.blocks.cache.insert(at, bytes.clone());
                Ok(bytes)
            }
        });
        read.wait().await
    }

    /// The shared read of a segment; an error if the segment failed a moment ago.
    fn read(
        self: &Arc<Self>,
        name: &Name,
        segment: &Segment,
        keep: Keep,
    ) -> Result<Arc<Read<Arc<Sound>>>, Error> {
        match self.store.away(segment).lately(&SegmentAt::of(name, segment)) {
            Some(cause) => Err(cause),
            None => Ok(self.begin(name, segment, keep)),
        }
    }

    fn begin(self: &Arc<Self>, name: &Name, segment: &Segment, keep: Keep) -> Arc<Read<Arc<Sound>>> {
        self.blocks.segments.join(SegmentAt::of(name, segment), || {
            let (bodies, name, segment) = (Arc::clone(self), name.clone(), *segment);
            async move { bodies.verify(&name, &segment, keep).await.map(Arc::new) }
        })
    }

    /// Notes the result of a read: whether the store answers.
    pub(super) fn heard<T>(&self, segment: &Segment, at: SegmentAt, began: Began, read: &Result<T, Error>) {
        let away = self.store.away(segment);
        match read {
            Err(cause) if !cause.condemns() => away.failed(at, began, cause),
            Ok(_) | Err(_) => away.answered(),
        }
    }

    /// Reads and verifies a whole segment. The blocks of a small one stay in the cache.
    async fn verify(&self, name: &Name, segment: &Segment, keep: Keep) -> Result<Sound, Error> {
        let (at, began) = (SegmentAt::of(name, segment), self.store.away(segment).begins());
        let by = Instant::now() + self.store.call_timeout();
        let small = segment.len <= segmenting::SIZE;
        // A read that holds room needs no permit.
        let turn = match &keep {
            Keep::In(_) => None,
            // The semaphore is never closed, so this only waits.
            Keep::Small | Keep::All => match timeout_at(by, self.blocks.scans.acquire()).await {
                Ok(turn) => Some(turn),
                Err(_) => return Err(Error::Store("too many others read from it".into())),
            },
        };
        let scanned = self.scan(name, segment, small || !matches!(keep, Keep::Small), by).await;
        drop(turn);
        self.heard(segment, at, began, &scanned);
        let scanned = scanned?;
        let digests: Arc<[Digest]> = scanned.digests.into();
        self.blocks.verified.insert(at, Arc::clone(&digests));
        if small && !matches!(keep, Keep::All) {
            for (block, bytes) in (0..).zip(&scanned.blocks) {
                self.blocks.cache.insert(BlockAt { segment: at, block }, bytes.clone());
            }
        }
        let room = match keep {
            Keep::In(room) => Some(room),
            Keep::Small | Keep::All => None,
        };
        Ok(Sound { digests, blocks: scanned.blocks, _room: room })
    }

    /// Reads and verifies a whole segment, and returns the digests of its blocks; the blocks, too, if `keep`.
    /// The first bytes must arrive before `by`, and each pause after them is bounded by the timeout of one
    /// call.
    async fn scan(
        &self,
        name: &Name,
        segment: &Segment,
        keep: bool,
        mut by: Instant,
    ) -> Result<Scanned, Error> {
        let bound = self.store.call_timeout();
        // However steadily the bytes drip.
        let last = by + Duration::from_secs(segment.len / FLOOR);
        let stalled = |_| self.store.stalled();
        if segment.carried {
            // The call has a bound of its own, and checks the digest.
            return Ok(Scanned::of(self.store.carried(name, segment).await?, keep));
        }
        let got = timeout_at(by, self.store.get(name, segment)).await.map_err(stalled)??;
        let scanned = match got.payload {
            GetResultPayload::File(file, _) => {
                let task = tokio::task::spawn_blocking(move || scan_file(file, keep));
                let read = timeout_at(last, task).await.map_err(stalled)?;
                let read = read.map_err(|cause| Error::store(&cause))?;
                read.map_err(|cause| Error::store(&cause))?
            }
            GetResultPayload::Stream(mut stream) => {
                let mut scan = Scan::new(keep);
                while let Some(chunk) = timeout_at(by, stream.next()).await.map_err(stalled)? {
                    scan.push(chunk.map_err(|cause| self.store.failed_get(name, segment, &cause))?);
                    by = last.min(Instant::now() + bound);
                }
                scan.end()
            }
        };
        if scanned.digest == segment.digest { Ok(scanned) } else { Err(self.store.corrupt(name, segment)) }
    }
}
