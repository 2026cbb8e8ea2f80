//! What is still written stays when bytes are swept, whatever right it is written under.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use dustgate::body;
use dustgate::clock::ManualClock;
use dustgate::drain;
use dustgate::dust::Dust as _;
use dustgate::dust::embedded::Limits;
use dustgate::testkit::faulty::{Fault, Op};
use dustgate::testkit::scripted::{Asked, Reply};
use dustgate::upstream::Framing;
use object_store::memory::InMemory;
use tokio::sync::Semaphore;
use tokio::time::sleep;

use super::instance::{Fleet, LEASE};
use super::ms;

/// A piece each minute, for forty minutes: four times as long as unnamed bytes linger.
const PIECES: usize = 40;
const PIECE: usize = 100_000;
const MINUTE: Duration = Duration::from_mins(1);

/// The store's clock goes as the test's does.
async fn fleet() -> Fleet {
    let (objects, settings) = (Arc::new(InMemory::new()), body::Settings::default());
    // Objects in memory are as old as the machine's clock says: all are old to this one.
    let clock = Arc::new(ManualClock::at(1_807_280_000_000));
    let fleet = Fleet::at(&clock, 2, unchanged, objects, |_| (), settings, Limits::default()).await;
    tokio::spawn(async move {
        loop {
            sleep(ms(50)).await;
            clock.advance(ms(50));
        }
    });
    fleet
}

fn unchanged(asked: &Asked, _: usize) -> Reply {
    let reply =
        if asked.headers.contains_key("if-none-match") { Reply::new(304) } else { Reply::ok("other") };
    reply.header("etag", "\"a\"").header("cache-control", "no-cache")
}

fn drips(cache: &str, from: usize) -> Reply {
    let len = ((PIECES - from) * PIECE).to_string();
    let status = if from == 0 { 200 } else { 206 };
    let mut reply = Reply::new(status).header("cache-control", cache).header("etag", "\"a\"");
    if from > 0 {
        let all = PIECES * PIECE;
        reply = reply.header("content-range", &format!("bytes {}-{}/{all}", from * PIECE, all - 1));
    }
    reply = reply.header("content-length", &len).framing(Framing::Length(len.parse().expect("a number")));
    reply.head()
}

fn pieces(reply: Reply, many: usize) -> Reply {
    (0..many).fold(reply, |reply, _| reply.bytes(vec![b'x'; PIECE]).wait(MINUTE))
}

/// Swept by the other instance, from beginning to end.
async fn is_left_alone(fleet: &Fleet, fill: impl Future<Output = ()>, what: &str) {
    let drain = drain::channel().0;
    let janitor = tokio::spawn(fleet.instances[1].proxy.clone().keep_tidy(drain.guard()));
    fill.await;
    // The origin ends its answer a while after the last of it.
    sleep(MINUTE + ms(5_000)).await;
    assert_eq!(fleet.instances[1].bodies.counters().swept.load(Ordering::Relaxed), 0, "{what}");
    let again = fleet.instances[1].get("/a").await.expect("it does not panic");
    assert!(again.whole && again.body.len() == PIECES * PIECE, "{what}: {} bytes", again.body.len());
    janitor.abort();
}

#[tokio::test(start_paused = true)]
async fn a_sweep_leaves_what_is_still_written_elsewhere() {
    for cache in ["max-age=86400", "max-age=2", "no-cache"] {
        let fleet = fleet().await;
        let one = &fleet.instances[0];
        one.origin.push(pieces(drips(cache, 0), PIECES));
        let fill = async { assert!(one.get("/a").await.expect("it does not panic").whole, "{cache}") };
        is_left_alone(&fleet, fill, cache).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_sweep_leaves_what_is_written_without_a_lease() {
    let fleet = fleet().await;
    let one = &fleet.instances[0];
    one.origin.push(pieces(drips("max-age=86400", 0), PIECES));
    let fill = async {
        // It hears all changes meanwhile: only then is what it fetched without a lease stored.
        one.line.next(Some(Op::Enter), Fault::Unavailable);
        let got = one.get("/a");
        sleep(ms(5_000)).await;
        let leases = one.line.entries("_dust:sf/dustgate/1/").await.expect("the store is there");
        assert!(leases.is_empty(), "{leases:?}");
        assert!(got.await.expect("it does not panic").whole);
    };
    is_left_alone(&fleet, fill, "alone").await;
}

#[tokio::test(start_paused = true)]
async fn a_sweep_leaves_what_a_body_goes_on_with() {
    let fleet = fleet().await;
    let (one, two) = (&fleet.instances[0], &fleet.instances[1]);
    // Its holder dies in the middle, and the other goes on with what there is.
    one.origin.push(pieces(drips("max-age=600", 0), 5).gate(&Arc::new(Semaphore::new(0))));
    two.origin.push(pieces(drips("max-age=2", 5), PIECES - 5));
    let _dead = one.get("/a");
    sleep(MINUTE * 5 + ms(500)).await;
    one.line.down();
    sleep(LEASE).await;
    let fill = async { assert!(two.get("/a").await.expect("it does not panic").whole) };
    is_left_alone(&fleet, fill, "resumed").await;
    assert_eq!(two.origin.asked()[0].headers["range"], format!("bytes={}-", 5 * PIECE));
}
