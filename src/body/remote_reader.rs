//! A body that another instance is writing.

use std::sync::Arc;

use super::fill::Fill;
use super::{Error, Growing, Reader, check};
use crate::record::Manifest;

/// Tells local readers what growing manifests say. Dropped before [`Tail::finish`], they end
/// with an error once they have had what is stored.
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

    /// There is more, or as much: `manifest` is of all that is stored.
    ///
    /// # Errors
    /// [`Error::Manifest`] if it does not add up or does not begin with what was told before:
    /// that is another body.
    pub fn extend(&mut self, manifest: &Manifest) -> Result<(), Error> {
        check(manifest)?;
        self.fill.extend(manifest)
    }

    /// Goes on with what another writer has fetched anew: `manifest` is of all that it has stored,
    /// at least as much as was told before. Its first bytes are read and compared with those that
    /// readers may have had, by the digests of the segments they came from: only the very same
    /// bytes are gone on with, so nobody ever gets a mixture.
    ///
    /// # Errors
    /// [`Error::Manifest`] if it does not add up or the bytes are others, or what the store says.
    ///
    /// # Cancel safety
    /// Dropped, nothing has changed.
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

    /// Nothing was heard of the writer for too long: those who have had no byte need not wait for one
    /// ([`Growing::until_doubted`]). The others may still get the rest.
    pub fn doubt(&self) {
        self.fill.doubt();
    }

    /// What was told so far.
    pub fn manifest(&self) -> Manifest {
        self.fill.acknowledged()
    }

    /// `manifest` is the whole.
    ///
    /// # Errors
    /// As [`Tail::extend`]; the readers are broken off.
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

impl Drop for Tail {
    fn drop(&mut self) {
        if !self.ended {
            self.fill.break_off();
        }
    }
}
