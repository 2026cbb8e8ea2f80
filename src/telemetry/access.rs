//! The line of a request, and the line of a fill.
//!
//! Both are plain values: the code that serves a request moves its own values into them, and the
//! writer's thread makes text of them.

use std::io::Write as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Version};

use super::json::{self, Object};
use super::labels::{Cache, FillOutcome, Role, Source, Why};
use super::log::Format;
use super::stamp;

/// One request, when its response has ended.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// When it came, in wall milliseconds.
    pub ts: u64,
    /// Its own number on this instance; printed as 16 hexadecimal digits.
    pub id: u64,
    /// The client's address, by the proxies that are trusted.
    pub client: Option<IpAddr>,
    /// Method.
    pub method: Method,
    /// `http` or `https`, as the client sees it.
    pub scheme: &'static str,
    /// Canonical host.
    pub host: String,
    /// Canonical path.
    pub path: String,
    /// Canonical query; values are printed only under `log.query`.
    pub query: Option<String>,
    /// Status that was sent; 0 if none was.
    pub status: u16,
    /// The client's protocol.
    pub proto: Version,
    /// Bytes of the request's content that were read.
    pub bytes_in: u64,
    /// Bytes of the response's content that were sent.
    pub bytes_out: u64,
    /// The time from the request's head to the response's end.
    pub duration: Duration,
    /// The time from the request's head to the first byte of the response's content, or to its end.
    pub first_byte: Option<Duration>,
    /// Whether the client left or the body broke off.
    pub aborted: bool,
    /// Route name.
    pub route: Option<Arc<str>>,
    /// How it was answered.
    pub cache: Cache,
    /// Where the result came from.
    pub source: Option<Source>,
    /// Why it was answered so.
    pub why: Option<Why>,
    /// Whether it was answered stale.
    pub stale: bool,
    /// Whether a lease protected the fill; none where there was no flight.
    pub coordinated: Option<bool>,
    /// The response's age, whole seconds.
    pub age_s: Option<u64>,
    /// Freshness left, whole seconds; negative when stale.
    pub ttl_s: Option<i64>,
    /// First 128 bits of the key's SHA-256.
    pub key: Option<[u8; 16]>,
    /// Its role in its flight.
    pub role: Option<Role>,
    /// The instance that led.
    pub leader: Option<Arc<str>>,
    /// The fence of the fill.
    pub fence: Option<u64>,
    /// How long it waited for a verdict.
    pub wait: Option<Duration>,
    /// Upstream name, if this request made an exchange.
    pub upstream: Option<Arc<str>>,
    /// Status of the upstream's response.
    pub up_status: Option<u16>,
    /// What making a connection cost; none if one was at hand.
    pub up_connect: Option<Duration>,
    /// From sending to the upstream's head.
    pub up_first_byte: Option<Duration>,
    /// Bytes of content that came from upstream.
    pub up_bytes: Option<u64>,
    /// How often it was sent; 0 if not at all.
    pub tries: u32,
    /// What went wrong: one word.
    pub error: Option<&'static str>,
}

/// One fill, when it has ended. The requests that rode it name the same key and fence.
#[derive(Debug, Clone, Default)]
pub struct Fill {
    /// When it began, in wall milliseconds.
    pub ts: u64,
    /// Route name.
    pub route: Arc<str>,
    /// Canonical host.
    pub host: String,
    /// Canonical path.
    pub path: String,
    /// The key's query.
    pub query: Option<String>,
    /// First 128 bits of the key's SHA-256.
    pub key: [u8; 16],
    /// Its fence; none if it was uncoordinated.
    pub fence: Option<u64>,
    /// Whether a lease protected it.
    pub coordinated: bool,
    /// How it ended; none if it never came to a verdict.
    pub outcome: Option<FillOutcome>,
    /// Why it ended so, where the outcome does not tell.
    pub why: Option<Why>,
    /// From the first request to the publish or the end.
    pub duration: Duration,
    /// How many requests of this instance rode it, beside the one that began it.
    pub followers: u64,
    /// Upstream name.
    pub upstream: Arc<str>,
    /// Status of the upstream's response.
    pub up_status: Option<u16>,
    /// What making a connection cost; none if one was at hand.
    pub up_connect: Option<Duration>,
    /// From sending to the upstream's head.
    pub up_first_byte: Option<Duration>,
    /// Bytes of content that came.
    pub up_bytes: u64,
    /// How often it was sent.
    pub tries: u32,
    /// What went wrong: one word.
    pub error: Option<&'static str>,
}

/// How the writer prints lines.
#[derive(Debug, Clone)]
pub(super) struct Style {
    pub(super) format: Format,
    pub(super) query: bool,
    pub(super) instance: Arc<str>,
}

// === impl Access ===

impl Access {
    pub(super) fn write(&self, out: &mut Vec<u8>, style: &Style) {
        match style.format {
            Format::Json => self.json(out, style),
            Format::Text => self.text(out, style),
        }
    }

    fn json(&self, out: &mut Vec<u8>, style: &Style) {
        let mut line = Object::begin(out);
        ts(&mut line, self.ts);
        line.quoted("id", format_args!("{:016x}", self.id));
        if let Some(client) = self.client {
            line.quoted("client", client);
        }
        line.text("method", self.method.as_str());
        line.text("scheme", self.scheme);
        line.text("host", &self.host);
        line.text("path", &self.path);
        query_field(&mut line, self.query.as_deref(), style.query);
        line.plain("status", self.status);
        line.text("proto", proto(self.proto));
        line.plain("bytes_in", self.bytes_in);
        line.plain("bytes_out", self.bytes_out);
        line.ms("dur_ms", self.duration);
        if let Some(first_byte) = self.first_byte {
            line.ms("ttfb_ms", first_byte);
        }
        line.flag("aborted", self.aborted);
        line.maybe("route", self.route.as_deref());
        line.text("cache", self.cache.as_str());
        line.maybe("source", self.source.map(Source::as_str));
        line.maybe("why", self.why.map(Why::as_str));
        line.flag("stale", self.stale);
        if let Some(coordinated) = self.coordinated {
            line.plain("coordinated", coordinated);
        }
        if let Some(age) = self.age_s {
            line.plain("age_s", age);
        }
        if let Some(ttl) = self.ttl_s {
            line.plain("ttl_s", ttl);
        }
        if let Some(hash) = self.key {
            key(&mut line, hash);
        }
        line.maybe("role", self.role.map(Role::as_str));
        line.maybe("leader", self.leader.as_deref());
        if let Some(fence) = self.fence {
            line.plain("fence", fence);
        }
        if let Some(wait) = self.wait {
            line.ms("wait_ms", wait);
        }
        line.maybe("upstream", self.upstream.as_deref());
        if let Some(status) = self.up_status {
            line.plain("up_status", status);
        }
        if let Some(connect) = self.up_connect {
            line.ms("up_connect_ms", connect);
        }
        if let Some(first_byte) = self.up_first_byte {
            line.ms("up_ttfb_ms", first_byte);
        }
        if let Some(bytes) = self.up_bytes {
            line.plain("up_bytes", bytes);
        }
        if self.tries > 0 {
            line.plain("tries", self.tries);
        }
        line.maybe("error", self.error);
        line.text("instance", &style.instance);
        line.end();
    }

    /// `14:02:11.482 GET host/path 200 5312B 503ms follower awaited 498ms from b#42 products`.
    fn text(&self, out: &mut Vec<u8>, style: &Style) {
        stamp::clock(out, self.ts);
        out.push(b' ');
        json::escaped(out, self.method.as_str());
        target(out, &self.host, &self.path, self.query.as_deref(), style.query);
        let _ = write!(
            out,
            " {} {}B {}ms {}",
            self.status,
            self.bytes_out,
            self.duration.as_millis(),
            self.cache
        );
        if let Some(source) = self.source {
            let _ = write!(out, " {source}");
        }
        if let Some(why) = self.why.filter(|_| !matches!(self.cache, Cache::Hit | Cache::Follower)) {
            let _ = write!(out, " {why}");
        }
        if let Some(wait) = self.wait {
            let _ = write!(out, " {}ms", wait.as_millis());
        }
        if self.leader.is_some() || self.fence.is_some() {
            out.extend_from_slice(b" from ");
            let unknown = if self.source == Some(Source::Awaited) { "?" } else { &*style.instance };
            json::escaped(out, self.leader.as_deref().unwrap_or(unknown));
            fence(out, self.fence);
        }
        if let Some(route) = &self.route {
            out.push(b' ');
            json::escaped(out, route);
        }
        if let Some(error) = self.error {
            let _ = write!(out, " error={error}");
        }
        if self.aborted {
            out.extend_from_slice(b" aborted");
        }
        out.push(b'\n');
    }
}

// === impl Fill ===

impl Fill {
    pub(super) fn write(&self, out: &mut Vec<u8>, style: &Style) {
        match style.format {
            Format::Json => self.json(out, style),
            Format::Text => self.text(out, style),
        }
    }

    fn json(&self, out: &mut Vec<u8>, style: &Style) {
        let mut line = Object::begin(out);
        ts(&mut line, self.ts);
        line.text("event", "fill");
        line.text("host", &self.host);
        line.text("path", &self.path);
        query_field(&mut line, self.query.as_deref(), style.query);
        line.text("route", &self.route);
        key(&mut line, self.key);
        if let Some(fence) = self.fence {
            line.plain("fence", fence);
        }
        line.plain("coordinated", self.coordinated);
        line.maybe("outcome", self.outcome.map(FillOutcome::as_str));
        line.maybe("why", self.why.map(Why::as_str));
        line.ms("dur_ms", self.duration);
        line.plain("followers", self.followers);
        line.text("upstream", &self.upstream);
        if let Some(status) = self.up_status {
            line.plain("up_status", status);
        }
        if let Some(connect) = self.up_connect {
            line.ms("up_connect_ms", connect);
        }
        if let Some(first_byte) = self.up_first_byte {
            line.ms("up_ttfb_ms", first_byte);
        }
        line.plain("up_bytes", self.up_bytes);
        line.plain("tries", self.tries);
        line.maybe("error", self.error);
        line.text("instance", &style.instance);
        line.end();
    }

    /// `14:02:11.482 fill host/path 200 5312B 498ms stored a#42 +3 products`.
    fn text(&self, out: &mut Vec<u8>, style: &Style) {
        stamp::clock(out, self.ts);
        out.extend_from_slice(b" fill");
        target(out, &self.host, &self.path, self.query.as_deref(), style.query);
        let _ = write!(
            out,
            " {} {}B {}ms {} ",
            self.up_status.unwrap_or(0),
            self.up_bytes,
            self.duration.as_millis(),
            self.outcome.map_or("unsettled", FillOutcome::as_str)
        );
        json::escaped(out, &style.instance);
        fence(out, self.fence);
        if self.followers > 0 {
            let _ = write!(out, " +{}", self.followers);
        }
        out.push(b' ');
        json::escaped(out, &self.route);
        if let Some(error) = self.error {
            let _ = write!(out, " error={error}");
        }
        out.push(b'\n');
    }
}

fn ts(line: &mut Object<'_>, wall_ms: u64) {
    let out = line.raw("ts");
    out.push(b'"');
    stamp::rfc3339(out, wall_ms);
    out.push(b'"');
}

fn key(line: &mut Object<'_>, hash: [u8; 16]) {
    line.quoted("key", format_args!("{:032x}", u128::from_be_bytes(hash)));
}

fn fence(out: &mut Vec<u8>, fence: Option<u64>) {
    if let Some(fence) = fence {
        let _ = write!(out, "#{fence}");
    }
}

fn query_field(line: &mut Object<'_>, query: Option<&str>, values: bool) {
    let Some(query) = query else { return };
    if values {
        line.text("query", query);
    }
    let out = line.raw("query_keys");
    out.push(b'[');
    for (nth, name) in names(query).flatten().enumerate() {
        if nth > 0 {
            out.push(b',');
        }
        json::string(out, name);
    }
    out.push(b']');
}

fn target(out: &mut Vec<u8>, host: &str, path: &str, query: Option<&str>, values: bool) {
    out.push(b' ');
    json::escaped(out, host);
    json::escaped(out, path);
    let Some(query) = query else { return };
    out.push(b'?');
    if values {
        json::escaped(out, query);
        return;
    }
    for (nth, name) in names(query).enumerate() {
        if nth > 0 {
            out.push(b'&');
        }
        match name {
            Some(name) => json::escaped(out, name),
            None => out.extend_from_slice("…".as_bytes()),
        }
    }
}

/// The names of a query's parameters. A parameter without `=` may be a secret as a whole, so it has no
/// name.
fn names(query: &str) -> impl Iterator<Item = Option<&str>> {
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| pair.split_once('=').map(|(name, _)| name))
}

fn proto(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "0.9",
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        Version::HTTP_3 => "3",
        _ => "1.1",
    }
}

#[cfg(test)]
mod tests;
