//! The janitor's part that concerns bodies: it removes segments that no record names, in two steps.

use std::collections::{BTreeSet, HashMap};
use std::path::Path as FsPath;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use foldhash::fast::RandomState;
use futures_util::stream::{self, Stream, StreamExt as _};
use tokio::task::coop::consume_budget;
use tokio::time::{Instant, sleep};

use super::lives::{OtherLife, Quiet};
use super::name::Name;
use super::store::parse;
use super::{Bodies, Error};
use crate::clock::WallMs;
use crate::record::{Life, Manifest};

mod survey;

pub use survey::{Orphan, Orphans, Surveyed};

/// How many unnamed objects are remembered between two sweeps; more have to wait for a later sweep.
const SUSPECTS: usize = 1_000_000;
/// How many objects are removed at a time: a store that can delete many in one call gets one call.
const BATCH: usize = 100;
/// How many objects and keys are judged at a time, and how many keys are looked up concurrently. The store's
/// answers come one after another, and are waited for together.
const BATCH_OBJECTS: usize = 8_192;
const BATCH_KEYS: usize = 1_024;
const ASKED: usize = 32;

/// Finds out which segments are in use. An implementation reads the lock first, then the growing note, then
/// the value, so that a fill that ends in between is not missed.
#[async_trait]
pub trait Names: Send + Sync {
    /// The segments that are named under this key hash now.
    async fn named(&self, key_hash: &str) -> Named;

    /// Returns whether a fill is under way that writes segments with this token: a fill without a lease may
    /// be known nowhere else. Called after [`Names::named`], and only for keys with unnamed objects, so that
    /// a fill that ends in between is not missed.
    async fn goes_on(&self, _key_hash: &str, _token: u64) -> bool {
        false
    }
}

/// The segments that are named under one key hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Named {
    /// Unknown, or a fill is under way: no object of this key is touched.
    Everything,
    /// These segments, as token and n: usually of one manifest, at most of one growing manifest more.
    Only(Vec<(u64, u32)>),
}

/// The result of a sweep.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Objects seen.
    pub objects: u64,
    /// The bytes that they take: disk space, where they are files.
    pub bytes: u64,
    /// Objects that no record names and that are kept for now.
    pub suspects: u64,
    /// Objects removed.
    pub removed: u64,
    /// The bytes that those took.
    pub freed: u64,
    /// Objects that could not be removed.
    pub failed: u64,
    /// Removed files that a crash had left half-written.
    pub leftovers: u64,
    /// Bytes of other lives of the store that nothing touches any more and that are kept for now.
    pub others: u64,
}

/// Sweeps the bodies of the current life, and other lives. It must be kept between sweeps: it remembers which
/// objects were unnamed.
#[derive(Debug)]
pub struct Sweeper {
    bodies: Arc<Bodies>,
    suspects: Suspects,
    /// The life that `suspects` belong to.
    life: Life,
    /// Other lives: those that nothing touched, and all that the last sweep found.
    quiet: Quiet,
    others: Vec<OtherLife>,
}

/// A sweep under way.
struct Round {
    still: Suspects,
    /// Objects that were unnamed for long enough, to be removed.
    condemned: Vec<(Name, u64, u32, u64)>,
    swept: Swept,
}

/// Bodies that this process is writing, by key hash and token, with the number of fills. Until a record names
/// them, or their last reader has left, they count as named. A lease in the store says the same, but not
/// every fill has one.
#[derive(Debug, Clone, Default)]
pub(super) struct Writing(Arc<Mutex<Fills>>);

/// How many fills write a body, by key hash and token.
type Fills = HashMap<(u128, u64), usize, RandomState>;

/// Keeps a body in [`Writing`] until it is dropped.
#[derive(Debug)]
pub(super) struct Written {
    writing: Writing,
    id: (u128, u64),
}

/// Unnamed objects by key hash, token and n: since when, and the space that they take.
type Suspects = HashMap<(u128, u64, u32), (Instant, u64)>;

/// An object of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Object {
    token: u64,
    n: u32,
    takes: u64,
    written_at: WallMs,
}

/// Objects to be judged together, by key, in the order of the listing.
#[derive(Debug, Default)]
struct Batch {
    groups: Vec<(String, Vec<Object>)>,
    objects: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Judged {
    /// Kept for now; unnamed since then.
    Suspect(Instant),
    Remove,
}

// === impl Batch ===

impl Batch {
    /// Adds an object. Returns whether the batch is full. A key that continues in the next batch is looked up
    /// once more.
    fn takes(&mut self, key: String, object: Object) -> bool {
        match self.groups.last_mut() {
            Some((last, objects)) if *last == key => objects.push(object),
            _ => self.groups.push((key, vec![object])),
        }
        self.objects += 1;
        self.objects >= BATCH_OBJECTS || self.groups.len() >= BATCH_KEYS
    }
}

// === impl Named ===

impl Named {
    fn has(&self, object: &Object) -> bool {
        match self {
            Self::Everything => true,
            Self::Only(segments) => segments.contains(&(object.token, object.n)),
        }
    }

    /// The segments of these manifests.
    pub fn of<'a>(manifests: impl IntoIterator<Item = &'a Manifest>) -> Self {
        let segments = manifests.into_iter().flat_map(|manifest| &manifest.segments);
        Self::Only(segments.map(|segment| (segment.token, segment.n)).collect())
    }
}

// === impl Writing ===

impl Writing {
    /// Enters a body. Fills that follow another writer enter with token 0, which no writer has.
    pub(super) fn enter(&self, hash: u128, token: u64) -> Written {
        let id = (hash, token);
        *self.lock().entry(id).or_default() += 1;
        Written { writing: self.clone(), id }
    }

    fn has(&self, hash: u128, token: u64) -> bool {
        self.lock().contains_key(&(hash, token))
    }

    fn lock(&self) -> MutexGuard<'_, Fills> {
        // Nothing in here panics half way through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        let mut writing = self.writing.lock();
        if let Some(count) = writing.get_mut(&self.id) {
            *count -= 1;
            if *count == 0 {
                writing.remove(&self.id);
            }
        }
    }
}

// === impl Sweeper ===

impl Sweeper {
    /// A sweeper for the life that `bodies` is in.
    pub fn new(bodies: Arc<Bodies>) -> Self {
        let (quiet, others) = (Quiet::default(), Vec::new());
        Self { life: bodies.life(), bodies, suspects: HashMap::new(), quiet, others }
    }

    /// Lists all objects, and looks each key hash up in `names`. Removes the objects that were unnamed in an
    /// earlier sweep at least `linger` ago, are unnamed now, and are older than `linger`. Sets
    /// [`Bodies::used`] to what is there.
    ///
    /// # Errors
    /// If the listing fails: then nothing more is removed, and unnamed objects stay remembered.
    ///
    /// # Cancel safety
    /// If dropped half-way, it has removed some objects, and the others stay remembered.
    pub async fn sweep(&mut self, names: &dyn Names) -> Result<Swept, Error> {
        let (before, life) = (self.bodies.moved(), self.bodies.life());
        if self.life != life {
            self.suspects.clear();
            self.life = life.clone();
        }
        // Shows other fleets and instances that this life is in use. Without room the last marker stays.
        if let Err(error) = self.bodies.sign().await
            && !matches!(error, Error::NoRoom)
        {
            return Err(error);
        }
        let mut round = Round { still: HashMap::new(), condemned: Vec::new(), swept: Swept::default() };
        if let Some(root) = self.bodies.store.root(&life) {
            let wall = self.bodies.clock.wall_ms();
            let linger = self.bodies.settings.linger;
            let tidy = tokio::task::spawn_blocking(move || leftovers(&root, wall, linger));
            round.swept.leftovers = tidy.await.unwrap_or(0);
        }
        let mut listing = self.bodies.store.list(&life);
        let mut batch = Batch::default();
        while let Some(meta) = listing.next().await {
            let meta = meta.inspect_err(|_| self.bodies.listing_failed())?;
            let Some((key, token, n)) = parse(&life, &meta.location) else { continue };
            let written_at = u64::try_from(meta.last_modified.timestamp_millis()).unwrap_or(0);
            let object = Object { token, n, takes: meta.size, written_at };
            round.swept.objects += 1;
            round.swept.bytes += meta.size;
            if batch.takes(key, object) {
                self.judge_all(names, std::mem::take(&mut batch), &mut round).await;
            }
        }
        self.judge_all(names, batch, &mut round).await;
        self.remove(&mut round).await;
        if self.bodies.life() == life {
            let overhead = self.bodies.store.overhead(&life).await;
            self.bodies.counted(round.swept.bytes + overhead, before);
        }
        self.drop_carried(&mut round.swept).await;
        self.suspects = round.still;
        round.swept.suspects = self.suspects.len() as u64;
        match self.bodies.sweep_others(&mut self.quiet).await {
            Ok(others) => self.others = others,
            // Other lives can wait for the next sweep.
            Err(_) => self.bodies.listing_failed(),
        }
        round.swept.others = self.bodies.counters().others.load(Ordering::Relaxed);
        Ok(round.swept)
    }

    /// Removes carried segments that were given up. What is left of them goes with its time to live.
    async fn drop_carried(&mut self, swept: &mut Swept) {
        let dropped = self.bodies.drop_left().await;
        swept.removed += dropped.removed;
        swept.freed += dropped.freed;
        swept.failed += dropped.failed;
    }

    /// The other lives that the last sweep found.
    pub fn others(&self) -> &[OtherLife] {
        &self.others
    }

    /// Notes that the record that named these segments was just deleted under its key's lease: they count as
    /// found unnamed by a sweep.
    pub fn given_up(&mut self, key_hash: &str, manifest: &Manifest) {
        let name = self.bodies.store.name(key_hash);
        let (hash, now) = (name.hash, Instant::now());
        self.bodies.leave(key_hash, manifest);
        for segment in manifest.segments.iter().filter(|segment| !segment.carried) {
            if self.suspects.len() < SUSPECTS {
                let id = (hash, segment.token, segment.n);
                self.suspects.entry(id).or_insert((now, self.bodies.store.takes(segment.len)));
            }
        }
    }

    /// Bytes that were unnamed when they were last judged: the next sweep but one has removed them.
    pub fn doomed(&self) -> u64 {
        self.suspects.values().map(|(_, takes)| takes).sum::<u64>() + self.bodies.left_behind()
    }

    /// Looks up what is named under the keys of a batch, many at a time, and judges its objects.
    async fn judge_all(&self, names: &dyn Names, batch: Batch, round: &mut Round) {
        let mut judged = pin!(self.looked_up(names, batch));
        while let Some((_, name, objects)) = judged.next().await {
            self.group(&name, objects, round).await;
        }
    }

    /// By key, those objects of a batch that no record names and no fill is writing. Many keys are looked up at a
    /// time.
    fn looked_up<'a>(
        &'a self,
        names: &'a dyn Names,
        batch: Batch,
    ) -> impl Stream<Item = (String, Name, Vec<Object>)> + 'a {
        let asked = batch.groups.into_iter().map(move |(key, objects)| async move {
            // A store in this process answers at once, so other tasks have to be let in.
            consume_budget().await;
            let named = names.named(&key).await;
            let name = Name::of(self.life.clone(), &key);
            let objects = self.forsaken(names, &key, &name, objects, &named).await;
            (key, name, objects)
        });
        stream::iter(asked).buffered(ASKED)
    }

    /// Those objects of a key that no record names and no fill is writing.
    async fn forsaken(
        &self,
        names: &dyn Names,
        key: &str,
        name: &Name,
        mut objects: Vec<Object>,
        named: &Named,
    ) -> Vec<Object> {
        objects.retain(|object| !named.has(object) && !self.bodies.writing.has(name.hash, object.token));
        let tokens: BTreeSet<u64> = objects.iter().map(|object| object.token).collect();
        for token in tokens {
            if names.goes_on(key, token).await {
                objects.retain(|object| object.token != token);
            }
        }
        objects
    }

    /// Judges unnamed objects of one key.
    async fn group(&self, name: &Name, objects: Vec<Object>, round: &mut Round) {
        let (now, wall) = (Instant::now(), self.bodies.clock.wall_ms());
        let linger = self.bodies.settings.linger;
        for object in objects {
            let id = (name.hash, object.token, object.n);
            match judge(&object, self.suspects.get(&id).map(|(since, _)| *since), now, wall, linger) {
                Judged::Suspect(since) => {
                    if round.still.len() < SUSPECTS {
                        round.still.insert(id, (since, object.takes));
                    }
                }
                Judged::Remove => {
                    round.condemned.push((name.clone(), object.token, object.n, object.takes));
                    if round.condemned.len() == BATCH {
                        self.remove(round).await;
                    }
                }
            }
        }
    }

    /// Removes the condemned objects, and then waits as the rate limit of deletions requires.
    async fn remove(&self, round: &mut Round) {
        let condemned = std::mem::take(&mut round.condemned);
        if condemned.is_empty() {
            return;
        }
        let gone = self.bodies.store.delete(&condemned).await;
        let pause = Duration::from_secs(1) / self.bodies.settings.deletes_per_second.max(1);
        for (gone, (name, token, n, takes)) in gone.iter().zip(&condemned) {
            if gone.is_ok() {
                round.swept.removed += 1;
                round.swept.freed += takes;
                self.bodies.counters().swept.fetch_add(1, Ordering::Relaxed);
            } else {
                let id = (name.hash, *token, *n);
                round.swept.failed += 1;
                round.still.extend(self.suspects.get(&id).map(|suspect| (id, *suspect)));
            }
        }
        sleep(pause * u32::try_from(condemned.len()).unwrap_or(u32::MAX)).await;
    }
}

/// Judges an object that was first found unnamed at `since`. Pure.
fn judge(object: &Object, since: Option<Instant>, now: Instant, wall: WallMs, linger: Duration) -> Judged {
    let Some(since) = since else { return Judged::Suspect(now) };
    let age = Duration::from_millis(wall.saturating_sub(object.written_at));
    if now.saturating_duration_since(since) >= linger && age >= linger {
        Judged::Remove
    } else {
        Judged::Suspect(since)
    }
}

/// A file that was begun within this time may belong to a put of another instance that is under way, however
/// short `linger` is: each put is bounded, by less.
const PUT: Duration = Duration::from_mins(1);

/// Removes files that a put was writing when its process died, which the object store neither lists nor uses
/// again, and empty directories. Returns how many files were removed.
pub(super) fn leftovers(root: &FsPath, wall: WallMs, linger: Duration) -> u64 {
    let mut removed = 0;
    for path in children(root) {
        let staged = path.file_name().is_some_and(|name| name.to_string_lossy().contains('#'));
        if path.symlink_metadata().is_ok_and(|meta| meta.is_dir()) {
            // In this order: removing a file from a directory renews the directory's date.
            let old = is_old(&path, wall, linger);
            removed += leftovers(&path, wall, linger);
            clear(&path, old);
        } else if staged && is_old(&path, wall, linger.max(PUT)) && std::fs::remove_file(&path).is_ok() {
            removed += 1;
        }
    }
    removed
}

/// Removes the directories that are left of a life without objects.
pub(super) fn clear_life(root: &FsPath, wall: WallMs, linger: Duration) {
    let old = is_old(root, wall, linger);
    leftovers(root, wall, linger);
    clear(root, old);
}

/// Removes a directory if it is empty: else the call fails and changes nothing.
fn clear(dir: &FsPath, old: bool) {
    if old && dir.is_dir() {
        let _ = std::fs::remove_dir(dir);
    }
}

fn is_old(path: &FsPath, wall: WallMs, linger: Duration) -> bool {
    let modified = path.metadata().and_then(|meta| meta.modified()).ok();
    let since = modified.and_then(|modified| modified.duration_since(std::time::UNIX_EPOCH).ok());
    since.is_some_and(|since| Duration::from_millis(wall).saturating_sub(since) >= linger)
}

fn children(dir: &FsPath) -> impl Iterator<Item = std::path::PathBuf> {
    std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path())
}
