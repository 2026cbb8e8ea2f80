//! Checks an entry against the store's clock and its numbers.

use super::{CodecError, holds};
use crate::record::{Binding, CLOCK_SLACK_MS, Manifest, Note, Pointer, Record};

/// The longest time that *pass* and *failed* are remembered, in ms, whatever the route or the origin says.
pub const MAX_NOTE_MS: u64 = 24 * 60 * 60 * 1000;

/// The store's clock and highest number at the time of the read. An entry beyond them was not written by
/// an instance of this fleet, or by one whose clock was wrong: it counts as absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The store's clock, in ms.
    pub now_ms: u64,
    /// The highest number that the store can have given.
    pub number: u64,
}

// === impl Limits ===

impl Limits {
    /// No limits, for text that is not from a store.
    pub const NONE: Self = Self { now_ms: u64::MAX, number: u64::MAX };

    pub(super) fn pointer(&self, pointer: &Pointer) -> Result<(), CodecError> {
        match pointer {
            Pointer::Record(record) => self.record(record),
            Pointer::Vary(node) => self.token(node.token),
        }
    }

    pub(super) fn note(&self, note: &Note) -> Result<(), CodecError> {
        match note {
            Note::Growing { token, head, binding } => {
                self.token(*token)?;
                self.record(head)?;
                binding.as_ref().map_or(Ok(()), |binding| self.binding(binding))
            }
            Note::Pass { token, until, binding, .. } | Note::Failed { token, until, binding, .. } => {
                self.token(*token)?;
                self.time(*until, MAX_NOTE_MS, "until")?;
                self.binding(binding)
            }
        }
    }

    fn record(&self, record: &Record) -> Result<(), CodecError> {
        self.token(record.token)?;
        holds(record.born <= self.number, "born")?;
        let named = |token: u64| token <= self.number || token >= Manifest::WITHOUT_LEASE;
        holds(record.body.segments.iter().all(|segment| named(segment.token)), "segments")?;
        // Otherwise it would stay fresh longer, by as much as it is ahead.
        self.time(record.received_at, 0, "received_at")
    }

    fn binding(&self, binding: &Binding) -> Result<(), CodecError> {
        binding.evidence.witnesses().try_for_each(|one| self.time(one.until, MAX_NOTE_MS, "seen"))
    }

    fn token(&self, token: u64) -> Result<(), CodecError> {
        holds(token <= self.number, "token")
    }

    fn time(&self, at: u64, ahead: u64, what: &'static str) -> Result<(), CodecError> {
        holds(at <= self.now_ms.saturating_add(ahead).saturating_add(CLOCK_SLACK_MS), what)
    }
}
