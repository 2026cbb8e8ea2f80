//! In a fleet, too, one request's failure or pass binds its like, and all when a second leader has come
//! to the same: on whichever instance either was.

use dustgate::testkit::scripted::{Asked, Reply};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::instance::{Fleet, Got};
use crate::ms;

/// How many clients there are beside the one that spoils it.
const CLIENTS: u8 = 60;

fn is_evil(asked: &Asked) -> bool {
    asked.headers.contains_key("x-evil")
}

fn good() -> Reply {
    Reply::new(200).header("cache-control", "max-age=60").wait(ms(100)).head().bytes("good")
}

/// Everybody but one request gets an answer for all.
fn spoilt_by_429(asked: &Asked, _: usize) -> Reply {
    let bad = || Reply::new(429).header("retry-after", "30").wait(ms(100)).head().bytes("evil");
    if is_evil(asked) { bad() } else { good() }
}

fn spoilt_by_400(asked: &Asked, _: usize) -> Reply {
    if is_evil(asked) { Reply::new(400).wait(ms(100)).head().bytes("evil") } else { good() }
}

fn spoilt_by_a_cookie(asked: &Asked, _: usize) -> Reply {
    let bad = || Reply::new(200).header("set-cookie", "a=b").wait(ms(100)).head().bytes("own");
    if is_evil(asked) { bad() } else { good() }
}

fn failing(_: &Asked, _: usize) -> Reply {
    Reply::new(503).wait(ms(100)).head().bytes("down")
}

fn passing(_: &Asked, _: usize) -> Reply {
    Reply::new(200).header("cache-control", "no-store").wait(ms(100)).head().bytes("own")
}

/// So many clients of different fields, each of an address of its own or all of one, on all instances.
fn herd(fleet: &Fleet, one_address: bool) -> Vec<JoinHandle<Got>> {
    let asks = (1..=CLIENTS).map(|n| {
        let instance = &fleet.instances[usize::from(n) % fleet.instances.len()];
        let agent = format!("agent/{n}");
        instance.get_from(if one_address { 1 } else { n }, "/a", &[("user-agent", &agent)])
    });
    asks.collect()
}

/// The evil request leads on the first instance, and the others wait on all of them.
async fn behind_evil(fleet: &Fleet) -> (Got, Vec<Got>) {
    let leader = fleet.instances[0].get_from(200, "/a", &[("x-evil", "1")]);
    sleep(ms(20)).await;
    let others = all(herd(fleet, false)).await;
    (leader.await.expect("it does not panic"), others)
}

async fn all(asked: Vec<JoinHandle<Got>>) -> Vec<Got> {
    let mut got = Vec::new();
    for one in asked {
        got.push(one.await.expect("it does not panic"));
    }
    got
}

/// The first client gets what the origin said. The others are told what is left of the time that it is kept to.
#[tokio::test(start_paused = true)]
async fn those_who_come_later_are_told_what_is_left_until_the_origin_is_asked_again() {
    let limited =
        |_: &Asked, _: usize| Reply::new(503).header("retry-after", "700").wait(ms(100)).head().bytes("down");
    let fleet = Fleet::of(2, limited).await;
    let after = async |at: usize| fleet.instances[at].get("/a").await.expect("it does not panic");
    let first = after(0).await;
    assert_eq!(first.headers["retry-after"], "700");
    for (later, left) in [(0, "30"), (9_500, "21"), (19_900, "1")] {
        sleep(ms(later)).await;
        for at in [0, 1] {
            let told = after(at).await;
            assert_eq!(told.status, 503);
            assert_eq!(told.headers["retry-after"], left, "{later} ms later, at {at}");
        }
    }
    assert_eq!(fleet.fetches(), 1);
}

#[tokio::test(start_paused = true)]
async fn one_requests_failure_is_that_of_no_other_on_any_instance() {
    for answer in [spoilt_by_429 as fn(&Asked, usize) -> Reply, spoilt_by_400] {
        let fleet = Fleet::of(3, answer).await;
        let (leader, others) = behind_evil(&fleet).await;
        assert!(leader.status.is_client_error());
        for got in others {
            assert_eq!((got.status.as_u16(), &got.body[..]), (200, &b"good"[..]));
            assert!(got.done < ms(100 * 22 / 10 + 250), "{:?}", got.done);
        }
        assert!(fleet.fetches() <= 2, "{}", fleet.fetches());
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_is_remembered_in_the_store_binds_its_like_alone() {
    let fleet = Fleet::of(3, spoilt_by_429).await;
    let evil = fleet.instances[0].get_from(200, "/a", &[("x-evil", "1")]).await.unwrap();
    assert_eq!(evil.status, 429);
    let again = fleet.instances[1].get_from(201, "/a", &[("x-evil", "1")]).await.unwrap();
    assert_eq!((again.status.as_u16(), fleet.fetches()), (429, 1), "its like, elsewhere");
    let other = fleet.instances[2].get_from(1, "/a", &[]).await.unwrap();
    assert_eq!((other.status.as_u16(), fleet.fetches()), (200, 2));
}

#[tokio::test(start_paused = true)]
async fn an_origin_that_fails_for_all_is_asked_twice_by_the_whole_fleet() {
    for (what, one_address) in [("of one address", true), ("of an address each", false)] {
        let fleet = Fleet::of(3, failing).await;
        let got = all(herd(&fleet, one_address)).await;
        assert!(got.iter().all(|got| got.status == 503), "{what}");
        assert!(fleet.fetches() <= 2, "{what}: {} fetches", fleet.fetches());
        let last = got.iter().map(|got| got.done).max().unwrap();
        assert!(last < ms(220 + 250), "{what}: {last:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_requests_pass_switches_nothing_off_on_any_instance() {
    let fleet = Fleet::of(3, spoilt_by_a_cookie).await;
    let evil = fleet.instances[0].get_from(200, "/a", &[("x-evil", "1")]).await.unwrap();
    assert_eq!(&evil.body[..], b"own");
    let got = all(herd(&fleet, false)).await;
    assert!(got.iter().all(|got| &got.body[..] == b"good"));
    assert_eq!(fleet.fetches(), 2);
    for instance in &fleet.instances {
        let got = instance.get_from(1, "/a", &[]).await.unwrap();
        assert!(got.headers["cache-status"].to_str().unwrap().contains("hit"), "{got:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_passes_is_answered_within_two_exchanges_time() {
    let fleet = Fleet::of(3, passing).await;
    for got in all(herd(&fleet, false)).await {
        assert_eq!(&got.body[..], b"own");
        assert!(got.done <= ms(220), "{:?}", got.done);
    }
    // Two leaders have shown it by the time the second herd is answered; the third waits for nobody.
    all(herd(&fleet, false)).await;
    for got in all(herd(&fleet, false)).await {
        assert!(got.done <= ms(120), "{:?}", got.done);
    }
}
