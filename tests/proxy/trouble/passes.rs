//! Answers that are not to be shared.

use super::{HERD, before, evil, herd_behind_evil, of, spoilt_by_one};
use crate::support::client::RequestFacts;
use crate::support::{Answer, Gate, Origin, all};

fn unshared() -> [Answer; 4] {
    let ok = |name: &str, value: &str| Answer::ok("own").field(name, value);
    [
        ok("Set-Cookie", "a=b").cache("max-age=60"),
        ok("Cache-Control", "no-store"),
        ok("Cache-Control", "private, max-age=60"),
        ok("Vary", "*").cache("max-age=60"),
    ]
}

#[tokio::test]
async fn one_requests_pass_switches_nothing_off_for_the_others() {
    for bad in unshared() {
        let gate = Gate::shut();
        gate.open();
        let origin = spoilt_by_one(bad, Answer::cacheable("good"), &gate).await;
        let proxy = before(&origin).await;
        evil(&proxy).await.assert(200, "own");
        // They are still together, and what they get is stored.
        let before = origin.count("/a");
        for reply in all((0..HERD).map(|client| of(&proxy, client).send())).await {
            reply.assert(200, "good");
        }
        assert_eq!(origin.count("/a"), before + 1);
        proxy.until_stored(1).await;
        assert!(of(&proxy, 1).await.is_hit());
    }
}

#[tokio::test]
async fn those_who_waited_for_a_pass_go_by_themselves_at_once() {
    let gate = Gate::shut();
    let [bad, ..] = unshared();
    let origin = spoilt_by_one(bad, Answer::cacheable("good"), &gate).await;
    let proxy = before(&origin).await;
    let (leader, others) = herd_behind_evil(&proxy, &origin, &gate).await;
    leader.assert(200, "own");
    others.iter().for_each(|reply| reply.assert(200, "good"));
    // And what they got shows that the key is to be shared: from now on it is.
    let before = origin.count("/a");
    all((0..HERD).map(|client| of(&proxy, client).send())).await;
    assert!(origin.count("/a") <= before + 1);
}

#[tokio::test]
async fn a_second_leader_shows_that_a_key_passes() {
    for bad in unshared() {
        let origin = Origin::answering(bad).await;
        let proxy = before(&origin).await;
        for client in 0..2 {
            of(&proxy, client).await.assert(200, "own");
        }
        // Thirty requests that come now wait for no other: each is at the origin before any is answered.
        let gate = Gate::shut();
        origin.on("/a", Answer::ok("own").cache("no-store").held_by(&gate));
        let herd: Vec<_> = (0..HERD).map(|client| of(&proxy, client)).collect();
        let (replies, ()) = tokio::join!(all(herd.into_iter().map(RequestFacts::send)), async {
            origin.asked("/a", 2 + HERD).await;
            gate.open();
        });
        assert!(replies.iter().all(|reply| reply.status == 200));
    }
}

#[tokio::test]
async fn an_answer_that_could_be_stored_ends_a_pass() {
    let [bad, ..] = unshared();
    let origin = Origin::answering(bad).await;
    let proxy = before(&origin).await;
    for client in 0..2 {
        of(&proxy, client).await;
    }
    origin.on("/a", Answer::cacheable("good"));
    of(&proxy, 3).await.assert(200, "good");
    crate::support::until("a hit", async || of(&proxy, 4).await.is_hit().then_some(())).await;
    assert!(origin.count("/a") <= 5, "{}", origin.count("/a"));
}

#[tokio::test]
async fn a_pass_binds_its_like_at_once() {
    let origin = Origin::answering(Answer::ok("own").cache("no-store")).await;
    let proxy = before(&origin).await;
    of(&proxy, 1).await;
    let gate = Gate::shut();
    origin.on("/a", Answer::ok("own").cache("no-store").held_by(&gate));
    let herd: Vec<_> = (0..HERD).map(|_| of(&proxy, 1)).collect();
    tokio::join!(all(herd.into_iter().map(RequestFacts::send)), async {
        origin.asked("/a", 1 + HERD).await;
        gate.open();
    });
}
