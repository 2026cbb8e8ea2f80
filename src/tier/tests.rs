//! What the tier keeps of the records that it is offered.

use std::sync::atomic::AtomicBool;

use bytes::Bytes;

use super::*;
use crate::policy::{RequestFacts, Reuse, Rules, reuse};
use crate::record::{Manifest, Record, Segment};
use crate::testkit::fixtures;

mod fleet;
mod rig;

const NOW: u64 = 1_800_000_000_000;
const KEY: &str = "http://h/a";

fn record(token: u64, segment: u64) -> Record {
    Record {
        token,
        received_at: NOW,
        fresh_ms: 60_000,
        body: Manifest {
            life: None,
            len: 5,
            segments: vec![Segment { token: segment, n: 0, len: 5, digest: [0; 16], carried: false }].into(),
        },
        ..fixtures::record(KEY)
    }
}

/// A record filled or validated under `token`, with bytes written under `segment`.
fn stored(token: u64, segment: u64, held: bool) -> Arc<Stored> {
    let body = held.then(|| Bytes::from_static(b"hello"));
    Arc::new(Stored::new(record(token, segment), &Rules::default(), body))
}

fn there(tier: &Tier) -> Option<(u64, bool)> {
    match tier.find(KEY)? {
        Held::Stored(stored) => Some((stored.record.token, stored.has_body())),
        Held::Vary(node) => Some((node.token, false)),
    }
}

fn node(token: u64) -> Arc<VaryNode> {
    Arc::new(VaryNode {
        key: KEY.into(),
        token,
        fields: Vec::new(),
        variants: Vec::new(),
        languages: Vec::new(),
        noted: true,
    })
}

#[test]
fn a_copy_without_bytes_takes_none_away() {
    let tier = Tier::new(1 << 20);
    // What is held before, what is offered, and what is held afterwards.
    for (before, offered, after) in [
        ((3, 3, true), (3, 3, false), (3, true)),
        ((3, 3, false), (3, 3, true), (3, true)),
        // Validated since: the bytes are the same.
        ((3, 3, true), (5, 3, false), (5, true)),
        ((5, 3, false), (3, 3, true), (5, true)),
        // Filled again: they are not.
        ((3, 3, true), (5, 5, false), (5, false)),
        // Offered late.
        ((5, 5, false), (3, 3, true), (5, false)),
        ((5, 5, true), (3, 3, true), (5, true)),
    ] {
        tier.clear();
        tier.keep(stored(before.0, before.1, before.2));
        tier.keep(stored(offered.0, offered.1, offered.2));
        assert_eq!(there(&tier), Some(after), "{before:?} {offered:?}");
    }
}

#[test]
fn an_older_one_never_replaces_a_newer_one_of_either_kind() {
    let tier = Tier::new(1 << 20);
    tier.keep_node(node(4));
    tier.keep(stored(3, 3, true));
    assert_eq!(there(&tier), Some((4, false)));
    tier.keep(stored(5, 5, true));
    tier.keep_node(node(4));
    assert_eq!(there(&tier), Some((5, true)));
    tier.keep_node(node(6));
    assert_eq!(there(&tier), Some((6, false)));
}

#[test]
fn the_newest_stays_whoever_comes_last() {
    let tier = Arc::new(Tier::new(1 << 20));
    let behind = Arc::new(AtomicBool::new(false));
    std::thread::scope(|scope| {
        for lane in 0..4 {
            let (tier, behind) = (tier.clone(), behind.clone());
            scope.spawn(move || {
                let mut last = 0;
                for n in 0..2_000 {
                    tier.keep(stored(n * 4 + lane + 1, 1, lane == 0));
                    let seen = there(&tier).map_or(0, |(token, _)| token);
                    if seen < last {
                        behind.store(true, Ordering::Relaxed);
                    }
                    last = seen;
                }
            });
        }
    });
    assert!(!behind.load(Ordering::Relaxed), "a newer one was replaced, or the key was empty");
    assert_eq!(there(&tier), Some((8_000, true)));
}

#[test]
fn only_what_had_to_make_room_is_counted() {
    let tier = Tier::new(1 << 20);
    for token in 1..5 {
        tier.keep(stored(token, token, true));
    }
    assert_eq!(tier.evicted(), 0, "replaced, not evicted");
    for n in 0..4_000 {
        let record = Record { key: format!("{KEY}/{n}").into(), ..record(1, 1) };
        tier.keep(Arc::new(Stored::new(record, &Rules::default(), None)));
    }
    assert!(tier.evicted() > 0);
    assert_eq!(tier.evicted() + tier.len() as u64, 4_001);
}

#[test]
fn bytes_that_come_later_push_out_what_there_is_no_room_for() {
    let tier = Tier::new(1 << 20);
    let body = Bytes::from(vec![0; 30_000]);
    let of = |n: u64| {
        let mut record = Record { key: format!("{KEY}/{n}").into(), ..record(1, 1) };
        record.body.len = body.len() as u64;
        Arc::new(Stored::new(record, &Rules::default(), None))
    };
    for n in 0..200 {
        tier.keep(of(n));
    }
    for n in 0..200 {
        tier.keep(Arc::new(of(n).with_body(body.clone())));
        assert!(tier.bytes() <= 1 << 20, "{} after {n}", tier.bytes());
    }
}

#[test]
fn a_record_is_forgotten_with_or_without_its_bytes() {
    let tier = Tier::new(1 << 20);
    tier.keep(stored(3, 3, true));
    tier.forget(&stored(2, 2, true));
    assert_eq!(there(&tier), Some((3, true)));
    tier.forget(&stored(3, 3, false));
    assert_eq!(there(&tier), None);
}

#[tokio::test]
async fn nothing_answers_that_is_older_than_max_life() {
    let rules = Rules::default();
    let day = 86_400_000;
    let tier = Tier::new(1 << 20).with_max_life(Duration::from_millis(day));
    let find = || match tier.find(KEY) {
        Some(Held::Stored(stored)) => stored,
        other => panic!("{other:?}"),
    };
    let asked = |stored: &Stored, now| reuse(&RequestFacts::default(), &stored.record, &stored.terms, now);
    for (fresh_ms, swr_ms) in [(365 * day, 0), (1_000, 365 * day), (365 * day, 365 * day)] {
        tier.clear();
        let record = Record { fresh_ms, swr_ms, sie_ms: 365 * day, ..record(1, 1) };
        tier.keep(Arc::new(Stored::new(record, &rules, None)));
        let stored = find();
        assert!(!matches!(asked(&stored, NOW + day - 1), Reuse::Validate));
        assert_eq!(asked(&stored, NOW + day), Reuse::Validate);
        assert_eq!(stored.record.end(), NOW + day);
        let stamps = Stamps::new("dustgate", Duration::from_millis(day));
        assert_eq!(tier.sweep(NOW + day, &stamps).await, 1);
    }
    tier.keep(stored(1, 1, true));
    assert_eq!(find().record.fresh_ms, 60_000, "shorter lives are as they were");
}

#[tokio::test]
async fn the_index_holds_what_memory_holds_whatever_made_it_go() {
    let tier = Tier::in_fleet(1 << 20, Numbers::new("dustgate"));
    let of = |n: u64, end: u64| {
        let record = Record { key: format!("{KEY}/{n}").into(), fresh_ms: end, ..record(1, 1) };
        Arc::new(Stored::new(record, &Rules::default(), None))
    };
    let right = |tier: &Tier| {
        let held = (0..4_000).map(|n| of(n, 1)).filter(|stored| tier.peek(&stored.record.key).is_some());
        let found = held.filter(|stored| tier.holds(stored.hash).is_some()).count();
        assert_eq!((tier.indexed(), found), (tier.len(), tier.len()));
    };
    for n in 0..4_000 {
        tier.keep(of(n, if n % 2 == 0 { 10 } else { 60_000 }));
    }
    assert!(tier.evicted() > 0);
    right(&tier);
    assert!(tier.sweep(NOW + 10, &Stamps::new("dustgate", Duration::from_hours(1))).await > 0);
    right(&tier);
    tier.forget(&of(3_999, 60_000));
    tier.forget_key(&of(3_997, 1).record.key);
    tier.forget_older(of(3_995, 1).hash, 2);
    right(&tier);
    tier.clear();
    right(&tier);
}

#[test]
fn the_index_is_right_when_many_come_and_go_at_once() {
    let tier = Arc::new(Tier::in_fleet(64 << 10, Numbers::new("dustgate")));
    std::thread::scope(|scope| {
        for lane in 0..4u64 {
            let tier = tier.clone();
            scope.spawn(move || {
                for n in 0..3_000 {
                    let key = format!("{KEY}/{}", (n * 7 + lane) % 200);
                    let record = Record { key: key.as_str().into(), ..record(n, 1) };
                    match n % 5 {
                        0 => tier.forget_key(&key),
                        _ => tier.keep(Arc::new(Stored::new(record, &Rules::default(), None))),
                    }
                }
            });
        }
    });
    let held = (0..200).map(|n| format!("{KEY}/{n}")).filter(|key| tier.peek(key).is_some()).count();
    assert_eq!((tier.indexed(), held), (tier.len(), tier.len()));
}

#[tokio::test]
async fn what_a_stamp_covers_leaves_memory_before_the_stamp_is_forgotten() {
    let hour = Duration::from_hours(1);
    let (tier, stamps) = (Tier::new(1 << 20), Stamps::new("dustgate", hour));
    let long = |key: &str| Record { key: key.into(), fresh_ms: 3_600_000, ..record(5, 5) };
    for key in ["http://h/hard", "http://h/soft", "http://h/none"] {
        tier.keep(Arc::new(Stored::new(long(key), &Rules::default(), None)));
    }
    let stamp =
        |key, force| stamps::Stamp { scope: stamps::Scope::Url(url_hash(key)), force, number: 9, until: NOW };
    stamps.take(stamp("http://h/hard", stamps::Force::Hard));
    stamps.take(stamp("http://h/soft", stamps::Force::Soft));
    assert_eq!(tier.sweep(NOW + 60_000, &stamps).await, 1);
    assert!(tier.peek("http://h/hard").is_none() && tier.peek("http://h/none").is_some());
    assert_eq!(stamps.hard(url_hash("http://h/hard")), 0, "it is forgotten");
    let covers = || stamps.covers(url_hash("http://h/soft"), 5, 5);
    assert_eq!(covers(), Covered::Soft, "that one still is what it was");
    tier.forget_key("http://h/soft");
    tier.sweep(NOW + 60_000, &stamps).await;
    assert_eq!(covers(), Covered::No);
}

#[tokio::test]
async fn a_sweep_lets_other_tasks_run_and_keeps_what_was_refreshed_meanwhile() {
    const COUNT: usize = 1_000;
    let (tier, stamps) = (Tier::new(64 << 20), Stamps::new("dustgate", Duration::from_hours(1)));
    let of = |n: usize, token| {
        let record = Record { key: format!("{KEY}/{n}").into(), ..record(token, 1) };
        Arc::new(Stored::new(record, &Rules::default(), None))
    };
    for n in 0..COUNT {
        tier.keep(of(n, 1));
    }
    let mut sweep = Box::pin(tier.sweep(NOW + 60_000, &stamps));
    assert!(futures_util::poll!(&mut sweep).is_pending());
    let left: Vec<_> = (0..COUNT).filter(|n| tier.peek(&of(*n, 1).record.key).is_some()).collect();
    assert!(!left.is_empty(), "it stands on the way");
    let fresh = Record { fresh_ms: 120_000, ..of(left[0], 2).record.clone() };
    let key = fresh.key.clone();
    tier.keep(Arc::new(Stored::new(fresh, &Rules::default(), None)));
    sweep.await;
    assert!(tier.peek(&key).is_some());
    assert_eq!(tier.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_page_goes_on_where_the_last_one_ended() {
    let tier = Arc::new(Tier::new(64 << 20));
    for n in 0..1_000 {
        let record = Record { key: format!("http://h/{n}").into(), ..record(1, 1) };
        tier.keep(Arc::new(Stored::new(record, &Rules::default(), None)));
    }
    let walks = Walks::default();
    let wants = |limit, most| Wants { limit, most, matches: Box::new(|_| true) };
    walks.begin(7, &tier);
    let mut seen = HashSet::new();
    while let Some(page) = walks.page(7, wants(30, 50)).await {
        assert!(page.found.len() <= 30);
        seen.extend(page.found.iter().map(|stored| stored.record.key.to_string()));
    }
    assert_eq!(seen.len(), 1_000);
    walks.begin(8, &tier);
    assert_eq!(walks.page(8, wants(1_000, 50)).await.map(|page| page.found.len()), Some(50));
    // Others have come since, or too long ago.
    (9..17).for_each(|name| walks.begin(name, &tier));
    assert!(walks.page(8, wants(1, 1)).await.is_none());
    tokio::time::sleep(Duration::from_mins(3)).await;
    assert!(walks.page(16, wants(1, 1)).await.is_none());
}
