//! A body that another instance is writing.

use std::sync::Arc;

use bytes::Bytes;

use super::fill::Fill;
use super::{Error, Growing, Prefix, Reader, Spill, check};
use crate::record::Manifest;

/// Feeds the growing manifests of another instance to local readers. Dropped before [`Tail::finish`], the
/// readers end with an error once they have had what is stored.
#[derive(Debug)]
pub struct Tail {
    fill: Arc<Fill>,
    ended: bool,
}

// === impl Tail ===

impl Tail {
    pub(super) fn begin(fill: Fill) -> (Self, Growing) {
        let fill = Arc::new(fill);
        let growing = Growing::of(Arc::clone(&fill));
        (Self { fill, ended: false }, growing)
    }

    /// Takes a newer manifest: of all that is stored, at least as much as before.
    ///
    /// # Errors
    /// [`Error::Manifest`] if it is invalid, or does not begin with the one before: that is another body.
    pub fn extend(&mut self, manifest: &Manifest) -> Result<(), Error> {
        check(manifest)?;
        self.fill.extend(manifest)
    }

    /// Continues with the segments of a writer that has fetched the body again. `manifest` is of all that it
    /// has stored, at least as much as was known before. Its first bytes are read and compared, by digest,
    /// with the segments that readers may have had. Only identical bytes are accepted, so no client ever gets
    /// a mixture.
    ///
    /// # Errors
    /// [`Error::Manifest`] if it is invalid or the bytes differ; else the error of the store.
    ///
    /// # Cancel safety
    /// If dropped, nothing has changed.
    pub async fn graft(&mut self, manifest: &Manifest) -> Result<(), Error> {
        check(manifest)?;
        let told = self.fill.acknowledged();
        if told.len > 0 && manifest.len >= told.len {
            let (bodies, name) = (self.fill.bodies.clone(), self.fill.name.clone());
            let bytes = Reader::stored(bodies, name, Arc::new(manifest.clone()), Some((0, told.len - 1)));
            let mut bytes = bytes.goes_on();
            for segment in told.segments.iter().filter(|segment| segment.len > 0) {
                if bytes.digest(segment.len).await? != segment.digest {
                    return Err(Error::Manifest);
                }
            }
        }
        self.fill.graft(manifest)
    }

    /// Notes that nothing was heard of the writer for too long: readers that have had no byte need not wait
    /// for one ([`Growing::until_doubted`]). The others may still get the rest.
    pub fn doubt(&self) {
        self.fill.doubt();
    }

    /// What the readers may have had, for another fetch of the body to be compared with.
    pub fn beginning(&self) -> Prefix {
        Prefix::of(&self.fill.acknowledged())
    }

    /// Gives the readers, behind what is stored, bytes that will not be: `cause` says why. The caller has
    /// seen that they are of the same body.
    pub fn spill(mut self, cause: Error) -> Spill {
        self.ended = true;
        Spill::begin(Arc::clone(&self.fill), cause, Vec::new())
    }

    /// The manifest as far as known.
    pub fn manifest(&self) -> Manifest {
        self.fill.acknowledged()
    }

    /// Ends the body: `manifest` is that of the whole.
    ///
    /// # Errors
    /// As [`Tail::extend`], and [`Error::Truncated`] if the length is not the promised one. The readers end
    /// with an error.
    pub fn finish(mut self, manifest: &Manifest) -> Result<(), Error> {
        self.extend(manifest)?;
        if self.fill.len_hint.is_some_and(|hint| hint != manifest.len) {
            return Err(Error::Truncated);
        }
        self.ended = true;
        self.fill.complete();
        Ok(())
    }
}

impl Tail {
    /// Ends the body with all of its bytes, as another writer of this instance has them in memory. The first of
    /// them are compared, by digest, with the segments that readers may have had.
    ///
    /// # Errors
    /// [`Error::Manifest`] if the bytes differ, [`Error::Truncated`] if the length is not the promised one. The
    /// readers end with an error.
    pub fn finish_with(mut self, whole: &Bytes) -> Result<(), Error> {
        let mut beginning = self.beginning();
        let rest = beginning.compare(whole.clone())?;
        if !beginning.is_over() {
            return Err(Error::Manifest);
        }
        if self.fill.len_hint.is_some_and(|hint| hint != whole.len() as u64) {
            return Err(Error::Truncated);
        }
        self.ended = true;
        self.fill.complete_with(rest);
        Ok(())
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        if !self.ended {
            self.fill.break_off();
        }
    }
}
