//! What stale is there for while an origin fails.

use super::{HERD, before, evil, of, spoilt_by_one};
use crate::support::client::RequestFacts;
use crate::support::{Answer, Gate, Origin, Reply, all, until};

/// Stale as soon as it is there, and good instead of an error.
fn good() -> Answer {
    Answer::ok("good").cache("max-age=10, stale-if-error=60").field("Age", "20").field("ETag", "\"g\"")
}

fn is_stale(reply: &Reply) -> bool {
    reply.is(200, "good") && reply.cache_status().contains("detail=stale-if-error")
}

#[tokio::test]
async fn one_requests_failure_keeps_nobody_from_what_is_new() {
    for status in [429, 503] {
        let gate = Gate::shut();
        gate.open();
        let bad = Answer::status(status).field("Retry-After", "30").part("evil");
        let origin = spoilt_by_one(bad, good(), &gate).await;
        let proxy = before(&origin).await;
        proxy.filled_by(of(&proxy, 1)).await.assert(200, "good");
        let answered = evil(&proxy).await;
        assert!(answered.status == status || is_stale(&answered));
        origin.on("/a", Answer::cacheable("new"));
        of(&proxy, 2).await.assert(200, "new");
    }
}

#[tokio::test]
async fn an_error_with_a_lifetime_is_remembered_beside_the_good_answer() {
    for status in [500, 502, 503, 504] {
        let origin = Origin::answering(good()).await;
        let proxy = before(&origin).await;
        proxy.filled_by(of(&proxy, 1)).await.assert(200, "good");
        origin.on("/a", Answer::status(status).cache("max-age=60").part("down"));
        // The first two clients show that it is so; all get what is stale.
        for client in 1..=5 {
            let reply = of(&proxy, client).await;
            assert!(is_stale(&reply), "{reply:?}");
        }
        assert_eq!(origin.count("/a"), 3, "for its lifetime no other asks");
        // The good answer has stayed: it is what is validated when that is over.
        proxy.purge_url("/a").await;
        origin.on("/a", Answer::cacheable("new"));
        of(&proxy, 1).await.assert(200, "new");
    }
}

#[tokio::test]
async fn an_error_with_a_lifetime_by_the_route_neither() {
    let origin = Origin::answering(good()).await;
    let proxy = crate::support::Proxy::before(&origin).route("status_ttl = { 500 = \"30s\" }").await;
    proxy.fill("/a").await.assert(200, "good");
    origin.on("/a", Answer::status(500).part("down"));
    for _ in 0..3 {
        let reply = proxy.get("/a").await;
        assert!(is_stale(&reply), "{reply:?}");
    }
    assert_eq!(origin.count("/a"), 2);
}

#[tokio::test]
async fn an_error_with_a_lifetime_is_an_answer_where_there_is_nothing_better() {
    let origin = Origin::answering(Answer::status(503).cache("max-age=60").part("down")).await;
    let proxy = before(&origin).await;
    proxy.filled_by(of(&proxy, 1)).await.assert(503, "down");
    let again = of(&proxy, 2).await;
    assert!(again.is_hit() && again.status == 503);
}

#[tokio::test]
async fn a_rate_limit_is_an_error_where_the_route_has_a_grace() {
    let origin = Origin::answering(good()).await;
    let proxy = crate::support::Proxy::before(&origin).route("grace = { if_error = \"1m\" }").await;
    proxy.fill("/a").await;
    origin.on("/a", Answer::status(429).field("Retry-After", "30").part("slow down"));
    for _ in 0..3 {
        assert!(is_stale(&proxy.get("/a").await));
    }
    assert_eq!(origin.count("/a"), 2);
}

#[tokio::test]
async fn while_failures_go_on_stale_is_served_at_once_and_one_probe_is_made() {
    let gate = Gate::shut();
    let origin = Origin::answering(good()).await;
    let proxy = before(&origin).await;
    proxy.filled_by(of(&proxy, 1)).await;
    origin.on("/a", Answer::status(503).part("down"));
    assert!(is_stale(&of(&proxy, 1).await));
    assert!(is_stale(&of(&proxy, 2).await), "two have shown it");
    // From now on the origin hangs. When the failure's time is over one asks it: for no client.
    origin.on("/a", Answer::status(503).part("down").held_by(&gate));
    until("a probe", async || {
        assert!(is_stale(&of(&proxy, 1).await));
        (origin.count("/a") == 4).then_some(())
    })
    .await;
    let herd = all((0..HERD).map(|client| of(&proxy, client).send())).await;
    assert!(herd.iter().all(is_stale), "none waits for the probe");
    assert_eq!(origin.count("/a"), 4);
    // It is over when the probe is answered.
    origin.on("/a", Answer::cacheable("new"));
    gate.open();
    until("the new answer", async || of(&proxy, 1).await.is(200, "new").then_some(())).await;
}

#[tokio::test]
async fn a_probe_that_fails_too_leaves_all_bound() {
    let origin = Origin::answering(good()).await;
    let proxy = before(&origin).await;
    proxy.filled_by(of(&proxy, 1)).await;
    // As long for each: what they have shown ends together.
    let down = || Answer::status(503).field("Retry-After", "2").part("down");
    origin.on("/a", down());
    for client in 1..=2 {
        assert!(is_stale(&of(&proxy, client).await));
    }
    // The third client's probe fails, and then the origin hangs: the fourth waits for none of it.
    until("a probe", async || {
        assert!(is_stale(&of(&proxy, 3).await));
        (origin.count("/a") == 4).then_some(())
    })
    .await;
    let gate = Gate::shut();
    origin.on("/a", down().held_by(&gate));
    until("the next probe", async || {
        assert!(is_stale(&of(&proxy, 4).await));
        (origin.count("/a") == 5).then_some(())
    })
    .await;
    assert!(is_stale(&of(&proxy, 5).await));
    assert_eq!(origin.count("/a"), 5);
    gate.open();
}

#[tokio::test]
async fn an_error_that_comes_by_itself_takes_no_good_answers_place_either() {
    for (what, route, cookie) in [("with a cookie", "", true), ("uncoalesced", "coalesce = false", false)] {
        let origin = Origin::answering(good()).await;
        let proxy = crate::support::Proxy::before(&origin).route(route).await;
        proxy.fill("/a").await.assert(200, "good");
        origin.on("/a", Answer::status(503).cache("public, max-age=60").part("down"));
        let ask = if cookie { proxy.get("/a").field("Cookie", "a=b") } else { proxy.get("/a") };
        ask.await;
        origin.on("/a", Answer::status(500).part("down"));
        let reply = proxy.get("/a").field("User-Agent", "another").await;
        if cookie {
            assert!(is_stale(&reply), "{what}: {reply:?}");
        }
        origin.on("/a", Answer::cacheable("new"));
        until("the new answer", async || {
            proxy.get("/a").field("X-A", "1").await.is(200, "new").then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn credentials_do_not_make_a_failure_everybodys() {
    let gate = Gate::shut();
    let origin = Origin::answering(good().cache("public, max-age=10, stale-if-error=60")).await;
    let proxy = before(&origin).await;
    proxy.filled_by(of(&proxy, 1)).await;
    origin.on("/a", Answer::status(503).part("down").held_by(&gate));
    let herd: Vec<_> = (0..HERD).map(|n| of(&proxy, n).field("Cookie", &format!("id={n}"))).collect();
    let (replies, ()) = tokio::join!(all(herd.into_iter().map(RequestFacts::send)), async {
        proxy.until_followers(HERD - 1).await;
        gate.open();
    });
    assert!(replies.iter().all(is_stale));
    assert!(origin.count("/a") <= 3, "{} fetches", origin.count("/a"));
}
