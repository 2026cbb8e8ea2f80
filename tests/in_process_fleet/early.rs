//! Answers that may not be reused when their body ends: nobody waits for that end.

use std::sync::Arc;

use dustgate::body;
use dustgate::dust::embedded::Limits;
use dustgate::testkit::scripted::{Asked, Reply};
use dustgate::upstream::ErrorKind;
use object_store::memory::InMemory;
use tokio::time::sleep;

use super::instance::{Fleet, Got};
use super::ms;

/// What the origin has after the first time: all at once.
fn newer(_: &Asked, _: usize) -> Reply {
    Reply::new(200).header("cache-control", "no-cache").header("etag", "\"newer\"").head().bytes("newer")
}

/// Ten bytes in `seconds`.
fn dripping(cache: &str, tag: &str, seconds: u64) -> Reply {
    let mut reply = Reply::new(200).header("cache-control", cache).header("etag", tag).head();
    for _ in 0..10 {
        reply = reply.bytes("x").wait(ms(seconds * 100));
    }
    reply
}

/// A fleet whose store's clock goes with the time.
async fn fleet(count: usize) -> Fleet {
    let (objects, settings) = (Arc::new(InMemory::new()), body::Settings::default());
    let (fleet, clock) = Fleet::in_room(count, newer, objects, |_| (), settings, Limits::default()).await;
    tokio::spawn(async move {
        loop {
            sleep(ms(50)).await;
            clock.advance(ms(50));
        }
    });
    fleet
}

fn is_whole(got: &Got, body: &str) -> bool {
    got.status == 200 && got.whole && got.body == body
}

/// The first answer drips for 45 s; who comes after 2 s, on whatever instance, has the next exchange.
async fn nobody_waits_for_its_end(instances: usize, cache: &str) {
    let fleet = fleet(instances).await;
    fleet.instances[0].origin.push(dripping(cache, "\"older\"", 45));
    let first = fleet.instances[0].get("/a");
    sleep(ms(2_000)).await;
    let late: Vec<_> = (0..3 * instances).map(|n| fleet.instances[n % instances].get("/a")).collect();
    for late in late {
        let got = late.await.expect("it does not panic");
        assert!(is_whole(&got, "newer"), "{cache}: {got:?}");
        assert!(got.done < ms(1_500), "{cache}: it waited {:?}", got.done);
    }
    assert!(fleet.fetches() <= 1 + instances, "{cache}: {} fetches", fleet.fetches());
    let first = first.await.expect("it does not panic");
    assert!(is_whole(&first, "xxxxxxxxxx"), "{first:?}");
    // It was offered after the newer one, and dropped.
    sleep(ms(1_000)).await;
    for instance in &fleet.instances {
        instance.get("/a").await.expect("it does not panic");
        let asked = instance.origin.asked();
        let tag = asked.last().and_then(|asked| asked.headers.get("if-none-match").cloned());
        assert_eq!(tag.as_ref().map(http::HeaderValue::as_bytes), Some(&b"\"newer\""[..]), "{cache}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_body_that_is_not_to_be_cached_is_not_waited_for() {
    for instances in [1, 3] {
        nobody_waits_for_its_end(instances, "no-cache").await;
        nobody_waits_for_its_end(instances, "max-age=0, must-revalidate").await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_body_that_outlives_its_lifetime_is_not_waited_for() {
    for instances in [1, 3] {
        nobody_waits_for_its_end(instances, "max-age=1").await;
    }
}

#[tokio::test(start_paused = true)]
async fn who_rides_elsewhere_has_all_of_a_body_that_outlives_its_lifetime() {
    let fleet = fleet(3).await;
    fleet.instances[0].origin.push(dripping("max-age=1", "\"older\"", 100));
    let first = fleet.instances[0].get("/a");
    sleep(ms(500)).await;
    let riders: Vec<_> = fleet.instances.iter().map(|instance| instance.get("/a")).collect();
    for got in [first].into_iter().chain(riders) {
        let got = got.await.expect("it does not panic");
        assert!(is_whole(&got, "xxxxxxxxxx"), "{got:?}");
    }
    assert_eq!(fleet.fetches(), 1);
}

#[tokio::test(start_paused = true)]
async fn who_rides_elsewhere_is_broken_off_with_a_body_that_outlives_its_lifetime() {
    let fleet = fleet(2).await;
    fleet.instances[0].origin.push(dripping("max-age=1", "\"older\"", 30).fail(ErrorKind::Truncated));
    let first = fleet.instances[0].get("/a");
    sleep(ms(500)).await;
    let rider = fleet.instances[1].get("/a");
    for got in [first, rider] {
        let got = got.await.expect("it does not panic");
        assert!(!got.whole && got.done < ms(35_000), "{got:?}");
    }
}

/// Each is begun while the one before still comes.
#[tokio::test(start_paused = true)]
async fn of_bodies_that_overlap_the_one_that_was_asked_for_last_stays() {
    for instances in [1, 2] {
        let fleet = fleet(instances).await;
        let last = instances - 1;
        fleet.instances[0].origin.push(dripping("no-cache", "\"older\"", 10));
        let one = fleet.instances[0].get("/a");
        sleep(ms(2_000)).await;
        fleet.instances[last].origin.push(dripping("no-cache", "\"newest\"", 12));
        let two = fleet.instances[last].get("/a");
        for got in [one, two] {
            let got = got.await.expect("it does not panic");
            assert!(is_whole(&got, "xxxxxxxxxx"), "{got:?}");
        }
        // Its last byte was there before its end.
        sleep(ms(3_000)).await;
        fleet.instances[0].get("/a").await.expect("it does not panic");
        let asked = fleet.instances[0].origin.asked();
        let tag = asked.last().and_then(|asked| asked.headers.get("if-none-match").cloned());
        assert_eq!(tag.as_ref().map(http::HeaderValue::as_bytes), Some(&b"\"newest\""[..]), "{instances}");
    }
}

/// What was asked for before a purge is not there after it (F8).
#[tokio::test(start_paused = true)]
async fn a_purge_beats_what_is_offered_at_its_end() {
    let fleet = fleet(2).await;
    fleet.instances[0].origin.push(dripping("no-cache", "\"older\"", 10));
    let first = fleet.instances[0].get("/a");
    sleep(ms(2_000)).await;
    fleet.purge(1, "http://h.test/a").await;
    assert!(is_whole(&first.await.expect("it does not panic"), "xxxxxxxxxx"));
    sleep(ms(1_000)).await;
    for instance in &fleet.instances {
        let got = instance.get("/a").await.expect("it does not panic");
        assert!(is_whole(&got, "newer"), "{got:?}");
    }
    let asked = fleet.instances.iter().flat_map(|instance| instance.origin.asked());
    let tags: Vec<_> = asked.filter_map(|asked| asked.headers.get("if-none-match").cloned()).collect();
    assert!(tags.iter().all(|tag| tag != "\"older\""), "{tags:?}");
}
