//! Origins that break: nobody is told that half is the whole, nothing of it is stored, and a
//! failing origin is not tried once a waiter.

use std::time::Duration;

use crate::support::{Answer, End, Gate, Origin, Proxy, Reply, all, within};

const HERD: usize = 30;

/// Asks before the origin breaks and after, alone and in company: nobody gets a clean end.
async fn half_is_never_the_whole(broken: Answer) {
    let gate = Gate::shut();
    let origin = Origin::start().await;
    origin.on_each("/a", {
        let gate = gate.clone();
        move |_| broken.clone().held_by(&gate)
    });
    let proxy = Proxy::before(&origin).await;
    let asked = all((0..5).map(|_| proxy.get("/a").asked())).await;
    proxy.until_followers(4).await;
    gate.open();
    for asked in asked {
        // What breaks at once may take the head with it, and then another is sent in its place.
        let reading = within("an answer", asked.head()).await.expect("never nothing");
        let reply = reading.rest().await;
        let said = (reply.status, reply.end);
        assert!(matches!(said, (200, End::Broken) | (502, End::Clean)), "{said:?} {:?}", reply.fields);
    }
    assert_eq!(proxy.metrics().await.sum("dustgate_fills_total", &[("outcome", "stored")]), 0.0);
    proxy.until_metric("dustgate_fills_total", &[("outcome", "truncated")], |n| n >= 1.0).await;
    // Nothing of it is there for who comes later.
    origin.on("/a", Answer::cacheable("whole"));
    let whole = crate::support::until("a whole answer", async || {
        let reply = proxy.get("/a").await;
        (reply.status == 200).then_some(reply)
    })
    .await;
    whole.assert(200, "whole");
    proxy.until_stored(1).await;
    assert!(proxy.get("/a").await.is_hit());
}

fn half() -> Answer {
    Answer::status(200).cache("max-age=60").part("x".repeat(500))
}

#[tokio::test]
async fn a_length_that_is_not_reached() {
    half_is_never_the_whole(half().declaring(1000).then_close()).await;
}

#[tokio::test]
async fn a_reset_in_mid_body() {
    half_is_never_the_whole(half().declaring(1000).then_reset()).await;
}

#[tokio::test]
async fn chunks_without_an_end() {
    half_is_never_the_whole(half().chunked().then_close()).await;
}

#[tokio::test]
async fn a_large_body_that_breaks() {
    let large = Answer::status(200).cache("max-age=60").pattern(3 << 20);
    half_is_never_the_whole(large.declaring(4 << 20).then_close()).await;
}

/// As of any other failure: one may be an accident, and refuses nobody.
#[tokio::test]
async fn a_first_answer_that_breaks_for_one_client_alone_is_not_remembered() {
    let origin = Origin::answering(half().declaring(1000).then_close()).await;
    let proxy = Proxy::before(&origin).await;
    for broken in [1.0, 2.0] {
        // What breaks at once may take the head with it.
        if let Some(reading) = within("an end", proxy.get("/a").asked().await.head()).await {
            let reply = reading.rest().await;
            assert!(matches!((reply.status, reply.end), (200, End::Broken) | (502, End::Clean)), "{reply:?}");
        }
        proxy.until_metric("dustgate_fills_total", &[("outcome", "truncated")], |n| n == broken).await;
        proxy.until_metric("dustgate_in_flight_keys", &[], |keys| keys == 0.0).await;
    }
    // But the second in a row is.
    proxy.get("/a").await.assert_error(502);
    assert_eq!(origin.count("/a"), 2);
}

#[tokio::test]
async fn a_pass_that_breaks() {
    let origin = Origin::answering(Answer::ok("half").cache("no-store").declaring(1000).then_close()).await;
    let proxy = Proxy::before(&origin).await;
    for _ in 0..2 {
        let asked = proxy.get("/a").asked().await;
        let reading = within("an answer", asked.head()).await.expect("never nothing");
        let reply = reading.rest().await;
        let nothing_was_sent = reply.status == 502 && reply.end == End::Clean;
        let broke = "half".starts_with(reply.text()) && reply.end == End::Broken;
        assert!(nothing_was_sent || broke, "{reply:?}");
    }
}

#[tokio::test]
async fn a_body_that_stops_coming() {
    let origin = Origin::answering(half().declaring(1000).then_silence()).await;
    let proxy = Proxy::before(&origin).upstream("read_timeout = \"300ms\"").await;
    let reply = proxy.get("/a").await;
    assert_eq!((reply.body.len(), reply.end), (500, End::Broken));
}

#[tokio::test]
async fn an_origin_that_says_nothing() {
    let origin = Origin::answering(Answer::silence()).await;
    let proxy = Proxy::before(&origin).upstream("first_byte_timeout = \"300ms\"").await;
    for reply in proxy.herd(HERD, "/a").await {
        reply.assert_error(504);
    }
    assert!(origin.count("/a") <= 2, "{} fetches", origin.count("/a"));
    proxy.ask("POST", "/b").content("x").await.assert_error(504);
    assert_eq!(origin.count("/b"), 1, "never tried again after a timeout");
}

#[tokio::test]
async fn an_origin_that_is_not_there() {
    let mut origin = Origin::start().await;
    origin.refuse().await;
    let proxy = Proxy::before(&origin).await;
    for reply in proxy.herd(HERD, "/a").await {
        reply.assert_error(502);
        let text = reply.text();
        assert!(!text.contains(&origin.at.port().to_string()), "internals: {text}");
    }
    proxy.ask("POST", "/b").content("x").await.assert_error(502);
    let line = proxy.logged(1, "/b").await.remove(0);
    assert!(line["error"].is_string(), "{line}");
    assert_eq!(line["status"], 502);
}

#[tokio::test]
async fn an_origin_that_resets_before_the_head() {
    let gate = Gate::shut();
    let origin = Origin::answering(Answer::reset().held_by(&gate)).await;
    let proxy = Proxy::before(&origin).await;
    let (replies, ()) = tokio::join!(proxy.herd(HERD, "/a"), async {
        proxy.until_followers(HERD - 1).await;
        gate.open();
    });
    replies.iter().for_each(|reply| reply.assert_error(502));
    assert!(origin.count("/a") <= 2, "{} fetches", origin.count("/a"));
}

#[tokio::test]
async fn a_failing_origin_is_not_tried_once_a_waiter() {
    let gate = Gate::shut();
    let failing = Answer::status(503).field("X-Own", "kept").part("down").held_by(&gate);
    let origin = Origin::answering(failing).await;
    let proxy = Proxy::before(&origin).await;
    let (replies, ()) = tokio::join!(proxy.herd(HERD, "/a"), async {
        proxy.until_followers(HERD - 1).await;
        gate.open();
    });
    assert!(replies.iter().all(|reply| reply.status == 503));
    assert!(origin.count("/a") <= 2, "{} fetches", origin.count("/a"));
    // Who comes right behind is told the same, without another try.
    let before = origin.count("/a");
    assert_eq!(proxy.get("/a").await.status, 503);
    assert_eq!(origin.count("/a"), before);
}

#[tokio::test]
async fn one_failure_alone_may_be_an_accident_and_two_in_a_row_are_none() {
    let origin = Origin::answering(Answer::status(503).part("down")).await;
    let proxy = Proxy::before(&origin).await;
    for tries in [1, 2, 2, 2] {
        assert_eq!(proxy.get("/a").await.status, 503);
        assert_eq!(origin.count("/a"), tries);
    }
}

#[tokio::test]
async fn retry_after_is_kept_to() {
    let origin = Origin::answering(Answer::status(503).field("Retry-After", "20").part("down")).await;
    let proxy = Proxy::before(&origin).await;
    for _ in 0..5 {
        assert_eq!(proxy.get("/a").await.status, 503);
    }
    assert_eq!(origin.count("/a"), 1);
}

#[tokio::test]
async fn a_failure_is_forgotten_soon() {
    let origin = Origin::answering(Answer::status(500).part("down")).await;
    let proxy = Proxy::before(&origin).await;
    assert_eq!(proxy.get("/a").await.status, 500);
    origin.on("/a", Answer::cacheable("up"));
    let reply = crate::support::until("the origin to be tried again", async || {
        let reply = proxy.get("/a").await;
        (reply.status == 200).then_some(reply)
    })
    .await;
    reply.assert(200, "up");
}

#[tokio::test]
async fn an_error_with_a_lifetime_is_an_answer() {
    let origin = Origin::answering(Answer::status(500).cache("max-age=60").part("down")).await;
    let proxy = Proxy::before(&origin).await;
    proxy.fill("/a").await.assert(500, "down");
    let again = proxy.get("/a").await;
    again.assert(500, "down");
    assert!(again.is_hit());
}

/// A record that is stale as soon as it is there.
fn stale(more: &str) -> Answer {
    Answer::ok("old").cache(&format!("max-age=10{more}")).field("Age", "20").field("ETag", "\"a\"")
}

#[track_caller]
fn assert_stale(reply: &Reply) {
    reply.assert(200, "old");
    let status = reply.cache_status();
    assert!(status.starts_with("dustgate; hit; ttl=-"), "{status}");
    assert!(reply.age() >= 20);
}

#[tokio::test]
async fn stale_is_better_than_an_error_where_the_origin_allows_it() {
    let origin = Origin::answering(stale(", stale-if-error=60")).await;
    let proxy = Proxy::before(&origin).await;
    proxy.fill("/a").await.assert(200, "old");
    origin.on("/a", Answer::status(500).part("down"));
    assert_stale(&proxy.get("/a").await);
    assert_eq!(origin.count("/a"), 2);
    let line = proxy.logged(2, "/a").await.remove(1);
    assert_eq!((&line["stale"], &line["cache"]), (&true.into(), &"stale".into()), "{line}");
    // Who comes within the failure's time too, without another try.
    assert_stale(&proxy.get("/a").await);
    assert_eq!(origin.count("/a"), 2);
}

#[tokio::test]
async fn a_herd_gets_stale_for_at_most_two_tries() {
    let gate = Gate::shut();
    let origin = Origin::answering(stale(", stale-if-error=60")).await;
    let proxy = Proxy::before(&origin).await;
    proxy.fill("/a").await;
    origin.on("/a", Answer::status(502).part("down").held_by(&gate));
    let (replies, ()) = tokio::join!(proxy.herd(HERD, "/a"), async {
        proxy.until_followers(HERD - 1).await;
        gate.open();
    });
    replies.iter().for_each(assert_stale);
    assert!(origin.count("/a") <= 3, "{} fetches", origin.count("/a"));
}

#[tokio::test]
async fn an_error_without_leave_for_stale_is_told() {
    let origin = Origin::answering(stale("")).await;
    let proxy = Proxy::before(&origin).await;
    proxy.fill("/a").await;
    origin.on("/a", Answer::status(500).part("down"));
    assert_eq!(proxy.get("/a").await.status, 500);
}

#[tokio::test]
async fn a_route_gives_leave_for_stale() {
    let origin = Origin::answering(stale("")).await;
    let proxy = Proxy::before(&origin).route("grace = { if_error = \"1m\" }").await;
    proxy.fill("/a").await;
    origin.on("/a", Answer::status(500).part("down"));
    assert_stale(&proxy.get("/a").await);
}

#[tokio::test]
async fn stale_when_the_origin_cannot_be_reached() {
    let origin = Origin::answering(stale("")).await;
    let proxy = Proxy::before(&origin).await;
    proxy.fill("/a").await;
    origin.on("/a", Answer::reset());
    assert_stale(&proxy.get("/a").await);
}

#[tokio::test]
async fn stale_when_the_origin_says_nothing() {
    let origin = Origin::answering(stale("")).await;
    let proxy = Proxy::before(&origin).upstream("first_byte_timeout = \"300ms\"").await;
    proxy.fill("/a").await;
    origin.on("/a", Answer::silence());
    assert_stale(&proxy.get("/a").await);
}

#[tokio::test]
async fn never_stale_against_the_origins_word() {
    let stated = ", s-maxage=10, stale-if-error=3600, stale-while-revalidate=3600";
    for word in [", must-revalidate", ", proxy-revalidate", ", no-cache"] {
        for words in [word.to_owned(), format!("{stated}{word}")] {
            let origin = Origin::answering(stale(&words)).await;
            let proxy = Proxy::before(&origin)
                .route("grace = { if_error = \"1h\", while_revalidate = \"1h\" }")
                .await;
            proxy.fill("/a").await.assert(200, "old");
            origin.on("/a", Answer::reset());
            proxy.get("/a").await.assert_error(502);
        }
    }
    // And without a word of its own, nor of the route, for how long.
    let origin = Origin::answering(stale(", s-maxage=10")).await;
    let proxy = Proxy::before(&origin).await;
    proxy.fill("/a").await.assert(200, "old");
    origin.on("/a", Answer::reset());
    proxy.get("/a").await.assert_error(502);
}

#[tokio::test]
async fn stale_if_error_and_a_routes_grace_outweigh_what_s_maxage_implies() {
    for (words, setting) in [
        (", s-maxage=10, stale-if-error=60", "cache = true"),
        (", s-maxage=10", "grace = { if_error = \"1m\" }"),
    ] {
        for broken in [Answer::reset(), Answer::status(503).part("down")] {
            let origin = Origin::answering(stale(words)).await;
            let proxy = Proxy::before(&origin).route(setting).await;
            proxy.fill("/a").await.assert(200, "old");
            origin.on("/a", broken);
            assert_stale(&proxy.get("/a").await);
        }
    }
}

#[tokio::test]
async fn a_stored_failure_is_never_served_stale() {
    let words = "max-age=10, stale-while-revalidate=600, stale-if-error=600";
    for status in [500, 502, 503, 504] {
        let failed =
            Answer::status(status).cache(words).field("Age", "20").field("ETag", "\"a\"").part("down");
        let origin = Origin::answering(failed).await;
        let grace = "grace = { if_error = \"1h\", while_revalidate = \"1h\" }";
        let proxy = Proxy::before(&origin).route(grace).await;
        proxy.fill("/a").await.assert(status, "down");
        origin.on("/a", Answer::reset());
        proxy.get("/a").await.assert_error(502);
    }
}

#[tokio::test]
async fn a_failure_that_a_status_ttl_has_stored_is_over_when_that_is() {
    let origin = Origin::answering(Answer::status(500).field("Age", "20").part("down")).await;
    let proxy = Proxy::before(&origin)
        .route("status_ttl = { 500 = \"10s\" }")
        .route("grace = { if_error = \"1h\", while_revalidate = \"1h\" }")
        .await;
    proxy.fill("/a").await.assert(500, "down");
    origin.on("/a", Answer::cacheable("up"));
    proxy.get("/a").await.assert(200, "up");
}

#[tokio::test]
async fn a_status_that_is_none_of_https_passes_as_it_is_and_is_never_stored() {
    for status in [600, 777, 999] {
        let odd = Answer::status(status).cache("public, max-age=60").field("ETag", "\"a\"").part("odd");
        let origin = Origin::answering(odd).await;
        let proxy = Proxy::before(&origin).await;
        let reply = proxy.get("/a").await;
        reply.assert(status, "odd");
        origin.on("/a", Answer::cacheable("good"));
        proxy.get("/a").await.assert(200, "good");
        let line = proxy.logged(2, "/a").await.remove(0);
        assert_eq!((&line["status"], &line["error"]), (&status.into(), &"upstream_status".into()), "{line}");
        let metrics = proxy.metrics().await;
        assert_eq!(metrics.sum("dustgate_requests_total", &[("code", "5xx")]), 1.0);
        assert_eq!(metrics.sum("dustgate_upstream_requests_total", &[("code", "5xx")]), 1.0);
    }
    // It is a failure, so something stale is better where that is allowed.
    let origin = Origin::answering(stale(", stale-if-error=60")).await;
    let proxy = Proxy::before(&origin).await;
    proxy.fill("/a").await.assert(200, "old");
    origin.on("/a", Answer::status(700).part("odd"));
    assert_stale(&proxy.get("/a").await);
}

#[tokio::test]
async fn answers_are_no_errors() {
    for status in [401, 403, 404, 410, 429] {
        let origin = Origin::answering(stale(", stale-if-error=60")).await;
        let proxy = Proxy::before(&origin).await;
        proxy.fill("/a").await;
        origin.on("/a", Answer::status(status).part("no"));
        assert_eq!(proxy.get("/a").await.status, status);
    }
}

#[tokio::test]
async fn the_deadline_of_a_wait_is_kept() {
    let origin = Origin::answering(Answer::silence()).await;
    let proxy = Proxy::before(&origin).dust("wait_timeout = \"300ms\"").await;
    let leader = proxy.get("/a").asked().await;
    origin.asked("/a", 1).await;
    for reply in proxy.herd(HERD, "/a").await {
        reply.assert_error(503);
        assert!(reply.fields.has("retry-after"));
    }
    assert!(origin.count("/a") <= 2, "never the whole herd to the origin");
    drop(leader);
}

#[tokio::test]
async fn a_connection_that_the_origin_had_closed_is_no_error() {
    let origin = Origin::answering(Answer::cacheable("hello")).await;
    let proxy = Proxy::before(&origin).await;
    proxy.get("/first").await.assert(200, "hello");
    origin.on_each("/a", |seen| if seen.nth == 1 { Answer::reset() } else { Answer::cacheable("hello") });
    proxy.get("/a").await.assert(200, "hello");
    assert_eq!(origin.count("/a"), 2);
    assert_eq!(proxy.logged(1, "/a").await[0]["tries"], 2);
    // Not what may have had an effect.
    proxy.get("/second").await.assert(200, "hello");
    origin.on("/b", Answer::reset());
    proxy.ask("POST", "/b").content("x").await.assert_error(502);
    assert_eq!(origin.count("/b"), 1);
}

#[tokio::test]
async fn what_is_not_http_is_not_passed_on() {
    for (what, raw) in [
        ("an unknown coding", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nhello"),
        ("a coding before chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
        ("no HTTP", "SSH-2.0-OpenSSH_9.2\r\n\r\n"),
        ("two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxy"),
        ("half a head", "HTTP/1.1 200 OK\r\nContent-Le"),
        ("nothing", ""),
    ] {
        let origin = Origin::answering(Answer::raw(raw)).await;
        let proxy = Proxy::before(&origin).await;
        let reply = proxy.get("/a").await;
        assert_eq!(reply.status, 502, "{what}: {reply:?}");
        reply.assert_error(502);
    }
}

#[tokio::test]
async fn what_the_origin_says_too_much_is_nobodys_answer() {
    let origin = Origin::start().await;
    origin.on("/a", Answer::raw("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"));
    origin.on("/b", Answer::cacheable("mine"));
    let proxy = Proxy::before(&origin).await;
    proxy.get("/a").await.assert(200, "hello");
    proxy.get("/b").await.assert(200, "mine");
}

#[tokio::test]
async fn a_slow_origin_within_its_time_is_no_failure() {
    let origin = Origin::answering(Answer::cacheable("hello").after(Duration::from_millis(400))).await;
    let proxy = Proxy::before(&origin).dust("lease_ttl = \"1s\"").await;
    for reply in proxy.herd(HERD, "/a").await {
        reply.assert(200, "hello");
    }
    assert_eq!(origin.count("/a"), 1);
}
