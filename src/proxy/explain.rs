//! Why a request would be answered as it would be. Never fetches, never changes anything.

use std::fmt::{self, Display, Write as _};
use std::sync::Arc;

use http::{HeaderMap, Method};
use serde::Serialize;

use super::Proxy;
use super::notes::Noted;
use super::place::Place;
use super::status;
use crate::dust::Value;
use crate::key::target::{self, Refusal};
use crate::policy::{self, Entrance, Reuse};
use crate::record::{LifetimeBy, Pointer, Record, VaryNode, codec};
use crate::route::{NoRoute, Route};
use crate::tier::{Covered, Held, Stored};

/// What would happen to a request. The lines are those of `dustgate explain`.
#[derive(Debug, Clone)]
pub struct Explanation {
    /// What it comes to.
    pub outcome: Outcome,
    /// Name and text of each line, in order.
    pub lines: Vec<(&'static str, String)>,
}

/// What a request comes to; each has its own exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Answered from the store (0).
    Hit,
    /// No route, or no request that could be passed on (2).
    NoRoute,
    /// Upstream would be asked, for everybody (3).
    Miss,
    /// Upstream would be asked, for this request alone (4).
    Pass,
}

/// What was found in the store for a place.
struct Found {
    node: Option<Arc<VaryNode>>,
    stored: Option<(Arc<Stored>, &'static str)>,
    place: Place,
}

impl Proxy {
    /// Explains a request.
    pub async fn explain(&self, url: &str, method: &Method, headers: &HeaderMap) -> Explanation {
        let mut lines = Lines::default();
        let target = match target::canonical_url(url) {
            Ok(target) => target,
            Err(refusal) => return lines.refused(refusal),
        };
        let route = match self.routes.route(&target, method) {
            Ok(route) => route.clone(),
            Err(none) => return lines.no_route(none),
        };
        lines.add("route", self.route_line(&route, &target, method));
        let path = route.upstream_target(&target, true);
        lines.add("upstream", format!("{}  {method} {path}", route.upstream));
        let mut text = String::new();
        route.key_into(&mut text, &target, headers);
        lines.add("key", key_line(&text, &route, target.query()));
        let found = self.find_all(&text, &route, headers).await;
        let names = self.names(&found.place.key);
        lines.add("name", format!("{} → {}   lock {}", found.place.key.hash(), names.value, names.lock));
        let entrance = if route.cache {
            policy::entrance(method, headers, &route.rules)
        } else {
            Entrance::Pass(policy::PassReason::RouteSays)
        };
        let ask = match entrance {
            Entrance::Pass(reason) => {
                lines.add("request", format!("passes: {}", reason.as_str()));
                lines.add("answer", "from upstream, for this request alone".into());
                lines.add(
                    "because",
                    format!("the request is not one that is looked up ({})", reason.as_str()),
                );
                return lines.done(Outcome::Pass);
            }
            Entrance::Lookup(ask) => ask,
        };
        let last = found.stored.as_ref().map(|(stored, _)| stored);
        let alone = Self::alone_because(&route, &ask, last);
        lines.add("request", request_line(&ask, alone));
        if let Some(node) = &found.node {
            let fields: Vec<&str> = node.fields.iter().map(http::HeaderName::as_str).collect();
            let most = route.max_variants;
            lines.add(
                "variant",
                format!("Vary: {}   ({} of {most} stored)", fields.join(", "), node.variants.len()),
            );
        }
        let Some((stored, place)) = &found.stored else {
            lines.add("stored", "nothing".into());
            return self.explain_missing(lines, &found.place, alone);
        };
        let now = self.now_ms();
        lines.add("stored", stored_line(&stored.record, stored, place));
        lines.add("freshness", freshness_line(&stored.record, now));
        let covered = stored.covered(&self.stamps);
        lines.add("purge", self.purge_text(&found.place, stored, covered).await);
        let reuse = policy::reuse(&ask, &stored.record, &stored.terms, &route.rules, now);
        self.explain_stored(lines, &found.place, stored, covered, reuse, alone)
    }

    fn explain_stored(
        &self,
        mut lines: Lines,
        place: &Place,
        stored: &Stored,
        covered: Covered,
        reuse: Reuse,
        alone: Option<policy::PassReason>,
    ) -> Explanation {
        let now = self.now_ms();
        let age = policy::current_age(&stored.record, now) / 1000;
        let lifetime = stored.record.fresh_ms / 1000;
        match (covered, reuse) {
            (Covered::Hard, _) => {
                lines.add("because", "a purge came after its bytes were asked for".into());
                self.explain_missing(lines, place, alone)
            }
            (_, Reuse::Refused(reason)) => {
                lines.add("answer", "from upstream, for this request alone".into());
                let why = format!("stored, but not for this request: {} (RFC 9111 §3.5)", reason.as_str());
                lines.add("because", why);
                lines.done(Outcome::Pass)
            }
            (Covered::No, Reuse::Fresh { ttl_ms, .. }) => {
                let status = said(&status::hit(ttl_ms), &self.settings.name);
                let from = if stored.body.is_some() { "memory, no network" } else { "the body store" };
                lines.add("answer", format!("hit from {from}:  Cache-Status: {status}   Age: {age}"));
                lines.add("because", format!("fresh: age {age} < lifetime {lifetime} (RFC 9111 §4.2)"));
                lines.done(Outcome::Hit)
            }
            (Covered::No, Reuse::StaleWhileRevalidate { ttl_ms, .. }) => {
                let status = said(&status::stale(ttl_ms, "stale-while-revalidate"), &self.settings.name);
                lines
                    .add("answer", format!("hit, refreshed behind it:  Cache-Status: {status}   Age: {age}"));
                lines.add(
                    "because",
                    format!(
                        "stale: age {age}, lifetime {lifetime}; within stale-while-revalidate (RFC 5861 §3)"
                    ),
                );
                lines.done(Outcome::Hit)
            }
            (_, _) => {
                let how = match policy::validators(&stored.record) {
                    Some(_) => "validated with upstream",
                    None => "fetched anew",
                };
                lines.add("answer", format!("{how}, for everybody"));
                let why = if covered == Covered::Soft {
                    "stale by a soft purge".to_owned()
                } else {
                    format!("stale: age {age}, lifetime {lifetime} (RFC 9111 §4.2)")
                };
                lines.add("because", why);
                lines.done(if alone.is_some() { Outcome::Pass } else { Outcome::Miss })
            }
        }
    }

    fn explain_missing(
        &self,
        mut lines: Lines,
        place: &Place,
        alone: Option<policy::PassReason>,
    ) -> Explanation {
        if let Some(reason) = alone {
            lines.add("answer", "from upstream, for this request alone".into());
            lines.add("because", format!("it neither leads nor follows: {}", reason.as_str()));
            return lines.done(Outcome::Pass);
        }
        match self.notes.peek(place.key.hash(), place.url, &self.stamps) {
            Noted::Pass(reason) => {
                lines.add("answer", "from upstream, for this request alone".into());
                lines.add("because", format!("remembered as not shareable: {}", reason.as_str()));
                lines.done(Outcome::Pass)
            }
            Noted::Failed(failure) => {
                lines.add("answer", format!("{} at once", failure.status));
                lines.add("because", "upstream failed a moment ago".into());
                lines.done(Outcome::Miss)
            }
            Noted::Nothing => {
                lines.add("answer", "fetched from upstream, once for everybody".into());
                lines.add("because", "nothing usable is stored".into());
                lines.done(Outcome::Miss)
            }
        }
    }

    /// Memory, then the store.
    async fn find_all(&self, text: &str, route: &Route, headers: &HeaderMap) -> Found {
        let primary = Place::new(text, text, None);
        let mut held = self.tier.find(text);
        if held.is_none() {
            held = self.read_held(&primary, route).await;
        }
        let (place, node) = match held {
            Some(Held::Vary(node)) => {
                let place = primary.under(node.clone(), headers);
                held = self.tier.find(place.key.text());
                if held.is_none() {
                    held = self.read_held(&place, route).await;
                }
                (place, Some(node))
            }
            _ => (primary, None),
        };
        let stored = match held {
            Some(Held::Stored(stored)) if stored.body.is_some() => Some((stored, "in memory here")),
            Some(Held::Stored(stored)) => Some((stored, "in the body store")),
            Some(Held::Vary(_)) | None => None,
        };
        Found { node, stored, place }
    }

    async fn read_held(&self, place: &Place, route: &Route) -> Option<Held> {
        let entry = self.dust.entry(&self.names(&place.key).value).await.ok()??;
        match codec::decode(entry.text()?).ok()? {
            Pointer::Vary(node) if node.key == place.key.text() => Some(Held::Vary(Arc::new(node))),
            Pointer::Record(record) if record.key == place.key.text() => {
                Some(Held::Stored(Arc::new(Stored::new(*record, &route.rules, None))))
            }
            Pointer::Vary(_) | Pointer::Record(_) => None,
        }
    }

    fn route_line(&self, route: &Route, target: &target::Target, method: &Method) -> String {
        let also: Vec<String> = self
            .routes
            .all(target, method)
            .into_iter()
            .filter(|other| other.index != route.index)
            .map(|other| other.name.to_string())
            .collect();
        let also =
            if also.is_empty() { String::new() } else { format!("   (also matched: {})", also.join(", ")) };
        format!("{:<12} {}{also}", route.name, describe(route))
    }

    async fn purge_text(&self, place: &Place, stored: &Stored, covered: Covered) -> String {
        let stamp = match covered {
            Covered::No => format!("no stamp above {} (born)", stored.record.born),
            Covered::Soft => format!("a soft stamp above {} (validated)", stored.record.token),
            Covered::Hard => format!("a hard stamp above {} (born)", stored.record.born),
        };
        let note = match self.notes.peek(place.key.hash(), place.url, &self.stamps) {
            Noted::Nothing => "pass not remembered",
            Noted::Pass(_) => "pass remembered",
            Noted::Failed(_) => "failure remembered",
        };
        let lock = self.dust.entry(&self.names(&place.key).lock).await.ok().flatten();
        let lease = match lock.map(|entry| (entry.value, entry.number)) {
            Some((Value::Lease { .. }, token)) => format!("lease held, token {token}"),
            _ => "lease free".to_owned(),
        };
        format!("{stamp} · {note} · {lease}")
    }
}

#[derive(Debug, Default)]
struct Lines(Vec<(&'static str, String)>);

impl Lines {
    fn add(&mut self, name: &'static str, text: String) {
        self.0.push((name, text));
    }

    fn done(self, outcome: Outcome) -> Explanation {
        Explanation { outcome, lines: self.0 }
    }

    fn refused(mut self, refusal: Refusal) -> Explanation {
        self.add("answer", format!("{} {}", refusal.status().as_u16(), refusal.as_str()));
        self.add("because", refusal.to_string());
        self.done(Outcome::NoRoute)
    }

    fn no_route(mut self, none: NoRoute) -> Explanation {
        let (status, why) = match none {
            NoRoute::NoHost => (421, "no route has this host"),
            NoRoute::NoPath => (404, "no route of this host has this path"),
        };
        self.add("answer", format!("{status}"));
        self.add("because", why.into());
        self.done(Outcome::NoRoute)
    }
}

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

/// What a route matches, in a line.
pub fn describe(route: &Route) -> String {
    let list = |items: Vec<String>| items.join(", ");
    let hosts = route.hosts.iter().map(ToString::to_string).collect::<Vec<_>>();
    let hosts = if hosts.is_empty() { "any host".to_owned() } else { format!("host {}", list(hosts)) };
    let paths = list(route.paths.iter().map(ToString::to_string).collect());
    let methods = route
        .methods
        .as_ref()
        .map(|methods| format!(", methods {}", list(methods.iter().map(ToString::to_string).collect())));
    format!("{hosts}, path {paths}{}", methods.unwrap_or_default())
}

fn said(status: &policy::CacheStatus<'_>, name: &str) -> String {
    String::from_utf8_lossy(status.value(name).as_bytes()).into_owned()
}

fn key_line(text: &str, route: &Route, query: Option<&str>) -> String {
    let mut lines = text.lines();
    let mut line = lines.next().unwrap_or_default().to_owned();
    for field in lines {
        let shown = if field.contains(':') || field.starts_with('@') {
            field.to_owned()
        } else {
            format!("{field}: (absent)")
        };
        let _ = write!(line, "   + {shown}");
    }
    for name in query.into_iter().flat_map(|query| route.query.dropped(query)) {
        let _ = write!(line, "   - {name} (query)");
    }
    line
}

fn request_line(ask: &policy::Ask, alone: Option<policy::PassReason>) -> String {
    let yes = |yes: bool| if yes { "yes" } else { "no" };
    let may = yes(alone.is_none());
    let lead = yes(alone.is_none() && !ask.head);
    format!("may use the store yes · may follow {may} · may lead {lead}")
}

fn stored_line(record: &Record, stored: &Stored, place: &str) -> String {
    let etag = record.headers.get(http::header::ETAG).and_then(|etag| etag.to_str().ok());
    let etag = etag.map(|etag| format!(", ETag {etag}")).unwrap_or_default();
    let segments = stored.manifest.segments.len();
    let plural = if segments == 1 { "" } else { "s" };
    format!("{}, {} B in {segments} segment{plural}{etag}, {place}", record.status.as_u16(), stored.len())
}

fn freshness_line(record: &Record, now: u64) -> String {
    let by = match record.by {
        LifetimeBy::Origin => "the origin's words (RFC 9111 §4.2.1)",
        LifetimeBy::Heuristic => "a heuristic (RFC 9111 §4.2.2)",
        LifetimeBy::Route => "the route's settings",
    };
    let age = policy::current_age(record, now) / 1000;
    let fresh = record.fresh_ms / 1000;
    let left = fresh.saturating_sub(age);
    let mut line = format!("{fresh} s by {by}, age {age} s → {left} s left");
    if record.swr_ms > 0 {
        let _ = write!(line, ", then stale-while-revalidate {} s", record.swr_ms / 1000);
    }
    if record.sie_ms > 0 {
        let _ = write!(line, ", stale-if-error {} s", record.sie_ms / 1000);
    }
    let _ = write!(line, "; kept for {} s more", record.end().saturating_sub(now) / 1000);
    line
}
