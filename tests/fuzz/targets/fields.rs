//! Dates, tags, ranges, lengths, Vary, Accept-Language and its kin, Cookie: each value as each field.
#![no_main]

use dustgate_fuzz::key::Key;
use dustgate_fuzz::policy::{
    ForwardedFields, Hop, Lifetime, RangeRequest, Ranged, RequestFacts, Rules, Varies, Want, best_language,
    conditional, content_length, fill_headers, http_date, is_loop, needs_upgrade, normal, parse_date,
    pass_headers, ranged, resumes, resumption, strip_connection, validators, variant_key, varies,
};
use dustgate_fuzz::record::LifetimeBy;
use dustgate_fuzz::route::{KeyedField, Route};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let (first, second) = data.split_at(data.iter().position(|&byte| byte == b'\n').unwrap_or(data.len()));
    let (Ok(one), Ok(two)) =
        (HeaderValue::from_bytes(first), HeaderValue::from_bytes(second.trim_ascii_start()))
    else {
        return;
    };
    let rules = Rules::default();
    if let Some(date) = parse_date(first) {
        assert_eq!(parse_date(http_date(date).as_bytes()), Some(date));
    }
    let with = |field: HeaderName| -> HeaderMap {
        [(field.clone(), one.clone()), (field, two.clone())].into_iter().collect()
    };
    let _ = content_length(&with(header::CONTENT_LENGTH));
    for field in [header::ACCEPT_LANGUAGE, header::ACCEPT_ENCODING, header::ACCEPT, header::COOKIE] {
        let text = normal(&field, &with(field.clone())).unwrap_or_default();
        assert!(!text.contains(['\n', '\r']), "{field}: {text:?}");
    }
    let _ = best_language(&with(header::ACCEPT_LANGUAGE));
    if let Varies::On(fields) = varies(&with(header::VARY), &rules) {
        let key = variant_key(&Key::new("http://a/"), &fields, &with(header::COOKIE));
        assert_eq!(key.text().lines().count(), fields.len() + 1);
    }
    let mut everything = HeaderMap::new();
    for field in [
        header::CONNECTION,
        header::UPGRADE,
        header::IF_NONE_MATCH,
        header::IF_MODIFIED_SINCE,
        header::IF_RANGE,
        header::RANGE,
        header::COOKIE,
        header::ACCEPT_LANGUAGE,
        HeaderName::from_static("cdn-loop"),
        HeaderName::from_static("x-forwarded-for"),
        header::FORWARDED,
    ] {
        everything.append(field, one.clone());
    }
    everything.append(header::CONNECTION, two.clone());
    let _ = (is_loop(&everything, "f"), needs_upgrade(http::Version::HTTP_11, &everything));
    let fields = ForwardedFields::Both;
    let hop = Hop {
        name: "n",
        fleet: "f",
        scheme: "http",
        host: "a",
        client: None,
        trusted: true,
        is_whole: false,
        fields,
    };
    let _ = (fill_headers(&everything, &rules, &hop), pass_headers(&everything, &rules, &hop));

    let lifetime =
        Lifetime { fresh_ms: 9, age_ms: 0, swr_ms: 0, sie_ms: 0, keep_ms: 9, by: LifetimeBy::Origin };
    let stored: HeaderMap = [
        (header::ETAG, two.clone()),
        (header::LAST_MODIFIED, two.clone()),
        (header::CONTENT_LENGTH, two.clone()),
    ]
    .into_iter()
    .collect();
    let mut record =
        dustgate_fuzz::record(StatusCode::OK, &stored, &RequestFacts::default(), &rules, &lifetime);
    record.body.len = 10;
    let _ = (conditional(&everything, &record), validators(&record), resumption(&record));
    let _ = resumes(&record, StatusCode::PARTIAL_CONTENT, &with(header::CONTENT_RANGE));
    let want = Want::of(&Method::GET, RangeRequest::of(&everything, &rules));
    for len in [0, 10, u64::MAX] {
        if let Ranged::Part { first, last } = ranged(&everything, want, &record, len) {
            assert!(first <= last && last < len);
        }
    }

    let keyed = ["cookie:a", "authorization", "accept-language"];
    let route = Route {
        vary_on: keyed.iter().filter_map(|one| KeyedField::parse(one)).collect(),
        ..Route::new("r", "u")
    };
    let mut kept = everything.clone();
    route.keep_keyed_cookies(&mut kept);
    if let Ok(target) = dustgate_fuzz::key::target::canonical_url("http://a/") {
        let mut text = String::new();
        route.key_into(&mut text, &target, &everything);
        assert_eq!(text.lines().count(), keyed.len() + 1);
        // The cookies that a fill carries make the same key.
        let before = text.clone();
        route.key_into(&mut text, &target, &kept);
        assert_eq!(before, text);
    }
    let _ = strip_connection(&mut everything);
});
