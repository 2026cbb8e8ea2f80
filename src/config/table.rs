//! From `[[routes]]` to a table of routes.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, Method};

use super::check::origin;
use super::problem::{Problems, did_you_mean};
use super::read::one_of;
use super::secret::SecretUrl;
use super::upstream::{HostMode, Upstream};
use super::{Settings, route as written};
use crate::policy;
use crate::route::{
    ClientIp, Edits, Finish, Forward, HostPattern, KeyedField, NamePattern, PathPattern, QueryRule, Route,
    Table, Which,
};

const DIRECTIVES: [&str; 7] =
    ["max-age", "s-maxage", "expires", "no-cache", "must-revalidate", "private", "no-store"];

/// One route on its way, and who hears of what is wrong with it.
struct Reader<'a, 'p> {
    at: [String; 2],
    route: &'a written::Route,
    problems: &'a mut Problems<'p>,
}

/// The table, as far as the routes can be; what cannot be is named.
pub(super) fn table(settings: &Settings, problems: &mut Problems<'_>, warnings: &mut Problems<'_>) -> Table {
    let mut routes = Vec::new();
    let mut places = Vec::new();
    for (index, route) in settings.routes.iter().enumerate() {
        let at = ["routes".to_owned(), index.to_string()];
        let twin =
            settings.routes[..index].iter().any(|other| other.name == route.name && !route.name.is_empty());
        if twin {
            problems.add(&[&at[..], &["name".to_owned()]].concat(), "another route has this name");
        }
        let before = problems.count();
        let read = Reader { at: at.clone(), route, problems }.read(settings, warnings);
        // A route that is wrong elsewhere would be in conflict where it is not meant to be.
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
    for gone in table.unreachable() {
        if let Some(at) = names.iter().position(|name| *name == gone.name) {
            warnings.add(&places[at], format!("can never match: {}", gone.why));
        }
    }
    table
}

/// How long a request waits for a verdict from there, unless it is said.
pub(super) fn default_wait(upstream: &Upstream) -> Duration {
    match (upstream.connect_timeout.on(), upstream.first_byte_timeout.on()) {
        (Some(connect), Some(first_byte)) => connect + first_byte + Duration::from_secs(5),
        // No end is set to the fetch, so there must be one to the wait.
        _ => Duration::from_secs(35),
    }
}

// === impl Reader ===

impl Reader<'_, '_> {
    fn read(&mut self, settings: &Settings, warnings: &mut Problems<'_>) -> Route {
        let written = self.route;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if written.name.is_empty() {
            self.problem("name", "is required: logs, metrics and commands name the route by it");
        } else if !written.name.bytes().all(plain) {
            self.problem("name", "must be letters, digits, -, _ and dots");
        }
        let upstream = self.upstream(settings);
        let wait_timeout = self.wait_timeout(settings, &upstream, warnings);
        let mut route = Route::new(&written.name, &written.upstream);
        route.hosts = self.each("host", &written.host.0, HostPattern::parse);
        route.paths = self.each("path", &written.path.0, PathPattern::parse);
        for (at, text) in written.path.0.iter().enumerate() {
            if text.strip_suffix("/*").unwrap_or(text).contains('*') {
                let path = self.path(&format!("path.{at}"));
                warnings.add(&path, "a * counts only as the last segment; elsewhere it is a *");
            }
        }
        route.methods = written.methods.as_ref().map(|methods| {
            self.each("methods", &methods.0, |text| match text.parse::<Method>() {
                Ok(method) if text.bytes().any(|byte| byte.is_ascii_lowercase()) && is_known(text) => {
                    Err(format!(
                        "methods are case-sensitive; {:?} is meant",
                        method.as_str().to_ascii_uppercase()
                    ))
                }
                Ok(method) => Ok(method),
                Err(_) => Err("not a method".to_owned()),
            })
        });
        route.cache = written.cache;
        route.coalesce = written.coalesce;
        route.vary_on = self.each("vary_on", &written.vary_on.0, |text| {
            KeyedField::parse(text).ok_or("a field's name or \"cookie:NAME\" is meant")
        });
        route.query = self.query();
        route.version.clone_from(&written.version);
        if written.version.as_ref().is_some_and(|version| version.chars().any(char::is_control)) {
            self.problem("version", "cannot have control characters in it");
        }
        route.strip_prefix = self.strip_prefix();
        route.tells_host = upstream.host_mode() == HostMode::Client;
        route.request_headers = self.edits("request_headers", &written.request_headers);
        route.response_headers = self.edits("response_headers", &written.response_headers);
        route.forward = match &written.forward {
            written::Forward::All => Forward::All,
            written::Forward::Keyed => Forward::Keyed,
            written::Forward::Only(names) => Forward::Only(self.fields("forward", names)),
        };
        route.client_ip = match written.client_ip {
            written::ClientIp::Pass => ClientIp::Pass,
            written::ClientIp::Always => ClientIp::Always,
            written::ClientIp::Never => ClientIp::Never,
        };
        route.finish = match written.finish {
            written::Finish::Always => Finish::Always,
            written::Finish::WhileWanted => Finish::WhileWanted,
        };
        route.cache_status = written.cache_status;
        route.wait_timeout = wait_timeout;
        route.max_variants = written.max_variants;
        if written.max_variants == 0 {
            self.problem("max_variants", "must be more than 0");
        }
        route.upgrade = self.each("upgrade", &written.upgrade.0, |text| match text.to_ascii_lowercase() {
            word if word == "h2c" => Err("connections are never upgraded to h2c"),
            word if word.parse::<HeaderName>().is_err() => Err("a protocol is meant, such as \"websocket\""),
            word => Ok(word),
        });
        let secrets = self.secrets();
        for keyed in &mut route.vary_on {
            if let KeyedField::Header(name) = keyed
                && secrets.contains(&policy::dashed(name.as_str()).into_owned())
            {
                *keyed = KeyedField::Secret(name.clone());
            }
        }
        route.rules = policy::Rules { secrets, ..self.rules(&route, warnings) };
        let keyed = route.vary_on.iter().map(KeyedField::field);
        route.rules.keyed_secrets =
            keyed.filter(|name| route.rules.is_secret(name.as_str())).cloned().collect();
        self.not_yet(warnings);
        route
    }

    /// Settings that are read and have no effect in this version.
    fn not_yet(&self, warnings: &mut Problems<'_>) {
        if !self.route.upgrade.0.is_empty() {
            let reason = "not in this version: connections are not upgraded";
            warnings.add(&self.path("upgrade"), reason);
        }
    }

    /// The upstream's settings, for what depends on them.
    fn upstream(&mut self, settings: &Settings) -> Upstream {
        let name = self.route.upstream.as_str();
        if let Some(upstream) = settings.upstreams.get(name) {
            return upstream.clone();
        }
        if name.is_empty() {
            self.problem("upstream", "is required: an upstream's name or a URL");
        } else if name.contains("://") {
            // It names the upstream in logs and metrics.
            if name.contains('@') {
                self.problem("upstream", "a URL with a user in it belongs in [upstreams.NAME]");
            } else if let Err(reason) = origin(&SecretUrl::here(name)) {
                self.problem("upstream", reason);
            }
        } else {
            let known = settings.upstreams.keys().map(String::as_str);
            self.problem(
                "upstream",
                match did_you_mean(name, known) {
                    Some(near) => format!("no such upstream; did you mean {near:?}?"),
                    None => format!("no such upstream; [upstreams.{name}] would set it, or write a URL"),
                },
            );
        }
        Upstream::at(name)
    }

    fn wait_timeout(
        &mut self,
        settings: &Settings,
        upstream: &Upstream,
        warnings: &mut Problems<'_>,
    ) -> Duration {
        let default = default_wait(upstream);
        let (at, set) = match (self.route.wait_timeout, settings.dust.wait_timeout) {
            (Some(own), _) => (self.path("wait_timeout"), own),
            (None, Some(all)) => (super::problem::path("dust.wait_timeout"), all),
            (None, None) => return default,
        };
        let Some(wait) = set.on() else {
            self.problem("wait_timeout", "cannot be off: there must be an end to it");
            return default;
        };
        if wait < default {
            warnings.add(
                &at,
                format!(
                    "smaller than connect_timeout, first_byte_timeout and 5s together ({}) for route {:?}: \
                     who waits for a slow fetch is answered 503 before it can end",
                    super::units::Dur(default),
                    self.route.name
                ),
            );
        }
        wait
    }

    fn query(&mut self) -> QueryRule {
        let query = &self.route.query;
        let names =
            |list: &super::words::List<String>| list.0.iter().map(|name| NamePattern::new(name)).collect();
        let which = match (&query.include, &query.exclude) {
            (Some(_), Some(_)) => {
                self.problem("query", "include or exclude, not both");
                Which::All
            }
            (Some(include), None) => Which::Include(names(include)),
            (None, Some(exclude)) => Which::Exclude(names(exclude)),
            (None, None) => Which::All,
        };
        QueryRule { which, sort: query.sort }
    }

    fn strip_prefix(&mut self) -> Option<String> {
        let text = self.route.strip_prefix.as_deref()?;
        match PathPattern::parse(text) {
            Ok(path) if !path.below => {
                let prefix = path.text.trim_end_matches('/');
                (!prefix.is_empty()).then(|| prefix.to_owned())
            }
            Ok(_) => {
                self.problem("strip_prefix", "a path without a * is meant");
                None
            }
            Err(why) => {
                self.problem("strip_prefix", why.to_string());
                None
            }
        }
    }

    fn edits(&mut self, key: &str, written: &written::Edits) -> Edits {
        let mut edits = Edits::default();
        for (name, value) in &written.set {
            if let Err(why) = edits.set(name, value.reveal()) {
                self.problem(&format!("{key}.set.{name}"), why.to_string());
            }
        }
        for (at, name) in written.remove.0.iter().enumerate() {
            if let Err(why) = edits.remove(name) {
                self.problem(&format!("{key}.remove.{at}"), why.to_string());
            }
        }
        edits
    }

    fn rules(&mut self, route: &Route, warnings: &mut Problems<'_>) -> policy::Rules {
        let written = self.route;
        let on = |dur: super::units::Dur| dur.on().map(|_| dur.ms());
        let mut status_ttl_ms = BTreeMap::new();
        for (status, ttl) in &written.status_ttl {
            match status.parse() {
                Ok(status @ 200..600) => _ = status_ttl_ms.insert(status, ttl.ms()),
                _ => self.problem(&format!("status_ttl.{status}"), "a status from 200 to 599 is meant"),
            }
        }
        let share = written.heuristic.0;
        if share.is_some_and(|share| !(0.0..=1.0).contains(&share.fraction)) {
            self.problem("heuristic.fraction", "a share from 0 to 1 is meant");
        }
        let heuristic = share
            .filter(|share| share.fraction > 0.0)
            .and_then(|share| Some(policy::Heuristic { fraction: share.fraction, max_ms: on(share.max)? }));
        policy::Rules {
            default_ttl_ms: on(written.default_ttl),
            status_ttl_ms,
            max_ttl_ms: on(written.max_ttl),
            heuristic,
            targeted: self.fields("targeted", &written.targeted.0),
            ignore: self.ignore(warnings),
            while_revalidate_ms: written.grace.while_revalidate.ms(),
            if_error_ms: written.grace.if_error.ms(),
            if_error_set: self.problems.places().has(&self.path("grace.if_error")),
            keep_ms: self.problems.places().has(&self.path("keep")).then(|| written.keep.ms()),
            pass_ttl_ms: written.pass_ttl.ms(),
            cookies: match written.cookies {
                written::Cookies::Guard => policy::Cookies::Guard,
                written::Cookies::Pass => policy::Cookies::Pass,
                written::Cookies::Strip => policy::Cookies::Strip,
            },
            set_cookie: match written.set_cookie {
                written::SetCookie::Pass => policy::SetCookie::Pass,
                written::SetCookie::Strip => policy::SetCookie::Strip,
                written::SetCookie::Store => policy::SetCookie::Store,
            },
            client_cache_control: match written.client_cache_control {
                written::ClientCacheControl::Ignore => policy::ClientCacheControl::Ignore,
                written::ClientCacheControl::Honour => policy::ClientCacheControl::Honour,
            },
            range: match written.range {
                written::Range::Fill => policy::RangeMode::Fill,
                written::Range::Pass => policy::RangeMode::Pass,
                written::Range::Segment => policy::RangeMode::Segment,
            },
            max_object_size: written.max_object_size.0,
            store_unframed: written.store_unframed,
            keys_authorization: route.covers(&http::header::AUTHORIZATION),
            keys_cookie: route.covers(&http::header::COOKIE),
            secrets: Vec::new(),
            keyed_secrets: Vec::new(),
            carried: carried(route),
            underscored: underscored(route),
        }
    }

    fn ignore(&mut self, warnings: &mut Problems<'_>) -> policy::Ignore {
        let mut ignore = policy::Ignore::default();
        for (at, directive) in self.route.ignore.0.iter().enumerate() {
            match directive.as_str() {
                "max-age" => ignore.max_age = true,
                "s-maxage" => ignore.s_maxage = true,
                "expires" => ignore.expires = true,
                "no-cache" => ignore.no_cache = true,
                "must-revalidate" => ignore.must_revalidate = true,
                "private" => ignore.private = true,
                "no-store" => ignore.no_store = true,
                _ => self.problem(&format!("ignore.{at}"), one_of(&DIRECTIVES)),
            }
        }
        if ignore.private || ignore.no_store {
            warnings.add(
                &self.path("ignore"),
                "what the origin says is for one client only is shared with all who ask for the same URL",
            );
        }
        ignore
    }

    /// The names of `secret_headers`, each once, with `-` for `_`.
    fn secrets(&mut self) -> Vec<String> {
        let names = self.fields("secret_headers", &self.route.secret_headers.0);
        let mut secrets: Vec<String> =
            names.iter().map(|name| policy::dashed(name.as_str()).into_owned()).collect();
        secrets.sort_unstable();
        secrets.dedup();
        secrets
    }

    fn fields(&mut self, key: &str, names: &[String]) -> Vec<HeaderName> {
        self.each(key, names, |name| name.parse::<HeaderName>().map_err(|_| "not a field name"))
    }

    /// Those of a list that can be; those that cannot are named.
    fn each<T, E: Display>(
        &mut self,
        key: &str,
        list: &[String],
        read: impl Fn(&str) -> Result<T, E>,
    ) -> Vec<T> {
        let mut all = Vec::with_capacity(list.len());
        for (at, text) in list.iter().enumerate() {
            match read(text) {
                Ok(one) => all.push(one),
                Err(why) => self.problem(&format!("{key}.{at}"), why.to_string()),
            }
        }
        all
    }

    fn problem(&mut self, key: &str, reason: impl Into<String>) {
        let path = self.path(key);
        self.problems.add(&path, reason);
    }

    fn path(&self, key: &str) -> Vec<String> {
        self.at.iter().cloned().chain(key.split('.').map(str::to_owned)).collect()
    }
}

/// The fields that fills carry: a response that varies on another varies on everything.
fn carried(route: &Route) -> policy::Carried {
    let own = route.vary_on.iter().map(|keyed| keyed.field().clone());
    let fields: Vec<HeaderName> = match &route.forward {
        Forward::All => return policy::Carried::All,
        Forward::Keyed => ["accept", "accept-charset", "accept-encoding", "accept-language", "host"]
            .into_iter()
            .map(HeaderName::from_static)
            .chain(own)
            .collect(),
        Forward::Only(names) => names.iter().cloned().chain(own).collect(),
    };
    policy::Carried::Only(fields)
}

/// The keyed fields whose names some origins read otherwise.
fn underscored(route: &Route) -> Vec<HeaderName> {
    let keyed = route.vary_on.iter().map(KeyedField::field);
    keyed.filter(|field| field.as_str().contains('_')).cloned().collect()
}

fn is_known(method: &str) -> bool {
    ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
        .contains(&method.to_ascii_uppercase().as_str())
}
