//! A holder that has given its lease up because its answer does not last as long as its body comes: who rides
//! it elsewhere goes on by its words, and without it when it dies.

use dustgate::body;
use dustgate::testkit::scripted::Reply;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::instance::{Fleet, Got, LEASE};
use super::shelf::{Room, Shelf};
use super::{PIECE, changed, drips, is_right, ms, stalls, tagged, untagged, whole};

/// It lasts for as long as a lease, and its body comes for longer.
fn brief() -> Reply {
    Reply::new(200).header("cache-control", "max-age=2")
}

/// The first half of a body, which comes while it lasts, and then nothing.
fn freezes(fleet: &Fleet, reply: Reply) -> JoinHandle<Got> {
    fleet.instances[0].origin.push(stalls(reply, 5));
    fleet.instances[0].get("/a")
}

#[tokio::test(start_paused = true)]
async fn riders_go_on_where_a_holder_dies_that_has_given_its_lease_up() {
    for (answer, tag) in [(tagged as fn(&_, usize) -> Reply, true), (untagged, false)] {
        let fleet = Fleet::of(3, answer).await;
        let _frozen = freezes(&fleet, if tag { brief().header("etag", "\"v0\"") } else { brief() });
        sleep(ms(200)).await;
        let riders: Vec<_> = (0..6).map(|n| fleet.instances[1 + n % 2].get("/a")).collect();
        sleep(ms(3_000)).await;
        fleet.instances[0].line.down();
        for rider in riders {
            let got = rider.await.expect("it does not panic");
            is_right(&got, 0);
            assert!(got.done < ms(3_000) + LEASE + ms(2_200) + ms(1_500), "{:?}", got.done);
        }
        assert_eq!(fleet.fetches(), 2);
        let asked = fleet.instances[1..].iter().flat_map(|instance| instance.origin.asked());
        let rest = asked.filter(|asked| asked.headers.contains_key("range")).count();
        assert_eq!(rest, usize::from(tag), "the rest alone is asked for where a tag allows it");
    }
}

/// What is fetched then is another version, and nobody gets a mixture.
#[tokio::test(start_paused = true)]
async fn riders_of_a_version_that_is_no_more_are_broken_off_when_its_holder_dies() {
    let fleet = Fleet::of(2, changed).await;
    let _frozen = freezes(&fleet, brief());
    sleep(ms(200)).await;
    let rider = fleet.instances[1].get("/a");
    sleep(ms(3_000)).await;
    fleet.instances[0].line.down();
    let got = rider.await.expect("it does not panic");
    assert!(!got.whole && got.body == whole(0)[..5 * PIECE], "{} bytes", got.body.len());
    assert!(got.done < ms(3_000) + LEASE + ms(2_200) + ms(1_500), "{:?}", got.done);
}

/// The next exchange is under way by then: it is ridden, and no third one begun.
#[tokio::test(start_paused = true)]
async fn riders_go_on_with_the_next_exchange_where_a_holder_dies_that_has_given_its_lease_up() {
    let fleet = Fleet::of(3, tagged).await;
    let _frozen = freezes(&fleet, brief().header("etag", "\"v0\""));
    sleep(ms(200)).await;
    let rider = fleet.instances[1].get("/a");
    sleep(ms(3_000)).await;
    fleet.instances[0].line.down();
    sleep(ms(1_500)).await;
    let next = fleet.instances[2].get("/a");
    is_right(&rider.await.expect("it does not panic"), 0);
    is_right(&next.await.expect("it does not panic"), 0);
    assert_eq!(fleet.fetches(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_lives_is_not_taken_for_dead_in_a_pause_of_its_origin() {
    let fleet = Fleet::of(2, tagged).await;
    let body = whole(0);
    let reply = drips(brief().header("etag", "\"v0\""), &body, 0, 5 * PIECE);
    fleet.instances[0].origin.push(reply.wait(LEASE * 4).bytes(body.slice(5 * PIECE..)));
    let first = fleet.instances[0].get("/a");
    sleep(ms(200)).await;
    let rider = fleet.instances[1].get("/a");
    is_right(&first.await.expect("it does not panic"), 0);
    is_right(&rider.await.expect("it does not panic"), 0);
    assert_eq!(fleet.fetches(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_lives_is_not_taken_for_dead_while_the_last_of_its_body_is_stored() {
    let shelf = Shelf::new();
    let settings = body::Settings::default();
    let fleet = Fleet::with_bodies(2, tagged, shelf.clone(), |_| (), settings).await;
    let body = whole(0);
    let reply = drips(brief().header("etag", "\"v0\""), &body, 0, 9 * PIECE);
    fleet.instances[0].origin.push(reply.wait(ms(1_000)).bytes(body.slice(9 * PIECE..)));
    let first = fleet.instances[0].get("/a");
    sleep(ms(200)).await;
    let rider = fleet.instances[1].get("/a");
    sleep(ms(2_500)).await;
    shelf.has(Room::Later(LEASE * 4));
    is_right(&first.await.expect("it does not panic"), 0);
    is_right(&rider.await.expect("it does not panic"), 0);
    assert_eq!(fleet.fetches(), 1);
}
