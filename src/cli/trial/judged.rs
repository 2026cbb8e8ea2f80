//! What would be done with an answer, by the policy that serving uses.

use crate::policy::{self, Lifetime, NoLifetime, PassReason, RequestFacts, Verdict};
use crate::proxy::explain::text;
use crate::proxy::fill::framing;
use crate::record::{Fields, Manifest, Record, Selecting, Tags};
use crate::route::Route;

use super::answer::{Answer, End};

/// How a request goes to the origin.
pub(super) enum Way {
    /// For all who ask for the same.
    Fill(RequestFacts),
    /// By itself, unless the answer grants sharing.
    Apart(RequestFacts),
    /// By itself.
    Alone(PassReason),
}

/// What would be done with an answer.
pub(super) enum Judged {
    /// Stored.
    Stored {
        /// Whether it is used without asking the origin, for a while.
        fresh: bool,
        /// Whether the origin can be asked if it still holds.
        validated: bool,
        /// For how long, and by what.
        freshness: String,
        /// Why it has no lifetime, if a setting would give it one.
        lacks: Option<NoLifetime>,
    },
    /// Given to those who wait for it, and not stored.
    Shared(PassReason),
    /// Given to one client.
    Alone(PassReason),
}

/// The same in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Stored,
    Shared,
    Alone,
}

/// Judges an answer on a route.
pub(super) fn judge(way: &Way, answer: &Answer, route: &Route) -> Judged {
    let (ask, shares) = match way {
        Way::Alone(reason) => return Judged::Alone(*reason),
        Way::Apart(ask) => (ask, false),
        Way::Fill(ask) => (ask, true),
    };
    let head = policy::Answer {
        status: answer.status,
        headers: &answer.headers,
        requested_at: answer.requested_at,
        received_at: answer.received_at,
        framing: framing(answer.framing),
    };
    let too_large = answer.bytes > route.rules.max_object_size;
    // What breaks off is never stored, and counts as a failure of the origin.
    let broken = matches!(answer.end, End::Broken(_));
    let not_stored = |reason| {
        let reason = if broken { PassReason::OriginError } else { reason };
        if shares { Judged::Shared(reason) } else { Judged::Alone(reason) }
    };
    match policy::verdict(ask, &head, &route.rules) {
        Verdict::Store(_) if too_large => Judged::Alone(PassReason::TooLarge),
        Verdict::Store(_) if broken => not_stored(PassReason::OriginError),
        Verdict::Store(lifetime) => stored(&lifetime, answer, route, ask.credentialed()),
        Verdict::Share { why, .. } => not_stored(why),
        Verdict::Pass(why) => Judged::Alone(why),
        Verdict::Failed { shareable: true, .. } => not_stored(PassReason::OriginError),
        Verdict::Failed { shareable: false, .. } => Judged::Alone(PassReason::OriginError),
    }
}

/// How long it would be fresh and kept, and what says so.
fn stored(lifetime: &Lifetime, answer: &Answer, route: &Route, credentialed: bool) -> Judged {
    let record = Record {
        key: "".into(),
        born: 0,
        token: 0,
        status: answer.status,
        headers: Fields::from(policy::stored_headers(&answer.headers, &route.rules, answer.received_at)),
        received_at: answer.received_at,
        age_ms: lifetime.age_ms,
        fresh_ms: lifetime.fresh_ms,
        swr_ms: lifetime.swr_ms,
        sie_ms: lifetime.sie_ms,
        keep_ms: lifetime.keep_ms,
        by: lifetime.by,
        credentialed,
        select: Selecting::new(),
        range: None,
        tags: Tags::new(),
        body: Manifest::default(),
    };
    Judged::Stored {
        fresh: lifetime.fresh_ms > lifetime.age_ms,
        validated: policy::validators(&record).is_some(),
        freshness: text::freshness(&record, &route.rules, answer.received_at),
        lacks: NoLifetime::of(&record, &route.rules),
    }
}

// === impl Judged ===

impl Judged {
    pub(super) fn outcome(&self) -> Outcome {
        match self {
            Self::Stored { .. } => Outcome::Stored,
            Self::Shared(_) => Outcome::Shared,
            Self::Alone(_) => Outcome::Alone,
        }
    }

    /// Why it is not stored, if it is not.
    pub(super) fn reason(&self) -> Option<PassReason> {
        match self {
            Self::Stored { .. } => None,
            Self::Shared(reason) | Self::Alone(reason) => Some(*reason),
        }
    }

    pub(super) fn answer(&self) -> &'static str {
        match self {
            Self::Stored { fresh: true, .. } => "stored, for all who ask for the same",
            Self::Stored { validated: true, .. } => "stored, and validated with the origin before each use",
            Self::Stored { .. } => "stored, and stale when it comes: it is fetched again before each use",
            Self::Shared(_) => {
                "not stored: requests that wait for it share it, and the next one fetches again"
            }
            Self::Alone(_) => "not stored, and for this request alone",
        }
    }

    /// Why it has no lifetime, if it is stored, and a setting would give it one.
    pub(super) fn lacks(&self) -> Option<&NoLifetime> {
        match self {
            Self::Stored { lacks, .. } => lacks.as_ref(),
            Self::Shared(_) | Self::Alone(_) => None,
        }
    }

    pub(super) fn because(&self, route: &str) -> String {
        match self {
            Self::Stored { freshness, lacks, .. } => {
                freshness.clone() + &lacks.as_ref().map(|lacks| lacks.explained(route)).unwrap_or_default()
            }
            Self::Shared(reason) | Self::Alone(reason) => reason.explained(route),
        }
    }
}

// === impl Outcome ===

impl Outcome {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Shared => "shared",
            Self::Alone => "alone",
        }
    }
}
