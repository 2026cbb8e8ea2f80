//! A client that ends its side when it has asked is answered; one that resets has left.

use crate::support::{Answer, Gate, Origin, Proxy};

#[tokio::test]
async fn a_miss_a_hit_and_a_post_are_answered_after_the_client_has_ended_its_side() {
    let gate = Gate::shut();
    let origin = Origin::answering(Answer::cacheable("hello").held_by(&gate)).await;
    let proxy = Proxy::before(&origin).await;
    let mut miss = proxy.get("/a").asked().await;
    let mut post = proxy.ask("POST", "/b").content("x").asked().await;
    gate.reached_by(2).await;
    miss.half_close().await;
    post.half_close().await;
    // What is sent later on another connection comes later.
    proxy.metrics().await;
    gate.open();
    miss.head().await.expect("an answer").rest().await.assert(200, "hello");
    post.head().await.expect("an answer").rest().await.assert(200, "hello");
    assert_eq!(origin.count("/b"), 1);
    proxy.until_stored(1).await;
    let mut hit = proxy.get("/a").asked().await;
    hit.half_close().await;
    let hit = hit.head().await.expect("an answer").rest().await;
    hit.assert(200, "hello");
    assert!(hit.is_hit());
}

#[tokio::test]
async fn requests_that_came_together_before_the_end_are_all_answered() {
    let gate = Gate::shut();
    let origin = Origin::answering(Answer::cacheable("hello").held_by(&gate)).await;
    let proxy = Proxy::before(&origin).await;
    let mut conn = proxy.connect().await;
    let asks = [proxy.get("/a"), proxy.ask("POST", "/b").content("x"), proxy.get("/a"), proxy.get("/c")];
    conn.send(asks.map(|ask| ask.bytes()).concat()).await;
    conn.half_close().await;
    gate.reached_by(1).await;
    gate.open();
    for _ in 0..4 {
        let (reply, next) = conn.reply().await.expect("an answer");
        reply.assert(200, "hello");
        conn = next;
    }
    assert!(conn.closed().await);
}

#[tokio::test]
async fn a_client_that_resets_its_connection_has_left() {
    let gate = Gate::shut();
    let origin = Origin::answering(Answer::ok("hello").held_by(&gate)).await;
    let proxy = Proxy::before(&origin).await;
    let pass = proxy.ask("POST", "/a").content("x").asked().await;
    gate.reached_by(1).await;
    pass.reset();
    origin.left_by(1).await;
    assert_eq!(proxy.logged(1, "/a").await[0]["error"], "client_left");
}
