//! Purges that come to the data port, as requests with a method of their own.

use std::sync::Arc;

use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response};
use tokio::time::Instant;

use crate::key::purge::leave_once;
use crate::key::target::{self, Asked, Refusal, Scheme, Target};
use crate::policy;
use crate::proxy::cause::{Cause, NotPurged, Refused};
use crate::proxy::purge::{self, Order, Purge, PurgeError, Purged};
use crate::proxy::request::Forwarded;
use crate::proxy::request::access::RequestLog;
use crate::proxy::respond::body::{ReplyBody, Source, finish};
use crate::proxy::respond::refusal;
use crate::proxy::state::Proxy;
use crate::route::{PortPurges, Route};
use crate::telemetry::labels;

/// Fields that name tags to purge, beside those that the route reads from responses.
static HARD: HeaderName = HeaderName::from_static("xkey-purge");
/// The same, for a soft purge.
static SOFT: HeaderName = HeaderName::from_static("xkey-softpurge");
/// Makes a purge soft: `1`.
static IS_SOFT: HeaderName = HeaderName::from_static("fastly-soft-purge");

/// Answers a request whose method is that of purges on some route.
///
/// It is routed as a GET of its URL: that is what would be stored. What it may do depends on its client's address, as
/// the connection or a trusted proxy tells it, and on no field that a client writes.
pub(crate) async fn answer(
    proxy: &Arc<Proxy>,
    parts: &Parts,
    forwarded: &Forwarded,
    mut ticket: Box<RequestLog>,
) -> Response<ReplyBody> {
    match carry_out(proxy, parts, forwarded, &mut ticket).await {
        Ok(purged) => finish(ticket, said(&purged)),
        Err(cause) => {
            proxy.observer.refused(cause.as_str());
            ticket.line.cache = labels::Cache::Error;
            ticket.line.error = Some(cause.as_str());
            finish(ticket, refusal::answer(cause, None))
        }
    }
}

async fn carry_out(
    proxy: &Arc<Proxy>,
    parts: &Parts,
    forwarded: &Forwarded,
    ticket: &mut RequestLog,
) -> Result<Purged, Cause> {
    let target = target_of(parts, forwarded).map_err(Cause::Target)?;
    ticket.asks(&target);
    let route = proxy.routes.route(&target, &Method::GET).map_err(Cause::NoRoute)?;
    ticket.routed(route, proxy.observer.route(route).clone());
    let allowed = route.purge.as_ref().filter(|purge| purge.methods.contains(&parts.method));
    let allowed = allowed.ok_or(Cause::Target(Refusal::Method))?;
    if !allowed.from.iter().any(|net| net.0.contains(&forwarded.client)) {
        return Err(Cause::NotPurged(NotPurged::Forbidden));
    }
    let (what, soft) = named(proxy, route, allowed, &target, &parts.headers)?;
    let by = Some(format!("{} from {}", parts.method, forwarded.client));
    let order = Order { what, soft, dry_run: false, by };
    // What is refused takes nothing of the rate.
    order.stampings(proxy).map_err(|error| cause_of(&error))?;
    if let Some(rate) = allowed.rate
        && let Err(wait) =
            proxy.purge_meters[route.index].take(rate, counted(&order.what), Instant::now().into_std())
    {
        let seconds = u32::try_from(wait.as_secs()).unwrap_or(u32::MAX).saturating_add(1);
        return Err(Cause::NotPurged(NotPurged::Rate { seconds }));
    }
    purge::to_the_end(proxy, &order).await.map_err(|error| cause_of(&error))
}

fn cause_of(error: &PurgeError) -> Cause {
    match error {
        PurgeError::Url(refusal) => Cause::Target(*refusal),
        PurgeError::Wrong(_) => Cause::NotPurged(NotPurged::Wrong),
        PurgeError::Store(_) => Cause::Refused(Refused::StoreDown),
    }
}

/// How many things they are: a URL under both schemes is one.
fn counted(what: &[Purge]) -> usize {
    if what.iter().all(|one| matches!(one, Purge::Url(_))) { 1 } else { what.len() }
}

/// The target that a GET of the same URL has.
fn target_of(parts: &Parts, forwarded: &Forwarded) -> Result<Target, Refusal> {
    let asked = target::canonical(&Method::GET, &parts.uri, parts.version, &parts.headers, forwarded.scheme)?;
    match (asked, &forwarded.host) {
        (Asked::Target(target), Some(host)) => target.under(host),
        (Asked::Target(target), None) => Ok(target),
        (Asked::OptionsStar, _) => Err(Refusal::Star),
    }
}

/// What a request names: tags if it has a field of tags, else its URL.
fn named(
    proxy: &Proxy,
    route: &Arc<Route>,
    allowed: &PortPurges,
    target: &Target,
    headers: &HeaderMap,
) -> Result<(Vec<Purge>, bool), Cause> {
    let mut soft = headers.get(&IS_SOFT).is_some_and(|value| value.as_bytes().trim_ascii() == b"1");
    let own = route.rules.tag_headers.iter();
    let fields: Vec<&HeaderName> =
        own.chain([&HARD, &SOFT]).filter(|field| headers.contains_key(*field)).collect();
    if fields.is_empty() {
        return Ok((urls(proxy, route, target), soft));
    }
    soft |= headers.contains_key(&SOFT);
    let host = (!allowed.all_hosts).then(|| match route.port_in_key(target) {
        Some(port) => format!("{}:{port}", target.host()),
        None => target.host().to_owned(),
    });
    let mut tags: Vec<String> = Vec::new();
    for field in fields {
        let here = policy::named_tags(headers, field);
        if here.is_empty() {
            // Its URL was not meant, and what was can't be read.
            return Err(Cause::NotPurged(NotPurged::Wrong));
        }
        tags.extend(here);
    }
    let mut what = tags.into_iter().map(|tag| Purge::Tag { tag, host: host.clone() }).collect();
    leave_once(&mut what);
    Ok((what, soft))
}

/// The URL under both schemes: the purge may come straight to a port whose clients come through TLS.
fn urls(proxy: &Proxy, route: &Arc<Route>, target: &Target) -> Vec<Purge> {
    let mut other = target.clone();
    other.scheme = match target.scheme {
        Scheme::Http => Scheme::Https,
        Scheme::Https => Scheme::Http,
    };
    let mut urls = vec![Purge::Url(target.to_string())];
    // On another route this one's setting says nothing.
    if proxy.route_of(&other).is_some_and(|found| Arc::ptr_eq(found, route)) {
        urls.push(Purge::Url(other.to_string()));
    }
    urls
}

fn said(purged: &Purged) -> Response<ReplyBody> {
    let about = if purged.matched.estimated { "about " } else { "" };
    let text = format!(
        "Purged\nmatched {about}{}, confirmed {}, silent {}\n",
        purged.matched.records,
        purged.confirmed.len(),
        purged.silent.len()
    );
    let length = text.len();
    let mut response = Response::new(ReplyBody::new(Source::Whole(text.into()), None));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
