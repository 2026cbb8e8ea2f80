//! The decoded forms of entries.

use bytes::Bytes;

use super::{Catalog, CodecError};
use crate::dust::{Entry, Number};
use crate::record::codec::Limits;
use crate::record::{Manifest, Note, Pointer, Record, VaryNode, codec};

/// A value that was read.
#[derive(Debug, Clone, PartialEq)]
pub struct FoundEntry {
    /// The number of its write.
    pub number: Number,
    /// The decoded entry.
    pub reading: Reading,
    /// The body that lies beside it, as the store has it: unchecked.
    pub body: Option<Bytes>,
}

/// A decoded entry at a value key.
#[derive(Debug, Clone, PartialEq)]
pub enum Reading {
    /// A record of the key.
    Record(Box<Record>),
    /// A Vary node: the key's responses vary.
    Vary(VaryNode),
    /// Not of the key: another key's with the same hash, or not text (S16).
    Foreign,
    /// Text that can't be decoded.
    Bad(CodecError),
}

/// What a fill writes aside after it lost its lease.
#[derive(Debug, Clone, PartialEq)]
pub enum ToldAside {
    /// Its progress, or its verdict.
    Note(Note),
    /// Its complete record, which no value key has.
    Record(Box<Record>),
    /// The Vary node of its key.
    Vary(VaryNode),
}

// === impl Reading ===

impl Reading {
    /// Returns the record, if it is one.
    pub fn record(self) -> Option<Record> {
        match self {
            Self::Record(record) => Some(*record),
            Self::Vary(_) | Self::Foreign | Self::Bad(_) => None,
        }
    }

    /// Decodes an entry of any key.
    pub(super) fn of(entry: &Entry, limits: &Limits) -> Self {
        let Some(text) = entry.text() else { return Self::Foreign };
        match codec::decode(text, limits) {
            Ok(Pointer::Record(record)) => Self::Record(record),
            Ok(Pointer::Vary(node)) => Self::Vary(node),
            Err(error) => Self::Bad(error),
        }
    }

    /// Returns the same, or [`Reading::Foreign`] if it is of another key.
    pub(super) fn only(self, key: &str) -> Self {
        match &self {
            Self::Record(record) if *record.key != *key => Self::Foreign,
            Self::Vary(node) if node.key != key => Self::Foreign,
            _ => self,
        }
    }
}

/// Decodes a note of any key.
pub(super) fn note(entry: &Entry, limits: &Limits) -> Option<Note> {
    codec::decode_note(entry.text()?, limits).ok()
}

/// Returns whether a note may be of this key. Only a growing one names its key.
pub(super) fn is_noted_of(note: &Note, key: &str) -> bool {
    match note {
        Note::Growing { head, .. } => *head.key == *key,
        Note::Pass { .. } | Note::Failed { .. } => true,
    }
}

// === impl Catalog ===

impl Catalog {
    /// Returns the body that an entry at the value of any key names.
    pub fn body_of_value(&self, entry: &Entry) -> Option<Manifest> {
        self.reading_of_any(entry).record().map(|record| record.body)
    }

    /// Returns the body that an entry at the verdict of any key names.
    pub fn body_of_verdict(&self, entry: &Entry) -> Option<Manifest> {
        match note(entry, &self.limits())? {
            Note::Growing { head, .. } => Some(head.body),
            Note::Pass { .. } | Note::Failed { .. } => None,
        }
    }
}
