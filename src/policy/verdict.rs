//! What a fill turned out to be, judged when upstream's head is in.

use http::{HeaderMap, StatusCode, header};

use super::age::{delta_seconds, initial_age};
use super::bound::challenges_connection;
use super::cache_control::Directives;
use super::date::parse_date;
use super::lifetime::{Lifetime, Subject, stated};
use super::pass::PassReason;
use super::request::RequestFacts;
use super::rules::{Rules, SetCookie};
use super::stored::content_length;
use super::tags::tags;
use super::vary::{Varies, varies};
use crate::record::LifetimeBy;

/// F7: Retry-After is believed up to this, in ms.
pub const RETRY_AFTER_MS: u64 = 30_000;

/// The head of a response to a fill.
#[derive(Debug, Clone, Copy)]
pub struct Answer<'a> {
    /// Status.
    pub status: StatusCode,
    /// Fields, as received.
    pub headers: &'a HeaderMap,
    /// When the request was sent, wall ms.
    pub requested_at: u64,
    /// When the head was received, wall ms.
    pub received_at: u64,
    /// How the end of the body is known.
    pub framing: Framing,
}

/// How the end of a body is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// By its length.
    Length(u64),
    /// By chunks or frames.
    Framed,
    /// By the connection's close: truncation can't be detected.
    Close,
}

/// What a fill turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Shared and stored.
    Store(Lifetime),
    /// Shared with the requests that may ride this exchange (F5), not stored, not noted: nothing would be
    /// left to use later, or truncation can't be detected.
    Share {
        /// Its times, by which a rider is judged.
        lifetime: Lifetime,
        /// Why it is not stored.
        why: PassReason,
    },
    /// Neither shared nor stored.
    Pass(PassReason),
    /// Upstream failed for now (F7): not stored; waiting requests get a stale response, or the failure.
    Failed {
        /// No request tries again for this long, in ms. `None`: the origin does not say for how long.
        until_ms_from_now: Option<u64>,
        /// Whether the response itself may be given to waiting requests; else its status alone.
        shareable: bool,
    },
}

/// Judges the response to a fill that `ask` leads. In this order: a part, authentication bound to a
/// connection, credentials, failure, directives against sharing, lifetime, framing.
pub fn verdict(ask: &RequestFacts, answer: &Answer, rules: &Rules) -> Verdict {
    let headers = answer.headers;
    let status = answer.status;
    match status {
        StatusCode::PARTIAL_CONTENT => return Verdict::Pass(PassReason::Partial),
        StatusCode::NOT_MODIFIED | StatusCode::SWITCHING_PROTOCOLS => {
            return Verdict::Pass(PassReason::NotCacheableStatus);
        }
        _ if challenges_connection(headers) => return Verdict::Pass(PassReason::ConnectionAuth),
        _ => {}
    }
    let raw = Directives::of(headers, rules);
    let varies = varies(headers, rules);
    if let Some(why) = keeps_credentials_apart(ask, &raw, &varies) {
        // A failing origin is not asked by each waiting request in turn (F7).
        if is_transient(status) {
            return Verdict::Failed { until_ms_from_now: failed_for(answer), shareable: false };
        }
        return Verdict::Pass(why);
    }
    let said = if ask.credentialed() { raw } else { raw.overlooking(rules.ignore) };
    let against = against_sharing(answer, &said, &varies, rules);
    let subject = Subject {
        status,
        headers,
        said,
        received_at: answer.received_at,
        age_ms: initial_age(headers, answer.requested_at, answer.received_at),
        credentialed: ask.credentialed(),
    };
    let lifetime = subject.lifetime(rules);
    let stated = stated(headers, &said, rules, answer.received_at);
    let reckoned =
        lifetime.is_some_and(|lifetime| lifetime.by == LifetimeBy::Heuristic && lifetime.fresh_ms > 0);
    let for_now = is_transient(status)
        && (against.is_some() || (stated.unwrap_or(0) == 0 && !reckoned))
        && (ask.credentialed() || !rules.status_ttl_ms.contains_key(&status.as_u16()));
    if for_now || is_beyond(status) {
        return Verdict::Failed { until_ms_from_now: failed_for(answer), shareable: against.is_none() };
    }
    if let Some(why) = against {
        return Verdict::Pass(why);
    }
    let Some(lifetime) = lifetime else {
        return Verdict::Share {
            lifetime: Lifetime::none(subject.age_ms),
            why: PassReason::NotCacheableStatus,
        };
    };
    if answer.framing == Framing::Close && !rules.store_unframed {
        return Verdict::Share { lifetime, why: PassReason::Unframed };
    }
    // A momentary error does not replace what may be stored. 404 and 410 do: what is stored is gone.
    let momentary = is_error(status)
        && !matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE)
        && lifetime.fresh_ms == 0
        && lifetime.swr_ms == 0;
    if momentary || !subject.is_worth_storing(&lifetime, rules) {
        let says_so = stated.is_some() || said.no_cache;
        let why = if says_so { PassReason::ZeroLifetime } else { PassReason::NoLifetime };
        return Verdict::Share { lifetime, why };
    }
    Verdict::Store(lifetime)
}

/// Returns why the response to a request with credentials is not shared. Only explicit directives share it
/// (RFC 9111 §3.5), or, for a Cookie, that it varies on Cookie.
fn keeps_credentials_apart(ask: &RequestFacts, said: &Directives, varies: &Varies) -> Option<PassReason> {
    if !ask.credentialed() || said.grant_sharing() {
        return None;
    }
    if let Some(reason) = ask.identity() {
        return Some(reason);
    }
    (!varies.on(&header::COOKIE)).then_some(PassReason::Cookie)
}

/// The first reason in the response against sharing it at all.
fn against_sharing(answer: &Answer, said: &Directives, varies: &Varies, rules: &Rules) -> Option<PassReason> {
    let headers = answer.headers;
    if said.must_understand {
        if !is_understood(answer.status) {
            return Some(PassReason::NotUnderstood);
        }
        // must-understand, understood: no-store is for caches that don't know it (§5.2.2.3).
    } else if said.no_store {
        return Some(PassReason::NoStore);
    }
    if said.private {
        return Some(PassReason::Private);
    }
    if headers.contains_key(header::SET_COOKIE) && rules.set_cookie == SetCookie::Pass {
        return Some(PassReason::SetCookie);
    }
    if *varies == Varies::Star {
        return Some(PassReason::VaryStar);
    }
    if headers.get(header::CONTENT_TYPE).is_some_and(|kind| is_endless(kind.as_bytes())) {
        return Some(PassReason::EventStream);
    }
    if tags(headers, rules).is_none() {
        return Some(PassReason::Tags);
    }
    let length = match answer.framing {
        Framing::Length(length) => Some(length),
        Framing::Framed | Framing::Close => content_length(headers),
    };
    length.is_some_and(|length| length > rules.max_object_size).then_some(PassReason::TooLarge)
}

/// Returns whether the meaning of a status for storing is known here: those of RFC 9110 §15 and a few others,
/// but not 206.
fn is_understood(status: StatusCode) -> bool {
    matches!(
        status.as_u16(),
        200..=205 | 300..=303 | 307 | 308 | 400..=417 | 421 | 422 | 426 | 428 | 429 | 431 | 451 | 500..=505 | 511
    )
}

fn is_error(status: StatusCode) -> bool {
    status.is_client_error() || status.is_server_error()
}

pub(super) fn is_transient(status: StatusCode) -> bool {
    status.is_server_error() || is_beyond(status) || matches!(status.as_u16(), 408 | 425 | 429)
}

/// Returns whether a status is beyond those of HTTP: read as a 5xx (RFC 9110 §15), and never stored, since
/// its meaning is unknown.
fn is_beyond(status: StatusCode) -> bool {
    status.as_u16() >= 600
}

fn is_endless(content_type: &[u8]) -> bool {
    let kind = content_type.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii();
    kind.eq_ignore_ascii_case(b"text/event-stream") || kind.eq_ignore_ascii_case(b"multipart/x-mixed-replace")
}

fn failed_for(answer: &Answer) -> Option<u64> {
    retry_after(answer.headers, answer.received_at)
}

/// For how long a response asks to leave the origin alone, in ms: Retry-After (RFC 9110 §10.2.3), seconds or a
/// date, up to the bound.
fn retry_after(headers: &HeaderMap, received_at: u64) -> Option<u64> {
    let after = headers.get(header::RETRY_AFTER)?;
    let asked = match delta_seconds(after.as_bytes()) {
        Some(seconds) => Some(seconds * 1000),
        None => parse_date(after.as_bytes()).map(|at| at.saturating_sub(received_at)),
    };
    asked.filter(|&ms| ms > 0).map(|ms| ms.min(RETRY_AFTER_MS))
}

/// For how long a response says that its origin limits requests, in ms: a 429 or 503 with Retry-After. Without
/// that field nothing shows that it is more than this one request's trouble.
pub fn limits(status: StatusCode, headers: &HeaderMap, received_at: u64) -> Option<u64> {
    let may = matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
    if may { retry_after(headers, received_at) } else { None }
}

#[cfg(test)]
mod tests;
