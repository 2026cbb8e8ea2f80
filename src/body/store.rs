//! Access to the object store: names of objects, a bound on every call, and counters.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock, RwLock};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{GetResult, ObjectMeta, ObjectStore, ObjectStoreExt as _};
use tokio::time::timeout;

use super::away::Away;
use super::carrier::Carrier;
use super::counters::Counters;
use super::destination::Place;
use super::gone::Gone;
use super::location::Location;
use super::marker::Left;
use super::name::Name;
use super::shelf::{self, Shelf};
use super::{Error, Settings, s3};
use crate::record::{Life, Segment};

mod carried;
mod marked;
mod taking;

pub(super) use marked::Marking;
use marked::Marks;
use taking::Takes;
pub use taking::Taking;

/// The slowest rate of the store, in bytes per second: the more a call carries, the longer it may take.
pub(super) const FLOOR: u64 = 256 * 1024;

/// The objects of a body store.
#[derive(Debug)]
pub(super) struct Store {
    /// Objects. An empty store in memory, if bodies have no place but the carrier.
    objects: Arc<dyn ObjectStore>,
    /// Where bodies go that are not small.
    place: Place,
    /// A body up to this many bytes may lie beside its record.
    small: u64,
    /// What carries segments, once it is known.
    carrier: OnceLock<Arc<dyn Carrier>>,
    /// The id of the life that new names belong to.
    life: RwLock<Life>,
    /// What this instance writes into markers: the fleet, and how often it rewrites them.
    says: (String, Duration),
    /// Lives that this process has left, and whose markers do not say so yet.
    pub(super) left: Left,
    /// Whether the marker of the life is known to be there.
    marks: Marks,
    /// Whether the last puts worked: those of objects, and of what is carried.
    taken: [Takes; 2],
    /// The directory, if the store is one.
    root: Option<PathBuf>,
    /// A put that would take `used` over this fails.
    ceiling: u64,
    call_timeout: Duration,
    /// Segments that were found missing or corrupt a moment ago.
    pub(super) gone: Gone,
    /// Whether the objects can be read, and what is carried.
    away: [Away; 2],
    pub(super) counters: Counters,
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
        let (url, place) = match (Location::parse(url).map_err(Error::Url)?, &settings.large) {
            (Location::Dust, None) => (Location::Dust, Place::Carrier),
            (Location::Dust, Some(large)) => {
                (Location::parse(large.reveal()).map_err(Error::Url)?, Place::Both)
            }
            (other, _) => (other, Place::Objects),
        };
        let (objects, root): (Arc<dyn ObjectStore>, _) = match url {
            Location::Memory | Location::Dust => (Arc::new(InMemory::new()), None),
            Location::Directory(path) => (Arc::new(Shelf::open(&path)?), Some(path)),
            Location::Bucket(bucket) => (s3::open(&bucket, settings.call_timeout, env)?, None),
        };
        Ok(Self { place, ..Self::over(objects, root, id, settings) })
    }

    /// A store over objects that are open already.
    pub(super) fn over(
        objects: Arc<dyn ObjectStore>,
        root: Option<PathBuf>,
        id: &str,
        settings: &Settings,
    ) -> Self {
        let (ceiling, call_timeout) = (settings.ceiling(), settings.call_timeout);
        let life = RwLock::new(id.into());
        let (marks, taken, counters) = (Marks::default(), Default::default(), Counters::default());
        let (gone, says, left) = (Gone::new(), (settings.fleet.clone(), settings.linger), Left::default());
        let away = [Away::new(), Away::new()];
        let (place, small, carrier) = (Place::Objects, settings.small, OnceLock::new());
        Self {
            objects,
            place,
            small,
            carrier,
            life,
            says,
            left,
            marks,
            taken,
            root,
            ceiling,
            call_timeout,
            gone,
            away,
            counters,
        }
    }

    /// Writes a segment. In a directory it is tried twice: between making a directory and using it, the
    /// janitor may remove it because it is empty.
    pub(super) async fn put(&self, name: &Name, token: u64, n: u32, chunks: &[Bytes]) -> Result<(), Error> {
        let len: u64 = chunks.iter().map(|chunk| chunk.len() as u64).sum();
        let put = self.put_object(name, token, n, chunks, len).await;
        self.taken[0].note(put.is_ok());
        put
    }

    async fn put_object(
        &self,
        name: &Name,
        token: u64,
        n: u32,
        chunks: &[Bytes],
        len: u64,
    ) -> Result<(), Error> {
        let takes = self.takes(len);
        if let Some(cause) = self.marks.keeps_from_putting() {
            return Err(self.failed_put(cause));
        }
        self.has_room_for(takes)?;
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
                Err(cause) => return Err(self.failed_put(Error::store(&cause))),
            }
        }
    }

    /// Fails if so many more bytes are too many.
    pub(super) fn has_room_for(&self, takes: u64) -> Result<(), Error> {
        let fits = self.used().saturating_add(takes) <= self.ceiling;
        if fits { Ok(()) } else { Err(self.failed_put(Error::NoRoom)) }
    }

    /// Counts a failed put, and returns its error.
    fn failed_put(&self, cause: Error) -> Error {
        self.counters.put_errors.fetch_add(1, Ordering::Relaxed);
        cause
    }

    /// Opens a segment for reading from its first byte; its length is checked.
    pub(super) async fn get(&self, name: &Name, segment: &Segment) -> Result<GetResult, Error> {
        self.marks.is_seen()?;
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
        self.marks.is_seen()?;
        let path = name.path(segment.token, segment.n);
        let len = range.end - range.start;
        let got = self.bounded(len, self.objects.get_range(&path, range)).await;
        let got = got.map_err(|cause| self.failed_get(name, segment, &cause))?;
        if got.len() as u64 == len { Ok(got) } else { Err(self.corrupt(name, segment)) }
    }

    /// Checks that a segment exists with the right length, without reading its bytes.
    pub(super) async fn look_for(&self, name: &Name, segment: &Segment) -> Result<(), Error> {
        self.marks.is_seen()?;
        let path = name.path(segment.token, segment.n);
        let there = self.bounded(0, self.objects.head(&path)).await;
        let there = there.map_err(|cause| self.failed_get(name, segment, &cause))?;
        if there.size == segment.len { Ok(()) } else { Err(self.corrupt(name, segment)) }
    }

    /// Counts a failed read, and returns its error.
    pub(super) fn failed_get(&self, name: &Name, segment: &Segment, cause: &object_store::Error) -> Error {
        if matches!(cause, object_store::Error::NotFound { .. }) {
            return self.missing(name, segment);
        }
        self.counters.get_errors.fetch_add(1, Ordering::Relaxed);
        Error::store(cause)
    }

    /// Counts a segment that is missing, notes it as lost, and returns the error.
    fn missing(&self, name: &Name, segment: &Segment) -> Error {
        self.counters.missing.fetch_add(1, Ordering::Relaxed);
        let Segment { token, n, .. } = *segment;
        self.gone.note(name, segment, Error::Missing { token, n })
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

    /// The space that an object of `len` bytes takes.
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

    /// Bytes that the current life takes, as far as known, with those that are carried.
    pub(super) fn used(&self) -> u64 {
        self.counters.used.load(Ordering::Relaxed).saturating_add(self.carries())
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

/// Splits the path of an object of a life into key hash, token and n; `None` if it is not a segment.
pub(super) fn parse(life: &str, path: &Path) -> Option<(String, u64, u32)> {
    let mut parts = path.parts();
    let (id, key, token, n) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    if id.as_ref() != life || parts.next().is_some() {
        return None;
    }
    Some((key.as_ref().to_owned(), token.as_ref().parse().ok()?, n.as_ref().parse().ok()?))
}
