//! From `[[routes]]` to a table of routes.

use std::sync::Arc;
use std::time::Duration;

use super::check::{origin, with_scheme};
use super::problem::{Path, Problems, did_you_mean, path};
use super::{Route, Settings};
use crate::policy::RouteId;
use crate::policy::settings::Written;
use crate::route::{self, Table};
use crate::secret::SecretUrl;
use crate::units::{Dur, has_web_scheme};
use crate::upstream::{self, HostRule};

/// Reads one route, and collects its problems and warnings.
struct Reader<'a, 'p> {
    at: [String; 2],
    written: &'a Route,
    problems: &'a mut Problems<'p>,
    warnings: &'a mut Problems<'p>,
}

/// The table of all routes that are right. The others are reported.
pub(super) fn table<'p>(
    settings: &Settings,
    problems: &mut Problems<'p>,
    warnings: &mut Problems<'p>,
) -> Table {
    let mut routes = Vec::new();
    let mut places = Vec::new();
    for (index, written) in settings.routes.iter().enumerate() {
        let name = &written.route.name;
        let at = ["routes".to_owned(), index.to_string()];
        let twin = settings.routes[..index].iter().any(|other| other.route.name == *name && !name.is_empty());
        if twin {
            problems.add(&[&at[..], &["name".to_owned()]].concat(), "another route has this name");
        }
        let alike = |other: &str| other != name && RouteId::of(other) == RouteId::of(name);
        if let Some(other) = settings.routes[..index].iter().find(|other| alike(&other.route.name)) {
            // A purge of one would be one of both. It is one pair of names in four thousand million.
            let text =
                format!("its hash is that of route {:?}: give one of them another name", other.route.name);
            problems.add(&[&at[..], &["name".to_owned()]].concat(), text);
        }
        let before = problems.count();
        let read = Reader { at: at.clone(), written, problems, warnings }.read(settings);
        // A route with another problem could be in conflict only because of that.
        if problems.count() == before && !problems.within(&at) {
            routes.push(read);
            places.push(at);
        }
    }
    let names: Vec<_> = routes.iter().map(|route| Arc::clone(&route.name)).collect();
    let table = Table::new(routes).unwrap_or_else(|conflicts| {
        for (second, place) in places.iter().enumerate() {
            let met: Vec<_> = conflicts
                .iter()
                .filter(|conflict| conflict.second == second)
                .map(|conflict| format!("{conflict} with route {:?}", names[conflict.first]))
                .collect();
            if !met.is_empty() {
                problems.add(place, format!("{}: one of them must be more specific", met.join(", ")));
            }
        }
        Table::default()
    });
    let unreachable = table.unreachable();
    let place = |of: &str| names.iter().position(|name| **name == *of).map(|at| places[at].clone());
    for gone in &unreachable {
        if let Some(at) = place(&gone.name) {
            warnings.add(&at, format!("can never match: {}", gone.why));
        }
    }
    for route in table.in_order().iter().filter(|route| route.stores_nothing()) {
        let never = unreachable.iter().any(|gone| gone.name == route.name);
        if let Some(at) = place(&route.name).filter(|_| !never) {
            let reason = "without GET and HEAD nothing is stored, nor answered from what is stored; cache = \
                          false says so";
            warnings.add(&below(&at, "methods"), reason);
        }
    }
    table
}

/// How long a request waits for a verdict of this upstream, if `wait_timeout` is not set.
pub(super) fn default_wait(upstream: &upstream::Settings) -> Duration {
    let limits = [upstream.connect_timeout, upstream.first_byte_timeout];
    if limits.iter().any(Duration::is_zero) {
        // The fetch has no timeout, so the wait needs one.
        return Duration::from_secs(35);
    }
    limits.iter().sum::<Duration>() + Duration::from_secs(5)
}

// === impl Reader ===

impl Reader<'_, '_> {
    fn read(mut self, settings: &Settings) -> route::Route {
        let upstream = self.upstream(settings);
        let wait_timeout = self.wait_timeout(settings, &upstream);
        let places = self.problems.places();
        let set = Written {
            if_error: places.has(&self.path("grace.if_error")),
            keep: places.has(&self.path("keep")),
        };
        let Self { at, written, problems, warnings } = self;
        let wrong = &mut |key: &str, reason| problems.add(&below(&at, key), reason);
        let warn = &mut |key: &str, reason| warnings.add(&below(&at, key), reason);
        let rules = written.policy.rules(set, wrong);
        let mut route = written.route.route(rules, wait_timeout, wrong, warn);
        if route.rules.ignore.private || route.rules.ignore.no_store {
            let reason =
                "what the origin says is for one client only is shared with all who ask for the same URL";
            warn("ignore", reason.to_owned());
        }
        route.tells_host = upstream.host == HostRule::Client;
        route
    }

    /// The upstream's settings, for defaults that depend on them.
    fn upstream(&mut self, settings: &Settings) -> upstream::Settings {
        let name = self.written.route.upstream.as_str();
        if let Some(upstream) = settings.upstreams.get(name) {
            return upstream.clone();
        }
        if name.is_empty() {
            self.problem("upstream", "is required: an upstream's name or a URL");
        } else if name.contains("://") || has_web_scheme(name) {
            // The URL is the upstream's name in logs and metrics.
            if let Err(reason) = origin(&SecretUrl::here(name)) {
                self.problem("upstream", reason);
            }
        } else {
            let known = settings.upstreams.keys().map(String::as_str);
            self.problem(
                "upstream",
                match (did_you_mean(name, known), with_scheme(name)) {
                    // No upstream has such a name.
                    (_, Some(url)) if name.contains([':', '/']) => {
                        format!("a scheme is missing: write {url:?}")
                    }
                    (Some(near), _) => format!("no such upstream; did you mean {near:?}?"),
                    (None, Some(url)) if name.contains('.') || name == "localhost" => {
                        format!("no such upstream, and a URL has a scheme: write {url:?}")
                    }
                    (None, _) => {
                        format!("no such upstream; [upstreams.{name}] would set it, or write a URL")
                    }
                },
            );
        }
        upstream::Settings::new(name)
    }

    fn wait_timeout(&mut self, settings: &Settings, upstream: &upstream::Settings) -> Duration {
        let default = default_wait(upstream);
        let (at, set) = match (self.written.route.wait_timeout, settings.dust.routes.wait_timeout) {
            (Some(own), _) => (self.path("wait_timeout"), own),
            (None, Some(all)) => (path("dust.wait_timeout"), all),
            (None, None) => return default,
        };
        let Some(wait) = set.on() else {
            self.problem("wait_timeout", "cannot be off: there must be an end to it");
            return default;
        };
        if wait < default {
            self.warnings.add(
                &at,
                format!(
                    "smaller than connect_timeout, first_byte_timeout and 5s together ({}) for route {:?}: \
                     who waits for a slow fetch is answered 503 before it can end",
                    Dur(default),
                    self.written.route.name
                ),
            );
        }
        wait
    }

    fn problem(&mut self, key: &str, reason: impl Into<String>) {
        let path = self.path(key);
        self.problems.add(&path, reason);
    }

    fn path(&self, key: &str) -> Path {
        below(&self.at, key)
    }
}

/// The path of a setting of the route.
fn below(route: &[String], key: &str) -> Path {
    route.iter().cloned().chain(key.split('.').map(str::to_owned)).collect()
}
