use super::*;
use crate::policy::reuse::tests::record;
use crate::policy::rules::Carried;

fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
    fields
        .iter()
        .map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_bytes(v.as_bytes()).unwrap()))
        .collect()
}

#[test]
fn what_selects() {
    let rules = Rules::default();
    let on =
        |fields: &[&'static str]| Varies::On(fields.iter().map(|f| HeaderName::from_static(f)).collect());
    let many = (0..40).map(|n| format!("f{n}")).collect::<Vec<_>>().join(",");
    for (response, want) in [
        (&[][..], Varies::No),
        (&[("vary", "")], Varies::No),
        (&[("vary", "Foo, accept ,foo"), ("vary", "Bar")], on(&["accept", "bar", "foo"])),
        (&[("vary", "foo, *")], Varies::Star),
        (&[("vary", "f o o")], Varies::Star),
        (&[("vary", &many)], Varies::Star),
        (&[("vary", "range")], Varies::Star),
        (&[("vary", "x-forwarded-for")], Varies::Star),
        (&[("vary", "X-Forwarded-Proto, x-forwarded-host")], Varies::No),
        (&[("content-encoding", "gzip")], on(&["accept-encoding"])),
        (&[("content-encoding", "identity")], Varies::No),
        (&[("content-encoding", "br"), ("vary", "Accept-Encoding")], on(&["accept-encoding"])),
        (&[("access-control-allow-origin", "https://a")], on(&["origin"])),
        (&[("access-control-allow-origin", "*")], Varies::No),
        (&[("vary", "Cookie")], on(&["cookie"])),
    ] {
        assert_eq!(varies(&headers(response), &rules), want, "{response:?}");
    }
    let strip = Rules { cookies: Cookies::Strip, ..Rules::default() };
    assert_eq!(varies(&headers(&[("vary", "Cookie")]), &strip), Varies::No);
    let only = Rules { carried: Carried::Only(Vec::new()), ..Rules::default() };
    assert_eq!(varies(&headers(&[("vary", "Foo")]), &only), Varies::Star);
    assert_eq!(varies(&headers(&[("content-encoding", "gzip")]), &only), Varies::No, "nobody's is sent");
}

#[test]
fn normal_values() {
    let foo = HeaderName::from_static("foo");
    for (lines, want) in [
        (&[("foo", " 1, 2 ")][..], Some("1, 2")),
        (&[("foo", "1,2")], Some("1, 2")),
        (&[("foo", "1"), ("foo", "2")], Some("1, 2")),
        (&[("foo", "1 \t ,\t2")], Some("1, 2")),
        (&[("foo", "a b")], Some("a b")),
        (&[("foo", "\"a ,b\" ,c")], Some("\"a ,b\", c")),
        (&[("foo", "\"a\\\" ,b\",c")], Some("\"a\\\" ,b\", c")),
        (&[("foo", "A")], Some("A")),
        (&[("foo", "")], Some("")),
        (&[], None),
    ] {
        assert_eq!(normal(&foo, &headers(lines)).as_deref(), want, "{lines:?}");
    }
}

#[test]
fn credentials_only_as_their_hash() {
    let found = normal(&header::AUTHORIZATION, &headers(&[("authorization", "abc")])).unwrap();
    assert_eq!(found, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    let split = headers(&[("cookie", "a=b"), ("cookie", "c=d")]);
    assert_eq!(normal(&header::COOKIE, &split), normal(&header::COOKIE, &headers(&[("cookie", "a=b; c=d")])));
}

#[test]
fn keys_of_variants() {
    let primary = Key::new("http://a/");
    let fields = [header::ACCEPT_ENCODING, HeaderName::from_static("foo")];
    let key = |request: &[(&'static str, &str)]| variant_key(&primary, &fields, &headers(request));
    let first = key(&[("accept-encoding", "gzip, br")]);
    assert_eq!(first.text(), "http://a/\n+accept-encoding: br, gzip\n+foo");
    assert_eq!(first, key(&[("accept-encoding", "BR;q=0.1,gzip,deflate")]));
    assert_ne!(first, key(&[("accept-encoding", "gzip, br"), ("foo", "")]));
    assert_ne!(key(&[("foo", "a")]), key(&[("foo", "b")]));
}

#[test]
fn a_language_answers_who_wants_it_most() {
    let fields = [header::ACCEPT_LANGUAGE];
    let primary = Key::new("http://a/");
    let mut stored = record("max-age=9", 9000, &Rules::default());
    let first = headers(&[("accept-language", "en, de")]);
    stored.select = selecting(&fields, &first);
    stored.headers.insert(header::CONTENT_LANGUAGE, HeaderValue::from_static("de"));
    for (asked, want) in [("de, en", true), ("fr;q=0.5, DE;q=1.0", true), ("fr, de", false), ("fr", false)] {
        let asked = headers(&[("accept-language", asked)]);
        assert_eq!(selects(&stored, &asked), want, "{asked:?}");
    }
    assert!(!selects(&stored, &HeaderMap::new()));
    let by_language = language_key(&primary, &fields, &first, "de").unwrap();
    assert_eq!(by_language, variant_key(&primary, &fields, &headers(&[("accept-language", "de")])));
    assert_eq!(language_key(&primary, &[header::ACCEPT], &first, "de"), None);
}

#[test]
fn selection() {
    let foo = HeaderName::from_static("foo");
    let mut stored = record("max-age=9", 9000, &Rules::default());
    stored.select = vec![(header::ACCEPT, None), (foo, Some("1, 2".into()))];
    assert!(selects(&stored, &headers(&[("foo", "1,2")])));
    assert!(!selects(&stored, &headers(&[("foo", "1")])));
    assert!(!selects(&stored, &headers(&[])));
    assert!(!selects(&stored, &headers(&[("foo", "1, 2"), ("accept", "")])));
}
