//! What the parts of an instance cost: a record's text, a key, a lookup, the bytes of a hit on the wire, a fill
//! in memory, and the two calls of a store that a fill makes.
//!
//! `cargo bench --bench parts`; a word after `--` runs those whose names have it in them.

#![allow(clippy::unwrap_used, reason = "a bench that cannot go on ends there")]

mod parts {
    pub mod instance;
    pub mod objects;
}

use std::cell::OnceCell;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use dustgate::clock::ManualClock;
use dustgate::dust::{
    Beside, Dust as _, Embedded, Holder, Inquiry, Known, LeaseRequest, Lock, Publication, Publish,
};
use dustgate::key::Key;
use dustgate::key::target::{Asked, Scheme, canonical};
use dustgate::policy::{self, RequestClass, Rules};
use dustgate::record::{Pointer, codec};
use dustgate::tier::{Covered, Held, Stamps, Tier};
use http::{HeaderMap, Method, Version};
use parts::instance::Instance;
use parts::objects::{NOW, fields, filled, url};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::runtime::{Builder, Runtime};

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn record(criterion: &mut Criterion) {
    let pointer = Pointer::Record(Box::new(parts::objects::record(1, NOW + 60_000)));
    let text = codec::encode(&pointer).unwrap();
    let limits = codec::Limits::NONE;
    let mut group = criterion.benchmark_group("record");
    group.bench_function("encode", |bencher| bencher.iter(|| codec::encode(black_box(&pointer))));
    group.bench_function("decode", |bencher| bencher.iter(|| codec::decode(black_box(&text), &limits)));
    group.finish();
}

fn key(criterion: &mut Criterion) {
    let headers = fields(&[("host", "h.test")]);
    let uri = "/v1/objects/0000001?fields=id,name&page=2".parse().unwrap();
    criterion.bench_function("key", |bencher| {
        bencher.iter(|| {
            let asked = canonical(&Method::GET, black_box(&uri), Version::HTTP_11, &headers, Scheme::Http);
            let Ok(Asked::Target(target)) = asked else { return None };
            Some(Key::new(target.text()).hash())
        });
    });
}

/// The decision on a fresh hit: found by its key, not purged, allowed by the fields of the request.
fn lookup(criterion: &mut Criterion) {
    let (rules, stamps) = (Rules::default(), Stamps::new("dustgate", Duration::from_hours(1)));
    let asked = fields(&[("host", "h.test"), ("user-agent", "curl/8.14.1"), ("accept", "*/*")]);
    let decide = |tier: &Tier, key: &str, asked: &HeaderMap| {
        let RequestClass::Lookup(facts) = policy::entrance(&Method::GET, asked, &rules) else { return false };
        let Some(Held::Stored(stored)) = tier.find(key) else { return false };
        stored.covered(&stamps) == Covered::No
            && matches!(
                policy::reuse(&facts, &stored.record, &stored.terms, NOW + 1000),
                policy::Reuse::Fresh { .. }
            )
    };
    let mut group = criterion.benchmark_group("lookup");
    for (name, count) in [("of 1 000", 1_000), ("of 1 000 000", 1_000_000)] {
        // Filled at the first use only: a million records take some time.
        let (tier, mut n) = (OnceCell::new(), 0);
        group.bench_function(name, |bencher| {
            let tier = tier.get_or_init(|| filled(count));
            bencher.iter(|| {
                n = (n + 7_919) % count;
                assert!(decide(tier, black_box(&url(n)), &asked));
            });
        });
    }
    group.finish();
}

/// A hit with its request read from a connection and its response written to it. The client's part is in it.
fn wire(criterion: &mut Criterion) {
    let runtime = runtime();
    let mut connection = runtime.block_on(async {
        let instance = Instance::new().await;
        instance.get("/kept").await;
        instance.connection().await
    });
    let mut buffer = vec![0; 4096];
    criterion.bench_function("hit on a connection, 1 KiB", |bencher| {
        bencher.iter(|| {
            runtime.block_on(async {
                let request =
                    b"GET /kept HTTP/1.1\r\nhost: h.test\r\nuser-agent: curl/8.14.1\r\naccept: */*\r\n\r\n";
                connection.write_all(request).await.unwrap();
                let mut len = 0;
                // The body is a row of one letter, and the last that comes.
                while len < 1024 || !buffer[..len].ends_with(&[b'x'; 1024]) {
                    len += connection.read(&mut buffer[len..]).await.unwrap();
                }
                len
            })
        });
    });
}

fn fill(criterion: &mut Criterion) {
    let runtime = runtime();
    let instance = runtime.block_on(Instance::new());
    let mut n = 0;
    criterion.bench_function("fill in memory, 1 KiB", |bencher| {
        bencher.iter(|| {
            n += 1;
            runtime.block_on(instance.get(&format!("/filled/{n}")))
        });
    });
}

fn store(criterion: &mut Criterion) {
    let runtime = runtime();
    let dust = Embedded::memory(Arc::new(ManualClock::at(NOW)));
    let text = codec::encode_record(&parts::objects::record(1, NOW + 60_000)).unwrap();
    let body = Bytes::from_static(&[b'x'; 1024]);
    let holder = Holder("bench/1".into());
    let mut n = 0_u64;
    criterion.bench_function("enter and publish in memory, 1 KiB", |bencher| {
        bencher.iter(|| {
            // The same names again and again, so that the store does not grow.
            n = (n + 1) % 1_000;
            let (value, verdict, lock) = (format!("v/{n}"), format!("v/{n}!"), format!("l/{n}"));
            runtime.block_on(async {
                let known = dust.entry(&value).await.unwrap().map_or(0, |entry| entry.number);
                let lease = LeaseRequest { ttl: Duration::from_secs(6), holder: &holder, seen: 0 };
                let inquiry = Inquiry {
                    value: &value,
                    verdict: &verdict,
                    lock: &lock,
                    known: Known { value: known, verdict: 0 },
                    lease: Some(lease),
                };
                let Lock::Granted(lease) = dust.enter(inquiry).await.unwrap().lock else {
                    panic!("it is free")
                };
                let name = format!("{value}/{}/0", lease.token);
                let publish = Publish {
                    key: &value,
                    text: &text,
                    expires_in: Some(Duration::from_mins(1)),
                    body: (dust.traits().carries > 0).then_some(Beside { name: &name, bytes: &body }),
                    keeps: &[],
                };
                dust.publish(Publication { lease: &lease, value: Some(publish), verdict: None })
                    .await
                    .unwrap()
            })
        });
    });
}

criterion_group!(benches, record, key, lookup, wire, fill, store);
criterion_main!(benches);
