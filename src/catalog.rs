//! Typed access to what the store keeps for keys: records, Vary nodes, notes, and the entries beside them.
//! The names of entries, their form, the check that they are of the key, and the bound of each call are
//! only here.
//!
//! | entry | name | holds |
//! |---|---|---|
//! | value | `<prefix>/1/<hash>` | a record, or a Vary node |
//! | verdict | `<value>!` | a note: growing, pass or failed |
//! | lock | `_dust:sf/<value>` | the lease of the fill |
//! | aside | `<verdict><token>` | a note, a record or a node of a fill that has lost its lease |
//! | claim | `<aside>w` | a fill goes on whose segments no entry names |
//! | report | `<prefix>/1/janitor!` | what the janitor has counted |
//! | pause | `<prefix>/1/limited/<upstream>` | until when an origin is left alone; beside it the lease of its trial |
//! | bucket | `<prefix>/1/rate/<upstream>` | no entry: the tokens of an upstream's rate |
//!
//! Stamps and the notes of URLs belong to the [`tier`](crate::tier). The [`flight`](crate::flight) asks
//! for leases.
//!
//! An entry is input: one that can't be read counts as absent, and so does another key's record at the
//! same hash. A call of the store ends within the flight's bound, a listing within [`LISTING`].

use std::fmt::{self, Display};
use std::sync::Arc;
use std::time::Duration;

use crate::dust::{Dust, Entry, Number, Result, Value, within};
use crate::flight::{Flight, Names};
use crate::key::Key;
use crate::record::codec::Limits;
use crate::record::{Manifest, Note, Record};

mod claims;
mod listing;
pub mod pauses;
mod reading;
mod removal;
mod report;
mod survey;
#[cfg(test)]
mod tests;
mod text;

pub use crate::record::codec::{CodecError, MAX_FIELDS, MAX_NOTE_MS, fits};
pub use listing::{Listed, Page, Walk};
pub use reading::{FoundEntry, Reading, ToldAside};
pub use removal::Removal;
pub use report::Report;
pub use survey::Survey;
pub use text::EntryText;

/// The bound of a listing. A page of a large store takes longer than a call, and housekeeping may wait.
pub const LISTING: Duration = Duration::from_secs(30);

/// The entries of one fleet in its store.
pub struct Catalog {
    /// The prefix of every name. It has the format's version, so that two versions side by side do not share
    /// entries.
    root: String,
    dust: Arc<dyn Dust>,
    flight: Arc<Flight>,
}

impl Catalog {
    /// The entries under `prefix` in `dust`, the store of `flight`.
    pub fn new(prefix: &str, dust: Arc<dyn Dust>, flight: Arc<Flight>) -> Self {
        Self { root: format!("{prefix}/1/"), dust, flight }
    }

    /// The names of a key's entries.
    pub fn names(&self, key: &Key) -> Names {
        Names::of(&self.value_name(key))
    }

    /// The name of a key's value.
    fn value_name(&self, key: &Key) -> String {
        let mut name = String::with_capacity(self.root.len() + 32);
        name.push_str(&self.root);
        name.push_str(key.hash().hex().as_str());
        name
    }

    /// The names of the entries of a key that has this hash.
    pub fn names_of(&self, hash: impl Display) -> Names {
        Names::of(&format!("{}{hash}", self.root))
    }

    /// Reads a key's value.
    ///
    /// # Errors
    /// The store did not answer.
    pub async fn value(&self, key: &Key) -> Result<Option<FoundEntry>> {
        let found = self.flight.bounded(self.dust.entry_with_body(&self.value_name(key))).await?;
        Ok(found.map(|(entry, body)| FoundEntry {
            number: entry.number,
            reading: self.reading(&entry, key),
            body,
        }))
    }

    /// Reads the value of a key of which only the hash is known.
    ///
    /// # Errors
    /// The store did not answer.
    pub async fn value_of(&self, hash: impl Display) -> Result<Option<FoundEntry>> {
        let entry = self.entry(&self.names_of(hash).value).await?;
        Ok(entry.map(|entry| self.found(&entry)))
    }

    /// Reads the note at a key's verdict.
    ///
    /// # Errors
    /// The store did not answer.
    pub async fn verdict(&self, key: &Key) -> Result<Option<Note>> {
        let entry = self.entry(&self.names(key).verdict).await?;
        Ok(entry.and_then(|entry| self.note(&entry, key)))
    }

    /// Returns the token of the live lease of a key, if there is one.
    ///
    /// # Errors
    /// The store did not answer.
    pub async fn lease(&self, names: &Names) -> Result<Option<Number>> {
        let entry = self.entry(&names.lock).await?;
        Ok(entry.filter(|entry| matches!(entry.value, Value::Lease { .. })).map(|entry| entry.number))
    }

    /// Decodes an entry at a key's value.
    pub fn reading(&self, entry: &Entry, key: &Key) -> Reading {
        Reading::of(entry, &self.limits()).only(key.text())
    }

    /// Decodes an entry at a key's value, if it is a record.
    pub fn record(&self, entry: &Entry, key: &Key) -> Option<Record> {
        self.reading(entry, key).record()
    }

    /// Decodes an entry at a key's verdict, if it is a note.
    pub fn note(&self, entry: &Entry, key: &Key) -> Option<Note> {
        reading::note(entry, &self.limits()).filter(|note| reading::is_noted_of(note, key.text()))
    }

    /// Decodes an entry that a fill of this key has written aside after it lost its lease.
    pub fn aside(&self, entry: &Entry, key: &Key) -> Option<ToldAside> {
        match reading::note(entry, &self.limits()) {
            Some(note) => reading::is_noted_of(&note, key.text()).then_some(ToldAside::Note(note)),
            None => match self.reading(entry, key) {
                Reading::Record(record) => Some(ToldAside::Record(record)),
                Reading::Vary(node) => Some(ToldAside::Vary(node)),
                Reading::Foreign | Reading::Bad(_) => None,
            },
        }
    }

    /// Decodes an entry at the value of any key, without its body.
    fn found(&self, entry: &Entry) -> FoundEntry {
        FoundEntry { number: entry.number, reading: self.reading_of_any(entry), body: None }
    }

    /// Decodes an entry at the value of any key.
    fn reading_of_any(&self, entry: &Entry) -> Reading {
        Reading::of(entry, &self.limits())
    }

    async fn entry(&self, name: &str) -> Result<Option<Entry>> {
        self.flight.bounded(self.dust.entry(name)).await
    }

    async fn entries(&self, prefix: &str) -> Result<Vec<(String, Entry)>> {
        within(LISTING, self.dust.entries(prefix)).await
    }

    /// The limits for an entry that is read now.
    fn limits(&self) -> Limits {
        Limits { now_ms: self.dust.now_ms(), number: self.dust.ceiling() }
    }
}

/// The names of the segments of a key's body that the store carries.
pub fn carried(names: &Names, manifest: &Manifest) -> Vec<String> {
    let carried = manifest.segments.iter().filter(|segment| segment.carried);
    carried.map(|segment| segment.name(&names.value)).collect()
}

impl fmt::Debug for Catalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Catalog").field("root", &self.root).finish_non_exhaustive()
    }
}
