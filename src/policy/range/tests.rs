use http::Method;

use super::cut::within;
use super::want::tests::want_of;
use super::*;
use crate::policy::reuse::tests::record;
use crate::policy::{RangeMode, Rules};

fn asked(range: &str, len: u64) -> Ranged {
    let request = [(header::RANGE, HeaderValue::from_str(range).unwrap())].into_iter().collect();
    let want = want_of(&Method::GET, &request, RangeMode::Fill);
    ranged(&request, want, &record("max-age=9", 9000, &Rules::default()), len)
}

#[test]
fn one_range() {
    let part = |first, last| Ranged::Part { first, last };
    for (range, want) in [
        ("bytes=0-0", part(0, 0)),
        ("bytes=2-5", part(2, 5)),
        ("Bytes= 2-5 ", part(2, 5)),
        ("bytes=,2-5,", part(2, 5)),
        ("bytes=2-", part(2, 9)),
        ("bytes=2-99999999999999999999999", part(2, 9)),
        ("bytes=-3", part(7, 9)),
        ("bytes=-30", part(0, 9)),
        ("bytes=10-", Ranged::Unsatisfiable),
        ("bytes=10-12", Ranged::Unsatisfiable),
        ("bytes=-0", Ranged::Unsatisfiable),
        ("bytes=10-11, 20-", Ranged::Unsatisfiable),
        ("bytes=5-2", Ranged::Whole),
        ("bytes=a-b", Ranged::Whole),
        ("bytes=", Ranged::Whole),
        ("bytes=-", Ranged::Whole),
        ("bytes", Ranged::Whole),
        ("lines=1-2", Ranged::Whole),
        ("bytes=4-5, 20-", part(4, 5)),
        ("bytes=4-5, 0-1", Ranged::Whole),
        ("bytes=0-4, 4-5", Ranged::Whole),
        ("bytes=+1-2", Ranged::Whole),
        ("bytes=0-0,1-1,2-2,3-3,4-4,5-5,6-6,7-7,8-8,9-9,0-0,0-0,0-0,0-0,0-0,0-0,0-0", Ranged::Whole),
    ] {
        assert_eq!(asked(range, 10), want, "{range}");
    }
}

#[test]
fn several_ranges() {
    for (range, want) in [
        ("bytes=0-1, 4-5", &[(0, 1), (4, 5)][..]),
        ("bytes=0-0,2-3, 30-, -1", &[(0, 0), (2, 3), (9, 9)]),
        ("bytes=0-4,5-", &[(0, 4), (5, 9)]),
    ] {
        let Ranged::Parts(parts) = asked(range, 10) else { panic!("{range}") };
        assert_eq!(parts.spans(), want, "{range}");
    }
}

#[test]
fn of_nothing() {
    for range in ["bytes=0-0", "bytes=0-", "bytes=-5", "bytes=-0", "bytes=7-9, 20-"] {
        assert_eq!(asked(range, 0), Ranged::Whole, "{range}");
    }
}

#[test]
fn if_range() {
    let (early, late) = ("Sun, 06 Nov 1994 08:49:36 GMT", "Sun, 06 Nov 1994 08:49:37 GMT");
    let mut record = record("max-age=9", 9000, &Rules::default());
    for (stored, asked, want) in [
        (&[("etag", "\"a\"")][..], "\"a\"", true),
        (&[("etag", "\"a\"")], "\"b\"", false),
        (&[("etag", "W/\"a\"")], "W/\"a\"", false),
        (&[("etag", "\"a\"")], "nonsense", false),
        (&[("etag", "a")], "a", false),
        (&[("etag", "a")], "\"a\"", false),
        (&[("last-modified", early), ("date", late)], early, true),
        (&[("last-modified", early), ("date", late)], late, false),
        (&[("last-modified", early), ("date", early)], early, false),
        (&[("last-modified", early)], early, false),
    ] {
        record.headers =
            stored.iter().map(|(n, v)| (n.parse().unwrap(), HeaderValue::from_static(v))).collect();
        let mut request = HeaderMap::new();
        request.insert(header::RANGE, HeaderValue::from_static("bytes=0-1"));
        request.insert(header::IF_RANGE, HeaderValue::from_static(asked));
        let got = want_of(&Method::GET, &request, RangeMode::Fill);
        let part = ranged(&request, got, &record, 10) == Ranged::Part { first: 0, last: 1 };
        assert_eq!(part, want, "{stored:?} {asked}");
    }
}

#[test]
fn lines() {
    assert_eq!(content_range(0, 4, 10), "bytes 0-4/10");
    assert_eq!(unsatisfied_range(10), "bytes */10");
}

#[test]
fn what_a_stored_part_answers() {
    let mut part = record("max-age=9", 9000, &Rules::default());
    part.headers.insert(header::ETAG, HeaderValue::from_static("\"a\""));
    (part.status, part.range) = (StatusCode::PARTIAL_CONTENT, Some(Box::new((10, 19, 100))));
    for (head, request, want) in [
        (false, &[("range", "bytes=10-19")][..], true),
        (false, &[("range", "bytes=12-12")], true),
        (false, &[("range", "bytes=9-12")], false),
        (false, &[("range", "bytes=12-20")], false),
        (false, &[("range", "bytes=12-")], false),
        (false, &[("range", "bytes=-81")], false),
        (false, &[("range", "bytes=10-11,18-19")], true),
        (false, &[("range", "bytes=10-11,18-20")], false),
        (false, &[("range", "bytes=100-")], true),
        (false, &[("range", "nonsense")], false),
        (false, &[("range", "bytes=12-12"), ("if-range", "\"a\"")], true),
        (false, &[("range", "bytes=12-12"), ("if-range", "\"b\"")], false),
        (false, &[], false),
        (false, &[("if-none-match", "\"a\"")], true),
        (false, &[("if-none-match", "\"b\"")], false),
        (true, &[], false),
        (true, &[("range", "bytes=12-12")], false),
        (true, &[("if-none-match", "\"a\"")], true),
    ] {
        let headers =
            request.iter().map(|(n, v)| (n.parse().unwrap(), HeaderValue::from_static(v))).collect();
        let method = if head { Method::HEAD } else { Method::GET };
        let got = want_of(&method, &headers, RangeMode::Fill);
        assert_eq!(answers(&headers, got, &part), want, "{head} {request:?}");
    }
    part.headers.insert(header::ETAG, HeaderValue::from_static("\"b\""));
    let whole = record("max-age=9", 9000, &Rules::default());
    assert!(answers(&HeaderMap::new(), Want::Head(None), &whole));
}

#[test]
fn what_of_a_body_is_sent() {
    let whole = record("max-age=9", 9000, &Rules::default());
    let part =
        Record { status: StatusCode::PARTIAL_CONTENT, range: Some(Box::new((10, 19, 100))), ..whole.clone() };
    let cut = |first, last, total, at| Cut::Part { first, last, total, at };
    for (head, range, of_whole, of_unknown, of_part) in [
        (false, None, Cut::Whole, Cut::Whole, Cut::Lacking),
        (true, None, Cut::Whole, Cut::Whole, Cut::Lacking),
        (true, Some("bytes=12-13"), Cut::Whole, Cut::Whole, Cut::Lacking),
        (false, Some("nonsense"), Cut::Whole, Cut::Whole, Cut::Lacking),
        (false, Some("bytes=12-13"), cut(12, 13, 100, (12, 13)), Cut::Whole, cut(12, 13, 100, (2, 3))),
        (false, Some("bytes=12-20"), cut(12, 20, 100, (12, 20)), Cut::Whole, Cut::Lacking),
        (
            false,
            Some("bytes=100-"),
            Cut::Unsatisfiable { total: 100 },
            Cut::Whole,
            Cut::Unsatisfiable { total: 100 },
        ),
    ] {
        let range = range.map(HeaderValue::from_static);
        let headers = range.into_iter().map(|range| (header::RANGE, range)).collect();
        let method = if head { Method::HEAD } else { Method::GET };
        let want = want_of(&method, &headers, RangeMode::Fill);
        assert_eq!(Cut::of(&headers, want, &whole, Some(100)), of_whole, "{head} {headers:?}");
        assert_eq!(Cut::of(&headers, want, &whole, None), of_unknown, "{head} {headers:?}");
        assert_eq!(Cut::of(&headers, want, &part, Some(10)), of_part, "{head} {headers:?}");
    }
    let headers = [(header::RANGE, HeaderValue::from_static("bytes=11-12,17-18"))].into_iter().collect();
    let want = want_of(&Method::GET, &headers, RangeMode::Fill);
    for (record, len, first) in [(&whole, 100, (11, 12)), (&part, 10, (1, 2))] {
        let cut = Cut::of(&headers, want, record, Some(len));
        assert!(matches!(&cut, Cut::Parts { parts, total: 100 } if parts.spans() == [(11, 12), (17, 18)]));
        assert_eq!(cut.first_bytes(record), Some(first));
    }
}

#[test]
fn where_a_span_lies_in_a_part() {
    let mut part = record("max-age=9", 9000, &Rules::default());
    assert_eq!(within(&part, (3, 5)), Some((3, 5)));
    part.range = Some(Box::new((10, 19, 100)));
    assert_eq!(within(&part, (10, 19)), Some((0, 9)));
    assert_eq!(within(&part, (12, 20)), None);
    assert_eq!(within(&part, (9, 12)), None);
}
