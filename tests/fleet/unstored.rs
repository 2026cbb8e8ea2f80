//! A body store that takes no more of a body on the way, on one of several instances.

use bytes::Bytes;

use crate::support::client::Reading;
use crate::support::fleet::Fleet;
use crate::support::pattern::Pattern;
use crate::support::{Answer, End, Gate, all};

const BEFORE: u64 = 1_500_000;
const LEN: u64 = 24 << 20;

/// The whole of it.
fn whole() -> Vec<u8> {
    Pattern::whole(LEN)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_on_any_instance_has_it_whole_and_later_requests_find_the_pass() {
    let fleet = Fleet::of(3).await;
    let (gate, end) = (Gate::shut(), Gate::shut());
    let (held, ends) = (gate.clone(), end.clone());
    fleet.origin.on_each("/a", move |seen| {
        let whole = Bytes::from(whole());
        let answer = Answer::status(200).cache("max-age=60");
        match seen.nth {
            1 => answer
                .pattern(BEFORE)
                .gate(&held)
                .part(whole.slice(usize::try_from(BEFORE).unwrap()..12 << 20))
                .gate(&ends)
                .part(whole.slice(12 << 20..)),
            _ => answer.part(whole),
        }
    });
    let own = fleet.of[0].get("/a").begin().await;
    let here = all((0..6).map(|_| fleet.of[0].get("/a").begin())).await;
    let mut there = Vec::new();
    for n in 0..6 {
        let mut reading = fleet.of[1 + n % 2].get("/a").begin().await;
        let got = reading.at_least(1_000).await;
        there.push((got, reading));
    }
    fleet.of[0].process().may_not_write();
    gate.open();
    // What they wait for will never be stored: each of their instances fetches it once more.
    let there = there.into_iter().map(|(mut got, reading)| async move {
        let rest = reading.rest().await;
        got.extend_from_slice(&rest.body);
        (got, rest.end)
    });
    for (got, end) in all(there).await {
        assert!(end == End::Clean && got == whole(), "{} bytes", got.len());
    }
    assert_eq!(fleet.origin.count("/a"), 3);
    // Nobody waits for the first, which is still under way.
    for reply in all((0..6).map(|n| fleet.of[n % 3].get("/a").send())).await {
        assert!(reply.status == 200 && reply.end == End::Clean && reply.body == whole());
    }
    end.open();
    for reply in all([own].into_iter().chain(here).map(Reading::rest)).await {
        assert!(reply.end == End::Clean && reply.body == whole(), "{} bytes", reply.body.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_strong_tag_only_the_rest_is_fetched_for_readers_elsewhere() {
    let fleet = Fleet::of(2).await;
    let gate = Gate::shut();
    let held = gate.clone();
    fleet.origin.on_each("/a", move |seen| {
        let whole = Bytes::from(whole());
        let answer = |status| Answer::status(status).cache("max-age=60").field("ETag", "\"1\"");
        let first = seen.field("range").strip_prefix("bytes=").and_then(|range| range.strip_suffix('-'));
        match first.map(|first| first.parse::<usize>().unwrap()) {
            Some(first) => {
                let range = format!("bytes {first}-{}/{LEN}", LEN - 1);
                answer(206).field("Content-Range", &range).part(whole.slice(first..))
            }
            None => {
                answer(200).pattern(BEFORE).gate(&held).part(whole.slice(usize::try_from(BEFORE).unwrap()..))
            }
        }
    });
    let own = fleet.of[0].get("/a").begin().await;
    let mut there = fleet.of[1].get("/a").begin().await;
    let mut got = there.at_least(1_000).await;
    fleet.of[0].process().may_not_write();
    gate.open();
    let (own, rest) = tokio::join!(own.rest(), there.rest());
    got.extend_from_slice(&rest.body);
    assert!(rest.end == End::Clean && got == whole(), "{} bytes", got.len());
    assert!(own.end == End::Clean && own.body == whole(), "{} bytes", own.body.len());
    assert_eq!(fleet.origin.count("/a"), 2);
    assert!(fleet.origin.last("/a").field("range").starts_with("bytes="));
    // It is told like any other fetch.
    fleet.of[1].until_metric("dustgate_fills_total", &[("outcome", "pass")], |count| count == 1.0).await;
}
