//! Bodies: the bytes of responses, as immutable segments under names that are used once.
//!
//! A [`Writer`] takes a body as it arrives, cuts it into segments and puts them in the store. Meanwhile any
//! number of [`Reader`]s made from its [`Growing`] read it. A finished body has a [`Manifest`] that names its
//! segments, and [`Bodies::reader`] reads it from there. Every segment is checked (length, digest) before its
//! first byte is passed on, once per instance.
//!
//! # Small bodies
//! A body that is complete within 25 ms and no longer than [`Settings::small`] is put nowhere: the caller
//! gets its bytes with its manifest, writes them beside the record, and has them checked when they come back
//! with it ([`Bodies::accept`]). Where it is read by itself, and where all bodies are in the coordination store,
//! a [`Carrier`] has the bytes.
//!
//! # Memory
//! A fill holds its recent bytes: those that the store has not acknowledged (4 MiB for a body under 128 MiB,
//! up to 18 MiB near 2 GiB) or [`Settings::window`] of them, whichever is more. A body up to
//! [`Settings::hold`] is held whole. A reader that falls behind reads back from the store, through one cache
//! of blocks that all readers share, and holds one block at a time. A reader that is faster than the store
//! has up to eight segments read ahead of it (8 MiB), out of 64 MiB for all readers. When those are used up,
//! nothing is read ahead for it.
//!
//! # A body that can't be stored
//! If the store fails on the way, or the body turns out too large, no record will name it. Its readers still
//! get the rest: it is held in memory for the slowest of them, and no more is fetched from upstream while
//! that reader is far behind ([`Spill`]).
//!
//! # Runtime
//! [`Bodies::writer`] and every read spawn tasks: both belong inside a tokio runtime.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use crate::clock::Clock;
use crate::record::{MAX_SEGMENTS, Manifest, Segment};

mod ahead;
mod away;
mod blocks;
mod carrier;
mod counters;
mod current_life;
mod destination;
mod error;
mod fill;
mod given_up;
mod gone;
mod grace;
mod growing;
mod lives;
mod location;
mod marker;
mod name;
mod opening;
mod prefix;
mod reader;
mod remote_reader;
mod s3;
mod scan;
mod segmenting;
mod settings;
mod share;
mod shelf;
mod spill;
mod store;
mod sweep;
mod uploader;
mod used;
mod waiting;
mod window;
mod writer;

pub use carrier::Carrier;
pub use counters::Counters;
pub use destination::LARGE;
pub use error::Error;
pub use growing::Growing;
pub use lives::{Fate, OtherLife};
pub use location::{Bucket, Location};
pub use prefix::Prefix;
pub use reader::Reader;
pub use remote_reader::Tail;
pub use settings::Settings;
pub use spill::Spill;
pub use store::Taking;
pub use sweep::{Named, Names, Orphan, Orphans, Surveyed, Sweeper, Swept};
pub use writer::{Finished, Writer};

use blocks::Blocks;
use fill::Fill;
use given_up::GivenUp;
use grace::Grace;
use name::Name;
use store::Store;
use sweep::Writing;

/// The most bytes that [`Bodies::whole`] reads into one piece.
pub const MAX_WHOLE: u64 = 64 * 1024 * 1024;

/// The bodies of one life of the store.
///
/// Most are objects of the body store. Small ones, and all where `bodies.url` says so, are carried by the
/// coordination store ([`Bodies::are_carried_by`]). A manifest may name segments of both kinds.
#[derive(Debug)]
pub struct Bodies {
    settings: Settings,
    clock: Arc<dyn Clock>,
    store: Store,
    blocks: Blocks,
    writing: Writing,
    grace: Arc<Grace>,
    given_up: Mutex<GivenUp>,
}

// === impl Bodies ===

impl Bodies {
    /// Whether a body of this length will be stored, if it is known, as far as the last puts tell.
    pub fn taking(&self, len: Option<u64>) -> Taking {
        self.store.taking(len)
    }

    /// Removes all bodies of a life that no other instance knows, and its marker, once that life is over.
    /// Readers of these bodies end with an error.
    ///
    /// # Errors
    /// An error of the store. Some objects may be left then; it may be called again.
    pub async fn clear(&self, store_id: &str) -> Result<(), Error> {
        self.store.clear(store_id).await
    }

    /// A writer for a new body, and the [`Growing`] that its readers are made from. `token` is the token of
    /// the lease that the fill holds: a pair of hash and token is used once. `len_hint` is the length that
    /// upstream promised: a body of another length never finishes. More than `max` bytes are
    /// [`Error::TooLarge`].
    pub fn writer(
        self: &Arc<Self>,
        key_hash: &str,
        token: u64,
        len_hint: Option<u64>,
        max: u64,
    ) -> (Writer, Growing) {
        let fill = Fill::new(Arc::clone(self), self.store.name(key_hash), token, len_hint);
        Writer::begin(fill, max)
    }

    /// A writer that continues a body whose writer has died: after the segments that `prefix` names.
    /// `len_hint` and `max` are those of the whole body.
    pub fn resume(
        self: &Arc<Self>,
        key_hash: &str,
        token: u64,
        prefix: &Manifest,
        len_hint: Option<u64>,
        max: u64,
    ) -> Result<(Writer, Growing), Error> {
        check(prefix)?;
        let fill = Fill::new(Arc::clone(self), self.name_of(key_hash, prefix)?, token, len_hint);
        fill.extend(prefix)?;
        Ok(Writer::begin(fill, max))
    }

    /// A body that another instance is writing, read by the growing manifests that it publishes.
    pub fn follow(self: &Arc<Self>, key_hash: &str, len_hint: Option<u64>) -> (Tail, Growing) {
        Tail::begin(Fill::new(Arc::clone(self), self.store.name(key_hash), 0, len_hint))
    }

    /// A reader of a stored body, or of its bytes `first..=last`. An invalid manifest, a range outside the
    /// body, or bytes that are [gone](Bodies::is_gone) are an error at the first read.
    pub fn reader(
        self: &Arc<Self>,
        key_hash: &str,
        manifest: &Arc<Manifest>,
        range: Option<(u64, u64)>,
    ) -> Reader {
        Reader::stored(Arc::clone(self), self.store.name(key_hash), Arc::clone(manifest), range)
    }

    /// Reads a small body into one piece, checked. A body over [`MAX_WHOLE`] is [`Error::TooLarge`].
    pub async fn whole(self: &Arc<Self>, key_hash: &str, manifest: &Manifest) -> Result<Bytes, Error> {
        check(manifest)?;
        if manifest.len > MAX_WHOLE {
            return Err(Error::TooLarge);
        }
        let name = self.name_of(key_hash, manifest)?;
        self.in_one(&name, manifest).await
    }

    /// Removes the segments of a body that no record ever named, without waiting for a sweep.
    pub async fn discard(&self, key_hash: &str, manifest: &Manifest) -> Result<(), Error> {
        let life = manifest.life.clone().unwrap_or_else(|| self.life());
        let name = Name::of(life, key_hash);
        let segments = manifest.segments.iter().take(MAX_SEGMENTS).copied();
        let (carried, objects): (Vec<_>, Vec<_>) = segments.partition(|segment| segment.carried);
        let objects = objects.iter().map(|object| {
            let Segment { token, n, .. } = *object;
            (name.clone(), token, n, self.store.space(object))
        });
        let objects: Vec<_> = objects.collect();
        let dropped = self.store.drop_carried(&name, &carried).await;
        self.store.delete(&objects).await.into_iter().chain([dropped]).collect()
    }

    /// The counters, for telemetry.
    pub fn counters(&self) -> &Counters {
        &self.store.counters
    }

    /// Bytes of bodies in memory: of growing bodies, and of blocks read back.
    pub fn in_memory(&self) -> u64 {
        self.counters().window.load(Ordering::Relaxed) + self.blocks.weight()
    }

    /// The settings that it was opened with.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }
}

/// Checks a manifest, which is untrusted input: count and lengths of its segments, and their sum.
fn check(manifest: &Manifest) -> Result<(), Error> {
    let row = manifest.segments.len() <= MAX_SEGMENTS;
    // Far above the largest segment that is ever cut.
    let sane = manifest.segments.iter().all(|segment| segment.len <= MAX_WHOLE);
    if row && sane && manifest.is_whole() { Ok(()) } else { Err(Error::Manifest) }
}

#[cfg(test)]
mod tests;
