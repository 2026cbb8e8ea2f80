//! From a stored or growing response to the response that is sent: conditional, part or whole.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{AGE, CONTENT_LENGTH, CONTENT_RANGE, RETRY_AFTER};
use http::{HeaderValue, Method, Response, StatusCode};

use crate::policy::{self, CacheStatus, Conditional, Cut, PassReason};
use crate::proxy::cause::Cause;
use crate::proxy::lookup::cache_status;
use crate::proxy::outcome::{Failure, SharedFailure};
use crate::proxy::request::CacheRequest;
use crate::proxy::respond::body::{ReplyBody, Source, finish};
use crate::proxy::respond::content::{BodySource, parted, source};
use crate::proxy::respond::multipart_response::Spans;
use crate::proxy::state::Proxy;
use crate::telemetry::labels::{Cache, Why};
use crate::tier::Stored;
use crate::upstream::ErrorKind;

pub mod body;
pub(crate) mod content;
pub(crate) mod first_byte;
pub(crate) mod from_stored;
pub(crate) mod last_hop;
pub(crate) mod multipart;
pub(crate) mod multipart_response;
pub(crate) mod next;
pub(crate) mod refusal;
pub(crate) mod ridden;
pub(crate) mod standing_in;

pub(crate) use content::slice;
pub(crate) use first_byte::{begins_in, waits_until};
pub(crate) use from_stored::{from_stored, is_out_of_reach, lacks_bytes};
pub(crate) use refusal::refuse;
pub(crate) use ridden::ride;
pub(crate) use standing_in::{stale_allowed, stale_or};

/// About how many fields a response has beside the stored ones, so that their map need not grow.
const ADDED: usize = 3;

/// Builds the response: conditional, part or whole. `mine`: the request's own exchange, whose Age is passed
/// on as received.
fn respond(
    proxy: &Proxy,
    mut request: CacheRequest,
    stored: &Arc<Stored>,
    bytes: BodySource<'_>,
    len: Option<u64>,
    status: CacheStatus<'_>,
    mine: bool,
) -> Response<ReplyBody> {
    let record = &stored.record;
    let now = proxy.now_ms();
    let not_modified = is_not_modified(&request, stored);
    let mut headers =
        if not_modified { policy::not_modified_headers(record) } else { record.headers.to_map(ADDED) };
    if mine {
        if let BodySource::Growing(exchange, _) = &bytes {
            // A 304 carries only Age of them (RFC 9110 §15.4.5).
            for (name, value) in exchange.own.iter().filter(|(name, _)| !not_modified || *name == AGE) {
                headers.append(name, value.clone());
            }
        }
    } else {
        let age_ms = policy::current_age(record, now);
        policy::set_age(&mut headers, age_ms);
        request.ticket.line.age_s = Some(age_ms / 1000);
    }
    request.ticket.line.ttl_s = Some(ttl_ms(stored, now).div_euclid(1000));
    // Its own exchange may have such a field that no record keeps.
    if mine || stored.terms.names_urls() {
        proxy.hop_headers.map_urls(&request, &mut headers);
    }
    proxy.hop_headers.deliver(&request, &mut headers, Some(&status));
    if not_modified {
        let mut response = Response::new(ReplyBody::empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        *response.headers_mut() = headers;
        return finish(request.ticket, response);
    }
    let (code, part) = match Cut::of(&request.headers, request.ask.want, record, len) {
        Cut::Whole => (record.status, None),
        Cut::Part { first, last, total, at } => {
            headers.insert(CONTENT_RANGE, policy::content_range(first, last, total));
            (StatusCode::PARTIAL_CONTENT, Some(at))
        }
        Cut::Parts { parts, total } => {
            let base = record.range().map_or(0, |(first, _, _)| first);
            let spans = Spans { named: parts.spans(), base, total };
            let body = parted(proxy, bytes, stored);
            let response = multipart_response::response(headers, body, &spans, &proxy.dice.name());
            return finish(request.ticket, response);
        }
        Cut::Unsatisfiable { total } => {
            headers.insert(CONTENT_RANGE, policy::unsatisfied_range(total));
            headers.insert(CONTENT_LENGTH, HeaderValue::from(0));
            let mut response = Response::new(ReplyBody::empty());
            *response.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
            *response.headers_mut() = headers;
            return finish(request.ticket, response);
        }
        // Not expected: the request was found to be answered by this record. A part is never sent for the
        // whole.
        Cut::Lacking => {
            return refuse(request, Cause::Upstream(ErrorKind::Truncated), None);
        }
    };
    let length = part.map_or(len, |(first, last)| Some(last - first + 1));
    if let Some(length) = length
        && !bodiless(code)
    {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    let body = if request.ask.want.is_head() || bodiless(code) {
        ReplyBody::empty()
    } else {
        ReplyBody::new(source(bytes, part, record.range.is_some()), length)
    };
    let mut response = Response::new(body);
    *response.status_mut() = code;
    *response.headers_mut() = headers;
    finish(request.ticket, response)
}

/// Returns whether a request is answered 304.
fn is_not_modified(request: &CacheRequest, stored: &Stored) -> bool {
    (request.method == Method::GET || request.ask.want.is_head())
        && policy::conditional(&request.headers, &stored.record) == Conditional::NotModified
}

/// An error response of upstream, shared with the requests that waited. A time that it gives to try again has run
/// since, and is kept to up to a bound: others than the first are told what is left of it.
pub(crate) fn failure(
    proxy: &Proxy,
    mut request: CacheRequest,
    failure: &Failure,
    answer: &SharedFailure,
    mine: bool,
) -> Response<ReplyBody> {
    if mine {
        request.ticket.line.cache = Cache::Error;
    }
    request.ticket.line.why = Some(Why::Pass(PassReason::OriginError.as_str()));
    let code = failure.status;
    let mut headers = answer.headers.to_map(ADDED);
    if !mine && headers.contains_key(RETRY_AFTER) {
        headers.insert(RETRY_AFTER, HeaderValue::from(failure.again_s()));
    }
    proxy.hop_headers.map_urls(&request, &mut headers);
    proxy.hop_headers.deliver(&request, &mut headers, Some(&cache_status::failed(mine, request.forward)));
    if !bodiless(code) {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(answer.body.len()));
    }
    let body = if request.ask.want.is_head() { Bytes::new() } else { answer.body.clone() };
    let mut response = Response::new(ReplyBody::new(Source::Whole(body), None));
    *response.status_mut() = code;
    *response.headers_mut() = headers;
    finish(request.ticket, response)
}

/// What is left of a record's lifetime, in ms; negative when stale.
pub(crate) fn ttl_ms(stored: &Stored, now: u64) -> i64 {
    let until = i64::try_from(stored.record.fresh_until()).unwrap_or(i64::MAX);
    until.saturating_sub(i64::try_from(now).unwrap_or(i64::MAX))
}

/// Returns whether responses with this status never have content (RFC 9110 §6.4.1).
pub(crate) fn bodiless(status: StatusCode) -> bool {
    status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED
}
