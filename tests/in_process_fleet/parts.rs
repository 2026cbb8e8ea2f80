//! Parts in a fleet: one instance stores them, another serves and completes them.

use std::cell::Cell;
use std::sync::Arc;

use dustgate::clock::Dice;
use dustgate::policy::RangeMode;
use dustgate::testkit::scripted::{Asked, Reply};
use dustgate::upstream::Framing;
use object_store::memory::InMemory;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::instance::{Fleet, Got, Instance, LEASE};
use super::{PIECE, cacheable, drips, is_right, ms, soften, whole};

async fn fleet(count: usize) -> Fleet {
    Fleet::with(count, ranged, Arc::new(InMemory::new()), |route| route.rules.range = RangeMode::Segment)
        .await
}

/// First and last byte of the Range of a request; all, if there is none.
fn span(range: Option<&str>) -> (usize, usize) {
    let end = 10 * PIECE - 1;
    let Some((first, last)) = range.and_then(|range| range.strip_prefix("bytes=")?.split_once('-')) else {
        return (0, end);
    };
    (first.parse().expect("a number"), last.parse().unwrap_or(end))
}

fn head(range: Option<&str>) -> Reply {
    let (first, last) = span(range);
    let reply = cacheable(if range.is_some() { 206 } else { 200 }).header("etag", "\"v0\"");
    let reply = reply.header("content-length", &(last + 1 - first).to_string());
    let reply = reply.framing(Framing::Length((last + 1 - first) as u64));
    match range {
        Some(_) => reply.header("content-range", &format!("bytes {first}-{last}/{}", 10 * PIECE)),
        None => reply,
    }
}

/// A piece each 200 ms, of the range that is asked for.
fn ranged(asked: &Asked, _: usize) -> Reply {
    let range = asked.headers.get("range").and_then(|range| range.to_str().ok());
    let (first, last) = span(range);
    drips(head(range), &whole(0), first, last + 1)
}

/// The first bytes of a range and then nothing more, as from a holder that was frozen.
fn stalls(range: &str, until: usize) -> Reply {
    drips(head(Some(range)), &whole(0), span(Some(range)).0, until).gate(&Arc::new(Semaphore::new(0)))
}

fn is_part(got: &Got, first: usize, last: usize) {
    assert!(got.whole && got.status == 206, "{got:?}");
    assert_eq!(got.headers["content-range"], format!("bytes {first}-{last}/{}", 10 * PIECE));
    assert!(got.body == whole(0)[first..=last], "{} bytes", got.body.len());
}

fn said(got: &Got) -> &str {
    got.headers["cache-status"].to_str().expect("text")
}

/// One that is asked for and stored: the origin ends it a while after its last byte.
async fn filled(instance: &Instance, range: &str) -> Got {
    let got = instance.get_with("/a", &[("range", range)]).await.expect("it ends");
    sleep(ms(300)).await;
    got
}

/// What the origin was asked for, by all, in the order of the instances.
fn ranges(fleet: &Fleet) -> Vec<String> {
    let asked = fleet.instances.iter().flat_map(|instance| instance.origin.asked());
    asked
        .map(|asked| asked.headers.get("range").map_or("", |range| range.to_str().expect("text")).to_owned())
        .collect()
}

#[tokio::test(start_paused = true)]
async fn one_stores_a_part_another_serves_and_completes_it() {
    let fleet = fleet(3).await;
    let [one, two, three] = &fleet.instances[..] else { unreachable!("three were made") };
    is_part(&filled(one, "bytes=0-2999").await, 0, 2999);
    let inside = two.get_with("/a", &[("range", "bytes=1000-1500")]).await.unwrap();
    is_part(&inside, 1000, 1500);
    assert!(said(&inside).starts_with("dustgate; hit"), "{inside:?}");
    is_part(&filled(two, "bytes=2500-3999").await, 2500, 3999);
    is_right(&three.get("/a").await.unwrap(), 0);
    sleep(ms(300)).await;
    assert_eq!(ranges(&fleet), ["bytes=0-2999", "bytes=3000-3999", "bytes=4000-"]);
    for instance in &fleet.instances {
        let got = instance.get("/a").await.unwrap();
        is_right(&got, 0);
        assert!(said(&got).starts_with("dustgate; hit"), "{got:?}");
    }
    assert_eq!(fleet.fetches(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_part_under_way_is_ridden_everywhere_by_those_it_has_enough_for() {
    let fleet = fleet(3).await;
    let leader = fleet.instances[0].get_with("/a", &[("range", "bytes=2000-6999")]);
    sleep(ms(1)).await;
    let riders: Vec<_> = (0..9)
        .map(|n| fleet.instances[n % 3].get_with("/a", &[("range", &format!("bytes={}-6999", 2000 + n))]))
        .collect();
    is_part(&leader.await.unwrap(), 2000, 6999);
    for (n, rider) in riders.into_iter().enumerate() {
        let got = rider.await.unwrap();
        is_part(&got, 2000 + n, 6999);
        assert!(got.first_byte < ms(150), "{got:?}");
        let leader = if n % 3 == 0 { "awaited" } else { "awaited:i0" };
        assert_eq!(said(&got), format!("dustgate; fwd=uri-miss; collapsed; detail={leader}"));
    }
    assert_eq!(fleet.fetches(), 1);
}

#[tokio::test(start_paused = true)]
async fn nobody_anywhere_waits_for_the_end_of_a_part_that_has_not_enough() {
    let fleet = fleet(3).await;
    let leader = fleet.instances[0].get_with("/a", &[("range", "bytes=0-7999")]);
    sleep(ms(1)).await;
    let others: Vec<_> =
        (0..6).map(|n| fleet.instances[n % 3].get_with("/a", &[("range", "bytes=8500-9499")])).collect();
    for other in others {
        let got = other.await.unwrap();
        is_part(&got, 8500, 9499);
        // The head of one exchange, some patience, and its own.
        assert!(got.done < ms(900), "{got:?}");
    }
    is_part(&leader.await.unwrap(), 0, 7999);
    assert_eq!(fleet.fetches(), 4, "{:?}", ranges(&fleet));
    // And who comes while it is still under way, when nobody flies for it here.
    let leader = fleet.instances[1].get_with("/b", &[("range", "bytes=0-7999")]);
    sleep(ms(500)).await;
    for instance in &fleet.instances {
        for _ in 0..2 {
            let got = instance.get_with("/b", &[("range", "bytes=9000-9009")]).await.unwrap();
            is_part(&got, 9000, 9009);
            assert!(got.done < ms(500), "{got:?}");
        }
    }
    is_part(&leader.await.unwrap(), 0, 7999);
}

#[tokio::test(start_paused = true)]
async fn a_join_whose_leader_dies_is_gone_on_with() {
    let fleet = fleet(2).await;
    let [one, two] = &fleet.instances[..] else { unreachable!("two were made") };
    is_part(&filled(one, "bytes=1000-2999").await, 1000, 2999);
    one.origin.push(stalls("bytes=3000-7999", 5000));
    let frozen = one.get_with("/a", &[("range", "bytes=1500-7999")]);
    sleep(ms(1)).await;
    let rider = two.get_with("/a", &[("range", "bytes=2000-6999")]);
    sleep(ms(1_000)).await;
    one.line.down();
    let got = rider.await.unwrap();
    is_part(&got, 2000, 6999);
    assert!(got.done < ms(1_000) + LEASE + ms(2_000), "{got:?}");
    assert_eq!(two.origin.asked()[0].headers["range"], "bytes=5000-7999");
    sleep(ms(600)).await;
    let all = two.get_with("/a", &[("range", "bytes=1000-7999")]).await.unwrap();
    is_part(&all, 1000, 7999);
    assert!(said(&all).starts_with("dustgate; hit"), "{all:?}");
    frozen.abort();
}

#[tokio::test(start_paused = true)]
async fn two_parts_of_one_length_are_not_taken_for_each_other() {
    let fleet = fleet(2).await;
    let [one, two] = &fleet.instances[..] else { unreachable!("two were made") };
    one.origin.push(stalls("bytes=0-3999", 2000));
    let frozen = one.get_with("/a", &[("range", "bytes=0-3999")]);
    sleep(ms(1)).await;
    let rider = two.get_with("/a", &[("range", "bytes=0-3999")]);
    sleep(ms(700)).await;
    // Another part, as long, in place of the one that is ridden.
    two.origin.push(drips(head(Some("bytes=4000-7999")), &whole(0), 4000, 8000));
    one.line.down();
    let got = rider.await.unwrap();
    assert!(whole(0)[..4000].starts_with(&got.body), "{} bytes", got.body.len());
    assert!(!got.whole || got.body.len() == 4000, "{got:?}");
    frozen.abort();
}

#[tokio::test(start_paused = true)]
async fn a_purge_of_the_first_part_undoes_the_join() {
    let fleet = fleet(2).await;
    let [one, two] = &fleet.instances[..] else { unreachable!("two were made") };
    is_part(&filled(one, "bytes=0-999").await, 0, 999);
    let joining = two.get_with("/a", &[("range", "bytes=500-4999")]);
    sleep(ms(500)).await;
    fleet.purge(0, "http://h.test/a").await;
    is_part(&joining.await.unwrap(), 500, 4999);
    for instance in &fleet.instances {
        let got = instance.get_with("/a", &[("range", "bytes=100-199")]).await.unwrap();
        is_part(&got, 100, 199);
    }
    assert_eq!(ranges(&fleet).iter().filter(|range| *range == "bytes=100-199").count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_soft_purge_makes_a_part_stale_and_the_rest_makes_it_good() {
    let fleet = fleet(1).await;
    let one = &fleet.instances[0];
    is_part(&filled(one, "bytes=0-999").await, 0, 999);
    soften(one, "/a").await;
    is_right(&one.get("/a").await.unwrap(), 0);
    sleep(ms(300)).await;
    assert_eq!(ranges(&fleet), ["bytes=0-999", "bytes=1000-"]);
    let got = one.get("/a").await.unwrap();
    assert!(said(&got).starts_with("dustgate; hit"), "{got:?}");
    assert!(got.body == whole(0));
}

thread_local! {
    /// What the origin has: a test's time is paused, so all of it is on one thread.
    static VERSION: Cell<u8> = const { Cell::new(0) };
}

/// As [`ranged`], of the version that there is when it is asked; it knows If-Range and If-None-Match.
fn of_version(asked: &Asked, _: usize) -> Reply {
    let version = VERSION.get();
    let (body, tag) = (whole(version), format!("\"v{version}\""));
    let field = |name: &str| asked.headers.get(name).and_then(|value| value.to_str().ok());
    if field("if-none-match") == Some(&tag) {
        return cacheable(304).header("etag", &tag);
    }
    let range = field("range").filter(|_| field("if-range").is_none_or(|held| held == tag));
    let (first, last) = span(range);
    let reply = cacheable(if range.is_some() { 206 } else { 200 }).header("etag", &tag);
    let reply = reply.header("content-length", &(last + 1 - first).to_string());
    let reply = reply.framing(Framing::Length((last + 1 - first) as u64));
    let reply = match range {
        Some(_) => reply.header("content-range", &format!("bytes {first}-{last}/{}", 10 * PIECE)),
        None => reply,
    };
    drips(reply, &body, first, last + 1)
}

struct Asking {
    range: Option<(usize, usize)>,
    /// No older version may be given.
    oldest: u8,
    got: JoinHandle<Got>,
}

/// Whatever is asked for, wherever and whenever: exactly those bytes, of one version, and none that
/// was purged before.
#[tokio::test(start_paused = true)]
async fn any_order_of_parts_anywhere_is_right() {
    for seed in 0..40 {
        let dice = Dice::seeded(seed);
        let below = |end: usize| usize::try_from(dice.below(end as u64)).expect("it is below");
        VERSION.set(0);
        let make = |route: &mut dustgate::route::Route| route.rules.range = RangeMode::Segment;
        let fleet = Fleet::with(3, of_version, Arc::new(InMemory::new()), make).await;
        let (mut oldest, mut asking) = (0, Vec::new());
        for _ in 0..40 {
            match below(20) {
                0 => VERSION.set(VERSION.get() + 1),
                1 => {
                    VERSION.set(VERSION.get() + 1);
                    fleet.purge(below(3), "http://h.test/a").await;
                    oldest = VERSION.get();
                }
                _ => {}
            }
            let first = below(9_999);
            let last = first + below(10_000 - first);
            let range = (below(6) > 0).then_some((first, last));
            let field = range.map(|(first, last)| format!("bytes={first}-{last}"));
            let fields: Vec<_> = field.iter().map(|range| ("range", range.as_str())).collect();
            asking.push(Asking { range, oldest, got: fleet.instances[below(3)].get_with("/a", &fields) });
            sleep(ms(dice.below(500))).await;
        }
        for Asking { range, oldest, got } in asking {
            let got = got.await.expect("it ends");
            let told = format!("seed {seed}: {range:?} {:?} {:?}", got.status, got.headers);
            let tag = got.headers.get("etag").and_then(|tag| tag.to_str().ok()).expect(&told);
            let version: u8 = tag.trim_matches(['"', 'v']).parse().expect("a version");
            assert!(version >= oldest, "{told}: from before {oldest}");
            let (first, last) = range.unwrap_or((0, 10 * PIECE - 1));
            assert_eq!(got.status, if range.is_some() { 206 } else { 200 }, "{told}");
            assert!(got.whole, "{told}: {} bytes", got.body.len());
            assert!(got.body == whole(version)[first..=last], "{told}: {} bytes", got.body.len());
            assert!(got.done < ms(6_000), "{told}: {:?}", got.done);
        }
        assert!(fleet.fetches() <= 40, "seed {seed}: {}", fleet.fetches());
    }
}

/// Fails whoever asks for a range, after a while.
fn ranges_fail(asked: &Asked, _: usize) -> Reply {
    match asked.headers.get("range") {
        None => head(None).bytes(whole(0)),
        Some(_) => Reply::new(500).wait(ms(300)).head().bytes("no"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_range_that_the_origin_fails_fails_nobody_elsewhere() {
    let segments = |route: &mut dustgate::route::Route| route.rules.range = RangeMode::Segment;
    let fleet = Fleet::with(2, ranges_fail, Arc::new(InMemory::new()), segments).await;
    let leader = fleet.instances[0].get_with("/a", &[("range", "bytes=0-4")]);
    sleep(ms(100)).await;
    let others = [0, 1, 1].map(|at| fleet.instances[at].get("/a"));
    assert_eq!(leader.await.expect("it does not panic").status, 500);
    for other in others {
        let got = other.await.expect("it does not panic");
        assert!(got.status == 200 && got.whole && got.body == whole(0), "{got:?}");
    }
    assert!(fleet.fetches() <= 3, "the range, and the whole for each instance at most");
}
