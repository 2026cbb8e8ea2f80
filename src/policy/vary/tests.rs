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
        // Neither a key nor a record may have a control character.
        (&[("foo", "\"a\tb\"")], Some("\"a\u{109}b\"")),
        (&[], None),
    ] {
        assert_eq!(normal(&foo, &headers(lines)).as_deref(), want, "{lines:?}");
    }
}

#[test]
fn bytes_of_any_letter_make_a_key_that_can_be_stored() {
    let foo = HeaderName::from_static("foo");
    let bytes: Vec<u8> = "\u{c0}\u{e9}\u{4e2d}".bytes().collect();
    let request = [(foo.clone(), HeaderValue::from_bytes(&bytes).unwrap())].into_iter().collect();
    let text = normal(&foo, &request).unwrap();
    assert!(!text.contains(char::is_control), "{text:?}");
    assert_eq!(text.chars().map(byte_of).collect::<Vec<_>>(), bytes, "nothing is lost");
}

#[test]
fn with_what_is_implied_it_may_be_too_much_to_compare() {
    let many = |many: usize| (0..many).map(|n| format!("x-{n}")).collect::<Vec<_>>().join(",");
    let (most, coded) = (many(32), ("content-encoding", "gzip"));
    assert!(matches!(varies(&headers(&[("vary", &most)]), &Rules::default()), Varies::On(_)));
    assert_eq!(varies(&headers(&[("vary", &most), coded]), &Rules::default()), Varies::Star);
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
    assert_eq!(first, key(&[("accept-encoding", "BR;q=0.1,gzip;q=0.1,deflate")]));
    assert_ne!(first, key(&[("accept-encoding", "gzip, br"), ("foo", "")]));
    assert_ne!(key(&[("foo", "a")]), key(&[("foo", "b")]));
}

#[test]
fn a_language_answers_who_wants_it_most() {
    let fields = [header::ACCEPT_LANGUAGE];
    let mut stored = record("max-age=9", 9000, &Rules::default());
    let first = headers(&[("accept-language", "en, de")]);
    stored.select = selecting(&fields, &first).into();
    stored.headers.insert(header::CONTENT_LANGUAGE, HeaderValue::from_static("de"));
    for (asked, want) in [("de, en", true), ("fr;q=0.5, DE;q=1.0", true), ("fr, de", false), ("fr", false)] {
        let asked = headers(&[("accept-language", asked)]);
        assert_eq!(selects(&stored, &asked), want, "{asked:?}");
    }
    assert!(!selects(&stored, &HeaderMap::new()));
}

#[test]
fn a_language_is_found_however_it_is_wanted() {
    let fields = vec![header::ACCEPT, header::ACCEPT_LANGUAGE];
    let (primary, text) = (Key::new("http://a/"), "http://a/");
    let german = headers(&[("content-language", "DE")]);
    let list = |accept: &str, languages: &str, response: &HeaderMap| {
        let asked = headers(&[("accept", accept), ("accept-language", languages)]);
        let key = variant_key(&primary, &fields, &asked);
        (key.text().to_owned(), spoken(&key, &fields, &asked, response))
    };
    let (first, as_first) = list("x", "en, de", &german);
    let (other, as_other) = list("y", "fr", &german);
    assert_eq!(
        as_first.as_ref().map(|one| (&*one.language, one.accept.as_deref())),
        Some(("de", Some("de, en")))
    );
    let languages = vec![as_first.unwrap(), as_other.unwrap()];
    let node = VaryNode {
        key: text.into(),
        token: 1,
        fields: fields.clone(),
        variants: Vec::new(),
        languages,
        noted: true,
    };
    // Those that are there in truth: what is filed under another field's value has another hash.
    let found = |accept: &str, languages: &str| {
        let asked = headers(&[("accept", accept), ("accept-language", languages)]);
        let keys = in_best_language(text, &node, &asked).collect::<Vec<_>>();
        let there = keys.iter().filter(|(spoken, text)| Key::new(text).hash().to_string() == spoken.variant);
        there.map(|(_, text)| text.clone()).collect::<Vec<_>>()
    };
    assert_eq!(found("x", "fr;q=0.5, de;q=1.0"), [first]);
    assert_eq!(found("y", "de"), [other]);
    for (accept, languages) in [("z", "de"), ("x", "fr, de"), ("x", "fr"), ("x", "*")] {
        assert!(found(accept, languages).is_empty(), "{accept} {languages}");
    }
    for response in [
        &[("content-language", "de, en")][..],
        &[],
        &[("content-language", "de"), ("content-language", "en")],
    ] {
        assert_eq!(list("x", "de", &headers(response)).1, None, "{response:?}");
    }
    assert_eq!(list("x", &"a".repeat(300), &german).1, None, "too long to list");
    let asked = headers(&[("accept-language", "de")]);
    assert_eq!(spoken(&primary, &[header::ACCEPT], &asked, &german), None, "does not vary on it");
}

#[test]
fn selection() {
    let foo = HeaderName::from_static("foo");
    let mut stored = record("max-age=9", 9000, &Rules::default());
    stored.select = vec![(header::ACCEPT, None), (foo, Some("1, 2".into()))].into();
    assert!(selects(&stored, &headers(&[("foo", "1,2")])));
    assert!(!selects(&stored, &headers(&[("foo", "1")])));
    assert!(!selects(&stored, &headers(&[])));
    assert!(!selects(&stored, &headers(&[("foo", "1, 2"), ("accept", "")])));
}
