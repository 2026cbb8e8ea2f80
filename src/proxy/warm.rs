//! Fills that no client waits for: a URL is asked for as a client would ask for it, so that its response is there
//! when one does.
//!
//! Such a request counts as one whose client may be gone. So it is served last at the upstream's limit, has a share
//! of the places at most, and gives way to requests of clients. In a fleet it joins the flight of its key like any
//! other. What can't be shared is not fetched for it.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use http::header::HOST;
use http::{HeaderMap, HeaderValue, Method, Request};
use http_body_util::BodyExt as _;

use crate::key::target;
use crate::policy::{self, RequestClass};
use crate::proxy::handle::{self, unreadable};
use crate::proxy::request::access::RequestLog;
use crate::proxy::request::{CacheRequest, Client, Forwarded};
use crate::proxy::respond::body::ReplyBody;
use crate::proxy::respond::next::Next;
use crate::proxy::state::Proxy;
use crate::proxy::{cause, miss};
use crate::telemetry::labels::Cache;

/// What became of a URL that was to be warmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Warmed {
    /// The end.
    pub end: WarmEnd,
    /// The status of the response; 0 if there is none.
    pub status: u16,
    /// The bytes of its content.
    pub bytes: u64,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WarmEnd {
    /// It was there already, fresh.
    Fresh,
    /// It is there, stale, and may be served so. A fresh one is being fetched.
    Stale,
    /// It was fetched.
    Filled,
    /// Its response is not shared, so it was not fetched, or fetched and not stored.
    Passed,
    /// Others come first: it may be tried again.
    Busy,
    /// The origin failed, or its response broke off.
    Failed,
    /// No route takes it, or it is no URL.
    Wrong,
}

/// Asks for a URL, with these fields, and reads the response to its end.
pub(crate) async fn warm(proxy: &Arc<Proxy>, url: &str, fields: &HeaderMap) -> Warmed {
    let none = |end| Warmed { end, status: 0, bytes: 0 };
    let Some((client, request)) = request(proxy, url, fields) else { return none(WarmEnd::Wrong) };
    let Some(request) = request else { return none(WarmEnd::Passed) };
    let mut next = handle::look_up(proxy, &client, request).await;
    let response = loop {
        next = match next {
            Next::Answer(response) => break response,
            Next::Miss(request, place, stale) => miss::miss(proxy, request, place, stale).await,
            Next::Unreadable(request, stored, error) => {
                unreadable::unreadable(proxy, request, &stored, &error).await
            }
            Next::Pass(mut request, ..) => {
                request.ticket.line.cache = Cache::Pass;
                request.ticket.close(None);
                return none(WarmEnd::Passed);
            }
        };
    };
    let (status, body) = (response.status().as_u16(), response.into_body());
    let end = end_of(&body, status);
    let (whole, bytes) = read(body).await;
    Warmed { end: if whole { end } else { WarmEnd::Failed }, status, bytes }
}

/// The request that a client would send. None if no route takes it; no request if its response would not be
/// shared.
fn request(proxy: &Proxy, url: &str, fields: &HeaderMap) -> Option<(Client, Option<CacheRequest>)> {
    let target = target::canonical_url(url).ok()?;
    let route = proxy.routes.route(&target, &Method::GET).ok()?.clone();
    let client = Client::at(SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0));
    // No client is known to wait for what it asks for.
    client.presence.ends();
    let mut headers = fields.clone();
    // As of a client's request: a field that is in a key must not be missing from the fill.
    policy::strip_connection(&mut headers);
    headers.insert(HOST, HeaderValue::try_from(target.authority()).ok()?);
    route.ignore_cookies.take_out(&mut headers);
    policy::mark_secrets(&mut headers, &route.rules);
    let class = policy::entrance(&Method::GET, &headers, &route.rules);
    let (true, RequestClass::Lookup(ask)) = (route.cache, class) else { return Some((client, None)) };
    let forwarded = Forwarded::nowhere(target.scheme);
    let mut parts = Request::new(()).into_parts().0;
    parts.headers = headers;
    let mut ticket = RequestLog::open(&proxy.observer, proxy.now_ms(), &parts, &forwarded);
    ticket.line.client = None;
    ticket.asks(&target);
    ticket.routed(&route, proxy.observer.route(&route).clone());
    let headers = parts.headers;
    let request = CacheRequest {
        method: Method::GET,
        headers,
        target,
        route,
        ask,
        forwarded,
        forward: None,
        ticket,
        seat: None,
    };
    Some((client, Some(request)))
}

/// How it ended, unless its content breaks off.
fn end_of(body: &ReplyBody, status: u16) -> WarmEnd {
    let Some(line) = body.line() else { return WarmEnd::Failed };
    match line.cache {
        Cache::Hit => WarmEnd::Fresh,
        Cache::Stale => WarmEnd::Stale,
        // The origin's own failure is answered as a miss.
        Cache::Revalidated | Cache::Miss | Cache::Follower if status < 500 => WarmEnd::Filled,
        Cache::Pass | Cache::Bypass => WarmEnd::Passed,
        _ if line.error.is_some_and(cause::is_for_now) => WarmEnd::Busy,
        Cache::Revalidated | Cache::Miss | Cache::Follower | Cache::Error => WarmEnd::Failed,
    }
}

/// Reads content to its end. Returns whether it was whole, and its length.
async fn read(mut body: ReplyBody) -> (bool, u64) {
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => bytes += frame.data_ref().map_or(0, |data| data.len() as u64),
            Err(_) => return (false, bytes),
        }
    }
    (true, bytes)
}

// === impl WarmEnd ===

impl WarmEnd {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Filled, Self::Fresh, Self::Stale, Self::Passed, Self::Busy, Self::Failed, Self::Wrong];

    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Stale => "stale",
            Self::Filled => "filled",
            Self::Passed => "passed",
            Self::Busy => "busy",
            Self::Failed => "failed",
            Self::Wrong => "wrong",
        }
    }
}
