//! Checks that no type can make: values out of range, and settings that contradict each other.

use std::time::Duration;

use http::HeaderName;
use url::Url;

use super::problem::{Problems, path};
use super::{Dust, Settings};
use crate::admin;
use crate::body::{self, Location};
use crate::dust;
use crate::key::target;
use crate::secret::{Secret, SecretUrl};
use crate::units::{Dur, has_user, has_web_scheme, web_url};
use crate::upstream::{self, HostRule, HttpVersion};

/// The largest budget of a fleet for one upstream.
const MOST_PERMITS: usize = 65_536;
/// The largest number of a rate, and the largest burst: a bucket counts in whole parts of tokens, exact up to there.
const MOST_TOKENS: u64 = 100_000;
/// An instance that lacks tokens asks the store again after this time.
const ASKED_AGAIN: Duration = Duration::from_millis(20);

/// Checks all sections but routes.
pub(super) fn all(settings: &Settings, problems: &mut Problems<'_>, warnings: &mut Problems<'_>) {
    server(settings, problems);
    admin(settings, problems, warnings);
    webhooks(settings, problems, warnings);
    store(&settings.dust, problems, warnings);
    bodies(&settings.bodies, problems);
    if dust::is_shared(settings.dust.store.url.reveal()) && settings.bodies.url.reveal() == "memory:" {
        let reason = "instances that share the store at dust.url must share their bodies: dust:, file:PATH of \
                      a directory that all of them see, or s3://BUCKET";
        problems.add(&path("bodies.url"), reason);
    }
    let store = settings.dust.store.url.reveal();
    if dust::is_server(store) && dust::check(store).is_ok() {
        on_server(settings, problems);
    }
    for (name, upstream) in &settings.upstreams {
        self::upstream(name, upstream, problems, warnings);
        let used = settings.routes.iter().any(|route| route.route.upstream == *name);
        if !used {
            warnings.add(&["upstreams".to_owned(), name.clone()], "no route has this upstream");
        }
    }
    if settings.routes.is_empty() && !problems.places().has(&path("routes")) {
        warnings.add(&[], "there are no routes: every request is answered 421");
    }
}

fn server(settings: &Settings, problems: &mut Problems<'_>) {
    let server = &settings.server;
    // It is a pseudonym in Via, and a token in Cache-Status.
    if server.name.parse::<HeaderName>().is_err() {
        problems.add(&path("server.name"), "must be a token: letters, digits, - and _");
    }
    if server.listen.0.is_empty() {
        problems.add(&path("server.listen"), "must have an address in it");
    }
    for (key, dur) in [("server.header_timeout", server.header_timeout), ("server.drain", server.drain)] {
        positive(key, dur, problems);
    }
    if server.max_connections == 0 {
        problems.add(&path("server.max_connections"), "must be more than 0");
    }
    // The HTTP/1 reader takes no smaller buffer, and no longer target.
    if server.max_header_size < 8 << 10 {
        problems.add(&path("server.max_header_size"), "must be at least 8KiB");
    }
    // A map of fields holds no more than 24 576 of them.
    if !(10..=10_000).contains(&server.max_fields) {
        problems.add(&path("server.max_fields"), "must be from 10 to 10000");
    }
    if !(1..=63 << 10).contains(&server.max_target) {
        problems.add(&path("server.max_target"), "must be from 1B to 63KiB");
    }
}

fn admin(settings: &Settings, problems: &mut Problems<'_>, warnings: &mut Problems<'_>) {
    let admin = &settings.admin;
    let listen = admin.listen.0;
    tokens(settings, problems, warnings);
    if !admin.has_tokens() && !listen.ip().to_canonical().is_loopback() {
        let reason = "admin.token is required when admin does not listen on a loopback address";
        problems.add(&path("admin.listen"), reason);
    }
    if !admin.has_tokens() && admin.metrics_token {
        problems.add(&path("admin.metrics_token"), "there is no admin.token");
    }
    if admin.max_connections == 0 {
        problems.add(&path("admin.max_connections"), "must be more than 0");
    }
    if listen.port() != 0 && settings.server.addresses().contains(&listen) {
        problems.add(&path("admin.listen"), "server.listen has the same address");
    }
    for host in &admin.hosts.0 {
        if target::host(host, target::Scheme::Http).is_err() {
            problems.add(&path("admin.hosts"), format!("{host:?} is not a host"));
        }
    }
}

fn tokens(settings: &Settings, problems: &mut Problems<'_>, warnings: &mut Problems<'_>) {
    if settings.admin.token.as_ref().is_some_and(|token| token.reveal().is_empty()) {
        problems.add(&path("admin.token"), "it is empty");
    }
    let tokens = &settings.admin.tokens;
    for (at, token) in tokens.iter().enumerate() {
        let mut wrong = |key: &str, reason: &str| {
            problems.add(&path(&format!("admin.tokens.{at}.{key}")), reason);
        };
        if token.name.is_empty() || tokens[..at].iter().any(|other| other.name == token.name) {
            wrong("name", "each token has a name of its own, for the log");
        }
        let is_mine = |other: &Secret| other.reveal() == token.token.reveal();
        let mut others = settings.admin.token.iter().chain(tokens[..at].iter().map(|other| &other.token));
        if others.any(is_mine) {
            wrong("token", "another has the same text: which of them a request bears could not be told");
        }
        if token.token.reveal().is_empty() {
            wrong("token", "it is empty");
        }
        if token.may.is_empty() {
            wrong("may", "it may do nothing: \"read\", \"purge\", \"warm\" or \"drain\" is meant");
        }
        let at = path(&format!("admin.tokens.{at}.where"));
        limits(settings, &at, &token.within, problems, warnings);
    }
}

/// Checks where a token or a webhook may purge.
fn limits(
    settings: &Settings,
    at: &[String],
    within: &admin::Where,
    problems: &mut Problems<'_>,
    warnings: &mut Problems<'_>,
) {
    let of = |key: &str| [at, &[key.to_owned()]].concat();
    if within.is_everywhere() && problems.places().has(at) {
        warnings.add(at, "nothing is in its lists, which means everywhere: leave it out to say so");
    }
    let known = |name: &String| settings.routes.iter().any(|route| route.route.name == *name);
    if let Some(name) = within.routes.0.iter().find(|name| !known(name)) {
        problems.add(&of("routes"), format!("no route is called {name:?}"));
    }
    if let Some(reason) = within.hosts.0.iter().find_map(|host| no_host_of_keys(host)) {
        problems.add(&of("hosts"), reason);
    }
}

/// Returns why no key has a host as it is written, if none can.
fn no_host_of_keys(host: &str) -> Option<String> {
    if target::host(host, target::Scheme::Http).is_err() {
        return Some(format!("{host:?} is not a host"));
    }
    let has_usual_port = [target::Scheme::Http, target::Scheme::Https].iter().any(|scheme| {
        let port = format!(":{}", scheme.default_port());
        host.strip_suffix(port.as_str()).is_some_and(|name| !name.ends_with(':'))
    });
    has_usual_port.then(|| format!("{host:?}: keys leave this port out, so name the host alone"))
}

fn webhooks(settings: &Settings, problems: &mut Problems<'_>, warnings: &mut Problems<'_>) {
    let webhooks = &settings.purge.webhooks;
    for (name, webhook) in webhooks {
        let at = |key: &str| -> Vec<String> {
            ["purge", "webhooks", name].into_iter().chain(key.split('.')).map(str::to_owned).collect()
        };
        admin::check_webhook(webhook, &mut |key, reason| problems.add(&at(key), reason));
        let same = webhooks.iter().find(|(other, hook)| *other < name && hook.path == webhook.path);
        if let Some((other, _)) = same {
            problems.add(&at("path"), format!("the webhook {other:?} has the same path"));
        }
        if let Some(reason) = webhook.host.as_ref().and_then(|host| no_host_of_keys(host)) {
            problems.add(&at("host"), reason);
        }
        limits(settings, &at("where"), &webhook.limits, problems, warnings);
    }
}

fn store(dust: &Dust, problems: &mut Problems<'_>, warnings: &mut Problems<'_>) {
    if let Err(reason) = dust::check(dust.store.url.reveal()) {
        problems.add(&path("dust.url"), reason);
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if dust.store.prefix.is_empty() || !dust.store.prefix.bytes().all(plain) {
        problems.add(&path("dust.prefix"), "must be letters, digits, -, _ and dots");
    }
    if dust.store.allow_eviction && dust::is_shared(dust.store.url.reveal()) {
        let reason = "a server that evicts may lose purges (purged responses come back), leases (fetched more \
                      than once) and records at any time";
        warnings.add(&path("dust.allow_eviction"), reason);
    }
    positive("dust.lease_ttl", dust.flight.lease_ttl, problems);
    positive("dust.trust", dust.belief.trust, problems);
    positive("dust.max_life", dust.belief.max_life, problems);
    if let Some(wait) = dust.routes.wait_timeout {
        positive("dust.wait_timeout", wait.0, problems);
    }
}

/// What a Dust server needs beside its URL.
fn on_server(settings: &Settings, problems: &mut Problems<'_>) {
    let bodies = path("bodies.url");
    if !problems.places().has(&bodies) || settings.bodies.url.reveal() == "dust:" {
        let reason = "a Dust server carries no bodies; set file:PATH of a directory that all instances see, or \
                      s3://BUCKET/PREFIX";
        problems.add(&bodies, reason);
    }
    if settings.dust.store.token.as_ref().is_none_or(|token| token.reveal().is_empty()) {
        let reason = "a Dust server needs a token with the scopes entries:read and entries:write";
        problems.add(&path("dust.token"), reason);
    }
}

fn bodies(bodies: &body::Settings, problems: &mut Problems<'_>) {
    if let Err(reason) = Location::parse(bodies.url.reveal()) {
        problems.add(&path("bodies.url"), reason);
    }
    if let Some(large) = &bodies.large {
        let reason = match Location::parse(large.reveal()) {
            _ if Location::parse(bodies.url.reveal()) != Ok(Location::Dust) => {
                "is of use only with bodies.url = \"dust:\"".to_owned()
            }
            Ok(Location::Directory(_) | Location::Bucket(_)) => String::new(),
            Ok(Location::Dust | Location::Memory) => "file:PATH or s3://BUCKET/PREFIX is meant".to_owned(),
            Err(reason) => reason,
        };
        if !reason.is_empty() {
            problems.add(&path("bodies.large"), reason);
        }
    }
    positive("bodies.linger", bodies.linger, problems);
    if bodies.size == 0 {
        problems.add(&path("bodies.size"), "must be more than 0B");
    }
}

fn upstream(
    name: &str,
    upstream: &upstream::Settings,
    problems: &mut Problems<'_>,
    warnings: &mut Problems<'_>,
) {
    let at = |key: &str| -> Vec<String> {
        ["upstreams", name].into_iter().chain(key.split('.')).map(str::to_owned).collect()
    };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if name.is_empty() || !name.bytes().all(plain) {
        problems.add(&at("url")[..2], "an upstream's name is letters, digits, -, _ and dots");
    }
    if let Err(reason) = origin(&upstream.url) {
        problems.add(&at("url"), reason);
    }
    if let HostRule::Name(host) = &upstream.host
        && target::host(host, target::Scheme::Http).is_err()
    {
        problems.add(&at("host"), "\"upstream\", \"client\" or a host is meant");
    }
    if upstream.tls.cert.is_some() != upstream.tls.key.is_some() {
        let there = if upstream.tls.cert.is_some() { "tls.cert" } else { "tls.key" };
        problems.add(&at(there), "cert and key go together");
    }
    if upstream.tls.insecure {
        warnings.add(&at("tls.insecure"), "whoever answers is believed to be this upstream");
    }
    if upstream.http == HttpVersion::Auto && upstream.url.reveal().starts_with("http:") {
        warnings.add(&at("http"), "without TLS nobody chooses: HTTP/1.1 is spoken");
    }
    if upstream.max_concurrent == 0 {
        problems.add(&at("max_concurrent"), "must be more than 0");
    }
    // Each permit is a lease in the store.
    if upstream.max_concurrent_fleet.is_some_and(|fleet| !(1..=MOST_PERMITS).contains(&fleet)) {
        problems.add(
            &at("max_concurrent_fleet"),
            format!(
                "must be from 1 to {MOST_PERMITS}; without the setting the fleet has no limit of its own"
            ),
        );
    }
    rate(upstream, at, problems, warnings);
}

/// Checks how often an upstream may be asked.
fn rate(
    upstream: &upstream::Settings,
    at: impl Fn(&str) -> Vec<String>,
    problems: &mut Problems<'_>,
    warnings: &mut Problems<'_>,
) {
    if upstream.max_rate_burst.is_some_and(|burst| !(1..=MOST_TOKENS).contains(&burst)) {
        problems.add(
            &at("max_rate_burst"),
            format!("must be from 1 to {MOST_TOKENS}: nothing begins without one"),
        );
    }
    let Some(rate) = upstream.max_rate_fleet else {
        if upstream.max_rate_burst.is_some() {
            problems.add(&at("max_rate_burst"), "there is no max_rate_fleet");
        }
        return;
    };
    if rate.count() > MOST_TOKENS {
        problems.add(&at("max_rate_fleet"), format!("must be at most {MOST_TOKENS} in any time"));
    }
    let (patience, each) = (upstream.queue_timeout, rate.interval());
    if !patience.is_zero() && each > patience {
        let reason = format!(
            "one request begins every {} s, and none waits longer than queue_timeout = {}: most get 503",
            each.as_secs_f64().round(),
            Dur(patience),
        );
        warnings.add(&at("max_rate_fleet"), reason);
    }
    let between = rate.within(ASKED_AGAIN);
    if upstream.burst() < between {
        let reason = format!(
            "an instance asks for more at most every 20 ms, in which {between} come: the rate is not reached with \
             so small a burst"
        );
        warnings.add(&at("max_rate_burst"), reason);
    }
}

/// Checks that a URL names an origin.
pub(super) fn origin(url: &SecretUrl) -> Result<(), String> {
    if url.reveal().is_empty() {
        return Err("is required, such as \"https://origin.example.com\"".to_owned());
    }
    if let Some(whole) = with_scheme(url.reveal()) {
        return Err(format!("a scheme is missing: write {whole:?}"));
    }
    let parsed = web_url(url.reveal())?;
    if has_user(url.reveal()) {
        return Err("an origin's URL has no user and no password: set what the origin wants to see with \
                    request_headers = { set = { authorization = … } } on its routes"
            .to_owned());
    }
    if parsed.query().is_some() || parsed.fragment().is_some() {
        return Err("an origin's URL has no query and no fragment".to_owned());
    }
    Ok(())
}

/// The URL that a host without a scheme stands for, perhaps with a port and a path: `http://localhost:3000` for
/// `localhost:3000`. `None` if the text has a scheme, or is no host. What holds a user is not repeated.
pub(super) fn with_scheme(text: &str) -> Option<String> {
    let text = text.strip_prefix("//").unwrap_or(text);
    if text.contains("://")
        || has_web_scheme(text)
        || text.contains('@')
        || text.contains(char::is_whitespace)
    {
        return None;
    }
    let whole = format!("http://{text}");
    let parsed = Url::parse(&whole).ok()?;
    parsed.host_str()?;
    Some(if parsed.port() == Some(443) { format!("https://{text}") } else { whole })
}

fn positive(key: &str, time: Duration, problems: &mut Problems<'_>) {
    if time.is_zero() {
        problems.add(&path(key), "cannot be off: there must be an end to it");
    }
}
