//! One instance keeps a store tidy for all of a fleet.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dustgate::body;
use dustgate::drain;
use dustgate::dust::{Dust as _, Entry, Value};
use dustgate::proxy::NotSwept;
use dustgate::record::codec::Limits;
use dustgate::record::{Pointer, codec};
use dustgate::testkit::scripted::{Asked, Reply};
use object_store::memory::InMemory;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::cacheable;
use super::instance::Fleet;

/// How long each body is.
const EACH: u64 = 50_000;
const LINGER: Duration = Duration::from_mins(10);

fn answer(_: &Asked, _: usize) -> Reply {
    let body = Bytes::from(vec![7; usize::try_from(EACH).expect("it is small")]);
    cacheable(200).header("cache-control", "max-age=86400").bytes(body)
}

/// Four instances over a store with room for 83 bodies.
async fn fleet() -> Fleet {
    let settings = body::Settings { size: 83 * EACH, linger: LINGER, ..body::Settings::default() };
    Fleet::with_bodies(4, answer, Arc::new(InMemory::new()), |_| (), settings).await
}

/// Each of them keeps its store tidy, until it is aborted.
fn janitors(fleet: &Fleet, drain: &drain::Signal) -> Vec<JoinHandle<()>> {
    let mut tasks = Vec::new();
    for instance in &fleet.instances {
        tasks.push(tokio::spawn(instance.proxy.clone().keep_tidy(drain.guard())));
    }
    tasks
}

async fn fill(fleet: &Fleet, count: usize) {
    for n in 0..count {
        let got = fleet.instances[n % 4].get(&format!("/{n}")).await.expect("it does not panic");
        assert_eq!(got.status, 200);
    }
    sleep(Duration::from_secs(1)).await;
}

pub async fn records(fleet: &Fleet) -> usize {
    let all = fleet.instances[0].line.entries("dustgate/1/").await.expect("the store is there");
    let is_record = |entry: &Entry| {
        entry.text().is_some_and(|text| matches!(codec::decode(text, &Limits::NONE), Ok(Pointer::Record(_))))
    };
    all.iter().filter(|(_, entry)| is_record(entry)).count()
}

async fn lease(fleet: &Fleet) -> Option<u64> {
    let entry = fleet.instances[0].line.entry("dustgate/1/janitor").await.expect("the store is there")?;
    matches!(entry.value, Value::Lease { .. }).then_some(entry.number)
}

#[tokio::test(start_paused = true)]
async fn four_instances_give_up_no_more_than_there_is_no_room_for() {
    let (fleet, drain) = (fleet().await, drain::channel().0);
    fill(&fleet, 100).await;
    let _janitors = janitors(&fleet, &drain);
    sleep(Duration::from_mins(3)).await;
    let left = records(&fleet).await;
    assert!((80..=83).contains(&left), "{left} of 100, with room for 83");
    // The others have not listed, and know how much there is.
    for instance in &fleet.instances {
        assert_eq!(
            instance.bodies.used(),
            100 * EACH,
            "the bytes go when two sweeps have found them unnamed"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_janitors_lease_is_kept_from_sweep_to_sweep_and_handed_on_when_it_goes() {
    let (fleet, drain) = (fleet().await, drain::channel().0);
    let janitors = janitors(&fleet, &drain);
    sleep(LINGER * 5).await;
    let kept = lease(&fleet).await;
    assert!(kept.is_some());
    sleep(LINGER * 5).await;
    assert_eq!(lease(&fleet).await, kept, "its suspects stay of use");
    janitors[0].abort();
    sleep(Duration::from_millis(10)).await;
    assert_eq!(lease(&fleet).await, None, "it is given back");
    sleep(LINGER * 2).await;
    assert!(lease(&fleet).await > kept);
}

#[tokio::test(start_paused = true)]
async fn a_sweep_by_hand_is_refused_while_an_instance_sweeps() {
    let (fleet, drain) = (fleet().await, drain::channel().0);
    let janitors = janitors(&fleet, &drain);
    sleep(Duration::from_millis(10)).await;
    let refused = fleet.instances[3].proxy.sweep_twice().await;
    assert!(matches!(refused, Err(NotSwept::Held(_))), "{refused:?}");
    for janitor in janitors {
        janitor.abort();
    }
    sleep(Duration::from_secs(1)).await;
    assert!(fleet.instances[3].proxy.sweep_twice().await.is_ok());
    assert_eq!(lease(&fleet).await, None);
}
