//! The body store that all share, and each instance's way to it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, UNIX_EPOCH};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use dustgate::clock::{Clock as _, Dice};
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, ObjectStoreExt as _, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use tokio::time::sleep;

use crate::gate::{Gate, State};
use crate::world::World;

/// The objects.
#[derive(Debug, Default)]
pub struct Shelf {
    objects: InMemory,
    down: AtomicBool,
    book: Mutex<Book>,
}

#[derive(Debug, Default)]
struct Book {
    written_at: BTreeMap<String, u64>,
    /// Acknowledged by a store that lied.
    lost: BTreeSet<String>,
}

/// The way of one instance to them.
#[derive(Debug)]
pub struct Way {
    shelf: Arc<Shelf>,
    gate: Arc<Gate>,
    world: Arc<World>,
    dice: Dice,
}

// === impl Shelf ===

impl Shelf {
    pub fn set_down(&self, down: bool) {
        self.down.store(down, Ordering::Relaxed);
    }

    /// The bytes of a segment, whichever life of the store it is under, by the rest of its path;
    /// none if the store lied about it.
    pub fn segment(&self, path: &str) -> Option<Result<Bytes, &'static str>> {
        let book = self.book();
        let under = |name: &String| name.split_once('/').is_some_and(|(_, rest)| rest == path);
        if book.lost.iter().any(under) {
            return None;
        }
        let Some(name) = book.written_at.keys().find(|name| under(name)) else {
            return Some(Err("is not there"));
        };
        let read = async { self.objects.get(&Path::from(name.as_str())).await?.bytes().await };
        Some(read.now_or_never().and_then(Result::ok).ok_or("cannot be read"))
    }

    /// Removes what is there of bodies, as if it had never been written; how many segments.
    pub async fn loses(&self, hash: &str) -> usize {
        let ours = |name: &String| name.split('/').nth(1) == Some(hash);
        let names: Vec<String> = self.book().written_at.keys().filter(|name| ours(name)).cloned().collect();
        for name in &names {
            self.objects.delete(&Path::from(name.as_str())).await.expect("memory lets go");
            let mut book = self.book();
            book.written_at.remove(name);
            book.lost.insert(name.clone());
        }
        names.len()
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().expect("no test panics while it writes")
    }
}

// === impl Way ===

impl Way {
    pub fn new(shelf: &Arc<Shelf>, gate: &Arc<Gate>, world: &Arc<World>) -> Self {
        Self { shelf: shelf.clone(), gate: gate.clone(), world: world.clone(), dice: world.dice() }
    }

    fn chance(&self, in_1000: u64) -> bool {
        self.dice.below(1000) < in_1000
    }

    /// Whether it is answered, and after how long.
    fn fate(&self) -> Result<Duration> {
        let plan = &self.world.plan.objects;
        if self.gate.is() == State::Shut || self.shelf.down.load(Ordering::Relaxed) {
            return Err(broken("down"));
        }
        if self.chance(plan.fail) {
            self.world.count("object failed");
            return Err(broken("as planned"));
        }
        if self.chance(plan.slow) {
            self.world.count("object slow");
            return Ok(self.dice.up_to(Duration::from_secs(3)));
        }
        Ok(Duration::ZERO)
    }

    async fn put_now(
        shelf: &Shelf,
        world: &World,
        lies: bool,
        at: &Path,
        what: PutPayload,
    ) -> Result<PutResult> {
        let done = shelf.objects.put(at, what).await?;
        if lies {
            shelf.objects.delete(at).await?;
            shelf.book().lost.insert(at.to_string());
            world.count("object lost");
        } else {
            shelf.book().written_at.insert(at.to_string(), world.wall(0).wall_ms());
        }
        Ok(done)
    }

    fn dated(shelf: &Shelf, mut meta: ObjectMeta) -> ObjectMeta {
        if let Some(at) = shelf.book().written_at.get(meta.location.as_ref()) {
            meta.last_modified = (UNIX_EPOCH + Duration::from_millis(*at)).into();
        }
        meta
    }
}

fn broken(why: &'static str) -> Error {
    Error::Generic { store: "simulated", source: why.into() }
}

#[async_trait]
impl ObjectStore for Way {
    async fn put_opts(&self, at: &Path, what: PutPayload, _: PutOptions) -> Result<PutResult> {
        let late = self.fate()?;
        let lies = self.chance(self.world.plan.objects.lose) && !at.as_ref().ends_with("/here");
        let (shelf, gate, world, at) =
            (self.shelf.clone(), self.gate.clone(), self.world.clone(), at.clone());
        if late.is_zero() && gate.is() == State::Open {
            return Self::put_now(&shelf, &world, lies, &at, what).await;
        }
        // On its way, whoever still waits for it.
        let put = tokio::spawn(async move {
            sleep(late).await;
            gate.pass().await.map_err(|_| broken("gone"))?;
            world.count("late object");
            Self::put_now(&shelf, &world, lies, &at, what).await
        });
        put.await.unwrap_or_else(|_| Err(broken("gone")))
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        Err(broken("not simulated"))
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> Result<GetResult> {
        sleep(self.fate()?).await;
        let head = options.head;
        let got = self.gate.through(self.shelf.objects.get_opts(at, options)).await;
        let mut got = got.map_err(|_| broken("gone"))??;
        if !head && self.chance(self.world.plan.objects.spoil) {
            self.world.count("object spoilt");
            let GetResultPayload::Stream(bytes) = got.payload else { return Err(broken("no stream")) };
            let mut bytes: BytesMut = bytes.try_concat_bytes().await?;
            if let Some(byte) = bytes.last_mut() {
                *byte ^= 1;
            }
            got.payload = GetResultPayload::Stream(stream::once(async { Ok(bytes.freeze()) }).boxed());
        }
        Ok(got)
    }

    async fn get_ranges(&self, at: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        sleep(self.fate()?).await;
        self.shelf.objects.get_ranges(at, ranges).await
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let (shelf, gate, world) = (self.shelf.clone(), self.gate.clone(), self.world.clone());
        paths
            .then(move |path| {
                let (shelf, gate, world) = (shelf.clone(), gate.clone(), world.clone());
                async move {
                    let path = path?;
                    gate.pass().await.map_err(|_| broken("gone"))?;
                    shelf.objects.delete(&path).await?;
                    shelf.book().written_at.remove(path.as_ref());
                    world.count("object removed");
                    Ok(path)
                }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let shelf = self.shelf.clone();
        self.shelf.objects.list(prefix).map_ok(move |meta| Self::dated(&shelf, meta)).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.shelf.objects.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        Err(broken("not simulated"))
    }
}

impl Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("simulated objects")
    }
}

/// All bytes of a stream.
trait Concat {
    fn try_concat_bytes(self) -> impl Future<Output = Result<BytesMut>> + Send;
}

impl Concat for BoxStream<'static, Result<Bytes>> {
    async fn try_concat_bytes(self) -> Result<BytesMut> {
        self.try_fold(BytesMut::new(), async |mut all, bytes| {
            all.extend_from_slice(&bytes);
            Ok(all)
        })
        .await
    }
}
