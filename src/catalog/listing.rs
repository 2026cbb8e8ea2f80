//! Lists all records of the store, and all bodies of a key: for housekeeping.

use super::{Catalog, Reading};
use crate::dust::{Entry, Number, Result};
use crate::record::codec::Limits;
use crate::record::{Manifest, Record};

/// About a 256th of the entries: all at once they might not fit into memory.
#[derive(Debug)]
pub struct Page {
    entries: Vec<(String, Entry)>,
    limits: Limits,
}

/// A record in a listing.
#[derive(Debug, Clone, PartialEq)]
pub struct Listed {
    /// The hash of its key, in hexadecimal digits.
    pub hash: String,
    /// The number of its write.
    pub number: Number,
    /// The size of its entry, in bytes.
    pub bytes: u64,
    /// The record.
    pub record: Record,
}

impl Catalog {
    /// The entries of the keys whose hashes begin with this byte.
    ///
    /// # Errors
    /// The store did not answer.
    pub async fn page(&self, first: u8) -> Result<Page> {
        let entries = self.entries(&format!("{}{first:02x}", self.root)).await?;
        Ok(Page { entries, limits: self.limits() })
    }

    /// Returns the bodies that a key's entries name. `None` if that is unknown: the key is being filled, or
    /// the store did not answer.
    pub async fn bodies_of(&self, hash: &str) -> Option<Vec<Manifest>> {
        // The lock first, then the growing note, then the value: a fill that ends in between is found by
        // one of them.
        let names = self.names_of(hash);
        let lease = self.lease(&names).await.ok()?;
        if lease.is_some() {
            return None;
        }
        let verdict = self.entry(&names.verdict).await;
        let value = self.entry(&names.value).await;
        let (verdict, value) = (verdict.ok()?, value.ok()?);
        let noted = verdict.and_then(|entry| self.body_of_verdict(&entry));
        let stored = value.and_then(|entry| self.body_of_value(&entry));
        Some(noted.into_iter().chain(stored).collect())
    }
}

impl Page {
    /// Decodes the records among the entries. That takes long: not for a task that others wait for.
    pub fn records(&self) -> impl Iterator<Item = Listed> + '_ {
        self.entries.iter().filter_map(|(name, entry)| {
            let Reading::Record(record) = Reading::of(entry, &self.limits) else { return None };
            let hash = name.rsplit('/').next()?.to_owned();
            let bytes = (name.len() + entry.text()?.len()) as u64;
            Some(Listed { hash, number: entry.number, bytes, record: *record })
        })
    }
}
