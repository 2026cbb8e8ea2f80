//! What one instance learns or does, the others' memories follow.

use std::fs;
use std::path::Path;

use crate::support::fleet::Fleet;
use crate::support::{Answer, Gate, Proxy, all, until};

#[tokio::test(flavor = "multi_thread")]
async fn what_one_instance_validated_is_fresh_on_all() {
    let fleet = Fleet::of(3).await;
    fleet.origin.on_each("/a", |seen| {
        if seen.nth == 1 {
            return Answer::ok("hello").cache("max-age=1").field("ETag", "\"e\"");
        }
        assert_eq!(seen.field("if-none-match"), "\"e\"");
        Answer::status(304).cache("max-age=60").field("ETag", "\"e\"")
    });
    fleet.of[0].fill("/a").await;
    fleet.each("/a").await;
    until("it to be validated", async || {
        fleet.of[0].get("/a").await.assert(200, "hello");
        (fleet.origin.count("/a") >= 2).then_some(())
    })
    .await;
    fleet.settled("/a", "hello").await;
    for reply in fleet.each("/a").await {
        reply.assert(200, "hello");
        reply.assert_hit_for(60);
    }
    assert_eq!(fleet.origin.count("/a"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_instance_replaced_is_replaced_on_all() {
    let fleet = Fleet::with(3, |setup| setup.route("client_cache_control = \"honour\"")).await;
    fleet.origin.on_each("/a", |seen| Answer::cacheable(format!("version {}", seen.nth)));
    fleet.of[0].fill("/a").await;
    fleet.settled("/a", "version 1").await;
    // Theirs is good for a minute yet: only the store's word makes them look.
    fleet.of[1].filled_by(fleet.of[1].get("/a").field("Cache-Control", "no-cache")).await;
    fleet.settled("/a", "version 2").await;
    assert_eq!(fleet.origin.count("/a"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_instance_stores_in_a_language_answers_who_wants_it_most_at_another() {
    let fleet = Fleet::of(2).await;
    fleet.origin.on_each("/a", |_| {
        Answer::cacheable("in de").field("Vary", "Accept-Language").field("Content-Language", "de")
    });
    let [a, b] = &fleet.of[..] else { panic!("two") };
    a.get("/a").field("Accept-Language", "en, de").await.assert(200, "in de");
    // At once: what is on its way to the store is waited for.
    let reply = b.get("/a").field("Accept-Language", "fr;q=0.5, de").await;
    reply.assert(200, "in de");
    assert_eq!(fleet.origin.count("/a"), 1, "{reply:?}");
    let reply = b.get("/a").field("Accept-Language", "it;q=0.5, de").await;
    assert!(reply.is_hit(), "{reply:?}");
    a.purge_url("/a").await;
    b.get("/a").field("Accept-Language", "fr;q=0.5, de").await;
    assert_eq!(fleet.origin.count("/a"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_head_says_at_one_instance_is_known_at_all() {
    let fleet = Fleet::of(2).await;
    fleet.origin.on_each("/a", |seen| {
        let answer = Answer::cacheable("hello").field("ETag", "\"e\"").field("X-Nth", &seen.nth.to_string());
        if seen.method == "HEAD" { answer } else { answer.field("Age", "100") }
    });
    fleet.of[0].fill("/a").await;
    fleet.of[1].ask("HEAD", "/a").await;
    for instance in &fleet.of {
        let reply = instance.get("/a").await;
        reply.assert(200, "hello");
        assert!(reply.is_hit(), "{reply:?}");
        assert_eq!(reply.field("x-nth"), "2");
    }
    assert_eq!(fleet.origin.count("/a"), 2);
}

/// A long body is not waited for: who has no right to ride it fetches at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_language_that_is_long_in_coming_is_not_waited_for() {
    let fleet = Fleet::of(2).await;
    let gate = Gate::shut();
    let (shut, first) = (gate.clone(), std::sync::atomic::AtomicBool::new(true));
    fleet.origin.on_each("/a", move |_| {
        let answer =
            Answer::cacheable("in ").field("Vary", "Accept-Language").field("Content-Language", "de");
        if first.swap(false, std::sync::atomic::Ordering::Relaxed) {
            return answer.gate(&shut).part("de").chunked();
        }
        answer.part("de").chunked()
    });
    let leading = fleet.of[0].get("/a").field("Accept-Language", "en, de").begin().await;
    fleet.of[1].get("/a").field("Accept-Language", "fr;q=0.5, de").await.assert(200, "in de");
    gate.open();
    assert_eq!(leading.rest().await.text(), "in de");
    assert_eq!(fleet.origin.count("/a"), 2);
}

/// Removes all segments below a directory of bodies, and tells how many.
fn remove_segments(below: &Path) -> usize {
    let mut removed = 0;
    for entry in fs::read_dir(below).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            removed += remove_segments(&path);
        } else if path.file_name().is_some_and(|name| name != "here") {
            fs::remove_file(&path).unwrap();
            removed += 1;
        }
    }
    removed
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_gone_is_fetched_again_once() {
    let mut fleet = Fleet::with(3, |setup| setup.bodies("small = \"0B\"")).await;
    fleet.origin.on("/a", Answer::cacheable("hello"));
    fleet.of[0].fill("/a").await;
    assert!(remove_segments(fleet.shelf()) >= 1);
    // Those that have never held it find the pointer only.
    fleet.of.remove(0);
    let replies = all((0..6).map(|n| fleet.of[n % 2].get("/a").send())).await;
    assert!(replies.iter().any(|reply| reply.is(200, "hello")), "{replies:?}");
    fleet.settled("/a", "hello").await;
    assert_eq!(fleet.origin.count("/a"), 2);
    assert!(fleet.sum("dustgate_segments_missing_total", &[]).await >= 1.0);
    // Who comes new has the new body.
    fleet.join().await;
    let newest: &Proxy = &fleet.of[2];
    newest.get("/a").await.assert(200, "hello");
    assert_eq!(fleet.origin.count("/a"), 2);
}
