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

/// nginx and Django code on the fly, make the tag of what they send a weak one, and answer its strong
/// form.
#[tokio::test]
async fn a_304_that_matches_weakly_refreshes_and_leaves_the_tag_that_the_bytes_came_under() {
    for (stored, told) in [("W/\"a\"", "\"a\""), ("\"a\"", "W/\"a\""), ("a-1,2", "a-1,2"), ("a", "\"a\"")] {
        let old = Answer::ok("hello").cache("max-age=10").field("Age", "20").field("ETag", stored);
        let origin = Origin::answering(old).await;
        let proxy = Proxy::before(&origin).await;
        proxy.fill("/a").await.assert(200, "hello");
        origin.on("/a", Answer::status(304).cache("max-age=60").field("ETag", told));
        let refreshed = proxy.fill("/a").await;
        refreshed.assert(200, "hello");
        assert_eq!(
            refreshed.cache_status(),
            "dustgate; fwd=stale; fwd-status=304; stored",
            "{stored} {told}"
        );
        assert_eq!(origin.last("/a").field("if-none-match"), stored);
        let hit = proxy.get("/a").await;
        assert!(hit.is_hit(), "{stored} {told}: {hit:?}");
        assert_eq!(hit.field("etag"), stored);
        assert_eq!(origin.count("/a"), 2, "{stored} {told}");
    }
}

#[tokio::test]
async fn a_304_that_nobody_asked_for_is_one_failed_exchange_for_all_who_waited() {
    let gate = Gate::shut();
    let origin = Origin::answering(Answer::status(304).cache("max-age=60").held_by(&gate)).await;
    let proxy = Proxy::before(&origin).await;
    // The client's own condition is answered here, and not sent.
    let conditional = proxy.get("/a").field("If-None-Match", "\"mine\"").asked().await;
    gate.reached_by(1).await;
    let (replies, ()) = tokio::join!(proxy.herd(5, "/a"), async {
        proxy.until_followers(5).await;
        gate.open();
    });
    for reply in replies.iter().chain([&conditional.head().await.expect("an answer").rest().await]) {
        reply.assert_error(502);
        assert_eq!(reply.json()["error"], "unasked_304");
    }
    assert_eq!(origin.count("/a"), 1);
}

#[tokio::test]
async fn stale_is_better_than_a_304_that_nobody_asked_for() {
    let origin = Origin::answering(Answer::ok("old").cache("max-age=10").field("Age", "20")).await;
    let proxy = Proxy::before(&origin).route("keep = \"1h\"").await;
    proxy.fill("/a").await.assert(200, "old");
    origin.on("/a", Answer::status(304).cache("max-age=60"));
    let reply = proxy.get("/a").await;
    reply.assert(200, "old");
    assert!(reply.cache_status().ends_with("detail=stale-if-error"), "{:?}", reply.fields);
}

#[tokio::test]
async fn a_304_passes_to_who_asked_and_to_nobody_else() {
    let origin = Origin::answering(Answer::status(304).field("ETag", "\"a\"")).await;
    let proxy = Proxy::before(&origin).await;
    let own = |method: &str| proxy.ask(method, "/a").field("Authorization", "me");
    for method in ["GET", "HEAD"] {
        assert_eq!(own(method).field("If-None-Match", "\"a\"").await.status, 304, "{method}");
        let date = "Mon, 02 Nov 2026 10:00:00 GMT";
        assert_eq!(own(method).field("If-Modified-Since", date).await.status, 304, "{method}");
        assert_eq!(own(method).await.status, 502, "{method}");
    }
    // Some APIs say so that nothing had to be done.
    assert_eq!(proxy.ask("POST", "/a").content("x").await.status, 304);
}

#[tokio::test]
async fn a_part_that_nobody_asked_for_is_one_failed_exchange_for_all_who_waited() {
    let gate = Gate::shut();
    let part = Answer::status(206).cache("max-age=60").field("Content-Range", "bytes 0-4/10").part("hello");
    let origin = Origin::answering(part.held_by(&gate)).await;
    let proxy = Proxy::before(&origin).await;
    let (replies, ()) = tokio::join!(proxy.herd(5, "/a"), async {
        proxy.until_followers(4).await;
        gate.open();
    });
    for reply in &replies {
        reply.assert_error(502);
        assert_eq!(reply.json()["error"], "unasked_206");
    }
    assert_eq!(origin.count("/a"), 1);
    proxy.get("/b").field("Authorization", "me").await.assert_error(502);
    // Who asked for it has it, and pages are no bytes.
    proxy.get("/c").field("Range", "bytes=0-4").await.assert(206, "hello");
    origin.on("/d", Answer::status(206).field("Content-Range", "0-14/3573").part("rows"));
    proxy.get("/d").await.assert(206, "rows");
}

/// What Next.js and Nuxt send.
#[tokio::test]
async fn stale_while_revalidate_beside_s_maxage_answers_at_once_and_asks_behind() {
    let gate = Gate::shut();
    let answer = Answer::ok("old").cache("s-maxage=1, stale-while-revalidate=30").field("Age", "3");
    let origin = Origin::answering(answer).await;
    let proxy = Proxy::before(&origin).await;
    proxy.fill("/a").await.assert(200, "old");
    origin.on("/a", Answer::cacheable("new").held_by(&gate));
    let reply = proxy.get("/a").await;
    reply.assert(200, "old");
    assert!(reply.cache_status().ends_with("; detail=stale-while-revalidate"), "{:?}", reply.fields);
    // The next one, if the fill had not quite ended.
    crate::support::until("a refresh", async || {
        proxy.get("/a").await.assert(200, "old");
        (origin.count("/a") == 2).then_some(())
    })
    .await;
    gate.open();
    proxy.until_stored(2).await;
    proxy.get("/a").await.assert(200, "new");
}

/// RFC 9211 §2.2: a stored response was selected, and was not good any more.
#[tokio::test]
async fn what_goes_upstream_because_the_stored_response_is_stale_says_so() {
    let origin = Origin::answering(stale("old")).await;
    let proxy = Proxy::before(&origin).await;
    let says = async |ask: crate::support::client::RequestFacts, what: &str| {
        let status = ask.await.cache_status().to_owned();
        assert!(status.starts_with("dustgate; fwd=stale"), "{what}: {status}");
    };
    for path in ["/head", "/cookie", "/private", "/failed", "/noted"] {
        proxy.fill(path).await.assert(200, "old");
    }
    says(proxy.ask("HEAD", "/head"), "a HEAD").await;
    says(proxy.get("/cookie").field("Cookie", "a=b"), "a cookie").await;
    origin.on("/private", Answer::ok("new").cache("private"));
    says(proxy.get("/private"), "a response for one client").await;
    says(proxy.get("/private"), "a pass that is remembered").await;
    origin.on("/failed", Answer::status(500).part("down"));
    says(proxy.get("/failed"), "a failure").await;
    // Found in the store only, and purged softly.
    let proxy = proxy.restart().await;
    origin.on("/noted", Answer::ok("new").cache("private"));
    says(proxy.get("/noted"), "a record of the store").await;
    origin.on("/soft", Answer::cacheable("old").field("ETag", "\"a\""));
    proxy.fill("/soft").await;
    proxy.purge(&serde_json::json!({"url": "http://api.test/soft", "soft": true})).await;
    origin.on("/soft", Answer::ok("new").cache("no-store"));
    says(proxy.get("/soft"), "a soft purge").await;
    // And where nothing is stored, nothing is stale.
    let none = proxy.get("/none").field("Cookie", "a=b").await;
    assert!(none.cache_status().starts_with("dustgate; fwd=bypass"), "{:?}", none.fields);
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

/// As many frameworks answer: a validator, and nothing about a lifetime.
#[tokio::test]
async fn an_origin_that_says_nothing_of_a_lifetime_is_told_in_the_header_and_in_explain() {
    for (field, value, status, setting) in [
        ("ETag", "\"a\"", 200, "default_ttl"),
        ("Last-Modified", "Wed, 01 Jan 2031 00:00:00 GMT", 200, "default_ttl"),
        ("ETag", "\"a\"", 404, "status_ttl = { 404 = … }"),
    ] {
        let origin = Origin::answering(Answer::status(status).field(field, value).part("hello")).await;
        let proxy = Proxy::before(&origin).await;
        let first = proxy.fill("/a").await;
        assert_eq!(first.cache_status(), "dustgate; fwd=uri-miss; stored; detail=no-lifetime", "{field}");
        let question = serde_json::json!({ "url": "http://api.test/a", "method": "GET", "headers": [] });
        let explained = proxy.admin_post("/v1/explain", &question).await.json();
        let because = explained["lines"]["because"].as_str().unwrap();
        let end = format!("; {setting} on route all would give it a lifetime");
        assert!(because.ends_with(&end), "{field}: {because}");
        origin.on("/a", Answer::status(304).field(field, value));
        let again = proxy.get("/a").await;
        again.assert(status, "hello");
        assert_eq!(
            again.cache_status(),
            "dustgate; fwd=stale; fwd-status=304; stored; detail=no-lifetime",
            "{field}"
        );
    }
    // What the origin says, it means.
    let origin = Origin::answering(Answer::ok("hello").cache("no-cache").field("ETag", "\"a\"")).await;
    let proxy = Proxy::before(&origin).await;
    assert_eq!(proxy.fill("/a").await.cache_status(), "dustgate; fwd=uri-miss; stored");
}
