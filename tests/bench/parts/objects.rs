//! What the benches store: responses of 1 KiB with the fields of an API, a million of them if wanted.

use std::sync::Arc;

use bytes::Bytes;
use dustgate::policy::Rules;
use dustgate::record::{Manifest, Record, Segment};
use dustgate::testkit::fixtures;
use dustgate::tier::{Stored, Tier};
use http::{HeaderMap, HeaderName, HeaderValue};

/// The time of day in the benches.
pub const NOW: u64 = 1_790_000_000_000;

/// The fields of each response.
pub const FIELDS: &[(&str, &str)] = &[
    ("content-type", "application/json"),
    ("cache-control", "public, max-age=60, stale-while-revalidate=30"),
    ("etag", "\"33a64df551425fcc55e4d42a148795d9f25f89d4\""),
];

/// A map of these fields.
pub fn fields(list: &[(&'static str, &'static str)]) -> HeaderMap {
    list.iter().map(|&(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v))).collect()
}

/// The URL with this number, which is also the text of its key.
pub fn url(n: usize) -> String {
    format!("http://h.test/v1/objects/{n:07}")
}

/// The record of a URL, as it is read from a store.
pub fn record(n: usize, ends: u64) -> Record {
    let segment = Segment { token: 7, n: 0, len: 1024, digest: [7; 16], carried: false };
    Record {
        headers: fields(FIELDS).into(),
        received_at: NOW,
        fresh_ms: ends - NOW,
        body: Manifest { life: None, len: 1024, segments: vec![segment].into() },
        ..fixtures::record(&url(n))
    }
}

/// The record as it is held in memory.
pub fn stored(n: usize, ends: u64) -> Arc<Stored> {
    let body = Bytes::from(vec![b'x'; 1024]);
    Arc::new(Stored::new(record(n, ends), &Rules::default(), Some(body)))
}

/// A tier with room for a million records, and `count` of them in it.
pub fn filled(count: usize) -> Tier {
    let tier = Tier::new(4 << 30);
    for n in 0..count {
        tier.keep(stored(n, NOW + 60_000));
    }
    assert_eq!(tier.len(), count, "there is room");
    tier
}
