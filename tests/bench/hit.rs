//! What a fresh hit costs: the decision alone, and all of it in the process, socket excluded.
//!
//! `cargo bench --bench hit`. Machines differ, so what counts is how the lines stand to each other:
//! `parsed anew` is the same decision by a cache that reads a stored response's fields at each hit.

#![allow(clippy::unwrap_used, reason = "a bench that cannot go on ends there")]

#[path = "../in_process_fleet/instance.rs"]
#[expect(dead_code, reason = "the tests of fleets use more of it")]
mod instance;

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use dustgate::policy::{self, Answer, Framing, RequestClass, RequestFacts, ReuseTerms, Rules, Verdict};
use dustgate::proxy::Client;
use dustgate::record::Record;
use dustgate::testkit::fixtures;
use dustgate::testkit::scripted::Reply;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};
use http_body_util::{BodyExt as _, Empty};
use instance::Fleet;

const NOW: u64 = 1_790_000_000_000;

/// As curl asks.
const CURL: &[(&str, &str)] = &[("host", "h.test"), ("user-agent", "curl/8.14.1"), ("accept", "*/*")];

/// As a browser asks.
const BROWSER: &[(&str, &str)] = &[
    ("host", "h.test"),
    ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
    ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
    ("accept-language", "de,en-US;q=0.7,en;q=0.3"),
    ("accept-encoding", "gzip, deflate, br, zstd"),
    ("referer", "https://h.test/"),
    ("dnt", "1"),
    ("sec-fetch-dest", "document"),
    ("sec-fetch-mode", "navigate"),
    ("sec-fetch-site", "same-origin"),
    ("priority", "u=0, i"),
];

/// As an API answers.
const STORED: &[(&str, &str)] = &[
    ("date", "Sun, 06 Nov 1994 08:49:37 GMT"),
    ("content-type", "application/json"),
    ("cache-control", "public, max-age=60, stale-while-revalidate=30, stale-if-error=600"),
    ("etag", "\"33a64df551425fcc55e4d42a148795d9f25f89d4\""),
    ("last-modified", "Sun, 06 Nov 1994 08:00:00 GMT"),
    ("x-request-id", "7b8e2c"),
];

fn fields(list: &[(&'static str, &'static str)]) -> HeaderMap {
    list.iter().map(|&(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v))).collect()
}

fn record() -> Record {
    Record {
        headers: fields(STORED).into(),
        received_at: NOW,
        fresh_ms: 60_000,
        swr_ms: 30_000,
        sie_ms: 600_000,
        keep_ms: 3_600_000,
        ..fixtures::record("http://h.test/")
    }
}

/// What a hit decides: whether it is looked up, whether the record may be reused, and in what form.
fn decide(asked: &HeaderMap, record: &Record, terms: ReuseTerms, rules: &Rules) -> bool {
    let RequestClass::Lookup(ask) = policy::entrance(&Method::GET, asked, rules) else { return false };
    let reuse = policy::reuse(&ask, record, &terms, NOW + 1000);
    black_box(policy::conditional(asked, record));
    matches!(reuse, policy::Reuse::Fresh { .. })
}

/// The same, of the stored fields themselves.
fn decide_anew(asked: &HeaderMap, stored: &HeaderMap, record: &Record, rules: &Rules) -> bool {
    let answer = Answer {
        status: record.status,
        headers: stored,
        requested_at: NOW,
        received_at: NOW,
        framing: Framing::Length(1024),
    };
    let stored = matches!(policy::verdict(&RequestFacts::default(), &answer, rules), Verdict::Store(_));
    stored && decide(asked, record, ReuseTerms::of(record, rules), rules)
}

fn decision(criterion: &mut Criterion) {
    let (rules, record) = (Rules::default(), record());
    let (terms, stored) = (ReuseTerms::of(&record, &rules), fields(STORED));
    let mut group = criterion.benchmark_group("decision");
    for (name, asked) in [("curl", fields(CURL)), ("browser", fields(BROWSER))] {
        assert!(decide(&asked, &record, terms, &rules) && decide_anew(&asked, &stored, &record, &rules));
        group.bench_function(name, |bencher| {
            bencher.iter(|| decide(black_box(&asked), black_box(&record), black_box(terms), &rules));
        });
        group.bench_function(format!("{name}, parsed anew"), |bencher| {
            bencher.iter(|| decide_anew(black_box(&asked), black_box(&stored), black_box(&record), &rules));
        });
    }
    group.finish();
}

fn whole(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let fleet = runtime.block_on(async {
        let fleet = Fleet::of(1, |_, _| {
            let reply = Reply::new(200).bytes(Bytes::from_static(&[b'x'; 1024]));
            // Its Date is another time's than the fleet's.
            STORED.iter().skip(1).fold(reply, |reply, (name, value)| reply.header(name, value))
        });
        let fleet = fleet.await;
        for _ in 0..2 {
            fleet.instances[0].get("/").await.unwrap();
        }
        let hit = fleet.instances[0].get("/").await.unwrap();
        assert_eq!(hit.headers["cache-status"], "dustgate; hit; ttl=60");
        fleet
    });
    let proxy = &fleet.instances[0].proxy;
    let client = Client::at(([192, 0, 2, 1], 1).into());
    let mut group = criterion.benchmark_group("whole hit, 1 KiB");
    for (name, asked) in [("curl", CURL), ("browser", BROWSER)] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                runtime.block_on(async {
                    let mut request = Request::new(Empty::<Bytes>::new());
                    *request.headers_mut() = fields(asked);
                    let mut response = proxy.handle(&client, request).await;
                    black_box(response.body_mut().frame().await)
                })
            });
        });
    }
    group.finish();
    assert_eq!(fleet.fetches(), 1, "they were hits");
}

criterion_group!(benches, decision, whole);
criterion_main!(benches);
