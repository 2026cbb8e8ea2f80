//! What sweeps would remove, and why. Removes and writes nothing.

use std::path::Path as FsPath;
use std::pin::pin;
use std::time::Duration;

use futures_util::StreamExt as _;

use super::{Batch, Names, Object, PUT, Sweeper, children, is_old};
use crate::body::Error;
use crate::body::lives::OtherLife;
use crate::body::store::parse;
use crate::clock::WallMs;

/// The most objects that are told one by one.
const MOST: usize = 1_000;

/// What sweeps would remove of the body store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Surveyed {
    /// Objects seen.
    pub objects: u64,
    /// The bytes that they take.
    pub bytes: u64,
    /// Those that no record names and no fill is writing, and that are older than `linger`: they go if the
    /// next sweeps find the same.
    pub going: Orphans,
    /// Those that are unnamed too, and younger than `linger`: they stay for now.
    pub young: Orphans,
    /// Files that a crash has left half-written, and that go.
    pub leftovers: u64,
    /// The other lives of the store. What is [`Fate::Going`](super::super::Fate::Going) would be removed.
    pub others: Vec<OtherLife>,
}

/// Objects that no record names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Orphans {
    /// How many.
    pub count: u64,
    /// The bytes that they take.
    pub bytes: u64,
    /// The first of them.
    pub first: Vec<Orphan>,
}

/// An object that no record names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Orphan {
    /// The hash of its key, in hexadecimal digits.
    pub key: String,
    /// The token that it was written with.
    pub token: u64,
    /// Its place in its body.
    pub n: u32,
    /// The bytes that it takes.
    pub bytes: u64,
    /// How long ago it was written.
    pub age: Duration,
}

impl Sweeper {
    /// Looks at everything as a sweep does.
    ///
    /// # Errors
    /// The store could not be listed.
    pub async fn survey(&self, names: &dyn Names) -> Result<Surveyed, Error> {
        let (life, wall, linger) =
            (self.bodies.life(), self.bodies.clock.wall_ms(), self.bodies.settings.linger);
        let mut found = Surveyed::default();
        if let Some(root) = self.bodies.store.root(&life) {
            let counted = tokio::task::spawn_blocking(move || half_written(&root, wall, linger));
            found.leftovers = counted.await.unwrap_or(0);
        }
        let mut listing = self.bodies.store.list(&life);
        let mut batch = Batch::default();
        while let Some(meta) = listing.next().await {
            let meta = meta?;
            let Some((key, token, n)) = parse(&life, &meta.location) else { continue };
            let written_at = u64::try_from(meta.last_modified.timestamp_millis()).unwrap_or(0);
            found.objects += 1;
            found.bytes += meta.size;
            if batch.takes(key, Object { token, n, takes: meta.size, written_at }) {
                self.look_at(names, std::mem::take(&mut batch), wall, &mut found).await;
            }
        }
        self.look_at(names, batch, wall, &mut found).await;
        found.others = self.bodies.survey_others().await?;
        Ok(found)
    }

    async fn look_at(&self, names: &dyn Names, batch: Batch, wall: WallMs, found: &mut Surveyed) {
        let mut judged = pin!(self.looked_up(names, batch));
        while let Some((key, _, objects)) = judged.next().await {
            for object in objects {
                let age = Duration::from_millis(wall.saturating_sub(object.written_at));
                let is_old = age >= self.bodies.settings.linger;
                let orphans = if is_old { &mut found.going } else { &mut found.young };
                orphans.add(&key, &object, age);
            }
        }
    }
}

impl Orphans {
    fn add(&mut self, key: &str, object: &Object, age: Duration) {
        self.count += 1;
        self.bytes += object.takes;
        if self.first.len() < MOST {
            let Object { token, n, takes: bytes, .. } = *object;
            self.first.push(Orphan { key: key.to_owned(), token, n, bytes, age });
        }
    }
}

/// How many files a sweep would remove because a put that was writing them has died.
fn half_written(root: &FsPath, wall: WallMs, linger: Duration) -> u64 {
    let mut found = 0;
    for path in children(root) {
        let staged = path.file_name().is_some_and(|name| name.to_string_lossy().contains('#'));
        if path.symlink_metadata().is_ok_and(|meta| meta.is_dir()) {
            found += half_written(&path, wall, linger);
        } else if staged && is_old(&path, wall, linger.max(PUT)) {
            found += 1;
        }
    }
    found
}
