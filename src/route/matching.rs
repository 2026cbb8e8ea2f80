//! Finds the route of a request: canonical hosts and paths are compared byte by byte.
//!
//! Of the routes that match, an exact host beats the longest `*.`, which beats none; then an
//! exact path beats the longest prefix; then a route with methods beats one without. The order
//! in the file plays no part, and two that are equal in all three are refused.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::fmt::{self, Display};
use std::sync::Arc;

use http::Method;

use super::Route;
use super::pattern::{HostPattern, PathPattern};
use crate::key::target::Target;

/// All routes, laid out so that finding one is a few look-ups however many there are.
#[derive(Debug, Default)]
pub struct Table {
    routes: Vec<Arc<Route>>,
    exact: HashMap<Box<str>, Ports>,
    /// By the name behind the `*.`
    below: HashMap<Box<str>, Ports>,
    /// Routes without a host.
    any: Paths,
    /// The methods of purges, of all routes.
    purges: Vec<Method>,
}

/// Why a request has no route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoRoute {
    /// No route has the request's host: 421.
    NoHost,
    /// A host matches, and no path (or method): 404.
    NoPath,
}

/// Two routes between which a request could not choose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// The one that came first in what the table was made of.
    pub first: usize,
    /// The other.
    pub second: usize,
    /// Where they meet: host (empty: none), path, and methods if both name some.
    pub place: String,
}

/// A route that no request can reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreachable {
    /// Its name.
    pub name: Arc<str>,
    /// Why.
    pub why: &'static str,
}

/// Routes of one host, by port.
#[derive(Debug, Default)]
struct Ports {
    named: Vec<(u16, Paths)>,
    any: Paths,
}

/// Routes of one host and port, by path. In each list, all routes but the last must name methods.
#[derive(Debug, Default)]
struct Paths {
    exact: HashMap<Box<str>, Vec<Arc<Route>>>,
    /// By a path that ends with a slash.
    below: HashMap<Box<str>, Vec<Arc<Route>>>,
    /// The length of the longest of those.
    longest: usize,
    used: bool,
}

// === impl Table ===

impl Table {
    /// Makes the table, or returns every pair of routes between which a request could not choose.
    pub fn new(routes: Vec<Route>) -> Result<Self, Vec<Conflict>> {
        let conflicts = conflicts(&routes);
        if !conflicts.is_empty() {
            return Err(conflicts);
        }
        let mut routes = routes;
        routes.sort_by_cached_key(order);
        let mut table = Self::default();
        for (index, mut route) in routes.into_iter().enumerate() {
            route.index = index;
            let route = Arc::new(route);
            let purges = route.purge.iter().flat_map(|purge| &purge.methods);
            table.purges.extend(purges.cloned());
            for path in &route.paths {
                if route.hosts.is_empty() {
                    table.any.add(path, &route);
                }
                for host in &route.hosts {
                    let hosts = if host.below { &mut table.below } else { &mut table.exact };
                    hosts.entry(host.name.as_str().into()).or_default().port(host.port).add(path, &route);
                }
            }
            table.routes.push(route);
        }
        Ok(table)
    }

    /// The route of a target.
    pub fn route(&self, target: &Target, method: &Method) -> Result<&Arc<Route>, NoRoute> {
        self.find(target.host(), Some(target.effective_port()), target.path(), method)
    }

    /// Returns whether a method is that of purges, on any route.
    pub fn purges_by(&self, method: &Method) -> bool {
        !self.purges.is_empty() && self.purges.contains(method)
    }

    /// The route of a host, the request's port (the scheme's default if none is written), a canonical path
    /// and a method. Without a port only routes that name none are found.
    pub fn find(
        &self,
        host: &str,
        port: Option<u16>,
        path: &str,
        method: &Method,
    ) -> Result<&Arc<Route>, NoRoute> {
        let mut miss = NoRoute::NoHost;
        for paths in self.hosts(host, port).filter(|paths| paths.used) {
            if let Some(route) = paths.find(path, method) {
                return Ok(route);
            }
            miss = NoRoute::NoPath;
        }
        Err(miss)
    }

    /// The routes of a host, the most specific host first.
    fn hosts<'a>(&'a self, host: &str, port: Option<u16>) -> impl Iterator<Item = &'a Paths> {
        // From the left the longest name behind a dot comes first; `*` stands for one label or more.
        let dots = if self.below.is_empty() { "" } else { host };
        let below = dots.match_indices('.').filter_map(|(dot, _)| self.below.get(&host[dot + 1..]));
        self.exact
            .get(host)
            .into_iter()
            .chain(below)
            .flat_map(move |ports| ports.asked(port))
            .chain([&self.any])
    }

    /// All routes, the most specific first: each is ordered by its most specific host and path.
    pub fn in_order(&self) -> &[Arc<Route>] {
        &self.routes
    }

    /// Every route that a target matches, the one that answers first.
    pub fn all(&self, target: &Target, method: &Method) -> Vec<&Arc<Route>> {
        let mut found: Vec<_> = self
            .routes
            .iter()
            .filter_map(|route| {
                let (host, path) = route.matched_by(target, method)?;
                Some((
                    (host.is_none(), host.map(HostPattern::rank), path.rank(), route.methods.is_none()),
                    route,
                ))
            })
            .collect();
        found.sort_by_key(|(rank, _)| *rank);
        found.into_iter().map(|(_, route)| route).collect()
    }

    /// The routes that no request can reach.
    pub fn unreachable(&self) -> Vec<Unreachable> {
        let why = |route: &Route| {
            if route.paths.is_empty() {
                return Some("it has no path");
            }
            let methods = route.methods.as_ref()?;
            let refused = |method: &Method| matches!(method.as_str(), "CONNECT" | "TRACE" | "PURGE" | "BAN");
            if methods.is_empty() {
                Some("its list of methods is empty")
            } else if methods.iter().all(refused) {
                Some("its methods are refused before routes are asked")
            } else {
                None
            }
        };
        let found = self.routes.iter().filter_map(|route| Some((route, why(route)?)));
        found.map(|(route, why)| Unreachable { name: Arc::clone(&route.name), why }).collect()
    }
}

type Order =
    (bool, Option<(bool, Reverse<usize>, bool)>, String, (bool, Reverse<usize>), String, bool, Arc<str>);

/// The sort key of a route: its most specific host and path. Names break ties, so that the order is total.
fn order(route: &Route) -> Order {
    let host = route.hosts.iter().min_by_key(|host| (host.rank(), host.to_string()));
    let path = route.paths.iter().min_by_key(|path| (path.rank(), path.text.clone()));
    (
        host.is_none(),
        host.map(HostPattern::rank),
        host.map(ToString::to_string).unwrap_or_default(),
        path.map_or((true, Reverse(0)), PathPattern::rank),
        path.map(ToString::to_string).unwrap_or_default(),
        route.methods.is_none(),
        Arc::clone(&route.name),
    )
}

fn conflicts(routes: &[Route]) -> Vec<Conflict> {
    let mut seen: HashMap<(Option<&HostPattern>, &PathPattern), Vec<usize>> = HashMap::new();
    let mut conflicts: Vec<Conflict> = Vec::new();
    for (second, route) in routes.iter().enumerate() {
        let hosts = route.hosts.iter().map(Some).chain(route.hosts.is_empty().then_some(None));
        for host in hosts {
            for path in &route.paths {
                let there = seen.entry((host, path)).or_default();
                for &first in there.iter().filter(|&&first| first != second) {
                    let Some(methods) = meet(&routes[first], route) else { continue };
                    if conflicts.iter().any(|known| (known.first, known.second) == (first, second)) {
                        continue;
                    }
                    let host = host.map(ToString::to_string).unwrap_or_default();
                    conflicts.push(Conflict { first, second, place: format!("{host}{path}{methods}") });
                }
                there.push(second);
            }
        }
    }
    conflicts
}

/// The method that two routes of one host and path would both answer, empty if they answer all. `None` if
/// there is none, or one of the two is more specific.
fn meet(one: &Route, other: &Route) -> Option<String> {
    match (&one.methods, &other.methods) {
        (None, None) => Some(String::new()),
        (Some(one), Some(other)) => {
            one.iter().find(|method| other.contains(method)).map(|method| format!(" {method}"))
        }
        _ => None,
    }
}

// === impl Ports, Paths ===

impl Ports {
    fn port(&mut self, port: Option<u16>) -> &mut Paths {
        let Some(port) = port else { return &mut self.any };
        let at = self.named.iter().position(|(named, _)| *named == port).unwrap_or_else(|| {
            self.named.push((port, Paths::default()));
            self.named.len() - 1
        });
        &mut self.named[at].1
    }

    fn asked(&self, port: Option<u16>) -> impl Iterator<Item = &Paths> {
        let named = self.named.iter().find(move |(named, _)| Some(*named) == port);
        named.map(|(_, paths)| paths).into_iter().chain([&self.any])
    }
}

impl Paths {
    fn add(&mut self, path: &PathPattern, route: &Arc<Route>) {
        self.used = true;
        let paths = if path.below { &mut self.below } else { &mut self.exact };
        let list = paths.entry(path.text.as_str().into()).or_default();
        // Those with methods come before the one without.
        let at = if route.methods.is_some() { 0 } else { list.len() };
        if !list.iter().any(|there| Arc::ptr_eq(there, route)) {
            list.insert(at, Arc::clone(route));
        }
        if path.below {
            self.longest = self.longest.max(path.text.len());
        }
    }

    fn find(&self, path: &str, method: &Method) -> Option<&Arc<Route>> {
        if let Some(route) = self.exact.get(path).and_then(|list| answering(list, method)) {
            return Some(route);
        }
        // Tries every slash from the right, from where the longest prefix could end.
        let bytes = path.as_bytes();
        let mut end = bytes.len().min(self.longest);
        while let Some(slash) = bytes[..end].iter().rposition(|&byte| byte == b'/') {
            if let Some(route) = self.below.get(&path[..=slash]).and_then(|list| answering(list, method)) {
                return Some(route);
            }
            end = slash;
        }
        None
    }
}

fn answering<'a>(list: &'a [Arc<Route>], method: &Method) -> Option<&'a Arc<Route>> {
    list.iter().find(|route| route.methods.as_ref().is_none_or(|methods| methods.contains(method)))
}

// === impl NoRoute, Conflict ===

impl NoRoute {
    /// Its word in answers and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoHost => "no_host",
            Self::NoPath => "no_path",
        }
    }
}

impl Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "equal in host, path and methods at {}", self.place)
    }
}
