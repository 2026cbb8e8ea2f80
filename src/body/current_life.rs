//! The life of the coordination store that new bodies belong to, and its marker in the body store.

use super::store::Marking;
use super::{Bodies, Error};
use crate::record::Life;

// === impl Bodies ===

impl Bodies {
    /// The id of the life that new bodies belong to.
    pub fn life(&self) -> Life {
        self.store.life()
    }

    /// Moves to another life of the store: what is written and read from now on belongs to `store_id`, and
    /// its marker is written. Writers and readers under way stay in the life that they began in.
    /// [`Bodies::used`] restarts at 0: sweep or recount to know what the new life holds. Called with the
    /// current id, it only makes sure of the markers.
    ///
    /// The marker of the earlier life is rewritten to say that it has ended. If that fails, [`Bodies::sign`]
    /// tries it again.
    ///
    /// # Errors
    /// The marker could not be written. The change of life stands nevertheless: call again until the marker
    /// is there.
    ///
    /// # Cancel safety
    /// If dropped, the life has changed, and the marker may be missing.
    pub async fn rebind(&self, store_id: &str) -> Result<(), Error> {
        self.go_to(store_id, true).await?;
        // If this fails, the earlier life does not say that it has ended: a sweep then keeps it longer, as
        // one that its fleet may come back to.
        let _ = self.end_those_left().await;
        Ok(())
    }

    /// Returns whether the marker is not known to be there: there was no room for it, or a bucket is away.
    /// Until it is there no body is stored: an instance that found a record of this life could not tell that
    /// its bodies are in this store.
    pub fn is_unmarked(&self) -> bool {
        self.store.is_unmarked()
    }

    /// Returns whether the bucket was away when this instance joined the life of others: whether its bodies
    /// are in this store is not known yet.
    pub fn is_unseen(&self) -> bool {
        self.store.marking() == Marking::Unseen
    }

    /// Why the store was opened without its marker.
    pub fn unmarked_because(&self) -> Error {
        self.store.unmarked_because()
    }

    /// Writes the marker, unless it is there. From then on bodies are stored. A marker that others have
    /// written is only looked for.
    ///
    /// # Errors
    /// [`Error::NotShared`] if others should have written it, and have not; [`Error::NoRoom`] or another error
    /// of the store. Then nothing has changed.
    pub async fn mark(&self) -> Result<(), Error> {
        self.store.mark_or_see().await
    }

    /// As [`Bodies::rebind`], for an instance that joins a life that others began: without that life's marker
    /// nothing is changed. Looks for it for a few seconds, as [`Bodies::join`] does.
    ///
    /// # Errors
    /// [`Error::NotShared`] if the marker is not there; else the error of the store.
    ///
    /// # Cancel safety
    /// If dropped, the life may or may not have changed.
    pub async fn rejoin(&self, store_id: &str) -> Result<(), Error> {
        self.store.join(store_id).await?;
        self.rebind(store_id).await
    }
}
