//! Fields that this hop writes: into requests to upstream, and into responses to clients.

use std::sync::{Arc, OnceLock};

use http::header::{ACCEPT_ENCODING, CONTENT_LENGTH, HOST, TE, VARY};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use crate::key::target::Target;
use crate::policy::{self, AskedBy, CacheStatus, Hop, OwnUrls};
use crate::proxy::request::{CacheRequest, Forwarded};
use crate::route::{ClientIp, Location, Route};
use crate::upstream::{self, Upstream};

/// The names of this hop, which do not change between requests.
#[derive(Debug)]
pub(crate) struct HopHeaders {
    name: String,
    /// The fleet's id, or this instance's own id while it does not know its fleet.
    own: String,
    /// The fleet's id, if it is learnt later.
    fleet: OnceLock<String>,
    /// How the origin of each route writes its own URLs, by [`Route::index`].
    own_urls: Vec<Option<OwnUrls>>,
}

/// The host that the origin is told.
struct ToldHost {
    /// With its port, if it is told.
    name: String,
    /// Without a port, it has that of the scheme.
    is_whole: bool,
}

impl HopHeaders {
    /// For a hop with this name, in a fleet with the id `own`, before these upstreams, by [`Route::index`].
    pub(crate) fn new(name: &str, own: String, upstreams: &[Arc<dyn Upstream>]) -> Self {
        let urls = |upstream: &Arc<dyn Upstream>| {
            let upstream::OwnUrls { scheme, authorities, base, told_host } = upstream.own_urls()?;
            OwnUrls::new(scheme, authorities.iter().map(String::as_str), base, *told_host)
        };
        let own_urls = upstreams.iter().map(urls).collect();
        Self { name: name.to_owned(), own, fleet: OnceLock::new(), own_urls }
    }

    /// The fleet's id in CDN-Loop.
    pub(crate) fn fleet(&self) -> &str {
        self.fleet.get().unwrap_or(&self.own)
    }

    /// Sets the fleet's id, which was not known at the start. Only the first call counts.
    pub(crate) fn joins(&self, fleet: String) {
        let _ = self.fleet.set(fleet);
    }

    /// Returns whether a request has been through this fleet before (F10).
    pub(crate) fn is_loop(&self, headers: &HeaderMap) -> bool {
        // Requests that were sent under the own id may still be under way.
        let by = |fleet: &String| policy::is_loop(headers, fleet);
        by(&self.own) || self.fleet.get().is_some_and(by)
    }
}

impl HopHeaders {
    /// The request fields of a fill, whose response is for all clients.
    pub(crate) fn fill_headers(
        &self,
        route: &Route,
        target: &Target,
        client: &HeaderMap,
        from: &Forwarded,
    ) -> HeaderMap {
        let tells = route.client_ip == ClientIp::Always;
        let host = ToldHost::of_key(route, target, client);
        let mut headers =
            policy::fill_headers(client, &route.rules, &self.hop(route, target, &host, from, tells));
        route.keep_keyed_cookies(&mut headers);
        set_host(&mut headers, &host.name);
        route.request_headers.apply_to_request(&mut headers);
        headers
    }

    /// The request fields of a pass: the client's own. With `shares` the response may turn out to be for all
    /// clients, so that Host is the key's.
    pub(crate) fn pass_headers(
        &self,
        route: &Route,
        target: &Target,
        client: &HeaderMap,
        from: &Forwarded,
        shares: bool,
    ) -> HeaderMap {
        let tells = route.client_ip != ClientIp::Never;
        let host = if shares {
            ToldHost::of_key(route, target, client)
        } else {
            ToldHost { name: target.authority(), is_whole: true }
        };
        let mut headers =
            policy::pass_headers(client, &route.rules, &self.hop(route, target, &host, from, tells));
        if shares {
            policy::normalise_languages(&mut headers, client);
        }
        set_host(&mut headers, &host.name);
        route.request_headers.apply_to_request(&mut headers);
        headers
    }

    /// Returns whether a request by itself asks upstream for exactly what a fill would: the key, with no
    /// field that fills leave out. Otherwise its response may depend on fields that are in no key, and may
    /// not be shared.
    pub(crate) fn asks_as_a_fill(&self, request: &CacheRequest) -> bool {
        let CacheRequest { route, target, headers, forwarded, .. } = request;
        // A POST's host is as much the client's own as its content.
        let own = self.pass_headers(route, target, headers, forwarded, true);
        let fills = self.fill_headers(route, target, headers, forwarded);
        let alike = |field: &HeaderName| own.get_all(field).iter().eq(fills.get_all(field));
        // A fill carries its normal form. A response to another form is not shared if it shows the difference
        // ([`policy::is_coded_for_all`]).
        let normal = |field: &HeaderName| *field == ACCEPT_ENCODING && fills.contains_key(field);
        let with_content = !matches!(request.method, Method::GET | Method::HEAD);
        route.upstream_target(target, false) == route.upstream_target(target, true)
            && own.keys().all(|field| normal(field) || is_never_keyed(field, with_content) || alike(field))
    }

    fn hop<'a>(
        &'a self,
        route: &Route,
        target: &'a Target,
        host: &'a ToldHost,
        from: &Forwarded,
        tells: bool,
    ) -> Hop<'a> {
        Hop {
            name: &self.name,
            fleet: self.fleet(),
            scheme: target.scheme.as_str(),
            host: &host.name,
            is_whole: host.is_whole,
            client: tells.then_some(from.peer),
            trusted: from.trusted,
            fields: route.forwarded,
        }
    }

    /// Maps URLs of the origin, in the fields that redirect and name, to those by which this client reaches
    /// it. Costs look-ups in the fields: a hit calls it only if the record is known to have such a field.
    pub(crate) fn map_urls(&self, request: &CacheRequest, headers: &mut HeaderMap) {
        if request.route.location == Location::Map
            && let Some((own, by)) = self.own_urls(request)
        {
            own.map(headers, by);
        }
    }

    /// The target that this client asks for where the origin writes a URL of its own; `None` if it is not its own.
    pub(crate) fn target_of(&self, request: &CacheRequest, url: &str) -> Option<String> {
        let (own, by) = self.own_urls(request)?;
        own.target(url, by)
    }

    fn own_urls<'a>(&'a self, request: &'a CacheRequest) -> Option<(&'a OwnUrls, AskedBy<'a>)> {
        let CacheRequest { route, target, .. } = request;
        let own = self.own_urls.get(route.index)?.as_ref()?;
        let (prefix, told_port) = (route.stripped_of(target), route.port_in_key(target));
        Some((own, AskedBy { target, prefix, told_port }))
    }

    /// Adds what every response with a route gets: the route's edits, `Vary` on the fields that the route
    /// keys by, Cache-Status.
    pub(crate) fn deliver(
        &self,
        request: &CacheRequest,
        headers: &mut HeaderMap,
        status: Option<&CacheStatus<'_>>,
    ) {
        let route = &request.route;
        if !route.vary_on.is_empty() {
            add_vary(route, headers);
        }
        if !route.response_headers.is_empty() {
            route.response_headers.apply(headers);
        }
        if let Some(status) = status.filter(|_| route.cache_status) {
            status.append(headers, &self.name);
        }
    }
}

/// Sets Host to the host that was asked for, in its canonical form. The upstream's own setting decides
/// whether it is sent.
pub(crate) fn set_host(headers: &mut HeaderMap, host: &str) {
    match HeaderValue::try_from(host) {
        Ok(host) if !host.is_empty() => _ = headers.insert(HOST, host),
        _ => {}
    }
}

/// Returns whether a pass and a fill may differ in this field although they ask for the same: the client's
/// address, and the description of content, if the request may have some. A GET has none: there a description
/// of content is a field like any other.
fn is_never_keyed(field: &HeaderName, with_content: bool) -> bool {
    *field == CONTENT_LENGTH
        || *field == TE
        || policy::tells_the_client(field)
        || (with_content && field.as_str().starts_with("content-"))
}

impl ToldHost {
    /// The host as it is in the key: a port that the key leaves out does not reach the origin either.
    fn of_key(route: &Route, target: &Target, client: &HeaderMap) -> Self {
        let mut key = String::new();
        route.key_into(&mut key, target, client);
        // An origin that is sent the client's Host has every port but the scheme's own in its keys.
        Self { name: authority(&key).to_owned(), is_whole: route.tells_host }
    }
}

/// The authority in a key's text.
fn authority(key: &str) -> &str {
    let rest = key.split_once("://").map_or(key, |(_, rest)| rest);
    rest.split(['/', '?', '\n']).next().unwrap_or_default()
}

/// Adds the fields that the route keys by to `Vary`, unless they are there.
fn add_vary(route: &Route, headers: &mut HeaderMap) {
    for field in route.vary_fields() {
        let named = headers.get_all(VARY).iter().any(|line| {
            let mut members = line.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
            members.any(|member| member == b"*" || member.eq_ignore_ascii_case(field.as_str().as_bytes()))
        });
        if !named {
            headers.append(VARY, HeaderValue::from_name(field.clone()));
        }
    }
}
