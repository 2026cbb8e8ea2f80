//! Entries as they are written.

use super::{CodecError, Report};
use crate::record::{Note, Record, VaryNode, codec};

/// The text of an entry. Only what is in here makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryText(String);

impl EntryText {
    /// Of a record whose body is whole.
    ///
    /// # Errors
    /// Why it can't be written.
    pub fn record(record: &Record) -> Result<Self, CodecError> {
        codec::encode_record(record).map(Self)
    }

    /// Of a Vary node.
    ///
    /// # Errors
    /// Why it can't be written.
    pub fn node(node: &VaryNode) -> Result<Self, CodecError> {
        codec::encode_node(node).map(Self)
    }

    /// The same. One that is too long loses what is only a hint.
    ///
    /// # Errors
    /// Why it can't be written even then.
    pub fn node_shortened(node: &mut VaryNode) -> Result<Self, CodecError> {
        Self::node(node).or_else(|_| {
            node.languages.clear();
            Self::node(node)
        })
    }

    /// Of a note.
    ///
    /// # Errors
    /// Why it can't be written.
    pub fn note(note: &Note) -> Result<Self, CodecError> {
        codec::encode_note(note).map(Self)
    }

    /// Of the janitor's report; none if it can't be written.
    pub fn report(report: &Report) -> Option<Self> {
        serde_json::to_string(report).ok().map(Self)
    }

    /// As it is handed to the store.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
