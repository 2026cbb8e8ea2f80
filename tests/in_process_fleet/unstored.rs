//! A body store that takes no more on the way, an origin that breaks off: who reads is told so, here and
//! elsewhere, and who asks again then does not meet what has failed.

use std::sync::Arc;
use std::time::Duration;

use dustgate::body;
use dustgate::policy::RangeMode;
use dustgate::route::Route;
use dustgate::testkit::faulty::{Fault, Op};
use dustgate::testkit::scripted::{Asked, Reply};
use dustgate::upstream::{ErrorKind, Framing};
use tokio::time::sleep;

use super::instance::Fleet;
use super::shelf::{Room, Shelf};
use super::{cacheable, drips, is_right, ms, tagged, whole};

const PAUSE: Duration = Duration::from_millis(300);

async fn fleet(
    count: usize,
    answer: fn(&Asked, usize) -> Reply,
    make: fn(&mut Route),
) -> (Fleet, Arc<Shelf>) {
    let shelf = Shelf::new();
    let fleet = Fleet::with_bodies(count, answer, shelf.clone(), make, body::Settings::default()).await;
    (fleet, shelf)
}

#[tokio::test(start_paused = true)]
async fn riders_elsewhere_hear_at_once_that_a_body_is_stored_no_more() {
    // With its lease, and when that has been given up.
    for cache in ["max-age=600", "max-age=2"] {
        let (fleet, shelf) = fleet(2, tagged, |_| ()).await;
        let mut reply = Reply::new(200).header("cache-control", cache).header("etag", "\"v\"").head();
        for _ in 0..30 {
            reply = reply.bytes("x").wait(ms(2_000));
        }
        fleet.instances[0].origin.push(reply);
        let first = fleet.instances[0].get("/a");
        sleep(ms(500)).await;
        let rider = fleet.instances[1].get("/a");
        sleep(ms(9_500)).await;
        shelf.has(Room::None);
        let rider = rider.await.expect("it does not panic");
        assert!(!rider.whole && rider.done < ms(15_000), "{cache}: {:?}", rider.done);
        assert!(first.await.expect("it does not panic").whole, "{cache}: who reads it here has all of it");
    }
}

/// Ranges of what comes in pieces.
fn ranged(asked: &Asked, _: usize) -> Reply {
    let body = whole(0);
    let range = asked.headers.get("range").and_then(|range| range.to_str().ok());
    let span = range.and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
    let (first, last) = span.map_or((0, body.len() - 1), |(first, last)| {
        (first.parse().expect("a number"), last.parse().expect("a number"))
    });
    let mut reply = cacheable(if span.is_some() { 206 } else { 200 }).header("etag", "\"v0\"");
    if span.is_some() {
        reply = reply.header("content-range", &format!("bytes {first}-{last}/{}", body.len()));
    }
    let len = last + 1 - first;
    reply = reply.header("content-length", &len.to_string()).framing(Framing::Length(len as u64)).head();
    for at in (first..=last).step_by(500) {
        reply = reply.bytes(body.slice(at..(at + 500).min(last + 1))).wait(PAUSE);
    }
    reply
}

#[tokio::test(start_paused = true)]
async fn a_front_that_is_stored_no_more_is_put_before_what_is_stored() {
    // While it comes, and when all of it has come and the last of it is put.
    for at in [500, 1_500, 2_800, 3_050] {
        let (fleet, shelf) = fleet(1, ranged, |route| route.rules.range = RangeMode::Segment).await;
        let instance = &fleet.instances[0];
        let part = instance.get_with("/a", &[("range", "bytes=5000-9999")]).await;
        assert!(part.expect("it does not panic").whole);
        sleep(ms(1_000)).await;
        let all = instance.get("/a");
        sleep(ms(at)).await;
        shelf.has(Room::None);
        is_right(&all.await.expect("it does not panic"), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn who_asks_again_at_once_after_a_break_is_not_answered_by_what_broke() {
    // Before its first byte, and after some.
    for pieces in [0, 3] {
        let (fleet, _) = fleet(1, tagged, |_| ()).await;
        let instance = &fleet.instances[0];
        let reply = drips(cacheable(200).header("etag", "\"v0\""), &whole(0), 0, pieces * super::PIECE);
        instance.origin.push(reply.wait(ms(500)).fail(ErrorKind::Truncated));
        let broken = instance.get("/a");
        sleep(ms(100 + 200 * pieces as u64 + 300)).await;
        // The store takes its time for the word that is left of it.
        instance.line.next(Some(Op::Publish), Fault::Delay(ms(50)));
        assert!(!broken.await.expect("it does not panic").whole);
        is_right(&instance.get("/a").await.expect("it does not panic"), 0);
        assert_eq!(fleet.fetches(), 2);
    }
}
