//! From a request to its route: the upstream that it goes to, and the settings that it gets.
//!
//! [`Table`] finds the [`Route`] of a request; a route makes the key of the response ([`Route::key_into`])
//! and says what is sent upstream ([`Route::upstream_target`], [`Edits`]).

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use serde::{Deserialize, Serialize};

use crate::key::SPELLED;
use crate::key::target::Target;
use crate::policy::{ForwardedFields, Rules};
use crate::units::{Net, Rate};

mod cookies;
mod edits;
mod keyed;
mod matching;
mod pattern;
mod query;
pub mod settings;
#[cfg(test)]
mod tests;

pub use cookies::{ANALYTICS, CookiePattern, IgnoredCookies};
pub use edits::{EditError, Edits};
pub use keyed::KeyedField;
pub use matching::{Conflict, NoRoute, Table, Unreachable};
pub use pattern::{BadPattern, HostPattern, PathPattern};
pub use query::{NamePattern, QueryRule, Which};
pub use settings::Settings;

/// One `[[routes]]` entry, ready for use.
#[derive(Debug, Clone)]
pub struct Route {
    /// Its name in logs, labels and commands.
    pub name: Arc<str>,
    /// Its place in [`Table::in_order`], set by the table.
    pub index: usize,
    /// The hosts that it answers for; empty: all.
    pub hosts: Vec<HostPattern>,
    /// The paths that it answers for.
    pub paths: Vec<PathPattern>,
    /// The methods that it answers for; `None`: all.
    pub methods: Option<Vec<Method>>,
    /// The name of an upstream, or a URL.
    pub upstream: Arc<str>,
    /// Whether anything is stored or shared; else requests only pass.
    pub cache: bool,
    /// Whether requests for one key wait for one fetch.
    pub coalesce: bool,
    /// What the route says about storing and reusing.
    pub rules: Rules,
    /// Which query parameters are in the key.
    pub query: QueryRule,
    /// Which request fields are in the key.
    pub vary_on: Vec<KeyedField>,
    /// Which cookies are taken out of a request before anything judges it.
    pub ignore_cookies: IgnoredCookies,
    /// Part of every key, so that changing it drops the route's records.
    pub version: Option<String>,
    /// Removed from the front of a path on its way upstream; without a slash at its end.
    pub strip_prefix: Option<String>,
    /// The origin gets the client's Host (`host = "client"`), so its port is in the key.
    pub tells_host: bool,
    /// What is set and removed on the way upstream.
    pub request_headers: Edits,
    /// What is set and removed on the way to the client. Never stored.
    pub response_headers: Edits,
    /// Which fields of a request a fill carries.
    pub forward: Forward,
    /// Which upstream requests tell the client's address.
    pub client_ip: ClientIp,
    /// Which URLs of the origin clients get.
    pub location: Location,
    /// By which fields the origin is told what the client asked for.
    pub forwarded: ForwardedFields,
    /// Whether responses carry `Cache-Status`.
    pub cache_status: bool,
    /// How long a request waits for a verdict.
    pub wait_timeout: Duration,
    /// How many variants of a key are kept.
    pub max_variants: usize,
    /// Whether a fill goes on when no request wants it any more (F4).
    pub finish: Finish,
    /// Protocols that a connection may be upgraded to, lower case.
    pub upgrade: Vec<String>,
    /// Which requests to the data port are purges.
    pub purge: Option<PortPurges>,
}

/// Which requests to the data port are purges of what a route takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortPurges {
    /// Their methods.
    pub methods: Vec<Method>,
    /// The networks of the clients that may purge.
    pub from: Vec<Net>,
    /// Whether tags are purged on all hosts, and not only on the request's.
    pub all_hosts: bool,
    /// How many purges an instance takes.
    pub rate: Option<Rate>,
}

/// Which fields of a request a fill carries.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Forward<N = HeaderName> {
    /// Every end-to-end field.
    #[default]
    All,
    /// Host, the Accept fields, the route's `vary_on`, and what the route sets.
    Keyed,
    /// These.
    Only(Vec<N>),
}

/// Which upstream requests carry X-Forwarded-For. Fills do not by default, since a fill may be for many
/// clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientIp {
    /// Passes.
    #[default]
    Pass,
    /// Passes and fills; a fill tells the address of the client that leads it.
    Always,
    /// None.
    Never,
}

/// Which URLs clients get where the origin names its own address in Location, Content-Location and Refresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Location {
    /// Those by which this client reaches the origin.
    #[default]
    Map,
    /// The origin's own.
    Pass,
}

/// Whether a fill goes on when no request wants it any more (F4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    /// It goes on.
    #[default]
    Always,
    /// It ends, unless other requests read what it has published.
    WhileWanted,
}

// === impl Route ===

impl Route {
    /// A route of that name to that upstream, for every request, with every default.
    pub fn new(name: &str, upstream: &str) -> Self {
        let settings =
            Settings { name: name.to_owned(), upstream: upstream.to_owned(), ..Settings::default() };
        // The default timeouts of connect and first byte, and five seconds.
        let wait_timeout = Duration::from_secs(37);
        settings.route(Rules::default(), wait_timeout, &mut |_, _| {}, &mut |_, _| {})
    }

    /// Writes the canonical text of a request's key into `out`, in place of what is there. Nothing is
    /// allocated once that buffer is large enough.
    ///
    /// `scheme://host/path?query`, the query by the route's rule, the port only where a host of the route
    /// names it or the origin gets it; then a line per field of `vary_on`, one for `version`, and one for the
    /// path and query of a fill where these are spelled otherwise.
    pub fn key_into(&self, out: &mut String, target: &Target, headers: &HeaderMap) {
        out.clear();
        out.push_str(target.scheme.as_str());
        out.push_str("://");
        let port = self.port_in_key(target);
        if port.is_none() && self.query.keeps_all() {
            out.push_str(target.text());
        } else {
            out.push_str(target.host());
            if let Some(port) = port {
                push_port(out, port);
            }
            out.push_str(target.path());
            self.query.write(out, target.query());
        }
        for field in &self.vary_on {
            field.write(out, headers);
        }
        if let Some(version) = &self.version {
            out.push_str("\n@version ");
            out.push_str(version);
        }
        if target.is_spelled_otherwise() {
            self.write_spelling(out, target);
        }
    }

    /// Writes the key's line for a target that is not spelled in its canonical form. It makes a key of its
    /// own, since an origin may tell spellings apart. Purges name the first line, so they reach it.
    fn write_spelling(&self, out: &mut String, target: &Target) {
        let line = out.len();
        out.push_str(SPELLED);
        let spelled = out.len();
        out.push_str(target.sent_path(0));
        self.query.write_as(out, target.query(), target.sent_query());
        let mut plain = target.path().to_owned();
        self.query.write(&mut plain, target.query());
        // Only what the key leaves out was spelled otherwise.
        if out[spelled..] == plain {
            out.truncate(line);
        }
    }

    /// The path and query that go upstream, as the client wrote them: a fill's query has the parameters
    /// of the key, a pass all of the client's own.
    pub fn upstream_target(&self, target: &Target, for_fill: bool) -> String {
        let mut out = String::with_capacity(target.path_and_query().len() + 1);
        let stripped = self.prefix_len(target.path());
        let path = target.sent_path(stripped);
        out.push_str(if path.is_empty() { "/" } else { path });
        if for_fill {
            self.query.write_as(&mut out, target.query(), target.sent_query());
        } else if let Some(query) = target.sent_query() {
            out.push('?');
            out.push_str(query);
        }
        out
    }

    /// Returns whether it certainly stores nothing, although it is to cache: no method that it takes is ever
    /// answered from what is stored.
    pub fn stores_nothing(&self) -> bool {
        let looked_up =
            |methods: &Vec<Method>| methods.iter().any(|m| matches!(*m, Method::GET | Method::HEAD));
        self.cache && self.methods.as_ref().is_some_and(|methods| !looked_up(methods))
    }

    /// The client's path for an upstream's `path`: what `strip_prefix` removed is put back.
    pub fn client_path(&self, path: &str) -> String {
        format!("{}{path}", self.strip_prefix.as_deref().unwrap_or_default())
    }

    /// Returns whether the key has a line for that request field; for Cookie also if it has one for some
    /// cookie.
    pub fn covers(&self, field: &HeaderName) -> bool {
        self.vary_on.iter().any(|keyed| keyed.field() == field)
    }

    /// If single cookies are in the key, removes all others from a request: a fill carries no cookie that its
    /// key leaves out, as it carries no such parameter.
    pub fn keep_keyed_cookies(&self, headers: &mut HeaderMap) {
        let whole = |keyed: &KeyedField| matches!(keyed, KeyedField::Header(name) if *name == header::COOKIE);
        if !self.covers(&header::COOKIE) || self.vary_on.iter().any(whole) {
            return;
        }
        let mut kept = Vec::new();
        for pair in headers.get_all(header::COOKIE).iter().flat_map(|line| keyed::pairs(line.as_bytes())) {
            if self.vary_on.iter().any(|keyed| keyed.is_cookie(pair)) {
                kept.push(pair.to_vec());
            }
        }
        headers.remove(header::COOKIE);
        if !kept.is_empty()
            && let Ok(line) = HeaderValue::from_bytes(&kept.join(&b"; "[..]))
        {
            headers.insert(header::COOKIE, line);
        }
    }

    /// The request fields that are in the key, each once, for the `Vary` of responses to clients.
    pub fn vary_fields(&self) -> impl Iterator<Item = &HeaderName> {
        self.vary_on.iter().enumerate().filter_map(|(at, keyed)| {
            let field = keyed.field();
            let before = self.vary_on[..at].iter().any(|earlier| earlier.field() == field);
            (!before).then_some(field)
        })
    }

    /// Returns whether a fill carries that end-to-end field of the request, as far as the route decides it.
    pub fn forwards(&self, field: &HeaderName) -> bool {
        match &self.forward {
            Forward::All => true,
            Forward::Keyed => {
                *field == header::HOST || field.as_str().starts_with("accept") || self.covers(field)
            }
            Forward::Only(fields) => fields.contains(field) || self.covers(field),
        }
    }

    /// The patterns by which a request matches the route, whatever better routes there are: the best host
    /// (`None`: the route names none) and the best path. `None` if it does not match.
    pub fn matched_by(
        &self,
        target: &Target,
        method: &Method,
    ) -> Option<(Option<&HostPattern>, &PathPattern)> {
        if self.methods.as_ref().is_some_and(|methods| !methods.contains(method)) {
            return None;
        }
        let host = if self.hosts.is_empty() {
            None
        } else {
            let port = Some(target.effective_port());
            let hosts = self.hosts.iter().filter(|host| host.matches(target.host(), port));
            Some(hosts.min_by_key(|host| host.rank())?)
        };
        let paths = self.paths.iter().filter(|path| path.matches(target.path()));
        Some((host, paths.min_by_key(|path| path.rank())?))
    }

    /// The port with which the key has the host, if it has one.
    pub fn port_in_key(&self, target: &Target) -> Option<u16> {
        let port = target.effective_port();
        let named = |host: &HostPattern| host.port == Some(port) && host.matches(target.host(), Some(port));
        if self.hosts.iter().any(named) { Some(port) } else { target.port.filter(|_| self.tells_host) }
    }

    /// Returns whether keys of this route may have that host with that port.
    pub fn may_have_in_key(&self, host: &str, port: u16) -> bool {
        let named = |pattern: &HostPattern| pattern.port == Some(port) && pattern.matches(host, Some(port));
        let takes = |pattern: &HostPattern| pattern.matches(host, Some(port));
        let tells = self.tells_host && (self.hosts.is_empty() || self.hosts.iter().any(takes));
        tells || self.hosts.iter().any(named)
    }

    /// The front of a request's path that `strip_prefix` removes.
    pub fn stripped_of<'a>(&self, target: &'a Target) -> &'a str {
        &target.path()[..self.prefix_len(target.path())]
    }

    /// How many bytes of a path `strip_prefix` removes.
    fn prefix_len(&self, path: &str) -> usize {
        let Some(prefix) = self.strip_prefix.as_deref() else { return 0 };
        match path.strip_prefix(prefix) {
            // Only at the edge of a segment: `/v1` is no prefix of `/v10`.
            Some(rest) if rest.is_empty() || rest.starts_with('/') => prefix.len(),
            _ => 0,
        }
    }
}

fn push_port(out: &mut String, port: u16) {
    use std::fmt::Write as _;
    // Writing into a String cannot fail.
    let _ = write!(out, ":{port}");
}

// === impl Forward, ClientIp, Finish ===

impl ClientIp {
    /// Its word in settings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Always => "always",
            Self::Never => "never",
        }
    }
}

impl Finish {
    /// Its word in settings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::WhileWanted => "while_wanted",
        }
    }
}
