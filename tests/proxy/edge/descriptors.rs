//! A machine that is short of descriptors says so, and blames no origin.

use crate::support::{Answer, Origin, Proxy};

#[tokio::test]
async fn a_connection_that_the_machine_has_no_descriptor_for_is_not_the_origins_failure() {
    let origin = Origin::answering(Answer::cacheable("hello")).await;
    let proxy = Proxy::before(&origin).await;
    let mut conn = proxy.connect().await;
    conn.send("OPTIONS * HTTP/1.1\r\nHost: api.test\r\n\r\n").await;
    let (reply, mut conn) = conn.reply().await.expect("an answer");
    assert_eq!(reply.status, 204, "its connection has a descriptor");

    let before = proxy.leave_no_descriptor();
    for ask in [proxy.get("/a"), proxy.ask("POST", "/b").content("x")] {
        conn.send(ask.bytes()).await;
        let (reply, next) = conn.reply().await.expect("an answer");
        conn = next;
        reply.assert_error(503);
        assert_eq!(reply.json()["error"], "local");
        assert!(reply.fields.has("retry-after"));
    }
    proxy.limit_descriptors(before);
    // Nothing of it is remembered.
    conn.send(proxy.get("/a").bytes()).await;
    conn.reply().await.expect("an answer").0.assert(200, "hello");
    let errors = proxy.metrics().await;
    assert_eq!(errors.sum("dustgate_upstream_errors_total", &[("reason", "local")]), 2.0);
    assert_eq!(errors.sum("dustgate_upstream_errors_total", &[]), 2.0);
}
