//! A body that another instance is writing.

use std::sync::Arc;

use super::fill::Fill;
use super::{Error, Growing, check};
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
