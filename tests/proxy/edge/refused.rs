//! Heads that the parser does not take are answered, logged and counted like every other refusal.

use serde_json::Value;

use crate::support::{Answer, Origin, Proxy, Reply, all};

/// The last answer of a connection on which this was sent.
async fn refused(proxy: &Proxy, bytes: impl AsRef<[u8]>) -> Reply {
    let mut conn = proxy.connect().await;
    conn.send(bytes).await;
    let (reply, conn) = conn.reply().await.expect("an answer");
    assert!(conn.closed().await);
    reply
}

async fn line_of(proxy: &Proxy, status: u64) -> Value {
    proxy.log.json_lines(1, &format!("a line of {status}"), |line| line["status"] == status).await.remove(0)
}

#[tokio::test]
async fn targets_and_fields_that_are_no_http_are_refused_in_our_words() {
    let origin = Origin::start().await;
    let proxy = Proxy::before(&origin).await;
    let heads = [
        "GET /a`b HTTP/1.1",
        "GET /?a=<b> HTTP/1.1",
        "GET /?a=\"b\" HTTP/1.1",
        "GET /a b HTTP/1.1",
        "GET /a\u{1} HTTP/1.1",
        "G<T / HTTP/1.1",
        "GET /a HTTP/1.1\r\nX : b",
        "GET /a HTTP/1.1\r\nX: a\u{1}b",
        "POST /a HTTP/1.1\r\nContent-Length: x",
        "nonsense",
        "\u{16}\u{3}\u{1}\u{2}",
    ];
    for head in heads {
        let reply = refused(&proxy, format!("{head}\r\nHost: api.test\r\n\r\n")).await;
        reply.assert_error(400);
        assert_eq!(reply.json()["error"], "malformed", "{head:?}");
        assert_eq!(reply.field("connection"), "close");
    }
    assert_eq!(origin.total(), 0);
    let is_refusal = |line: &Value| line["error"] == "malformed";
    let lines = proxy.log.json_lines(heads.len(), "a line each", is_refusal).await;
    assert_eq!((&lines[0]["method"], &lines[0]["path"]), (&"GET".into(), &"/a`b".into()));
    assert_eq!((&lines[0]["cache"], &lines[0]["status"]), (&"error".into(), &400.into()));
    let counted = proxy.metrics().await.sum("dustgate_refused_total", &[("reason", "malformed")]);
    assert_eq!(counted, heads.len() as f64);
}

#[tokio::test]
async fn a_head_that_is_too_large_for_the_parser_is_refused_in_our_words() {
    let origin = Origin::start().await;
    let proxy = Proxy::before(&origin).await;
    let many = "X-Many: a\r\n".repeat(300);
    let large = "x".repeat(60_000);
    for (head, status, word) in [
        (format!("GET /many HTTP/1.1\r\nHost: api.test\r\n{many}\r\n"), 431, "head_too_large"),
        (format!("GET /large HTTP/1.1\r\nHost: api.test\r\nX: {large}\r\n\r\n"), 431, "head_too_large"),
        (format!("GET /{large} HTTP/1.1\r\nHost: api.test\r\n\r\n"), 414, "target_too_long"),
    ] {
        let reply = refused(&proxy, &head).await;
        reply.assert_error(status);
        assert_eq!(reply.json()["error"], word);
    }
    assert_eq!(line_of(&proxy, 431).await["path"], "/many");
    assert_eq!(line_of(&proxy, 414).await["method"], "GET");
}

#[tokio::test]
async fn a_good_request_before_a_bad_one_is_answered_and_the_bad_one_refused() {
    let origin = Origin::answering(Answer::cacheable("hello")).await;
    let proxy = Proxy::before(&origin).await;
    let mut conn = proxy.connect().await;
    conn.send([proxy.get("/a").bytes(), b"GET /a`b HTTP/1.1\r\nHost: a\r\n\r\n".to_vec()].concat()).await;
    let (reply, conn) = conn.reply().await.expect("an answer");
    reply.assert(200, "hello");
    let (reply, conn) = conn.reply().await.expect("a refusal");
    reply.assert_error(400);
    assert!(conn.closed().await);
    // Where it began is not known, and nothing is made up.
    let line = line_of(&proxy, 400).await;
    assert_eq!((&line["method"], &line["path"]), (&"-".into(), &"".into()), "{line}");
}

#[tokio::test]
async fn a_head_that_is_late_is_told_so() {
    let origin = Origin::start().await;
    let proxy = Proxy::before(&origin).server("header_timeout = \"300ms\"").await;
    let reply = refused(&proxy, "GET /late HTTP/1.1\r\nHost: ap").await;
    reply.assert_error(408);
    assert_eq!(reply.json()["error"], "header_timeout");
    assert_eq!(line_of(&proxy, 408).await["path"], "/late");
    // One that has said nothing is told nothing.
    assert!(proxy.connect().await.closed().await);
    let reason = [("reason", "header_timeout")];
    proxy.until_metric("dustgate_connections_closed_total", &reason, |n| n == 2.0).await;
}

#[tokio::test]
async fn a_higher_minor_version_is_served_as_1_1() {
    let origin = Origin::answering(Answer::ok("hello")).await;
    let proxy = Proxy::before(&origin).await;
    let head = |method: &str, version: &str| {
        format!("{method} /a HTTP/{version}\r\nHost: api.test\r\nContent-Length: 3\r\n\r\nabc")
    };
    let mut conn = proxy.connect().await;
    // One after another, together with others, and in pieces.
    conn.send(head("POST", "1.2")).await;
    let (reply, mut conn) = conn.reply().await.expect("an answer");
    reply.assert(200, "hello");
    conn.send([head("POST", "1.1"), head("PUT", "1.9"), head("POST", "1.3"), head("POST", "1.1")].concat())
        .await;
    for _ in 0..4 {
        let (reply, next) = conn.reply().await.expect("an answer");
        reply.assert(200, "hello");
        conn = next;
    }
    let whole = head("POST", "1.2");
    for piece in whole.as_bytes().chunks(7) {
        conn.send(piece).await;
    }
    let (reply, _conn) = conn.reply().await.expect("an answer");
    reply.assert(200, "hello");
    assert!(origin.requests("/a").iter().all(|seen| seen.content == b"abc"));
    assert_eq!(origin.count("/a"), 6);
}

#[tokio::test]
async fn any_other_version_is_refused_as_what_it_is() {
    let origin = Origin::start().await;
    let proxy = Proxy::before(&origin).await;
    let heads = [
        "GET / HTTP/2.0\r\nHost: api.test\r\n\r\n",
        "GET / HTTP/0.9\r\nHost: api.test\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ];
    for reply in all(heads.map(|head| refused(&proxy, head))).await {
        reply.assert_error(505);
        assert_eq!(reply.json()["error"], "http_version");
    }
}

#[tokio::test]
async fn requests_of_a_higher_minor_version_that_come_together_are_all_answered_in_order() {
    let origin = Origin::start().await;
    origin.on_each("*", |seen| Answer::ok(seen.target.clone()));
    let proxy = Proxy::before(&origin).await;
    let field = "x".repeat(500);
    let head = |n: usize| format!("GET /{n} HTTP/1.2\r\nHost: api.test\r\nX: {field}\r\n\r\n");
    for before in [0, 4096] {
        let mut conn = proxy.connect().await;
        conn.send("\r\n".repeat(before) + &(0..40).map(head).collect::<String>()).await;
        for n in 0..40 {
            let (reply, next) = conn.reply().await.expect("an answer");
            reply.assert(200, &format!("/{n}"));
            conn = next;
        }
    }
}

#[tokio::test]
async fn content_that_comes_after_the_answer_is_no_head() {
    let origin = Origin::start().await;
    origin.on_early("/a", Answer::ok("enough"));
    let proxy =
        Proxy::before(&origin).server("header_timeout = \"200ms\"").server("body_timeout = \"1s\"").await;
    let mut conn = proxy.connect().await;
    conn.send("POST /a HTTP/1.1\r\nHost: api.test\r\nContent-Length: 1000\r\n\r\nhalf").await;
    let (reply, mut conn) = conn.reply().await.expect("an answer");
    reply.assert(200, "enough");
    conn.send("more").await;
    assert!(conn.last_reply().await.is_none(), "one answer to one request");
    assert_eq!(proxy.metrics().await.sum("dustgate_refused_total", &[]), 0.0);
}
