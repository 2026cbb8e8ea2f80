//! The path of a request from its head to its response: target, route, policy, memory, flight, upstream.

use std::sync::Arc;

use http::{Request, Response, StatusCode};
use tokio::time::Instant;

use crate::key::target::{self, Asked, Refusal};
use crate::policy::{self, CacheStatus, PassReason, RequestClass, RequestFacts};
use crate::proxy::cause::Cause;
use crate::proxy::fill::behind;
use crate::proxy::lookup::candidate::Criteria;
use crate::proxy::lookup::decision::{self, Decision, Onward, Served};
use crate::proxy::lookup::store_lookup::Recalled;
use crate::proxy::lookup::{self, CacheSlot, Lookup, cache_status, completing, noted, store_lookup};
use crate::proxy::outcome::Failure;
use crate::proxy::request::access::RequestLog;
use crate::proxy::request::{CacheRequest, Forwarded, hop_headers};
use crate::proxy::respond::body::finish;
use crate::proxy::respond::next::Next;
use crate::proxy::respond::{self, last_hop, refusal, standing_in};
use crate::proxy::state::Proxy;
use crate::proxy::{Client, Content, ReplyBody, miss, pass, port_purge};
use crate::telemetry::labels::{self, Why};
use crate::tier::Stored;

pub(crate) mod unreadable;

/// Answers one request.
///
/// A hit in memory never waits. The futures of what does are boxed, here and in the rooms below: this future is
/// moved once for each request, and each busy connection holds one.
pub(crate) async fn handle(
    proxy: &Arc<Proxy>,
    client: &Client,
    request: Request<impl Content>,
) -> Response<ReplyBody> {
    let (mut parts, content) = request.into_parts();
    let head = head_len(&parts);
    let upgrade = policy::strip_connection(&mut parts.headers);
    let mut forwarded =
        Forwarded::read(client.peer, &proxy.settings.server.trusted_proxies.0, &parts.headers);
    let mut ticket = RequestLog::open(&proxy.observer, proxy.now_ms(), &parts, &forwarded);
    if target_len(&parts.uri) > proxy.settings.server.max_target {
        return turn_away(proxy, ticket, Cause::Target(Refusal::TooLong));
    }
    if head > proxy.settings.server.max_header_size {
        return turn_away(proxy, ticket, Cause::HeadTooLarge);
    }
    if proxy.routes.purges_by(&parts.method) {
        return Box::pin(port_purge::answer(proxy, &parts, &forwarded, ticket)).await;
    }
    let asked = target::canonical(&parts.method, &parts.uri, parts.version, &parts.headers, forwarded.scheme);
    let believed = forwarded.host.take();
    let asked = match (asked, &believed) {
        // Route, key and origin see the same host: with another host, one client's fill would change the
        // response of all.
        (Ok(Asked::Target(target)), Some(host)) => target.under(host).map(Asked::Target),
        (asked, _) => asked,
    };
    let target = match asked {
        Ok(Asked::Target(target)) => target,
        Ok(Asked::OptionsStar) => {
            let mut response = Response::new(ReplyBody::empty());
            *response.status_mut() = StatusCode::NO_CONTENT;
            return finish(ticket, response);
        }
        Err(refusal) => return turn_away(proxy, ticket, Cause::Target(refusal)),
    };
    ticket.asks(&target);
    if believed.is_some() {
        hop_headers::set_host(&mut parts.headers, &target.authority());
    }
    if proxy.hop_headers.is_loop(&parts.headers) {
        return turn_away(proxy, ticket, Cause::Loop);
    }
    let route = match proxy.routes.route(&target, &parts.method) {
        Ok(route) => route.clone(),
        Err(none) => return turn_away(proxy, ticket, Cause::NoRoute(none)),
    };
    ticket.routed(&route, proxy.observer.route(&route).clone());
    if upgrade && policy::needs_upgrade(parts.version, &parts.headers) {
        return turn_away(proxy, ticket, Cause::Upgrade);
    }
    route.ignore_cookies.take_out(&mut parts.headers);
    policy::mark_secrets(&mut parts.headers, &route.rules);
    if last_hop::is_asked(&parts.method, &parts.headers) {
        return finish(ticket, last_hop::answer(&route));
    }
    let entrance = if route.cache {
        policy::entrance(&parts.method, &parts.headers, &route.rules)
    } else {
        RequestClass::Pass(PassReason::RouteSays)
    };
    let (ask, passes) = match entrance {
        RequestClass::Lookup(ask) => (ask, None),
        RequestClass::Pass(reason) => (RequestFacts::default(), Some(reason)),
    };
    let (method, headers) = (parts.method, parts.headers);
    let asking =
        CacheRequest { method, headers, target, route, ask, forwarded, forward: None, ticket, seat: None };
    match passes {
        Some(reason) => Box::pin(pass::pass_with_body(proxy, asking.of(client), content, reason)).await,
        None => match look_up(proxy, client, asking).await {
            Next::Answer(response) => response,
            next => Box::pin(go_on(proxy, next)).await,
        },
    }
}

/// Takes a request from room to room until it has its response.
pub(crate) async fn go_on(proxy: &Arc<Proxy>, mut next: Next) -> Response<ReplyBody> {
    loop {
        next = match next {
            Next::Answer(response) => return response,
            // Each in a box of its own: that of a pass is more than twice as long as that of a miss.
            Next::Miss(request, place, stale) => Box::pin(miss::miss(proxy, request, place, stale)).await,
            Next::Pass(request, place, reason) => {
                return Box::pin(pass::pass_get(proxy, request, place, reason)).await;
            }
            Next::Unreadable(request, stored, error) => {
                Box::pin(unreadable::unreadable(proxy, request, &stored, &error)).await
            }
        };
    }
}

/// Looks up a GET or HEAD that may be answered with a stored response.
pub(crate) async fn look_up(proxy: &Arc<Proxy>, client: &Client, mut request: CacheRequest) -> Next {
    let mut look = lookup::look(proxy, &request.route, &request.target, &request.headers, &request.ask);
    let recalls = decision::recalls(&request.route, &request.ask);
    // A store in this process is asked by each request: that costs less than to join a flight.
    if let Lookup::Missing { place } = &look
        && (recalls || proxy.dust.traits().exclusive)
    {
        match Box::pin(store_lookup::recall(proxy, &request, place)).await {
            // Memory may have had no room for it.
            Recalled::Here(stored) => {
                let place = place.clone();
                look = lookup::weigh(proxy, stored, Criteria::of(&request), || place);
            }
            Recalled::InMemory => {
                look = lookup::look(proxy, &request.route, &request.target, &request.headers, &request.ask);
            }
            Recalled::Nothing => {}
        }
    }
    let wait = request.route.wait_timeout;
    if recalls
        && let Some((exchange, follower)) = completing::about_to_be_stored(proxy, &request, &look)
        && Box::pin(respond::begins_in(proxy, &mut request, &exchange, Instant::now() + wait)).await
    {
        request.ticket.late = true;
        return Next::Answer(respond::ride(proxy, request, &exchange, follower, proxy.moments.next()));
    }
    let (route, criteria, unread) = (&request.route, Criteria::of(&request), &request.ticket.unread);
    let noted = |place: &CacheSlot| noted::noted(proxy, &request, place, false);
    let stands_in = |stale: &Stored, criteria: Criteria<'_>, failure: &Failure| {
        standing_in::stands_in(proxy, stale, criteria, unread, failure.case()).is_ok()
    };
    match decision::decide(route, criteria, look, noted, stands_in) {
        Decision::Serve { stored, ttl_ms, served } => {
            let status = status_of(proxy, &mut request, &stored, ttl_ms, served);
            respond::from_stored(proxy, request, stored, status).await
        }
        Decision::OnlyIfCached => Next::Answer(respond::refuse(request, Cause::OnlyIfCached, None)),
        Decision::Alone { onward, reason, .. } => {
            let request = goes_on(proxy, client, request, &onward);
            Next::Pass(request, Some(onward.place), reason)
        }
        Decision::Failed { onward, failure, probes } => {
            let request = goes_on(proxy, client, request, &onward);
            if probes {
                behind::fetch_behind(proxy, &request, onward.place, onward.stale.clone());
            }
            Box::pin(miss::failed(proxy, request, onward.stale, &failure, 0)).await
        }
        Decision::Join(onward) => {
            let request = goes_on(proxy, client, request, &onward);
            Next::Miss(request, onward.place, onward.stale)
        }
    }
}

/// Returns the Cache-Status of a stored response that is served, fills in the log line, and begins the
/// refresh behind it.
fn status_of(
    proxy: &Arc<Proxy>,
    request: &mut CacheRequest,
    stored: &Arc<Stored>,
    ttl_ms: i64,
    served: Served,
) -> CacheStatus<'static> {
    match served {
        Served::Fresh | Served::Unsure => {
            request.ticket.hit(stored);
            request.ticket.line.why = Some(Why::Fresh);
            if matches!(served, Served::Fresh) {
                cache_status::hit(ttl_ms)
            } else {
                cache_status::unsure(ttl_ms)
            }
        }
        Served::MaxStale => {
            request.ticket.stale_hit(stored, Why::MaxStale);
            cache_status::stale(ttl_ms, "max-stale")
        }
        Served::Revalidating(place) => {
            behind::refresh_behind(proxy, request, place, stored);
            request.ticket.stale_hit(stored, Why::WhileRevalidate);
            cache_status::stale(ttl_ms, "stale-while-revalidate")
        }
    }
}

/// Prepares a request that memory does not answer: from here on it may wait for upstream, as long as this
/// client is there.
fn goes_on(proxy: &Proxy, client: &Client, request: CacheRequest, onward: &Onward) -> CacheRequest {
    let mut request = request.of(client);
    request.ask = onward.ask(&request.ask);
    request.forward = Some(cache_status::forward(proxy, &request, &onward.place, onward.stale.as_ref()));
    request
}

/// An error response of this proxy to a request that no route takes.
fn turn_away(proxy: &Proxy, mut ticket: Box<RequestLog>, cause: Cause) -> Response<ReplyBody> {
    proxy.observer.refused(cause.as_str());
    ticket.line.cache = labels::Cache::Error;
    ticket.line.error = Some(cause.as_str());
    finish(ticket, refusal::answer(cause, None))
}

fn target_len(uri: &http::Uri) -> usize {
    uri.path_and_query().map_or(0, |target| target.as_str().len())
        + uri.authority().map_or(0, |authority| authority.as_str().len())
}

/// The length of a head as received, except for whitespace around its field values.
fn head_len(parts: &http::request::Parts) -> usize {
    // Method, target and version, with two spaces and the line's end; the empty line.
    let line = parts.method.as_str().len() + target_len(&parts.uri) + 14;
    parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum::<usize>() + line
}
