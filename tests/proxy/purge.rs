//! Purges: what is gone, what is kept, and that none of it comes back from a fill in flight.

use serde_json::json;

use crate::support::{Answer, Gate, Origin, Proxy};

#[tokio::test]
async fn one_url() {
    let origin = Origin::answering(Answer::cacheable("hello")).await;
    let proxy = Proxy::before(&origin).await;
    for path in ["/a", "/a?b", "/b"] {
        proxy.fill(path).await;
    }
    let purged = proxy.purge_url("/a").await;
    assert_eq!((&purged["kind"], &purged["soft"]), (&"url".into(), &false.into()), "{purged}");
    assert!(purged["number"].is_u64() && purged["ms"].is_number(), "{purged}");
    assert_eq!(purged["confirmed"].as_array().map(Vec::len), Some(1), "{purged}");
    assert_eq!(purged["silent"].as_array().map(Vec::len), Some(0), "{purged}");
    assert!(!proxy.fill("/a").await.is_hit());
    assert!(proxy.get("/a").await.is_hit(), "stored anew");
    for path in ["/a?b", "/b"] {
        assert!(proxy.get(path).await.is_hit(), "{path}");
    }
    let again = proxy.purge_url("/a").await;
    assert!(again["number"].as_u64() > purged["number"].as_u64(), "{again}");
}

#[tokio::test]
async fn a_url_in_any_spelling_and_with_all_its_variants() {
    let origin = Origin::answering(Answer::cacheable("hello").field("Vary", "Accept-Language")).await;
    let proxy = Proxy::before(&origin).route("vary_on = [\"x-tenant\"]").await;
    let asks = [("de", "1"), ("en", "1"), ("de", "2")];
    let get = |(language, tenant): (&str, &str)| {
        proxy.get("/~a?q=%27").field("Accept-Language", language).field("X-Tenant", tenant)
    };
    for ask in asks {
        proxy.filled_by(get(ask)).await;
        assert!(get(ask).await.is_hit());
    }
    proxy.purge(&json!({"url": "HTTP://API.test:80/%7ea?q='"})).await;
    for ask in asks {
        assert!(!get(ask).await.is_hit(), "{ask:?}");
    }
}

#[tokio::test]
async fn everything() {
    let origin = Origin::answering(Answer::cacheable("hello")).await;
    let proxy = Proxy::before(&origin).await;
    for path in ["/a", "/b", "/c"] {
        proxy.fill(path).await;
    }
    assert_eq!(proxy.purge(&json!({"all": true})).await["kind"], "all");
    for path in ["/a", "/b", "/c"] {
        assert!(!proxy.get(path).await.is_hit(), "{path}");
    }
}

#[tokio::test]
async fn softly_is_stale_and_not_gone() {
    let origin = Origin::answering(Answer::cacheable("hello").field("ETag", "\"a\"")).await;
    let proxy = Proxy::before(&origin).await;
    proxy.fill("/a").await;
    let purged = proxy.purge(&json!({"url": "http://api.test/a", "soft": true})).await;
    assert_eq!(purged["soft"], true);
    origin.on("/a", Answer::status(304).cache("max-age=60").field("ETag", "\"a\""));
    let reply = proxy.fill("/a").await;
    reply.assert(200, "hello");
    assert_eq!(reply.cache_status(), "dustgate; fwd=stale; fwd-status=304; stored");
    assert_eq!(origin.last("/a").field("if-none-match"), "\"a\"");
    assert!(proxy.get("/a").await.is_hit());
}

#[tokio::test]
async fn softly_is_good_enough_when_the_origin_is_away() {
    let origin = Origin::answering(Answer::cacheable("hello")).await;
    let proxy = Proxy::before(&origin).await;
    proxy.fill("/a").await;
    proxy.purge(&json!({"all": true, "soft": true})).await;
    origin.on("/a", Answer::reset());
    proxy.get("/a").await.assert(200, "hello");
    proxy.purge(&json!({"all": true})).await;
    proxy.get("/a").await.assert_error(502);
}

#[tokio::test]
async fn a_purge_beats_a_fill_in_flight() {
    for what in [json!({"url": "http://api.test/a"}), json!({"all": true})] {
        let gate = Gate::shut();
        let origin = Origin::answering(Answer::cacheable("old").held_by(&gate)).await;
        let proxy = Proxy::before(&origin).await;
        let leader = proxy.get("/a").asked().await;
        gate.reached_by(1).await;
        let follower = proxy.get("/a").asked().await;
        proxy.until_followers(1).await;
        proxy.purge(&what).await;
        origin.on("/a", Answer::cacheable("new"));
        // The old one is still coming; nobody who comes now gets it, or waits for it.
        proxy.get("/a").await.assert(200, "new");
        gate.open();
        for before in [leader, follower] {
            // Who came before it may have either, whole.
            let before = before.head().await.expect("an answer").rest().await;
            assert!(before.is(200, "old") || before.is(200, "new"), "{before:?}");
        }
        proxy.get("/a").await.assert(200, "new");
        assert_eq!(origin.count("/a"), 2);
    }
}

#[tokio::test]
async fn a_purge_in_mid_body_beats_it_too() {
    let gate = Gate::shut();
    let origin = Origin::answering(Answer::cacheable("old,").gate(&gate).part("still old").chunked()).await;
    let proxy = Proxy::before(&origin).await;
    let mut before = proxy.get("/a").begin().await;
    before.at_least(4).await;
    proxy.purge_url("/a").await;
    origin.on("/a", Answer::cacheable("new"));
    proxy.get("/a").await.assert(200, "new");
    gate.open();
    // Who was there before may have it to its end.
    before.rest().await;
    proxy.get("/a").await.assert(200, "new");
    assert_eq!(origin.count("/a"), 2);
}

#[tokio::test]
async fn a_purge_with_nobody_left_behind_it_is_not_undone_by_the_fill() {
    let gate = Gate::shut();
    let origin = Origin::answering(Answer::cacheable("old").held_by(&gate)).await;
    let proxy = Proxy::before(&origin).await;
    let before = proxy.get("/a").asked().await;
    gate.reached_by(1).await;
    proxy.purge_url("/a").await;
    gate.open();
    before.head().await.expect("an answer").rest().await.assert(200, "old");
    origin.on("/a", Answer::cacheable("new"));
    proxy.get("/a").await.assert(200, "new");
}

#[tokio::test]
async fn a_remembered_pass_is_purged() {
    let origin = Origin::answering(Answer::ok("private").cache("private")).await;
    let proxy = Proxy::before(&origin).route("pass_ttl = \"1h\"").await;
    proxy.fill("/a").await;
    proxy.get("/a").await;
    origin.on("/a", Answer::cacheable("public"));
    proxy.purge_url("/a").await;
    proxy.fill("/a").await.assert(200, "public");
    assert!(proxy.get("/a").await.is_hit());
}

#[tokio::test]
async fn a_purge_outlives_the_process() {
    let origin = Origin::answering(Answer::cacheable("old")).await;
    let proxy = Proxy::before(&origin).await;
    proxy.fill("/a").await;
    proxy.fill("/b").await;
    proxy.purge_url("/a").await;
    let proxy = proxy.restart_killed().await;
    origin.on("*", Answer::cacheable("new"));
    proxy.get("/a").await.assert(200, "new");
    proxy.get("/b").await.assert(200, "old");
}

#[tokio::test]
async fn every_purge_has_its_line() {
    let origin = Origin::answering(Answer::cacheable("hello")).await;
    let proxy = Proxy::before(&origin).await;
    let number = proxy.purge_url("/a").await["number"].clone();
    let lines = proxy.log.json_lines(1, "the purge's line", |line| line["event"] == "purge").await;
    assert_eq!(lines[0]["number"], number, "{}", lines[0]);
    assert_eq!(proxy.metrics().await.sum("dustgate_purges_total", &[("kind", "url")]), 1.0);
}

#[tokio::test]
async fn what_is_no_purge_is_refused() {
    let origin = Origin::answering(Answer::cacheable("hello")).await;
    let proxy = Proxy::before(&origin).await;
    proxy.fill("/a").await;
    for wrong in [
        json!({}),
        json!({"soft": true}),
        json!({"all": false}),
        json!({"all": true, "url": "http://api.test/a"}),
        json!({"url": "/a"}),
        json!({"url": "ftp://api.test/a"}),
        json!({"url": "http://api.test/../a"}),
        json!({"url": 7}),
        json!({"everything": true}),
        json!([]),
    ] {
        let reply = proxy.admin_post("/v1/purge", &wrong).await;
        assert!(reply.status == 400 || reply.status == 422, "{wrong}: {reply:?}");
        let told = reply.json();
        assert!(told["error"].is_string() && told["detail"].is_string(), "{told}");
    }
    assert!(proxy.get("/a").await.is_hit());
}
