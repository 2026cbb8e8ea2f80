//! Requests and answers that are lost on the way leave nothing held (F11).

use std::sync::Arc;
use std::time::Duration;

use dustgate::clock::Dice;
use dustgate::dust::{Dust, Holder, Inquiry, Known, LeaseRequest, Lock, Value};
use dustgate::flight::{Attempt, Flight, Names, Settings};
use tokio::time::Instant;

use crate::support::relay::{Mode, Relay};
use crate::support::server::{Server, open};
use crate::support::until;

async fn lost(what: Mode, landed: bool) {
    let server = Server::least().await;
    let relay = Relay::to(server.port);
    let seen = server.store().await;
    let dust: Arc<dyn Dust> =
        Arc::new(open(&format!("redis://dustgate:secret@127.0.0.1:{}", relay.at.port())).await.unwrap());
    let settings = Settings {
        lease_ttl: Duration::from_secs(30),
        call_bound: Duration::from_millis(200),
        ..Settings::default()
    };
    let flight = Flight::named("one", dust, Arc::new(Dice::new()), settings);
    let names = Names::of("key");
    relay.set(what);
    assert!(matches!(flight.attempt(&names).await, Attempt::Unavailable(_)));
    let held = async || seen.entry(&names.lock).await.unwrap();
    assert_eq!(held().await.is_some(), landed);
    relay.set(Mode::Pass);
    let began = Instant::now();
    until("the lock to be free", async || held().await.is_none().then_some(())).await;
    // The line is made anew, and then it is given back.
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    let free = until("the store", async || match flight.attempt(&names).await {
        Attempt::Won(fill) => Some(fill),
        _ => None,
    });
    let fill = free.await;
    assert!(matches!(held().await.unwrap().value, Value::Lease { .. }));
    fill.release().await;
    assert_eq!(held().await, None);
}

#[tokio::test]
async fn an_answer_that_is_lost_frees_the_lock_within_a_second() {
    lost(Mode::LoseAnswers, true).await;
}

#[tokio::test]
async fn a_request_that_is_lost_holds_nothing() {
    lost(Mode::LoseRequests, false).await;
}

#[tokio::test]
async fn a_step_whose_answer_is_lost_gets_its_own_lease_or_gives_it_back() {
    let server = Server::least().await;
    let relay = Relay::to(server.port);
    let seen = server.store().await;
    let store = open(&format!("redis://dustgate:secret@127.0.0.1:{}", relay.at.port())).await.unwrap();
    let holder = Holder("one".into());
    let lease = Some(LeaseRequest { ttl: Duration::from_mins(1), holder: &holder, seen: 0 });
    let flight = Inquiry { value: "a", verdict: "a!", lock: "l", known: Known::default(), lease };
    // The server has the script by then: its word that it has not would be the answer that is lost.
    store.enter(Inquiry { lock: "other", ..flight }).await.unwrap();
    relay.set(Mode::LoseAnswers);
    assert!(store.enter(flight).await.is_err());
    let landed = seen.entry("l").await.unwrap().unwrap().number;
    relay.set(Mode::Pass);
    let found = until("the store", async || store.enter(flight).await.ok()).await;
    assert!(matches!(found.lock, Lock::Granted(lease) if lease.token == landed));
    relay.set(Mode::LoseAnswers);
    assert!(store.enter(flight).await.is_err());
    relay.set(Mode::Pass);
    until("the store", async || store.release_holder("l", &holder).await.ok()).await;
    assert_eq!(seen.entry("l").await, Ok(None));
}
