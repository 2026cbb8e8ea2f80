//! Segments that were found missing, or not what they should be: for a while nothing is made of a body
//! that names one, so that one request finds out and the others need not.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use quick_cache::sync::Cache;
use tokio::time::{Instant, timeout_at};

use super::blocks::SegmentAt;
use super::store::Name;
use super::{Bodies, Error};
use crate::record::{Manifest, Segment};

/// How many bodies are remembered at most: the last lost segment of each.
const CAPACITY: usize = 4_096;
/// For how long. By then nothing in the store names them any more.
const REMEMBERED: Duration = Duration::from_mins(1);
/// Segments that are looked for at a time.
const LOOKS: usize = 16;

/// What is known to be lost.
#[derive(Debug)]
pub(super) struct Gone(Cache<u128, Lost>);

#[derive(Debug, Clone)]
struct Lost {
    life: Arc<str>,
    /// As the manifest has it that named it: one with another digest is another.
    segment: Segment,
    cause: Error,
    until: Instant,
}

// === impl Gone ===

impl Gone {
    pub(super) fn new() -> Self {
        Self(Cache::new(CAPACITY))
    }

    /// Notes that a segment is lost, and how.
    pub(super) fn note(&self, name: &Name, segment: &Segment, cause: Error) -> Error {
        let (life, until) = (name.life().clone(), Instant::now() + REMEMBERED);
        self.0.insert(name.hash, Lost { life, segment: *segment, cause: cause.clone(), until });
        cause
    }

    /// How a body is known to have lost a segment, if it is.
    pub(super) fn of(&self, name: &Name, manifest: &Manifest) -> Option<Error> {
        let lost = self.0.get(&name.hash)?;
        let holds = lost.life == *name.life() && Instant::now() < lost.until;
        (holds && manifest.segments.contains(&lost.segment)).then_some(lost.cause)
    }
}

// === impl Bodies ===

impl Bodies {
    /// Returns whether the bytes of a body are known to be lost: it is of another life of the store, or
    /// one of its segments was found missing or wrong a moment ago. Asks nobody.
    pub fn is_gone(&self, key_hash: &str, manifest: &Manifest) -> bool {
        self.name_of(key_hash, manifest).is_err()
    }

    /// Reads the first byte of a body, whose segment is checked as always. An empty body has none.
    ///
    /// # Errors
    /// What a reader would say.
    pub async fn begins(self: &Arc<Self>, key_hash: &str, manifest: &Arc<Manifest>) -> Result<(), Error> {
        if manifest.len == 0 {
            return Ok(());
        }
        self.reader(key_hash, manifest, Some((0, 0))).next().await.unwrap_or(Err(Error::Truncated)).map(drop)
    }

    /// As [`Bodies::begins`], and then looks whether each of the other segments is there: for one who
    /// will tell others of them.
    ///
    /// # Errors
    /// As there.
    pub async fn stands(self: &Arc<Self>, key_hash: &str, manifest: &Arc<Manifest>) -> Result<(), Error> {
        let name = self.name_of(key_hash, manifest)?;
        let by = Instant::now() + self.store.call_timeout();
        self.begins(key_hash, manifest).await?;
        let rest: Vec<Segment> = manifest.segments.iter().skip(1).copied().collect();
        let name = &name;
        let looks = rest.into_iter().filter(|segment| segment.len > 0);
        let looks = looks.map(|segment| async move { self.looks(name, &segment).await });
        let looks = stream::iter(looks).buffer_unordered(LOOKS).try_collect();
        // All together, and with that first read: somebody waits.
        timeout_at(by, looks).await.unwrap_or_else(|_| Err(self.store.stalled()))
    }

    async fn looks(&self, name: &Name, segment: &Segment) -> Result<(), Error> {
        let (at, began) = (SegmentAt::of(name, segment), self.store.away.begins());
        let found = self.store.look_for(name, segment).await;
        self.heard(at, began, &found);
        found
    }

    /// The name of a stored body, unless its bytes are known to be lost.
    pub(super) fn name_of(&self, key_hash: &str, manifest: &Manifest) -> Result<Name, Error> {
        let name = self.store.name(key_hash);
        self.knows(&name, manifest)?;
        Ok(name)
    }

    /// Fails if the bytes of a body are known to be lost under this name.
    pub(super) fn knows(&self, name: &Name, manifest: &Manifest) -> Result<(), Error> {
        let lost = match manifest.segments.first() {
            Some(Segment { token, n, .. }) if !manifest.is_of(name.life()) => {
                Some(Error::Missing { token: *token, n: *n })
            }
            _ => self.store.gone.of(name, manifest),
        };
        lost.map_or(Ok(()), Err)
    }
}
