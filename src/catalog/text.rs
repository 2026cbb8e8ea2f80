//! The text of entries.

use super::{CodecError, Report};
use crate::record::{Note, Record, VaryNode, codec};

/// The text of an entry. Only these functions make one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryText(String);

impl EntryText {
    /// Encodes a record whose body is complete.
    ///
    /// # Errors
    /// Why it can't be written.
    pub fn record(record: &Record) -> Result<Self, CodecError> {
        codec::encode_record(record).map(Self)
    }

    /// Encodes a Vary node.
    ///
    /// # Errors
    /// Why it can't be written.
    pub fn node(node: &VaryNode) -> Result<Self, CodecError> {
        codec::encode_node(node).map(Self)
    }

    /// Encodes a Vary node. One that is too long loses its languages, which are only a hint.
    ///
    /// # Errors
    /// Why it can't be written even then.
    pub fn node_shortened(node: &mut VaryNode) -> Result<Self, CodecError> {
        Self::node(node).or_else(|_| {
            node.languages.clear();
            Self::node(node)
        })
    }

    /// Encodes a note.
    ///
    /// # Errors
    /// Why it can't be written.
    pub fn note(note: &Note) -> Result<Self, CodecError> {
        codec::encode_note(note).map(Self)
    }

    /// Encodes the janitor's report; `None` if it can't be written.
    pub fn report(report: &Report) -> Option<Self> {
        serde_json::to_string(report).ok().map(Self)
    }

    /// The text for the store.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
