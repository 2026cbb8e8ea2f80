//! What would be done with a request, and why. Never fetches, never changes anything.

use std::fmt::{self, Display};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use http::header::HOST;
use http::{HeaderMap, Method, Version};
use serde::Serialize;

use crate::catalog::Reading;
use crate::key::target::{self, Refusal, Target};
use crate::policy::{self, PassReason, RequestClass, RequestFacts};
use crate::proxy::lookup::candidate::Criteria;
use crate::proxy::lookup::decision::{alone_because, recalls};
use crate::proxy::lookup::{self, CacheSlot, Lookup, noted, taking_in};
use crate::proxy::request::Forwarded;
use crate::proxy::request::binding::Party;
use crate::proxy::state::Proxy;
use crate::proxy::state::negative_cache::NoteResult;
use crate::record::VaryNode;
use crate::route::{NoRoute, Route};
use crate::tier::{Covered, Held, Stored};

pub use text::describe;

pub(crate) mod decide;
pub(crate) mod flights;
pub(crate) mod text;

/// What would be done with a request. The lines are those of `dustgate explain`.
#[derive(Debug, Clone)]
pub struct Explanation {
    /// How the request would be answered.
    pub outcome: Outcome,
    /// Name and text of each line, in order; no name twice.
    pub lines: Vec<(&'static str, String)>,
}

/// How a request would be answered. Each has its own exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// From a stored response (0).
    Hit,
    /// There is no route, or the request can't be passed on (2).
    NoRoute,
    /// By a fill, or with a failure that is remembered for all requests, or with 504 because upstream may not
    /// be asked (3).
    Miss,
    /// From upstream, for this request alone (4).
    Pass,
}

/// An upstream, as it may be shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    /// Its URL, secrets masked.
    pub url: String,
    /// The Host that it is sent; none: the client's, as the route's edits leave it.
    pub host: Option<String>,
    /// What keeps requests from it now, or may, in words; none if nothing but its places does.
    pub limits: Option<String>,
}

/// The line with the names in the store, which the command shows only if it is asked to say more.
pub const ENTRIES: &str = "entries";

/// What memory or else the store holds for a key.
pub(crate) struct StoredHere {
    place: CacheSlot,
    node: Option<Arc<VaryNode>>,
    stored: Option<(Arc<Stored>, &'static str)>,
}

/// How a request would be answered, and why: the last lines of an explanation.
pub(crate) struct Conclusion {
    outcome: Outcome,
    answer: String,
    because: String,
}

#[derive(Debug, Default)]
struct Lines(Vec<(&'static str, String)>);

// === explain ===

/// Explains a request. `origin` returns what may be shown of a route's upstream.
pub(crate) async fn explain(
    proxy: &Proxy,
    url: &str,
    method: &Method,
    headers: &HeaderMap,
    origin: impl Fn(&Route) -> Origin + Send,
) -> Explanation {
    let mut lines = Lines::default();
    let mut headers = headers.clone();
    let upgrade = policy::strip_connection(&mut headers);
    let target = match target::canonical_url(url) {
        Ok(target) => target,
        Err(refusal) => return lines.refused(refusal),
    };
    if proxy.hop_headers.is_loop(&headers) {
        return lines.done(Conclusion::new(Outcome::NoRoute, "508", "it has been through here already"));
    }
    let route = match proxy.routes.route(&target, method) {
        Ok(route) => route.clone(),
        Err(none) => return lines.no_route(none),
    };
    if upgrade && policy::needs_upgrade(Version::HTTP_11, &headers) {
        lines.add("route", text::route(&route, [].into_iter()));
        return lines.done(Conclusion::new(Outcome::NoRoute, "501", "connections are not upgraded here"));
    }
    let ignored = text::ignored_cookies(&route, &headers);
    route.ignore_cookies.take_out(&mut headers);
    policy::mark_secrets(&mut headers, &route.rules);
    let entrance = if route.cache {
        policy::entrance(method, &headers, &route.rules)
    } else {
        RequestClass::Pass(PassReason::RouteSays)
    };
    let of_route = proxy.routes.all(&target, method);
    let also = of_route.iter().filter(|other| other.index != route.index).map(|other| &*other.name);
    lines.add("route", text::route(&route, also));
    if let Some(ignored) = ignored {
        lines.add("cookies", ignored);
    }
    let mut key = String::new();
    route.key_into(&mut key, &target, &headers);
    let ask = match entrance {
        RequestClass::Pass(reason) => {
            let origin = origin(&route);
            lines.add("upstream", upstream_text(proxy, &route, &target, Some(method), &headers, &origin));
            lines.limits(origin);
            lines.add("key", text::key(&key, &route, target.query()));
            lines.add("request", format!("passes: {}", reason.as_str()));
            return lines.done(Conclusion::alone(reason.explained(&route.name)));
        }
        RequestClass::Lookup(ask) => ask,
    };
    let found = find_all(proxy, &key, &route, &headers).await;
    // With an address that no client has: a failure that only one client has met does not bind it.
    let forwarded = Forwarded::nowhere(target.scheme);
    let hash = found.place.primary.hash();
    let party = Party { route: &route, target: &target, headers: &headers, forwarded: &forwarded, key: hash };
    // The decision is made from the same lookup as for a real request.
    let look = look_without_taking(proxy, &party, &ask, &found);
    let last = match &look {
        Lookup::Stale { stored, .. } | Lookup::Doubtful { stored, .. } => Some(stored),
        _ => None,
    };
    let alone = alone_because(&route, &ask, last);
    let own = alone.map(|_| method);
    let origin = origin(&route);
    lines.add("upstream", upstream_text(proxy, &route, &target, own, &headers, &origin));
    lines.limits(origin);
    lines.add("key", text::key(&key, &route, target.query()));
    let names = proxy.names(&found.place.key);
    lines.add("name", found.place.key.hash().to_string());
    lines.add(ENTRIES, format!("{}   lease {}", names.value, names.lock));
    lines.add("request", text::request(&ask, alone));
    if let Some(node) = &found.node {
        lines.add("variant", text::variant(node, &headers, route.max_variants));
    }
    match &found.stored {
        Some((stored, place)) => {
            lines.add("stored", text::stored(stored, place));
            lines.add("freshness", text::freshness(&stored.record, &route.rules, proxy.now_ms()));
        }
        None => lines.add("stored", "nothing".into()),
    }
    lines.add("purge", purge_text(proxy, &found, &party).await);
    lines.done(decide::conclude(proxy, &party, &ask, look, &found).await)
}

/// What memory holds, or what a request that looks into the store by itself would take from there.
fn look_without_taking(proxy: &Proxy, party: &Party<'_>, ask: &RequestFacts, found: &StoredHere) -> Lookup {
    let Party { route, target, headers, .. } = *party;
    match (lookup::look(proxy, route, target, headers, ask), &found.stored) {
        (Lookup::Missing { place }, Some((stored, _)))
            if recalls(route, ask)
                && !matches!(noted::peek_noted(proxy, party, &place), NoteResult::Pass(_))
                && taking_in::may_be_taken_in(proxy, stored).is_ok() =>
        {
            let criteria = Criteria { headers, ask, rules: &route.rules };
            lookup::weigh(proxy, stored.clone(), criteria, || found.place.clone())
        }
        (look, _) => look,
    }
}

/// Looks into memory, then into the store.
async fn find_all(proxy: &Proxy, text: &str, route: &Route, headers: &HeaderMap) -> StoredHere {
    let primary = CacheSlot::new(text, text, None, route.rules.route);
    let mut held = proxy.tier.find(text);
    if held.is_none() {
        held = read_held(proxy, &primary, route).await;
    }
    let (place, node) = match held {
        Some(Held::Vary(node)) => {
            let place = primary.under(node.clone(), headers);
            held = proxy.tier.find(place.key.text());
            if held.is_none() {
                held = read_held(proxy, &place, route).await;
            }
            (place, Some(node))
        }
        _ => (primary, None),
    };
    let stored = match held {
        Some(Held::Stored(stored)) if stored.has_body() => Some((stored, "in memory here")),
        Some(Held::Stored(stored)) => Some((stored, "in the body store")),
        Some(Held::Vary(_)) | None => None,
    };
    StoredHere { place, node, stored }
}

async fn read_held(proxy: &Proxy, place: &CacheSlot, route: &Route) -> Option<Held> {
    match proxy.catalog.value(&place.key).await.ok()??.reading {
        Reading::Vary(node) => Some(Held::Vary(Arc::new(node))),
        Reading::Record(record) => Some(Held::Stored(Arc::new(Stored::new(*record, &route.rules, None)))),
        Reading::Foreign | Reading::Bad(_) => None,
    }
}

/// What would be sent upstream: method, URL with its secrets masked, Host. `method`: the request's own, if it
/// goes upstream by itself; none for a fill, which is a GET of what the key names.
fn upstream_text(
    proxy: &Proxy,
    route: &Route,
    target: &Target,
    method: Option<&Method>,
    headers: &HeaderMap,
    origin: &Origin,
) -> String {
    let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let forwarded = Forwarded { client: here, peer: here, scheme: target.scheme, host: None, trusted: false };
    let of_client = || {
        let sent = proxy.hop_headers.fill_headers(route, target, headers, &forwarded);
        sent.get(HOST).map(|host| String::from_utf8_lossy(host.as_bytes()).into_owned())
    };
    let host = origin.host.clone().or_else(of_client).unwrap_or_default();
    let path = route.upstream_target(target, method.is_none());
    let method = method.unwrap_or(&Method::GET);
    let url = origin.url.trim_end_matches('/');
    format!("{:<12} {method} {url}{path}   Host: {host}", route.upstream)
}

async fn purge_text(proxy: &Proxy, found: &StoredHere, party: &Party<'_>) -> String {
    let mut said = Vec::new();
    if let Some((stored, _)) = &found.stored {
        said.push(match stored.covered(&proxy.stamps) {
            Covered::No => format!("no stamp above {} (born)", stored.record.born),
            Covered::Soft => format!("a soft stamp above {} (validated)", stored.record.token),
            Covered::Hard => format!("a hard stamp above {} (born)", stored.record.born),
        });
    }
    let place = &found.place;
    said.push(match noted::peek_noted(proxy, party, place) {
        NoteResult::Failing(failure) => format!("failing ({})", failure.status.as_u16()),
        NoteResult::Nothing => "pass not remembered".into(),
        NoteResult::Pass(reason) => format!("pass remembered ({})", reason.as_str()),
        NoteResult::Failed(failure) => format!("failure remembered ({})", failure.status.as_u16()),
    });
    let lease = proxy.catalog.lease(&proxy.names(&place.key)).await.ok().flatten();
    said.push(match lease {
        Some(token) => format!("lease held, token {token}"),
        None => "lease free".to_owned(),
    });
    said.join(" · ")
}

// === impl Lines ===

impl Lines {
    fn add(&mut self, name: &'static str, text: String) {
        debug_assert!(self.0.iter().all(|(there, _)| *there != name), "{name} twice");
        self.0.push((name, text));
    }

    fn limits(&mut self, origin: Origin) {
        if let Some(limits) = origin.limits {
            self.add("limits", limits);
        }
    }

    fn done(mut self, conclusion: Conclusion) -> Explanation {
        self.add("answer", conclusion.answer);
        self.add("because", conclusion.because);
        Explanation { outcome: conclusion.outcome, lines: self.0 }
    }

    fn refused(self, refusal: Refusal) -> Explanation {
        let answer = format!("{} {}", refusal.status().as_u16(), refusal.as_str());
        self.done(Conclusion::new(Outcome::NoRoute, answer, refusal.to_string()))
    }

    fn no_route(self, none: NoRoute) -> Explanation {
        let (status, why) = match none {
            NoRoute::NoHost => ("421", "no route has this host"),
            NoRoute::NoPath => ("404", "no route of this host has this path"),
        };
        self.done(Conclusion::new(Outcome::NoRoute, status, why))
    }
}

// === impl Outcome ===

impl Outcome {
    /// The exit code of `dustgate explain`.
    pub fn code(self) -> u8 {
        match self {
            Self::Hit => 0,
            Self::NoRoute => 2,
            Self::Miss => 3,
            Self::Pass => 4,
        }
    }
}

impl Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines.iter().try_for_each(|(name, text)| writeln!(f, "{name:<10} {text}"))
    }
}
