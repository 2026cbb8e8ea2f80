//! Requests that go upstream by themselves: those that are not cacheable GETs, and those whose response
//! turned out to be for one client alone.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use http::header::TRAILER;
use http::{Method, Response, StatusCode};
use tokio::time::Instant;

use crate::flight::{Attempt, Joined};
use crate::key::KeyHash;
use crate::policy::{self, Asks, PassReason, RequestFacts, Verdict, Want};
use crate::proxy::cause::{Cause, Refused};
use crate::proxy::fill::measured::measured;
use crate::proxy::fill::{Head, Job, answer_of, better, is_answered};
use crate::proxy::lookup::{CacheSlot, cache_status};
use crate::proxy::outcome::{Exchange, FlightOutcome, Follower, Moment};
use crate::proxy::pass::upload::{Content, Upload};
use crate::proxy::purge::invalidate::{self, Fills, Unsafe};
use crate::proxy::request::CacheRequest;
use crate::proxy::respond;
use crate::proxy::respond::body::{ReplyBody, Source, finish};
use crate::proxy::state::Proxy;
use crate::proxy::state::under_way::{Counted, Heard};
use crate::record::Note;
use crate::telemetry::labels::{Cache, Why};
use crate::tier::Stored;
use crate::upstream::{self, ErrorKind, Lane};

pub(crate) mod head_update;
pub(crate) mod heads;
pub(crate) mod upload;

/// A request with content, or with a method that is not GET or HEAD: streamed both ways.
pub(crate) async fn pass_with_body(
    proxy: &Arc<Proxy>,
    mut request: CacheRequest,
    content: impl Content,
    reason: PassReason,
) -> Response<ReplyBody> {
    let mut doing = None;
    // Stamps that come from now on are kept in mind: they cover what its answer may be stored as.
    let _filling = proxy.stamps.fills(invalidate::number(proxy));
    if !policy::is_safe(&request.method) {
        let before = invalidate::before_unsafe(proxy, &request);
        if before.makes_void() && proxy.stamps.owes_too_much() {
            return respond::refuse(request, Cause::Refused(Refused::StoreDown), None);
        }
        doing = Some(before);
    }
    let empty = http_body::Body::is_end_stream(&content);
    let read = Arc::new(AtomicU64::new(0));
    let upload = || Box::pin(Upload::new(proxy, content, read.clone()));
    let body: Option<upstream::Body> = if empty { None } else { Some(upload()) };
    request.ticket.reads(read);
    request.ticket.waits_for(upstream::Interest::default());
    let on_sent = doing.as_ref().map(Unsafe::on_sent);
    match send(proxy, &request, body, reason, on_sent).await {
        Err(error) => {
            if let Some(doing) = &mut doing
                && never_connected(error.kind)
            {
                doing.undone();
            }
            unanswered(proxy, request, &error)
        }
        Ok(head) => match doing {
            Some(doing) => after_unsafe(proxy, request, head, reason, doing).await,
            None => own_alone(proxy, request, None, head.response, reason),
        },
    }
}

/// The answer to an unsafe request. A POST's may say that it is what a GET would get
/// (RFC 9110 §9.3.3): then it is stored as that.
async fn after_unsafe(
    proxy: &Arc<Proxy>,
    request: CacheRequest,
    head: Head,
    reason: PassReason,
    doing: Unsafe,
) -> Response<ReplyBody> {
    let (status, headers, received_at) =
        (head.response.status, head.response.headers.clone(), head.received_at);
    let stored = doing.answered(&request, status, &headers).await;
    let Some(Fills { route, born, counted, heard }) =
        stored.filter(|fills| fills.route.index == request.route.index)
    else {
        return own_alone(proxy, request, None, head.response, reason);
    };
    let (target, rules) = (request.target.to_string(), &request.route.rules);
    let ask = RequestFacts::of_credentials(&request.headers, rules);
    if !policy::post_fills_get(&request.method, status, &headers, &target, &ask, rules, received_at)
        || !proxy.hop_headers.asks_as_a_fill(&request)
        || !policy::is_coded_for_all(&request.headers, &headers)
    {
        return own_alone(proxy, request, None, head.response, reason);
    }
    let mut text = String::new();
    route.key_into(&mut text, &request.target, &request.headers);
    // Its own stamp does not cover it, and each other stamp that it may be older than does.
    let head = Head { born, ..head };
    match adopt(proxy, &request, CacheSlot::new(&text, &text, None, route.rules.route), head, heard, counted)
        .await
    {
        Ok((exchange, follower, me)) => respond::ride(proxy, request, &exchange, follower, me),
        Err(Some(response)) => own_alone(proxy, request, None, response, reason),
        Err(None) => respond::refuse(request, Cause::Upstream(ErrorKind::Truncated), None),
    }
}

/// Passes a GET or HEAD. If the reason lies in the client and not in the target, and the response says
/// explicitly that it may be shared, it is stored all the same.
pub(crate) async fn pass_get(
    proxy: &Arc<Proxy>,
    request: CacheRequest,
    place: Option<CacheSlot>,
    reason: PassReason,
) -> Response<ReplyBody> {
    match place {
        Some(place) if heads::may_share_head(&request, reason) => {
            heads::share_head(proxy, request, place).await
        }
        place => pass_alone(proxy, request, place, reason).await,
    }
}

/// Passes a GET or HEAD without sharing an exchange.
pub(crate) async fn pass_alone(
    proxy: &Arc<Proxy>,
    mut request: CacheRequest,
    place: Option<CacheSlot>,
    reason: PassReason,
) -> Response<ReplyBody> {
    let (born, heard) = (invalidate::number(proxy), proxy.hears());
    let _filling = proxy.stamps.fills(born);
    let fills = may_turn_out_shared(reason) && is_plain(&request);
    let counted = place.as_ref().filter(|_| fills).map(|place| Counted::of(proxy, place.url));
    request.ticket.waits_for(upstream::Interest::default());
    let head = match send(proxy, &request, None, reason, None).await {
        Err(error) => return unanswered(proxy, request, &error),
        Ok(head) => Head { born, ..head },
    };
    if request.method == Method::HEAD {
        let (status, headers) = (head.response.status, head.response.headers.clone());
        head_update::own_head_update(proxy, &request, status, &headers, born).await;
    }
    if let Some(place) = &place
        && reason.shared()
        && is_plain(&request)
        && !request.ask.credentialed()
    {
        judge_again(proxy, &request, place, &head);
    }
    let key = place.as_ref().filter(|_| lasts(reason)).map(|place| place.key.hash());
    let Some(place) = place.filter(|_| may_adopt(&request, reason, head.response.status)) else {
        return own_alone(proxy, request, key, head.response, reason);
    };
    let for_all = proxy.hop_headers.asks_as_a_fill(&request)
        && policy::is_coded_for_all(&request.headers, &head.response.headers);
    if !is_fill(&request, reason) && !for_all {
        fill_behind(proxy, &request, place, &head);
        return own_alone(proxy, request, key, head.response, reason);
    }
    match adopt(proxy, &request, place, head, heard, counted).await {
        Ok((exchange, follower, me)) => respond::ride(proxy, request, &exchange, follower, me),
        Err(Some(response)) => own_alone(proxy, request, key, response, reason),
        // The task is gone with the response in it, by a panic: nothing is left to pass on.
        Err(None) => respond::refuse(request, Cause::Upstream(ErrorKind::Truncated), None),
    }
}

/// If the response to a request that went by itself for a remembered pass may be stored, that pass is
/// forgotten, here and in the store. The next request then leads (F10).
fn judge_again(proxy: &Arc<Proxy>, request: &CacheRequest, place: &CacheSlot, head: &Head) {
    let verdict = policy::verdict(&request.ask, &answer_of(head), &request.route.rules);
    if !matches!(verdict, Verdict::Store(_)) {
        return;
    }
    let Some(token) = proxy.negative_cache.disprove_pass(place.key.hash()) else { return };
    let (proxy, key) = (proxy.clone(), place.key.clone());
    tokio::spawn(async move {
        // Not a note that was written since.
        let disproved = |note: &Note| matches!(note, Note::Pass { token: of, .. } if *of <= token);
        proxy.observer.removed(proxy.catalog.remove_verdict_if(&key, disproved).await);
    });
}

/// Fetches for all, in the background, a response that a request has shown to be shareable without asking as
/// a fill does.
fn fill_behind(proxy: &Arc<Proxy>, request: &CacheRequest, place: CacheSlot, head: &Head) {
    let deadline = Instant::now() + request.route.wait_timeout;
    let job = Job::new(proxy, request, place, None, None, deadline);
    if matches!(job.verdict(head), Verdict::Store(_))
        && let Joined::Lead(leader) = proxy.flights.join(&job.place.key.hash())
    {
        job.spawn(leader);
    }
}

/// Turns an exchange that began as a pass into a fill, without waiting. An error gives the response back, or
/// nothing if that is lost.
async fn adopt(
    proxy: &Arc<Proxy>,
    request: &CacheRequest,
    place: CacheSlot,
    head: Head,
    heard: Heard,
    counted: Option<Counted>,
) -> Result<(Arc<Exchange>, Follower, Moment), Option<upstream::Response>> {
    let me = proxy.moments.next();
    let interest = request.ticket.interest().unwrap_or_default();
    let mut job = Job::new(proxy, request, place, Some(me), None::<Arc<Stored>>, Instant::now());
    job.interest = interest.clone();
    job.heard = heard;
    let Verdict::Store(lifetime) = job.verdict(&head) else { return Err(Some(head.response)) };
    let Joined::Lead(leader) = proxy.flights.join(&job.place.key.hash()) else {
        return Err(Some(head.response));
    };
    // The exchange is under way: requests that join share in its interest, and keep it going too.
    leader.inform(|info| info.interest = interest);
    let names = proxy.names(&job.place.key);
    let Attempt::Won(fill) = proxy.flight.attempt(&names).await else {
        return Err(Some(head.response));
    };
    // A stamp covers it, or may do so without this instance having heard of that.
    let void = proxy.stamps.forbids(job.place.named(), head.born) || !proxy.has_heard_all(heard);
    if void
        || better::has_better(proxy, &job.place.key, &job.route.rules, head.born, head.response.status).await
    {
        fill.release().await;
        return Err(Some(head.response));
    }
    // Before the task runs: no other exchange can have taken the place of this one yet.
    let follower = leader.follower();
    let (stamps, born) = (proxy.stamps.clone(), head.born);
    tokio::spawn(async move {
        let (_filling, _counted) = (stamps.fills(born), counted);
        job.store(leader, fill, Box::new(head), lifetime, None).await;
    });
    match follower.settled().await {
        crate::flight::Settled::Told(FlightOutcome::Growing(exchange)) => Ok((exchange, follower, me)),
        crate::flight::Settled::Told(FlightOutcome::Pass(_, own)) => match own.take() {
            Some(response) => Err(Some(response)),
            None => Err(None),
        },
        _ => Err(None),
    }
}

/// Sends the request, with the fields of a fill where its response is for all.
async fn send(
    proxy: &Proxy,
    asking: &CacheRequest,
    body: Option<upstream::Body>,
    reason: PassReason,
    on_sent: Option<Box<dyn FnOnce() + Send>>,
) -> Result<Head, upstream::Error> {
    proxy.observer.passing(&asking.route, reason);
    let (route, target, forwarded) = (&asking.route, &asking.target, &asking.forwarded);
    let fills = body.is_none() && is_fill(asking, reason);
    let mut headers = if fills {
        proxy.hop_headers.fill_headers(route, target, &asking.headers, forwarded)
    } else {
        let shares = may_be_shared(asking, reason);
        proxy.hop_headers.pass_headers(route, target, &asking.headers, forwarded, shares)
    };
    if asking.method == Method::OPTIONS {
        policy::count_down(&mut headers);
    }
    let asks = Asks::of(&headers);
    let request = upstream::Request {
        method: asking.method.clone(),
        target: route.upstream_target(target, fills),
        headers,
        body,
        lane: Lane::Pass,
        deadline: Some(asking.ticket.began() + asking.route.wait_timeout),
        interest: asking.ticket.interest(),
        on_sent,
    };
    let sent = proxy.moments.next();
    let requested_at = proxy.now_ms();
    let response = measured(proxy.upstream(&asking.route).send(request).await?);
    proxy.observer.upstream_answered(&asking.route, &response);
    // To other methods some APIs answer 304 to say that nothing had to be done.
    if matches!(asking.method, Method::GET | Method::HEAD) {
        is_answered(asks, &response)?;
    }
    Ok(Head { response, sent, requested_at, received_at: proxy.now_ms(), born: 0 })
}

/// The response to a request that went by itself: for this request alone, and not stored. `key`: that of the
/// response, if the reason may hold for others who ask for it.
pub(crate) fn own_alone(
    proxy: &Proxy,
    request: CacheRequest,
    key: Option<KeyHash>,
    response: upstream::Response,
    reason: PassReason,
) -> Response<ReplyBody> {
    proxy.unstored(&request.route, key, reason);
    own(proxy, request, response, reason)
}

/// A response for this request alone.
pub(crate) fn own(
    proxy: &Proxy,
    mut request: CacheRequest,
    response: upstream::Response,
    reason: PassReason,
) -> Response<ReplyBody> {
    let ticket = &mut request.ticket;
    ticket.line.cache = if reason == PassReason::RouteSays { Cache::Bypass } else { Cache::Pass };
    ticket.line.why = Some(Why::Pass(reason.as_str()));
    ticket.upstream_answered(&request.route, response.status, &response.timing);
    let status = cache_status::passed(reason, request.forward);
    let mut headers = response.headers;
    policy::strip_tags(&mut headers, &request.route.rules);
    proxy.hop_headers.map_urls(&request, &mut headers);
    proxy.hop_headers.deliver(&request, &mut headers, Some(&status));
    let len = match response.framing {
        _ if request.method == Method::HEAD || crate::proxy::respond::bodiless(response.status) => Some(0),
        upstream::Framing::Length(len) => Some(len),
        upstream::Framing::Framed | upstream::Framing::Close => None,
    };
    let source = if len == Some(0) { Source::Empty } else { Source::Upstream(response.body) };
    let mut body = ReplyBody::new(source, len);
    let trailers = response.trailers;
    if len.is_none() && !trailers.announced.is_empty() && policy::takes_trailers(&request.headers) {
        for line in trailers.announced {
            headers.append(TRAILER, line);
        }
        body = body.before_trailers(trailers.came);
    }
    let mut answer = Response::new(body);
    *answer.status_mut() = response.status;
    *answer.headers_mut() = headers;
    finish(request.ticket, answer)
}

/// Refuses a request that upstream gave no answer to.
fn unanswered(proxy: &Arc<Proxy>, request: CacheRequest, error: &upstream::Error) -> Response<ReplyBody> {
    proxy.observer.upstream_error(&request.route, error);
    respond::refuse(request, Cause::Upstream(error.kind), None)
}

/// Returns whether a request that failed like this can't have reached the origin. One that waited for a place
/// at the upstream and got none never went out.
fn never_connected(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Connect | ErrorKind::ConnectTimeout | ErrorKind::Local)
}

/// Returns whether the response to a request by itself may turn out to be for all: one that is stored all the
/// same, or one to a HEAD that updates a stored response.
fn may_be_shared(request: &CacheRequest, reason: PassReason) -> bool {
    request.route.cache && (request.method == Method::HEAD || may_turn_out_shared(reason))
}

/// Returns whether the reason may be why the key of the response stays empty, and not only why this request
/// went by itself.
fn lasts(reason: PassReason) -> bool {
    use PassReason::{Authorization, Cookie, SecretHeader};
    reason.shared() || matches!(reason, Authorization | SecretHeader | Cookie)
}

/// Returns whether a response that is passed for this reason may be stored all the same.
fn may_turn_out_shared(reason: PassReason) -> bool {
    use PassReason::{Authorization, Cookie, RouteSays, SecretHeader};
    matches!(reason, Authorization | SecretHeader | Cookie | RouteSays)
}

/// Returns whether the response to this request may still be worth storing.
fn may_adopt(request: &CacheRequest, reason: PassReason, status: StatusCode) -> bool {
    may_turn_out_shared(reason) && status != StatusCode::PARTIAL_CONTENT && is_plain(request)
}

/// Returns whether a request goes by itself only because its route does not coalesce requests. Its response
/// is for all, so it asks as a fill does.
fn is_fill(request: &CacheRequest, reason: PassReason) -> bool {
    reason == PassReason::RouteSays && !request.ask.credentialed() && is_plain(request)
}

/// Returns whether a request is for the whole of what its key names, and not to validate a client's copy.
fn is_plain(request: &CacheRequest) -> bool {
    use http::header::{IF_MODIFIED_SINCE, IF_NONE_MATCH};
    request.method == Method::GET
        && request.route.cache
        && request.ask.want == Want::Whole
        && ![IF_NONE_MATCH, IF_MODIFIED_SINCE].iter().any(|name| request.headers.contains_key(name))
}
