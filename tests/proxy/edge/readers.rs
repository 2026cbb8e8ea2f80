//! Who does not read, or hardly writes, holds nothing for ever.

use crate::support::{Answer, Origin, Proxy, until, within};

/// More than the system keeps for a client that reads nothing.
const LARGE: u64 = 48 << 20;

async fn until_closed(proxy: &Proxy, reason: &str) {
    proxy.until_metric("dustgate_connections_closed_total", &[("reason", reason)], |n| n == 1.0).await;
}

#[tokio::test]
async fn a_client_that_reads_nothing_gives_the_origins_place_back() {
    let origin = Origin::answering(Answer::cacheable("hello")).await;
    origin.on("/large", Answer::status(200).cache("no-store").pattern(LARGE));
    let proxy =
        Proxy::before(&origin).server("send_timeout = \"300ms\"").upstream("max_concurrent = 1").await;
    let reading = proxy.get("/large").receive_buffer(4096).begin().await;
    proxy.get("/a").await.assert(200, "hello");
    until_closed(&proxy, "send_timeout").await;
    let line = proxy.logged(1, "/large").await.remove(0);
    assert_eq!((&line["aborted"], &line["error"]), (&true.into(), &"send_timeout".into()), "{line}");
    // What was under way is all that comes.
    assert!((reading.rest().await.body.len() as u64) < LARGE);
    proxy.until_metric("dustgate_upstream_in_flight", &[], |n| n == 0.0).await;
}

#[tokio::test]
async fn a_client_that_reads_nothing_of_a_stored_body_gives_its_connection_back() {
    const LEN: u64 = 7 << 20;
    let origin = Origin::answering(Answer::status(200).cache("max-age=60").pattern(LEN)).await;
    let proxy = Proxy::before(&origin)
        .server("send_timeout = \"300ms\"")
        .server("max_connections = 1")
        .more("[memory]\nsize = \"512MiB\"")
        .await;
    proxy.fill("/a").await;
    let reading = until("a place", async || {
        proxy
            .get("/a")
            .receive_buffer(4096)
            .asked()
            .await
            .head()
            .await
            .filter(|reading| reading.status == 200)
    })
    .await;
    until_closed(&proxy, "send_timeout").await;
    until("a place again", async || {
        let mut conn = proxy.connect().await;
        conn.send(proxy.get("/a").bytes()).await;
        conn.last_reply().await.filter(|reply| reply.status == 200)
    })
    .await;
    drop(reading);
}

#[tokio::test]
async fn a_client_that_reads_a_little_now_and_then_is_too_slow() {
    const LEN: u64 = 4 * LARGE;
    let origin = Origin::answering(Answer::status(200).cache("no-store").pattern(LEN)).await;
    let proxy = Proxy::before(&origin).server("send_timeout = \"2s\"").server("min_rate = \"128MiB\"").await;
    let mut reading = proxy.get("/a").receive_buffer(64 << 10).begin().await;
    let mut read = 0;
    while let Some(bytes) = reading.some().await {
        read += bytes.len() as u64;
        // So much time passes.
        proxy.metrics().await;
    }
    assert!(read < LEN);
    until_closed(&proxy, "send_rate").await;
}

#[tokio::test]
async fn an_upload_that_drips_is_broken_off() {
    let origin = Origin::answering(Answer::ok("thanks")).await;
    let proxy = Proxy::before(&origin)
        .server("body_timeout = \"500ms\"")
        .server("min_rate = \"64KiB\"")
        .upstream("max_concurrent = 1")
        .await;
    let mut conn = proxy.connect().await;
    conn.send("POST /drip HTTP/1.1\r\nHost: api.test\r\nContent-Length: 1000000\r\n\r\n").await;
    let mut dripped = 0;
    within("the end of it", async {
        let closed = [("reason", "body_rate")];
        while proxy.metrics().await.sum("dustgate_connections_closed_total", &closed) == 0.0 {
            dripped += 1;
            conn.send("x").await;
        }
    })
    .await;
    assert!(dripped > 1);
    proxy.ask("POST", "/b").content("x").await.assert(200, "thanks");
    if let Some(reply) = conn.last_reply().await {
        assert_eq!(reply.json()["error"], "body_rate");
    }
}
