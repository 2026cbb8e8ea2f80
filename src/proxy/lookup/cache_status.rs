//! The Cache-Status of each kind of response (RFC 9211).

use std::sync::Arc;

use http::StatusCode;

use crate::body::Taking;
use crate::policy::{self, CacheStatus, Fwd, NoLifetime, PassReason, Rules};
use crate::proxy::lookup::CacheSlot;
use crate::proxy::outcome::{Exchange, FoundRecord, How};
use crate::proxy::request::CacheRequest;
use crate::proxy::state::Proxy;
use crate::tier::{Covered, Stored};

/// A fresh stored response.
pub(crate) fn hit(ttl_ms: i64) -> CacheStatus<'static> {
    CacheStatus { hit: true, ttl_ms: Some(ttl_ms), ..CacheStatus::default() }
}

/// A stale stored response, and why it may be used.
pub(crate) fn stale(ttl_ms: i64, detail: &'static str) -> CacheStatus<'static> {
    CacheStatus { detail: Some(detail), ..hit(ttl_ms) }
}

/// A response from memory, on an instance that has not heard from the store for too long.
pub(crate) fn unsure(ttl_ms: i64) -> CacheStatus<'static> {
    CacheStatus { detail: Some("unsure"), ..hit(ttl_ms) }
}

/// Any other response of an instance in that doubt.
pub(crate) fn in_doubt(status: CacheStatus<'_>) -> CacheStatus<'_> {
    CacheStatus { detail: Some("unsure"), ..status }
}

/// A response that is ridden: of the request's own exchange (`mine`) or of another's.
pub(crate) fn ridden(exchange: &Exchange, mine: bool, rules: &Rules) -> CacheStatus<'static> {
    let status = CacheStatus { fwd: Some(exchange.forward), ..CacheStatus::default() };
    if !mine {
        return awaited(status);
    }
    // Only the leader's response says `stored`, or why it is not: it was stored once.
    let (stored, why) = announced(exchange);
    let why = why.or_else(|| lacks_lifetime(&exchange.head, rules).filter(|_| stored));
    CacheStatus { stored, detail: why.map(PassReason::as_str), ..status }
}

/// What is said beside `stored`: the origin will be asked before each use, since it says nothing of a lifetime.
fn lacks_lifetime(stored: &Stored, rules: &Rules) -> Option<PassReason> {
    let lacks = NoLifetime::of(&stored.record, rules)?;
    matches!(lacks, NoLifetime::Unstated(_) | NoLifetime::WithCookie).then_some(PassReason::NoLifetime)
}

/// Whether a response is announced as stored, and why it is not. Its body is put after its head has gone out,
/// so it depends on how the body store did lately.
pub(crate) fn announced(exchange: &Exchange) -> (bool, Option<PassReason>) {
    match exchange.taking {
        _ if exchange.unstored.is_some() => (false, exchange.unstored),
        Taking::Expected => (true, None),
        Taking::Unsure => (false, None),
        Taking::Unlikely => (false, Some(PassReason::BodyStore)),
    }
}

/// A complete record that a flight ended with.
pub(crate) fn found(
    found: &FoundRecord,
    mine: bool,
    forward: Option<Fwd>,
    ttl_ms: i64,
    rules: &Rules,
) -> CacheStatus<'static> {
    match found.how {
        How::Cached => hit(ttl_ms),
        How::Awaited => awaited(asked(forward)),
        How::Validated => {
            let status = CacheStatus {
                fwd: Some(Fwd::Stale),
                fwd_status: Some(StatusCode::NOT_MODIFIED.as_u16()),
                ..CacheStatus::default()
            };
            let detail = lacks_lifetime(&found.stored, rules).map(PassReason::as_str);
            if mine { CacheStatus { stored: true, detail, ..status } } else { awaited(status) }
        }
    }
}

/// A response for one request alone. `forward` is what is stored for it. A stored response that it selects,
/// and that may not be used any more, is why it goes upstream at all (RFC 9211 §2.2); `reason` is why it goes
/// alone.
pub(crate) fn passed(reason: PassReason, forward: Option<Fwd>) -> CacheStatus<'static> {
    let fwd = match (reason, forward) {
        (PassReason::RequestNoStore, _) => Fwd::Request,
        (PassReason::Partial, _) => Fwd::Partial,
        (_, Some(selected @ (Fwd::Stale | Fwd::Partial | Fwd::Request))) => selected,
        (PassReason::Method, _) => Fwd::Method,
        (of_request, _) if is_of_request(of_request) => Fwd::Bypass,
        (_, missing) => missing.unwrap_or(Fwd::UriMiss),
    };
    CacheStatus { fwd: Some(fwd), detail: Some(reason.as_str()), ..CacheStatus::default() }
}

/// An error response of upstream.
pub(crate) fn failed(mine: bool, forward: Option<Fwd>) -> CacheStatus<'static> {
    if !mine {
        return awaited(asked(forward));
    }
    CacheStatus { detail: Some(PassReason::OriginError.as_str()), ..asked(forward) }
}

/// Why a request goes upstream, by what is stored (RFC 9211 §2.2).
pub(crate) fn forward(
    proxy: &Proxy,
    request: &CacheRequest,
    place: &CacheSlot,
    stale: Option<&Arc<Stored>>,
) -> Fwd {
    let Some(stored) = stale else {
        return if place.node.is_some() { Fwd::VaryMiss } else { Fwd::UriMiss };
    };
    let now = proxy.now_ms();
    if !policy::answers(&request.headers, request.ask.want, &stored.record) {
        Fwd::Partial
    } else if stored.record.fresh_until() > now
        && !policy::is_from_the_future(&stored.record, now)
        && stored.covered(&proxy.stamps) == Covered::No
        && proxy.trust.holds(now)
        && !stored.terms.no_cache()
    {
        // Fresh, but the request wants it validated.
        Fwd::Request
    } else {
        Fwd::Stale
    }
}

fn asked(forward: Option<Fwd>) -> CacheStatus<'static> {
    CacheStatus { fwd: Some(forward.unwrap_or(Fwd::UriMiss)), ..CacheStatus::default() }
}

/// Returns whether the reason lies in the request or the route, so that the response was never judged.
pub(crate) fn is_of_request(reason: PassReason) -> bool {
    matches!(
        reason,
        PassReason::Authorization
            | PassReason::SecretHeader
            | PassReason::Cookie
            | PassReason::ConnectionAuth
            | PassReason::MethodOverride
            | PassReason::Precondition
            | PassReason::Content
            | PassReason::Range
            | PassReason::RouteSays
    )
}

/// The same for a response that another request's exchange brought.
pub(crate) fn awaited(status: CacheStatus<'static>) -> CacheStatus<'static> {
    CacheStatus { collapsed: true, detail: Some("awaited"), ..status }
}
