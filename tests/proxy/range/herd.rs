//! Many clients that ask for parts at once: who rides, and that nobody stands in a line.

use super::source::Source;
use crate::support::{Answer, End, Gate, Origin, Proxy, all, within};

const HERD: usize = 30;
const BODY: &str = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWX";

/// A source whose heads wait for a gate.
fn gated() -> (Source, Gate) {
    let (source, gate) = (Source::of(BODY), Gate::shut());
    source.now(|version| version.gate = Some(gate.clone()));
    (source, gate)
}

#[tokio::test]
async fn a_herd_for_one_part_costs_one_fetch() {
    let (source, gate) = gated();
    let (origin, proxy) = source.proxied().await;
    let ask = || proxy.get("/a").field("Range", "bytes=3-9").send();
    let (replies, ()) = tokio::join!(all((0..HERD).map(|_| ask())), async {
        proxy.until_followers(HERD - 1).await;
        gate.open();
    });
    for reply in &replies {
        reply.assert(206, "3456789");
        assert_eq!(reply.field("content-range"), "bytes 3-9/60");
    }
    assert_eq!(origin.total(), 1);
    let stored = replies.iter().filter(|reply| reply.cache_status().ends_with("; stored")).count();
    assert_eq!(stored, 1);
}

#[tokio::test]
async fn a_part_without_a_strong_tag_is_shared_by_those_who_wait_for_it() {
    let gate = Gate::shut();
    let answer = Answer::status(206).cache("max-age=60").field("Content-Range", "bytes 3-9/60");
    let origin = Origin::answering(answer.part(&BODY[3..10]).held_by(&gate)).await;
    let proxy = Proxy::before(&origin).route("range = \"segment\"").await;
    let ask = || proxy.get("/a").field("Range", "bytes=3-9").send();
    let (replies, ()) = tokio::join!(all((0..HERD).map(|_| ask())), async {
        proxy.until_followers(HERD - 1).await;
        gate.open();
    });
    replies.iter().for_each(|reply| reply.assert(206, "3456789"));
    assert_eq!(origin.total(), 1);
    proxy.until_metric("dustgate_fills_total", &[], |count| count == 1.0).await;
    assert!(!ask().await.is_hit() && origin.total() == 2, "it was stored");
}

#[tokio::test]
async fn who_asks_for_less_than_the_leader_rides() {
    let (source, gate) = gated();
    let (origin, proxy) = source.proxied().await;
    let leader = proxy.get("/a").field("Range", "bytes=0-29").send();
    let others = async {
        origin.asked("/a", 1).await;
        let all = all((1..HERD).map(|n| proxy.get("/a").field("Range", &format!("bytes={n}-{n}")).send()));
        let (replies, ()) = tokio::join!(all, async {
            proxy.until_followers(HERD - 1).await;
            gate.open();
        });
        replies
    };
    let (leader, others) = tokio::join!(leader, others);
    leader.assert(206, &BODY[..30]);
    for (n, reply) in others.iter().enumerate() {
        reply.assert(206, &BODY[n + 1..n + 2]);
    }
    assert_eq!(origin.total(), 1);
}

#[tokio::test]
async fn a_herd_for_thirty_parts_gets_thirty_parts_side_by_side() {
    let (source, gate) = gated();
    let (origin, proxy) = source.proxied().await;
    let range = |n: usize| format!("bytes={}-{}", n * 2, n * 2 + 1);
    let ask = |n: usize| proxy.get("/a").field("Range", &range(n)).send();
    let herd = all((0..HERD).map(ask));
    let (replies, ()) = tokio::join!(herd, async {
        proxy.until_followers(HERD - 1).await;
        gate.open();
    });
    for (n, reply) in replies.iter().enumerate() {
        reply.assert(206, &BODY[n * 2..n * 2 + 2]);
        assert_eq!(reply.field("content-range"), format!("bytes {}-{}/60", n * 2, n * 2 + 1));
    }
    assert!(origin.total() <= HERD, "{}", origin.total());
}

#[tokio::test]
async fn a_herd_for_the_whole_behind_one_for_a_part_costs_two_fetches() {
    let (source, gate) = gated();
    let (origin, proxy) = source.proxied().await;
    let leader = proxy.get("/a").field("Range", "bytes=0-9").send();
    let others = async {
        origin.asked("/a", 1).await;
        let (replies, ()) = tokio::join!(proxy.herd(HERD, "/a"), async {
            proxy.until_followers(HERD).await;
            gate.open();
        });
        replies
    };
    let (leader, others) = tokio::join!(leader, others);
    leader.assert(206, &BODY[..10]);
    others.iter().for_each(|reply| reply.assert(200, BODY));
    assert_eq!(origin.total(), 2);
    assert_eq!(origin.last("/a").field("range"), "bytes=10-");
}

#[tokio::test]
async fn nobody_waits_for_the_end_of_a_part_that_is_not_theirs() {
    let gate = Gate::shut();
    let origin = Origin::start().await;
    let slow = gate.clone();
    origin.on_each("/a", move |seen| {
        let answer = |status| Answer::status(status).cache("max-age=60").field("ETag", "\"a\"");
        match seen.field("range") {
            "bytes=0-29" => answer(206)
                .field("Content-Range", "bytes 0-29/60")
                .part(&BODY[..10])
                .gate(&slow)
                .part(&BODY[10..30]),
            "bytes=40-49" => answer(206).field("Content-Range", "bytes 40-49/60").part(&BODY[40..50]),
            _ => answer(200).part(BODY),
        }
    });
    let proxy = Proxy::before(&origin).route("range = \"segment\"").await;
    let mut leader = proxy.get("/a").field("Range", "bytes=0-29").begin().await;
    assert_eq!(leader.at_least(10).await, &BODY.as_bytes()[..10]);
    // Read along, as far as it is there.
    within("its own part", proxy.get("/a").field("Range", "bytes=2-5").send()).await.assert(206, "2345");
    within("another", proxy.get("/a").field("Range", "bytes=40-49").send()).await.assert(206, &BODY[40..50]);
    within("the whole", proxy.get("/a").send()).await.assert(200, BODY);
    assert_eq!(origin.total(), 3);
    gate.open();
    let rest = leader.rest().await;
    assert_eq!((rest.status, rest.end), (206, End::Clean));
}

#[tokio::test]
async fn a_join_is_ridden_while_it_comes() {
    let gate = Gate::shut();
    let origin = Origin::start().await;
    let slow = gate.clone();
    origin.on_each("/a", move |seen| {
        let answer = Answer::status(206).cache("max-age=60").field("ETag", "\"a\"");
        match seen.field("range") {
            "bytes=0-9" => answer.field("Content-Range", "bytes 0-9/60").part(&BODY[..10]),
            "bytes=10-" => answer
                .field("Content-Range", "bytes 10-59/60")
                .part(&BODY[10..30])
                .gate(&slow)
                .part(&BODY[30..]),
            other => panic!("{other}"),
        }
    });
    let proxy = Proxy::before(&origin).route("range = \"segment\"").await;
    proxy.filled_by(proxy.get("/a").field("Range", "bytes=0-9")).await;
    let mut leader = proxy.get("/a").begin().await;
    assert_eq!(leader.at_least(30).await, &BODY.as_bytes()[..30]);
    let mut rider = proxy.get("/a").begin().await;
    assert_eq!(rider.at_least(30).await, &BODY.as_bytes()[..30]);
    within("a part of both", proxy.get("/a").field("Range", "bytes=5-25").send())
        .await
        .assert(206, &BODY[5..26]);
    let later = proxy.get("/a").field("Range", "bytes=28-31").begin().await;
    gate.open();
    later.rest().await.assert(206, &BODY[28..32]);
    for reading in [leader, rider] {
        let reply = reading.rest().await;
        assert_eq!((reply.status, reply.end), (200, End::Clean));
    }
    assert_eq!(origin.total(), 2);
}

#[tokio::test]
async fn a_part_that_is_not_to_be_shared_sends_no_herd_to_the_origin() {
    let gate = Gate::shut();
    let origin = Origin::start().await;
    let slow = gate.clone();
    origin.on_each("/a", move |seen| match seen.field("range") {
        "" => Answer::cacheable(BODY),
        _ => Answer::status(206)
            .cache("private")
            .field("Content-Range", "bytes 0-0/60")
            .part("0")
            .held_by(&slow),
    });
    let proxy = Proxy::before(&origin).route("range = \"segment\"").await;
    let leader = proxy.get("/a").field("Range", "bytes=0-0").send();
    let others = async {
        origin.asked("/a", 1).await;
        let (replies, ()) = tokio::join!(proxy.herd(HERD, "/a"), async {
            proxy.until_followers(HERD).await;
            gate.open();
        });
        replies
    };
    let (leader, others) = tokio::join!(leader, others);
    leader.assert(206, "0");
    others.iter().for_each(|reply| reply.assert(200, BODY));
    assert_eq!(origin.total(), 2);
}

#[tokio::test]
async fn a_range_that_an_origin_fails_fails_nobody_who_asks_for_the_whole() {
    let gate = Gate::shut();
    let origin = Origin::start().await;
    let slow = gate.clone();
    origin.on_each("/a", move |seen| match seen.field("range") {
        "" => Answer::cacheable(BODY),
        _ => Answer::status(500).part("no").held_by(&slow),
    });
    let proxy = Proxy::before(&origin).route("range = \"segment\"").await;
    let leader = proxy.get("/a").field("Range", "bytes=0-0").send();
    let others = async {
        origin.asked("/a", 1).await;
        let (replies, ()) = tokio::join!(proxy.herd(HERD, "/a"), async {
            proxy.until_followers(HERD).await;
            gate.open();
        });
        replies
    };
    let (leader, others) = tokio::join!(leader, others);
    leader.assert(500, "no");
    others.iter().for_each(|reply| reply.assert(200, BODY));
    assert_eq!(origin.total(), 2);
}

/// Who leads next, one for a part or one for the whole, is chance: so more than once.
#[tokio::test]
async fn a_herd_for_the_whole_among_those_for_parts_stays_one() {
    for _ in 0..6 {
        let (source, gate) = gated();
        let (origin, proxy) = source.proxied().await;
        let part = |n: usize| proxy.get("/a").field("Range", &format!("bytes={n}-{n}")).send();
        let first = part(0);
        let others = async {
            origin.asked("/a", 1).await;
            let parts = all((1..=HERD).map(|n| part(n + 10)));
            let (parts, wholes, ()) = tokio::join!(parts, proxy.herd(HERD, "/a"), async {
                proxy.until_followers(2 * HERD).await;
                gate.open();
            });
            (parts, wholes)
        };
        let (first, (parts, wholes)) = tokio::join!(first, others);
        first.assert(206, "0");
        for (n, reply) in parts.iter().enumerate() {
            reply.assert(206, &BODY[n + 11..n + 12]);
        }
        wholes.iter().for_each(|reply| reply.assert(200, BODY));
        let ends = |range: &str| range.is_empty() || range.ends_with('-');
        let whole = origin.requests("/a").iter().filter(|seen| ends(seen.field("range"))).count();
        assert!((1..=2).contains(&whole), "the whole was fetched {whole} times");
    }
}
