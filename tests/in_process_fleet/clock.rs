//! One of two instances is wrong about the time by two hours.

use dustgate::testkit::scripted::{Asked, Reply};

use super::instance::{Fleet, Got};

const HOURS: i64 = 2 * 60 * 60 * 1000;

fn short(_: &Asked, n: usize) -> Reply {
    super::cacheable(200).bytes(format!("{n}").into_bytes())
}

/// Seconds that a hit says are left; none if it is not one.
fn ttl(got: &Got) -> Option<i64> {
    let said = got.headers["cache-status"].to_str().expect("it is ASCII");
    let ttl = said.strip_prefix("dustgate; hit; ttl=")?;
    Some(ttl.split(';').next().unwrap_or(ttl).parse().expect("a number"))
}

async fn asks(fleet: &Fleet, at: usize) -> Got {
    let got = fleet.instances[at].get("/a").await.expect("it does not panic");
    assert_eq!(got.status, 200);
    got
}

#[tokio::test(start_paused = true)]
async fn a_record_from_the_future_is_fresh_for_nobody() {
    let fleet = Fleet::of(2, short).await;
    fleet.instances[0].line.set_ahead(HOURS);
    asks(&fleet, 0).await;
    assert_eq!(ttl(&asks(&fleet, 1).await), None, "it would be fresh for two hours and a minute");
    assert_eq!(fleet.fetches(), 2);
    // The right one is there now, for both once the clock is right again.
    fleet.instances[0].line.set_ahead(0);
    for at in [0, 1, 0, 1] {
        assert!(ttl(&asks(&fleet, at).await).is_some_and(|ttl| ttl <= 60), "at {at}");
    }
    assert_eq!(fleet.fetches(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_record_in_memory_from_before_a_clock_was_set_back_is_validated() {
    let fleet = Fleet::of(1, short).await;
    asks(&fleet, 0).await;
    assert_eq!(ttl(&asks(&fleet, 0).await), Some(60));
    fleet.instances[0].line.set_ahead(-HOURS);
    assert_eq!(ttl(&asks(&fleet, 0).await), None);
    assert!(ttl(&asks(&fleet, 0).await).is_some_and(|ttl| ttl <= 60));
    assert_eq!(fleet.fetches(), 2);
}

#[tokio::test(start_paused = true)]
async fn one_that_is_behind_takes_nothing_for_fresh_that_others_stored() {
    let fleet = Fleet::of(2, short).await;
    asks(&fleet, 0).await;
    fleet.instances[1].line.set_ahead(-HOURS);
    assert_eq!(ttl(&asks(&fleet, 1).await), None);
    // What it stores is two hours old to the others: stale, not fresh.
    assert!(ttl(&asks(&fleet, 0).await).is_none_or(|ttl| ttl <= 60));
}
