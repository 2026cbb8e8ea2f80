//! Access to the object store: names of objects, a bound on every call, and counters.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{GetResult, ObjectMeta, ObjectStore, ObjectStoreExt as _};
use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, sleep, timeout};

use super::away::Away;
use super::gone::Gone;
use super::location::Location;
use super::marker::{Left, Marker};
use super::shelf::{self, Shelf};
use super::{Error, Settings, s3};
use crate::clock::WallMs;
use crate::record::Segment;

/// The name of the marker: the object by which a body store belongs to a life of the store.
const HERE: &str = "here";
/// The longest that a marker may be, in bytes.
const MARKER_MOST: u64 = 1024;
/// How long a joining instance waits for the marker: the instance that began that life may be about to write
/// it.
const JOIN_PATIENCE: Duration = Duration::from_secs(3);
/// The pause between two looks for the marker.
const JOIN_LOOK: Duration = Duration::from_millis(100);
/// The slowest rate of the store, in bytes per second: the more a call carries, the longer it may take.
pub(super) const FLOOR: u64 = 256 * 1024;

/// Counters since the start, for telemetry.
#[derive(Debug, Default)]
pub struct Counters {
    /// Bytes that the current life takes, as far as this instance knows: what the last listing found, and its
    /// own puts and deletions since. In a directory they are disk space.
    pub used: AtomicU64,
    /// Puts that failed.
    pub put_errors: AtomicU64,
    /// Reads that failed, except for missing segments.
    pub get_errors: AtomicU64,
    /// Deletes that failed.
    pub delete_errors: AtomicU64,
    /// Listings that failed.
    pub list_errors: AtomicU64,
    /// Segments whose length or digest was not that of the manifest.
    pub corrupt: AtomicU64,
    /// Segments that a manifest names and the store does not have.
    pub missing: AtomicU64,
    /// Objects removed by the janitor because no record named them.
    pub swept: AtomicU64,
    /// Bytes of other lives of the store that nothing touches and that are not removed yet.
    pub others: AtomicU64,
    /// Bytes of growing bodies in memory now.
    pub window: AtomicU64,
    /// The highest value of `window`.
    pub window_peak: AtomicU64,
    /// Bytes put since the start. With `deleted` it tells what changed during a listing.
    pub put: AtomicU64,
    /// Bytes deleted since the start.
    pub deleted: AtomicU64,
}

/// The name of a body: the hash of its key, in one life of the store. Code that holds a name stays in that
/// life, whatever the store's id becomes.
#[derive(Debug, Clone)]
pub(super) struct Name {
    life: Arc<str>,
    text: Arc<str>,
    /// The hash as a number, for tables.
    pub(super) hash: u128,
}

/// The objects of a body store.
#[derive(Debug)]
pub(super) struct Store {
    objects: Arc<dyn ObjectStore>,
    /// The id of the life that new names belong to.
    life: RwLock<Arc<str>>,
    /// What this instance writes into markers: the fleet, and how often it rewrites them.
    says: (String, Duration),
    /// Lives that this process has left, and whose markers do not say so yet.
    pub(super) left: Left,
    /// Whether there was no room for the marker: nothing is put until it is written.
    unmarked: AtomicBool,
    /// The directory, if the store is one.
    root: Option<PathBuf>,
    /// A put that would take `used` over this fails.
    ceiling: u64,
    call_timeout: Duration,
    /// Segments that were found missing or corrupt a moment ago.
    pub(super) gone: Gone,
    /// Whether the store can be read.
    pub(super) away: Away,
    pub(super) counters: Counters,
}

// === impl Name ===

impl Name {
    /// The name for a key hash of 32 hexadecimal digits. Any other text has a name too; in tables it is known
    /// by its digest.
    pub(super) fn of(life: Arc<str>, key_hash: &str) -> Self {
        let hash = u128::from_str_radix(key_hash, 16).ok().filter(|_| key_hash.len() == 32);
        let hash = hash.unwrap_or_else(|| u128::from_be_bytes(digest([key_hash.as_bytes()])));
        Self { life, text: key_hash.into(), hash }
    }

    /// The life that the body belongs to.
    pub(super) fn life(&self) -> &Arc<str> {
        &self.life
    }

    /// The path of a segment.
    fn path(&self, token: u64, n: u32) -> Path {
        let (token, n) = (token.to_string(), n.to_string());
        Path::from_iter([&*self.life, &*self.text, token.as_str(), n.as_str()])
    }
}

/// The first 128 bits of the SHA-256 of the concatenated chunks.
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
    /// Opens the store at `url`. What the URL does not set comes from `env`.
    pub(super) fn open(
        url: &str,
        id: &str,
        settings: &Settings,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, Error> {
        let (objects, root): (Arc<dyn ObjectStore>, _) = match Location::parse(url).map_err(Error::Url)? {
            Location::Memory => (Arc::new(InMemory::new()), None),
            Location::Directory(path) => (Arc::new(Shelf::open(&path)?), Some(path)),
            Location::Bucket(bucket) => (s3::open(&bucket, settings.call_timeout, env)?, None),
        };
        Ok(Self::over(objects, root, id, settings))
    }

    /// A store over objects that are open already.
    pub(super) fn over(
        objects: Arc<dyn ObjectStore>,
        root: Option<PathBuf>,
        id: &str,
        settings: &Settings,
    ) -> Self {
        let (size, call_timeout) = (settings.size, settings.call_timeout);
        // A quarter above the limit that the janitor aims at: it works in sweeps, and the disk fills
        // meanwhile.
        let ceiling = if size == 0 { u64::MAX } else { size.saturating_add(size / 4) };
        let life = RwLock::new(id.into());
        let (unmarked, counters) = (AtomicBool::new(false), Counters::default());
        let (gone, says, left) = (Gone::new(), (settings.fleet.clone(), settings.linger), Left::default());
        let away = Away::new();
        Self { objects, life, says, left, unmarked, root, ceiling, call_timeout, gone, away, counters }
    }

    /// The id of the life that new names belong to.
    pub(super) fn life(&self) -> Arc<str> {
        // Nothing in here panics half way through a change.
        Arc::clone(&self.life.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Moves to a life: new names belong to it. Returns whether it is another one.
    pub(super) fn enter(&self, id: &str) -> bool {
        let mut life = self.life.write().unwrap_or_else(PoisonError::into_inner);
        let other = **life != *id;
        if other {
            self.left.went(&life, id);
            *life = id.into();
        }
        other
    }

    /// The name of a key hash in the current life.
    pub(super) fn name(&self, key_hash: &str) -> Name {
        Name::of(self.life(), key_hash)
    }

    /// Writes the marker of the current life if it is missing, or if it says that this life has ended.
    pub(super) async fn mark(&self) -> Result<(), Error> {
        if self.marker(&self.life()).await?.is_none_or(|(marker, _)| marker.has_ended()) {
            self.sign().await?;
        }
        self.unmarked.store(false, Ordering::Release);
        Ok(())
    }

    /// Writes the marker of the current life in any case.
    pub(super) async fn sign(&self) -> Result<(), Error> {
        self.write_marker(&self.life(), None).await
    }

    /// Writes the marker of a life; `ended_by` is the life that came after, if this one has ended.
    pub(super) async fn write_marker(&self, life: &str, ended_by: Option<&str>) -> Result<(), Error> {
        let text = Bytes::from(Marker::write(&self.says.0, self.says.1, ended_by));
        let marker = marker(life);
        let put = self.objects.put(&marker, text.into());
        self.bounded(0, put).await.map(drop).map_err(|cause| {
            self.counters.put_errors.fetch_add(1, Ordering::Relaxed);
            Error::store(&cause)
        })
    }

    /// The marker of a life and when it was written, if there is one.
    pub(super) async fn marker(&self, life: &str) -> Result<Option<(Marker, WallMs)>, Error> {
        let read = async {
            let got = self.objects.get(&marker(life)).await?;
            let at = u64::try_from(got.meta.last_modified.timestamp_millis()).unwrap_or(u64::MAX);
            // A longer object is not a marker of ours.
            let text = if got.meta.size > MARKER_MOST { Bytes::new() } else { got.bytes().await? };
            Ok((Marker::read(&text), at))
        };
        match self.bounded(0, read).await {
            Ok(found) => Ok(Some(found)),
            Err(object_store::Error::NotFound { source, .. }) => {
                // Reads with GET because the answer to HEAD cannot say what was not found.
                let cause = Error::store(&*source);
                if cause.to_string().contains("NoSuchBucket") { Err(cause) } else { Ok(None) }
            }
            Err(cause) => Err(Error::store(&cause)),
        }
    }

    /// Removes the marker of a life.
    pub(super) async fn unmark(&self, life: &str) -> Result<(), Error> {
        self.remove(vec![marker(life)]).await
    }

    /// The names at the top level that may be lives. No other object is looked at.
    pub(super) async fn lives(&self) -> Result<Vec<String>, Error> {
        let listed = self.bounded(0, self.objects.list_with_delimiter(None)).await;
        let listed = listed.map_err(|cause| Error::store(&cause))?;
        let first = |path: Path| path.parts().next().map(|part| part.as_ref().to_owned());
        Ok(listed.common_prefixes.into_iter().filter_map(first).collect())
    }

    /// As [`Store::mark`]. If there is no room, notes that the marker is missing.
    pub(super) async fn mark_if_there_is_room(&self) -> Result<(), Error> {
        match self.mark().await {
            Err(Error::NoRoom) => {
                self.unmarked.store(true, Ordering::Release);
                Ok(())
            }
            other => other,
        }
    }

    pub(super) fn is_unmarked(&self) -> bool {
        self.unmarked.load(Ordering::Acquire)
    }

    /// Looks for the marker of a life, repeatedly for a short while: [`Error::NotShared`] if it is not there
    /// then.
    pub(super) async fn join(&self, life: &str) -> Result<(), Error> {
        let until = Instant::now() + JOIN_PATIENCE;
        while self.marker(life).await?.is_none() {
            if Instant::now() >= until {
                return Err(Error::NotShared);
            }
            sleep(JOIN_LOOK).await;
        }
        Ok(())
    }

    /// Writes a segment. In a directory it is tried twice: between making a directory and using it, the
    /// janitor may remove it because it is empty.
    pub(super) async fn put(&self, name: &Name, token: u64, n: u32, chunks: &[Bytes]) -> Result<(), Error> {
        let len: u64 = chunks.iter().map(|chunk| chunk.len() as u64).sum();
        let takes = self.takes(len);
        if self.used().saturating_add(takes) > self.ceiling || self.is_unmarked() {
            self.counters.put_errors.fetch_add(1, Ordering::Relaxed);
            return Err(Error::NoRoom);
        }
        let path = name.path(token, n);
        let mut tries = if self.root.is_some() { 2 } else { 1 };
        loop {
            tries -= 1;
            match self.bounded(len, self.objects.put(&path, chunks.iter().cloned().collect())).await {
                Ok(_) => {
                    self.counters.used.fetch_add(takes, Ordering::Relaxed);
                    self.counters.put.fetch_add(takes, Ordering::Relaxed);
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
        let path = name.path(segment.token, segment.n);
        let got = self.bounded(0, self.objects.get(&path)).await;
        let got = got.map_err(|cause| self.failed_get(name, segment, &cause))?;
        if got.meta.size == segment.len { Ok(got) } else { Err(self.corrupt(name, segment)) }
    }

    /// Reads a part of a segment.
    pub(super) async fn get_range(
        &self,
        name: &Name,
        segment: &Segment,
        range: std::ops::Range<u64>,
    ) -> Result<Bytes, Error> {
        let path = name.path(segment.token, segment.n);
        let len = range.end - range.start;
        let got = self.bounded(len, self.objects.get_range(&path, range)).await;
        let got = got.map_err(|cause| self.failed_get(name, segment, &cause))?;
        if got.len() as u64 == len { Ok(got) } else { Err(self.corrupt(name, segment)) }
    }

    /// Checks that a segment exists with the right length, without reading its bytes.
    pub(super) async fn look_for(&self, name: &Name, segment: &Segment) -> Result<(), Error> {
        let path = name.path(segment.token, segment.n);
        let there = self.bounded(0, self.objects.head(&path)).await;
        let there = there.map_err(|cause| self.failed_get(name, segment, &cause))?;
        if there.size == segment.len { Ok(()) } else { Err(self.corrupt(name, segment)) }
    }

    /// Counts a failed read, and returns its error.
    pub(super) fn failed_get(&self, name: &Name, segment: &Segment, cause: &object_store::Error) -> Error {
        if matches!(cause, object_store::Error::NotFound { .. }) {
            self.counters.missing.fetch_add(1, Ordering::Relaxed);
            let Segment { token, n, .. } = *segment;
            return self.gone.note(name, segment, Error::Missing { token, n });
        }
        self.counters.get_errors.fetch_add(1, Ordering::Relaxed);
        Error::store(cause)
    }

    /// Counts a read that timed out, and returns its error.
    pub(super) fn stalled(&self) -> Error {
        self.counters.get_errors.fetch_add(1, Ordering::Relaxed);
        Error::Store(format!("no more bytes within {:?}", self.call_timeout).into())
    }

    /// Counts a segment that is not what the manifest says, notes it as lost, and returns the error.
    pub(super) fn corrupt(&self, name: &Name, segment: &Segment) -> Error {
        self.counters.corrupt.fetch_add(1, Ordering::Relaxed);
        let Segment { token, n, .. } = *segment;
        self.gone.note(name, segment, Error::Corrupt { token, n })
    }

    /// Lists all objects of a life, those of one key hash one after another. Other objects of a bucket are
    /// not listed. The time from one object to the next is bounded: a whole listing may be long.
    pub(super) fn list(&self, life: &str) -> BoxStream<'static, Result<ObjectMeta, Error>> {
        let bound = self.call_timeout;
        let listing = self.objects.list(Some(&Path::from_iter([life])));
        stream::unfold(Some(listing), move |listing| async move {
            let mut listing = listing?;
            match timeout(bound, listing.next()).await {
                Ok(next) => Some((next?.map_err(|cause| Error::store(&cause)), Some(listing))),
                Err(_) => Some((Err(Error::Store(format!("no listing within {bound:?}").into())), None)),
            }
        })
        .boxed()
    }

    /// Removes segments, each given with the space it takes, in as few calls as the store allows. A segment
    /// that is missing counts as removed. Returns a result for each.
    pub(super) async fn delete(&self, segments: &[(Name, u64, u32, u64)]) -> Vec<Result<(), Error>> {
        let paths: Vec<_> = segments.iter().map(|(name, token, n, _)| Ok(name.path(*token, *n))).collect();
        let mut answers = self.objects.delete_stream(stream::iter(paths).boxed());
        let mut failed = None;
        let mut done = Vec::with_capacity(segments.len());
        for (_, _, _, len) in segments {
            // After a timeout no more answers are awaited: the remaining segments fail, too.
            let answer = match &failed {
                Some(cause) => Err(Error::clone(cause)),
                None => match timeout(self.call_timeout, answers.next()).await {
                    Ok(Some(Ok(_) | Err(object_store::Error::NotFound { .. }))) => Ok(()),
                    Ok(Some(Err(cause))) => Err(Error::store(&cause)),
                    Ok(None) => Err(Error::Store("the deletion was not answered".into())),
                    Err(elapsed) => Err(failed.insert(Error::store(&elapsed)).clone()),
                },
            };
            match answer {
                Ok(()) => {
                    self.counters.deleted.fetch_add(*len, Ordering::Relaxed);
                    let less = |used: u64| Some(used.saturating_sub(*len));
                    let _ = self.counters.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
                }
                Err(_) => {
                    self.counters.delete_errors.fetch_add(1, Ordering::Relaxed);
                }
            }
            done.push(answer);
        }
        done
    }

    /// Removes all objects of a life, including its marker.
    pub(super) async fn clear(&self, life: &str) -> Result<(), Error> {
        let mut listing = self.list(life);
        let mut paths = Vec::new();
        while let Some(object) = listing.next().await {
            paths.push(object?.location);
        }
        self.remove(paths).await
    }

    /// Removes objects that no counter covers. An object that is missing counts as removed.
    pub(super) async fn remove(&self, paths: Vec<Path>) -> Result<(), Error> {
        let paths = paths.into_iter().map(Ok);
        let mut answers = self.objects.delete_stream(stream::iter(paths).boxed());
        loop {
            match timeout(self.call_timeout, answers.next()).await {
                Ok(Some(Ok(_) | Err(object_store::Error::NotFound { .. }))) => {}
                Ok(Some(Err(cause))) => return Err(Error::store(&cause)),
                Ok(None) => return Ok(()),
                Err(elapsed) => return Err(Error::store(&elapsed)),
            }
        }
    }

    /// The directory of a life, if the store is one.
    pub(super) fn root(&self, life: &str) -> Option<PathBuf> {
        self.root.as_ref().map(|root| root.join(life))
    }

    /// The space that a segment of `len` bytes takes.
    pub(super) fn takes(&self, len: u64) -> u64 {
        if self.root.is_some() { shelf::takes(len) } else { len }
    }

    /// The space that a life takes beside its segments: where bodies are files, their directories.
    pub(super) async fn overhead(&self, life: &str) -> u64 {
        let Some(root) = self.root(life) else { return 0 };
        let counted = tokio::task::spawn_blocking(move || shelf::overhead(&root));
        // It is only a small part of the total.
        counted.await.unwrap_or(0)
    }

    /// Bytes that the current life takes, as far as known.
    pub(super) fn used(&self) -> u64 {
        self.counters.used.load(Ordering::Relaxed)
    }

    /// The timeout of one call.
    pub(super) fn call_timeout(&self) -> Duration {
        self.call_timeout
    }

    /// Bounds a call that carries `len` bytes.
    async fn bounded<T>(
        &self,
        len: u64,
        call: impl Future<Output = object_store::Result<T>>,
    ) -> object_store::Result<T> {
        let bound = self.call_timeout + Duration::from_secs(len / FLOOR);
        timeout(bound, call).await.unwrap_or_else(|_| {
            let source = format!("no answer within {bound:?}").into();
            Err(object_store::Error::Generic { store: "bodies", source })
        })
    }
}

/// The path of a life's marker.
fn marker(life: &str) -> Path {
    Path::from_iter([life, HERE])
}

/// Splits the path of an object of a life into key hash, token and n; `None` if it is not a segment.
pub(super) fn parse(life: &str, path: &Path) -> Option<(String, u64, u32)> {
    let mut parts = path.parts();
    let (id, key, token, n) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    if id.as_ref() != life || parts.next().is_some() {
        return None;
    }
    Some((key.as_ref().to_owned(), token.as_ref().parse().ok()?, n.as_ref().parse().ok()?))
}
