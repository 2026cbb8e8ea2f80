//! An origin that bears only so many requests in a time, and one that says when it has had enough.

use std::env;
use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, sleep, sleep_until};

use crate::support::crowd::{self, Crowd};
use crate::support::fleet::{Fleet, SLACK};
use crate::support::{Answer, Proxy, all, until};

/// Waits until an instance knows that the origin asks to be left alone.
async fn knows_of_pause(instance: &Proxy) {
    until("the pause to be known", async || {
        let status = instance.admin_get("/v1/status").await.json();
        (!status["upstreams"][0]["limited"].is_null()).then_some(())
    })
    .await;
}

/// New keys at 200 a second for so many seconds (`DUSTGATE_QUOTA_SECONDS`), over three instances, before an origin
/// that bears 10 a second.
#[tokio::test(flavor = "multi_thread")]
async fn an_origin_is_never_asked_more_often_than_the_fleet_may_and_everybody_is_answered() {
    let seconds = env::var("DUSTGATE_QUOTA_SECONDS").map_or(4, |text| text.parse().unwrap());
    let fleet = Fleet::with(3, crowd::limited).await;
    let crowd = Crowd::come(&fleet.origin, &fleet.of, seconds).await;
    crowd.judge(seconds);
    let spent = fleet.sum("dustgate_upstream_tokens_total", &[]).await;
    assert_eq!(spent, f64::from(u32::try_from(crowd.asked).unwrap()), "one token for each");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_that_asks_for_time_is_left_alone_by_the_whole_fleet_until_then() {
    let fleet = Fleet::with(3, |setup| {
        setup.upstream("retry_after = \"upstream\"").route("grace = { if_error = \"1h\" }")
    })
    .await;
    fleet.origin.on_each("*", |seen| Answer::status(200).cache("max-age=1").part(seen.target.clone()));
    fleet.origin.on("/limited", Answer::status(429).field("Retry-After", "4").part("slow down"));
    fleet.settled("/old", "/old").await;
    let before = fleet.origin.total();
    sleep(Duration::from_millis(1_100)).await;
    fleet.of[0].get("/limited").await.assert(429, "slow down");
    let until_then = Instant::now() + Duration::from_secs(4);
    for instance in &fleet.of {
        knows_of_pause(instance).await;
    }
    let mut asked = 0;
    while Instant::now() + Duration::from_millis(500) < until_then {
        for (nth, instance) in fleet.of.iter().enumerate() {
            let new = instance.get(&format!("/new/{nth}/{asked}")).await;
            assert_eq!(new.status, 503, "{}", new.text());
            assert_eq!(new.json()["error"], "limited");
            assert!((1..=4).contains(&new.field("retry-after").parse::<u32>().unwrap()));
            let old = instance.get("/old").await;
            old.assert(200, "/old");
            assert!(old.cache_status().contains("stale-if-error"), "{}", old.cache_status());
        }
        asked += 1;
        let url = format!("http://{}/new", fleet.of[1].at);
        let told = fleet.of[1].admin_post("/v1/explain", &json!({ "url": url })).await.json();
        let limits = told["lines"]["limits"].as_str().unwrap_or_default().to_owned();
        assert!(limits.starts_with("it answered 429 and is left alone for"), "{told}");
        sleep(Duration::from_millis(50)).await;
    }
    println!("{} new keys, {} fetches until the time was over", 3 * asked, fleet.origin.total() - before);
    assert_eq!(fleet.origin.total(), before + 1, "the one that was limited");
    sleep_until(until_then + Duration::from_millis(200)).await;
    let herd = all((0..9).map(|nth| fleet.of[nth % 3].get(&format!("/again/{nth}")).send())).await;
    for (nth, reply) in herd.iter().enumerate() {
        reply.assert(200, &format!("/again/{nth}"));
    }
    for instance in &fleet.of {
        until("the pause to be over", async || {
            let status = instance.admin_get("/v1/status").await.json();
            status["upstreams"][0]["limited"].is_null().then_some(())
        })
        .await;
    }
    assert_eq!(fleet.sum("dustgate_upstream_limited_total", &[]).await, 3.0, "each has heard of it once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_limited_is_left_alone_everywhere_and_other_keys_are_not() {
    let fleet = Fleet::of(3).await;
    fleet.origin.on("/a", Answer::status(503).field("Retry-After", "2").part("not now"));
    fleet.origin.on("/b", Answer::cacheable("hello"));
    let began = Instant::now();
    assert_eq!(fleet.of[0].get("/a").await.status, 503);
    while began.elapsed() < Duration::from_millis(1_500) {
        for reply in fleet.each("/a").await {
            assert_eq!(reply.status, 503);
            assert!(["1", "2"].contains(&reply.field("retry-after")), "{}", reply.field("retry-after"));
        }
    }
    assert_eq!(fleet.origin.count("/a"), 1);
    fleet.settled("/b", "hello").await;
    fleet.origin.on("/a", Answer::cacheable("again"));
    fleet.settled("/a", "again").await;
    assert!(began.elapsed() < Duration::from_secs(3) + SLACK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_second_that_an_origin_asks_for_is_kept_to() {
    let fleet = Fleet::of(3).await;
    fleet.origin.on("/a", Answer::status(429).field("Retry-After", "1").part("not now"));
    let began = Instant::now();
    assert_eq!(fleet.of[0].get("/a").await.status, 429);
    let answered = Instant::now();
    while answered.elapsed() < Duration::from_millis(700) {
        assert!(fleet.each("/a").await.iter().all(|reply| reply.status == 429));
    }
    if began.elapsed() < Duration::from_secs(1) {
        assert_eq!(fleet.origin.count("/a"), 1);
    }
}

/// Within a grace that the route sets, clients do not learn of the limit at all, whichever instance they ask.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_limited_is_served_stale_everywhere_and_other_keys_are_fetched() {
    let fleet = Fleet::with(3, |setup| setup.route("grace = { if_error = \"1h\" }")).await;
    // Stale as soon as it is stored.
    fleet.origin.on("/a", Answer::ok("old").cache("max-age=10").field("Age", "20"));
    fleet.of[0].fill("/a").await.assert(200, "old");
    let slow_down = Answer::status(429).field("Retry-After", "3").part("slow down");
    fleet.origin.on("/a", slow_down.clone());
    fleet.origin.on("/new", slow_down);
    fleet.origin.on_each("*", |seen| Answer::cacheable(seen.target.clone()));
    let stale = |reply: &crate::support::Reply| {
        reply.assert(200, "old");
        let told = reply.cache_status();
        assert!(told.contains("detail=stale-if-error"), "{told}");
    };
    let began = Instant::now();
    stale(&fleet.of[1].get("/a").await);
    fleet.of[2].get("/new").await.assert(429, "slow down");
    let mut round = 0;
    while began.elapsed() < Duration::from_secs(2) {
        fleet.each("/a").await.iter().for_each(stale);
        // Without anything stale, the limit is what all are told, and for how long.
        for reply in fleet.each("/new").await {
            assert_eq!(reply.status, 429, "{}", reply.text());
            assert!((1..=3).contains(&reply.field("retry-after").parse::<u32>().unwrap()));
        }
        // Another key is not what is limited.
        let other = format!("/b/{round}");
        fleet.of[round % 3].get(&other).await.assert(200, &other);
        round += 1;
    }
    // The first fetch, and the one that was limited.
    assert_eq!((fleet.origin.count("/a"), fleet.origin.count("/new")), (2, 1));
    fleet.origin.on("/a", Answer::cacheable("new"));
    fleet.settled("/a", "new").await;
    assert!(began.elapsed() < Duration::from_secs(4) + SLACK);
}
