//! What the memory tier says it holds is what the process holds for it, as an allocator counts it.

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::alloc::System;
use std::sync::Arc;

use bytes::Bytes;
use cap::Cap;
use dustgate::dust::Number;
use dustgate::policy::Rules;
use dustgate::record::{LifetimeBy, Manifest, Record, Segment};
use dustgate::tier::{Numbers, Stored, Tier};
use http::{HeaderMap, HeaderValue, StatusCode};

#[global_allocator]
static HEAP: Cap<System> = Cap::new(System, usize::MAX);

/// What a connection reads into: a head, and after a large answer more.
const BUFFERS: [usize; 2] = [8 << 10, 280 << 10];
const BODIES: [usize; 3] = [1, 1 << 10, 30 << 10];
/// The most bytes that an object takes beside its URL, its fields and its body.
const OVERHEAD: u64 = 400;
/// And for its line in the index of a fleet's instance.
const INDEXED: u64 = 80;

/// The fields of an answer as a connection hands them out: slices of its buffer.
fn read(buffer: usize, length: usize) -> HeaderMap {
    let lines = [
        ("server", "nginx".to_owned()),
        ("date", "Sun, 06 Nov 1994 08:49:37 GMT".to_owned()),
        ("content-type", "application/json".to_owned()),
        ("content-length", length.to_string()),
        ("cache-control", "public, max-age=86400".to_owned()),
        ("x-request-id", "7b8e2c".to_owned()),
    ];
    let mut text = Vec::with_capacity(buffer);
    let mut ends = Vec::new();
    for (_, value) in &lines {
        text.extend_from_slice(value.as_bytes());
        ends.push(text.len());
    }
    text.resize(buffer, 0);
    let text = Bytes::from(text);
    let mut from = 0;
    let mut map = HeaderMap::new();
    for ((name, _), end) in lines.iter().zip(ends) {
        map.insert(*name, HeaderValue::from_maybe_shared(text.slice(from..end)).unwrap());
        from = end;
    }
    map
}

fn record(n: usize, token: Number, fields: HeaderMap, len: usize) -> Record {
    let segment = Segment { token, n: 0, len: len as u64, digest: [7; 16], carried: false };
    Record {
        key: format!("http://127.0.0.1:9412/k/{n}").into(),
        born: token,
        token,
        status: StatusCode::OK,
        headers: fields.into(),
        received_at: 1,
        age_ms: 0,
        fresh_ms: 86_400_000,
        swr_ms: 0,
        sie_ms: 0,
        keep_ms: 0,
        by: LifetimeBy::Origin,
        credentialed: false,
        select: Vec::new().into(),
        range: None,
        tags: Vec::new().into(),
        body: Manifest { life: None, len: len as u64, segments: vec![segment].into() },
    }
}

/// Takes in so many records whose bodies have this length, as a fill does.
fn fill(tier: &Tier, many: usize, token: Number, len: usize) {
    let (rules, body) = (Rules::default(), vec![b'x'; len]);
    for n in 0..many {
        let buffer = BUFFERS[usize::from(n % 16 == 0)];
        let whole = record(n, token, read(buffer, len), len);
        let head = Record { body: Manifest::default(), ..whole.clone() };
        let head = Stored::new(head, &rules, None);
        tier.keep(Arc::new(head.completed(whole.body, Some(Bytes::copy_from_slice(&body)))));
    }
}

/// Checks that two figures differ by at most 15 %. `many` objects are made of three allocations each (key,
/// record, and fields with a body), and the tier counts what the allocator adds to each of them, 13 bytes on
/// average: the bytes that are live don't have that.
fn alike(what: &str, many: usize, held: u64, said: u64) {
    let taken = held + many as u64 * 40;
    assert!(
        taken.abs_diff(said) * 100 <= said * 15,
        "{what}: {held} bytes live, {said} by the tier's figure"
    );
}

fn live() -> u64 {
    HEAP.allocated() as u64
}

/// One test, so that nothing else allocates meanwhile.
#[test]
fn live_bytes_are_what_the_tier_says_however_often_it_is_filled_anew() {
    for fleet in [false, true] {
        for len in BODIES {
            let many = (24 << 20) / (len + 800);
            let capacity = (many * (len + 1000) * 2) as u64;
            let before = live();
            let tier = if fleet { Tier::in_fleet(capacity, Numbers::new("t")) } else { Tier::new(capacity) };
            // The places of a cache are allocated before there is anything in them.
            let empty = live() - before;
            fill(&tier, many, 1, len);
            let (held, said) = (live() - before, tier.bytes());
            assert_eq!(tier.len(), many, "nothing was evicted");
            let places = empty.min(tier.len() as u64 * 64);
            alike(&format!("{many} bodies of {len}, fleet {fleet}"), many, held - empty + places, said);
            let one = record(many, 1, read(BUFFERS[0], len), len);
            let text = (one.key.len() + one.headers.text_len() + len) as u64;
            let overhead = (said / many as u64).saturating_sub(text);
            let most = OVERHEAD + if fleet { INDEXED } else { 0 };
            assert!(
                overhead < most,
                "{overhead} bytes beside URL, fields and a body of {len}, fleet {fleet}"
            );
            drop(tier);
        }
    }
    for len in BODIES {
        let capacity = 16 << 20;
        let before = live();
        let tier = Tier::new(capacity);
        let empty = live() - before;
        for round in 1..=3 {
            fill(&tier, 3 * (16 << 20) / (len + 800), round, len);
            let held = live() - before - empty;
            assert!(tier.evicted() > 0 && tier.bytes() <= capacity);
            alike(&format!("round {round} of bodies of {len}"), tier.len(), held, tier.bytes());
        }
    }
}
