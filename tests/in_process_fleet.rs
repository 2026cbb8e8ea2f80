//! Instances together: one fetches, the others stream it; one dies, another goes on. In one
//! process and in paused time; what is sent over real wires is in the other tests.

#[path = "in_process_fleet/brief.rs"]
mod brief;
#[path = "in_process_fleet/claims.rs"]
mod claims;
#[path = "in_process_fleet/clock.rs"]
mod clock;
#[path = "in_process_fleet/early.rs"]
mod early;
#[path = "in_process_fleet/instance.rs"]
mod instance;
#[path = "in_process_fleet/janitor.rs"]
mod janitor;
#[path = "in_process_fleet/late.rs"]
mod late;
#[path = "in_process_fleet/bytes.rs"]
mod lost_bytes;
#[path = "in_process_fleet/orphans.rs"]
mod orphans;
#[path = "in_process_fleet/parts.rs"]
mod parts;
#[path = "in_process_fleet/reads.rs"]
mod reads;
#[path = "in_process_fleet/room.rs"]
mod room;
#[path = "in_process_fleet/shelf.rs"]
mod shelf;
#[path = "in_process_fleet/storm.rs"]
mod storm;
#[path = "in_process_fleet/trouble.rs"]
mod trouble;
#[path = "in_process_fleet/unstored.rs"]
mod unstored;
#[path = "in_process_fleet/unsure.rs"]
mod unsure;
#[path = "in_process_fleet/yielded.rs"]
mod yielded;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dustgate::proxy::Purge;
use dustgate::testkit::scripted::{Asked, Reply};
use dustgate::upstream::ErrorKind;
use instance::{Fleet, Got, Instance, LEASE};
use object_store::memory::InMemory;
use tokio::sync::Semaphore;
use tokio::time::sleep;

const PIECE: usize = 1000;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Ten pieces of one version.
fn whole(version: u8) -> Bytes {
    (0..10 * PIECE).map(|at| u8::try_from(at % 251).unwrap_or(0) ^ version).collect::<Vec<_>>().into()
}

/// A piece each 200 ms, after 100 ms.
fn drips(reply: Reply, body: &Bytes, first: usize, until: usize) -> Reply {
    let mut reply = reply.wait(ms(100)).head();
    for at in (first..until).step_by(PIECE) {
        reply = reply.bytes(body.slice(at..(at + PIECE).min(until))).wait(ms(200));
    }
    reply
}

fn cacheable(status: u16) -> Reply {
    Reply::new(status).header("cache-control", "max-age=60")
}

/// An origin that knows ranges of its one version.
fn tagged(asked: &Asked, _: usize) -> Reply {
    let body = whole(0);
    let range = asked.headers.get("range").and_then(|range| range.to_str().ok());
    let Some(first) = range.and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok())
    else {
        return drips(cacheable(200).header("etag", "\"v0\""), &body, 0, body.len());
    };
    assert_eq!(asked.headers["if-range"], "\"v0\"");
    let part = format!("bytes {first}-{}/{}", body.len() - 1, body.len());
    let reply = cacheable(206).header("etag", "\"v0\"").header("content-range", &part);
    drips(reply, &body, first, body.len())
}

fn untagged(_: &Asked, _: usize) -> Reply {
    drips(cacheable(200), &whole(0), 0, 10 * PIECE)
}

/// Without a tag it can't be told that this is another version.
fn changed(_: &Asked, _: usize) -> Reply {
    drips(cacheable(200), &whole(3), 0, 10 * PIECE)
}

/// The first `pieces` and then nothing more, as from a holder that was frozen.
fn stalls(reply: Reply, pieces: usize) -> Reply {
    let body = whole(0);
    let reply = drips(reply.header("content-length", &body.len().to_string()), &body, 0, pieces * PIECE);
    reply.framing(dustgate::upstream::Framing::Length(body.len() as u64)).gate(&Arc::new(Semaphore::new(0)))
}

fn is_right(got: &Got, version: u8) {
    assert!(got.whole, "{} bytes, {:?}", got.body.len(), got.done);
    assert_eq!(got.status, 200);
    assert!(got.body == whole(version), "{} bytes", got.body.len());
}

#[tokio::test(start_paused = true)]
async fn every_instance_streams_a_body_that_drips_into_one() {
    let fleet = Fleet::of(3, tagged).await;
    let leader = fleet.instances[0].get("/a");
    sleep(ms(1)).await;
    let followers: Vec<_> = (0..9).map(|n| fleet.instances[n % 3].get("/a")).collect();
    is_right(&leader.await.unwrap(), 0);
    for (n, follower) in followers.into_iter().enumerate() {
        let got = follower.await.unwrap();
        is_right(&got, 0);
        assert!(got.first_byte < ms(150), "{got:?}");
        assert!(got.done < ms(2_200), "{got:?}");
        assert_eq!(got.headers["content-length"], "10000");
        let leader = if n % 3 == 0 { "awaited" } else { "awaited:i0" };
        let said = format!("dustgate; fwd=uri-miss; collapsed; detail={leader}");
        assert_eq!(got.headers["cache-status"], said);
    }
    assert_eq!(fleet.fetches(), 1);
    // And afterwards it is a hit everywhere.
    for instance in &fleet.instances {
        let got = instance.get("/a").await.unwrap();
        is_right(&got, 0);
        assert!(got.headers["cache-status"].to_str().unwrap().starts_with("dustgate; hit"), "{got:?}");
    }
    assert_eq!(fleet.fetches(), 1);
}

#[tokio::test(start_paused = true)]
async fn who_comes_in_mid_body_streams_it_from_its_beginning() {
    let fleet = Fleet::of(2, tagged).await;
    let leader = fleet.instances[0].get("/a");
    sleep(ms(900)).await;
    let got = fleet.instances[1].get("/a").await.unwrap();
    is_right(&got, 0);
    assert!(got.first_byte < ms(20), "{got:?}");
    is_right(&leader.await.unwrap(), 0);
    assert_eq!(fleet.fetches(), 1);
}

/// One that is frozen: nothing comes of it and it says nothing, but it is not gone.
async fn half_way(fleet: &Fleet, reply: Reply, pieces: usize) -> tokio::task::JoinHandle<Got> {
    let leader = &fleet.instances[0];
    leader.origin.push(stalls(reply, pieces));
    let client = leader.get("/a");
    sleep(ms(1)).await;
    client
}

#[tokio::test(start_paused = true)]
async fn the_rest_alone_is_fetched_where_a_strong_tag_allows_it() {
    let fleet = Fleet::of(3, tagged).await;
    let frozen = half_way(&fleet, cacheable(200).header("etag", "\"v0\""), 5).await;
    let riders: Vec<_> = (0..6).map(|n| fleet.instances[1 + n % 2].get("/a")).collect();
    sleep(ms(1_300)).await;
    fleet.instances[0].line.down();
    for rider in riders {
        let got = rider.await.unwrap();
        is_right(&got, 0);
        assert!(got.done < ms(1_300) + LEASE + ms(2_200) + ms(1_000), "{got:?}");
    }
    assert_eq!(fleet.fetches(), 2);
    let asked: Vec<_> = fleet.instances[1..].iter().flat_map(|instance| instance.origin.asked()).collect();
    assert_eq!(asked[0].headers["range"], "bytes=5000-");
    // The zombie wakes: its client has had the old bytes, and nobody is disturbed.
    fleet.instances[0].line.up();
    assert!(!frozen.is_finished());
    frozen.abort();
    for instance in &fleet.instances[1..] {
        is_right(&instance.get("/a").await.unwrap(), 0);
    }
    assert_eq!(fleet.fetches(), 2);
}

#[tokio::test(start_paused = true)]
async fn without_a_tag_a_second_fetch_of_the_same_bytes_is_gone_on_with() {
    let fleet = Fleet::of(3, untagged).await;
    let _frozen = half_way(&fleet, cacheable(200), 5).await;
    let riders: Vec<_> = (0..6).map(|n| fleet.instances[1 + n % 2].get("/a")).collect();
    sleep(ms(1_300)).await;
    fleet.instances[0].line.down();
    for rider in riders {
        let got = rider.await.unwrap();
        is_right(&got, 0);
        assert!(got.done < ms(1_300) + LEASE + ms(2_200) + ms(1_000), "{got:?}");
    }
    assert_eq!(fleet.fetches(), 2);
}

#[tokio::test(start_paused = true)]
async fn whoever_has_begun_another_version_is_broken_off_and_who_comes_then_is_not() {
    let fleet = Fleet::of(3, changed).await;
    let _frozen = half_way(&fleet, cacheable(200), 5).await;
    let riders: Vec<_> = (0..6).map(|n| fleet.instances[1 + n % 2].get("/a")).collect();
    sleep(ms(1_300)).await;
    fleet.instances[0].line.down();
    sleep(LEASE + ms(300)).await;
    let late: Vec<_> = (0..4).map(|n| fleet.instances[1 + n % 2].get("/a")).collect();
    for rider in riders {
        let got = rider.await.unwrap();
        assert!(!got.whole);
        assert!(whole(0).starts_with(&got.body), "{} bytes", got.body.len());
    }
    for late in late {
        is_right(&late.await.unwrap(), 3);
    }
    assert_eq!(fleet.fetches(), 2);
}

#[tokio::test(start_paused = true)]
async fn all_the_bytes_were_there_and_only_the_word_was_missing() {
    let fleet = Fleet::of(2, tagged).await;
    let _frozen = half_way(&fleet, cacheable(200).header("etag", "\"v0\""), 10).await;
    let rider = fleet.instances[1].get("/a");
    sleep(ms(2_300)).await;
    fleet.instances[0].line.down();
    is_right(&rider.await.unwrap(), 0);
    is_right(&fleet.instances[1].get("/a").await.unwrap(), 0);
    assert_eq!(fleet.fetches(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_goes_away_in_mid_body_leaves_each_instance_one_fetch() {
    for answer in [tagged, untagged] {
        let fleet = Fleet::of(3, answer).await;
        let leader = fleet.instances[0].get("/a");
        sleep(ms(1)).await;
        let riders: Vec<_> = (0..9).map(|n| fleet.instances[n % 3].get("/a")).collect();
        sleep(ms(900)).await;
        for instance in &fleet.instances {
            instance.line.down();
        }
        is_right(&leader.await.unwrap(), 0);
        for rider in riders {
            let got = rider.await.unwrap();
            is_right(&got, 0);
            assert!(got.done < ms(900) + ms(400) + ms(2_200) + ms(1_000), "{got:?}");
        }
        assert_eq!(fleet.fetches(), 3);
    }
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_lets_go_in_mid_body_is_followed_at_once() {
    let fleet = Fleet::of(2, tagged).await;
    let body = whole(0);
    let reply = drips(cacheable(200).header("etag", "\"v0\""), &body, 0, 5 * PIECE);
    let reply = reply.header("content-length", "10000").fail(ErrorKind::Truncated);
    fleet.instances[0].origin.push(reply);
    let leader = fleet.instances[0].get("/a");
    sleep(ms(1)).await;
    let rider = fleet.instances[1].get("/a");
    // The origin broke off, and that is a verdict for everybody.
    for got in [leader.await.unwrap(), rider.await.unwrap()] {
        assert!(!got.whole && whole(0).starts_with(&got.body));
        assert!(got.done < ms(1_200), "{got:?}");
    }
    let next = fleet.instances[1].get("/a").await.unwrap();
    assert_eq!(next.status, 502);
    assert_eq!(fleet.fetches(), 1);
}

/// From an origin that takes 2 s.
async fn herd_of(cache_control: &'static str, etag: bool, fetches: usize) {
    fn slow(asked: &Asked, _: usize) -> Reply {
        let (kind, tag) = asked.target[1..].split_once('/').expect("a kind");
        let kind = kind.replace('_', " ").replace('+', ", ").replace('.', "=");
        let reply = Reply::new(200).header("cache-control", &kind);
        let reply = if tag == "tag" { reply.header("etag", "\"e\"") } else { reply };
        reply.wait(ms(2_000)).bytes(format!("{} for {:?}", asked.target, asked.headers.get("x-n")))
    }
    let fleet = Fleet::of(3, slow).await;
    let kind = cache_control.replace(", ", "+").replace(' ', "_").replace('=', ".");
    let path = format!("/{kind}/{}", if etag { "tag" } else { "none" });
    let clients: Vec<_> = (0..30).map(|n| fleet.instances[n % 3].get(&path)).collect();
    for client in clients {
        let got = client.await.expect("it does not panic");
        assert_eq!(got.status, 200, "{cache_control}");
        assert!(got.done < ms(4_400), "{cache_control}: {got:?}");
    }
    assert!(fleet.fetches() <= fetches, "{cache_control}: {} fetches", fleet.fetches());
}

#[tokio::test(start_paused = true)]
async fn nobody_stands_in_a_line_for_what_is_not_for_sharing() {
    herd_of("no-store", false, 30).await;
    herd_of("private", false, 30).await;
    herd_of("no-cache", true, 4).await;
    herd_of("no-cache", false, 4).await;
    herd_of("max-age=0, must-revalidate", false, 4).await;
    herd_of("max-age=0, must-revalidate", true, 4).await;
    herd_of("max-age=1", false, 4).await;
    herd_of("max-age=1", true, 4).await;
}

#[tokio::test(start_paused = true)]
async fn variants_found_late_are_fetched_side_by_side_once_each() {
    fn varies(asked: &Asked, _: usize) -> Reply {
        let language = asked.headers.get("accept-language").map_or("none", |value| value.to_str().unwrap());
        let reply = cacheable(200).header("vary", "accept-language").wait(ms(500));
        reply.bytes(format!("in {language}"))
    }
    let fleet = Fleet::of(3, varies).await;
    let mut clients = Vec::new();
    for n in 0..45 {
        let language = ["de", "en", "fr", "it", "ja"][n % 5];
        clients.push((language, fleet.instances[n % 3].get_with("/v", &[("accept-language", language)])));
    }
    for (language, client) in clients {
        let got = client.await.unwrap();
        assert_eq!(got.body, format!("in {language}"));
        assert!(got.done < ms(1_600), "{got:?}");
    }
    assert_eq!(fleet.fetches(), 5);
}

async fn soften(instance: &Instance, path: &str) {
    let purged = instance.proxy.purge(&Purge::Url(format!("http://h.test{path}")), true).await;
    purged.expect("the store answers");
}

/// Its lease is younger than the purge, and its request is not.
#[tokio::test(start_paused = true)]
async fn a_soft_purge_between_request_and_head_makes_a_variant_stale_too() {
    fn varies(_: &Asked, _: usize) -> Reply {
        cacheable(200).header("vary", "accept-language").wait(ms(500)).bytes("hello")
    }
    for (path, answer) in [("/v", varies as fn(&Asked, usize) -> Reply), ("/a", untagged)] {
        let fleet = Fleet::of(1, answer).await;
        let one = &fleet.instances[0];
        let first = one.get(path);
        sleep(ms(50)).await;
        soften(one, path).await;
        assert_eq!(first.await.unwrap().status, 200);
        let then = one.get(path).await.unwrap();
        assert_eq!((then.status.as_u16(), fleet.fetches()), (200, 2), "{path}: {:?}", then.headers);
        let hit = one.get(path).await.unwrap();
        assert_eq!((hit.status.as_u16(), fleet.fetches()), (200, 2), "{path}: {:?}", hit.headers);
    }
}

/// Who completes it has asked nobody, so it is no newer for that.
#[tokio::test(start_paused = true)]
async fn a_soft_purge_holds_for_a_body_that_was_only_completed() {
    let fleet = Fleet::of(3, tagged).await;
    let frozen = half_way(&fleet, cacheable(200).header("etag", "\"v0\""), 10).await;
    let rider = fleet.instances[1].get("/a");
    sleep(ms(2_300)).await;
    fleet.instances[0].line.down();
    // Not heard of by the one that completes it.
    soften(&fleet.instances[2], "/a").await;
    is_right(&rider.await.unwrap(), 0);
    assert_eq!(fleet.fetches(), 1);
    is_right(&fleet.instances[2].get("/a").await.unwrap(), 0);
    assert_eq!(fleet.fetches(), 2, "it was asked again whether that is still so");
    frozen.abort();
}

/// Nobody's word on what it fetches is taken by who came after a soft purge.
#[tokio::test(start_paused = true)]
async fn who_comes_after_a_soft_purge_does_not_ride_what_was_under_way_elsewhere() {
    let fleet = Fleet::of(2, untagged).await;
    let leader = fleet.instances[0].get("/a");
    sleep(ms(400)).await;
    let rider = fleet.instances[1].get("/a");
    sleep(ms(400)).await;
    for instance in &fleet.instances {
        soften(instance, "/a").await;
    }
    let late: Vec<_> = fleet.instances.iter().map(|instance| instance.get("/a")).collect();
    is_right(&leader.await.unwrap(), 0);
    is_right(&rider.await.unwrap(), 0);
    for late in late {
        is_right(&late.await.unwrap(), 0);
    }
    assert_eq!(fleet.fetches(), 2);
}

/// Over its limit on the way, and then upstream breaks off: of a body whose length nobody told.
#[tokio::test(start_paused = true)]
async fn a_body_that_is_only_passed_on_and_broken_off_does_not_end_cleanly() {
    fn breaks(_: &Asked, _: usize) -> Reply {
        let body = whole(0);
        drips(cacheable(200), &body, 0, 5 * PIECE).fail(ErrorKind::Truncated)
    }
    let small = |route: &mut dustgate::route::Route| route.rules.max_object_size = 2 * PIECE as u64;
    let fleet = Fleet::with(1, breaks, Arc::new(InMemory::new()), small).await;
    let got = fleet.instances[0].get("/a").await.unwrap();
    assert!(
        !got.whole && got.body == whole(0)[..5 * PIECE],
        "{} bytes, whole: {}",
        got.body.len(),
        got.whole
    );
}

/// The store swallows its calls from the middle of a body on.
#[tokio::test(start_paused = true)]
async fn nobody_who_rides_hangs_on_a_store_that_fails() {
    let fleet = Fleet::of(2, tagged).await;
    let leader = fleet.instances[0].get("/a");
    sleep(ms(1)).await;
    let rider = fleet.instances[1].get("/a");
    sleep(ms(600)).await;
    for _ in 0..400 {
        for instance in &fleet.instances {
            instance.line.hang_next();
        }
    }
    for got in [leader, rider] {
        let got = tokio::time::timeout(ms(30_000), got).await.expect("it ends").unwrap();
        is_right(&got, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_purge_in_mid_body_breaks_nobody_off_and_who_comes_later_gets_the_new() {
    let fleet = Fleet::of(3, changed).await;
    let old = drips(cacheable(200), &whole(0), 0, 10 * PIECE);
    fleet.instances[0].origin.push(old);
    let leader = fleet.instances[0].get("/a");
    sleep(ms(1)).await;
    let riders: Vec<_> = (0..9).map(|n| fleet.instances[n % 3].get("/a")).collect();
    sleep(ms(900)).await;
    fleet.purge(0, "http://h.test/a").await;
    let later: Vec<_> = (0..9).map(|n| fleet.instances[n % 3].get("/a")).collect();
    is_right(&leader.await.unwrap(), 0);
    for rider in riders {
        is_right(&rider.await.unwrap(), 0);
    }
    for later in later {
        let got = later.await.unwrap();
        is_right(&got, 3);
        assert!(got.done < ms(3_000), "{got:?}");
    }
    assert_eq!(fleet.fetches(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_purge_that_nobody_follows_lets_the_old_body_end_for_who_has_begun_it() {
    let fleet = Fleet::of(2, tagged).await;
    let leader = fleet.instances[0].get("/a");
    sleep(ms(1)).await;
    let rider = fleet.instances[1].get("/a");
    sleep(ms(900)).await;
    fleet.purge(1, "http://h.test/a").await;
    is_right(&leader.await.unwrap(), 0);
    is_right(&rider.await.unwrap(), 0);
    assert_eq!(fleet.fetches(), 1);
    is_right(&fleet.instances[1].get("/a").await.unwrap(), 0);
    assert_eq!(fleet.fetches(), 2);
}
