//! One writer, many readers, and a store that fails in several ways.

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt as _, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result as StoreResult,
};
use tokio::sync::Semaphore;

use super::*;
use crate::clock::{ManualClock, SystemClock};

mod carried;
mod carrier;
mod gone;
mod growing;
mod joining;
mod lives;
mod memory;
mod others;
mod reads;
mod small;
mod spill;
mod stored;
mod sweep;
mod threads;
mod writing;

const KEY: &str = "00112233445566778899aabbccddeeff";
const KIB: usize = 1024;
const MIB: usize = 1024 * 1024;
const MANY: u64 = u64::MAX;

/// A store that fails on demand.
#[derive(Debug)]
struct Faulty {
    inner: InMemory,
    /// How many puts still succeed.
    puts_left: AtomicUsize,
    /// If `gated`, each put waits for a permit.
    gate: Semaphore,
    gated: AtomicBool,
    gets_fail: AtomicBool,
    /// How long each get takes; the largest number means for ever.
    gets_take_ms: AtomicUsize,
    /// Gets return the first byte and then no more.
    streams_hang: AtomicBool,
    /// Gets of this object hang.
    hangs_at: Mutex<Option<Path>>,
    /// How many ranges were read and objects opened.
    gets: AtomicUsize,
    /// How many gets are under way, and the most there ever were.
    now: AtomicUsize,
    peak: AtomicUsize,
}

/// A get that is under way.
struct UnderWay<'a>(&'a Faulty);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Faulty {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            inner: InMemory::new(),
            puts_left: AtomicUsize::new(usize::MAX),
            gate: Semaphore::new(0),
            gated: AtomicBool::new(false),
            gets_fail: AtomicBool::new(false),
            gets_take_ms: AtomicUsize::new(0),
            streams_hang: AtomicBool::new(false),
            hangs_at: Mutex::new(None),
            gets: AtomicUsize::new(0),
            now: AtomicUsize::new(0),
            peak: AtomicUsize::new(0),
        })
    }

    /// Counts a get, waits as long as it is to take, and fails if it is to fail.
    async fn comes(&self, path: &Path) -> StoreResult<()> {
        self.gets.fetch_add(1, Ordering::SeqCst);
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.peak.fetch_max(now, Ordering::SeqCst);
        let _under_way = UnderWay(self);
        if self.hangs_at.lock().unwrap().as_ref() == Some(path) {
            std::future::pending::<()>().await;
        }
        match self.gets_take_ms.load(Ordering::SeqCst) {
            0 => {}
            usize::MAX => std::future::pending::<()>().await,
            ms => tokio::time::sleep(Duration::from_millis(ms as u64)).await,
        }
        if self.gets_fail.load(Ordering::SeqCst) { Err(Self::failure()) } else { Ok(()) }
    }

    fn gets(&self) -> usize {
        self.gets.load(Ordering::SeqCst)
    }

    fn failure() -> object_store::Error {
        object_store::Error::Generic { store: "faulty", source: "as told".into() }
    }

    fn path(segment: &crate::record::Segment) -> Path {
        Path::from(format!("life/{KEY}/{}/{}", segment.token, segment.n))
    }

    /// Turns one bit of a stored segment.
    async fn flip(&self, segment: &crate::record::Segment, at: usize) {
        let path = Self::path(segment);
        let mut bytes = self.inner.get(&path).await.unwrap().bytes().await.unwrap().to_vec();
        bytes[at] ^= 1;
        self.inner.put(&path, bytes.into()).await.unwrap();
    }

    async fn remove(&self, segment: &crate::record::Segment) {
        self.inner.delete(&Self::path(segment)).await.unwrap();
    }
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("faulty")
    }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(&self, path: &Path, payload: PutPayload, opts: PutOptions) -> StoreResult<PutResult> {
        if self.gated.load(Ordering::SeqCst) && !path.as_ref().ends_with("here") {
            self.gate.acquire().await.unwrap().forget();
        }
        let left =
            self.puts_left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        left.map_err(|_| Self::failure())?;
        self.inner.put_opts(path, payload, opts).await
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        opts: PutMultipartOptions,
    ) -> StoreResult<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(path, opts).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> StoreResult<GetResult> {
        self.comes(path).await?;
        let mut got = self.inner.get_opts(path, options).await?;
        if self.streams_hang.load(Ordering::SeqCst) {
            let first = Bytes::from_static(b"\0");
            let hangs = futures_util::stream::iter([Ok(first)]).chain(futures_util::stream::pending());
            got.payload = object_store::GetResultPayload::Stream(hangs.boxed());
        }
        Ok(got)
    }

    async fn get_ranges(&self, path: &Path, ranges: &[Range<u64>]) -> StoreResult<Vec<Bytes>> {
        self.comes(path).await?;
        self.inner.get_ranges(path, ranges).await
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, StoreResult<Path>>,
    ) -> BoxStream<'static, StoreResult<Path>> {
        self.inner.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, StoreResult<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> StoreResult<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> StoreResult<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

fn clock() -> Arc<ManualClock> {
    // The objects are dated by the clock of the machine.
    Arc::new(ManualClock::at(SystemClock.wall_ms()))
}

async fn faulty() -> (Arc<Faulty>, Arc<Bodies>) {
    faulty_with(Settings::default()).await
}

async fn faulty_with(settings: Settings) -> (Arc<Faulty>, Arc<Bodies>) {
    let objects = Faulty::new();
    let bodies = over(&objects, settings).await;
    (objects, bodies)
}

/// Another instance over the same objects.
async fn over(objects: &Arc<Faulty>, settings: Settings) -> Arc<Bodies> {
    let objects: Arc<dyn ObjectStore> = Arc::<Faulty>::clone(objects);
    let store = Store::over(objects, None, "life", &settings);
    store.mark().await.unwrap();
    Bodies::over(store, settings, clock())
}

/// Bytes without repetition.
fn body(len: usize) -> Bytes {
    let mut state = 0x9e37_79b9_u32;
    let mut out = Vec::with_capacity(len + 4);
    while out.len() < len {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        out.extend_from_slice(&state.to_le_bytes());
    }
    out.truncate(len);
    out.into()
}

/// Writes a body in chunks of this size, and finishes it.
async fn store(bodies: &Arc<Bodies>, token: u64, whole: &Bytes, chunk: usize) -> Arc<Manifest> {
    let (mut writer, _growing) = bodies.writer(KEY, token, None, MANY);
    for at in (0..whole.len()).step_by(chunk) {
        writer.write(whole.slice(at..whole.len().min(at + chunk))).await.unwrap();
    }
    Arc::new(writer.finish().await.unwrap().manifest)
}

/// Reads to the end. Returns all bytes, and the error if there was one.
async fn drain(mut reader: Reader) -> (Vec<u8>, Option<Error>) {
    let mut out = Vec::new();
    while let Some(chunk) = reader.next().await {
        match chunk {
            Ok(chunk) => {
                assert!(!chunk.is_empty() && chunk.len() <= 256 * KIB);
                out.extend_from_slice(&chunk);
            }
            Err(cause) => {
                assert!(reader.next().await.is_none());
                return (out, Some(cause));
            }
        }
    }
    (out, None)
}

/// Reads to a clean end.
async fn all(reader: Reader) -> Vec<u8> {
    let (bytes, cause) = drain(reader).await;
    assert!(cause.is_none(), "{cause:?} after {} bytes", bytes.len());
    bytes
}

/// Lets every task run until it waits for time.
async fn settle() {
    for _ in 0..64 {
        tokio::task::yield_now().await;
    }
}

async fn after(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
    settle().await;
}
