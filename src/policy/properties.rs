//! Properties that hold for any fields.

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use proptest::prelude::*;

use super::reuse::tests::NOW;
use super::*;
use crate::key::Key;
use crate::record::Record;
use crate::record::VaryNode;
use crate::testkit::fixtures;

mod monotone;
mod parsers;
mod second_opinion;

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
    fn ignore()(set in prop::collection::vec(prop::bool::weighted(0.15), 7)) -> Ignore {
        Ignore {
            max_age: set[0],
            s_maxage: set[1],
            expires: set[2],
            no_cache: set[3],
            must_revalidate: set[4],
            private: set[5],
            no_store: set[6],
        }
    }
}

prop_compose! {
    fn rules()(
        (default_ttl_ms, max_ttl_ms, while_revalidate_ms) in
            any::<(Option<u32>, Option<u32>, u16)>(),
        (if_error_set, store_unframed, honour, heuristic) in any::<(bool, bool, bool, bool)>(),
        (status_ttl_ms, keep_ms) in any::<(Option<u16>, Option<u16>)>(),
        ignore in ignore(),
        set_cookie in prop::sample::select(vec![SetCookie::Pass, SetCookie::Strip, SetCookie::Store]),
        cookies in prop::sample::select(vec![Cookies::Guard, Cookies::Pass, Cookies::Strip]),
    ) -> Rules {
        Rules {
            default_ttl_ms: default_ttl_ms.map(u64::from),
            status_ttl_ms: status_ttl_ms.map(|ms| (404, u64::from(ms))).into_iter().collect(),
            max_ttl_ms: max_ttl_ms.map(u64::from),
            heuristic: heuristic.then(Heuristic::default),
            while_revalidate_ms: while_revalidate_ms.into(),
            if_error_set,
            keep_ms: keep_ms.map(u64::from),
            store_unframed,
            client_cache_control: if honour { ClientCacheControl::Honour } else { ClientCacheControl::Ignore },
            ignore,
            set_cookie,
            cookies,
            ..Rules::default()
        }
    }
}

prop_compose! {
    fn ask()(head: bool, authorization in prop::bool::weighted(0.3), cookie in prop::bool::weighted(0.3)) -> RequestFacts {
        let want = if head { Want::Head(None) } else { Want::Whole };
        RequestFacts { want, authorization, cookie, ..RequestFacts::default() }
    }
}

fn status() -> impl Strategy<Value = StatusCode> {
    prop_oneof![3 => Just(200u16), 1 => 200u16..600].prop_map(|status| StatusCode::from_u16(status).unwrap())
}

fn answer(status: StatusCode, headers: &HeaderMap) -> Answer<'_> {
    Answer { status, headers, requested_at: NOW - 30, received_at: NOW, framing: Framing::Length(10) }
}

/// The record that a verdict stores, if it does.
fn stored(status: StatusCode, headers: &HeaderMap, ask: &RequestFacts, rules: &Rules) -> Option<Record> {
    match verdict(ask, &answer(status, headers), rules) {
        Verdict::Store(lifetime) => Some(record(status, headers, ask, rules, &lifetime)),
        Verdict::Share { .. } | Verdict::Pass(_) | Verdict::Failed { .. } => None,
    }
}

fn record(
    status: StatusCode,
    headers: &HeaderMap,
    ask: &RequestFacts,
    rules: &Rules,
    lifetime: &Lifetime,
) -> Record {
    Record {
        status,
        headers: stored_headers(headers, rules, NOW).into(),
        received_at: NOW,
        age_ms: lifetime.age_ms,
        fresh_ms: lifetime.fresh_ms,
        swr_ms: lifetime.swr_ms,
        sie_ms: lifetime.sie_ms,
        keep_ms: lifetime.keep_ms,
        by: lifetime.by,
        credentialed: ask.credentialed(),
        ..fixtures::record("http://a/")
    }
}

proptest! {
    #[test]
    fn nothing_panics(
        request in fields(), response in fields(), rules in rules(), ask in ask(), status in status(),
        now: u64, received: u64, len: u64,
    ) {
        let _ = entrance(&Method::GET, &request, &rules);
        let hop = Hop { name: "g", fleet: "f", scheme: "http", host: "a", is_whole: true, client: None, trusted: true, fields: ForwardedFields::Both };
        let _ = (fill_headers(&request, &rules, &hop), pass_headers(&request, &rules, &hop));
        let _ = (is_loop(&request, "f"), needs_upgrade(http::Version::HTTP_11, &request));
        let _ = strip_connection(&mut request.clone());
        if let Varies::On(names) = varies(&response, &rules) {
            let key = Key::new("http://a/");
            let variant = variant_key(&key, &names, &request);
            prop_assert!(variant.text().lines().count() == names.len() + 1, "a value can't add lines");
            let listed = spoken(&variant, &names, &request, &response);
            let node = VaryNode { key: "http://a/".into(), token: 1, fields: names, variants: Vec::new(), languages: listed.into_iter().collect(), noted: true };
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
            let terms = ReuseTerms::of(&record, &rules);
            let _ = reuse(&ask, &record, &terms, now);
            let _ = may_ride(&ask, &record, &terms, now, Ride::UnderWay);
            let _ = (selects(&record, &request), conditional(&request, &record), validators(&record));
            let _ = refresh(&record, &response, now, received, &rules);
            let _ = head_update(&record, status, &response, now, received, &rules);
            let want = Want::of(&Method::GET, RangeRequest::of(&request, &rules));
            if let Ranged::Part { first, last } = ranged(&request, want, &record, len) {
                prop_assert!(first <= last && last < len);
            }
        }
    }

    /// What has stopped being fresh is never fresh again, and a grace that is over stays over.
    #[test]
    fn time_only_takes(headers in fields(), rules in rules(), status in status(), now: u32, later: u32) {
        let Some(record) = stored(status, &headers, &RequestFacts::default(), &rules) else { return Ok(()) };
        let terms = ReuseTerms::of(&record, &rules);
        let rank = |now| match reuse(&RequestFacts::default(), &record, &terms, now) {
            Reuse::Fresh { .. } => 3,
            Reuse::StaleWhileRevalidate { .. } => 2,
            Reuse::MaxStale { .. } => 1,
            Reuse::Validate | Reuse::Refused(_) => 0,
        };
        let (now, later) = (NOW + u64::from(now.min(later)), NOW + u64::from(now.max(later)));
        prop_assert!(rank(later) <= rank(now));
    }
}
