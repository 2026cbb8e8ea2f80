//! Objects in memory whose reads and writes can be made to go wrong; the reads are counted.

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

/// What becomes of a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    None,
    /// Nothing comes.
    Hangs,
    /// The first byte comes and then nothing.
    Stalls,
    /// An error at once.
    SlowsDown,
    /// It is not there.
    Loses,
    /// One bit is another.
    Flips,
}

/// What becomes of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    Enough,
    /// An error at once.
    None,
    /// It is taken after so long.
    Later(Duration),
}

/// The objects.
#[derive(Debug)]
pub struct Shelf {
    inner: InMemory,
    fault: Mutex<Fault>,
    room: Mutex<Room>,
    gets: AtomicUsize,
}

impl Shelf {
    pub fn new() -> Arc<Self> {
        let (fault, room) = (Mutex::new(Fault::None), Mutex::new(Room::Enough));
        Arc::new(Self { inner: InMemory::new(), fault, room, gets: AtomicUsize::new(0) })
    }

    /// From now on reads go so.
    pub fn set(&self, fault: Fault) {
        *self.fault.lock().expect("nobody panics with it") = fault;
    }

    /// From now on writes go so.
    pub fn has(&self, room: Room) {
        *self.room.lock().expect("nobody panics with it") = room;
    }

    /// How often something was read of it.
    pub fn gets(&self) -> usize {
        self.gets.load(Ordering::SeqCst)
    }

    async fn comes(&self, path: &Path) -> Result<Fault> {
        self.gets.fetch_add(1, Ordering::SeqCst);
        let fault = *self.fault.lock().expect("nobody panics with it");
        match fault {
            Fault::Hangs => std::future::pending().await,
            Fault::SlowsDown => Err(Error::Generic { store: "shelf", source: "SlowDown".into() }),
            Fault::Loses => Err(Error::NotFound { path: path.to_string(), source: "lost".into() }),
            Fault::None | Fault::Stalls | Fault::Flips => {
                tokio::time::sleep(Duration::from_millis(2)).await;
                Ok(fault)
            }
        }
    }
}

fn flipped(bytes: &Bytes) -> Bytes {
    let mut bytes = bytes.to_vec();
    let at = bytes.len() / 2;
    bytes[at] ^= 4;
    bytes.into()
}

impl fmt::Display for Shelf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("shelf")
    }
}

#[async_trait]
impl ObjectStore for Shelf {
    async fn put_opts(&self, path: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        let room = *self.room.lock().expect("nobody panics with it");
        match room {
            Room::Enough => {}
            Room::None => return Err(Error::Generic { store: "shelf", source: "full".into() }),
            Room::Later(late) => tokio::time::sleep(late).await,
        }
        self.inner.put_opts(path, payload, opts).await
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(path, opts).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        let fault = self.comes(path).await?;
        let got = self.inner.get_opts(path, options.clone()).await?;
        if options.head || fault == Fault::None {
            return Ok(got);
        }
        let (meta, range, attributes) = (got.meta.clone(), got.range.clone(), got.attributes.clone());
        let extensions = got.extensions.clone();
        let bytes = got.bytes().await?;
        let payload = match fault {
            Fault::Stalls => stream::iter([Ok(bytes.slice(..1))]).chain(stream::pending()).boxed(),
            _ => stream::iter([Ok(flipped(&bytes))]).boxed(),
        };
        Ok(GetResult { payload: GetResultPayload::Stream(payload), meta, range, attributes, extensions })
    }

    async fn get_ranges(&self, path: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let fault = self.comes(path).await?;
        let all = self.inner.get_ranges(path, ranges).await?;
        match fault {
            Fault::Stalls => std::future::pending().await,
            Fault::Flips => Ok(all.iter().map(flipped).collect()),
            _ => Ok(all),
        }
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
