//! A request that needs another protocol is told so; one that only offers it is answered.

use serde_json::json;

use crate::support::{Answer, Origin, Proxy};

const WEBSOCKET: &str = "GET /ws HTTP/1.1\r\nHost: api.test\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
                         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

#[tokio::test]
async fn a_request_that_needs_an_upgrade_never_becomes_a_plain_one() {
    let origin = Origin::answering(Answer::cacheable("hello")).await;
    for route in ["", "cache = false"] {
        let proxy = Proxy::before(&origin).route(route).await;
        let mut conn = proxy.connect().await;
        conn.send(WEBSOCKET).await;
        let (reply, mut conn) = conn.reply().await.expect("an answer");
        reply.assert_error(501);
        assert_eq!(reply.json()["error"], "upgrade");
        assert!(reply.json()["detail"].as_str().unwrap().contains("not upgraded"), "{reply:?}");
        // The connection goes on.
        conn.send("GET /ws HTTP/1.1\r\nHost: api.test\r\n\r\n").await;
        conn.reply().await.expect("an answer").0.assert(200, "hello");
        let lines = proxy.logged(2, "/ws").await;
        assert_eq!((&lines[0]["status"], &lines[0]["error"]), (&json!(501), &json!("upgrade")));
        let refused = proxy.metrics().await.sum("dustgate_refused_total", &[("reason", "upgrade")]);
        assert_eq!(refused, 1.0);
    }
    assert_eq!(origin.total(), 2, "only the plain requests got there");
}

#[tokio::test]
async fn an_offer_that_a_server_may_overlook_is_overlooked() {
    let origin = Origin::answering(Answer::cacheable("hello")).await;
    let proxy = Proxy::before(&origin).await;
    proxy.fill("/a").await;
    for fields in [
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
        "Connection: Upgrade\r\nUpgrade: TLS/1.2\r\n",
        // Connection does not name it.
        "Upgrade: websocket\r\n",
    ] {
        let mut conn = proxy.connect().await;
        conn.send(format!("GET /a HTTP/1.1\r\nHost: api.test\r\n{fields}\r\n")).await;
        let (reply, _) = conn.reply().await.expect("an answer");
        reply.assert(200, "hello");
        assert!(reply.is_hit(), "{fields}: {reply:?}");
    }
    // HTTP/1.0 has no upgrade.
    let mut conn = proxy.connect().await;
    conn.send("GET /a HTTP/1.0\r\nHost: api.test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n").await;
    conn.last_reply().await.expect("an answer").assert(200, "hello");
    // A fetch offers nothing on.
    let mut conn = proxy.connect().await;
    conn.send("GET /b HTTP/1.1\r\nHost: api.test\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n").await;
    conn.reply().await.expect("an answer").0.assert(200, "hello");
    assert!(!origin.last("/b").fields.has("upgrade"));
}

#[tokio::test]
async fn explain_says_so_too() {
    let origin = Origin::answering(Answer::cacheable("hello")).await;
    let proxy = Proxy::before(&origin).await;
    let explained = async |upgrade: &str| {
        let field = format!("Upgrade: {upgrade}");
        let arguments = ["explain", "http://api.test/a", "-H", "Connection: upgrade", "-H", &field];
        proxy.command(&arguments).await
    };
    let refused = explained("websocket").await;
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(refused.out.contains("answer     501"), "{refused:?}");
    assert_eq!(explained("h2c").await.code, 3, "a miss");
}
