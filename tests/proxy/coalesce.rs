//! Many clients, one exchange: who rides, who reads along, and who must never wait in a line.

use std::collections::HashSet;

use crate::support::{Answer, End, Gate, Origin, Proxy, Reply, all};

/// How many clients a herd has here: enough to tell one from many.
const HERD: usize = 30;

fn texts(replies: &[Reply]) -> HashSet<&str> {
    replies.iter().map(Reply::text).collect()
}

#[tokio::test]
async fn a_herd_costs_one_fetch() {
    let gate = Gate::shut();
    let origin = Origin::answering(Answer::cacheable("hello").held_by(&gate)).await;
    let proxy = Proxy::before(&origin).await;
    let (replies, ()) = tokio::join!(proxy.herd(HERD, "/a"), async {
        proxy.until_followers(HERD - 1).await;
        gate.open();
    });
    assert_eq!(origin.count("/a"), 1);
    replies.iter().for_each(|reply| reply.assert(200, "hello"));
    let count = |status: &str| replies.iter().filter(|reply| reply.cache_status() == status).count();
    assert_eq!(count("dustgate; fwd=uri-miss; stored"), 1);
    assert_eq!(count("dustgate; fwd=uri-miss; collapsed; detail=awaited"), HERD - 1);

    let lines = proxy.logged(HERD, "/a").await;
    let of = |name: &str, value: &str| lines.iter().filter(|line| line[name] == value).count();
    assert_eq!((of("cache", "miss"), of("cache", "follower")), (1, HERD - 1));
    assert_eq!((of("source", "computed"), of("source", "awaited")), (1, HERD - 1));
    assert!(lines.iter().filter(|line| line["cache"] == "follower").all(|line| line["wait_ms"].is_number()));

    let metrics = proxy.metrics().await;
    assert_eq!(metrics.sum("dustgate_fill_fetches_total", &[("route", "all")]), 1.0);
    assert_eq!(metrics.sum("dustgate_filled_keys_total", &[("route", "all")]), 1.0);
    assert_eq!(metrics.sum("dustgate_followers_total", &[("end", "rode")]), (HERD - 1) as f64);
    assert_eq!(metrics.sum("dustgate_followers", &[]), 0.0);
}

#[tokio::test]
async fn a_large_herd_over_several_keys_costs_one_fetch_a_key() {
    let gate = Gate::shut();
    let origin = Origin::answering(Answer::cacheable("hello").held_by(&gate)).await;
    let proxy = Proxy::before(&origin).await;
    let asks = (0..300).map(|n| proxy.get(["/a", "/b", "/c"][n % 3]).send());
    let (replies, ()) = tokio::join!(all(asks), async {
        proxy.until_followers(297).await;
        gate.open();
    });
    replies.iter().for_each(|reply| reply.assert(200, "hello"));
    assert_eq!(origin.total(), 3);
}

#[tokio::test]
async fn followers_read_along() {
    let gate = Gate::shut();
    let origin = Origin::answering(Answer::cacheable("one,").gate(&gate).part("two").chunked()).await;
    let proxy = Proxy::before(&origin).await;
    let mut leader = proxy.get("/a").begin().await;
    assert_eq!(leader.at_least(4).await, b"one,");
    // The origin has not gone on yet, and whoever comes now has the beginning already.
    let mut follower = proxy.get("/a").begin().await;
    assert_eq!(follower.at_least(4).await, b"one,");
    assert_eq!(
        follower.fields.get("cache-status"),
        Some("dustgate; fwd=uri-miss; collapsed; detail=awaited")
    );
    assert!(follower.fields.has("age"));
    gate.open();
    for reading in [leader, follower] {
        let rest = reading.rest().await;
        assert_eq!((rest.text(), rest.end), ("two", End::Clean));
    }
    assert_eq!(origin.count("/a"), 1);
}

#[tokio::test]
async fn the_first_client_may_leave_in_mid_fill() {
    let gate = Gate::shut();
    let origin = Origin::answering(Answer::cacheable("one,").gate(&gate).part("two").chunked()).await;
    let proxy = Proxy::before(&origin).await;
    let mut leader = proxy.get("/a").begin().await;
    leader.at_least(4).await;
    let followers = all((0..5).map(|_| proxy.get("/a").begin())).await;
    leader.into_conn().reset();
    // Its line says that it left; only then may the origin go on.
    assert_eq!(proxy.logged(1, "/a").await[0]["aborted"], true);
    gate.open();
    for follower in followers {
        follower.rest().await.assert(200, "one,two");
    }
    proxy.until_stored(1).await;
    assert!(proxy.get("/a").await.is_hit());
    assert_eq!(origin.count("/a"), 1);
}

#[tokio::test]
async fn the_first_client_may_leave_before_the_head() {
    let gate = Gate::shut();
    let origin = Origin::answering(Answer::cacheable("hello").held_by(&gate)).await;
    let proxy = Proxy::before(&origin).await;
    let leader = proxy.get("/a").asked().await;
    origin.asked("/a", 1).await;
    let followers = all((0..5).map(|_| proxy.get("/a").asked())).await;
    proxy.until_followers(5).await;
    leader.reset();
    assert_eq!(proxy.logged(1, "/a").await[0]["aborted"], true);
    gate.open();
    for follower in followers {
        follower.head().await.expect("an answer").rest().await.assert(200, "hello");
    }
    assert_eq!(origin.count("/a"), 1);
}

#[tokio::test]
async fn a_fill_goes_on_when_everybody_has_left() {
    let gate = Gate::shut();
    let origin = Origin::answering(Answer::cacheable("hello").held_by(&gate)).await;
    let proxy = Proxy::before(&origin).await;
    let client = proxy.get("/a").asked().await;
    origin.asked("/a", 1).await;
    client.reset();
    assert_eq!(proxy.logged(1, "/a").await[0]["aborted"], true);
    gate.open();
    proxy.until_stored(1).await;
    assert!(proxy.get("/a").await.is_hit());
}

#[tokio::test]
async fn a_route_may_end_fills_that_nobody_wants() {
    let gate = Gate::shut();
    let origin = Origin::answering(Answer::cacheable("hello").held_by(&gate)).await;
    let proxy = Proxy::before(&origin).route("finish = \"while_wanted\"").await;
    let client = proxy.get("/a").asked().await;
    origin.asked("/a", 1).await;
    // By a reset: one that merely closes may still be there.
    client.reset();
    origin.left_by(1).await;
    gate.open();
    proxy.get("/a").await.assert(200, "hello");
    assert_eq!(origin.count("/a"), 2);
}

#[tokio::test]
async fn a_slow_reader_slows_nobody() {
    const LEN: u64 = 8 << 20;
    let origin = Origin::answering(Answer::status(200).cache("max-age=60").pattern(LEN)).await;
    let proxy = Proxy::before(&origin).await;
    // The slow one leads, and reads no more than the head for as long as the others are at it.
    let slow = proxy.get("/a").receive_buffer(4096).begin().await;
    let fast = proxy.herd(HERD, "/a").await;
    let body = crate::support::pattern::Pattern::whole(LEN);
    assert!(fast.iter().all(|reply| reply.body == body && reply.end == End::Clean));
    proxy.until_stored(1).await;
    let slow = slow.rest().await;
    assert!(slow.body == body && slow.end == End::Clean, "{} of {LEN}, {:?}", slow.body.len(), slow.end);
    assert_eq!(origin.count("/a"), 1);
}

/// A herd for what each must get for itself: the first is judged, and then all the others are
/// at the origin *at once*, none behind another. Gives what they got.
async fn nobody_waits_in_a_line(answer: Answer) -> (Origin, Proxy, Vec<Reply>) {
    let (first, others) = (Gate::shut(), Gate::shut());
    let origin = Origin::start().await;
    let gates = (first.clone(), others.clone());
    origin.on_each("/a", move |seen| {
        let gate = if seen.nth == 1 { &gates.0 } else { &gates.1 };
        answer.clone().part(format!("{}", seen.nth)).held_by(gate)
    });
    let proxy = Proxy::before(&origin).await;
    let (replies, ()) = tokio::join!(proxy.herd(HERD, "/a"), async {
        first.reached_by(1).await;
        proxy.until_followers(HERD - 1).await;
        first.open();
        others.reached_by(HERD - 1).await;
        others.open();
    });
    assert!(replies.iter().all(|reply| reply.status == 200 && reply.end == End::Clean));
    assert_eq!(origin.count("/a"), HERD);
    (origin, proxy, replies)
}

#[tokio::test]
async fn what_is_private_is_each_clients_own() {
    let (_origin, _proxy, replies) = nobody_waits_in_a_line(Answer::status(200).cache("private")).await;
    assert_eq!(texts(&replies).len(), HERD);
}

#[tokio::test]
async fn what_must_not_be_stored_is_each_clients_own() {
    let (_origin, _proxy, replies) = nobody_waits_in_a_line(Answer::status(200).cache("no-store")).await;
    assert_eq!(texts(&replies).len(), HERD);
}

#[tokio::test]
async fn what_varies_on_everything_is_each_clients_own() {
    let answer = Answer::status(200).cache("max-age=60").field("Vary", "*");
    let (_origin, _proxy, replies) = nobody_waits_in_a_line(answer).await;
    assert_eq!(texts(&replies).len(), HERD);
}

#[tokio::test]
async fn a_pass_is_remembered() {
    let (origin, proxy, _) = nobody_waits_in_a_line(Answer::status(200).cache("no-store")).await;
    let gate = Gate::shut();
    origin.on("/a", Answer::ok("x").cache("no-store").held_by(&gate));
    // Nobody is asked first now.
    let (replies, ()) = tokio::join!(proxy.herd(HERD, "/a"), async {
        gate.reached_by(HERD).await;
        gate.open();
    });
    for reply in replies {
        reply.assert(200, "x");
        assert!(reply.cache_status().ends_with("; detail=no-store"), "{:?}", reply.fields);
    }
}

#[tokio::test]
async fn a_pass_is_not_remembered_for_longer_than_its_time() {
    let origin = Origin::answering(Answer::ok("a").cache("no-store")).await;
    let proxy = Proxy::before(&origin).route("pass_ttl = \"0s\"").await;
    proxy.fill("/a").await;
    origin.on("/a", Answer::cacheable("b"));
    proxy.fill("/a").await.assert(200, "b");
    assert!(proxy.get("/a").await.is_hit());
}

#[tokio::test]
async fn endless_bodies_that_may_not_be_shared_hold_nobody_up() {
    // The verdict is in the head: nobody waits for a body that is not for them.
    let origin = Origin::answering(Answer::ok("first,").cache("no-store").chunked().then_silence()).await;
    let proxy = Proxy::before(&origin).await;
    let mut readings = all((0..HERD).map(|_| proxy.get("/a").begin())).await;
    for reading in &mut readings {
        assert_eq!(reading.at_least(6).await, b"first,");
    }
    assert_eq!(origin.count("/a"), HERD);
}

/// A herd for what may not be reused without asking, but may be ridden by who came before it
/// was sent: one exchange for the first, one for all the others together.
async fn two_exchanges_do(answer: Answer) {
    let (first, second) = (Gate::shut(), Gate::shut());
    let origin = Origin::start().await;
    let gates = (first.clone(), second.clone());
    origin.on_each("/a", move |seen| {
        let gate = if seen.nth == 1 { &gates.0 } else { &gates.1 };
        answer.clone().part(format!("{}", seen.nth)).held_by(gate)
    });
    let proxy = Proxy::before(&origin).await;
    // Who comes before the first is sent may ride it; so all others come after that.
    let leader = proxy.get("/a").asked().await;
    first.reached_by(1).await;
    let (replies, ()) = tokio::join!(proxy.herd(HERD - 1, "/a"), async {
        proxy.until_followers(HERD - 1).await;
        first.open();
        second.reached_by(1).await;
        // Who comes to it when it is over asks again: an origin this fast may be asked a third time.
        crate::support::until("the herd to wait for the second exchange", async || {
            let flights = proxy.admin_get("/v1/flights").await.json();
            let list = flights.as_array().or_else(|| flights["flights"].as_array()).expect("a list");
            let waits =
                |flight: &&serde_json::Value| flight["phase"] == "headers" && flight["followers"] == HERD - 2;
            list.iter().find(waits).map(drop)
        })
        .await;
        second.open();
    });
    leader.head().await.expect("an answer").rest().await.assert(200, "1");
    assert!(replies.iter().all(|reply| reply.status == 200 && reply.end == End::Clean));
    assert_eq!(origin.count("/a"), 2);
    replies.iter().for_each(|reply| reply.assert(200, "2"));
    // The next one asks again.
    assert_eq!(proxy.get("/a").await.text(), "3");
}

#[tokio::test]
async fn no_cache_costs_two_exchanges() {
    two_exchanges_do(Answer::status(200).cache("no-cache").field("ETag", "\"a\"")).await;
}

#[tokio::test]
async fn must_revalidate_at_once_costs_two_exchanges() {
    two_exchanges_do(Answer::status(200).cache("max-age=0, must-revalidate").field("ETag", "\"a\"")).await;
}

#[tokio::test]
async fn what_arrives_stale_costs_two_exchanges() {
    two_exchanges_do(Answer::status(200).cache("max-age=1").field("Age", "5").field("ETag", "\"a\"")).await;
}

#[tokio::test]
async fn what_arrives_stale_and_without_a_validator_costs_two_exchanges() {
    two_exchanges_do(Answer::status(200).cache("max-age=1").field("Age", "5")).await;
}

/// The body of the first exchange does not end before all the others have their answers.
async fn nobody_waits_for_the_end_of(cache: &'static str) {
    let rest = Gate::shut();
    let origin = Origin::start().await;
    origin.on_each("/a", {
        let rest = rest.clone();
        move |seen| match seen.nth {
            1 => Answer::status(200)
                .cache(cache)
                .field("ETag", "\"1\"")
                .declaring(4)
                .part("sl")
                .gate(&rest)
                .part("ow"),
            _ => Answer::ok("quick").cache(cache).field("ETag", "\"2\""),
        }
    });
    let proxy = Proxy::before(&origin).await;
    let mut slow = proxy.get("/a").begin().await;
    assert_eq!(slow.at_least(2).await, b"sl");
    // It is stale by then.
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
    for reply in proxy.herd(HERD, "/a").await {
        reply.assert(200, "quick");
    }
    // As one, but for those who came when it was over.
    let fetches = origin.count("/a");
    assert!((2..=4).contains(&fetches), "{cache}: {fetches} fetches");
    rest.open();
    slow.rest().await;
    proxy.until_metric("dustgate_in_flight_keys", &[], |keys| keys == 0.0).await;
    proxy.get("/a").await.assert(200, "quick");
    assert_eq!(origin.last("/a").field("if-none-match"), "\"2\"", "{cache}: what was asked for later stays");
}

#[tokio::test]
async fn a_body_that_is_not_to_be_cached_is_not_waited_for() {
    nobody_waits_for_the_end_of("no-cache").await;
}

#[tokio::test]
async fn a_body_that_outlives_its_lifetime_is_not_waited_for() {
    let rest = Gate::shut();
    let origin = Origin::start().await;
    origin.on_each("/a", {
        let rest = rest.clone();
        move |seen| match seen.nth {
            1 => Answer::status(200).cache("max-age=1").declaring(4).part("sl").gate(&rest).part("ow"),
            _ => Answer::cacheable("quick"),
        }
    });
    let proxy = Proxy::before(&origin).await;
    let mut slow = proxy.get("/a").begin().await;
    assert_eq!(slow.at_least(2).await, b"sl");
    let mut rider = proxy.get("/a").begin().await;
    assert_eq!(rider.at_least(2).await, b"sl");
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
    for reply in proxy.herd(HERD, "/a").await {
        reply.assert(200, "quick");
    }
    assert_eq!(origin.count("/a"), 2);
    rest.open();
    assert_eq!((slow.rest().await.text(), rider.rest().await.text()), ("ow", "ow"));
    assert!(proxy.get("/a").await.is_hit(), "what was asked for later stays");
}

#[tokio::test]
async fn no_lifetime_is_ridden_once_by_who_was_there() {
    let gate = Gate::shut();
    let origin =
        Origin::answering(Answer::ok("hello").cache("max-age=0").field("ETag", "\"a\"").held_by(&gate)).await;
    let proxy = Proxy::before(&origin).await;
    let (replies, ()) = tokio::join!(proxy.herd(HERD, "/a"), async {
        proxy.until_followers(HERD - 1).await;
        gate.open();
    });
    replies.iter().for_each(|reply| reply.assert(200, "hello"));
    assert_eq!(origin.count("/a"), 1);
    proxy.until_stored(1).await;
    proxy.get("/a").await.assert(200, "hello");
    assert_eq!(origin.count("/a"), 2);
}

#[tokio::test]
async fn a_route_may_do_without() {
    let gate = Gate::shut();
    let origin = Origin::answering(Answer::cacheable("hello").held_by(&gate)).await;
    let proxy = Proxy::before(&origin).route("coalesce = false").await;
    let (replies, ()) = tokio::join!(proxy.herd(HERD, "/a"), async {
        gate.reached_by(HERD).await;
        gate.open();
    });
    replies.iter().for_each(|reply| reply.assert(200, "hello"));
}

#[tokio::test]
async fn too_large_is_found_on_the_way() {
    let gate = Gate::shut();
    let body = "x".repeat(3000);
    let origin = Origin::start().await;
    origin.on_each("/a", {
        let (gate, body) = (gate.clone(), body.clone());
        move |seen| {
            let answer = Answer::cacheable(body.clone());
            let answer = if seen.nth == 1 { answer.gate(&gate) } else { answer };
            answer.part(body.clone()).chunked()
        }
    });
    let proxy = Proxy::before(&origin).route("max_object_size = \"4KiB\"").await;
    let mut first = proxy.get("/a").begin().await;
    first.at_least(3000).await;
    let mut follower = proxy.get("/a").begin().await;
    follower.at_least(3000).await;
    gate.open();
    // Who started it has the rest straight through; others too, or they are broken off, and never
    // told that less than all of it is all.
    let first = first.rest().await;
    assert_eq!((first.body.len(), first.end), (3000, End::Clean));
    let follower = follower.rest().await;
    assert!(follower.end == End::Broken || follower.body.len() == 3000, "{} bytes", follower.body.len());
    let again = proxy.get("/a").await;
    assert_eq!((again.body.len(), again.end, again.is_hit()), (6000, End::Clean, false));
}

#[tokio::test]
async fn too_large_is_known_from_the_head() {
    let (first, others) = (Gate::shut(), Gate::shut());
    let origin = Origin::start().await;
    let gates = (first.clone(), others.clone());
    origin.on_each("/a", move |seen| {
        let gate = if seen.nth == 1 { &gates.0 } else { &gates.1 };
        Answer::cacheable("x".repeat(5000)).held_by(gate)
    });
    let proxy = Proxy::before(&origin).route("max_object_size = \"4KiB\"").await;
    let (replies, ()) = tokio::join!(proxy.herd(HERD, "/a"), async {
        proxy.until_followers(HERD - 1).await;
        first.open();
        others.reached_by(HERD - 1).await;
        others.open();
    });
    assert!(replies.iter().all(|reply| reply.body.len() == 5000 && reply.end == End::Clean));
}
