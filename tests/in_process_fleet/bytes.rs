//! Bytes that are gone are a miss: nobody is broken off who has not had some of them, and one fetch is
//! for all.

use std::sync::Arc;

use dustgate::dust::{Dust as _, Put};
use dustgate::record::codec::Limits;
use dustgate::record::{Note, Pointer, codec};
use dustgate::testkit::scripted::{Asked, Reply};
use futures_util::StreamExt as _;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::instance::{Fleet, Got, LEASE};
use super::{PIECE, cacheable, drips, half_way, is_right, ms, tagged, untagged, whole};

/// Longer than memory holds of one body, and than one segment.
const LARGE: usize = 3 << 20;

fn large() -> bytes::Bytes {
    (0..LARGE).map(|at| u8::try_from(at % 241).unwrap_or(0)).collect::<Vec<_>>().into()
}

/// At once; a version that was not changed says so.
fn at_once(asked: &Asked, _: usize) -> Reply {
    if asked.headers.contains_key("if-none-match") {
        return Reply::new(304).header("etag", "\"l\"").header("cache-control", "max-age=60").wait(ms(50));
    }
    let reply = cacheable(200).header("etag", "\"l\"").header("content-length", &LARGE.to_string());
    reply.wait(ms(50)).head().bytes(large())
}

fn is_large(got: &Got) {
    assert!(got.whole && got.status == 200, "{} bytes, {}", got.body.len(), got.status);
    assert!(got.body == large(), "{} bytes", got.body.len());
}

/// Removes the segments whose place is one of these.
async fn lose(objects: &Arc<InMemory>, places: impl Fn(u32) -> bool) {
    let mut listing = objects.list(None);
    while let Some(object) = listing.next().await {
        let at: Path = object.expect("it is in memory").location;
        if at.filename().and_then(|n| n.parse().ok()).is_some_and(&places) {
            objects.delete(&at).await.expect("it is in memory");
        }
    }
}

fn ask(fleet: &Fleet, count: usize) -> Vec<JoinHandle<Got>> {
    (0..count).map(|n| fleet.instances[1 + n % (fleet.instances.len() - 1)].get("/a")).collect()
}

async fn over(count: usize, answer: fn(&Asked, usize) -> Reply) -> (Fleet, Arc<InMemory>) {
    let objects = Arc::new(InMemory::new());
    (Fleet::with(count, answer, objects.clone(), |_| ()).await, objects)
}

/// The names that the one key of a test has.
async fn entries(fleet: &Fleet) -> Vec<(String, String)> {
    // The end of what was just fetched comes after its last byte.
    sleep(ms(500)).await;
    let all = fleet.instances[0].line.entries("dustgate/1/").await.expect("the store is there");
    all.into_iter().filter_map(|(key, entry)| Some((key, entry.text()?.to_string()))).collect()
}

#[tokio::test(start_paused = true)]
async fn a_dead_leaders_lost_segments_are_a_miss_for_all_who_come_then() {
    for (answer, lost) in [
        (tagged as fn(&Asked, usize) -> Reply, 0..1),
        (tagged, 0..9),
        // The first is there, and what is behind it is not: nobody is told of that.
        (tagged, 2..3),
        (untagged, 0..9),
    ] {
        let (fleet, objects) = over(3, answer).await;
        let tag = if lost.end == 9 { cacheable(200) } else { cacheable(200).header("etag", "\"v0\"") };
        let _frozen = half_way(&fleet, tag, 5).await;
        sleep(ms(1_300)).await;
        fleet.instances[0].line.down();
        lose(&objects, |n| lost.contains(&n)).await;
        // Those who come now have had nothing, and are not broken off, whenever they come.
        let mut clients = Vec::new();
        for _ in 0..8 {
            clients.extend(ask(&fleet, 6));
            sleep(ms(500)).await;
        }
        for (n, client) in clients.into_iter().enumerate() {
            let got = client.await.expect("it does not panic");
            if lost.start == 2 && n < 6 {
                // They came while the first bytes were there.
                assert!(whole(0).starts_with(&got.body));
                continue;
            }
            is_right(&got, 0);
            assert!(got.done < LEASE + ms(4_000), "{lost:?}: {got:?}");
        }
        assert_eq!(fleet.fetches(), 2, "{lost:?}: one for all");
    }
}

#[tokio::test(start_paused = true)]
async fn a_takeover_whose_riders_are_broken_off_leaves_nothing_for_those_who_come_later() {
    let (fleet, objects) = over(3, tagged).await;
    let _frozen = half_way(&fleet, cacheable(200).header("etag", "\"v0\""), 5).await;
    let riders = ask(&fleet, 6);
    sleep(ms(1_300)).await;
    lose(&objects, |_| true).await;
    fleet.instances[0].line.down();
    sleep(LEASE).await;
    let late = ask(&fleet, 20);
    for rider in riders {
        let got = rider.await.expect("it does not panic");
        assert!(whole(0).starts_with(&got.body), "no mixture");
    }
    for late in late {
        is_right(&late.await.expect("it does not panic"), 0);
    }
    assert_eq!(fleet.fetches(), 2);
}

#[tokio::test(start_paused = true)]
async fn all_the_bytes_were_there_and_are_gone_before_anybody_says_so() {
    let (fleet, objects) = over(2, tagged).await;
    let _frozen = half_way(&fleet, cacheable(200).header("etag", "\"v0\""), 10).await;
    sleep(ms(2_300)).await;
    fleet.instances[0].line.down();
    lose(&objects, |_| true).await;
    sleep(LEASE).await;
    for client in ask(&fleet, 20) {
        is_right(&client.await.expect("it does not panic"), 0);
    }
    assert_eq!(fleet.fetches(), 2);
    // And it is stored again.
    is_right(&fleet.instances[1].get("/a").await.unwrap(), 0);
    assert_eq!(fleet.fetches(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_complete_record_whose_bytes_vanished_is_fetched_once_for_all() {
    for lost in [0..9, 0..1] {
        let (fleet, objects) = over(3, at_once).await;
        is_large(&fleet.instances[0].get("/a").await.unwrap());
        // In memory elsewhere, without its bytes.
        fleet.instances[1].get_with("/a", &[("range", "bytes=0-0")]).await.unwrap();
        sleep(ms(10_000)).await;
        lose(&objects, |n| lost.contains(&n)).await;
        let fresh = &fleet.instances[0];
        let first: Vec<_> = (0..6).map(|_| fresh.get("/a")).chain(ask(&fleet, 12)).collect();
        for client in first {
            let got = client.await.expect("it does not panic");
            // One instance has the first of them in memory, and finds out on the way.
            if !got.whole {
                assert!(large().starts_with(&got.body) && !got.body.is_empty(), "{} bytes", got.body.len());
                continue;
            }
            is_large(&got);
        }
        for client in ask(&fleet, 12) {
            is_large(&client.await.expect("it does not panic"));
        }
        assert_eq!(fleet.fetches(), 2, "{lost:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn bytes_that_vanish_in_the_middle_break_off_nobody_twice() {
    let (fleet, objects) = over(2, at_once).await;
    is_large(&fleet.instances[0].get("/a").await.unwrap());
    lose(&objects, |n| n == 2).await;
    let got = fleet.instances[1].get("/a").await.unwrap();
    assert!(!got.whole && got.body == large()[..2 << 20], "{} bytes", got.body.len());
    for client in ask(&fleet, 20) {
        is_large(&client.await.expect("it does not panic"));
    }
    assert_eq!(fleet.fetches(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_record_whose_bytes_are_gone_is_not_refreshed_for_ever() {
    let (fleet, objects) = over(2, at_once).await;
    is_large(&fleet.instances[0].get("/a").await.unwrap());
    lose(&objects, |_| true).await;
    for _ in 0..3 {
        let got = fleet.instances[1].get_with("/a", &[("cache-control", "no-cache")]).await.unwrap();
        is_large(&got);
    }
    let asked = fleet.instances[1].origin.asked();
    let plain = asked.iter().filter(|asked| !asked.headers.contains_key("if-none-match")).count();
    assert_eq!(plain, 1, "once it is whole, it is validated again");
    is_large(&fleet.instances[0].get("/a").await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn who_finds_bytes_gone_removes_value_and_note_though_nothing_comes_of_the_fetch() {
    fn fails_then(_: &Asked, n: usize) -> Reply {
        if n == 0 { Reply::new(503).wait(ms(50)) } else { tagged_drips() }
    }
    fn tagged_drips() -> Reply {
        drips(cacheable(200), &whole(0), 0, 10 * PIECE)
    }
    let (fleet, objects) = over(2, fails_then).await;
    fleet.instances[0].origin.push(tagged_drips());
    is_right(&fleet.instances[0].get("/a").await.unwrap(), 0);
    let named = entries(&fleet).await;
    assert!(
        named.iter().any(|(_, text)| matches!(codec::decode(text, &Limits::NONE), Ok(Pointer::Record(_))))
    );
    assert!(
        named
            .iter()
            .any(|(_, text)| matches!(codec::decode_note(text, &Limits::NONE), Ok(Note::Growing { .. })))
    );
    lose(&objects, |_| true).await;
    assert_eq!(fleet.instances[1].get("/a").await.unwrap().status, 503);
    for (key, text) in entries(&fleet).await {
        assert!(codec::decode(&text, &Limits::NONE).is_err(), "{key}: {text}");
        assert!(
            !matches!(codec::decode_note(&text, &Limits::NONE), Ok(Note::Growing { .. })),
            "{key}: {text}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_reborn_in_mid_fill_leaves_its_clients_whole_and_publishes_nothing() {
    let (fleet, _) = over(2, tagged).await;
    let leader = fleet.instances[0].get("/a");
    let beside = fleet.instances[0].get("/a");
    sleep(ms(900)).await;
    for instance in &fleet.instances {
        instance.bodies.rebind("reborn").await.expect("they are in memory");
    }
    is_right(&leader.await.unwrap(), 0);
    is_right(&beside.await.unwrap(), 0);
    for (key, text) in entries(&fleet).await {
        // Beside the key it is told to those who ride it elsewhere.
        let published = !key.contains('!');
        assert!(!published || codec::decode(&text, &Limits::NONE).is_err(), "{key}: {text}");
    }
    for client in ask(&fleet, 6) {
        is_right(&client.await.expect("it does not panic"), 0);
    }
    assert_eq!(fleet.fetches(), 2);
}

/// Its holder has not noticed yet that the store is another one.
#[tokio::test(start_paused = true)]
async fn a_note_of_another_life_is_a_miss_and_nobody_is_broken_off() {
    let (fleet, _) = over(3, tagged).await;
    for instance in &fleet.instances[1..] {
        instance.bodies.rebind("reborn").await.expect("they are in memory");
    }
    let leader = fleet.instances[0].get("/a");
    sleep(ms(900)).await;
    for client in ask(&fleet, 12) {
        let got = client.await.expect("it does not panic");
        is_right(&got, 0);
        assert!(got.done < LEASE + ms(4_000), "{got:?}");
    }
    is_right(&leader.await.unwrap(), 0);
    for client in ask(&fleet, 12) {
        is_right(&client.await.expect("it does not panic"), 0);
    }
    assert!(fleet.fetches() <= 3, "{}", fleet.fetches());
}

#[tokio::test(start_paused = true)]
async fn a_record_of_another_life_is_a_miss() {
    let (fleet, _) = over(2, tagged).await;
    is_right(&fleet.instances[0].get("/a").await.unwrap(), 0);
    let (key, text) = entries(&fleet)
        .await
        .into_iter()
        .find(|(_, text)| codec::decode(text, &Limits::NONE).is_ok())
        .unwrap();
    let Ok(Pointer::Record(mut record)) = codec::decode(&text, &Limits::NONE) else {
        panic!("it is a record")
    };
    assert_eq!(record.body.life, Some(fleet.instances[0].bodies.life()));
    record.body.life = Some("another".into());
    let text = codec::encode(&Pointer::Record(record)).unwrap();
    fleet.instances[0].line.put(&key, &text, Put::default()).await.unwrap();
    for client in ask(&fleet, 20) {
        is_right(&client.await.expect("it does not panic"), 0);
    }
    assert_eq!(fleet.fetches(), 2);
}
