//! A leader that is killed or frozen: others go on, nobody gets a mixture.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use crate::support::client::Reading;
use crate::support::fleet::{Fleet, LEASE, SLACK, timed, waits};
use crate::support::origin::Seen;
use crate::support::pattern::Pattern;
use crate::support::{Answer, End, Gate, all};

const LEN: usize = 300_000;

/// One that was fetched and nothing else, whoever asks; the first time it stops at the gate.
#[derive(Clone)]
struct Story {
    body: Bytes,
    /// After so many bytes.
    stops: usize,
    gate: Gate,
    /// Has a strong tag, and ranges by it.
    tagged: bool,
    chunked: bool,
}

impl Story {
    fn stopping(stops: usize) -> Self {
        let body = Pattern::whole(LEN as u64).into();
        Self { body, stops, gate: Gate::shut(), tagged: false, chunked: false }
    }

    fn answer(&self, seen: &Seen) -> Answer {
        let mut answer = Answer::status(200).cache("max-age=60");
        let mut from = 0;
        if self.tagged {
            answer = answer.field("ETag", "\"v\"").field("Accept-Ranges", "bytes");
            let range = seen.field("range").strip_prefix("bytes=").and_then(|range| range.strip_suffix('-'));
            if let Some(first) = range.and_then(|first| first.parse().ok()) {
                assert_eq!(seen.field("if-range"), "\"v\"");
                from = first;
                let part = format!("bytes {from}-{}/{LEN}", LEN - 1);
                answer = Answer::status(206).cache("max-age=60").field("ETag", "\"v\"");
                answer = answer.field("Content-Range", &part);
            }
        }
        if self.chunked {
            answer = answer.chunked();
        }
        if seen.nth > 1 {
            return answer.part(self.body.slice(from..));
        }
        let answer = answer.part(self.body.slice(..self.stops)).gate(&self.gate);
        answer.part(self.body.slice(self.stops..))
    }
}

/// Clients that ride on the two other instances, and have all that came so far.
async fn riders(fleet: &Fleet, path: &str, so_far: usize) -> Vec<(Vec<u8>, Reading)> {
    all((0..4).map(async |n| {
        let mut reading = fleet.of[1 + n % 2].get(path).begin().await;
        let got = reading.at_least(so_far).await;
        assert_eq!(got.len(), so_far);
        (got, reading)
    }))
    .await
}

/// What happens to the leader when it has so much of the body.
async fn a_leader_dies(story: Story) {
    let fleet = Fleet::of(3).await;
    let told = story.clone();
    fleet.origin.on_each("/a", move |seen| told.answer(seen));
    let mut own = fleet.of[0].get("/a").begin().await;
    own.at_least(story.stops).await;
    let riders = riders(&fleet, "/a", story.stops).await;
    let killed = Instant::now();
    fleet.of[0].kill().await;
    for (mut got, reading) in riders {
        let rest = reading.rest().await;
        got.extend_from_slice(&rest.body);
        assert_eq!(rest.end, End::Clean, "{} bytes", got.len());
        assert!(got == story.body, "{} bytes", got.len());
    }
    assert!(killed.elapsed() < LEASE + Duration::from_secs(1) + SLACK, "{:?}", killed.elapsed());
    // Its own client is not told that this was all.
    assert_eq!(own.rest().await.end, End::Broken);
    let asked = fleet.origin.requests("/a");
    assert_eq!(asked.len(), 2);
    if story.tagged {
        assert_eq!(asked[1].field("range"), format!("bytes={}-", story.stops));
    }
    for instance in &fleet.of[1..] {
        let reply = instance.get("/a").await;
        assert!(reply.is_hit() && reply.body == story.body, "{:?}", reply.fields);
    }
    assert_eq!(fleet.origin.count("/a"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_dies_before_it_has_a_head() {
    let fleet = Fleet::of(3).await;
    let gate = Gate::shut();
    let held = gate.clone();
    fleet.origin.on_each("/a", move |seen| {
        let answer = Answer::cacheable("hello");
        if seen.nth == 1 { answer.held_by(&held) } else { answer }
    });
    let own = fleet.of[0].get("/a").asked().await;
    gate.reached_by(1).await;
    let riders = all((0..6).map(|n| fleet.of[1 + n % 2].get("/a").asked())).await;
    waits(&fleet.of[1], "/a").await;
    waits(&fleet.of[2], "/a").await;
    let killed = Instant::now();
    fleet.of[0].kill().await;
    assert!(own.head().await.is_none());
    for rider in riders {
        rider.head().await.expect("an answer").rest().await.assert(200, "hello");
    }
    assert!(killed.elapsed() < LEASE + Duration::from_secs(1) + SLACK, "{:?}", killed.elapsed());
    assert_eq!(fleet.origin.count("/a"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_dies_at_half_of_a_body_with_a_tag() {
    a_leader_dies(Story { tagged: true, ..Story::stopping(LEN / 2) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_dies_at_half_of_a_body_without_one() {
    a_leader_dies(Story::stopping(LEN / 2)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_dies_before_the_last_byte() {
    a_leader_dies(Story { tagged: true, ..Story::stopping(LEN - 1) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_dies_when_only_the_end_of_the_framing_is_to_come() {
    a_leader_dies(Story { chunked: true, ..Story::stopping(LEN) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_leader_after_a_dead_one_finds_another_version() {
    let fleet = Fleet::of(3).await;
    let gate = Gate::shut();
    let held = gate.clone();
    fleet.origin.on_each("/a", move |seen| {
        let version = ["old ", "new "][seen.nth.min(2) - 1].repeat(10_000);
        let tagged = Answer::status(200).cache("max-age=60").field("ETag", &format!("\"{}\"", seen.nth));
        match seen.nth {
            1 => tagged.part(version.clone()).gate(&held).part(version),
            _ => tagged.part([version.clone(), version].concat()),
        }
    });
    let mut own = fleet.of[0].get("/a").begin().await;
    own.at_least(40_000).await;
    let riders = riders(&fleet, "/a", 40_000).await;
    fleet.of[0].kill().await;
    let old = "old ".repeat(20_000);
    for (mut got, reading) in riders {
        let rest = reading.rest().await;
        got.extend_from_slice(&rest.body);
        assert_eq!(rest.end, End::Broken);
        assert!(old.as_bytes().starts_with(&got), "a mixture");
    }
    for instance in &fleet.of[1..] {
        instance.get("/a").await.assert(200, &"new ".repeat(20_000));
    }
    assert_eq!(fleet.origin.count("/a"), 2);
}

/// The leader is frozen past its lease and woken when another one has published: what stands is
/// the other's.
async fn a_frozen_leader_wakes(in_body: bool) {
    let fleet = Fleet::of(3).await;
    let gate = Gate::shut();
    let held = gate.clone();
    fleet.origin.on_each("/a", move |seen| match (seen.nth, in_body) {
        (1, true) => Answer::cacheable("the ").gate(&held).part("old"),
        (1, false) => Answer::cacheable("the old").held_by(&held),
        _ => Answer::cacheable("the new"),
    });
    let own = fleet.of[0].get("/a").asked().await;
    gate.reached_by(1).await;
    fleet.of[0].signal("STOP");
    for (took, reply) in all((0..4).map(|n| timed(fleet.of[1 + n % 2].get("/a")))).await {
        // They may have begun with the old one, and are told that it ended.
        assert!(took < LEASE + Duration::from_secs(1) + SLACK, "{took:?}");
        match reply.end {
            End::Clean => reply.assert(200, "the new"),
            End::Broken => assert!(in_body && reply.body == b"the ", "{reply:?}"),
        }
    }
    fleet.of[1].get("/a").await.assert(200, "the new");
    assert_eq!(fleet.origin.count("/a"), 2);
    fleet.of[0].signal("CONT");
    gate.open();
    let reply = own.head().await.expect("an answer").rest().await;
    match reply.end {
        End::Clean => assert!(["the old", "the new"].contains(&reply.text()), "{reply:?}"),
        End::Broken => assert!(["", "the "].contains(&reply.text()), "{reply:?}"),
    }
    fleet.idle().await;
    for _ in 0..3 {
        for reply in fleet.each("/a").await {
            reply.assert(200, "the new");
            assert!(reply.is_hit(), "{reply:?}");
        }
    }
    assert_eq!(fleet.origin.count("/a"), 2);
    let page = fleet.of[0].metrics().await;
    assert!(page.sum("dustgate_fenced_total", &[]) >= 1.0);
    assert!(page.sum("dustgate_leases_lost_total", &[]) >= 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_was_frozen_before_its_head_is_fenced() {
    a_frozen_leader_wakes(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_was_frozen_in_its_body_is_fenced() {
    a_frozen_leader_wakes(true).await;
}
