//! What holds for any fields at all.

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use proptest::prelude::*;

use super::reuse::tests::NOW;
use super::*;
use crate::key::Key;
use crate::record::VaryNode;
use crate::record::{Manifest, Record};

const NAMES: [&str; 24] = [
    "cache-control",
    "cdn-cache-control",
    "expires",
    "date",
    "age",
    "last-modified",
    "etag",
    "vary",
    "set-cookie",
    "content-type",
    "content-encoding",
    "content-length",
    "content-language",
    "retry-after",
    "if-none-match",
    "if-modified-since",
    "if-range",
    "range",
    "accept-encoding",
    "accept-language",
    "authorization",
    "cookie",
    "connection",
    "location",
];

const WORDS: [&str; 20] = [
    "max-age=60",
    "s-maxage=5",
    "max-age=0",
    "no-store",
    "private",
    "no-cache",
    "public",
    "must-revalidate",
    "must-understand",
    "immutable",
    "stale-while-revalidate=9",
    "stale-if-error=9",
    "private=\"x-a\"",
    "no-cache=\"vary\"",
    "x=\"a, b",
    "max-age=\"7\"",
    "\"a\"",
    "bytes=0-4, -3",
    "Sun, 06 Nov 2033 08:49:37 GMT",
    "gzip;q=0.5, de, *",
];

fn value() -> impl Strategy<Value = HeaderValue> {
    let bytes = prop::collection::vec(
        prop_oneof![32u8..127, 128u8..=255, Just(b'\t'), Just(b'"'), Just(b',')],
        0..24,
    );
    let words = prop::collection::vec(prop::sample::select(&WORDS[..]), 1..4)
        .prop_map(|words| words.join(", ").into_bytes());
    prop_oneof![1 => bytes, 2 => words].prop_map(|bytes| HeaderValue::from_bytes(&bytes).unwrap())
}

fn fields() -> impl Strategy<Value = HeaderMap> {
    let name = prop::sample::select(&NAMES[..]).prop_map(HeaderName::from_static);
    prop::collection::vec((name, value()), 0..8).prop_map(|fields| {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(name, value);
        }
        headers
    })
}

prop_compose! {
    fn rules()(
        (default_ttl_ms, max_ttl_ms, while_revalidate_ms) in
            any::<(Option<u32>, Option<u32>, u16)>(),
        (if_error_set, store_unframed, honour, ignores) in any::<(bool, bool, bool, bool)>(),
        set_cookie in prop::sample::select(vec![SetCookie::Pass, SetCookie::Strip, SetCookie::Store]),
        cookies in prop::sample::select(vec![Cookies::Guard, Cookies::Pass, Cookies::Strip]),
    ) -> Rules {
        Rules {
            default_ttl_ms: default_ttl_ms.map(u64::from),
            max_ttl_ms: max_ttl_ms.map(u64::from),
            while_revalidate_ms: while_revalidate_ms.into(),
            if_error_set,
            store_unframed,
            client_cache_control: if honour { ClientCacheControl::Honour } else { ClientCacheControl::Ignore },
            ignore: Ignore { s_maxage: ignores, must_revalidate: ignores, ..Ignore::default() },
            set_cookie,
            cookies,
            ..Rules::default()
        }
    }
}

prop_compose! {
    fn ask()(head: bool, authorization in prop::bool::weighted(0.3), cookie in prop::bool::weighted(0.3)) -> Ask {
        Ask { head, authorization, cookie, ..Ask::default() }
    }
}

fn status() -> impl Strategy<Value = StatusCode> {
    prop_oneof![3 => Just(200u16), 1 => 200u16..600].prop_map(|status| StatusCode::from_u16(status).unwrap())
}

fn answer(status: StatusCode, headers: &HeaderMap) -> Answer<'_> {
    Answer { status, headers, requested_at: NOW - 30, received_at: NOW, framing: Framing::Length(10) }
}

/// What a verdict stores.
fn stored(status: StatusCode, headers: &HeaderMap, ask: &Ask, rules: &Rules) -> Option<Record> {
    let Verdict::Store(lifetime) = verdict(ask, &answer(status, headers), rules) else { return None };
    Some(Record {
        key: "http://a/".into(),
        born: 1,
        token: 1,
        status,
        headers: stored_headers(headers, rules, NOW),
        received_at: NOW,
        age_ms: lifetime.age_ms,
        fresh_ms: lifetime.fresh_ms,
        swr_ms: lifetime.swr_ms,
        sie_ms: lifetime.sie_ms,
        keep_ms: lifetime.keep_ms,
        by: lifetime.by,
        credentialed: ask.credentialed(),
        select: Vec::new(),
        range: None,
        tags: Vec::new(),
        body: Manifest::default(),
    })
}

/// How freely something may be reused, at several moments, by several requests, and when upstream
/// fails: greater is freer.
fn freedom(status: StatusCode, headers: &HeaderMap, ask: &Ask, rules: &Rules) -> Vec<u8> {
    let record = stored(status, headers, ask, rules);
    let terms = record.as_ref().map(|record| Terms::of(record, rules));
    let mut freedom = Vec::new();
    for at in [0, 1_000, 9_000, 61_000, 700_000] {
        for comer in [Ask::default(), Ask { authorization: true, ..Ask::default() }] {
            let (Some(record), Some(terms)) = (&record, &terms) else {
                freedom.extend([0, 0]);
                continue;
            };
            freedom.push(match reuse(&comer, record, terms, rules, NOW + at) {
                Reuse::Refused(_) => 0,
                Reuse::Validate => 1,
                Reuse::MaxStale { .. } => 2,
                Reuse::StaleWhileRevalidate { .. } => 3,
                Reuse::Fresh { .. } => 4,
            });
            freedom
                .push(stale_on_error(&comer, record, terms, rules, NOW + at, ErrorCase::Unreachable).into());
        }
    }
    freedom
}

proptest! {
    #[test]
    fn nothing_panics(
        request in fields(), response in fields(), rules in rules(), ask in ask(), status in status(),
        now: u64, received: u64, len: u64,
    ) {
        let _ = entrance(&Method::GET, &request, &rules);
        let hop = Hop { name: "g", fleet: "f", scheme: "http", host: "a", client: None, trusted: true };
        let _ = (fill_headers(&request, &rules, &hop), pass_headers(&request, &rules, &hop));
        let _ = (is_loop(&request, "f"), upgrade_asked(&request));
        strip_connection(&mut request.clone());
        if let Varies::On(names) = varies(&response, &rules) {
            let key = Key::new("http://a/");
            let variant = variant_key(&key, &names, &request);
            prop_assert!(variant.text().lines().count() == names.len() + 1, "a value can't add lines");
            let listed = spoken(&variant, &names, &request, &response);
            let node = VaryNode { key: "http://a/".into(), token: 1, fields: names, variants: Vec::new(), languages: listed.into_iter().collect() };
            for (spoken, text) in in_best_language("http://a/", &node, &request) {
                prop_assert_eq!(&Key::new(&text).hash().to_string(), &spoken.variant);
            }
        }
        let _ = targets(&Method::POST, StatusCode::CREATED, &response, "http://a/b");
        let _ = post_fills_get(&Method::POST, status, &response, "http://a/b", &ask, &rules, received);
        let far = Answer { status, headers: &response, requested_at: now, received_at: received, framing: Framing::Close };
        let _ = verdict(&ask, &far, &rules);
        if let Some(mut record) = stored(status, &response, &ask, &rules) {
            record.received_at = received;
            record.age_ms = len;
            let terms = Terms::of(&record, &rules);
            let _ = reuse(&ask, &record, &terms, &rules, now);
            let _ = may_ride(&ask, &record, &terms, &rules, now, Ride::UnderWay);
            let _ = (selects(&record, &request), conditional(&request, &record), validators(&record));
            let _ = refresh(&record, &response, now, received, &rules);
            let _ = head_update(&record, status, &response, now, received, &rules);
            if let Ranged::Part { first, last } = ranged(&request, &record, len) {
                prop_assert!(first <= last && last < len);
            }
        }
    }

    /// no-store, private, no-cache and max-age=0, wherever they are added, never free a response.
    #[test]
    fn a_restriction_restricts(
        headers in fields(), rules in rules(), ask in ask(), status in status(), same_line: bool, in_front: bool,
        word in prop::sample::select(vec!["no-store", "private", "no-cache", "max-age=0"]),
    ) {
        // With must-understand, no-store is meant for other caches (RFC 9111 §5.2.2.3).
        let mut restricted = headers.clone();
        let mut lines: Vec<HeaderValue> = headers.get_all("cache-control").iter().cloned().collect();
        match lines.last_mut() {
            Some(line) if same_line && !in_front => {
                *line = HeaderValue::from_bytes(&[line.as_bytes(), b", ", word.as_bytes()].concat()).unwrap();
            }
            Some(line) if same_line => {
                *line = HeaderValue::from_bytes(&[word.as_bytes(), b", ", line.as_bytes()].concat()).unwrap();
            }
            _ if in_front => lines.insert(0, HeaderValue::from_static(word)),
            _ => lines.push(HeaderValue::from_static(word)),
        }
        restricted.remove("cache-control");
        for line in lines {
            restricted.append("cache-control", line);
        }
        let (before, after) =
            (freedom(status, &headers, &ask, &rules), freedom(status, &restricted, &ask, &rules));
        prop_assert!(after.iter().zip(&before).all(|(after, before)| after <= before), "{before:?} {after:?}");
    }

    /// What has stopped being fresh is never fresh again, and a grace that is over stays over.
    #[test]
    fn time_only_takes(headers in fields(), rules in rules(), status in status(), now: u32, later: u32) {
        let Some(record) = stored(status, &headers, &Ask::default(), &rules) else { return Ok(()) };
        let terms = Terms::of(&record, &rules);
        let rank = |now| match reuse(&Ask::default(), &record, &terms, &rules, now) {
            Reuse::Fresh { .. } => 3,
            Reuse::StaleWhileRevalidate { .. } => 2,
            Reuse::MaxStale { .. } => 1,
            Reuse::Validate | Reuse::Refused(_) => 0,
        };
        let (now, later) = (NOW + u64::from(now.min(later)), NOW + u64::from(now.max(later)));
        prop_assert!(rank(later) <= rank(now));
    }
}
