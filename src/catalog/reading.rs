//! What entries turn out to be when they are read.

use super::{Catalog, CodecError};
use crate::dust::{Entry, Number};
use crate::record::codec::Limits;
use crate::record::{Manifest, Note, Pointer, Record, VaryNode, codec};

/// What stands at a value.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The number of its write.
    pub number: Number,
    /// What it says.
    pub reading: Reading,
}

/// What an entry at a value says.
#[derive(Debug, Clone, PartialEq)]
pub enum Reading {
    /// A record of the key.
    Record(Box<Record>),
    /// The key's responses vary.
    Vary(VaryNode),
    /// Nothing of the key: another key's with the same hash, or no text (S16).
    Foreign,
    /// A text that is neither.
    Bad(CodecError),
}

/// What a fill tells aside when it has no lease.
#[derive(Debug, Clone, PartialEq)]
pub enum ToldAside {
    /// How far it is, or what it has come to.
    Note(Note),
    /// Its whole record, which is in no value.
    Record(Box<Record>),
    /// What its key varies on.
    Vary(VaryNode),
}

// === impl Reading ===

impl Reading {
    /// The record, if it is one.
    pub fn record(self) -> Option<Record> {
        match self {
            Self::Record(record) => Some(*record),
            Self::Vary(_) | Self::Foreign | Self::Bad(_) => None,
        }
    }

    /// Of whatever key it is.
    pub(super) fn of(entry: &Entry, limits: &Limits) -> Self {
        let Some(text) = entry.text() else { return Self::Foreign };
        match codec::decode(text, limits) {
            Ok(Pointer::Record(record)) => Self::Record(record),
            Ok(Pointer::Vary(node)) => Self::Vary(node),
            Err(error) => Self::Bad(error),
        }
    }

    /// The same, asked for by this key.
    pub(super) fn only(self, key: &str) -> Self {
        match &self {
            Self::Record(record) if record.key != key => Self::Foreign,
            Self::Vary(node) if node.key != key => Self::Foreign,
            _ => self,
        }
    }
}

/// The note that an entry holds, of whatever key it is.
pub(super) fn note(entry: &Entry, limits: &Limits) -> Option<Note> {
    codec::decode_note(entry.text()?, limits).ok()
}

/// Returns whether a note may be of this key. Only a growing one says whose it is.
pub(super) fn is_noted_of(note: &Note, key: &str) -> bool {
    match note {
        Note::Growing { head, .. } => head.key == key,
        Note::Pass { .. } | Note::Failed { .. } => true,
    }
}

// === impl Catalog ===

impl Catalog {
    /// The body that an entry at a value names, of whatever key it is.
    pub fn body_of_value(&self, entry: &Entry) -> Option<Manifest> {
        self.reading_of_any(entry).record().map(|record| record.body)
    }

    /// The body that an entry at a verdict names, of whatever key it is.
    pub fn body_of_verdict(&self, entry: &Entry) -> Option<Manifest> {
        match note(entry, &self.limits())? {
            Note::Growing { head, .. } => Some(head.body),
            Note::Pass { .. } | Note::Failed { .. } => None,
        }
    }
}
