//! What is too much, too long or too late.

use crate::support::{Answer, End, Gate, Origin, Proxy, all, until};

#[tokio::test]
async fn a_target_that_is_too_long() {
    let origin = Origin::answering(Answer::cacheable("hello")).await;
    let proxy = Proxy::before(&origin).server("max_target = \"1KiB\"").await;
    let target = |len: usize| format!("/{}", "x".repeat(len - 1));
    proxy.get(&target(1024)).await.assert(200, "hello");
    proxy.get(&target(1025)).await.assert_error(414);
    proxy.get(&format!("/?{}", "x".repeat(1024))).await.assert_error(414);
    proxy.ask("POST", &target(1025)).content("x").await.assert_error(414);
    assert_eq!(origin.total(), 1);
}

#[tokio::test]
async fn a_head_that_is_too_large() {
    let origin = Origin::answering(Answer::cacheable("hello")).await;
    let proxy = Proxy::before(&origin).await;
    proxy.get("/a").field("X-Large", &"x".repeat(30_000)).await.assert(200, "hello");
    for ask in [
        proxy.get("/a").field("X-Large", &"x".repeat(33_000)),
        (0..34).fold(proxy.get("/a"), |ask, n| ask.field(&format!("X-{n}"), &"x".repeat(1000))),
    ] {
        let mut conn = proxy.connect().await;
        conn.send(ask.bytes()).await;
        let (reply, conn) = conn.reply().await.expect("an answer");
        assert_eq!(reply.status, 431);
        assert!(conn.closed().await);
    }
    assert_eq!(origin.total(), 1);
}

#[tokio::test]
async fn a_head_that_is_never_over() {
    let origin = Origin::start().await;
    let proxy = Proxy::before(&origin).await;
    let before = proxy.resident();
    let conns = all((0..10).map(|_| async {
        let mut conn = proxy.connect().await;
        conn.send("GET /a HTTP/1.1\r\nHost: api.test\r\nX: ").await;
        conn.send("x".repeat(4 << 20)).await;
        conn
    }))
    .await;
    for conn in conns {
        // Closed, with or without a word: what it sent last may have been a reset.
        if let Some(reply) = conn.last_reply().await {
            assert_eq!(reply.status, 431);
        }
    }
    let grown = proxy.resident().saturating_sub(before);
    assert!(grown < 20 << 20, "{grown} bytes for heads that are refused");
}

#[tokio::test]
async fn too_many_connections() {
    let origin = Origin::answering(Answer::cacheable("hello")).await;
    let proxy = Proxy::before(&origin).server("max_connections = 3").await;
    let mut kept = Vec::new();
    for _ in 0..3 {
        let mut conn = proxy.connect().await;
        conn.send(proxy.get("/a").bytes()).await;
        let (reply, conn) = conn.reply().await.expect("an answer");
        reply.assert(200, "hello");
        kept.push(conn);
    }
    // The newest is refused, and those that are there go on.
    let mut conn = proxy.connect().await;
    conn.send(proxy.get("/a").bytes()).await;
    if let Some(reply) = conn.last_reply().await {
        assert_eq!(reply.status, 503);
    }
    let metrics = proxy.metrics().await;
    assert_eq!(metrics.sum("dustgate_shed_total", &[("reason", "connections")]), 1.0);
    assert_eq!(metrics.sum("dustgate_connections", &[("listener", "data")]), 3.0);
    let mut first = kept.remove(0);
    first.send(proxy.get("/a").bytes()).await;
    first.last_reply().await.expect("an answer").assert(200, "hello");
    // A place that was left is free again.
    until("a free place", async || {
        let mut conn = proxy.connect().await;
        conn.send(proxy.get("/a").bytes()).await;
        conn.last_reply().await.filter(|reply| reply.status == 200)
    })
    .await;
}

#[tokio::test]
async fn too_many_waiters() {
    let gate = Gate::shut();
    let origin = Origin::answering(Answer::cacheable("hello").held_by(&gate)).await;
    let proxy = Proxy::before(&origin).server("max_waiters = 5").await;
    let (replies, ()) = tokio::join!(proxy.herd(20, "/a"), async {
        proxy.until_metric("dustgate_shed_total", &[("reason", "waiters")], |n| n >= 10.0).await;
        gate.open();
    });
    let served = replies.iter().filter(|reply| reply.is(200, "hello")).count();
    assert!((5..=7).contains(&served), "{served} of 20 served with 5 places");
    for reply in replies.iter().filter(|reply| reply.status != 200) {
        reply.assert_error(503);
        assert!(reply.field("retry-after").parse::<u32>().is_ok(), "{:?}", reply.fields);
    }
    assert_eq!(origin.count("/a"), 1);
}

#[tokio::test]
async fn the_origins_places_are_few() {
    let gate = Gate::shut();
    let origin = Origin::answering(Answer::ok("hello").held_by(&gate)).await;
    let proxy = Proxy::before(&origin).upstream("max_concurrent = 2").upstream("queue = 3").await;
    let posts = (0..5).map(|n| proxy.ask("POST", &format!("/{n}")).content("x").send());
    let (replies, ()) = tokio::join!(all(posts), async {
        gate.reached_by(2).await;
        proxy.until_metric("dustgate_upstream_queue", &[], |n| n == 3.0).await;
        // One more than may wait.
        let reply = proxy.ask("POST", "/more").content("x").await;
        reply.assert_error(503);
        assert!(reply.fields.has("retry-after"));
        assert_eq!(origin.total(), 2);
        gate.open();
    });
    replies.iter().for_each(|reply| reply.assert(200, "hello"));
    let metrics = proxy.metrics().await;
    assert_eq!(metrics.sum("dustgate_shed_total", &[("reason", "queue")]), 1.0);
    assert_eq!(metrics.sum("dustgate_upstream_in_flight", &[]), 0.0);
}

#[tokio::test]
async fn nobody_waits_long_for_a_place() {
    let gate = Gate::shut();
    let origin = Origin::answering(Answer::ok("hello").held_by(&gate)).await;
    let proxy =
        Proxy::before(&origin).upstream("max_concurrent = 1").upstream("queue_timeout = \"200ms\"").await;
    let first = proxy.ask("POST", "/a").content("x").asked().await;
    gate.reached_by(1).await;
    let reply = proxy.ask("POST", "/b").content("x").await;
    reply.assert_error(503);
    assert!(reply.fields.has("retry-after"));
    gate.open();
    first.head().await.expect("an answer").rest().await.assert(200, "hello");
    assert_eq!(origin.count("/b"), 0);
}

#[tokio::test]
async fn fills_go_before_passes() {
    let gate = Gate::shut();
    let origin = Origin::answering(Answer::ok("hello").held_by(&gate)).await;
    let proxy = Proxy::before(&origin).upstream("max_concurrent = 1").await;
    let first = proxy.ask("POST", "/first").content("x").asked().await;
    gate.reached_by(1).await;
    let pass = proxy.ask("POST", "/pass").content("x").asked().await;
    proxy.until_metric("dustgate_upstream_queue", &[], |n| n == 1.0).await;
    let fill = proxy.get("/fill").asked().await;
    proxy.until_metric("dustgate_upstream_queue", &[], |n| n == 2.0).await;
    gate.open();
    for asked in [first, pass, fill] {
        asked.head().await.expect("an answer").rest().await.assert(200, "hello");
    }
    assert_eq!(origin.order(), ["/first", "/fill", "/pass"]);
}

#[tokio::test]
async fn a_head_that_comes_too_slowly() {
    let origin = Origin::start().await;
    let proxy = Proxy::before(&origin).server("header_timeout = \"300ms\"").await;
    let mut conn = proxy.connect().await;
    conn.send("GET /a HTTP/1.1\r\nHost: ap").await;
    if let Some(reply) = conn.last_reply().await {
        assert_eq!(reply.status, 408);
    }
    // Nothing at all is no better.
    assert!(proxy.connect().await.closed().await);
    assert_eq!(origin.total(), 0);
}

#[tokio::test]
async fn an_upload_that_stops() {
    let origin = Origin::answering(Answer::ok("thanks")).await;
    let proxy = Proxy::before(&origin).server("body_timeout = \"300ms\"").await;
    let mut conn = proxy.connect().await;
    conn.send("POST /a HTTP/1.1\r\nHost: api.test\r\nContent-Length: 100\r\n\r\nhalf").await;
    let reply = conn.last_reply().await.expect("an answer");
    reply.assert_error(408);
    assert_eq!(reply.json()["error"], "body_timeout");
    // The origin is not told that it was all.
    origin.left_by(1).await;
    assert_eq!(origin.last("/a").content, b"");
}

#[tokio::test]
async fn a_connection_that_idles() {
    let origin = Origin::answering(Answer::cacheable("hello")).await;
    let proxy = Proxy::before(&origin).server("idle_timeout = \"300ms\"").await;
    let mut conn = proxy.connect().await;
    conn.send(proxy.get("/a").bytes()).await;
    let (reply, conn) = conn.reply().await.expect("an answer");
    reply.assert(200, "hello");
    assert!(conn.closed().await);
}

#[tokio::test]
async fn a_slow_answer_is_not_idle() {
    let gate = Gate::shut();
    let origin = Origin::answering(Answer::cacheable("one,").gate(&gate).part("two").chunked()).await;
    let proxy =
        Proxy::before(&origin).server("idle_timeout = \"100ms\"").server("header_timeout = \"100ms\"").await;
    let mut reading = proxy.get("/a").begin().await;
    reading.at_least(4).await;
    // Somebody else is cut off for idling meanwhile: so much time has passed.
    assert!(proxy.connect().await.closed().await);
    gate.open();
    reading.rest().await.assert(200, "two");
}

#[tokio::test]
async fn several_ports() {
    let origin = Origin::answering(Answer::cacheable("hello")).await;
    let proxy = Proxy::before(&origin).server("listen = [\"127.0.0.1:0\", \"[::1]:0\"]").await;
    proxy.fill("/a").await.assert(200, "hello");
    let started = proxy.log.json(|line| line["event"] == "started");
    let at = started[0]["listen"][1].as_str().unwrap().parse().unwrap();
    let reply = crate::support::client::RequestFacts::new(at, "GET", "/a").await;
    assert!(reply.is_hit(), "one proxy behind both");
}

#[tokio::test]
async fn a_client_that_takes_its_time_with_the_answer_does_not_idle() {
    const LEN: u64 = 7 << 20;
    let origin = Origin::answering(Answer::status(200).cache("max-age=60").pattern(LEN)).await;
    // All of it is held in memory, so all of it is written at once, as far as the client takes it.
    let proxy = Proxy::before(&origin)
        .server("idle_timeout = \"100ms\"")
        .server("header_timeout = \"100ms\"")
        .more("[memory]\nsize = \"512MiB\"")
        .await;
    proxy.fill("/a").await;
    let mut reading = proxy.get("/a").receive_buffer(4096).begin().await;
    reading.at_least(1).await;
    for _ in 0..3 {
        assert!(proxy.connect().await.closed().await, "so much time has passed");
    }
    let rest = reading.rest().await;
    assert!(rest.body.len() as u64 > LEN - (1 << 20) && rest.end == End::Clean, "{:?}", rest.end);
    assert!(rest.is_hit());
}

#[tokio::test]
async fn a_timeout_of_zero_is_none() {
    let origin = Origin::answering(Answer::cacheable("hello")).await;
    let proxy = Proxy::before(&origin).server("idle_timeout = \"0s\"").await;
    let mut conn = proxy.connect().await;
    // Long enough for many looks at the time that has passed.
    for _ in 0..100 {
        conn.send(proxy.get("/a").bytes()).await;
        let (reply, next) = conn.reply().await.expect("an answer");
        reply.assert(200, "hello");
        conn = next;
    }
}

#[tokio::test]
async fn a_head_just_above_the_limit_is_refused_in_our_words() {
    let origin = Origin::answering(Answer::cacheable("hello")).await;
    let proxy = Proxy::before(&origin).await;
    for (len, status) in [(32 << 10, 200), ((32 << 10) + 1, 431), (35 << 10, 431)] {
        let rest = "GET /a HTTP/1.1\r\nHost: api.test\r\nX: \r\n\r\n".len();
        let ask = proxy.get("/a").field("X", &"x".repeat(len - rest));
        assert_eq!(ask.bytes().len(), len);
        let mut conn = proxy.connect().await;
        conn.send(ask.bytes()).await;
        let (reply, conn) = conn.reply().await.expect("an answer");
        assert_eq!(reply.status, status, "{len}");
        if status == 431 {
            reply.assert_error(431);
            assert_eq!(reply.json()["error"], "head_too_large");
            assert!(conn.closed().await);
        }
    }
    assert_eq!(origin.total(), 1);
}
