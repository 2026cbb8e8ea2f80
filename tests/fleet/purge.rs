//! A purge holds on every instance that confirmed it, whatever is in flight and in whichever store they meet: the suite
//! says which (`meet`).

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::meet::fleet;
use crate::support::fleet::{Fleet, SLACK, name, timed, waits};
use crate::support::proxy::Setup;
use crate::support::{Answer, End, Gate, all};

/// The first fetch is shut in by the gate, at its head or in its body; later ones are not.
fn old_behind<S>(fleet: &Fleet<S>, path: &str, gate: &Gate, in_body: bool) {
    let gate = gate.clone();
    let tagged = |text: &'static str| Answer::cacheable(text).field("Surrogate-Key", "menu t");
    fleet.origin.on_each(path, move |seen| match (seen.nth, in_body) {
        (1, false) => tagged("the old").held_by(&gate),
        (1, true) => tagged("the ").gate(&gate).part("old"),
        _ => tagged("the new"),
    });
}

/// Each kind of purge that covers `/a`.
fn kinds() -> [Value; 6] {
    [
        json!({"url": "http://api.test/a"}),
        json!({"tag": "t"}),
        json!({"tag": "t", "within": "api.test"}),
        json!({"prefix": "http://api.test/"}),
        json!({"host": "api.test"}),
        json!({"all": true}),
    ]
}

async fn a_purge_beats_what_is_in_flight(in_body: bool, what: &Value) {
    let fleet = fleet(3, |setup| setup).await;
    let gate = Gate::shut();
    old_behind(&fleet, "/a", &gate, in_body);
    let leading = fleet.of[0].get("/a").asked().await;
    gate.reached_by(1).await;
    let riding = fleet.of[1].get("/a").asked().await;
    waits(&fleet.of[1], "/a").await;

    let said = fleet.of[2].purge(what).await;
    assert_eq!(said["confirmed"].as_array().unwrap().len(), 3, "{said}");
    assert_eq!(said["silent"], json!([]));
    // Who comes now waits for nothing of the old: its gate is shut.
    let after = all((0..9).map(|n| timed(fleet.of[n % 3].get("/a")))).await;
    for (took, reply) in &after {
        reply.assert(200, "the new");
        assert!(*took < SLACK, "{took:?}");
    }
    assert_eq!(fleet.origin.count("/a"), 2);

    gate.open();
    for before in [leading, riding] {
        let reply = before.head().await.expect("an answer").rest().await;
        // Theirs is from before the purge: any of the two will do, a mixture not.
        assert_eq!(reply.end, End::Clean, "{reply:?}");
        assert!(["the old", "the new"].contains(&reply.text()), "{reply:?}");
    }
    fleet.idle().await;
    for _ in 0..3 {
        for reply in fleet.each("/a").await {
            reply.assert(200, "the new");
            assert!(reply.is_hit(), "{reply:?}");
        }
    }
    assert_eq!(fleet.origin.count("/a"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_beats_a_fill_that_waits_for_its_head() {
    for what in kinds().iter().filter(|what| what["tag"].is_null()) {
        a_purge_beats_what_is_in_flight(false, what).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_beats_a_fill_in_its_body() {
    for what in kinds() {
        a_purge_beats_what_is_in_flight(true, &what).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_by_tag_beats_a_fill_whose_head_will_name_the_tag() {
    let fleet = fleet(3, |setup| setup).await;
    let gate = Gate::shut();
    old_behind(&fleet, "/a", &gate, false);
    let leading = fleet.of[0].get("/a").asked().await;
    gate.reached_by(1).await;
    let riding = fleet.of[1].get("/a").asked().await;
    waits(&fleet.of[1], "/a").await;
    let said = fleet.of[2].purge(&json!({"tag": "t"})).await;
    assert_eq!(said["confirmed"].as_array().unwrap().len(), 3, "{said}");
    // Nobody can know yet that it is meant: who comes now waits for the head, and then asks again.
    let mut after = Vec::new();
    for n in 0..6 {
        after.push(fleet.of[n % 3].get("/a").asked().await);
    }
    waits(&fleet.of[2], "/a").await;
    gate.open();
    for reply in after {
        reply.head().await.expect("an answer").rest().await.assert(200, "the new");
    }
    for before in [leading, riding] {
        let reply = before.head().await.expect("an answer").rest().await;
        assert_eq!(reply.end, End::Clean, "{reply:?}");
        assert!(["the old", "the new"].contains(&reply.text()), "{reply:?}");
    }
    fleet.idle().await;
    for reply in fleet.each("/a").await {
        reply.assert(200, "the new");
    }
    assert_eq!(fleet.origin.count("/a"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_variants_under_way_on_two_instances_are_both_covered() {
    for what in kinds() {
        let fleet = fleet(3, |setup| setup).await;
        let gate = Gate::shut();
        let held = gate.clone();
        fleet.origin.on_each("/a", move |seen| {
            let varies = |text: &'static str| {
                Answer::cacheable(text).field("Vary", "Accept-Language").field("xkey", "t")
            };
            if seen.nth <= 2 { varies("the ").gate(&held).part("old") } else { varies("the new") }
        });
        let get = |at: usize, language: &str| fleet.of[at].get("/a").field("Accept-Language", language);
        let mut before = Vec::new();
        for (at, language) in [(0, "de"), (1, "en")] {
            let mut begun = get(at, language).begin().await;
            begun.at_least(4).await;
            before.push(begun);
        }
        fleet.of[2].purge(&what).await;
        for (at, language) in [(0, "de"), (1, "de"), (2, "en"), (0, "en"), (1, "en"), (2, "de")] {
            let (took, reply) = timed(get(at, language)).await;
            reply.assert(200, "the new");
            assert!(took < SLACK, "{what}: {took:?}");
        }
        gate.open();
        for begun in before {
            begun.rest().await.assert(200, "old");
        }
        fleet.idle().await;
        for (at, language) in [(0, "en"), (1, "de"), (2, "en")] {
            get(at, language).await.assert(200, "the new");
        }
        assert_eq!(fleet.origin.count("/a"), 4, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_at_one_instance_holds_on_all_when_it_is_answered() {
    let fleet = fleet(3, |setup| setup).await;
    fleet.origin.on_each("/a", |seen| Answer::cacheable(format!("version {}", seen.nth)));
    let mut names = Vec::new();
    for instance in &fleet.of {
        names.push(json!(name(instance).await));
    }
    names.sort_by_key(ToString::to_string);
    fleet.of[0].fill("/a").await;
    for version in 2..6 {
        fleet.settled("/a", &format!("version {}", version - 1)).await;
        let mut said = fleet.of[version % 3].purge_url("/a").await;
        let confirmed = said["confirmed"].as_array_mut().unwrap();
        confirmed.sort_by_key(ToString::to_string);
        assert_eq!(*confirmed, names);
        for reply in fleet.each("/a").await {
            reply.assert(200, &format!("version {version}"));
        }
        assert_eq!(fleet.origin.count("/a"), version);
        fleet.idle().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_soft_purge_has_it_validated_once() {
    let fleet = fleet(3, |setup| setup.route("grace = { while_revalidate = \"0s\" }")).await;
    fleet.origin.on_each("/a", |seen| {
        let answer =
            if seen.field("if-none-match") == "\"e\"" { Answer::status(304) } else { Answer::ok("hello") };
        answer.cache("max-age=60").field("ETag", "\"e\"")
    });
    fleet.of[0].fill("/a").await;
    fleet.settled("/a", "hello").await;
    let url = "http://api.test/a";
    let said = fleet.of[1].purge(&json!({"url": url, "soft": true})).await;
    assert_eq!(said["confirmed"].as_array().unwrap().len(), 3, "{said}");
    for reply in all((0..9).map(|n| fleet.of[n % 3].get("/a").send())).await {
        reply.assert(200, "hello");
    }
    fleet.settled("/a", "hello").await;
    assert_eq!(fleet.origin.count("/a"), 2);
    assert_eq!(fleet.origin.last("/a").field("if-none-match"), "\"e\"");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_posted_at_one_instance_is_asked_for_again_at_all() {
    let fleet = fleet(3, |setup| setup).await;
    let gets = std::sync::atomic::AtomicUsize::new(0);
    fleet.origin.on_each("/a", move |seen| {
        if seen.method == "POST" {
            return Answer::ok("done");
        }
        let nth = gets.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
        Answer::cacheable(format!("version {nth}"))
    });
    fleet.of[0].fill("/a").await;
    fleet.settled("/a", "version 1").await;
    fleet.of[2].ask("POST", "/a").content("x").await.assert(200, "done");
    // The poster's own instance knows at once, the others as fast as the store tells.
    fleet.of[2].get("/a").await.assert(200, "version 2");
    fleet.settled("/a", "version 2").await;
    assert_eq!(fleet.origin.count("/a"), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_does_not_hear_a_purge_is_named_and_does_not_serve_the_old() {
    let adjust = |setup: Setup| setup.dust("trust = \"2s\"").dust("when_unsure = \"validate\"");
    let fleet = fleet(3, adjust).await;
    fleet.origin.on_each("/a", |seen| Answer::cacheable(["the old", "the new"][seen.nth.min(2) - 1]));
    fleet.of[0].fill("/a").await;
    fleet.settled("/a", "the old").await;
    let frozen = name(&fleet.of[1]).await;
    fleet.of[1].signal("STOP");
    let said = fleet.of[0].purge_url("/a").await;
    assert_eq!(said["silent"], json!([frozen]), "{said}");
    assert_eq!(said["confirmed"].as_array().unwrap().len(), 2, "{said}");
    for instance in [&fleet.of[0], &fleet.of[2]] {
        instance.get("/a").await.assert(200, "the new");
    }
    fleet.of[1].signal("CONT");
    for reply in all((0..6).map(|_| fleet.of[1].get("/a").send())).await {
        reply.assert(200, "the new");
    }
}

/// In real time: the process itself stands still, and the store's clock says when its trust is over.
#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_stands_still_for_twenty_seconds_never_serves_what_was_purged_by_tag_meanwhile() {
    const TRUST: Duration = Duration::from_secs(3);
    let adjust = |setup: Setup| setup.dust("trust = \"3s\"").dust("when_unsure = \"validate\"");
    let fleet = fleet(3, adjust).await;
    for path in ["/a", "/b"] {
        fleet.origin.on_each(path, |seen| {
            Answer::cacheable(["the old", "the new"][seen.nth.min(2) - 1]).field("xkey", "t")
        });
        fleet.of[0].fill(path).await;
        fleet.settled(path, "the old").await;
    }
    let frozen = name(&fleet.of[1]).await;
    let began = Instant::now();
    fleet.of[1].signal("STOP");
    let mut named = false;
    while began.elapsed() < Duration::from_secs(20) {
        let asked = Instant::now();
        let said = fleet.of[0].purge(&json!({"tag": "t"})).await;
        assert!(asked.elapsed() <= TRUST + Duration::from_secs(1), "{:?}: {said}", asked.elapsed());
        assert_eq!(said["confirmed"].as_array().unwrap().len(), 2, "{said}");
        // Once its lease is over it is no instance any more.
        named |= said["silent"] == json!([frozen]);
        fleet.of[2].get("/a").await.assert(200, "the new");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    assert!(named);
    fleet.of[1].signal("CONT");
    for path in ["/a", "/b"] {
        for reply in all((0..6).map(|_| fleet.of[1].get(path).send())).await {
            reply.assert(200, "the new");
        }
    }
}
