//! The lines of an explanation.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use http::HeaderMap;

use crate::policy::{self, PassReason, RequestFacts, Rules};
use crate::record::{Record, VaryNode};
use crate::route::Route;
use crate::tier::Stored;

/// Describes in one line what a route matches.
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

pub(crate) fn route<'a>(route: &Route, also: impl Iterator<Item = &'a str>) -> String {
    let also: Vec<&str> = also.collect();
    let also =
        if also.is_empty() { String::new() } else { format!("   (also matched: {})", also.join(", ")) };
    format!("{:<12} {}{also}", route.name, describe(route))
}

pub(crate) fn key(text: &str, route: &Route, query: Option<&str>) -> String {
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

/// The names of the request's cookies that the route ignores, if there are any.
pub(crate) fn ignored_cookies(route: &Route, headers: &HeaderMap) -> Option<String> {
    let names = route.ignore_cookies.names(headers).map(String::from_utf8_lossy);
    let names: BTreeSet<_> = names.collect();
    let names = names.into_iter().collect::<Vec<_>>().join(", ");
    (!names.is_empty()).then(|| format!("ignored: {names} (ignore_cookies)"))
}

pub(crate) fn request(ask: &RequestFacts, alone: Option<PassReason>) -> String {
    let yes = |yes: bool| if yes { "yes" } else { "no" };
    let may = yes(alone.is_none() && !ask.only_if_cached);
    format!("may use the store yes · may follow {may} · may lead {may}")
}

/// The selecting fields and this request's values of them: in normal form, credentials as hashes.
pub(crate) fn variant(node: &VaryNode, headers: &HeaderMap, most: usize) -> String {
    let fields: Vec<&str> = node.fields.iter().map(http::HeaderName::as_str).collect();
    let values = node.fields.iter().map(|field| match policy::normal(field, headers) {
        Some(value) => format!("{value:?}"),
        None => "(absent)".to_owned(),
    });
    let values = values.collect::<Vec<_>>().join(", ");
    format!("Vary: {} → {values}   ({} of {most} stored)", fields.join(", "), node.variants.len())
}

pub(crate) fn stored(stored: &Stored, place: &str) -> String {
    let record = &stored.record;
    let etag = record.headers.value(&http::header::ETAG);
    let etag = etag
        .as_ref()
        .and_then(|etag| etag.to_str().ok())
        .map(|etag| format!(", ETag {etag}"))
        .unwrap_or_default();
    let segments = stored.record.body.segments.len();
    let plural = if segments == 1 { "" } else { "s" };
    let part = record.range().map(|(first, last, total)| format!("bytes {first}-{last} of {total}, "));
    let (status, part) = (record.status.as_u16(), part.unwrap_or_default());
    format!("{status}, {part}{} B in {segments} segment{plural}{etag}, {place}", stored.len())
}

pub(crate) fn freshness(record: &Record, rules: &Rules, now: u64) -> String {
    let by = policy::lifetime_source(record, rules);
    let age = policy::current_age(record, now) / 1000;
    let fresh = record.fresh_ms / 1000;
    let left = record.fresh_until().saturating_sub(now) / 1000;
    let mut line = format!("{fresh} s by {by}, age {age} s → {left} s left");
    if record.swr_ms > 0 {
        let _ = write!(line, ", then stale-while-revalidate {} s", record.swr_ms / 1000);
    }
    if record.sie_ms > 0 {
        let _ = write!(line, ", stale-if-error {} s", record.sie_ms / 1000);
    }
    let end = policy::http_date(record.end());
    let _ = write!(line, "; kept until {}", end.to_str().unwrap_or_default());
    line
}
