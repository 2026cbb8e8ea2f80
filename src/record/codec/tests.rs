use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use proptest::prelude::*;

use super::*;
use super::{decode as decode_within, decode_note as decode_note_within};
use crate::record::{Binding, Evidence, LifetimeBy, Tag, Witness};
use crate::testkit::fixtures;

fn decode(text: &str) -> Result<Pointer, CodecError> {
    decode_within(text, &Limits::NONE)
}

fn decode_note(text: &str) -> Result<Note, CodecError> {
    decode_note_within(text, &Limits::NONE)
}

fn name() -> impl Strategy<Value = HeaderName> {
    prop_oneof![
        "x-[a-z]{1,6}",
        Just("etag".to_owned()),
        Just("vary".to_owned()),
        Just("cache-control".to_owned())
    ]
    .prop_map(|name| name.parse().unwrap())
}

fn bytes() -> impl Strategy<Value = HeaderValue> {
    prop::collection::vec(prop_oneof![32u8..127, 128u8..=255, Just(b'\t')], 0..20)
        .prop_map(|bytes| HeaderValue::from_bytes(&bytes).unwrap())
}

fn fields() -> impl Strategy<Value = Vec<HeaderName>> {
    prop::collection::btree_set("[a-z]{1,5}", 1..5)
        .prop_map(|names| names.into_iter().map(|name| name.parse().unwrap()).collect())
}

fn binding() -> impl Strategy<Value = Binding> {
    let witness = |carried: u8| {
        any::<(u64, u64, u64, u64)>().prop_map(move |(client, selection, until, lasts)| Witness {
            carried: [carried; 16],
            client,
            selection,
            until,
            lasts,
        })
    };
    (prop::option::of(witness(1)), prop::option::of(witness(2)), fields()).prop_map(|(one, two, vary)| {
        let evidence = one.map_or_else(Evidence::default, |one| Evidence::of(one, two, 0));
        Binding { evidence, vary }
    })
}

fn segments() -> impl Strategy<Value = Vec<Segment>> {
    prop::collection::vec(
        (any::<u64>(), any::<u32>(), 0..1u64 << 40, any::<[u8; 16]>(), any::<bool>())
            .prop_map(|(token, n, len, digest, carried)| Segment { token, n, len, digest, carried }),
        0..6,
    )
}

prop_compose! {
    fn record()(
        (key, tags) in ("https?://[a-z]{1,8}/[a-z/?=&]{0,20}(\n[a-z]{1,4}: [a-zé]{0,5})?", prop::collection::vec("[a-z:0-9]{1,9}", 0..3)),
        (born, token, received_at, age_ms) in any::<(u64, u64, u64, u64)>(),
        (fresh_ms, swr_ms, sie_ms, keep_ms) in any::<(u64, u64, u64, u64)>(),
        status in prop::sample::select(vec![200u16, 204, 301, 404, 503, 599]),
        headers in prop::collection::vec((name(), bytes()), 0..8),
        by in prop::sample::select(vec![LifetimeBy::Origin, LifetimeBy::Heuristic, LifetimeBy::Route]),
        credentialed in any::<bool>(),
        select in fields().prop_flat_map(|fields| {
            let values = prop::collection::vec(prop::option::of("[ -~é]{0,9}"), fields.len());
            values.prop_map(move |values| fields.clone().into_iter().zip(values).collect::<Vec<_>>())
        }),
        segments in segments(),
    ) -> Record {
        let len = segments.iter().map(|segment| segment.len).sum();
        let body = Manifest { life: None, len, segments: segments.into() };
        Record {
            key: key.into(), born, token, status: StatusCode::from_u16(status).unwrap(),
            headers: headers.into_iter().collect(), received_at, age_ms, fresh_ms, swr_ms, sie_ms, keep_ms,
            by, credentialed, select: select.into(), range: None, tags: tags.iter().filter_map(|text| Tag::new(text)).collect(), body,
        }
    }
}

proptest! {
    #[test]
    fn records_come_back(record in record()) {
        let pointer = Pointer::Record(Box::new(record));
        prop_assert_eq!(decode(&encode(&pointer).unwrap()), Ok(pointer));
    }

    #[test]
    fn nodes_come_back(
        fields in fields(),
        token: u64,
        variants in prop::collection::vec("[0-9a-f]{32}", 0..4),
        languages in prop::collection::vec(("[0-9a-f]{32}", "[a-z-]{1,9}", prop::option::of("[ -~é]{0,20}")), 0..4),
        noted: bool,
    ) {
        let spoken = |(variant, language, accept)| Spoken { variant, language, accept };
        let languages = languages.into_iter().map(spoken).collect();
        let pointer = Pointer::Vary(VaryNode { key: "http://a/".into(), token, fields, variants, languages, noted });
        prop_assert_eq!(decode(&encode(&pointer).unwrap()), Ok(pointer));
    }

    #[test]
    fn notes_come_back(
        head in record(),
        token: u64,
        until: u64,
        status in 400u16..600,
        reason in "[a-z-]{1,20}",
        binding in binding(),
        answered: bool,
    ) {
        for note in [
            Note::Growing { token: head.token, head: Box::new(head.clone()), binding: None },
            Note::Growing { token: head.token, head: Box::new(head.clone()), binding: Some(binding.clone()) },
            Note::Pass { token, reason: reason.clone(), until, binding: binding.clone() },
            Note::Failed { token, status, answered, until, binding: binding.clone() },
        ] {
            prop_assert_eq!(decode_note(&encode_note(&note).unwrap()), Ok(note));
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text: String) {
        let _ = decode(&text);
        let _ = decode_note(&text);
    }

    /// A valid pointer with one stretch replaced by anything is read or refused, and what is read can be
    /// written again.
    #[test]
    fn broken_pointers(record in record(), at: prop::sample::Index, gone in 0usize..8, put in ".{0,6}") {
        let mut text: Vec<char> = encode(&Pointer::Record(Box::new(record))).unwrap().chars().collect();
        let at = at.index(text.len());
        let end = (at + gone).min(text.len());
        text.splice(at..end, put.chars());
        let text: String = text.into_iter().collect();
        if let Ok(pointer) = decode(&text) {
            prop_assert!(matches!(encode(&pointer), Ok(_) | Err(CodecError::TooLong(_))));
        }
        let _ = decode_note(&text);
    }
}

const GOOD: &str = concat!(
    r#"{"v":1,"key":"https://a/b","born":3,"token":4,"status":200,"headers":[["etag","\"x\""],["x-a","é"]],"#,
    r#""received_at":1000,"age_ms":0,"fresh_ms":60000,"swr_ms":0,"sie_ms":0,"keep_ms":3600000,"by":"origin","#,
    r#""credentialed":false,"select":{"accept-encoding":"gzip","origin":null},"range":null,"tags":["t"],"#,
    r#""body":{"len":5,"segments":[[4,0,5,"000102030405060708090a0b0c0d0e0f"]]}}"#,
);

#[test]
fn the_fixed_format() {
    let Ok(Pointer::Record(record)) = decode(GOOD) else { panic!("{:?}", decode(GOOD)) };
    assert_eq!((record.born, record.token, record.fresh_until()), (3, 4, 61_000));
    assert_eq!(record.headers.first(&"x-a".parse().unwrap()), Some(&b"\xe9"[..]), "each letter is a byte");
    assert_eq!(record.body.segments[0].digest[15], 15);
    assert_eq!(encode(&Pointer::Record(record)).as_deref(), Ok(GOOD));
    let pass = r#"{"v":1,"token":7,"pass":"set-cookie","until":9}"#;
    let binding = Binding::default();
    assert_eq!(
        decode_note(pass),
        Ok(Note::Pass { token: 7, reason: "set-cookie".into(), until: 9, binding })
    );
    let failed = r#"{"v":1,"token":7,"failed":503,"until":9}"#;
    assert_eq!(encode_note(&decode_note(failed).unwrap()).as_deref(), Ok(failed));
    let bound = concat!(
        r#"{"v":1,"token":7,"failed":429,"until":9,"answered":true,"#,
        r#""seen":[["000102030405060708090a0b0c0d0e0f","00000000000000ff","0000000000000000",9,1000],"#,
        r#"["0f0e0d0c0b0a09080706050403020100","0000000000000001","0000000000000000",8,1000]],"vary":["x-a"]}"#,
    );
    assert_eq!(encode_note(&decode_note(bound).unwrap()).as_deref(), Ok(bound));
    for (from, to) in [("00000000000000ff", "ff"), ("x-a", "X-A"), ("0f0e0d0c0b0a09080706050403020100", "00")]
    {
        assert!(decode_note(&bound.replace(from, to)).is_err(), "{from} → {to}");
    }
}

#[test]
fn what_is_refused() {
    for (from, to) in [
        (r#""v":1"#, r#""v":2"#),
        (r#""status":200"#, r#""status":199"#),
        (r#""status":200"#, r#""status":304"#),
        (r#""status":200"#, r#""status":206"#),
        (r#""status":200"#, r#""status":600"#),
        (r#""status":200"#, r#""status":200,"status":404"#),
        (r#""len":5"#, r#""len":6"#),
        (r#""born":3"#, r#""born":-3"#),
        (r#""born":3"#, r#""born":99999999999999999999999"#),
        (r#"["x-a","é"]"#, r#"["x-a","a\r\nb: c"]"#),
        (r#"["x-a","é"]"#, r#"["x-a","\u0000"]"#),
        (r#"["x-a","é"]"#, r#"["x-a","\u0100"]"#),
        (r#"["x-a","é"]"#, r#"["X-A","b"]"#),
        (r#"["x-a","é"]"#, r#"["x a","b"]"#),
        (r#"["x-a","é"]"#, r#"["transfer-encoding","chunked"]"#),
        (r#"["x-a","é"]"#, r#"["connection","close"]"#),
        (r#"["x-a","é"]"#, r#"["content-length","6"]"#),
        (r#"["x-a","é"]"#, r#"["content-length","+5"]"#),
        (r#"["x-a","é"]"#, r#"["x-a"]"#),
        (r#""range":null"#, r#""range":[0,4,9]"#),
        (r#""origin":null"#, r#""origin":5"#),
        (r#""origin":null"#, r#""aa":null"#),
        (r#""gzip""#, r#""gzip\n""#),
        (r#""tags":["t"]"#, r#""tags":[""]"#),
        (r#""by":"origin""#, r#""by":"me""#),
        ("0e0f", "0E0F"),
        ("0e0f", "0e"),
        (r#""key":"https://a/b""#, r#""key":"""#),
        (r#""key":"https://a/b""#, r#""key":"a\u0007""#),
        (r#""credentialed":false,"#, ""),
    ] {
        let text = GOOD.replacen(from, to, 1);
        assert_ne!(text, GOOD, "{from}");
        assert!(decode(&text).is_err(), "{to}");
    }
    assert_eq!(decode(&GOOD.replace(r#""v":1"#, r#""v":2"#)), Err(CodecError::Version(2)));
    for note in [
        r#"{"v":1,"token":7,"pass":"a b","until":9}"#,
        r#"{"v":1,"token":7,"pass":"","until":9}"#,
        r#"{"v":1,"token":7,"failed":200,"until":9}"#,
        r#"{"v":1,"token":7}"#,
        "null",
        "[]",
        "",
    ] {
        assert!(decode_note(note).is_err(), "{note}");
    }
}

#[test]
fn lengths_that_overflow() {
    let two = format!(
        r#""segments":[[4,0,{max},"{zero}"],[4,1,{max},"{zero}"]]"#,
        max = u64::MAX,
        zero = "0".repeat(32)
    );
    let text = GOOD.replace(r#""segments":[[4,0,5,"000102030405060708090a0b0c0d0e0f"]]"#, &two);
    assert_eq!(decode(&text), Err(CodecError::Invalid("body length")));
}

#[test]
fn a_part() {
    let text =
        GOOD.replace(r#""status":200"#, r#""status":206"#).replace(r#""range":null"#, r#""range":[2,6,9]"#);
    assert!(decode(&text).is_ok());
    assert!(decode(&text.replace("[2,6,9]", "[2,7,9]")).is_err());
    assert!(decode(&text.replace("[2,6,9]", "[6,10,9]")).is_err());
}

#[test]
fn too_much() {
    let Ok(Pointer::Record(mut record)) = decode(GOOD) else { panic!("good") };
    let segment = Segment { len: 1, ..record.body.segments[0] };
    record.body = Manifest { life: None, len: 513, segments: vec![segment; 513].into() };
    assert_eq!(encode(&Pointer::Record(record.clone())), Err(CodecError::Invalid("segments")));
    record.body = Manifest { life: None, len: 512, segments: vec![segment; 512].into() };
    assert!(encode(&Pointer::Record(record.clone())).is_ok());
    record.headers.insert("x-a", "a".repeat(MAX_POINTER).parse().unwrap());
    assert!(matches!(encode(&Pointer::Record(record)), Err(CodecError::TooLong(_))));
    assert!(matches!(decode(&" ".repeat(MAX_POINTER + 1)), Err(CodecError::TooLong(_))));
}

#[test]
fn digests() {
    assert_eq!(unhex(&hex(&[0xab; 16])), Some([0xab; 16]));
    for bad in ["", "ab", &"g".repeat(32), &"A".repeat(32), &"+".repeat(32)] {
        assert_eq!(unhex(bad), None, "{bad}");
    }
}

/// Entries beyond the store's clock and numbers, each in turn.
#[test]
fn what_the_store_can_not_have_given_is_refused() {
    let limits = Limits { now_ms: 1_000, number: 7 };
    let told = |text: &str| decode_within(text, &limits).map(|_| ());
    assert_eq!(told(GOOD), Ok(()));
    let forged = u64::MAX.to_string();
    for (from, to, what) in [
        (r#""born":3"#, r#""born":8"#, "born"),
        (r#""token":4"#, r#""token":8"#, "token"),
        (r#""token":4"#, r#""token":9007199254740991"#, "token"),
        ("[[4,0,5", "[[8,0,5", "segments"),
        (r#""received_at":1000"#, r#""received_at":3001"#, "received_at"),
        (r#""received_at":1000"#, &format!(r#""received_at":{forged}"#), "received_at"),
    ] {
        assert_eq!(told(&GOOD.replace(from, to)), Err(CodecError::Invalid(what)), "{to}");
    }
    assert_eq!(told(&GOOD.replace(r#""received_at":1000"#, r#""received_at":3000"#)), Ok(()), "slack");
    let alone = format!("[[{},0,5,", Manifest::WITHOUT_LEASE | 5);
    assert_eq!(told(&GOOD.replace("[[4,0,5,", &alone)), Ok(()), "no lease had that token");
    let node = r#"{"v":1,"key":"https://a/b","token":8,"vary":["accept"],"variants":[]}"#;
    assert_eq!(told(node), Err(CodecError::Invalid("token")));

    let told = |text: &str| decode_note_within(text, &limits).map(|_| ());
    let day = MAX_NOTE_MS + 3_000;
    let seen =
        r#""seen":[["000102030405060708090a0b0c0d0e0f","00000000000000ff","0000000000000000",UNTIL,1]]"#;
    for kind in [r#""pass":"set-cookie""#, r#""failed":503"#] {
        let note = |token: u64, until: u64, seen_until: u64| {
            let seen = seen.replace("UNTIL", &seen_until.to_string());
            format!(r#"{{"v":1,"token":{token},{kind},"until":{until},{seen}}}"#)
        };
        assert_eq!(told(&note(7, day, day)), Ok(()), "{kind}");
        assert_eq!(told(&note(8, day, day)), Err(CodecError::Invalid("token")));
        assert_eq!(told(&note(7, day + 1, day)), Err(CodecError::Invalid("until")));
        assert_eq!(told(&note(7, u64::MAX, day)), Err(CodecError::Invalid("until")));
        assert_eq!(told(&note(7, day, day + 1)), Err(CodecError::Invalid("seen")));
    }
    let head =
        GOOD.replace(r#","body":{"len":5,"segments":[[4,0,5,"000102030405060708090a0b0c0d0e0f"]]}"#, "");
    let growing =
        |token: u64, head: &str| format!(r#"{{"v":1,"token":{token},"head":{head},"segments":[]}}"#);
    assert_eq!(told(&growing(7, &head)), Ok(()));
    assert_eq!(told(&growing(8, &head)), Err(CodecError::Invalid("token")));
    let late = head.replace(r#""received_at":1000"#, r#""received_at":3001"#);
    assert_eq!(told(&growing(7, &late)), Err(CodecError::Invalid("received_at")));
}

#[test]
fn a_body_names_the_life_that_it_is_of_and_an_older_one_names_none() {
    let text = r#"{"v":1,"key":"http://a/","born":1,"token":1,"status":200,"headers":[],"received_at":1,"age_ms":0,
        "fresh_ms":1,"swr_ms":0,"sie_ms":0,"keep_ms":0,"by":"origin","credentialed":false,"select":{},
        "range":null,"tags":[],"body":{"len":0,"segments":[]}}"#;
    let Ok(Pointer::Record(mut record)) = decode(text) else { panic!("it is a record") };
    assert_eq!(record.body.life, None);
    record.body.life = Some("0f".into());
    let note = Note::Growing { token: 1, head: record.clone(), binding: None };
    let told = encode_note(&note).unwrap();
    assert!(told.contains(r#""life":"0f""#), "{told}");
    assert_eq!(decode_note(&told), Ok(note));
    let pointer = Pointer::Record(record.clone());
    let text = encode(&pointer).unwrap();
    assert!(text.contains(r#""body":{"len":0,"segments":[],"life":"0f"}"#), "{text}");
    assert_eq!(decode(&text), Ok(pointer));
    for life in ["a b".to_owned(), "x".repeat(65), "\n".into()] {
        record.body.life = Some(life.into());
        assert_eq!(encode(&Pointer::Record(record.clone())), Err(CodecError::Invalid("life")));
    }
}

/// A record whose head has a field of this length.
fn headed(long: usize, lines: &[(&'static str, &'static str)]) -> Record {
    let mut headers = HeaderMap::new();
    headers.insert("x-long", "x".repeat(long).parse().unwrap());
    for (name, value) in lines {
        headers.append(*name, HeaderValue::from_static(value));
    }
    Record { headers: headers.into(), ..fixtures::record("http://a/") }
}

#[test]
fn what_fits_can_be_published_however_its_body_is_cut() {
    let cut = |mut record: Record, segments: usize, len: u64| {
        let segment = Segment {
            token: u64::MAX,
            n: u32::MAX,
            len: len / segments as u64,
            digest: [255; 16],
            carried: false,
        };
        record.body = Manifest {
            life: Some("x".repeat(MAX_LIFE).into()),
            len,
            segments: vec![segment; segments].into(),
        };
        encode(&Pointer::Record(Box::new(record)))
    };
    let longest = |len| {
        let (mut fits_still, mut too_long) = (0, MAX_POINTER);
        while fits_still + 1 < too_long {
            let long = usize::midpoint(fits_still, too_long);
            if fits(&headed(long, &[]), len).is_ok() { fits_still = long } else { too_long = long }
        }
        fits_still
    };
    let len = MAX_SEGMENTS as u64 * 1000;
    assert!(cut(headed(longest(Some(len)), &[]), MAX_SEGMENTS, len).is_ok());
    assert!(cut(headed(longest(None), &[]), MAX_SEGMENTS, len).is_ok());
    assert!(cut(headed(longest(Some(2)), &[]), 2, 2).is_ok());
    assert!(longest(Some(2)) > 60_000, "a short body leaves room for a long head");
    assert!(matches!(fits(&headed(MAX_POINTER, &[]), Some(0)), Err(CodecError::TooLong(_))));
}

#[test]
fn what_contradicts_itself_does_not_fit() {
    for (lines, len, fit) in [
        (&[("content-length", "5")][..], Some(5), true),
        (&[("content-length", "5")], None, true),
        (&[("content-length", "5")], Some(0), false),
        (&[("content-length", "5, 5")], Some(5), false),
        (&[("content-length", "5"), ("content-length", "6")], None, false),
        (&[("upgrade", "x")], Some(0), false),
    ] {
        assert_eq!(fits(&headed(1, lines), len).is_ok(), fit, "{lines:?} {len:?}");
    }
}
