//! Markers: the objects by which a body store belongs to a life of the store. A store without objects needs
//! none: it is as good as marked.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{OnceLock, PoisonError};
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
use crate::record::Life;

/// The name of the marker: the object by which a body store belongs to a life of the store.
const HERE: &str = "here";
/// The longest that a marker may be, in bytes.
const MARKER_MOST: u64 = 1024;
/// How long a joining instance waits for the marker: the instance that began that life may be about to write
/// it.
const JOIN_PATIENCE: Duration = Duration::from_secs(3);
/// The pause between two looks for the marker.
const JOIN_LOOK: Duration = Duration::from_millis(100);

/// What is known of the marker of the current life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::body) enum Marking {
    /// It is there.
    Marked,
    /// It was never written. Nothing is put until it is.
    Unwritten,
    /// Whether it is there is not known: the store was away when this instance joined. Nothing is put, read
    /// or believed to be missing until it is seen.
    Unseen,
}

/// What is known of the marker, and why it is not more.
#[derive(Debug, Default)]
pub(super) struct Marks {
    is: AtomicU8,
    why: OnceLock<Error>,
}

const MARKED: u8 = 0;
const UNWRITTEN: u8 = 1;
const UNSEEN: u8 = 2;

// === impl Marks ===

impl Marks {
    fn get(&self) -> Marking {
        match self.is.load(Ordering::Acquire) {
            MARKED => Marking::Marked,
            UNSEEN => Marking::Unseen,
            _ => Marking::Unwritten,
        }
    }

    fn set(&self, marking: Marking) {
        let is = match marking {
            Marking::Marked => MARKED,
            Marking::Unwritten => UNWRITTEN,
            Marking::Unseen => UNSEEN,
        };
        self.is.store(is, Ordering::Release);
    }

    /// The store is opened without its marker for this reason.
    fn lacks(&self, marking: Marking, why: Error) {
        self.set(marking);
        // It is opened once.
        let _ = self.why.set(why);
    }

    /// The error of a put; none if bodies may be put.
    pub(super) fn keeps_from_putting(&self) -> Option<Error> {
        match self.get() {
            Marking::Marked => None,
            Marking::Unwritten => Some(self.why.get().cloned().unwrap_or(Error::NoRoom)),
            Marking::Unseen => Some(Error::Away),
        }
    }

    /// Fails if it is not known whether the bodies of this life are in this store.
    pub(super) fn is_seen(&self) -> Result<(), Error> {
        if self.get() == Marking::Unseen { Err(Error::Away) } else { Ok(()) }
    }
}

// === impl Store ===

impl Store {
    /// The id of the life that new names belong to.
    pub(in crate::body) fn life(&self) -> Life {
        // Nothing in here panics half way through a change.
        self.life.read().unwrap_or_else(PoisonError::into_inner).clone()
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
        self.marks.set(Marking::Marked);
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
        self.bounded(0, put).await.map(drop).map_err(|cause| self.failed_put(refusal_or(&cause)))
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
                let text = cause.to_string();
                if text.contains("NoSuchBucket") { Err(Error::Refused(text.into())) } else { Ok(None) }
            }
            Err(cause) => Err(refusal_or(&cause)),
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

    /// As [`Store::mark`]. If there is no room, or a bucket is away, notes that the marker is missing.
    pub(in crate::body) async fn mark_if_that_works(&self) -> Result<(), Error> {
        let marked = self.mark().await;
        self.unless_away(marked, Marking::Unwritten)
    }

    /// As [`Store::join`]. If a bucket is away, notes that the marker was not seen.
    pub(in crate::body) async fn join_if_that_works(&self, life: &str) -> Result<(), Error> {
        let joined = self.join(life).await;
        self.unless_away(joined, Marking::Unseen)
    }

    fn unless_away(&self, done: Result<(), Error>, marking: Marking) -> Result<(), Error> {
        match done {
            Err(Error::NoRoom) if marking == Marking::Unwritten => self.marks.lacks(marking, Error::NoRoom),
            // A directory that fails is a mistake of the settings or of the machine; a bucket may be away.
            Err(why @ Error::Store(_)) if self.root.is_none() => self.marks.lacks(marking, why),
            other => return other,
        }
        Ok(())
    }

    /// Makes sure of the marker: looks for it if it was not seen yet, else writes it if it is missing.
    pub(in crate::body) async fn mark_or_see(&self) -> Result<(), Error> {
        if self.marking() == Marking::Unseen {
            self.join(&self.life()).await?;
        }
        self.mark().await
    }

    pub(in crate::body) fn marking(&self) -> Marking {
        self.marks.get()
    }

    pub(in crate::body) fn is_unmarked(&self) -> bool {
        self.marking() != Marking::Marked
    }

    /// Why the store was opened without its marker.
    pub(in crate::body) fn unmarked_because(&self) -> Error {
        self.marks.why.get().cloned().unwrap_or(Error::NoRoom)
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

/// The error of a call; [`Error::Refused`] if the server has answered, and no retry helps.
fn refusal_or(cause: &object_store::Error) -> Error {
    use object_store::Error::{NotImplemented, NotSupported, PermissionDenied, Unauthenticated};
    let is_refusal = matches!(
        cause,
        PermissionDenied { .. } | Unauthenticated { .. } | NotSupported { .. } | NotImplemented { .. }
    );
    match Error::store(cause) {
        // Such as a wrong region. (408 and 429 mean that it may work later.)
        Error::Store(text) if is_refusal || says_no(&text) => Error::Refused(text),
        other => other,
    }
}

/// Returns whether the text of an error has a status that says that the request is wrong.
fn says_no(text: &str) -> bool {
    let status = text.split_once("status code: ").map(|(_, rest)| rest);
    let later = |status: &str| ["408", "429"].iter().any(|code| status.starts_with(code));
    text.contains("Received redirect")
        || status.is_some_and(|status| status.starts_with('4') && !later(status))
}

/// The path of a life's marker.
fn marker(life: &str) -> Path {
    Path::from_iter([life, HERE])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_that_says_that_the_request_is_wrong_is_no_outage() {
        for (text, no) in [
            (
                "Server returned non-2xx status code: 400 Bad Request: <Code>AuthorizationHeaderMalformed",
                true,
            ),
            (
                "Received redirect without LOCATION, this normally indicates an incorrectly configured region",
                true,
            ),
            ("Server returned non-2xx status code: 503 Service Unavailable: ", false),
            ("Server returned non-2xx status code: 429 Too Many Requests: ", false),
            ("no answer within 10s", false),
            ("error sending request: Connection refused (os error 111)", false),
        ] {
            assert_eq!(says_no(text), no, "{text}");
        }
    }

    #[test]
    fn nothing_is_put_until_the_marker_is_there_and_nothing_read_until_it_was_seen() {
        let marks = Marks::default();
        assert!(marks.keeps_from_putting().is_none() && marks.is_seen().is_ok());
        marks.lacks(Marking::Unwritten, Error::NoRoom);
        assert!(matches!(marks.keeps_from_putting(), Some(Error::NoRoom)) && marks.is_seen().is_ok());
        marks.set(Marking::Unseen);
        assert!(matches!(marks.keeps_from_putting(), Some(Error::Away)));
        assert!(matches!(marks.is_seen(), Err(Error::Away)));
    }
}
