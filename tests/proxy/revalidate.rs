//! Asking the origin again about what is stored: a 304 refreshes it, an answer replaces it, and
//! stale-while-revalidate does it behind the client's back.

use crate::support::{Answer, End, Gate, Origin, Proxy};

/// Stale as soon as it is stored, so that no test has to wait.
fn stale(body: &'static str) -> Answer {
    Answer::ok(body).cache("max-age=10").field("Age", "20").field("ETag", "\"a\"")
}

#[tokio::test]
async fn not_modified_refreshes_what_is_stored() {
    let origin = Origin::answering(stale("hello").field("X-Own", "old").field("X-Other", "kept")).await;
    let proxy = Proxy::before(&origin).await;
    proxy.fill("/a").await.assert(200, "hello");

    origin.on("/a", Answer::status(304).cache("max-age=60").field("ETag", "\"a\"").field("X-Own", "new"));
    let refreshed = proxy.fill("/a").await;
    refreshed.assert(200, "hello");
    assert_eq!(refreshed.cache_status(), "dustgate; fwd=stale; fwd-status=304; stored");
    assert_eq!(origin.last("/a").field("if-none-match"), "\"a\"");
    assert_eq!(proxy.logged(2, "/a").await[1]["cache"], "revalidated");

    let hit = proxy.get("/a").await;
    hit.assert(200, "hello");
    assert!(hit.is_hit() && hit.age() < 10, "{:?}", hit.fields);
    assert_eq!((hit.fields.all("x-own"), hit.field("x-other")), (vec!["new"], "kept"));
    assert_eq!(origin.count("/a"), 2);
    assert_eq!(proxy.metrics().await.sum("dustgate_fills_total", &[("outcome", "unchanged")]), 1.0);
}

#[tokio::test]
async fn an_answer_replaces_what_is_stored() {
    let origin = Origin::answering(stale("old")).await;
    let proxy = Proxy::before(&origin).await;
    proxy.fill("/a").await.assert(200, "old");
    origin.on("/a", Answer::cacheable("new").field("ETag", "\"b\""));
    let replaced = proxy.fill("/a").await;
    replaced.assert(200, "new");
    assert_eq!(replaced.cache_status(), "dustgate; fwd=stale; stored");
    let hit = proxy.get("/a").await;
    hit.assert(200, "new");
    assert_eq!(hit.field("etag"), "\"b\"");
}

#[tokio::test]
async fn a_date_is_a_validator_too() {
    let date = "Mon, 02 Nov 2026 10:00:00 GMT";
    let answer = Answer::ok("hello").cache("max-age=10").field("Age", "20").field("Last-Modified", date);
    let origin = Origin::answering(answer).await;
    let proxy = Proxy::before(&origin).await;
    proxy.fill("/a").await;
    origin.on("/a", Answer::status(304).cache("max-age=60"));
    proxy.fill("/a").await.assert(200, "hello");
    assert_eq!(origin.last("/a").field("if-modified-since"), date);
    assert!(proxy.get("/a").await.is_hit());
}

#[tokio::test]
async fn no_cache_is_stored_and_asked_about_each_time() {
    let origin = Origin::answering(Answer::ok("hello").cache("no-cache").field("ETag", "\"a\"")).await;
    let proxy = Proxy::before(&origin).await;
    proxy.fill("/a").await.assert(200, "hello");
    origin.on("/a", Answer::status(304).cache("no-cache").field("ETag", "\"a\""));
    for n in 2..5 {
        let reply = proxy.fill("/a").await;
        reply.assert(200, "hello");
        assert_eq!(origin.count("/a"), n);
        assert_eq!(origin.last("/a").field("if-none-match"), "\"a\"");
    }
}

#[tokio::test]
async fn what_is_asked_is_ours_and_not_the_clients() {
    let origin = Origin::answering(Answer::cacheable("hello").field("ETag", "\"a\"")).await;
    let proxy = Proxy::before(&origin).await;
    let reply = proxy
        .get("/a")
        .field("If-None-Match", "\"clients\"")
        .field("If-Modified-Since", "Mon, 02 Nov 2026 10:00:00 GMT")
        .await;
    reply.assert(200, "hello");
    let seen = origin.last("/a");
    assert!(!seen.fields.has("if-none-match") && !seen.fields.has("if-modified-since"), "{seen:?}");
}

#[tokio::test]
async fn a_304_about_something_else_does_not_refresh() {
    let origin = Origin::answering(stale("hello")).await;
    let proxy = Proxy::before(&origin).await;
    proxy.fill("/a").await;
    origin.on_each("/a", |seen| {
        if seen.fields.has("if-none-match") {
            Answer::status(304).cache("max-age=60").field("ETag", "\"other\"")
        } else {
            Answer::cacheable("new").field("ETag", "\"other\"")
        }
    });
    proxy.get("/a").await.assert(200, "new");
}

#[tokio::test]
async fn a_304_that_nobody_asked_for_is_an_error_and_not_a_body() {
    let origin = Origin::answering(Answer::status(304).cache("max-age=60")).await;
    let proxy = Proxy::before(&origin).await;
    for _ in 0..2 {
        let reply = proxy.get("/a").await;
        assert!(reply.status == 304 || reply.status == 502, "{reply:?}");
        assert!(!reply.is_hit());
    }
}

#[tokio::test]
async fn a_herd_asks_once() {
    let gate = Gate::shut();
    let origin = Origin::answering(stale("hello")).await;
    let proxy = Proxy::before(&origin).await;
    proxy.fill("/a").await;
    origin.on("/a", Answer::status(304).cache("max-age=60").field("ETag", "\"a\"").held_by(&gate));
    let (replies, ()) = tokio::join!(proxy.herd(30, "/a"), async {
        proxy.until_followers(29).await;
        gate.open();
    });
    replies.iter().for_each(|reply| reply.assert(200, "hello"));
    assert_eq!(origin.count("/a"), 2);
}

#[tokio::test]
async fn stale_while_revalidate_answers_at_once_and_asks_behind() {
    let gate = Gate::shut();
    let answer = Answer::ok("old").cache("max-age=10, stale-while-revalidate=60").field("Age", "20");
    let origin = Origin::answering(answer).await;
    let proxy = Proxy::before(&origin).await;
    proxy.fill("/a").await.assert(200, "old");
    origin.on("/a", Answer::cacheable("new").held_by(&gate));
    // All of a herd, while the origin says nothing yet.
    for reply in proxy.herd(30, "/a").await {
        reply.assert(200, "old");
        assert!(reply.cache_status().starts_with("dustgate; hit; ttl=-1"), "{:?}", reply.fields);
        assert!(reply.cache_status().ends_with("; detail=stale-while-revalidate"));
        assert!(reply.age() >= 20);
    }
    gate.reached_by(1).await;
    gate.open();
    proxy.until_stored(2).await;
    let new = proxy.get("/a").await;
    new.assert(200, "new");
    assert!(new.is_hit());
    assert_eq!(origin.count("/a"), 2);
}

/// What a process finds in its store when it has nothing in memory is served as from memory.
#[tokio::test]
async fn after_a_restart_too_it_answers_at_once_and_asks_behind() {
    let gate = Gate::shut();
    let answer = Answer::ok("old").cache("max-age=10, stale-while-revalidate=60").field("Age", "20");
    let origin = Origin::answering(answer).await;
    let proxy = Proxy::before(&origin).await;
    proxy.fill("/a").await;
    let proxy = proxy.restart().await;
    origin.on("/a", Answer::cacheable("new").held_by(&gate));
    for reply in proxy.herd(30, "/a").await {
        reply.assert(200, "old");
        assert!(reply.cache_status().starts_with("dustgate; hit; ttl=-1"), "{:?}", reply.fields);
        assert!(reply.cache_status().ends_with("; detail=stale-while-revalidate"));
    }
    gate.reached_by(1).await;
    gate.open();
    proxy.until_stored(1).await;
    proxy.get("/a").await.assert(200, "new");
    assert_eq!(origin.count("/a"), 2);
}

#[tokio::test]
async fn after_a_restart_one_request_is_enough_to_ask_behind() {
    let answer = Answer::ok("old").cache("max-age=10, stale-while-revalidate=60").field("Age", "20");
    let origin = Origin::answering(answer).await;
    let proxy = Proxy::before(&origin).await;
    proxy.fill("/a").await;
    let proxy = proxy.restart().await;
    origin.on("/a", Answer::cacheable("new"));
    proxy.get("/a").await.assert(200, "old");
    proxy.until_stored(1).await;
    assert_eq!(origin.count("/a"), 2);
}

#[tokio::test]
async fn a_route_gives_leave_to_refresh_behind() {
    let gate = Gate::shut();
    let origin = Origin::answering(stale("old")).await;
    let proxy = Proxy::before(&origin).route("grace = { while_revalidate = \"1m\" }").await;
    proxy.fill("/a").await;
    origin.on("/a", Answer::cacheable("new").held_by(&gate));
    proxy.get("/a").await.assert(200, "old");
    gate.open();
}

#[tokio::test]
async fn a_refresh_that_fails_behind_leaves_what_is_there() {
    let answer = Answer::ok("old").cache("max-age=10, stale-while-revalidate=60").field("Age", "20");
    let origin = Origin::answering(answer).await;
    let proxy = Proxy::before(&origin).await;
    proxy.fill("/a").await;
    origin.on("/a", Answer::status(500).part("down"));
    for _ in 0..5 {
        proxy.get("/a").await.assert(200, "old");
    }
    proxy.until_metric("dustgate_fills_total", &[("outcome", "failed")], |n| n >= 1.0).await;
    proxy.get("/a").await.assert(200, "old");
}

#[tokio::test]
async fn a_refresh_that_breaks_off_leaves_what_is_there() {
    let answer = Answer::ok("old").cache("max-age=10, stale-while-revalidate=60").field("Age", "20");
    let origin = Origin::answering(answer).await;
    let proxy = Proxy::before(&origin).await;
    proxy.fill("/a").await;
    origin.on("/a", Answer::cacheable("ne").declaring(3).then_close());
    proxy.get("/a").await.assert(200, "old");
    proxy.until_metric("dustgate_fills_total", &[("outcome", "truncated")], |n| n >= 1.0).await;
    let reply = proxy.get("/a").await;
    assert_eq!((reply.text(), reply.end), ("old", End::Clean));
}
