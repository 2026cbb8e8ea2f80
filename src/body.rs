//! Bodies: the bytes of responses, as immutable segments under names that are used once.
//!
//! A [`Writer`] takes a body as it comes, cuts it into segments and puts them, while any number
//! of [`Reader`]s made from its [`Growing`] follow. Once it is finished its [`Manifest`] says
//! where it is, and [`Bodies::reader`] reads it from there. A segment is checked (length,
//! digest) before its first byte is passed on, once per instance.
//!
//! # Memory
//! A fill holds its recent bytes: those that the store has not acknowledged (4 MiB for a body
//! under 128 MiB, up to 18 MiB near 2 GiB) or [`Settings::window`] of them, whichever is more;
//! a body up to [`Settings::hold`] is held whole. A reader that falls behind reads back from the
//! store, through one cache of blocks for everybody, and holds one block at a time. One that is
//! faster than the store has up to eight segments read ahead of it (8 MiB), out of 64 MiB for
//! all readers; where that is used up it has none.
//!
//! # A body that can't be stored
//! If the store fails on the way, or the body turns out too large, no record will name it. Those who
//! read it get the rest nevertheless: it is held for the slowest of them, and no more is fetched
//! while that one is far behind ([`Spill`]).
//!
//! # Runtime
//! [`Bodies::writer`] and every read spawn tasks: both belong inside a tokio runtime.

use std::error::Error as StdError;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use object_store::ObjectStore;

use crate::clock::Clock;
use crate::record::{MAX_SEGMENTS, Manifest};

mod ahead;
mod away;
mod blocks;
mod fill;
mod gone;
mod growing;
mod lives;
mod location;
mod marker;
mod reader;
mod remote_reader;
mod s3;
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

pub use growing::Growing;
pub use lives::{Fate, OtherLife};
pub use location::{Bucket, Location};
pub use reader::Reader;
pub use remote_reader::Tail;
pub use settings::Settings;
pub use spill::Spill;
pub use store::Counters;
pub use sweep::{Named, Names, Sweeper, Swept};
pub use writer::Writer;

use blocks::Blocks;
use fill::Fill;
use store::{Name, Store};
use sweep::Writing;

/// The most bytes that [`Bodies::whole`] reads into one piece.
pub const MAX_WHOLE: u64 = 64 * 1024 * 1024;

/// Why a body could not be written or read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The writer went away before the body was complete.
    #[error("the body broke off")]
    Broken,
    /// The body ended at another length than was promised.
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
    /// The store failed a moment ago, and is gone past until it answers again.
    #[error("the body store failed a moment ago")]
    Away,
    /// A manifest names a segment that the store does not have.
    #[error("segment {token}/{n} is missing")]
    Missing {
        /// The segment's token.
        token: u64,
        /// Its place in that writer's row.
        n: u32,
    },
    /// A segment is not what the manifest says.
    #[error("segment {token}/{n} is corrupt")]
    Corrupt {
        /// The segment's token.
        token: u64,
        /// Its place in that writer's row.
        n: u32,
    },
    /// A manifest does not add up.
    #[error("the manifest does not add up")]
    Manifest,
    /// The asked bytes are not in the body.
    #[error("the range is outside the body")]
    Range,
    /// Nobody reads what is spilt any more.
    #[error("the reader has gone")]
    Gone,
    /// The others would have waited too long for this reader.
    #[error("the reader took nothing for too long")]
    TooSlow,
    /// The body store has no marker of this store's life: `bodies.url` and `dust.url` do not
    /// belong together.
    #[error("the body store does not carry this store's id: bodies.url and dust.url do not belong together")]
    NotShared,
    /// A URL that is not understood.
    #[error("{0}")]
    Url(String),
}

/// The bodies of one store's life.
#[derive(Debug)]
pub struct Bodies {
    settings: Settings,
    clock: Arc<dyn Clock>,
    store: Store,
    blocks: Blocks,
    writing: Writing,
}

// === impl Error ===

impl Error {
    /// One word for logs and labels.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Broken => "broken",
            Self::Truncated => "truncated",
            Self::TooLarge => "too_large",
            Self::Full => "full",
            Self::NoRoom => "no_room",
            Self::Store(_) | Self::Away => "store",
            Self::Missing { .. } => "missing",
            Self::Corrupt { .. } => "corrupt",
            Self::Manifest => "manifest",
            Self::Range => "range",
            Self::Gone => "gone",
            // The setting that it is cut off by.
            Self::TooSlow => "send_timeout",
            Self::NotShared => "not_shared",
            Self::Url(_) => "url",
        }
    }

    /// Whether the stored body is of no use to anybody: its record should go.
    pub fn condemns(&self) -> bool {
        matches!(self, Self::Missing { .. } | Self::Corrupt { .. } | Self::Manifest)
    }

    /// With the causes of the cause: object stores say the useful part last.
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

/// Whether a disk, a quota or a limit of this process has no room left.
fn is_full(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

// === impl Bodies ===

impl Bodies {
    /// Opens the store at `url` (see [`Location`]; a directory is made if it is not there) for the
    /// life `store_id`, and leaves the marker `<store id>/here` in it. If there is no room for that,
    /// it is open all the same, and [`Bodies::is_unmarked`].
    ///
    /// # Errors
    /// [`Error::Url`] if the URL or what it leaves to the environment will not do, and whatever
    /// the store says: one that can't be reached now is not opened.
    pub async fn open(
        url: &str,
        store_id: &str,
        settings: Settings,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Self>, Error> {
        Self::open_in(url, store_id, settings, clock, &environment).await
    }

    /// As [`Bodies::open`], in an environment that is handed in: `env` tells what a variable is.
    pub async fn open_in(
        url: &str,
        store_id: &str,
        settings: Settings,
        clock: Arc<dyn Clock>,
        env: &(dyn Fn(&str) -> Option<String> + Sync),
    ) -> Result<Arc<Self>, Error> {
        let store = Store::open(url, store_id, &settings, env)?;
        store.mark_if_there_is_room().await?;
        Ok(Self::over(store, settings, clock))
    }

    /// As [`Bodies::open`], for an instance that joins a fleet: without the marker there it
    /// does not share the body store, and that is [`Error::NotShared`]. Looks for a few seconds,
    /// as whoever began that life may be about to leave it.
    pub async fn join(
        url: &str,
        store_id: &str,
        settings: Settings,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Self>, Error> {
        Self::join_in(url, store_id, settings, clock, &environment).await
    }

    /// As [`Bodies::open`], over objects of another make.
    pub async fn open_over(
        objects: Arc<dyn ObjectStore>,
        store_id: &str,
        settings: Settings,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Self>, Error> {
        let store = Store::over(objects, None, store_id, &settings);
        store.mark_if_there_is_room().await?;
        Ok(Self::over(store, settings, clock))
    }

    /// As [`Bodies::join`], in an environment that is handed in.
    pub async fn join_in(
        url: &str,
        store_id: &str,
        settings: Settings,
        clock: Arc<dyn Clock>,
        env: &(dyn Fn(&str) -> Option<String> + Sync),
    ) -> Result<Arc<Self>, Error> {
        let store = Store::open(url, store_id, &settings, env)?;
        store.join(store_id).await?;
        // A copy of the store may have brought a life back that had ended. If this fails, a sweep says it.
        let _ = store.mark().await;
        Ok(Self::over(store, settings, clock))
    }

    fn over(store: Store, settings: Settings, clock: Arc<dyn Clock>) -> Arc<Self> {
        let blocks = Blocks::new(settings.blocks);
        Arc::new(Self { settings, clock, store, blocks, writing: Writing::default() })
    }

    /// The id of the life that new bodies belong to.
    pub fn life(&self) -> Arc<str> {
        self.store.life()
    }

    /// The store has begun another life: what is written and read from now on belongs to
    /// `store_id`, and its marker is left there. Writers and readers that are under way keep the
    /// life that they began in. [`Bodies::used`] begins at 0: sweep or recount to know what the
    /// other life has. Called with the same id it only makes sure of the markers.
    ///
    /// The marker of the life before says from now on that it has ended. Where that can't be written it
    /// is owed, and [`Bodies::sign`] tries again.
    ///
    /// # Errors
    /// The marker could not be written. The change of life stands nevertheless, as it must: call
    /// again until it is there.
    ///
    /// # Cancel safety
    /// Dropped, the life has changed, and the marker may not be there.
    pub async fn rebind(&self, store_id: &str) -> Result<(), Error> {
        self.go_to(store_id, true).await?;
        // To who sweeps, a life whose end nobody saw is one that a fleet may come back to: it waits longer.
        let _ = self.end_those_left().await;
        Ok(())
    }

    /// Whether there was no room for the marker. Until it is there nothing is stored: whoever found
    /// something of this life in the store would not find that its bodies belong to it.
    pub fn is_unmarked(&self) -> bool {
        self.store.is_unmarked()
    }

    /// Writes the marker, if it is not there. From then on bodies are stored.
    ///
    /// # Errors
    /// [`Error::NoRoom`], and whatever the store says: then nothing has changed.
    pub async fn mark(&self) -> Result<(), Error> {
        self.store.mark().await
    }

    /// As [`Bodies::rebind`], for an instance that did not know the life until now, and joins those
    /// that did: without that life's marker nothing is changed. Looks for a few seconds, as
    /// [`Bodies::join`] does.
    ///
    /// # Errors
    /// [`Error::NotShared`] if the marker is not there, and whatever the store says.
    ///
    /// # Cancel safety
    /// Dropped, the life has changed or not.
    pub async fn rejoin(&self, store_id: &str) -> Result<(), Error> {
        self.store.join(store_id).await?;
        self.rebind(store_id).await
    }

    /// Removes all bodies of a life that nobody else knows, and its marker, when it is over. Who
    /// still reads one of them is broken off.
    ///
    /// # Errors
    /// What the store says; then some may be left, and it may be tried again.
    pub async fn clear(&self, store_id: &str) -> Result<(), Error> {
        self.store.clear(store_id).await
    }

    /// A writer for a new body, and what its readers are made from. `token` is the number of
    /// the lease that it is written under: a pair of hash and token is used once. `len_hint` is
    /// the length that upstream promised: a body of another length never finishes. More than
    /// `max` bytes are [`Error::TooLarge`].
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

    /// A writer that goes on where another, dead one stopped: after the segments that `prefix`
    /// names. `len_hint` and `max` are of the whole.
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

    /// A body that another instance is writing, as far as its growing manifests tell.
    pub fn follow(self: &Arc<Self>, key_hash: &str, len_hint: Option<u64>) -> (Tail, Growing) {
        Tail::begin(Fill::new(Arc::clone(self), self.store.name(key_hash), 0, len_hint))
    }

    /// A reader of a stored body, or of the bytes `first..=last` of it. A manifest that does
    /// not add up, a range that is not in it, or bytes that are [gone](Bodies::is_gone) are an error
    /// at the first read.
    pub fn reader(
        self: &Arc<Self>,
        key_hash: &str,
        manifest: &Arc<Manifest>,
        range: Option<(u64, u64)>,
    ) -> Reader {
        Reader::stored(Arc::clone(self), self.store.name(key_hash), Arc::clone(manifest), range)
    }

    /// A small body in one piece, checked. Over [`MAX_WHOLE`] it is [`Error::TooLarge`].
    pub async fn whole(self: &Arc<Self>, key_hash: &str, manifest: &Manifest) -> Result<Bytes, Error> {
        check(manifest)?;
        if manifest.len > MAX_WHOLE {
            return Err(Error::TooLarge);
        }
        let name = self.name_of(key_hash, manifest)?;
        self.in_one(&name, manifest).await
    }

    /// Removes the segments of a body that no record ever named, at once.
    pub async fn discard(&self, key_hash: &str, manifest: &Manifest) -> Result<(), Error> {
        let life = manifest.life.clone().unwrap_or_else(|| self.life());
        let name = Name::of(life, key_hash);
        let segments = manifest.segments.iter().take(MAX_SEGMENTS);
        let segments: Vec<_> = segments
            .map(|segment| (name.clone(), segment.token, segment.n, self.store.takes(segment.len)))
            .collect();
        self.store.delete(&segments).await.into_iter().collect()
    }

    /// What has been counted.
    pub fn counters(&self) -> &Counters {
        &self.store.counters
    }

    /// Bytes of bodies in memory: of those that grow, and of blocks read back.
    pub fn in_memory(&self) -> u64 {
        self.counters().window.load(Ordering::Relaxed) + self.blocks.weight()
    }

    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }
}

/// The environment of this process.
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Whether a manifest, which is input, can be read at all.
fn check(manifest: &Manifest) -> Result<(), Error> {
    let row = manifest.segments.len() <= MAX_SEGMENTS;
    // Far above what is ever cut: a length that nobody wrote.
    let sane = manifest.segments.iter().all(|segment| segment.len <= MAX_WHOLE);
    if row && sane && manifest.is_whole() { Ok(()) } else { Err(Error::Manifest) }
}

#[cfg(test)]
mod tests;
