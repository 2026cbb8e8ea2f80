//! A store with little room, and URLs that are stored under keys of a field: each leaves a note, and to
//! give records up removes none of them.

use std::sync::Arc;
use std::time::Duration;

use dustgate::body;
use dustgate::clock::ManualClock;
use dustgate::drain;
use dustgate::dust::Dust as _;
use dustgate::dust::embedded::Limits;
use dustgate::route::KeyedField;
use dustgate::testkit::scripted::{Asked, Reply};
use object_store::memory::InMemory;
use tokio::time::sleep;

use super::instance::Fleet;
use super::janitor::records;

const ROOM: u64 = 2_000;
/// New URLs that are asked for in a round.
const NEW: usize = 300;
const ROUND: Duration = Duration::from_mins(2);

fn answer(asked: &Asked, _: usize) -> Reply {
    let keeps = if asked.target.starts_with("/no-store/") { "no-store" } else { "max-age=172800" };
    Reply::new(200).header("cache-control", keeps).bytes("a")
}

async fn fleet() -> (Fleet, Arc<ManualClock>) {
    let keyed = |route: &mut dustgate::route::Route| {
        route.vary_on = vec![KeyedField::parse("x-tenant").expect("it is a name")];
    };
    let limits = Limits { count: ROOM, bytes: 1 << 30, ..Limits::default() };
    Fleet::in_room(1, answer, Arc::new(InMemory::new()), keyed, body::Settings::default(), limits).await
}

/// Asks for so many new URLs, and lets a round's time go by.
async fn round(fleet: &Fleet, clock: &ManualClock, of: &str) -> usize {
    for n in 0..NEW {
        let got = fleet.instances[0].get(&format!("{of}/{n}")).await.expect("it does not panic");
        assert_eq!(got.status, 200);
    }
    clock.advance(ROUND);
    sleep(ROUND).await;
    records(fleet).await
}

#[tokio::test(start_paused = true)]
async fn records_are_not_given_up_for_notes_that_stay() {
    let ((fleet, clock), drain) = (fleet().await, drain::channel().0);
    let janitor = tokio::spawn(fleet.instances[0].proxy.clone().keep_tidy(drain.guard()));
    for n in 1..=7 {
        let left = round(&fleet, &clock, &format!("/{n}")).await;
        let (least, most) = (NEW.min(n * NEW), usize::try_from(ROOM).expect("it is small") * 9 / 10);
        assert!((least..=most).contains(&left), "{left} after {n} rounds");
    }
    janitor.abort();
}

#[tokio::test(start_paused = true)]
async fn what_is_not_stored_takes_no_room_from_what_is() {
    let ((fleet, clock), drain) = (fleet().await, drain::channel().0);
    let janitor = tokio::spawn(fleet.instances[0].proxy.clone().keep_tidy(drain.guard()));
    round(&fleet, &clock, "/stored").await;
    for n in 1..=7 {
        let left = round(&fleet, &clock, &format!("/no-store/{n}")).await;
        assert_eq!(left, NEW, "after {n} rounds");
    }
    let beside =
        fleet.instances[0].line.entries("dustgate/1/").await.expect("the store is there").len() - 2 * NEW;
    assert!(beside < 2 * NEW, "{beside} entries of what was not stored");
    janitor.abort();
}
