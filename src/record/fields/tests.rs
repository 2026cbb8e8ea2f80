use proptest::prelude::*;

use super::*;

fn map(lines: &[(&str, &[u8])]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in lines {
        map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_bytes(value).unwrap());
    }
    map
}

#[test]
fn fields_are_found_by_their_names_and_in_their_order() {
    let (long, text) = ("x-".repeat(80), vec![b'z'; 20_000]);
    let map = map(&[
        ("etag", b"\"a\""),
        ("x-a", b"1"),
        ("set-cookie", b"a=1"),
        ("x-a", b"\xe9\t2"),
        (&long, b""),
        ("X-Long", &text),
    ]);
    let fields = Fields::from(&map);
    assert_eq!(fields.lines(&HeaderName::from_static("x-a")).collect::<Vec<_>>(), [&b"1"[..], b"\xe9\t2"]);
    assert_eq!(fields.first(&http::header::ETAG), Some(&b"\"a\""[..]));
    assert_eq!(fields.value(&HeaderName::from_bytes(long.as_bytes()).unwrap()).unwrap(), "");
    assert!(fields.has(&http::header::SET_COOKIE) && !fields.has(&http::header::AGE));
    assert_eq!((fields.len(), fields.to_map(0)), (6, map));
}

#[test]
fn a_tail_lies_behind_the_fields_and_changes_none() {
    let some = Fields::from(map(&[("etag", b"\"a\""), ("x-a", b"1")]));
    for fields in [some, Fields::default()] {
        assert_eq!(fields.tail(), "");
        let tailed = fields.with_tail(b"body");
        assert_eq!((&tailed, tailed.tail()), (&fields, Bytes::from_static(b"body")));
        assert_eq!(tailed.with_tail(b"").tail(), "");
        assert_eq!(tailed.to_map(0), fields.to_map(0));
    }
}

#[test]
fn kept_fields_share_nothing_with_the_buffer_that_they_were_read_into() {
    let buffer = Bytes::from(b"text/html of a long buffer".to_vec());
    let mut map = HeaderMap::new();
    map.insert("content-type", HeaderValue::from_maybe_shared(buffer.slice(..9)).unwrap());
    let fields = Fields::from(map);
    assert!(buffer.is_unique());
    assert_eq!(fields.first(&http::header::CONTENT_TYPE), Some(&b"text/html"[..]));
}

fn a_name() -> impl Strategy<Value = HeaderName> {
    let text = prop_oneof![
        Just("etag".to_owned()),
        Just("vary".to_owned()),
        "[a-z][a-z0-9-]{0,12}",
        "[a-z!#$%&'*+.^_`|~0-9-]{60,90}",
    ];
    text.prop_map(|text| HeaderName::from_bytes(text.as_bytes()).unwrap())
}

fn a_value() -> impl Strategy<Value = HeaderValue> {
    let byte = prop_oneof![Just(b'\t'), 0x20..0x7fu8, 0x80..=0xffu8];
    prop::collection::vec(byte, 0..160).prop_map(|bytes| HeaderValue::from_bytes(&bytes).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn fields_that_were_kept_are_the_fields_before(
        lines in prop::collection::vec((a_name(), a_value()), 0..12),
        tail in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let mut map = HeaderMap::new();
        for (name, value) in lines {
            map.append(name, value);
        }
        let fields = Fields::from(&map);
        let kept = fields.with_tail(&tail);
        prop_assert_eq!(&kept.to_map(3), &map);
        prop_assert_eq!(kept.tail(), &tail[..]);
        let order = |map: &HeaderMap| -> Vec<_> {
            map.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
        };
        prop_assert_eq!(order(&kept.to_map(0)), order(&map));
        prop_assert_eq!(&Fields::from(kept.to_map(0)), &fields);
        for name in map.keys() {
            prop_assert!(kept.lines(name).eq(map.get_all(name).iter().map(HeaderValue::as_bytes)));
            let value = kept.value(name);
            prop_assert_eq!(value.as_ref(), map.get(name));
        }
    }
}
