use http::HeaderValue;

use super::*;
use crate::policy::reuse::tests::{NOW, record};

const OLD: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
const NEW: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

type Fields<'a> = &'a [(&'static str, &'static str)];

fn map(fields: Fields<'_>) -> HeaderMap {
    fields.iter().map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v))).collect()
}

fn stored(fields: Fields<'_>) -> Record {
    let mut record = record("max-age=1", 1_000, &Rules::default());
    record.headers.edit(|headers| headers.extend(map(fields)));
    record
}

fn refreshed(stored_fields: Fields<'_>, told: Fields<'_>) -> Option<Record> {
    refresh(&stored(stored_fields), &map(told), NOW + 5_000, NOW + 5_500, &Rules::default())
}

#[test]
fn conditions() {
    let sent = validators(&stored(&[("etag", "W/\"a\""), ("last-modified", OLD)])).unwrap();
    assert_eq!(
        (&sent["if-none-match"], &sent["if-modified-since"]),
        (&"W/\"a\"".parse().unwrap(), &OLD.parse().unwrap())
    );
    let bare = validators(&stored(&[("etag", "a"), ("last-modified", "then")])).unwrap();
    assert_eq!((bare.len(), &bare["if-none-match"]), (1, &"a".parse().unwrap()), "as the origin wrote it");
    assert_eq!(validators(&stored(&[])), None);
}

#[test]
fn which_304_is_of_the_same() {
    let (tag, weak, dated) = (("etag", "\"a\""), ("etag", "W/\"a\""), ("last-modified", OLD));
    for (has, told, want) in [
        (&[tag][..], &[tag][..], true),
        (&[tag], &[("etag", "\"b\"")], false),
        (&[tag], &[weak], true),
        (&[weak], &[weak], true),
        (&[weak], &[tag], true),
        (&[weak], &[("etag", "\"b\"")], false),
        (&[("etag", "a")], &[("etag", "a")], true),
        (&[("etag", "a")], &[tag], true),
        (&[("etag", "a")], &[("etag", "b")], false),
        (&[tag], &[], true),
        (&[dated], &[dated], true),
        (&[dated], &[("last-modified", NEW)], false),
        (&[tag, dated], &[("last-modified", NEW)], false),
        (&[tag, dated], &[tag, ("last-modified", NEW)], true),
        (&[dated], &[tag], false),
        (&[dated], &[tag, dated], true),
        (&[dated], &[tag, ("last-modified", NEW)], false),
        (&[dated], &[("last-modified", "Sunday, 06-Nov-94 08:49:37 GMT")], true),
    ] {
        assert_eq!(refreshed(has, told).is_some(), want, "{has:?} {told:?}");
    }
}

#[test]
fn fields_and_times_are_new() {
    let has: Fields<'_> = &[
        ("etag", "\"a\""),
        ("x-a", "1"),
        ("x-a", "2"),
        ("x-b", "1"),
        ("content-encoding", "gzip"),
        ("content-length", "0"),
        ("content-type", "a/b"),
    ];
    let mut record = stored(has);
    record.select = vec![(header::ACCEPT_ENCODING, Some("gzip".into()))].into();
    let told = map(&[
        ("cache-control", "max-age=60, stale-while-revalidate=5"),
        ("x-a", "3"),
        ("age", "7"),
        ("content-encoding", "br"),
        ("content-length", "9"),
        ("content-type", "a/b; charset=utf-8"),
        ("connection", "x-b"),
        ("x-b", "2"),
    ]);
    let new = refresh(&record, &told, NOW + 5_000, NOW + 5_500, &Rules::default()).unwrap();
    let all: Vec<_> = new.headers.lines(&"x-a".parse().unwrap()).collect();
    assert_eq!(all, [b"3"]);
    assert_eq!(new.headers.to_map(0)["x-b"], "1");
    assert_eq!(
        (&new.headers.to_map(0)["content-encoding"], &new.headers.to_map(0)["content-length"]),
        (&"gzip".parse().unwrap(), &"0".parse().unwrap())
    );
    assert_eq!(new.headers.to_map(0)["content-type"], "a/b; charset=utf-8");
    assert!(!new.headers.to_map(0).contains_key("age"));
    assert_eq!((new.received_at, new.age_ms, new.fresh_ms, new.swr_ms), (NOW + 5_500, 7_500, 60_000, 5_000));
    assert_eq!(new.headers.to_map(0)["date"], crate::policy::http_date(NOW + 5_500));
    assert_eq!((new.born, new.token, &new.body), (record.born, record.token, &record.body));
}

/// The bytes came under the stored tag: a strong one that they were not sent under would let parts of
/// two versions be joined.
#[test]
fn the_stored_tag_stays() {
    for (has, told) in
        [("W/\"a\"", "\"a\""), ("\"a\"", "W/\"a\""), ("a", "\"a\""), ("\"a\"", "\"a\""), ("W/\"a\"", "a")]
    {
        let new = refreshed(&[("etag", has)], &[("etag", told)]).unwrap_or_else(|| panic!("{has} {told}"));
        assert_eq!(new.headers.to_map(0)["etag"], has, "{told}");
    }
    let dated = ("last-modified", OLD);
    let new = refreshed(&[dated], &[("etag", "\"a\""), dated]).unwrap();
    assert!(!new.headers.to_map(0).contains_key("etag"), "no bytes came under it");
}

#[test]
fn a_304_that_takes_it_out_of_the_store() {
    let tag = ("etag", "\"a\"");
    for told in [
        ("cache-control", "no-store"),
        ("cache-control", "private"),
        ("set-cookie", "a=b"),
        ("vary", "*"),
        ("vary", "accept"),
    ] {
        assert_eq!(refreshed(&[tag], &[told]), None, "{told:?}");
    }
}

#[test]
fn heads() {
    let (tag, coded) = (("etag", "\"a\""), ("content-encoding", "gzip"));
    let update = |status, has: Fields<'_>, head: Fields<'_>| {
        let mut record = stored(has);
        record.body.len = 5;
        let status = StatusCode::from_u16(status).unwrap();
        match head_update(&record, status, &map(head), NOW, NOW, &Rules::default()) {
            HeadUpdate::Nothing => "nothing",
            HeadUpdate::Refreshed(_) => "refreshed",
            HeadUpdate::Stale => "stale",
        }
    };
    let (weak, old) = (("etag", "W/\"a\""), ("last-modified", OLD));
    for (status, has, head, want) in [
        (200, &[tag][..], &[tag, ("content-length", "5")][..], "refreshed"),
        (200, &[tag], &[], "stale"),
        (200, &[], &[("content-length", "5")], "stale"),
        (200, &[tag], &[("content-length", "5")], "stale"),
        (200, &[tag, old], &[old, ("content-length", "5")], "refreshed"),
        (200, &[tag, old], &[old, ("content-length", "5, 6")], "stale"),
        (200, &[tag], &[old], "stale"),
        (200, &[weak], &[tag], "refreshed"),
        (200, &[tag], &[weak], "refreshed"),
        (200, &[tag], &[("etag", "\"b\"")], "stale"),
        (200, &[], &[tag], "stale"),
        (200, &[tag], &[tag, ("content-length", "6")], "stale"),
        (200, &[tag], &[("last-modified", NEW)], "stale"),
        // nginx codes a GET on the fly, and describes the file to a HEAD.
        (200, &[weak, coded], &[tag, ("content-length", "900")], "nothing"),
        (200, &[weak, coded], &[("etag", "\"b\""), ("content-length", "900")], "stale"),
        (200, &[weak, coded], &[("content-length", "900")], "nothing"),
        (410, &[tag], &[], "nothing"),
        (304, &[tag], &[], "nothing"),
    ] {
        assert_eq!(update(status, has, head), want, "{status} {has:?} {head:?}");
    }
}
