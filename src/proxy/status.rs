//! What Cache-Status says, case by case (RFC 9211).

use http::StatusCode;

use super::told::{Exchange, Found, How};
use crate::policy::{CacheStatus, Fwd, PassReason};

/// Answered from the store.
pub(crate) fn hit(ttl_ms: i64) -> CacheStatus<'static> {
    CacheStatus { hit: true, ttl_ms: Some(ttl_ms), ..CacheStatus::default() }
}

/// Answered from the store although stale, and why that may be.
pub(crate) fn stale(ttl_ms: i64, detail: &'static str) -> CacheStatus<'static> {
    CacheStatus { detail: Some(detail), ..hit(ttl_ms) }
}

/// Answered from memory by an instance that has not heard from the store for too long.
pub(crate) fn unsure(ttl_ms: i64) -> CacheStatus<'static> {
    CacheStatus { detail: Some("unsure"), ..hit(ttl_ms) }
}

/// By an exchange: one's own, or somebody else's.
pub(crate) fn ridden(exchange: &Exchange, mine: bool) -> CacheStatus<'static> {
    let status = CacheStatus { fwd: Some(exchange.forward), ..CacheStatus::default() };
    // It is the leader's exchange that was stored, once.
    if mine { CacheStatus { stored: exchange.kept, ..status } } else { awaited(status) }
}

/// A record that a flight came by.
pub(crate) fn found(found: &Found, mine: bool, ttl_ms: i64) -> CacheStatus<'static> {
    match found.how {
        How::Cached => hit(ttl_ms),
        How::Awaited => awaited(CacheStatus { fwd: Some(Fwd::UriMiss), ..CacheStatus::default() }),
        How::Validated => {
            let status = CacheStatus {
                fwd: Some(Fwd::Stale),
                fwd_status: Some(StatusCode::NOT_MODIFIED.as_u16()),
                ..CacheStatus::default()
            };
            if mine { CacheStatus { stored: true, ..status } } else { awaited(status) }
        }
    }
}

/// By an exchange of its own that is nobody else's.
pub(crate) fn passed(reason: PassReason) -> CacheStatus<'static> {
    let fwd = match reason {
        PassReason::Method => Fwd::Method,
        PassReason::RequestNoStore => Fwd::Request,
        PassReason::Partial => Fwd::Partial,
        of_request if is_of_request(of_request) => Fwd::Bypass,
        _ => Fwd::UriMiss,
    };
    CacheStatus { fwd: Some(fwd), detail: Some(reason.as_str()), ..CacheStatus::default() }
}

/// Upstream's own failed answer.
pub(crate) fn failed(mine: bool) -> CacheStatus<'static> {
    let status = CacheStatus { fwd: Some(Fwd::UriMiss), ..CacheStatus::default() };
    if mine { status } else { awaited(status) }
}

/// Whether the reason lies in the request or the route, so that the response was never judged.
pub(crate) fn is_of_request(reason: PassReason) -> bool {
    matches!(
        reason,
        PassReason::Authorization
            | PassReason::SecretHeader
            | PassReason::Cookie
            | PassReason::MethodOverride
            | PassReason::Precondition
            | PassReason::Content
            | PassReason::Range
            | PassReason::Upgrade
            | PassReason::RouteSays
    )
}

fn awaited(status: CacheStatus<'static>) -> CacheStatus<'static> {
    CacheStatus { collapsed: true, detail: Some("awaited"), ..status }
}
