//! Removes a key's value or note, under the key's lease.

use super::{Catalog, FoundEntry};
use crate::dust::{Error, Result, Written};
use crate::flight::{Attempt, Fill, Names};
use crate::key::Key;
use crate::record::Note;

/// The outcome of removing an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Removal {
    /// It is gone.
    Gone,
    /// It stays: it is not condemned, or another fill has the lease.
    Stays,
    /// It stays: the lease was lost before.
    Fenced,
    /// The store did not take it. Whether it is gone is unknown.
    Failed(Error),
}

impl Catalog {
    /// Removes a key's value under the fill's lease. Without a lease nothing is removed.
    ///
    /// # Errors
    /// The store did not take it.
    pub async fn remove_value(&self, fill: &Fill) -> Result<Written> {
        self.remove(fill, &fill.names().value).await
    }

    /// Removes a key's note under the fill's lease. Without a lease nothing is removed.
    ///
    /// # Errors
    /// The store did not take it.
    pub async fn remove_verdict(&self, fill: &Fill) -> Result<Written> {
        self.remove(fill, &fill.names().verdict).await
    }

    /// Reads a key's value under the key's lease, and removes it if `condemned` returns true for it. Then
    /// `gone` is called before the lease is released, to forget what belongs to it.
    pub async fn remove_value_if(
        &self,
        names: &Names,
        condemned: impl FnOnce(&FoundEntry) -> bool + Send,
        gone: impl FnOnce(FoundEntry) + Send,
    ) -> Removal {
        // The fill that has the lease brings something newer.
        let Attempt::Won(fill) = self.flight.attempt(names).await else { return Removal::Stays };
        let there = self.entry(&names.value).await.ok().flatten();
        let found = there.map(|entry| self.found(&entry));
        let removal = match found.filter(|found| condemned(found)) {
            None => Removal::Stays,
            Some(found) => {
                let removal = Removal::from(self.remove_value(&fill).await);
                if removal == Removal::Gone {
                    gone(found);
                }
                removal
            }
        };
        fill.release().await;
        removal
    }

    /// The same for a key's note.
    pub async fn remove_verdict_if(
        &self,
        key: &Key,
        condemned: impl FnOnce(&Note) -> bool + Send,
    ) -> Removal {
        let Attempt::Won(fill) = self.flight.attempt(&self.names(key)).await else { return Removal::Stays };
        let removal = match self.verdict(key).await.ok().flatten().filter(|note| condemned(note)) {
            None => Removal::Stays,
            Some(_) => Removal::from(self.remove_verdict(&fill).await),
        };
        fill.release().await;
        removal
    }

    async fn remove(&self, fill: &Fill, name: &str) -> Result<Written> {
        let Some(lease) = fill.lease() else { return Ok(Written::Fenced) };
        self.flight.bounded(self.dust.delete(name, Some(lease))).await
    }
}

impl From<Result<Written>> for Removal {
    fn from(written: Result<Written>) -> Self {
        match written {
            Ok(Written::At(_)) => Self::Gone,
            Ok(Written::Fenced) => Self::Fenced,
            Err(error) => Self::Failed(error),
        }
    }
}
