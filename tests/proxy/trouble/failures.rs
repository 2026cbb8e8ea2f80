//! Failures, and errors that are answers.

use super::{HERD, before, evil, from, of, reply, spoilt_by_one, waiting_behind_evil};
use crate::support::client::RequestFacts;
use crate::support::fleet::flies;
use crate::support::{Answer, Gate, Origin, all};

#[tokio::test]
async fn one_requests_error_is_not_that_of_the_thirty_behind_it() {
    for status in [
        400, 401, 403, 404, 405, 406, 408, 411, 412, 413, 414, 415, 416, 417, 418, 421, 422, 425, 426, 428,
        429, 431, 500, 501, 502, 503, 504,
    ] {
        for good in ["max-age=60", "no-cache"] {
            let (gate, second) = (Gate::shut(), Gate::shut());
            let bad = Answer::status(status).field("Retry-After", "30").part("evil");
            let good = Answer::ok("good").cache(good).held_by(&second);
            let origin = spoilt_by_one(bad, good, &gate).await;
            let proxy = before(&origin).await;
            let (leader, others) = waiting_behind_evil(&proxy, &origin).await;
            gate.open();
            reply(leader).await.assert(status, "evil");
            // One of those that waited leads now, for all of them.
            origin.asked("/a", 2).await;
            flies(&proxy, "/a", |flight| flight["followers"] == HERD - 1).await;
            second.open();
            for other in others {
                reply(other).await.assert(200, "good");
            }
            assert_eq!(origin.count("/a"), 2, "{status}");
        }
    }
}

#[tokio::test]
async fn a_failure_that_says_for_how_long_binds_its_like_alone() {
    for status in [429, 503] {
        let gate = Gate::shut();
        gate.open();
        let bad = Answer::status(status).field("Retry-After", "30").part("evil");
        let origin = spoilt_by_one(bad, Answer::cacheable("good"), &gate).await;
        let proxy = before(&origin).await;
        for _ in 0..3 {
            assert_eq!(evil(&proxy).await.status, status);
        }
        assert_eq!(origin.count("/a"), 1, "remembered for the like of it");
        of(&proxy, 1).await.assert(200, "good");
        assert_eq!(origin.count("/a"), 2);
    }
}

#[tokio::test]
async fn one_client_with_many_faces_binds_no_other_client() {
    let gate = Gate::shut();
    gate.open();
    let bad = Answer::status(503).field("Retry-After", "30").part("evil");
    let origin = spoilt_by_one(bad, Answer::cacheable("good"), &gate).await;
    let proxy = before(&origin).await;
    for face in 0..5 {
        assert_eq!(from(&proxy, 200).field("X-Evil", &face.to_string()).await.status, 503);
    }
    assert_eq!(origin.count("/a"), 2, "it binds itself");
    of(&proxy, 1).await.assert(200, "good");
}

#[tokio::test]
async fn an_origin_that_fails_for_all_is_asked_twice_however_different_its_clients_are() {
    for (what, one_address) in [("of one address", true), ("of an address each", false)] {
        let gate = Gate::shut();
        let failing = Answer::status(503).part("down").held_by(&gate);
        let origin = Origin::answering(failing).await;
        let proxy = before(&origin).await;
        let ask = |client: usize| {
            let address = if one_address { 1 } else { client % 250 };
            from(&proxy, address).field("User-Agent", &client.to_string())
        };
        let herd: Vec<_> = (0..300).map(ask).collect();
        let (replies, ()) = tokio::join!(all(herd.into_iter().map(RequestFacts::send)), async {
            proxy.until_followers(299).await;
            gate.open();
        });
        assert!(replies.iter().all(|reply| reply.status == 503), "{what}");
        assert!(origin.count("/a") <= 2, "{what}: {} fetches", origin.count("/a"));
        // The two have shown it for their clients: the origin is left alone for a moment.
        let before = origin.count("/a");
        let another = from(&proxy, if one_address { 1 } else { 251 }).field("User-Agent", "another");
        assert_eq!(another.await.status, 503);
        assert_eq!(origin.count("/a"), before, "{what}");
    }
}

#[tokio::test]
async fn the_second_leader_is_of_another_address_where_one_waits() {
    let gate = Gate::shut();
    let origin = Origin::answering(Answer::status(503).part("down").held_by(&gate)).await;
    let proxy = before(&origin).await;
    let leader = from(&proxy, 200).field("User-Agent", "first").asked().await;
    origin.asked("/a", 1).await;
    // Most of those that wait are of the leader's address.
    let ask = |n: usize| from(&proxy, if n < 5 { n } else { 200 }).field("User-Agent", &n.to_string());
    let others = all((0..HERD + 5).map(|n| ask(n).asked())).await;
    proxy.until_followers(HERD + 5).await;
    gate.open();
    for asked in others.into_iter().chain([leader]) {
        assert_eq!(super::reply(asked).await.status, 503);
    }
    assert_eq!(origin.count("/a"), 2);
    let address = |nth: usize| origin.requests("/a")[nth].field("user-agent").to_owned();
    assert_eq!(address(0), "first");
    assert!(address(1).parse::<usize>().unwrap() < 5, "{}", address(1));
}

#[tokio::test]
async fn requests_of_the_same_fields_share_a_failure_at_once() {
    let gate = Gate::shut();
    let origin = Origin::answering(Answer::status(503).part("down").held_by(&gate)).await;
    let proxy = before(&origin).await;
    let herd: Vec<_> = (0..HERD).map(|client| from(&proxy, client)).collect();
    let (replies, ()) = tokio::join!(all(herd.into_iter().map(RequestFacts::send)), async {
        proxy.until_followers(HERD - 1).await;
        gate.open();
    });
    assert!(replies.iter().all(|reply| reply.is(503, "down")));
    assert_eq!(origin.count("/a"), 1);
}

#[tokio::test]
async fn a_failure_that_varies_binds_what_it_selects() {
    let origin = Origin::start().await;
    origin.on_each("/a", |seen| match seen.field("x-tenant") {
        "broken" => Answer::status(503).field("Vary", "X-Tenant").field("Retry-After", "30").part("down"),
        _ => Answer::cacheable("good").field("Vary", "X-Tenant"),
    });
    let proxy = before(&origin).await;
    for client in 0..2 {
        assert_eq!(of(&proxy, client).field("X-Tenant", "broken").await.status, 503);
    }
    assert_eq!(origin.count("/a"), 2);
    assert_eq!(of(&proxy, 3).field("X-Tenant", "broken").await.status, 503);
    assert_eq!(origin.count("/a"), 2, "two clients have shown it for this tenant");
    of(&proxy, 4).field("X-Tenant", "whole").await.assert(200, "good");
}

#[tokio::test]
async fn what_may_be_the_requests_own_fault_is_remembered_for_nobody_until_it_is_confirmed() {
    for status in [408, 425] {
        let origin = Origin::answering(Answer::status(status).part("late")).await;
        let proxy = before(&origin).await;
        for tries in 1..=4 {
            assert_eq!(of(&proxy, 1).await.status, status);
            assert_eq!(origin.count("/a"), tries);
        }
        assert_eq!(of(&proxy, 2).await.status, status);
        assert_eq!(of(&proxy, 3).await.status, status);
        assert_eq!(origin.count("/a"), 5, "a second client has shown it");
    }
}

#[tokio::test]
async fn an_error_for_the_moment_takes_the_place_of_nothing_that_is_stored() {
    let gate = Gate::shut();
    gate.open();
    // One that could be stored without a word, and validated.
    let bad = Answer::status(405).field("ETag", "\"e\"").part("evil");
    let good = Answer::ok("good").cache("max-age=0, stale-if-error=60").field("ETag", "\"g\"");
    let origin = spoilt_by_one(bad, good, &gate).await;
    let proxy = before(&origin).await;
    proxy.filled_by(of(&proxy, 1)).await.assert(200, "good");
    evil(&proxy).await.assert(405, "evil");
    of(&proxy, 1).await;
    assert_eq!(origin.last("/a").field("if-none-match"), "\"g\"");
}

#[tokio::test]
async fn a_rate_limit_after_anothers_accident_is_no_proof() {
    let gate = Gate::shut();
    gate.open();
    let bad = Answer::status(429).field("Retry-After", "30").part("evil");
    let origin = spoilt_by_one(bad, Answer::status(503).part("accident"), &gate).await;
    let proxy = before(&origin).await;
    assert_eq!(of(&proxy, 1).await.status, 503);
    assert_eq!(evil(&proxy).await.status, 429);
    origin.on("/a", Answer::cacheable("good"));
    of(&proxy, 2).await.assert(200, "good");
}

#[tokio::test]
async fn others_are_bound_for_no_longer_than_the_shorter_of_two_failures_says() {
    let origin = Origin::start().await;
    origin.on_each("/a", |seen| {
        let down = Answer::status(503).part("down");
        if super::is_evil(seen) { down.field("Retry-After", "30") } else { down }
    });
    let proxy = before(&origin).await;
    assert_eq!(of(&proxy, 1).await.status, 503);
    assert_eq!(evil(&proxy).await.status, 503);
    origin.on("/a", Answer::cacheable("good"));
    crate::support::until("a try", async || of(&proxy, 2).await.is(200, "good").then_some(())).await;
}

#[tokio::test]
async fn two_failing_tenants_are_not_all() {
    let origin = Origin::start().await;
    origin.on_each("/a", |seen| match seen.field("x-tenant") {
        "one" | "two" => {
            Answer::status(503).field("Vary", "X-Tenant").field("Retry-After", "30").part("down")
        }
        _ => Answer::cacheable("good").field("Vary", "X-Tenant"),
    });
    let proxy = before(&origin).await;
    for (client, tenant) in [(1, "one"), (2, "two")] {
        assert_eq!(of(&proxy, client).field("X-Tenant", tenant).await.status, 503);
    }
    of(&proxy, 3).field("X-Tenant", "three").await.assert(200, "good");
}

#[tokio::test]
async fn a_failing_herd_whose_answers_vary_costs_two_fetches() {
    let gate = Gate::shut();
    let failing = Answer::status(503).field("Vary", "Accept-Encoding").part("down").held_by(&gate);
    let origin = Origin::answering(failing).await;
    let proxy = before(&origin).await;
    let ask =
        |n: usize| of(&proxy, n).field("Accept-Encoding", if n.is_multiple_of(2) { "gzip" } else { "br" });
    let herd: Vec<_> = (0..HERD).map(ask).collect();
    let (replies, ()) = tokio::join!(all(herd.into_iter().map(RequestFacts::send)), async {
        proxy.until_followers(HERD - 1).await;
        gate.open();
    });
    assert!(replies.iter().all(|reply| reply.status == 503));
    assert!(origin.count("/a") <= 2, "{} fetches", origin.count("/a"));
}

#[tokio::test]
async fn an_error_whose_body_drips_holds_no_other_request() {
    let (gate, drip) = (Gate::shut(), Gate::shut());
    let bad = Answer::status(404).part("ev").gate(&drip).part("il").chunked();
    let origin = spoilt_by_one(bad, Answer::cacheable("good"), &gate).await;
    let proxy = before(&origin).await;
    let leader = evil(&proxy).asked().await;
    origin.asked("/a", 1).await;
    let others = all((0..HERD).map(|client| of(&proxy, client).asked())).await;
    proxy.until_followers(HERD).await;
    gate.open();
    for asked in others {
        super::reply(asked).await.assert(200, "good");
    }
    drip.open();
    super::reply(leader).await.assert(404, "evil");
    assert_eq!(origin.count("/a"), 2);
}

#[tokio::test]
async fn what_one_client_has_shown_hides_no_stored_answer_from_another() {
    let gate = Gate::shut();
    gate.open();
    let bad = Answer::status(503).field("Retry-After", "30").part("evil");
    let good = Answer::ok("good").cache("public, max-age=60");
    let origin = spoilt_by_one(bad, good, &gate).await;
    let proxy = before(&origin).await;
    proxy.filled_by(of(&proxy, 1)).await;
    proxy.until_stored(1).await;
    let proxy = proxy.restart().await;
    // The record is in the store alone, and the evil client asks for it to be validated.
    assert!(of(&proxy, 2).field("Cookie", "a=b").await.is_hit());
}
