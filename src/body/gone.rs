//! Segments that were found missing, or not what they should be: for a while nothing is made of a body
//! that names one, so that one request finds out and the others need not.

use std::sync::Arc;
use std::time::Duration;

use quick_cache::sync::Cache;
use tokio::time::Instant;

use super::Error;
use super::store::Name;
use crate::record::{Manifest, Segment};

/// How many bodies are remembered at most: the last lost segment of each.
const CAPACITY: usize = 4_096;
/// For how long. By then nothing in the store names them any more.
const REMEMBERED: Duration = Duration::from_mins(1);

/// What is known to be lost.
#[derive(Debug)]
pub(super) struct Gone(Cache<u128, Lost>);

#[derive(Debug, Clone)]
struct Lost {
    life: Arc<str>,
    /// As the manifest has it that named it: one with another digest is another.
    segment: Segment,
    cause: Error,
    until: Instant,
}

// === impl Gone ===

impl Gone {
    pub(super) fn new() -> Self {
        Self(Cache::new(CAPACITY))
    }

    /// Notes that a segment is lost, and how.
    pub(super) fn note(&self, name: &Name, segment: &Segment, cause: Error) -> Error {
        let (life, until) = (name.life().clone(), Instant::now() + REMEMBERED);
        self.0.insert(name.hash, Lost { life, segment: *segment, cause: cause.clone(), until });
        cause
    }

    /// How a body is known to have lost a segment, if it is.
    pub(super) fn of(&self, name: &Name, manifest: &Manifest) -> Option<Error> {
        let lost = self.0.get(&name.hash)?;
        let holds = lost.life == *name.life() && Instant::now() < lost.until;
        (holds && manifest.segments.contains(&lost.segment)).then_some(lost.cause)
    }
}
