//! What carries segments beside the object store: the coordination store, as bodies see it.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::{Bodies, Error, check};
use crate::record::{Manifest, Segment};

/// Carries segments under their names, each for a time. A name is used once: it is made of a key's hash, and
/// of the segment's token and index.
#[async_trait]
pub trait Carrier: Send + Sync + Debug {
    /// The most bytes that it takes as one segment; 0 if it takes none.
    fn most(&self) -> u64;

    /// About the bytes that it keeps, if it tells; else 0.
    fn used(&self) -> u64;

    /// Reads a segment, in storage of its own. Returns `None` if it is not there. The caller checks it.
    ///
    /// # Errors
    /// [`Error::Store`] if the carrier does not answer.
    async fn get(&self, key_hash: &str, segment: &Segment) -> Result<Option<Bytes>, Error>;

    /// Keeps a segment for the time `lives`.
    ///
    /// # Errors
    /// [`Error::NoRoom`] or [`Error::Store`] if it could not be kept.
    async fn put(
        &self,
        key_hash: &str,
        segment: &Segment,
        bytes: &Bytes,
        lives: Duration,
    ) -> Result<(), Error>;

    /// Removes segments. Removing one that is missing is no error.
    ///
    /// # Errors
    /// [`Error::Store`] if the carrier does not answer.
    async fn remove(&self, key_hash: &str, segments: &[Segment]) -> Result<(), Error>;
}

// === impl Bodies ===

impl Bodies {
    /// Has segments carried by `carrier` from now on. Called once, before the first body is written or read.
    pub fn are_carried_by(&self, carrier: Arc<dyn Carrier>) {
        self.store.set_carrier(carrier);
    }

    /// Checks a body that came along with its record: its length and its digest.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the bytes are not what the manifest says, [`Error::Manifest`] if it is not the
    /// manifest of one carried segment, or why the body is known to be [gone](Bodies::is_gone).
    pub fn accept(&self, key_hash: &str, manifest: &Manifest, bytes: Bytes) -> Result<Bytes, Error> {
        check(manifest)?;
        let name = self.name_of(key_hash, manifest)?;
        match manifest.segments.as_slice() {
            [segment] if segment.carried => self.store.verified(&name, segment, bytes),
            _ => Err(Error::Manifest),
        }
    }
}
