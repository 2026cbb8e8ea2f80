//! Exchanges that nobody is known to wait for give way to those that somebody waits for.

use crate::support::{Answer, Gate, Origin, Proxy, all, until};

/// What they are all held by, and an origin that answers `/fast` at once.
async fn slow_origin() -> (Gate, Origin) {
    let gate = Gate::shut();
    let origin = Origin::answering(Answer::cacheable("slow").held_by(&gate)).await;
    origin.on("/fast", Answer::cacheable("fast"));
    (gate, origin)
}

/// An origin of what is stale at once and may be served for a while, and what its refreshes are held by.
async fn stale_origin() -> (Gate, Origin) {
    let gate = Gate::shut();
    let origin = Origin::start().await;
    let held = gate.clone();
    origin.on_each("*", move |seen| {
        let stale = Answer::ok("stale").cache("max-age=1, stale-while-revalidate=600").field("Age", "9");
        if seen.nth == 1 { stale } else { stale.held_by(&held) }
    });
    (gate, origin)
}

#[tokio::test]
async fn fills_and_passes_of_clients_that_have_closed_do_not_keep_the_origins_places() {
    for (method, resets) in [("GET", true), ("GET", false), ("OPTIONS", false)] {
        let (gate, origin) = slow_origin().await;
        let proxy = Proxy::before(&origin).upstream("max_concurrent = 4").await;
        let asked = all((0..4).map(|n| proxy.ask(method, &format!("/{n}")).asked())).await;
        gate.reached_by(4).await;
        for asked in asked {
            if resets { asked.reset() } else { drop(asked) }
        }
        proxy.get("/fast").await.assert(200, "fast");
        proxy.until_metric("dustgate_shed_total", &[("reason", "unwanted")], |n| n == 1.0).await;
    }
}

#[tokio::test]
async fn refreshes_behind_answers_do_not_keep_the_origins_places() {
    let (gate, origin) = stale_origin().await;
    let proxy = Proxy::before(&origin).upstream("max_concurrent = 2").await;
    for (n, path) in ["/a", "/b"].into_iter().enumerate() {
        proxy.fill(path).await.assert(200, "stale");
        // The fill may not be over yet: then no other begins.
        until("a refresh", async || {
            proxy.get(path).await.assert(200, "stale");
            (gate.reached() > n).then_some(())
        })
        .await;
    }
    proxy.get("/c").await.assert(200, "stale");
    proxy.until_metric("dustgate_fills_total", &[("outcome", "abandoned")], |n| n == 1.0).await;
}

#[tokio::test]
async fn one_that_gives_way_is_told_so_and_one_with_somebody_behind_it_does_not() {
    let (gate, origin) = slow_origin().await;
    let proxy =
        Proxy::before(&origin).upstream("max_concurrent = 1").upstream("queue_timeout = \"300ms\"").await;
    let mut leader = proxy.get("/a").asked().await;
    gate.reached_by(1).await;
    leader.half_close().await;
    let follower = proxy.get("/a").asked().await;
    proxy.until_followers(1).await;
    // Somebody is behind it.
    proxy.get("/fast").await.assert_error(503);
    drop(follower);
    proxy.get("/fast").await.assert(200, "fast");
    let told = leader.head().await.expect("an answer").rest().await;
    told.assert_error(503);
    assert_eq!(told.json()["error"], "unwanted");
    assert!(told.fields.has("retry-after"));
    // It was the proxy's own doing, and nothing of it is remembered.
    gate.open();
    proxy.get("/a").await.assert(200, "slow");
}

#[tokio::test]
async fn a_herd_that_has_left_keeps_a_fourth_of_the_places_when_others_wait() {
    const HERD: usize = 200;
    let (gate, origin) = slow_origin().await;
    let proxy = Proxy::before(&origin).upstream("max_concurrent = 200").await;
    let head = "x".repeat(20_000);
    let asked = all((0..HERD).map(|n| proxy.get(&format!("/{n}")).field("X-Large", &head).asked())).await;
    gate.reached_by(HERD).await;
    drop(asked);
    let second = all((0..HERD).map(|n| proxy.get(&format!("/second/{n}")).asked())).await;
    gate.reached_by(HERD + 150).await;
    let abandoned = [("outcome", "abandoned")];
    proxy.until_metric("dustgate_fills_total", &abandoned, |n| n == 150.0).await;
    gate.open();
    for asked in second {
        asked.head().await.expect("an answer").rest().await.assert(200, "slow");
    }
    assert_eq!(proxy.metrics().await.sum("dustgate_fills_total", &abandoned), 150.0);
}

#[tokio::test]
async fn refreshes_that_have_begun_end_and_those_above_64_are_not_begun() {
    const KEYS: usize = 300;
    let (gate, origin) = stale_origin().await;
    let proxy = Proxy::before(&origin).upstream("max_concurrent = 200").await;
    for n in 0..KEYS {
        proxy.fill(&format!("/{n}")).await.assert(200, "stale");
    }
    for n in 0..KEYS {
        proxy.get(&format!("/{n}")).await.assert(200, "stale");
    }
    let not_begun = (KEYS - 64) as f64;
    proxy.until_metric("dustgate_shed_total", &[("reason", "unwanted")], |n| n == not_begun).await;
    gate.reached_by(64).await;
    gate.open();
    let stored = (KEYS + 64) as f64;
    proxy.until_metric("dustgate_fills_total", &[("outcome", "stored")], |n| n == stored).await;
    assert_eq!(origin.total(), KEYS + 64, "none was broken off");
    proxy.get("/299").await.assert(200, "stale");
    proxy.until_metric("dustgate_fills_total", &[("outcome", "stored")], |n| n == stored + 1.0).await;
}

#[tokio::test]
async fn what_is_unsafe_goes_on_once_it_was_sent_and_makes_void_what_is_stored() {
    for method in ["DELETE", "POST"] {
        let gate = Gate::shut();
        let origin = Origin::start().await;
        let held = gate.clone();
        origin.on_each("*", move |seen| {
            let answer = Answer::cacheable(format!("{} {}", seen.method, seen.nth));
            if seen.method == "GET" { answer } else { answer.held_by(&held) }
        });
        let proxy = Proxy::before(&origin).upstream("max_concurrent = 1").await;
        proxy.fill("/a").await.assert(200, "GET 1");
        let mut pass = proxy.ask(method, "/a").content("x").asked().await;
        gate.reached_by(1).await;
        pass.half_close().await;
        let other = proxy.get("/b").asked().await;
        proxy.until_metric("dustgate_upstream_queue", &[], |n| n == 1.0).await;
        gate.open();
        pass.head().await.expect("an answer").rest().await.assert(200, &format!("{method} 2"));
        other.head().await.expect("an answer").rest().await.assert(200, "GET 1");
        proxy.get("/a").await.assert(200, "GET 3");
    }
}

#[tokio::test]
async fn with_while_wanted_a_fill_goes_on_for_a_client_that_has_ended_its_side_and_ends_on_a_reset() {
    let (gate, origin) = slow_origin().await;
    let proxy = Proxy::before(&origin).route("finish = \"while_wanted\"").await;
    let (mut ended, mut left) = (proxy.get("/a").asked().await, proxy.get("/b").asked().await);
    ended.half_close().await;
    left.half_close().await;
    gate.reached_by(2).await;
    left.reset();
    origin.left_by(1).await;
    gate.open();
    ended.head().await.expect("an answer").rest().await.assert(200, "slow");
}

#[tokio::test]
async fn a_stream_whose_client_has_closed_does_not_keep_the_origins_place() {
    let (_gate, origin) = slow_origin().await;
    let events = Answer::status(200).field("Content-Type", "text/event-stream").chunked();
    origin.on("/events", events.part("data: 1\n\n").then_silence());
    let proxy = Proxy::before(&origin).upstream("max_concurrent = 1").await;
    let mut reading = proxy.get("/events").begin().await;
    assert_eq!(reading.at_least(9).await, b"data: 1\n\n");
    drop(reading);
    proxy.get("/fast").await.assert(200, "fast");
    origin.left_by(1).await;
}
