//! Memory is bounded, however large a body is and however many read it.

use crate::support::pattern::Pattern;
use crate::support::{Answer, Conn, End, Origin, Proxy, all};

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

#[tokio::test]
async fn small_bodies_that_come_between_large_ones_keep_no_buffers() {
    const MANY: u64 = 2000;
    let origin = Origin::start().await;
    origin.on("/large", Answer::status(200).cache("no-store").pattern(2_000_000));
    for n in 0..MANY {
        origin.on(&format!("/{n}"), Answer::cacheable(vec![b'x'; 1024]));
    }
    let proxy = Proxy::before(&origin).await;
    let ask = async |mut conn: Conn, path: &str| {
        conn.send(format!("GET {path} HTTP/1.1\r\nhost: {}\r\n\r\n", proxy.at)).await;
        let (reply, conn) = conn.reply().await.expect("an answer, and the connection after it");
        assert_eq!(reply.status, 200);
        conn
    };
    let mut conn = ask(Conn::open(proxy.at).await, "/large").await;
    let idle = proxy.resident();
    for n in 0..MANY {
        if n % 20 == 0 {
            conn = ask(conn, "/large").await;
        }
        conn = ask(conn, &format!("/{n}")).await;
    }
    proxy.until_metric("dustgate_memory_objects", &[], |n| n >= MANY as f64).await;
    let said = proxy.metrics().await.sum("dustgate_memory_bytes", &[]);
    let grown = proxy.resident().saturating_sub(idle) as f64;
    // An object that keeps its buffer takes from 8 KiB to 280 KiB: 16 MiB at the least.
    assert!(grown < 2.0 * said + 8_388_608.0, "{grown} bytes more, of which the tier says {said}");
}
