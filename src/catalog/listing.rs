//! Lists all records of the store, and all bodies of a key: for housekeeping.

use std::time::Duration;

use super::{Catalog, Reading};
use crate::dust::{Entry, Number, Part, Result, within};
use crate::record::codec::Limits;
use crate::record::{Manifest, Record};

/// The bound of a part of a listing, which may have to wait until a minute of a rate limit is over.
const PART: Duration = Duration::from_mins(3);

/// A part of the entries: all at once they might not fit into memory.
#[derive(Debug)]
pub struct Page {
    entries: Vec<(String, Entry)>,
    limits: Limits,
}

/// The place of a walk through all entries.
#[derive(Debug)]
pub struct Walk {
    next: Next,
}

#[derive(Debug)]
enum Next {
    /// The entries of the keys whose hashes begin with this byte: about a 256th of all.
    Byte(u8),
    /// What the store takes for a part, from there on.
    Part(Option<String>),
    Over,
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
    /// Begins a walk through all entries.
    pub fn walk(&self) -> Walk {
        Walk { next: if self.dust.traits().counts_calls { Next::Part(None) } else { Next::Byte(0) } }
    }

    /// The next page of a walk; `None` after the last.
    ///
    /// # Errors
    /// The store did not answer.
    pub async fn next_page(&self, walk: &mut Walk) -> Result<Option<Page>> {
        let entries = match &walk.next {
            Next::Over => return Ok(None),
            Next::Byte(first) => {
                let page = self.page(*first).await?;
                walk.next = first.checked_add(1).map_or(Next::Over, Next::Byte);
                return Ok(Some(page));
            }
            Next::Part(from) => {
                let Part { entries, next } = self.part(&self.root, from.as_deref()).await?;
                walk.next = next.map_or(Next::Over, |next| Next::Part(Some(next)));
                entries
            }
        };
        Ok(Some(Page { entries, limits: self.limits() }))
    }

    /// The entries of the keys whose hashes begin with this byte.
    pub(super) async fn page(&self, first: u8) -> Result<Page> {
        let entries = self.entries(&format!("{}{first:02x}", self.root)).await?;
        Ok(Page { entries, limits: self.limits() })
    }

    pub(super) async fn part(&self, prefix: &str, from: Option<&str>) -> Result<Part> {
        within(PART, self.dust.part(prefix, from)).await
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
