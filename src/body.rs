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

use std::error::Error as StdError;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use object_store::ObjectStore;

use crate::clock::Clock;
use crate::record::{Life, MAX_SEGMENTS, Manifest, Segment};

mod ahead;
mod away;
mod blocks;
mod carrier;
mod counters;
mod destination;
mod fill;
mod given_up;
mod gone;
mod grace;
mod growing;
mod lives;
mod location;
mod marker;
mod name;
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
pub use growing::Growing;
pub use lives::{Fate, OtherLife};
pub use location::{Bucket, Location};
pub use reader::Reader;
pub use remote_reader::Tail;
pub use settings::Settings;
pub use spill::Spill;
pub use store::Taking;
pub use sweep::{Named, Names, Sweeper, Swept};
pub use writer::{Finished, Writer};

use blocks::Blocks;
use fill::Fill;
use given_up::GivenUp;
use grace::Grace;
use name::Name;
use store::{Marking, Store};
use sweep::Writing;

/// The most bytes that [`Bodies::whole`] reads into one piece.
pub const MAX_WHOLE: u64 = 64 * 1024 * 1024;

/// Why a body could not be written or read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The writer went away before the body was complete.
    #[error("the body broke off")]
    Broken,
    /// The body ended at another length than upstream promised.
    #[error("the body ended early")]
    Truncated,
    /// The body is larger than the writer may take.
    #[error("the body is larger than allowed")]
    TooLarge,
    /// The body needs more segments than a manifest may have.
    #[error("the body has too many segments")]
    Full,
    /// The store is as full as it may get.
    #[error("the body store is full")]
    NoRoom,
    /// The store failed, or did not answer in time.
    #[error("the body store failed: {0}")]
    Store(Arc<str>),
    /// The store answers, and will not do what is asked: the rights, the bucket or its region are wrong.
    #[error("the body store refuses: {0}")]
    Refused(Arc<str>),
    /// Nothing can be written where the settings say.
    #[error("{0}")]
    Unwritable(String),
    /// The store failed a moment ago. It is not read until it answers again.
    #[error("the body store failed a moment ago")]
    Away,
    /// A manifest names a segment that the store does not have.
    #[error("segment {token}/{n} is missing")]
    Missing {
        /// The segment's token.
        token: u64,
        /// Its index among the segments of that writer.
        n: u32,
    },
    /// A segment is not what the manifest says.
    #[error("segment {token}/{n} is corrupt")]
    Corrupt {
        /// The segment's token.
        token: u64,
        /// Its index among the segments of that writer.
        n: u32,
    },
    /// The segments of a manifest contradict its length, or exceed a bound.
    #[error("the manifest does not add up")]
    Manifest,
    /// The requested range is outside the body.
    #[error("the range is outside the body")]
    Range,
    /// A body that is not stored has no readers left.
    #[error("the reader has gone")]
    Gone,
    /// This reader took nothing for too long while the other readers waited for it.
    #[error("the reader took nothing for too long")]
    TooSlow,
    /// The body store has no marker of this life of the store: `bodies.url` and `dust.url` do not belong
    /// together.
    #[error("the body store does not carry this store's id: bodies.url and dust.url do not belong together")]
    NotShared,
    /// The URL is invalid or not supported.
    #[error("{0}")]
    Url(String),
}

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

// === impl Error ===

impl Error {
    /// The error as one word, for logs and metric labels.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Broken => "broken",
            Self::Truncated => "truncated",
            Self::TooLarge => "too_large",
            Self::Full => "full",
            Self::NoRoom => "no_room",
            Self::Store(_) | Self::Refused(_) | Self::Unwritable(_) | Self::Away => "store",
            Self::Missing { .. } => "missing",
            Self::Corrupt { .. } => "corrupt",
            Self::Manifest => "manifest",
            Self::Range => "range",
            Self::Gone => "gone",
            // Named after the setting whose time ran out.
            Self::TooSlow => "send_timeout",
            Self::NotShared => "not_shared",
            Self::Url(_) => "url",
        }
    }

    /// Returns whether the stored body is unusable, so that its record should be deleted.
    pub fn condemns(&self) -> bool {
        matches!(self, Self::Missing { .. } | Self::Corrupt { .. } | Self::Manifest)
    }

    /// Includes the whole chain of causes: object stores put the useful part last.
    fn store(cause: &(dyn StdError + 'static)) -> Self {
        let mut text = cause.to_string();
        let mut next = Some(cause);
        while let Some(cause) = next {
            if cause.downcast_ref().is_some_and(is_full) {
                return Self::NoRoom;
            }
            let more = cause.to_string();
            if !text.contains(&more) {
                text.push_str(": ");
                text.push_str(&more);
            }
            next = cause.source();
        }
        Self::Store(text.into())
    }
}

/// Returns whether a disk, a quota or a limit of this process has no room left.
fn is_full(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

// === impl Bodies ===

impl Bodies {
    /// Opens the store at `url` (see [`Location`]; a directory is made if it is missing) for the life
    /// `store_id`, and writes the marker `<store id>/here` into it. If there is no room for the marker, or a
    /// bucket is away, the store is opened all the same, and [`Bodies::is_unmarked`] is true.
    ///
    /// # Errors
    /// [`Error::Url`] if the URL, or a variable of the environment that it relies on, is invalid;
    /// [`Error::Unwritable`] if nothing can be written into the directory; else the error of the store.
    pub async fn open(
        url: &str,
        store_id: &str,
        settings: Settings,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Self>, Error> {
        Self::open_in(url, store_id, settings, clock, &environment).await
    }

    /// As [`Bodies::open`], with an environment that the caller provides: `env` returns the value of a
    /// variable.
    pub async fn open_in(
        url: &str,
        store_id: &str,
        settings: Settings,
        clock: Arc<dyn Clock>,
        env: &(dyn Fn(&str) -> Option<String> + Sync),
    ) -> Result<Arc<Self>, Error> {
        let store = Store::open(url, store_id, &settings, env)?;
        store.mark_if_that_works().await?;
        Ok(Self::over(store, settings, clock))
    }

    /// As [`Bodies::open`], for an instance that joins a fleet. Without the marker it does not share the body
    /// store with the fleet: [`Error::NotShared`]. Looks for the marker for a few seconds, because the
    /// instance that began that life may be about to write it. A bucket that is away is opened all the same:
    /// until the marker is seen, nothing is put or read.
    pub async fn join(
        url: &str,
        store_id: &str,
        settings: Settings,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Self>, Error> {
        Self::join_in(url, store_id, settings, clock, &environment).await
    }

    /// As [`Bodies::open`], over an object store that the caller provides.
    pub async fn open_over(
        objects: Arc<dyn ObjectStore>,
        store_id: &str,
        settings: Settings,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Self>, Error> {
        let store = Store::over(objects, None, store_id, &settings);
        store.mark_if_that_works().await?;
        Ok(Self::over(store, settings, clock))
    }

    /// As [`Bodies::join`], with an environment that the caller provides.
    pub async fn join_in(
        url: &str,
        store_id: &str,
        settings: Settings,
        clock: Arc<dyn Clock>,
        env: &(dyn Fn(&str) -> Option<String> + Sync),
    ) -> Result<Arc<Self>, Error> {
        let store = Store::open(url, store_id, &settings, env)?;
        store.join_if_that_works(store_id).await?;
        if !store.is_unmarked() {
            // A restored copy of the store may have brought back a life that had ended. If this fails, a sweep
            // reports it.
            let _ = store.mark().await;
        }
        Ok(Self::over(store, settings, clock))
    }

    fn over(store: Store, settings: Settings, clock: Arc<dyn Clock>) -> Arc<Self> {
        let blocks = Blocks::new(settings.blocks);
        let (writing, grace, given_up) = (Writing::default(), Arc::default(), Mutex::default());
        Arc::new(Self { settings, clock, store, blocks, writing, grace, given_up })
    }

    /// The id of the life that new bodies belong to.
    pub fn life(&self) -> Life {
        self.store.life()
    }

    /// Moves to another life of the store: what is written and read from now on belongs to `store_id`, and
    /// its marker is written. Writers and readers under way stay in the life that they began in.
    /// [`Bodies::used`] restarts at 0: sweep or recount to know what the new life holds. Called with the
    /// current id, it only makes sure of the markers.
    ///
    /// The marker of the earlier life is rewritten to say that it has ended. If that fails, [`Bodies::sign`]
    /// tries it again.
    ///
    /// # Errors
    /// The marker could not be written. The change of life stands nevertheless: call again until the marker
    /// is there.
    ///
    /// # Cancel safety
    /// If dropped, the life has changed, and the marker may be missing.
    pub async fn rebind(&self, store_id: &str) -> Result<(), Error> {
        self.go_to(store_id, true).await?;
        // If this fails, the earlier life does not say that it has ended: a sweep then keeps it longer, as
        // one that its fleet may come back to.
        let _ = self.end_those_left().await;
        Ok(())
    }

    /// Returns whether the marker is not known to be there: there was no room for it, or a bucket is away.
    /// Until it is there no body is stored: an instance that found a record of this life could not tell that
    /// its bodies are in this store.
    pub fn is_unmarked(&self) -> bool {
        self.store.is_unmarked()
    }

    /// Returns whether the bucket was away when this instance joined the life of others: whether its bodies
    /// are in this store is not known yet.
    pub fn is_unseen(&self) -> bool {
        self.store.marking() == Marking::Unseen
    }

    /// Why the store was opened without its marker.
    pub fn unmarked_because(&self) -> Error {
        self.store.unmarked_because()
    }

    /// Writes the marker, unless it is there. From then on bodies are stored. A marker that others have
    /// written is only looked for.
    ///
    /// # Errors
    /// [`Error::NotShared`] if others should have written it, and have not; [`Error::NoRoom`] or another error
    /// of the store. Then nothing has changed.
    pub async fn mark(&self) -> Result<(), Error> {
        self.store.mark_or_see().await
    }

    /// Whether a body of this length will be stored, if it is known, as far as the last puts tell.
    pub fn taking(&self, len: Option<u64>) -> Taking {
        self.store.taking(len)
    }

    /// As [`Bodies::rebind`], for an instance that joins a life that others began: without that life's marker
    /// nothing is changed. Looks for it for a few seconds, as [`Bodies::join`] does.
    ///
    /// # Errors
    /// [`Error::NotShared`] if the marker is not there; else the error of the store.
    ///
    /// # Cancel safety
    /// If dropped, the life may or may not have changed.
    pub async fn rejoin(&self, store_id: &str) -> Result<(), Error> {
        self.store.join(store_id).await?;
        self.rebind(store_id).await
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

/// The environment of this process.
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
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
