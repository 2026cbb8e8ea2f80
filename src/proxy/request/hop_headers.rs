//! What this hop writes: into requests on their way up, into responses on their way down.

use std::sync::OnceLock;

use http::header::{ACCEPT_ENCODING, CONTENT_LENGTH, HOST, TE, VARY};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use crate::key::target::Target;
use crate::policy::{self, CacheStatus, Hop};
use crate::proxy::request::{CacheRequest, Forwarded};
use crate::route::{ClientIp, Route};

/// Names of this hop that do not change between requests.
#[derive(Debug)]
pub(crate) struct HopHeaders {
    name: String,
    /// What the fleet is called, or this instance by itself while it does not know its fleet.
    own: String,
    /// What the fleet is called, learnt later.
    fleet: OnceLock<String>,
}

impl HopHeaders {
    /// Of a hop with this name, in a fleet that is called so.
    pub(crate) fn new(name: &str, own: String) -> Self {
        Self { name: name.to_owned(), own, fleet: OnceLock::new() }
    }

    /// What the fleet is called in CDN-Loop.
    pub(crate) fn fleet(&self) -> &str {
        self.fleet.get().unwrap_or(&self.own)
    }

    /// This instance did not know its fleet until now. Once is all that counts.
    pub(crate) fn joins(&self, fleet: String) {
        let _ = self.fleet.set(fleet);
    }

    /// Whether a request has been through this fleet before (F10).
    pub(crate) fn is_loop(&self, headers: &HeaderMap) -> bool {
        // What it sent before it knew its fleet may still be under way.
        let by = |fleet: &String| policy::is_loop(headers, fleet);
        by(&self.own) || self.fleet.get().is_some_and(by)
    }
}

impl HopHeaders {
    /// The fields of a fill: made for everybody.
    pub(crate) fn fill_headers(
        &self,
        route: &Route,
        target: &Target,
        client: &HeaderMap,
        from: &Forwarded,
    ) -> HeaderMap {
        let tells = route.client_ip == ClientIp::Always;
        let host = keyed_host(route, target, client);
        let mut headers = policy::fill_headers(client, &route.rules, &self.hop(target, &host, from, tells));
        route.keep_keyed_cookies(&mut headers);
        set_host(&mut headers, &host);
        route.request_headers.apply_to_request(&mut headers);
        headers
    }

    /// The fields of a pass: the client's own. Where what it brings may turn out to be everybody's
    /// (`shares`), its host is the key's.
    pub(crate) fn pass_headers(
        &self,
        route: &Route,
        target: &Target,
        client: &HeaderMap,
        from: &Forwarded,
        shares: bool,
    ) -> HeaderMap {
        let tells = route.client_ip != ClientIp::Never;
        let host = if shares { keyed_host(route, target, client) } else { target.authority() };
        let mut headers = policy::pass_headers(client, &route.rules, &self.hop(target, &host, from, tells));
        if shares {
            policy::normalise_languages(&mut headers, client);
        }
        set_host(&mut headers, &host);
        route.request_headers.apply_to_request(&mut headers);
        headers
    }

    /// Whether a request by itself asks upstream for just what a fill would: for the key, and with no
    /// field that fills leave out. What another one brings may depend on what is in no key, so it is
    /// nobody else's.
    pub(crate) fn asks_as_a_fill(&self, request: &CacheRequest) -> bool {
        let CacheRequest { route, target, headers, forwarded, .. } = request;
        // Of a POST the host is as much the client's own as its content.
        let own = self.pass_headers(route, target, headers, forwarded, true);
        let fills = self.fill_headers(route, target, headers, forwarded);
        let alike = |field: &HeaderName| own.get_all(field).iter().eq(fills.get_all(field));
        // A fill carries its normal form. What comes of another is nobody else's if it shows
        // ([`policy::is_coded_for_all`]).
        let normal = |field: &HeaderName| *field == ACCEPT_ENCODING && fills.contains_key(field);
        let with_content = !matches!(request.method, Method::GET | Method::HEAD);
        route.upstream_target(target, false) == route.upstream_target(target, true)
            && own.keys().all(|field| normal(field) || is_never_keyed(field, with_content) || alike(field))
    }

    fn hop<'a>(&'a self, target: &'a Target, host: &'a str, from: &Forwarded, tells: bool) -> Hop<'a> {
        Hop {
            name: &self.name,
            fleet: self.fleet(),
            scheme: target.scheme.as_str(),
            host,
            client: tells.then_some(from.peer),
            trusted: from.trusted,
        }
    }

    /// What every response with a route gets: the route's edits, `Vary` on what the route keys
    /// by, Cache-Status.
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

/// The Host that was asked for, in its canonical form, if one was: the upstream's own setting decides
/// whether it goes out.
pub(crate) fn set_host(headers: &mut HeaderMap, host: &str) {
    match HeaderValue::try_from(host) {
        Ok(host) if !host.is_empty() => _ = headers.insert(HOST, host),
        _ => {}
    }
}

/// Fields that a pass carries otherwise than a fill and that say nothing of what is asked for: the
/// client's address, and what describes content, where there may be some. A GET has none: what it
/// says of it is a field like any other.
fn is_never_keyed(field: &HeaderName, with_content: bool) -> bool {
    *field == CONTENT_LENGTH
        || *field == TE
        || policy::tells_the_client(field)
        || (with_content && field.as_str().starts_with("content-"))
}

/// The host as the key has it: a port that the key leaves out does not reach the origin either.
fn keyed_host(route: &Route, target: &Target, client: &HeaderMap) -> String {
    let mut key = String::new();
    route.key_into(&mut key, target, client);
    authority(&key).to_owned()
}

/// The authority in a key's text.
fn authority(key: &str) -> &str {
    let rest = key.split_once("://").map_or(key, |(_, rest)| rest);
    rest.split(['/', '?', '\n']).next().unwrap_or_default()
}

/// Adds the keyed fields to `Vary`, those that it does not name yet.
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
