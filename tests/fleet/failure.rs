//! An origin or a client that fails one instance: what the others have of it.

use crate::support::fleet::{Fleet, SLACK, timed, waits};
use crate::support::{Answer, End, Gate, Reply, all, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_origin_is_not_tried_once_a_waiter() {
    let fleet = Fleet::of(3).await;
    let gate = Gate::shut();
    let held = gate.clone();
    fleet.origin.on_each("/a", move |seen| match seen.nth {
        1 => Answer::status(503).part("not now").field("Retry-After", "1").held_by(&held),
        _ => Answer::cacheable("hello"),
    });
    let herd = all((0..30).map(|n| fleet.of[n % 3].get("/a").asked())).await;
    gate.reached_by(1).await;
    for instance in &fleet.of {
        waits(instance, "/a").await;
    }
    gate.open();
    let mut failed = 0;
    for asked in herd {
        let reply = asked.head().await.expect("an answer").rest().await;
        assert_eq!(reply.end, End::Clean);
        match reply.status {
            503 => failed += 1,
            // Who was late enough to come when it might be tried again.
            _ => reply.assert(200, "hello"),
        }
    }
    assert!(failed > 0);
    assert!(fleet.origin.count("/a") <= 2, "{}", fleet.origin.count("/a"));
    // A second later one tries it for all.
    until("it to be tried again", async || fleet.of[1].get("/a").await.is(200, "hello").then_some(())).await;
    fleet.settled("/a", "hello").await;
    assert_eq!(fleet.origin.count("/a"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_breaks_off_ends_cleanly_nowhere() {
    let fleet = Fleet::of(3).await;
    let gate = Gate::shut();
    let held = gate.clone();
    fleet.origin.on_each("/a", move |seen| match seen.nth {
        1 => Answer::status(200).cache("max-age=60").declaring(12).part("hello, ").gate(&held).then_close(),
        _ => Answer::cacheable("hello, world"),
    });
    let mut readings = Vec::new();
    for n in 0..9 {
        let mut reading = fleet.of[n % 3].get("/a").begin().await;
        assert_eq!(reading.at_least(7).await, b"hello, ");
        readings.push(reading);
    }
    gate.open();
    for reading in readings {
        let rest = reading.rest().await;
        assert_eq!((rest.text(), rest.end), ("", End::Broken));
    }
    assert_eq!(fleet.origin.count("/a"), 1);
    until("it to be tried again", async || fleet.of[1].get("/a").await.is(200, "hello, world").then_some(()))
        .await;
    fleet.settled("/a", "hello, world").await;
    assert_eq!(fleet.origin.count("/a"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_goes_on_for_others_when_the_client_that_began_it_leaves() {
    let fleet = Fleet::of(2).await;
    let (head, end) = (Gate::shut(), Gate::shut());
    fleet.origin.on("/a", Answer::cacheable("hello, ").held_by(&head).gate(&end).part("world"));
    let began = fleet.of[0].get("/a").asked().await;
    head.reached_by(1).await;
    let riding = fleet.of[1].get("/a").asked().await;
    waits(&fleet.of[1], "/a").await;
    drop(began);
    head.open();
    end.reached_by(1).await;
    // And another one in its body.
    let mut second = fleet.of[0].get("/a").begin().await;
    second.at_least(7).await;
    drop(second);
    end.open();
    riding.head().await.expect("an answer").rest().await.assert(200, "hello, world");
    assert_eq!(fleet.origin.count("/a"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_on_one_instance_holds_nobody_up() {
    const LEN: u64 = 8 << 20;
    let fleet = Fleet::of(2).await;
    fleet.origin.on("/a", Answer::status(200).cache("max-age=60").pattern(LEN));
    // They take the head and leave the body where it is.
    let mut slow = Vec::new();
    for instance in &fleet.of {
        slow.push(instance.get("/a").receive_buffer(4096).begin().await);
    }
    for (took, reply) in all((0..6).map(|n| timed(fleet.of[n % 2].get("/a")))).await {
        assert!(reply.end == End::Clean && reply.body.len() as u64 == LEN, "{} bytes", reply.body.len());
        assert!(took < SLACK * 2, "{took:?}");
    }
    for reading in slow {
        let reply = reading.rest().await;
        assert!(reply.end == End::Clean && reply.body.len() as u64 == LEN, "{} bytes", reply.body.len());
    }
    assert_eq!(fleet.origin.count("/a"), 1);
}

/// Of a body that turns out too large when one instance has fetched the first of it: what that instance's client
/// has, and what the clients of two others have, whose own exchanges are answered like this.
async fn too_large(again: impl Fn(Answer) -> Answer + Send + Sync + 'static) -> (Fleet, Vec<Reply>) {
    let fleet = Fleet::with(3, |setup| setup.route("max_object_size = \"64KiB\"")).await;
    let gate = Gate::shut();
    let held = gate.clone();
    fleet.origin.on_each("/a", move |seen| {
        let answer = Answer::status(200).chunked();
        if seen.nth > 1 {
            return again(answer);
        }
        answer.cache("max-age=60").part("x".repeat(1_000)).gate(&held).part("x".repeat(99_000))
    });
    let mut own = fleet.of[0].get("/a").begin().await;
    own.at_least(1_000).await;
    let mut riding = Vec::new();
    for n in 0..4 {
        let mut reading = fleet.of[1 + n % 2].get("/a").begin().await;
        let got = reading.at_least(1_000).await;
        riding.push((got, reading));
    }
    gate.open();
    let rest = own.rest().await;
    assert_eq!((rest.body.len(), rest.end), (99_000, End::Clean));
    let mut replies = Vec::new();
    for (got, reading) in riding {
        let mut reply = reading.rest().await;
        reply.body.splice(0..0, got);
        replies.push(reply);
    }
    (fleet, replies)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_turns_out_too_large_on_the_way_passes_everywhere_and_breaks_nobody_off() {
    let whole = "x".repeat(100_000);
    let large = whole.clone();
    let (fleet, riders) = too_large(move |answer| answer.cache("max-age=60").part(large.clone())).await;
    for rider in riders {
        assert_eq!((rider.text() == whole, rider.end), (true, End::Clean), "{} bytes", rider.body.len());
    }
    // The one that began it, and one for all riders of each other instance.
    assert_eq!(fleet.origin.count("/a"), 3);
    let reply = all((0..6).map(|n| timed(fleet.of[n % 3].get("/a")))).await;
    for (took, reply) in reply {
        reply.assert(200, &whole);
        assert!(took < SLACK, "{took:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn riders_of_what_turns_out_too_large_get_nothing_of_another_body_and_nothing_that_is_anothers() {
    let others: [fn(Answer) -> Answer; 4] = [
        |answer| answer.cache("max-age=60").part(format!("{}y{}", "x".repeat(999), "x".repeat(99_000))),
        |answer| answer.cache("max-age=60").field("ETag", "\"2\"").part("x".repeat(100_000)),
        |answer| answer.cache("private").part("x".repeat(100_000)),
        |_| Answer::status(500),
    ];
    for other in others {
        let (_fleet, riders) = too_large(other).await;
        for rider in riders {
            assert_eq!((rider.body.len(), rider.end), (1_000, End::Broken));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_back_to_another_instance_does_not_wait_for_its_own_lease() {
    let fleet = Fleet::of(2).await;
    let gate = Gate::shut();
    fleet.origin.on("/a", Answer::cacheable("hello").held_by(&gate));
    let own = fleet.of[0].get("/a").asked().await;
    gate.reached_by(1).await;
    let marks = fleet.origin.last("/a").fields.all("cdn-loop").join(", ");
    fleet.of[1].get("/a").field("CDN-Loop", &marks).await.assert_error(508);
    gate.open();
    own.head().await.expect("an answer").rest().await.assert(200, "hello");
    assert_eq!(fleet.origin.count("/a"), 1);
}
