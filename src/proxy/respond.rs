//! From a stored or growing response to the response that is sent: conditional, part or whole.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _};
use http::header::{AGE, CONTENT_LENGTH, CONTENT_RANGE};
use http::{HeaderValue, Method, Response, StatusCode};
use tokio::time::{Instant, timeout_at};

use crate::body::{Error as BodyError, Reader};
use crate::policy::{self, CacheStatus, Conditional, Cut, ErrorCase, PassReason, RequestFacts};
use crate::proxy::cause::Cause;
use crate::proxy::lookup::candidate::Criteria;
use crate::proxy::lookup::{cache_status, reach};
use crate::proxy::outcome::{Exchange, Follower, Moment, SharedFailure};
use crate::proxy::request::CacheRequest;
use crate::proxy::respond::body::{ReplyBody, Source, finish};
use crate::proxy::respond::multipart_response::{Parted, Spans};
use crate::proxy::respond::next::Next;
use crate::proxy::sheets;
use crate::proxy::state::Proxy;
use crate::record::Manifest;
use crate::telemetry::labels::{Cache, Role, Source as From, Why};
use crate::tier::{Held, Stored};
use crate::upstream::ErrorKind;

pub mod body;
pub(crate) mod last_hop;
pub(crate) mod multipart;
pub(crate) mod multipart_response;
pub(crate) mod next;
pub(crate) mod refusal;
pub(crate) mod standing_in;

/// About how many fields a response has beside the stored ones, so that their map need not grow.
const ADDED: usize = 3;

/// Where the content of a response comes from.
enum BodySource<'a> {
    Held(Bytes),
    Primed(Bytes, Box<Reader>),
    Growing(&'a Arc<Exchange>, Option<Reader>),
}

/// Answers with a stored response, whose bytes are in memory or are read first.
pub(crate) async fn from_stored(
    proxy: &Arc<Proxy>,
    request: CacheRequest,
    stored: Arc<Stored>,
    status: CacheStatus<'_>,
) -> Next {
    if let Some(body) = stored.body() {
        if body.len() >= sheets::LEAST {
            lay_out(proxy, &stored, &body);
        }
        return answer(proxy, request, &stored, BodySource::Held(body), status);
    }
    Box::pin(from_bodies(proxy, request, stored, status)).await
}

/// Has a large body in memory copied to where the system can send it from, for the hits after this one.
fn lay_out(proxy: &Arc<Proxy>, stored: &Arc<Stored>, body: &Bytes) {
    if !proxy.sheets.begins(body) {
        return;
    }
    let (proxy, stored, body) = (proxy.clone(), stored.clone(), body.clone());
    tokio::task::spawn_blocking(move || {
        let Some(copied) = proxy.sheets.copy(&body) else { return };
        let held = proxy.tier.peek(&stored.record.key);
        if matches!(held, Some(Held::Stored(held)) if Arc::ptr_eq(&held, &stored)) {
            proxy.tier.keep(Arc::new(stored.with_body(copied)));
        }
    });
}

/// Answers with a stored response, whose bytes are not in memory.
async fn from_bodies(
    proxy: &Arc<Proxy>,
    request: CacheRequest,
    stored: Arc<Stored>,
    status: CacheStatus<'_>,
) -> Next {
    // A 304 needs no content, as a HEAD does not.
    if stored.is_empty() || request.ask.want.is_head() || is_not_modified(&request, &stored) {
        return answer(proxy, request, &stored, BodySource::Held(Bytes::new()), status);
    }
    if stored.len() <= proxy.tier.hold() {
        let hash = stored.hash.to_string();
        return match in_time(proxy, &request, &stored, proxy.bodies.whole(&hash, &stored.manifest())).await {
            Ok(body) => {
                proxy.tier.keep(Arc::new(stored.with_body(body.clone())));
                answer(proxy, request, &stored, BodySource::Held(body), status)
            }
            Err(error) => Next::Unreadable(request, stored, error),
        };
    }
    // The first bytes are read and checked before a head goes out: if they are wrong, the request is a miss
    // and there is no truncated response.
    let first = Cut::of(&request.headers, request.ask.want, &stored.record, Some(stored.len()))
        .first_bytes(&stored.record);
    let mut reader = proxy.bodies.reader(&stored.hash.to_string(), &stored.manifest(), first);
    match in_time(proxy, &request, &stored, reader.try_next()).await {
        Ok(Some(first)) => {
            let bytes = BodySource::Primed(first, Box::new(reader));
            answer(proxy, request, &stored, bytes, status)
        }
        Err(error) => Next::Unreadable(request, stored, error),
        Ok(None) => answer(proxy, request, &stored, BodySource::Held(Bytes::new()), status),
    }
}

/// Reads the first bytes for at most half of the time that the request may wait: the other half is for
/// upstream.
async fn in_time<T>(
    proxy: &Proxy,
    asking: &CacheRequest,
    stored: &Stored,
    read: impl Future<Output = Result<T, BodyError>>,
) -> Result<T, BodyError> {
    let until = asking.ticket.began() + asking.route.wait_timeout / 2;
    timeout_at(until, read).await.unwrap_or_else(|_elapsed| {
        let (bodies, hash, manifest) = (proxy.bodies.clone(), stored.hash.to_string(), stored.manifest());
        // The read goes on, so that the next request knows its result.
        tokio::spawn(async move {
            let _ = bodies.begins(&hash, &manifest).await;
        });
        Err(BodyError::Store("no bytes in the time that the request has".into()))
    })
}

/// Until when a request waits for a verdict. If stored bytes could not be read for it, that has used up some
/// of its time.
pub(crate) fn waits_until(request: &CacheRequest) -> Instant {
    let from = if request.ticket.unread.is_empty() { Instant::now() } else { request.ticket.began() };
    from + request.route.wait_timeout
}

/// Returns whether an exchange has the first byte that the request needs. A byte that is not in memory is
/// read and checked before a head goes out. Content that another instance fetches is waited for, because it
/// comes by way of the store, which may lose it.
///
/// The request keeps a reader at its first byte, so that the byte stays in memory. If the content can't be
/// stored and memory has let go of that byte, it gets no reader and does not wait.
pub(crate) async fn begins_in(
    proxy: &Proxy,
    request: &mut CacheRequest,
    exchange: &Exchange,
    deadline: Instant,
) -> bool {
    let begins = has_beginning(proxy, request, exchange, deadline).await;
    if !begins {
        request.seat = None;
    }
    begins
}

async fn has_beginning(
    proxy: &Proxy,
    request: &mut CacheRequest,
    exchange: &Exchange,
    deadline: Instant,
) -> bool {
    let record = &exchange.head.record;
    let len = exchange.len.or_else(|| exchange.growing.len_if_done());
    let first = Cut::of(&request.headers, request.ask.want, record, len)
        .first_bytes(record)
        .map_or(0, |(first, _)| first);
    if request.ask.want.is_head() {
        return true;
    }
    // From the first byte to the end: other ranges of the request come later.
    let Ok(seat) = exchange.growing.reader_if_served(Some((first, u64::MAX))) else { return false };
    request.seat = Some(Box::new(Mutex::new(seat)));
    if !exchange.elsewhere && exchange.growing.has_in_memory(first) {
        return !exchange.growing.is_broken_at(first);
    }
    if exchange.growing.is_gone() {
        return false;
    }
    // The content may be empty: only its end tells.
    let range = (first > 0).then_some((first, first));
    let mut reader = exchange.growing.reader(range);
    let begun = tokio::select! {
        biased;
        begun = timeout_at(deadline, reader.next()) => begun,
        // The instance that fetches it is probably dead.
        () = exchange.growing.until_doubted() => return false,
    };
    match begun {
        Ok(Some(Err(error))) => {
            if error.condemns() {
                proxy.observer.unreadable(&error);
            }
            false
        }
        Ok(Some(Ok(_)) | None) => true,
        // Not in time. If bytes have come already, this byte only lies far behind them.
        Err(_) => exchange.growing.written() > 0,
    }
}

/// Rides an exchange, as the leader's own client or as a follower.
pub(crate) fn ride(
    proxy: &Arc<Proxy>,
    mut request: CacheRequest,
    exchange: &Arc<Exchange>,
    follower: Follower,
    arrived: Moment,
) -> Response<ReplyBody> {
    let mine = exchange.owner == Some(arrived);
    // The content is complete and the record about to be published: a request that comes now counts as a hit.
    let late = !mine && request.ticket.late && exchange.growing.len_if_done().is_some();
    let ticket = &mut request.ticket;
    ticket.line.cache = match (mine, late) {
        (true, _) => Cache::Miss,
        (false, true) => Cache::Hit,
        (false, false) => Cache::Follower,
    };
    ticket.line.source = Some(match (mine, late) {
        (true, _) => From::Computed,
        (false, true) => From::Cached,
        (false, false) => From::Awaited,
    });
    ticket.line.fence = Some(exchange.fence);
    ticket.line.role = Some(if mine { Role::Leader } else { Role::Follower });
    let other = proxy.other_leader(exchange.elsewhere, exchange.fence);
    ticket.line.leader =
        if exchange.elsewhere { other.clone() } else { Some(proxy.settings.instance.clone()) };
    ticket.line.coordinated = Some(exchange.coordinated);
    if mine {
        ticket.upstream_answered(&request.route, exchange.head.record.status, &exchange.timing);
    }
    if let Some(reason) = cache_status::announced(exchange).1.filter(|_| !late) {
        ticket.line.why = Some(Why::Pass(reason.as_str()));
    }
    let status = if late {
        cache_status::hit(ttl_ms(&exchange.head, proxy.now_ms()))
    } else {
        CacheStatus { from: other.as_deref(), ..cache_status::ridden(exchange, mine) }
    };
    let status = if request.ticket.unsure { cache_status::in_doubt(status) } else { status };
    // Both readers keep the first bytes in memory until they are read.
    let kept = request.seat.take();
    let seat = if mine { exchange.take_seat() } else { None };
    let len = exchange.len.or_else(|| exchange.growing.len_if_done());
    let stored = exchange.head.clone();
    let mut response =
        respond(proxy, request, &stored, BodySource::Growing(exchange, seat), len, status, mine);
    drop(kept);
    // The follower counts as waiting for the fill for as long as the body is read.
    let body = std::mem::replace(response.body_mut(), ReplyBody::empty());
    *response.body_mut() = body.riding(follower);
    response
}

/// A stale response if that is allowed, else an error response of this proxy.
pub(crate) async fn stale_or(
    proxy: &Arc<Proxy>,
    mut request: CacheRequest,
    stale: Option<Arc<Stored>>,
    case: ErrorCase,
    cause: Cause,
    retry_after: Option<u64>,
) -> Next {
    if let Some(stored) = allowed_stale(proxy, &request, stale, case) {
        let why = if case == ErrorCase::WaitDeadline { Why::WaitDeadline } else { Why::IfError };
        request.ticket.stale_hit(&stored, why);
        request.ticket.line.error = Some(cause.as_str());
        let status = cache_status::stale(ttl_ms(&stored, proxy.now_ms()), "stale-if-error");
        return from_stored(proxy, request, stored, status).await;
    }
    Next::Answer(refuse(request, cause, retry_after))
}

/// An error response of this proxy to a request that has a route.
pub(crate) fn refuse(
    mut request: CacheRequest,
    cause: Cause,
    retry_after: Option<u64>,
) -> Response<ReplyBody> {
    if request.ticket.line.cache != Cache::Follower {
        request.ticket.line.cache = Cache::Error;
    }
    request.ticket.line.error = Some(cause.as_str());
    finish(request.ticket, refusal::answer(cause, retry_after))
}

fn allowed_stale(
    proxy: &Proxy,
    request: &CacheRequest,
    stale: Option<Arc<Stored>>,
    case: ErrorCase,
) -> Option<Arc<Stored>> {
    stale.filter(|stored| stale_allowed(proxy, request, Some(stored), case))
}

/// Returns whether a stored response may be served to this request although it is stale.
pub(crate) fn stale_allowed(
    proxy: &Proxy,
    request: &CacheRequest,
    stale: Option<&Arc<Stored>>,
    case: ErrorCase,
) -> bool {
    let unread = &request.ticket.unread;
    stale.is_some_and(|stored| {
        standing_in::stands_in(proxy, stored, Criteria::of(request), unread, case).is_ok()
    })
}

/// Returns whether the bytes of a stored response can't be read for a request, as far as this instance knows.
pub(crate) fn is_out_of_reach(proxy: &Proxy, request: &CacheRequest, stored: &Stored) -> bool {
    lacks_bytes(proxy, stored, &request.ask, &request.ticket.unread)
}

pub(crate) fn lacks_bytes(
    proxy: &Proxy,
    stored: &Stored,
    ask: &RequestFacts,
    unread: &[Arc<Manifest>],
) -> bool {
    let needs_bytes = !stored.has_body() && !stored.is_empty() && !ask.want.is_head();
    needs_bytes && reach::is_unread(proxy, stored.hash, &stored.record.body, unread)
}

/// Answers with a stored response, and with its current Age.
fn answer(
    proxy: &Proxy,
    request: CacheRequest,
    stored: &Arc<Stored>,
    bytes: BodySource<'_>,
    status: CacheStatus<'_>,
) -> Next {
    Next::Answer(respond(proxy, request, stored, bytes, Some(stored.len()), status, false))
}

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
    if mine || stored.terms.names_urls {
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

/// The content as a body source. `seated`: the owner's reader begins at the very range that the owner asked
/// for.
fn source(bytes: BodySource<'_>, part: Option<(u64, u64)>, seated: bool) -> Source {
    match bytes {
        BodySource::Held(body) => match part {
            None => Source::Whole(body),
            Some((first, last)) => Source::Whole(slice(&body, first, last)),
        },
        BodySource::Primed(first, reader) => Source::Primed(first, reader),
        BodySource::Growing(_, Some(seat)) if seated || part.is_none() => Source::Reader(seat),
        // Its first bytes have been read already.
        BodySource::Growing(exchange, _) => Source::Reader(exchange.growing.reader(part).goes_on()),
    }
}

fn parted(proxy: &Proxy, bytes: BodySource<'_>, stored: &Stored) -> Parted {
    let from = |begun| {
        let (hash, manifest) = (stored.hash.to_string(), stored.manifest());
        Parted::Read(multipart::From::Stored { bodies: proxy.bodies.clone(), hash, manifest }, begun)
    };
    match bytes {
        BodySource::Held(body) => Parted::Held(body),
        BodySource::Primed(first, reader) => from(Some((first, reader))),
        BodySource::Growing(exchange, _) => {
            Parted::Read(multipart::From::Growing(exchange.growing.clone()), None)
        }
    }
}

/// An error response of upstream, shared with the requests that waited.
pub(crate) fn failure(
    proxy: &Proxy,
    mut request: CacheRequest,
    code: StatusCode,
    answer: &SharedFailure,
    mine: bool,
) -> Response<ReplyBody> {
    if mine {
        request.ticket.line.cache = Cache::Error;
    }
    request.ticket.line.why = Some(Why::Pass(PassReason::OriginError.as_str()));
    let mut headers = answer.headers.to_map(ADDED);
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

pub(crate) fn slice(body: &Bytes, first: u64, last: u64) -> Bytes {
    let at = |byte: u64| usize::try_from(byte).unwrap_or(usize::MAX).min(body.len());
    body.slice(at(first)..at(last.saturating_add(1)))
}
