//! The object store underneath: names, bounds on every call, and what is counted.

use std::path::{Path as FsPath, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt as _, TryStreamExt as _};
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{GetResult, ObjectMeta, ObjectStore, ObjectStoreExt as _, PutPayload};
use sha2::{Digest as _, Sha256};
use tokio::time::timeout;

use super::Error;
use crate::record::Segment;

/// The object that marks a body store as the one of a store's life.
const HERE: &str = "here";

/// What has been counted since the start. Telemetry reads it.
#[derive(Debug, Default)]
pub struct Counters {
    /// Bytes under the store's id, as far as this instance knows: what the last listing found,
    /// and its own puts and deletes since.
    pub used: AtomicU64,
    /// Puts that failed.
    pub put_errors: AtomicU64,
    /// Reads that failed, beside missing segments.
    pub get_errors: AtomicU64,
    /// Deletes that failed.
    pub delete_errors: AtomicU64,
    /// Listings that failed.
    pub list_errors: AtomicU64,
    /// Segments whose length or digest was not what the manifest says.
    pub corrupt: AtomicU64,
    /// Segments that a manifest names and the store has not.
    pub missing: AtomicU64,
    /// Objects removed by the janitor because no record named them.
    pub swept: AtomicU64,
    /// Bytes of growing bodies in memory now.
    pub window: AtomicU64,
    /// The most of those there ever were.
    pub window_peak: AtomicU64,
    /// Bytes put, ever; with `deleted`, tells a listing what happened beside it.
    pub put: AtomicU64,
    /// Bytes deleted, ever.
    pub deleted: AtomicU64,
}

/// Whose body it is: the hash of its key.
#[derive(Debug, Clone)]
pub(super) struct Name {
    text: Arc<str>,
    /// The same, for tables.
    pub(super) hash: u128,
}

/// The objects under one store's id.
#[derive(Debug)]
pub(super) struct Store {
    objects: Arc<dyn ObjectStore>,
    id: String,
    /// The directory, if it is one.
    root: Option<PathBuf>,
    /// No put goes through that would take `used` over this.
    ceiling: u64,
    call_timeout: Duration,
    pub(super) counters: Counters,
}

// === impl Name ===

impl Name {
    /// Of a key hash in 32 hexadecimal digits. Anything else has a name too, just not its own
    /// digits in the tables.
    pub(super) fn of(key_hash: &str) -> Self {
        let hash = u128::from_str_radix(key_hash, 16).ok().filter(|_| key_hash.len() == 32);
        let hash = hash.unwrap_or_else(|| u128::from_be_bytes(digest([key_hash.as_bytes()])));
        Self { text: key_hash.into(), hash }
    }

    /// Its text.
    pub(super) fn as_str(&self) -> &str {
        &self.text
    }
}

/// The first 128 bits of the SHA-256 of the chunks, one after another.
pub(super) fn digest<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> [u8; 16] {
    let mut sha = Sha256::new();
    for chunk in chunks {
        sha.update(chunk);
    }
    first_half(sha)
}

/// The first 128 bits of a SHA-256.
pub(super) fn first_half(sha: Sha256) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(&sha.finalize()[..16]);
    half
}

// === impl Store ===

impl Store {
    /// Opens what `url` names.
    pub(super) fn open(url: &str, id: &str, size: u64, call_timeout: Duration) -> Result<Self, Error> {
        let (objects, root): (Arc<dyn ObjectStore>, _) = if url == "memory:" {
            (Arc::new(InMemory::new()), None)
        } else if let Some(path) = url.strip_prefix("file:") {
            let path = path.strip_prefix("//").filter(|rest| rest.starts_with('/')).unwrap_or(path);
            if path.is_empty() {
                return Err(Error::Url(url.into()));
            }
            std::fs::create_dir_all(path).map_err(|cause| Error::store(&cause))?;
            let local = LocalFileSystem::new_with_prefix(path).map_err(|cause| Error::store(&cause))?;
            (Arc::new(local.with_automatic_cleanup(true)), Some(FsPath::new(path).join(id)))
        } else {
            return Err(Error::Url(url.into()));
        };
        Ok(Self::over(objects, root, id, size, call_timeout))
    }

    /// Over objects that are there.
    pub(super) fn over(
        objects: Arc<dyn ObjectStore>,
        root: Option<PathBuf>,
        id: &str,
        size: u64,
        call_timeout: Duration,
    ) -> Self {
        // A quarter over what the janitor aims at: it works in sweeps, the disk fills meanwhile.
        let ceiling = if size == 0 { u64::MAX } else { size.saturating_add(size / 4) };
        Self { objects, id: id.into(), root, ceiling, call_timeout, counters: Counters::default() }
    }

    /// Looks for the marker; if it is absent, writes it if `found`, else says so.
    pub(super) async fn here(&self, found: bool) -> Result<(), Error> {
        let path = Path::from_iter([self.id.as_str(), HERE]);
        match self.bounded(self.objects.head(&path)).await {
            Ok(_) => Ok(()),
            Err(object_store::Error::NotFound { .. }) if !found => Err(Error::NotShared),
            Err(object_store::Error::NotFound { .. }) => {
                let put = self.bounded(self.objects.put(&path, PutPayload::from_static(b"dustgate\n")));
                put.await.map(|_| ()).map_err(|cause| Error::store(&cause))
            }
            Err(cause) => Err(Error::store(&cause)),
        }
    }

    /// Where a segment is.
    fn path(&self, name: &Name, token: u64, n: u32) -> Path {
        let (token, n) = (token.to_string(), n.to_string());
        Path::from_iter([self.id.as_str(), name.as_str(), token.as_str(), n.as_str()])
    }

    /// Writes a segment. Tried twice in a directory: the janitor may remove an empty one
    /// between its making and its use.
    pub(super) async fn put(&self, name: &Name, token: u64, n: u32, chunks: &[Bytes]) -> Result<(), Error> {
        let len: u64 = chunks.iter().map(|chunk| chunk.len() as u64).sum();
        if self.used().saturating_add(len) > self.ceiling {
            self.counters.put_errors.fetch_add(1, Ordering::Relaxed);
            return Err(Error::NoRoom);
        }
        let path = self.path(name, token, n);
        let mut tries = if self.root.is_some() { 2 } else { 1 };
        loop {
            tries -= 1;
            match self.bounded(self.objects.put(&path, chunks.iter().cloned().collect())).await {
                Ok(_) => {
                    self.counters.used.fetch_add(len, Ordering::Relaxed);
                    self.counters.put.fetch_add(len, Ordering::Relaxed);
                    return Ok(());
                }
                Err(_) if tries > 0 => {}
                Err(cause) => {
                    self.counters.put_errors.fetch_add(1, Ordering::Relaxed);
                    return Err(Error::store(&cause));
                }
            }
        }
    }

    /// Opens a segment for reading from its first byte; its length is checked.
    pub(super) async fn get(&self, name: &Name, segment: &Segment) -> Result<GetResult, Error> {
        let path = self.path(name, segment.token, segment.n);
        let got = self.bounded(self.objects.get(&path)).await;
        let got = got.map_err(|cause| self.failed_get(segment, &cause))?;
        if got.meta.size == segment.len { Ok(got) } else { Err(self.corrupt(segment)) }
    }

    /// Reads a part of a segment.
    pub(super) async fn get_range(
        &self,
        name: &Name,
        segment: &Segment,
        range: std::ops::Range<u64>,
    ) -> Result<Bytes, Error> {
        let path = self.path(name, segment.token, segment.n);
        let len = range.end - range.start;
        let got = self.bounded(self.objects.get_range(&path, range)).await;
        let got = got.map_err(|cause| self.failed_get(segment, &cause))?;
        if got.len() as u64 == len { Ok(got) } else { Err(self.corrupt(segment)) }
    }

    /// A read failed: counts it, and says how.
    pub(super) fn failed_get(&self, segment: &Segment, cause: &object_store::Error) -> Error {
        if matches!(cause, object_store::Error::NotFound { .. }) {
            self.counters.missing.fetch_add(1, Ordering::Relaxed);
            return Error::Missing { token: segment.token, n: segment.n };
        }
        self.counters.get_errors.fetch_add(1, Ordering::Relaxed);
        Error::store(cause)
    }

    /// A segment is not what the manifest says: counts it.
    pub(super) fn corrupt(&self, segment: &Segment) -> Error {
        self.counters.corrupt.fetch_add(1, Ordering::Relaxed);
        Error::Corrupt { token: segment.token, n: segment.n }
    }

    /// All objects under the id, those of one key hash one after another.
    pub(super) fn list(&self) -> BoxStream<'static, Result<ObjectMeta, Error>> {
        self.objects
            .list(Some(&Path::from_iter([self.id.as_str()])))
            .map_err(|cause| Error::store(&cause))
            .boxed()
    }

    /// Splits an object's path into key hash, token and n; `None` if it is no segment of ours.
    pub(super) fn parse(&self, path: &Path) -> Option<(String, u64, u32)> {
        let mut parts = path.parts();
        let (id, key, token, n) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        if id.as_ref() != self.id || parts.next().is_some() {
            return None;
        }
        Some((key.as_ref().to_owned(), token.as_ref().parse().ok()?, n.as_ref().parse().ok()?))
    }

    /// Removes a segment of `len` bytes. One that is gone already is no error.
    pub(super) async fn delete(&self, name: &Name, token: u64, n: u32, len: u64) -> Result<(), Error> {
        match self.bounded(self.objects.delete(&self.path(name, token, n))).await {
            Ok(()) => {
                self.counters.deleted.fetch_add(len, Ordering::Relaxed);
                let less = |used: u64| Some(used.saturating_sub(len));
                let _ = self.counters.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
                Ok(())
            }
            Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(cause) => {
                self.counters.delete_errors.fetch_add(1, Ordering::Relaxed);
                Err(Error::store(&cause))
            }
        }
    }

    /// The directory of this id, if the store is one.
    pub(super) fn root(&self) -> Option<&FsPath> {
        self.root.as_deref()
    }

    /// Bytes under the id, as far as known.
    pub(super) fn used(&self) -> u64 {
        self.counters.used.load(Ordering::Relaxed)
    }

    /// How long one call may take.
    pub(super) fn call_timeout(&self) -> Duration {
        self.call_timeout
    }

    async fn bounded<T>(
        &self,
        call: impl Future<Output = object_store::Result<T>>,
    ) -> object_store::Result<T> {
        timeout(self.call_timeout, call).await.unwrap_or_else(|_| {
            let source = format!("no answer within {:?}", self.call_timeout).into();
            Err(object_store::Error::Generic { store: "bodies", source })
        })
    }
}
