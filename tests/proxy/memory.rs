//! Memory is bounded, however large a body is and however many read it.

use crate::support::pattern::Pattern;
use crate::support::{Answer, End, Origin, Proxy, all};

const LEN: u64 = 256 << 20;
const READERS: usize = 20;
const MOST: u64 = 150 << 20;

/// So many clients read the body to its end; gives the most memory that was seen on the way.
async fn read_by_all(proxy: &Proxy) -> u64 {
    let pattern = Pattern::new();
    let most = std::cell::Cell::new(0);
    let read = async |n: usize| {
        let mut reading = proxy.get("/large").begin().await;
        let mut at = 0u64;
        while let Some(bytes) = reading.some().await {
            assert!(pattern.matches(at, &bytes), "reader {n}: wrong bytes at {at}");
            let before = at;
            at += bytes.len() as u64;
            // One look each 8 MiB.
            if n == 0 && before >> 23 != at >> 23 {
                most.set(most.get().max(proxy.resident()));
            }
        }
        assert_eq!((at, reading.end()), (LEN, End::Clean), "reader {n}");
    };
    all((0..READERS).map(read)).await;
    most.get()
}

#[tokio::test]
async fn a_large_body_with_many_readers() {
    let origin = Origin::start().await;
    origin.on("/warm", Answer::cacheable("hello"));
    origin.on("/large", Answer::status(200).cache("max-age=600").pattern(LEN));
    let proxy = Proxy::before(&origin).more("[memory]\nsize = \"16MiB\"").await;
    proxy.get("/warm").await;
    let idle = proxy.resident();

    let filling = read_by_all(&proxy).await;
    assert!(filling < idle + MOST, "{} MiB over idle while it was filled", (filling - idle) >> 20);
    proxy.until_metric("dustgate_fills_total", &[("outcome", "stored")], |n| n == 2.0).await;

    let stored = read_by_all(&proxy).await;
    assert!(stored < idle + MOST, "{} MiB over idle when it was stored", (stored - idle) >> 20);
    assert_eq!(origin.count("/large"), 1);
}

#[tokio::test]
async fn a_large_upload_and_a_large_pass() {
    let origin = Origin::start().await;
    origin.on("/large", Answer::status(200).cache("no-store").pattern(LEN));
    let proxy = Proxy::before(&origin).await;
    proxy.get("/nothing").await;
    let idle = proxy.resident();
    // One that reads nothing more, so that all of it would have to be kept somewhere.
    let stuck = proxy.get("/large").receive_buffer(4096).begin().await;
    let reply = proxy.get("/large").await;
    assert_eq!((reply.body.len() as u64, reply.end), (LEN, End::Clean));
    let grown = proxy.resident().saturating_sub(idle);
    assert!(grown < 64 << 20, "{} MiB over idle", grown >> 20);
    drop(stuck);
}
