//! What came of a HEAD, for all who asked the same.

use std::sync::Arc;

use http::{HeaderMap, StatusCode};

use super::told::{Moment, Own};
use crate::dust::Number;
use crate::flight;
use crate::key::KeyHash;
use crate::upstream::{self, Interest};

/// The exchanges under way, by what they ask.
pub(crate) type HeadFlights = flight::Flights<KeyHash, HeadOutcome, Interest>;
pub(super) type HeadLeader = flight::Leader<KeyHash, HeadOutcome, Interest>;

/// What came of one. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) enum HeadOutcome {
    /// A response that may be shared.
    Shared(Arc<SharedHead>),
    /// One that may not: each for itself.
    Apart(Arc<Own>),
    /// None.
    Failed(upstream::Error),
}

/// The response to a HEAD, for all who asked the same.
#[derive(Debug)]
pub(crate) struct SharedHead {
    /// As it came, for the request that led.
    pub(super) own: Arc<Own>,
    pub(super) status: StatusCode,
    /// Without what is for one client alone.
    pub(super) headers: HeaderMap,
    /// Its age when it was received, in ms.
    pub(super) age_ms: u64,
    pub(super) received_at: u64,
    /// Its lifetime, in ms.
    pub(super) fresh_ms: u64,
    /// When it was asked for, and under which number.
    pub(super) sent: Moment,
    pub(super) born: Number,
    /// The origin failed: so it did for all who waited.
    pub(super) failed: bool,
    /// Without a lifetime, and without a word against using it for those who came while it was under way.
    pub(super) once: bool,
}

// === impl HeadOutcome ===

impl HeadOutcome {
    /// The response as it came, for the request that led.
    pub(super) fn own(&self) -> Option<&Own> {
        match self {
            Self::Shared(shared) => Some(&shared.own),
            Self::Apart(own) => Some(own),
            Self::Failed(_) => None,
        }
    }
}
