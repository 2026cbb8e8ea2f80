//! A body store whose reads go wrong under many clients: nobody gets a wrong byte with a clean end, all
//! are answered in time, one failure is everybody's, and one fetch.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use dustgate::body::Settings;
use dustgate::route::Route;
use dustgate::testkit::scripted::{Asked, Reply};
use tokio::time::sleep;

use super::instance::{Fleet, Got};
use super::shelf::{Fault, Shelf};
use super::{cacheable, ms};

const CLIENTS: usize = 200;
/// Of a route.
const WAIT_TIMEOUT: Duration = Duration::from_secs(35);
/// The bound of one call to the store of bodies.
const CALL: Duration = Duration::from_secs(10);

const SMALL: usize = 10_000;
const LARGE: usize = (5 << 20) / 4;

const FAULTS: [Fault; 5] = [Fault::Hangs, Fault::Stalls, Fault::SlowsDown, Fault::Loses, Fault::Flips];

fn bytes(len: usize) -> Bytes {
    static ALL: OnceLock<Bytes> = OnceLock::new();
    let make = || (0..LARGE).map(|at| u8::try_from(at % 241).unwrap_or(0)).collect::<Vec<_>>().into();
    ALL.get_or_init(make).slice(..len)
}

fn len(path: &str) -> usize {
    if path.starts_with("/small") { SMALL } else { LARGE }
}

/// What was not changed says so.
fn answer(asked: &Asked, _: usize) -> Reply {
    let tag = "\"one\"";
    if asked.headers.contains_key("if-none-match") {
        return Reply::new(304).header("etag", tag).header("cache-control", "max-age=60").wait(ms(100));
    }
    let len = len(&asked.target);
    let reply = cacheable(200).header("etag", tag).header("content-length", &len.to_string());
    reply.wait(ms(100)).head().bytes(bytes(len))
}

/// So many instances, and one before them that has fetched what the others will be asked for.
async fn filled(count: usize, path: &str) -> (Fleet, Arc<Shelf>) {
    filled_by(count, path, |_| (), Settings::default()).await
}

async fn filled_by(
    count: usize,
    path: &str,
    make: fn(&mut Route),
    settings: Settings,
) -> (Fleet, Arc<Shelf>) {
    let shelf = Shelf::new();
    // The small one is to be in the body store too.
    let settings = Settings { small: 0, ..settings };
    let fleet = Fleet::with_bodies(count + 1, answer, shelf.clone(), make, settings).await;
    let got = fleet.instances[0].get(path).await.expect("it does not panic");
    is_right(&got, path);
    sleep(ms(500)).await;
    assert_eq!(fleet.fetches(), 1);
    (fleet, shelf)
}

fn is_right(got: &Got, path: &str) {
    assert!(got.whole && got.status == 200, "{path}: {} bytes, {}", got.body.len(), got.status);
    assert!(got.body == bytes(len(path)), "{path}: {} bytes", got.body.len());
}

/// All of them at the same time, on all instances but the first.
async fn herd(fleet: &Fleet, path: &str, fields: &[(&str, &str)]) -> Vec<Got> {
    let others = &fleet.instances[1..];
    let clients: Vec<_> = (0..CLIENTS).map(|n| others[n % others.len()].get_with(path, fields)).collect();
    let mut all = Vec::new();
    for client in clients {
        all.push(client.await.expect("it does not panic"));
    }
    all
}

#[tokio::test(start_paused = true)]
async fn two_hundred_clients_of_a_store_that_cannot_be_read_share_one_failure_and_one_fetch() {
    for count in [1, 3] {
        for path in ["/small", "/large"] {
            for fault in FAULTS {
                let (fleet, shelf) = filled(count, path).await;
                let before = shelf.gets();
                shelf.set(fault);
                for got in herd(&fleet, path, &[]).await {
                    is_right(&got, path);
                    assert!(got.done < CALL + ms(3_000), "{count} {path} {fault:?}: {:?}", got.done);
                }
                let (fetches, gets) = (fleet.fetches() - 1, shelf.gets() - before);
                assert!(fetches <= count, "{count} {path} {fault:?}: {fetches} fetches");
                // What one reader sends for, on each instance; once more of what is fetched anew elsewhere.
                assert!(gets <= 8 * count, "{count} {path} {fault:?}: {gets} reads");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn those_who_come_while_the_store_is_away_do_not_wait_for_it() {
    for fault in [Fault::Hangs, Fault::SlowsDown] {
        let (fleet, shelf) = filled(1, "/large").await;
        shelf.set(fault);
        is_right(&fleet.instances[1].get("/large").await.expect("it does not panic"), "/large");
        let before = shelf.gets();
        // For 20 s, five each second.
        let mut clients = Vec::new();
        for _ in 0..100 {
            clients.push(fleet.instances[1].get("/large"));
            sleep(ms(200)).await;
        }
        for client in clients {
            let got = client.await.expect("it does not panic");
            is_right(&got, "/large");
            assert!(got.done < ms(2_000), "{fault:?}: {:?}", got.done);
        }
        // One read a second, or one that hangs after another.
        assert!(shelf.gets() - before <= 42, "{fault:?}: {}", shelf.gets() - before);
        // And it is found to be back.
        shelf.set(Fault::None);
        sleep(ms(11_000)).await;
        is_right(&fleet.instances[1].get("/large").await.expect("it does not panic"), "/large");
        sleep(ms(1_000)).await;
        let fetches = fleet.fetches();
        for got in herd(&fleet, "/large", &[]).await {
            is_right(&got, "/large");
            assert!(got.headers["cache-status"].to_str().expect("text").starts_with("dustgate; hit"));
        }
        assert_eq!(fleet.fetches(), fetches);
    }
}

#[tokio::test(start_paused = true)]
async fn parts_of_what_cannot_be_read_are_fetched_once_for_all() {
    for range in ["bytes=5-9", "bytes=1200000-1200009", "bytes=0-1,1200000-1200001"] {
        for fault in FAULTS {
            let (fleet, shelf) = filled(1, "/large").await;
            let before = shelf.gets();
            shelf.set(fault);
            let whole = bytes(LARGE);
            for got in herd(&fleet, "/large", &[("range", range)]).await {
                assert!(got.done < WAIT_TIMEOUT, "{range} {fault:?}: {:?}", got.done);
                match got.status.as_u16() {
                    206 if range.contains(',') => assert!(got.whole, "{range} {fault:?}"),
                    206 => {
                        let first = range[6..]
                            .split('-')
                            .next()
                            .and_then(|first| first.parse::<usize>().ok())
                            .expect("a number");
                        assert!(got.whole && whole[first..].starts_with(&got.body), "{range} {fault:?}");
                    }
                    other => panic!("{range} {fault:?}: {other}"),
                }
            }
            assert!(fleet.fetches() - 1 <= 1, "{range} {fault:?}: {} fetches", fleet.fetches() - 1);
            assert!(shelf.gets() - before <= 8, "{range} {fault:?}: {}", shelf.gets() - before);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_needs_no_bytes_is_answered_whatever_the_store_does() {
    // No block of it stays in memory.
    let settings = Settings { blocks: 1, ..Settings::default() };
    let (fleet, shelf) = filled_by(1, "/large", |_| (), settings).await;
    // It is in memory, without its bytes.
    fleet.instances[1].get_with("/large", &[("range", "bytes=0-0")]).await.expect("it does not panic");
    sleep(ms(20_000)).await;
    shelf.set(Fault::Hangs);
    let before = (fleet.fetches(), shelf.gets());
    let got = fleet.instances[1]
        .get_with("/large", &[("if-none-match", "\"one\"")])
        .await
        .expect("it does not panic");
    assert_eq!((got.status.as_u16(), got.done), (304, Duration::ZERO));
    assert_eq!((fleet.fetches(), shelf.gets()), before);
}

#[tokio::test(start_paused = true)]
async fn a_route_that_waits_less_than_a_call_to_the_store_is_answered_in_its_time() {
    for path in ["/small", "/large"] {
        let hasty = |route: &mut Route| route.wait_timeout = Duration::from_secs(4);
        let (fleet, shelf) = filled_by(1, path, hasty, Settings::default()).await;
        shelf.set(Fault::Hangs);
        let before = shelf.gets();
        for got in herd(&fleet, path, &[]).await {
            is_right(&got, path);
            assert!(got.done < Duration::from_secs(4), "{path}: {:?}", got.done);
        }
        assert_eq!(fleet.fetches(), 2);
        assert!(shelf.gets() - before <= 6, "{}", shelf.gets() - before);
    }
}

#[tokio::test(start_paused = true)]
async fn a_validated_body_that_cannot_be_read_is_fetched_once_for_all() {
    for fault in [Fault::Hangs, Fault::SlowsDown] {
        let (fleet, shelf) = filled(1, "/large").await;
        shelf.set(fault);
        for got in herd(&fleet, "/large", &[("cache-control", "no-cache")]).await {
            is_right(&got, "/large");
            assert!(got.done < WAIT_TIMEOUT, "{fault:?}: {:?}", got.done);
        }
        // A validation, and the whole.
        assert!(fleet.fetches() - 1 <= 2, "{fault:?}: {}", fleet.fetches() - 1);
    }
}

#[tokio::test(start_paused = true)]
async fn only_if_cached_is_never_fetched_for_want_of_bytes() {
    let (fleet, shelf) = filled(1, "/large").await;
    shelf.set(Fault::SlowsDown);
    for got in herd(&fleet, "/large", &[("cache-control", "only-if-cached")]).await {
        assert_eq!(got.status.as_u16(), 504);
    }
    assert_eq!(fleet.fetches(), 1);
}
