//! What came of a HEAD, for all who asked the same.

use std::sync::Arc;

use http::{HeaderMap, StatusCode};

use crate::dust::Number;
use crate::flight;
use crate::key::KeyHash;
use crate::proxy::outcome::{Moment, PrivateResponse};
use crate::upstream::{self, Interest};

/// The exchanges under way, by what they ask.
pub(crate) type HeadFlights = flight::Flights<KeyHash, HeadOutcome, Interest>;
pub(crate) type HeadLeader = flight::Leader<KeyHash, HeadOutcome, Interest>;

/// What came of one. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) enum HeadOutcome {
    /// A response that may be shared.
    Shared(Arc<SharedHead>),
    /// One that may not: each for itself.
    Apart(Arc<PrivateResponse>),
    /// None.
    Failed(upstream::Error),
}

/// The response to a HEAD, for all who asked the same.
#[derive(Debug)]
pub(crate) struct SharedHead {
    /// As it came, for the request that led.
    pub(crate) own: Arc<PrivateResponse>,
    pub(crate) status: StatusCode,
    /// Without what is for one client alone.
    pub(crate) headers: HeaderMap,
    /// Its age when it was received, in ms.
    pub(crate) age_ms: u64,
    pub(crate) received_at: u64,
    /// Its lifetime, in ms.
    pub(crate) fresh_ms: u64,
    /// When it was asked for, and under which number.
    pub(crate) sent: Moment,
    pub(crate) born: Number,
    /// The origin failed: so it did for all who waited.
    pub(crate) failed: bool,
    /// Without a lifetime, and without a word against using it for those who came while it was under way.
    pub(crate) once: bool,
}

// === impl HeadOutcome ===

impl HeadOutcome {
    /// The response as it came, for the request that led.
    pub(crate) fn own(&self) -> Option<&PrivateResponse> {
        match self {
            Self::Shared(shared) => Some(&shared.own),
            Self::Apart(own) => Some(own),
            Self::Failed(_) => None,
        }
    }
}
