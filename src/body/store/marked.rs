//! Markers: the objects by which a body store belongs to a life of the store. A store without objects needs
//! none: it is as good as marked.

use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use object_store::ObjectStoreExt as _;
use object_store::path::Path;
use tokio::time::{Instant, sleep};

use super::super::Error;
use super::super::destination::Place;
use super::super::marker::Marker;
use super::super::name::Name;
use super::Store;
use crate::clock::WallMs;

/// The name of the marker: the object by which a body store belongs to a life of the store.
const HERE: &str = "here";
/// The longest that a marker may be, in bytes.
const MARKER_MOST: u64 = 1024;
/// How long a joining instance waits for the marker: the instance that began that life may be about to write
/// it.
const JOIN_PATIENCE: Duration = Duration::from_secs(3);
/// The pause between two looks for the marker.
const JOIN_LOOK: Duration = Duration::from_millis(100);
// === impl Store ===

impl Store {
    /// The id of the life that new names belong to.
    pub(in crate::body) fn life(&self) -> Arc<str> {
        // Nothing in here panics half way through a change.
        Arc::clone(&self.life.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Moves to a life: new names belong to it. Returns whether it is another one.
    pub(in crate::body) fn enter(&self, id: &str) -> bool {
        let mut life = self.life.write().unwrap_or_else(PoisonError::into_inner);
        let other = **life != *id;
        if other {
            self.left.went(&life, id);
            *life = id.into();
        }
        other
    }

    /// The name of a key hash in the current life.
    pub(in crate::body) fn name(&self, key_hash: &str) -> Name {
        Name::of(self.life(), key_hash)
    }

    /// Writes the marker of the current life if it is missing, or if it says that this life has ended.
    pub(in crate::body) async fn mark(&self) -> Result<(), Error> {
        if self.marker(&self.life()).await?.is_none_or(|(marker, _)| marker.has_ended()) {
            self.sign().await?;
        }
        self.unmarked.store(false, Ordering::Release);
        Ok(())
    }

    /// Writes the marker of the current life in any case.
    pub(in crate::body) async fn sign(&self) -> Result<(), Error> {
        self.write_marker(&self.life(), None).await
    }

    /// Writes the marker of a life; `ended_by` is the life that came after, if this one has ended.
    pub(in crate::body) async fn write_marker(
        &self,
        life: &str,
        ended_by: Option<&str>,
    ) -> Result<(), Error> {
        let text = Bytes::from(Marker::write(&self.says.0, self.says.1, ended_by));
        let marker = marker(life);
        let put = self.objects.put(&marker, text.into());
        self.bounded(0, put).await.map(drop).map_err(|cause| self.failed_put(Error::store(&cause)))
    }

    /// The marker of a life and when it was written, if there is one.
    pub(in crate::body) async fn marker(&self, life: &str) -> Result<Option<(Marker, WallMs)>, Error> {
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
    pub(in crate::body) async fn unmark(&self, life: &str) -> Result<(), Error> {
        self.remove(vec![marker(life)]).await
    }

    /// The names at the top level that may be lives. No other object is looked at.
    pub(in crate::body) async fn lives(&self) -> Result<Vec<String>, Error> {
        let listed = self.bounded(0, self.objects.list_with_delimiter(None)).await;
        let listed = listed.map_err(|cause| Error::store(&cause))?;
        let first = |path: Path| path.parts().next().map(|part| part.as_ref().to_owned());
        Ok(listed.common_prefixes.into_iter().filter_map(first).collect())
    }

    /// As [`Store::mark`]. If there is no room, notes that the marker is missing.
    pub(in crate::body) async fn mark_if_there_is_room(&self) -> Result<(), Error> {
        match self.mark().await {
            Err(Error::NoRoom) => {
                self.unmarked.store(true, Ordering::Release);
                Ok(())
            }
            other => other,
        }
    }

    pub(in crate::body) fn is_unmarked(&self) -> bool {
        self.unmarked.load(Ordering::Acquire)
    }

    /// Looks for the marker of a life, repeatedly for a short while: [`Error::NotShared`] if it is not there
    /// then.
    pub(in crate::body) async fn join(&self, life: &str) -> Result<(), Error> {
        if self.place == Place::Carrier {
            return Ok(());
        }
        let until = Instant::now() + JOIN_PATIENCE;
        while self.marker(life).await?.is_none() {
            if Instant::now() >= until {
                return Err(Error::NotShared);
            }
            sleep(JOIN_LOOK).await;
        }
        Ok(())
    }
}

/// The path of a life's marker.
fn marker(life: &str) -> Path {
    Path::from_iter([life, HERE])
}
