//! Segments that were found missing or corrupt. For a while no reader is made for a body that names one: so
//! one request finds out and the others do not have to.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use quick_cache::sync::Cache;
use tokio::time::{Instant, timeout_at};

use super::blocks::SegmentAt;
use super::name::Name;
use super::{Bodies, Error};
use crate::record::{Life, Manifest, Segment};

/// The most bodies that are remembered, each with the last segment it lost.
const CAPACITY: usize = 4_096;
/// How long they are remembered. By then nothing in the store names the segment any more.
const REMEMBERED: Duration = Duration::from_mins(1);
/// How many segments are looked for at a time.
const LOOKS: usize = 16;

/// Lost segments, by the hash of the body's key.
#[derive(Debug)]
pub(super) struct Gone(Cache<u128, Lost>);

#[derive(Debug, Clone)]
struct Lost {
    life: Life,
    /// As its manifest describes it: with another digest it is another segment.
    segment: Segment,
    cause: Error,
    until: Instant,
}

// === impl Gone ===

impl Gone {
    pub(super) fn new() -> Self {
        Self(Cache::new(CAPACITY))
    }

    /// Notes that a segment is lost, and returns `cause`.
    pub(super) fn note(&self, name: &Name, segment: &Segment, cause: Error) -> Error {
        let (life, until) = (name.life().clone(), Instant::now() + REMEMBERED);
        self.0.insert(name.hash, Lost { life, segment: *segment, cause: cause.clone(), until });
        cause
    }

    /// The error with which a segment of this manifest was lost, if one is known to be.
    pub(super) fn of(&self, name: &Name, manifest: &Manifest) -> Option<Error> {
        let lost = self.0.get(&name.hash)?;
        let holds = lost.life == *name.life() && Instant::now() < lost.until;
        (holds && manifest.segments.contains(&lost.segment)).then_some(lost.cause)
    }
}

// === impl Bodies ===

impl Bodies {
    /// Returns whether the bytes of a body are known to be lost: the body is of another life of the store, or
    /// one of its segments was found missing or corrupt a moment ago. Does no I/O.
    pub fn is_gone(&self, key_hash: &str, manifest: &Manifest) -> bool {
        self.name_of(key_hash, manifest).is_err()
    }

    /// Reads the first byte of a body, whose segment is verified as always. Does nothing for an empty body.
    ///
    /// # Errors
    /// As those of a reader.
    pub async fn begins(self: &Arc<Self>, key_hash: &str, manifest: &Arc<Manifest>) -> Result<(), Error> {
        if manifest.len == 0 {
            return Ok(());
        }
        self.reader(key_hash, manifest, Some((0, 0))).next().await.unwrap_or(Err(Error::Truncated)).map(drop)
    }

    /// As [`Bodies::begins`], and then checks that each of the other segments exists. For a caller that is
    /// about to announce this body to other instances.
    ///
    /// # Errors
    /// As those of [`Bodies::begins`].
    pub async fn stands(self: &Arc<Self>, key_hash: &str, manifest: &Arc<Manifest>) -> Result<(), Error> {
        let name = self.name_of(key_hash, manifest)?;
        let by = Instant::now() + self.store.call_timeout();
        self.begins(key_hash, manifest).await?;
        let rest: Vec<Segment> = manifest.segments.iter().skip(1).copied().collect();
        let name = &name;
        let looks = rest.into_iter().filter(|segment| segment.len > 0);
        let looks = looks.map(|segment| async move { self.looks(name, &segment).await });
        let looks = stream::iter(looks).buffer_unordered(LOOKS).try_collect();
        // One bound for all of them and the first read: a caller waits.
        timeout_at(by, looks).await.unwrap_or_else(|_| Err(self.store.stalled()))
    }

    async fn looks(self: &Arc<Self>, name: &Name, segment: &Segment) -> Result<(), Error> {
        if segment.carried {
            // Its carrier can only be asked for the bytes.
            return self.try_segment(name, segment).await;
        }
        let (at, began) = (SegmentAt::of(name, segment), self.store.away(segment).begins());
        let found = self.store.look_for(name, segment).await;
        self.heard(segment, at, began, &found);
        found
    }

    /// The name of a stored body, unless its bytes are known to be lost.
    pub(super) fn name_of(&self, key_hash: &str, manifest: &Manifest) -> Result<Name, Error> {
        let name = self.store.name(key_hash);
        self.knows(&name, manifest)?;
        Ok(name)
    }

    /// Fails if the bytes of a body with this name are known to be lost.
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
