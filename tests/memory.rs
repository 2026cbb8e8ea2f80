//! What the memory tier says it holds is what the process holds for it, as the system counts it.

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::env;
use std::fs::read_to_string;
use std::process::Command;
use std::sync::Arc;

use bytes::Bytes;
use dustgate::dust::Number;
use dustgate::heap::Heap;
use dustgate::policy::Rules;
use dustgate::record::{LifetimeBy, Manifest, Record, Segment};
use dustgate::tier::{Numbers, Stored, Tier};
use http::{HeaderMap, HeaderValue, StatusCode};

/// That of the program.
#[global_allocator]
static HEAP: Heap = Heap;

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

/// The case that a process of its own has to measure: length of the bodies, whether in a fleet, and how often
/// the tier is filled beyond its capacity; 0 is once and within it.
const CASE: &str = "MEMORY_CASE";

/// The bytes of this process that lie in memory.
fn resident() -> u64 {
    let status = read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() << 10
}

/// What a process of its own measured: bytes resident, bytes that the tier counts, objects, evictions.
fn measured(len: usize, fleet: bool, rounds: u64) -> [u64; 4] {
    let output = Command::new(env::current_exe().unwrap())
        .args(["--ignored", "--exact", "one_case", "--nocapture", "--test-threads=1"])
        .env(CASE, format!("{len} {fleet} {rounds}"))
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let figures = said.split_once("measured ").and_then(|(_, said)| said.lines().next()).expect(&said);
    let figures: Vec<u64> = figures.split(' ').map(|figure| figure.parse().unwrap()).collect();
    figures.try_into().unwrap()
}

/// Not a test by itself: the others begin it, each case in a new process.
#[test]
#[ignore = "is begun by the others"]
fn one_case() {
    let case = env::var(CASE).unwrap();
    let [len, fleet, rounds] = case.split(' ').collect::<Vec<_>>().try_into().unwrap();
    let (len, rounds): (usize, u64) = (len.parse().unwrap(), rounds.parse().unwrap());
    const HELD: usize = 8 << 20;
    let many = HELD / (len + 800);
    let capacity = if rounds == 0 { 2 * HELD as u64 } else { HELD as u64 };
    let tier =
        |bytes| if fleet == "true" { Tier::in_fleet(bytes, Numbers::new("t")) } else { Tier::new(bytes) };
    // What is allocated once and for all: drafts, tables, the names of fields.
    fill(&tier(1 << 20), 32, 1, len);
    let before = resident();
    let tier = tier(capacity);
    for round in 1..=rounds.max(1) {
        let many = if rounds == 0 { many } else { 3 * many };
        fill(&tier, many, round, len);
    }
    println!("measured {} {} {} {}", resident() - before, tier.bytes(), tier.len(), tier.evicted());
}

/// Checks that two figures differ by at most 15 %.
fn alike(what: &str, held: u64, said: u64) {
    println!("{what}: {held} bytes resident, {said} by the tier's figure");
    assert!(
        held.abs_diff(said) * 100 <= said * 15,
        "{what}: {held} bytes resident, {said} by the tier's figure"
    );
}

#[test]
fn resident_bytes_are_what_the_tier_says() {
    for fleet in [false, true] {
        for len in BODIES {
            let [held, said, objects, evicted] = measured(len, fleet, 0);
            assert_eq!(evicted, 0, "there is room for all");
            alike(&format!("{objects} bodies of {len}, fleet {fleet}"), held, said);
            let one = record(10_000, 1, read(BUFFERS[0], len), len);
            let text = (one.key.len() + one.headers.text_len() + len) as u64;
            let overhead = (said / objects).saturating_sub(text);
            println!("{overhead} bytes beside URL, fields and a body of {len}, fleet {fleet}");
            let most = OVERHEAD + if fleet { INDEXED } else { 0 };
            assert!(
                overhead < most,
                "{overhead} bytes beside URL, fields and a body of {len}, fleet {fleet}"
            );
        }
    }
}

#[test]
fn resident_bytes_are_what_the_tier_says_however_often_it_is_filled_anew() {
    for len in BODIES {
        for rounds in [1, 3] {
            let [held, said, objects, evicted] = measured(len, false, rounds);
            assert!(evicted > 0, "there is no room for all");
            alike(&format!("{objects} bodies of {len}, filled {rounds} times"), held, said);
        }
    }
}
