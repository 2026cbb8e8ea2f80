//! Makes a route from its settings.

use std::fmt::Display;
use std::time::Duration;

use http::{HeaderName, Method, header};

use super::{Settings, WrittenEdits};
use crate::policy::settings::{Wrong, fields};
use crate::policy::{self, Cookies, RouteId, Rules};
use crate::route::cookies;
use crate::route::{
    Edits, Forward, HostPattern, IgnoredCookies, KeyedField, NamePattern, PathPattern, QueryRule, Route,
    Which,
};
use crate::units::List;

impl Settings {
    /// Makes the route with these rules. Invalid settings are left out and reported to `wrong`; doubtful ones
    /// are reported to `warn`.
    pub fn route(
        &self,
        rules: Rules,
        wait_timeout: Duration,
        wrong: &mut Wrong<'_>,
        warn: &mut Wrong<'_>,
    ) -> Route {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if self.name.is_empty() {
            wrong("name", "is required: logs, metrics and commands name the route by it".to_owned());
        } else if !self.name.bytes().all(plain) {
            wrong("name", "must be letters, digits, -, _ and dots".to_owned());
        }
        for (at, text) in self.path.0.iter().enumerate() {
            if text.strip_suffix("/*").unwrap_or(text).contains('*') {
                let reason = "a * counts only as the last segment; elsewhere it is a *";
                warn(&format!("path.{at}"), reason.to_owned());
            }
        }
        if self.version.as_ref().is_some_and(|version| version.chars().any(char::is_control)) {
            wrong("version", "cannot have control characters in it".to_owned());
        }
        if self.max_variants == 0 {
            wrong("max_variants", "must be more than 0".to_owned());
        }
        if !self.upgrade.0.is_empty() {
            warn("upgrade", "not in this version: connections are not upgraded".to_owned());
        }
        let mut route = Route {
            name: self.name.as_str().into(),
            index: 0,
            hosts: each("host", &self.host.0, HostPattern::parse, wrong),
            paths: each("path", &self.path.0, PathPattern::parse, wrong),
            methods: self.methods.as_ref().map(|methods| each("methods", &methods.0, method, wrong)),
            upstream: self.upstream.as_str().into(),
            cache: self.cache,
            coalesce: self.coalesce,
            rules: Rules::default(),
            query: self.query(wrong),
            vary_on: each("vary_on", &self.vary_on.0, keyed_field, wrong),
            ignore_cookies: self.ignore_cookies(&rules, wrong, warn),
            version: self.version.clone(),
            strip_prefix: self.strip_prefix(wrong),
            tells_host: false,
            request_headers: self.request_headers.edits("request_headers", wrong),
            response_headers: self.response_headers.edits("response_headers", wrong),
            forward: match &self.forward {
                Forward::All => Forward::All,
                Forward::Keyed => Forward::Keyed,
                Forward::Only(names) => Forward::Only(fields("forward", names, wrong)),
            },
            client_ip: self.client_ip,
            location: self.location,
            forwarded: self.forwarded,
            cache_status: self.cache_status,
            wait_timeout,
            max_variants: self.max_variants,
            finish: self.finish,
            upgrade: each("upgrade", &self.upgrade.0, protocol, wrong),
            purge: self.purge.as_ref().map(|purge| purge.ready(wrong, warn)),
        };
        route.take(rules);
        route
    }

    fn query(&self, wrong: &mut Wrong<'_>) -> QueryRule {
        let names = |list: &List<String>| list.0.iter().map(|name| NamePattern::new(name)).collect();
        let which = match (&self.query.include, &self.query.exclude) {
            (Some(_), Some(_)) => {
                wrong("query", "include or exclude, not both".to_owned());
                Which::All
            }
            (Some(include), None) => Which::Include(names(include)),
            (None, Some(exclude)) => Which::Exclude(names(exclude)),
            (None, None) => Which::All,
        };
        QueryRule { which, sort: self.query.sort }
    }

    fn ignore_cookies(&self, rules: &Rules, wrong: &mut Wrong<'_>, warn: &mut Wrong<'_>) -> IgnoredCookies {
        let ignored = IgnoredCookies::new(each(
            "ignore_cookies",
            &self.ignore_cookies.0,
            cookies::Written::parse,
            wrong,
        ));
        for (at, text) in self.vary_on.0.iter().enumerate() {
            if let Some(KeyedField::Cookie(name)) = KeyedField::parse(text)
                && ignored.ignores(name.as_bytes())
            {
                let reason = "ignore_cookies takes this cookie out, so it can't be in the key";
                wrong(&format!("vary_on.{at}"), reason.to_owned());
            }
        }
        if rules.cookies == Cookies::Strip && !self.ignore_cookies.0.is_empty() {
            warn("ignore_cookies", "cookies = \"strip\" ignores every cookie".to_owned());
        }
        ignored
    }

    fn strip_prefix(&self, wrong: &mut Wrong<'_>) -> Option<String> {
        match PathPattern::parse(self.strip_prefix.as_deref()?) {
            Ok(path) if !path.below => {
                let prefix = path.text.trim_end_matches('/');
                return (!prefix.is_empty()).then(|| prefix.to_owned());
            }
            Ok(_) => wrong("strip_prefix", "a path without a * is meant".to_owned()),
            Err(why) => wrong("strip_prefix", why.to_string()),
        }
        None
    }
}

// === impl WrittenEdits ===

impl WrittenEdits {
    fn edits(&self, key: &str, wrong: &mut Wrong<'_>) -> Edits {
        let mut edits = Edits::default();
        for (name, value) in &self.set {
            if let Err(why) = edits.set(name, value.reveal()) {
                wrong(&format!("{key}.set.{name}"), why.to_string());
            }
        }
        for (at, name) in self.remove.0.iter().enumerate() {
            if let Err(why) = edits.remove(name) {
                wrong(&format!("{key}.remove.{at}"), why.to_string());
            }
        }
        edits
    }
}

// === impl Route ===

impl Route {
    /// Sets the route's rules: these, and what follows from its key and its fills.
    fn take(&mut self, rules: Rules) {
        for keyed in &mut self.vary_on {
            if let KeyedField::Header(name) = keyed
                && rules.secrets.contains(&policy::dashed(name.as_str()).into_owned())
            {
                *keyed = KeyedField::Secret(name.clone());
            }
        }
        let keyed = || self.vary_on.iter().map(KeyedField::field);
        self.rules = Rules {
            route: RouteId::of(&self.name),
            keys_authorization: self.covers(&header::AUTHORIZATION),
            keys_cookie: self.covers(&header::COOKIE),
            keyed_secrets: keyed().filter(|name| rules.is_secret(name.as_str())).cloned().collect(),
            carried: self.carried(),
            // Some origins take such names for others.
            underscored: keyed().filter(|field| field.as_str().contains('_')).cloned().collect(),
            ..rules
        };
    }

    /// The fields that fills carry: a response that varies on any other counts as `Vary: *`.
    fn carried(&self) -> policy::Carried {
        let own = self.vary_on.iter().map(|keyed| keyed.field().clone());
        let fields: Vec<HeaderName> = match &self.forward {
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
}

/// Parses the entries of a list. Invalid ones are left out and reported to `wrong`.
pub(super) fn each<T, E: Display>(
    key: &str,
    list: &[String],
    read: impl Fn(&str) -> Result<T, E>,
    wrong: &mut Wrong<'_>,
) -> Vec<T> {
    let mut all = Vec::with_capacity(list.len());
    for (at, text) in list.iter().enumerate() {
        match read(text) {
            Ok(one) => all.push(one),
            Err(why) => wrong(&format!("{key}.{at}"), why.to_string()),
        }
    }
    all
}

fn method(text: &str) -> Result<Method, String> {
    match text.parse::<Method>() {
        Ok(method) if text.bytes().any(|byte| byte.is_ascii_lowercase()) && is_known(text) => {
            Err(format!("methods are case-sensitive; {:?} is meant", method.as_str().to_ascii_uppercase()))
        }
        Ok(method) => Ok(method),
        Err(_) => Err("not a method".to_owned()),
    }
}

fn is_known(method: &str) -> bool {
    ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
        .contains(&method.to_ascii_uppercase().as_str())
}

fn keyed_field(text: &str) -> Result<KeyedField, &'static str> {
    KeyedField::parse(text).ok_or("a field's name or \"cookie:NAME\" is meant")
}

fn protocol(text: &str) -> Result<String, &'static str> {
    match text.to_ascii_lowercase() {
        word if word == "h2c" => Err("connections are never upgraded to h2c"),
        word if word.parse::<HeaderName>().is_err() => Err("a protocol is meant, such as \"websocket\""),
        word => Ok(word),
    }
}
