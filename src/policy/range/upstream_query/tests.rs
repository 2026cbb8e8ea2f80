use std::collections::BTreeSet;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use super::*;
use crate::policy::range::want::tests::want_of;
use crate::policy::reuse::tests::{NOW, record};
use crate::record::{Manifest, Record, Segment};

fn map(lines: &[(&'static str, &'static str)]) -> HeaderMap {
    lines.iter().map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v))).collect()
}

fn segment_rules() -> Rules {
    Rules { range: RangeMode::Segment, ..Rules::default() }
}

/// A stored part under `"a"`.
fn part(first: u64, last: u64, total: u64) -> Record {
    let mut part = record("max-age=9", 9000, &segment_rules());
    part.headers.insert(header::ETAG, HeaderValue::from_static("\"a\""));
    (part.status, part.range) = (StatusCode::PARTIAL_CONTENT, Some(Box::new((first, last, total))));
    part.body = Manifest { len: last - first + 1, ..Manifest::default() };
    part
}

/// What goes out, as text: Range, If-Range and If-None-Match.
fn sent(request: &[(&'static str, &'static str)], stored: Option<&Record>, rules: &Rules) -> [String; 3] {
    let request = map(request);
    let want = want_of(&Method::GET, &request, rules.range);
    let fields = plan_query(&request, want, stored, rules).fields(stored);
    ["range", "if-range", "if-none-match"]
        .map(|name| fields.get(name).map_or(String::new(), |value| value.to_str().unwrap().to_owned()))
}

#[test]
fn what_goes_out() {
    let rules = segment_rules();
    let stored = part(10, 19, 100);
    for (request, want) in [
        // It has it: is it still good?
        (&[("range", "bytes=12-15")][..], ["bytes=12-15", "", "\"a\""]),
        (&[("range", "bytes=200-")], ["bytes=200-", "", "\"a\""]),
        (&[("if-none-match", "\"a\"")], ["", "", "\"a\""]),
        // What is missing behind it, or before it.
        (&[("range", "bytes=15-24")], ["bytes=20-24", "", ""]),
        (&[("range", "bytes=20-24")], ["bytes=20-24", "", ""]),
        (&[("range", "bytes=15-")], ["bytes=20-", "", ""]),
        (&[("range", "bytes=5-15")], ["bytes=5-9", "", ""]),
        (&[("range", "bytes=0-9")], ["bytes=0-9", "", ""]),
        (&[("range", "bytes=15-24"), ("if-range", "\"a\"")], ["bytes=20-24", "\"a\"", ""]),
        // Two spans would be left, or both sides are missing.
        (&[("range", "bytes=21-24")], ["bytes=21-24", "", ""]),
        (&[("range", "bytes=0-8")], ["bytes=0-8", "", ""]),
        (&[("range", "bytes=5-24")], ["bytes=5-24", "", ""]),
        (&[("range", "bytes=-5")], ["bytes=-5", "", ""]),
        // The whole.
        (&[], ["", "", ""]),
        (&[("range", "bytes=0-1,30-31")], ["", "", ""]),
        (&[("range", "bytes=15-24"), ("if-range", "\"b\"")], ["", "", ""]),
    ] {
        assert_eq!(sent(request, Some(&stored), &rules), want, "{request:?}");
    }
}

#[test]
fn a_beginning_or_an_end_is_completed() {
    let rules = segment_rules();
    assert_eq!(sent(&[], Some(&part(0, 19, 100)), &rules), ["bytes=20-", "\"a\"", ""]);
    assert_eq!(sent(&[], Some(&part(90, 99, 100)), &rules), ["bytes=0-89", "\"a\"", ""]);
    let several = ("range", "bytes=0-1,98-99");
    assert_eq!(sent(&[several], Some(&part(0, 19, 100)), &rules), ["bytes=20-", "\"a\"", ""]);
}

#[test]
fn what_can_not_be_joined_is_fetched() {
    let rules = segment_rules();
    let whole = ["", "", ""];
    let mut weak = part(0, 19, 100);
    weak.headers.insert(header::ETAG, HeaderValue::from_static("W/\"a\""));
    assert_eq!(sent(&[], Some(&weak), &rules), whole);
    let mut long = part(0, 19, 100);
    long.body.segments =
        vec![Segment { token: 1, n: 0, len: 1, digest: [0; 16], carried: false }; MOST_JOINED + 1].into();
    assert_eq!(sent(&[], Some(&long), &rules), whole);
    let small = Rules { max_object_size: 99, ..segment_rules() };
    assert_eq!(sent(&[], Some(&part(0, 19, 100)), &small), whole);
    assert_eq!(sent(&[("range", "bytes=0-98")], Some(&part(0, 19, 100)), &small)[0], "bytes=20-98");
}

#[test]
fn another_route_forwards_no_range() {
    let rules = Rules::default();
    let asked = [("range", "bytes=2-4")];
    assert_eq!(sent(&asked, None, &rules), ["", "", ""]);
    assert_eq!(sent(&asked, None, &segment_rules()), ["bytes=2-4", "", ""]);
    // What was stored while it did is of use where it has all of it.
    assert_eq!(sent(&asked, Some(&part(0, 19, 100)), &rules), ["", "", "\"a\""]);
    assert_eq!(sent(&[], Some(&part(0, 19, 100)), &rules), ["", "", ""]);
    let mut whole = record("max-age=9", 9000, &rules);
    whole.headers.insert(header::ETAG, HeaderValue::from_static("\"a\""));
    assert_eq!(sent(&asked, Some(&whole), &rules), ["", "", "\"a\""]);
    assert_eq!(sent(&asked, Some(&whole), &segment_rules()), ["bytes=2-4", "", "\"a\""]);
}

#[test]
fn what_comes_back() {
    use Returned::{Answer, Joins, Outdated, Useless, Validated};
    let stored = part(0, 19, 100);
    let answer = |request: &[_], status: u16, lines: &[_]| {
        let (request, rules) = (map(request), segment_rules());
        let want = want_of(&Method::GET, &request, rules.range);
        let plan_query = plan_query(&request, want, Some(&stored), &rules);
        plan_query.returned(Some(&stored), StatusCode::from_u16(status).unwrap(), &map(lines))
    };
    let (tag, range) = (("etag", "\"a\""), ("content-range", "bytes 20-99/100"));
    let joins = Joins(Side::Behind, (20, 99, 100));
    for (status, lines, want) in [
        (206, &[tag, range][..], joins),
        (206, &[tag, range, ("content-length", "80")], joins),
        (206, &[tag, range, ("content-length", "79")], Useless),
        (206, &[("etag", "\"b\""), range], Outdated),
        (206, &[("etag", "W/\"a\""), range], Outdated),
        (206, &[range], Useless),
        (206, &[tag, ("content-range", "bytes 20-99/101")], Useless),
        (206, &[tag, ("content-range", "bytes 20-99/*")], Useless),
        (206, &[tag, ("content-range", "bytes 20-98/100")], Useless),
        (206, &[tag, ("content-type", "multipart/byteranges; boundary=x")], Useless),
        (206, &[tag, range, ("content-encoding", "gzip")], Useless),
        (416, &[], Useless),
        (304, &[tag], Useless),
        (200, &[tag], Answer),
        (404, &[], Answer),
        (400, &[], Useless),
        (403, &[], Useless),
        (412, &[], Useless),
        (429, &[], Answer),
        (503, &[], Answer),
    ] {
        assert_eq!(answer(&[], status, lines), want, "{status} {lines:?}");
    }
    let within = [("range", "bytes=0-9")];
    assert_eq!(answer(&within, 304, &[tag]), Validated);
    assert_eq!(answer(&within, 206, &[tag, ("content-range", "bytes 0-9/100")]), Answer);
}

#[test]
fn both_make_one_part_or_the_whole() {
    let rules = segment_rules();
    let mut stored = part(10, 19, 100);
    (stored.born, stored.token) = (3, 5);
    let lines = [("etag", "\"a\""), ("cache-control", "max-age=60"), ("age", "7"), ("x-new", "1")];
    let both = |stored: &Record, missing, lines: &[_]| {
        crate::policy::joined(stored, missing, false, &map(lines), NOW, NOW + 1000, &rules)
    };
    let more = both(&stored, (20, 29, 100), &lines).unwrap();
    assert_eq!((more.status, more.range()), (StatusCode::PARTIAL_CONTENT, Some((10, 29, 100))));
    assert_eq!(
        (more.born, more.fresh_ms, more.age_ms),
        (3, 60_000, 8000),
        "the older bytes, the newer times"
    );
    assert_eq!(
        (more.headers.to_map(0)["content-length"].clone(), more.headers.to_map(0)["x-new"].clone()),
        ("20".parse().unwrap(), "1".parse().unwrap())
    );
    assert_eq!(more.body, stored.body);
    let front = both(&stored, (0, 9, 100), &lines).unwrap();
    assert_eq!(front.range(), Some((0, 19, 100)));
    let all = both(&part(0, 19, 100), (20, 99, 100), &lines).unwrap();
    assert_eq!((all.status, all.range), (StatusCode::OK, None));
    assert_eq!(all.headers.to_map(0)["content-length"], "100");
    // What may not be stored now is joined to nothing.
    assert_eq!(both(&stored, (20, 29, 100), &[("etag", "\"a\""), ("cache-control", "no-store")]), None);
    let private = [("etag", "\"a\""), ("cache-control", "max-age=9")];
    assert!(
        crate::policy::joined(&stored, (20, 29, 100), true, &map(&private), NOW, NOW, &rules).is_none(),
        "asked for with credentials, and not granted to others"
    );
}

#[test]
fn what_is_missing_leaves_one_span() {
    const TOTAL: u64 = 7;
    let spans = || (0..TOTAL).flat_map(|first| (first..TOTAL).map(move |last| (first, last)));
    for (part, wanted) in spans().flat_map(|part| spans().map(move |wanted| (part, wanted))) {
        let (first, last) = part;
        let bytes = |(first, last): (u64, u64)| (first..=last).collect::<BTreeSet<_>>();
        let joint: BTreeSet<u64> = &bytes(part) | &bytes(wanted);
        let hull = joint.first().zip(joint.last()).map(|(first, last)| (*first, *last));
        let in_one = hull == Some((first.min(wanted.0), last.max(wanted.1)))
            && joint.len() as u64 == last.max(wanted.1) - first.min(wanted.0) + 1;
        let both_sides = wanted.0 < first && last < wanted.1;
        let has_it = first <= wanted.0 && wanted.1 <= last;
        match missing((first, last, TOTAL), wanted) {
            Some((side, (from, to, TOTAL))) => {
                assert!(in_one && !both_sides && !has_it, "{part:?} {wanted:?}");
                assert_eq!(bytes((from, to)), &bytes(wanted) - &bytes(part), "{part:?} {wanted:?}");
                assert_eq!(side == Side::Behind, from == last + 1);
                assert_eq!(side == Side::Before, to + 1 == first);
            }
            Some(other) => panic!("{other:?}"),
            None => assert!(!in_one || both_sides || has_it, "{part:?} {wanted:?}"),
        }
    }
}
