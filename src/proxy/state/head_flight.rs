//! The outcome of a HEAD exchange, for all requests that share it.

use std::sync::Arc;

use http::{HeaderMap, StatusCode};

use crate::dust::Number;
use crate::flight;
use crate::key::KeyHash;
use crate::proxy::outcome::{Moment, PrivateResponse};
use crate::record::Tags;
use crate::upstream::{self, Interest};

/// HEAD exchanges under way, by the hash of what they ask for.
pub(crate) type HeadFlights = flight::Flights<KeyHash, HeadOutcome, Interest>;
pub(crate) type HeadLeader = flight::Leader<KeyHash, HeadOutcome, Interest>;

/// The outcome of a HEAD exchange. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) enum HeadOutcome {
    /// A response that may be shared with the followers.
    Shared(Arc<SharedHead>),
    /// A response that may not be shared: each follower asks upstream by itself.
    Apart(Arc<PrivateResponse>),
    /// There was no response.
    Failed(upstream::Error),
}

/// A response to a HEAD that is shared by the requests that waited for it.
#[derive(Debug)]
pub(crate) struct SharedHead {
    /// The response as it came, for the request that led.
    pub(crate) own: Arc<PrivateResponse>,
    pub(crate) status: StatusCode,
    /// Its fields, without those that are for one client alone.
    pub(crate) headers: HeaderMap,
    /// Its age when it was received, in ms.
    pub(crate) age_ms: u64,
    pub(crate) received_at: u64,
    /// Its lifetime, in ms.
    pub(crate) fresh_ms: u64,
    /// When the exchange was sent; `born` is the highest number that was known then.
    pub(crate) sent: Moment,
    pub(crate) born: Number,
    /// The tags that it names.
    pub(crate) tags: Tags,
    /// The origin failed, and the failure holds for all that waited.
    pub(crate) failed: bool,
    /// It has no lifetime, and no directive forbids its use for the requests that came while it was under
    /// way.
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
