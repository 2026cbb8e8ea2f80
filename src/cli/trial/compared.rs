//! What the answers say of themselves, and how two of them differ.

use std::collections::BTreeSet;

use http::header::{
    AGE, CONTENT_LENGTH, CONTENT_LOCATION, DATE, ETAG, EXPIRES, LAST_MODIFIED, LOCATION, SET_COOKIE,
};
use http::{HeaderMap, HeaderName};

use super::answer::{Answer, End};
use super::masked::{Foreign, Masked};
use crate::policy::{Rules, Varies, varies};

/// Fields that differ from answer to answer by their nature, or with the content.
const MOVING: [HeaderName; 4] = [DATE, AGE, EXPIRES, CONTENT_LENGTH];

/// Adds a line for each thing to know about an answer, and the one after it.
pub(super) fn describe(
    first: &Answer,
    second: Option<&Answer>,
    rules: &Rules,
    masked: &Masked,
    mut add: impl FnMut(&'static str, String),
) {
    let said = |name: &HeaderName| first.field(name).map(|value| value.shown(masked));
    if let Some(cache_control) = said(&http::header::CACHE_CONTROL) {
        add("says", format!("Cache-Control: {cache_control}"));
    }
    add("varies", vary_text(&first.headers, rules, masked));
    if let Some(second) = second {
        add("content", content_text(first, second));
        let differ = differing(&first.headers, &second.headers);
        if !differ.is_empty() {
            let names = Foreign::new(differ.join(", ")).shown(masked);
            add("fields", format!("differ between the answers: {names}"));
        }
    }
    if first.headers.contains_key(SET_COOKIE) {
        add("cookies", format!("sets {}", cookies(&first.headers).shown(masked)));
    }
    add("validators", validators_text(said));
    for field in [LOCATION, CONTENT_LOCATION] {
        if let Some(url) = first.url(&field) {
            let name = if field == LOCATION { "redirect" } else { "named" };
            add(name, format!("{field}: {}", url.shown(masked)));
        }
    }
}

/// Returns whether the content of two answers is not the same.
pub(super) fn content_differs(first: &Answer, second: &Answer) -> bool {
    (first.status, first.bytes, first.digest) != (second.status, second.bytes, second.digest)
}

/// The names of the cookies that an answer sets.
pub(super) fn cookies(headers: &HeaderMap) -> Foreign {
    let name = |line: &http::HeaderValue| {
        let text = String::from_utf8_lossy(line.as_bytes()).into_owned();
        text.split(['=', ';']).next().unwrap_or_default().trim().to_owned()
    };
    let names: BTreeSet<_> = headers.get_all(SET_COOKIE).iter().map(name).collect();
    Foreign::new(names.into_iter().collect::<Vec<_>>().join(", "))
}

fn vary_text(headers: &HeaderMap, rules: &Rules, masked: &Masked) -> String {
    match varies(headers, rules) {
        Varies::No => "on nothing: one answer for all".to_owned(),
        Varies::Star => "on what cannot be compared (Vary: *, or a field that fills do not carry)".to_owned(),
        Varies::On(fields) => {
            let names: Vec<&str> = fields.iter().map(HeaderName::as_str).collect();
            format!("on {}: one answer for each value", Foreign::new(names.join(", ")).shown(masked))
        }
    }
}

fn content_text(first: &Answer, second: &Answer) -> String {
    if content_differs(first, second) {
        return "differs between the answers: is the same good for all clients, and for how long?".to_owned();
    }
    match first.end {
        End::Whole => "the same both times".to_owned(),
        End::GoesOn | End::Broken(_) => "the same both times, as far as it was read".to_owned(),
    }
}

/// The names of the fields that are not the same in both.
fn differing(first: &HeaderMap, second: &HeaderMap) -> Vec<String> {
    let names: BTreeSet<&str> = first.keys().chain(second.keys()).map(HeaderName::as_str).collect();
    let differs = |name: &&str| {
        !MOVING.iter().any(|moving| moving == name)
            && first.get_all(*name).iter().ne(second.get_all(*name).iter())
    };
    names.into_iter().filter(differs).map(str::to_owned).collect()
}

fn validators_text(said: impl Fn(&HeaderName) -> Option<String>) -> String {
    let etag = said(&ETAG).map(|etag| format!("ETag {etag}"));
    let modified = said(&LAST_MODIFIED).map(|date| format!("Last-Modified {date}"));
    let all: Vec<String> = etag.into_iter().chain(modified).collect();
    if all.is_empty() { "none: a stale copy is fetched whole again".to_owned() } else { all.join(", ") }
}
