//! A holder without its lease, of what a purge covers: it goes on for those who came before the purge. If it
//! is dead, nobody waits for it who has had nothing.

use std::sync::Arc;

use dustgate::testkit::scripted::{Asked, Reply};
use dustgate::upstream::Framing;
use object_store::memory::InMemory;
use tokio::time::sleep;

use super::instance::{Fleet, Got, LEASE};
use super::{PIECE, cacheable, changed, half_way, is_right, ms, stalls, whole};

const URL: &str = "http://h.test/a";

/// The new version at once, its length told.
fn anew(_: &Asked, _: usize) -> Reply {
    let reply = cacheable(200).header("content-length", &(10 * PIECE).to_string());
    reply.framing(Framing::Length(10 * PIECE as u64)).wait(ms(100)).head().bytes(whole(3))
}

/// The head, and nothing for long.
fn late_bytes() -> Reply {
    cacheable(200).wait(ms(100)).head().wait(ms(3_500)).bytes(whole(0))
}

/// What the first instance began is purged, and another one, which has heard of that, fetches it anew.
async fn purged_and_led_anew(fleet: &Fleet) -> Got {
    let _answered_later = fleet.begin_purge(2, URL);
    sleep(ms(1)).await;
    fleet.instances[2].get("/a").await.expect("it does not panic")
}

#[tokio::test(start_paused = true)]
async fn who_has_had_no_byte_of_what_a_purge_orphaned_rides_the_next() {
    let fleet = Fleet::of(3, anew).await;
    let _frozen = half_way(&fleet, cacheable(200), 0).await;
    let riders: Vec<_> = (0..6).map(|_| fleet.instances[1].get("/a")).collect();
    sleep(ms(500)).await;
    fleet.instances[0].line.down();
    is_right(&purged_and_led_anew(&fleet).await, 3);
    for rider in riders {
        let got = rider.await.expect("it does not panic");
        is_right(&got, 3);
        assert!(got.done < LEASE + ms(1_000), "{:?}", got.done);
    }
    assert_eq!(fleet.fetches(), 2);
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_later_part_of_what_a_purge_orphaned_rides_the_next() {
    let fleet = Fleet::of(3, anew).await;
    let _frozen = half_way(&fleet, cacheable(200), 3).await;
    sleep(ms(900)).await;
    let rider = fleet.instances[1].get_with("/a", &[("range", "bytes=5000-5999")]);
    let reader = fleet.instances[1].get("/a");
    sleep(ms(100)).await;
    fleet.instances[0].line.down();
    is_right(&purged_and_led_anew(&fleet).await, 3);
    let got = rider.await.expect("it does not panic");
    assert!(got.whole && got.status == 206 && got.body == whole(3)[5000..6000], "{got:?}");
    assert!(got.done < LEASE + ms(1_000), "{:?}", got.done);
    let got = reader.await.expect("it does not panic");
    assert!(!got.whole && got.body == whole(0)[..3 * PIECE], "there is nothing else for it: {got:?}");
}

#[tokio::test(start_paused = true)]
async fn who_came_before_a_purge_waits_for_the_first_byte_of_a_holder_that_lives() {
    let fleet = Fleet::of(3, changed).await;
    fleet.instances[0].origin.push(late_bytes());
    let leader = fleet.instances[0].get("/a");
    sleep(ms(1)).await;
    let riders: Vec<_> = (0..6).map(|_| fleet.instances[1].get("/a")).collect();
    sleep(ms(300)).await;
    is_right(&purged_and_led_anew(&fleet).await, 3);
    is_right(&leader.await.expect("it does not panic"), 0);
    for rider in riders {
        is_right(&rider.await.expect("it does not panic"), 0);
    }
    assert_eq!(fleet.fetches(), 2);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_followed_for_nobody_when_its_lease_is_anothers() {
    let fleet = Fleet::of(3, anew).await;
    let _frozen = half_way(&fleet, cacheable(200), 3).await;
    let reader = fleet.instances[1].get("/a");
    sleep(ms(900)).await;
    fleet.instances[0].line.down();
    is_right(&purged_and_led_anew(&fleet).await, 3);
    sleep(ms(100)).await;
    assert_eq!(fleet.instances[1].line.subscriptions(), 2, "to follow the store, and for the client");
    reader.abort();
    sleep(ms(100)).await;
    assert_eq!(fleet.instances[1].line.subscriptions(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_first_byte_that_does_not_come_in_time_is_waited_for_like_a_head() {
    let objects = Arc::new(InMemory::new());
    let fleet = Fleet::with(2, anew, objects, |route| route.wait_timeout = ms(1_000)).await;
    fleet.instances[0].origin.push(stalls(cacheable(200), 0));
    let leader = fleet.instances[0].get("/a");
    sleep(ms(1)).await;
    let got = fleet.instances[1].get("/a").await.expect("it does not panic");
    assert_eq!(got.status, 503, "no head with nothing behind it: {got:?}");
    assert!(got.done < ms(1_100), "{:?}", got.done);
    assert_eq!(fleet.fetches(), 1);
    leader.abort();
}
