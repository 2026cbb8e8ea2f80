//! What is done with a request that is looked up: decided by what it asks for, what memory holds, and which
//! verdict is remembered of its key.
//!
//! `handle::look_up` carries a decision out and `explain` puts it into words, so that an explanation can't
//! differ from what is done.

use std::sync::Arc;

use crate::policy::{self, PassReason, RangeMode, RangeRequest, RequestFacts, Want};
use crate::proxy::lookup::candidate::Criteria;
use crate::proxy::lookup::{CacheSlot, Lookup};
use crate::proxy::outcome::Failure;
use crate::proxy::state::negative_cache::NoteResult;
use crate::route::Route;
use crate::tier::Stored;

/// What is done with a request.
#[derive(Debug)]
pub(crate) enum Decision {
    /// It is answered with a stored response.
    Serve { stored: Arc<Stored>, ttl_ms: i64, served: Served },
    /// It is answered 504: no stored response may be used, and the request says only-if-cached (RFC 9111
    /// §5.2.1.7).
    OnlyIfCached,
    /// It goes upstream by itself.
    Alone { onward: Onward, reason: PassReason, because: Because },
    /// Upstream failed a moment ago: the request gets that failure, or a stale response instead. `probes`:
    /// upstream is tried again behind the response.
    Failed { onward: Onward, failure: Arc<Failure>, probes: bool },
    /// It leads or follows.
    Join(Onward),
}

/// How a stored response is served.
#[derive(Debug)]
pub(crate) enum Served {
    /// Fresh.
    Fresh,
    /// Fresh, unless it was purged or replaced without this instance's hearing of it.
    Unsure,
    /// Stale, as the request allows (max-stale).
    MaxStale,
    /// Stale, and refreshed behind the response.
    Revalidating(CacheSlot),
}

/// A request that is not answered from memory: what is known of its response.
#[derive(Debug)]
pub(crate) struct Onward {
    /// Where its response would be stored.
    pub place: CacheSlot,
    /// The stored response there, to be validated, completed, or served stale.
    pub stale: Option<Arc<Stored>>,
    /// Whether that must be validated as if the request itself had said no-cache.
    pub validates: bool,
}

/// Why a request goes upstream by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Because {
    /// The stored response may not be used for it.
    Stored,
    /// It neither leads nor follows.
    Asked,
    /// Its key is remembered as not shareable.
    Noted,
}

/// Decides. `noted` returns the remembered verdict of a slot's key that binds the request; `stands_in`
/// whether a stored response may be served instead of a failure.
pub(crate) fn decide(
    route: &Route,
    criteria: Criteria<'_>,
    look: Lookup,
    noted: impl FnOnce(&CacheSlot) -> NoteResult,
    stands_in: impl FnOnce(&Stored, Criteria<'_>, &Failure) -> bool,
) -> Decision {
    let (onward, refused) = match look {
        Lookup::Fresh { stored, ttl_ms } => {
            return Decision::Serve { stored, ttl_ms, served: Served::Fresh };
        }
        Lookup::Unsure { stored, ttl_ms } => {
            return Decision::Serve { stored, ttl_ms, served: Served::Unsure };
        }
        Lookup::MaxStale { stored, ttl_ms } => {
            return Decision::Serve { stored, ttl_ms, served: Served::MaxStale };
        }
        Lookup::Refreshing { place, stored, ttl_ms } => {
            return Decision::Serve { stored, ttl_ms, served: Served::Revalidating(place) };
        }
        Lookup::Refused { place, reason } => (Onward::from(place), Some(reason)),
        Lookup::Doubtful { place, stored } => (Onward { place, stale: Some(stored), validates: true }, None),
        Lookup::Stale { place, stored } => (Onward { place, stale: Some(stored), validates: false }, None),
        Lookup::Missing { place } => (Onward::from(place), None),
    };
    if criteria.ask.only_if_cached {
        return Decision::OnlyIfCached;
    }
    if let Some(reason) = refused {
        return Decision::Alone { onward, reason, because: Because::Stored };
    }
    if let Some(reason) = alone_because(route, criteria.ask, onward.stale.as_ref()) {
        return Decision::Alone { onward, reason, because: Because::Asked };
    }
    match noted(&onward.place) {
        NoteResult::Pass(reason) if criteria.ask.want.is_bound_by(reason) => {
            Decision::Alone { onward, reason, because: Because::Noted }
        }
        NoteResult::Failed(failure) => Decision::Failed { onward, failure, probes: false },
        NoteResult::Failing(failure) => {
            let ask = onward.ask(criteria.ask);
            let stale = onward.stale.as_ref().or(failure.stale.as_ref());
            // While failures go on, only requests that have no stale response wait for the next try.
            match stale {
                Some(stale) if stands_in(stale, Criteria { ask: &ask, ..criteria }, &failure) => {
                    Decision::Failed { onward, failure, probes: true }
                }
                _ => Decision::Join(onward),
            }
        }
        NoteResult::Pass(_) | NoteResult::Nothing => Decision::Join(onward),
    }
}

/// Returns why a request neither leads nor follows, if it does not. `last`: the stored response in its slot,
/// if there is one.
pub(crate) fn alone_because(
    route: &Route,
    ask: &RequestFacts,
    last: Option<&Arc<Stored>>,
) -> Option<PassReason> {
    match ask.want {
        Want::Head(_) => return Some(PassReason::Method),
        Want::Ranges(RangeRequest { mode: RangeMode::Pass, .. }) => return Some(PassReason::Range),
        Want::Ranges(_) | Want::Whole => {}
    }
    if !route.coalesce {
        return Some(PassReason::RouteSays);
    }
    ask.apart().filter(|_| !last.is_some_and(|stored| policy::may_share_credentialed(&stored.terms)))
}

/// Returns whether a request that finds nothing in memory looks into the store by itself, for no fill does
/// that for it.
pub(crate) fn recalls(route: &Route, ask: &RequestFacts) -> bool {
    ask.only_if_cached || alone_because(route, ask, None).is_some()
}

// === impl Onward ===

impl Onward {
    /// The facts of the request from here on: with no-cache if it must be validated.
    pub(crate) fn ask(&self, ask: &RequestFacts) -> RequestFacts {
        let mut ask = *ask;
        ask.wants.no_cache |= self.validates;
        ask
    }
}

impl From<CacheSlot> for Onward {
    fn from(place: CacheSlot) -> Self {
        Self { place, stale: None, validates: false }
    }
}
