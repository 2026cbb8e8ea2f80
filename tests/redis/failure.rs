//! A server that goes away in every way: calls are answered at once, and it is found again.

use std::time::Duration;

use bytes::Bytes;
use dustgate::dust::{
    Beside, Changes, Dust, Error, Grant, Holder, Inquiry, Known, Landing, Lease, LeaseRequest, Lock, Note,
    Publication, Publish, Put, Written,
};
use tokio::time::{Instant, timeout};

use crate::support::server::{Server, answers, is_lost};
use crate::support::{PATIENCE, until};

/// The bound of a call, and what a busy machine adds.
const BOUND: Duration = Duration::from_millis(200);
/// Without a line: no network at all.
const AT_ONCE: Duration = Duration::from_millis(20);

fn holder(name: &str) -> Holder {
    Holder(name.into())
}

fn is_unavailable<T: std::fmt::Debug>(answer: &Result<T, Error>) -> bool {
    matches!(answer, Err(Error::Unavailable(_)))
}

fn flight(holder: &Holder) -> Inquiry<'_> {
    let lease = Some(LeaseRequest { ttl: PATIENCE, holder, seen: 0 });
    Inquiry { value: "a", verdict: "a!", lock: "l", known: Known::default(), lease }
}

fn result<'a>(lease: &'a Lease, bytes: &'a Bytes) -> Publication<'a> {
    let body = Some(Beside { name: "a/1/0", bytes });
    let value = Some(Publish { key: "a", text: "x", expires_in: Some(PATIENCE), body, keeps: &[] });
    Publication { lease, value, verdict: Some(Note { key: "a!", text: "y", expires_in: None }) }
}

async fn every_call_fails_within(store: &dyn Dust, bound: Duration) {
    let began = Instant::now();
    assert!(is_unavailable(&store.entry("a").await));
    assert!(is_unavailable(&store.put("a", "x", Put::default()).await));
    assert!(is_unavailable(&store.delete("a", None).await));
    assert!(is_unavailable(&store.lease("l", PATIENCE, &holder("h"), 0).await));
    assert!(is_unavailable(&store.release_holder("l", &holder("h")).await));
    assert!(is_unavailable(&store.entries("").await));
    assert!(is_unavailable(&store.on(&["a"]).await));
    assert!(is_unavailable(&store.feed().await));
    let (holder, bytes) = (holder("h"), Bytes::from_static(b"x"));
    let lease = Lease { key: "l".into(), token: 1, holder: holder.clone() };
    assert!(is_unavailable(&store.enter(flight(&holder)).await));
    assert!(is_unavailable(&store.publish(result(&lease, &bytes)).await));
    assert!(is_unavailable(&store.entry_with_body("a").await));
    assert!(is_unavailable(&store.bytes("a/1/0").await));
    assert!(is_unavailable(&store.put_bytes("a/1/0", &bytes, PATIENCE).await));
    assert!(is_unavailable(&store.remove_bytes(&["a/1/0".into()]).await));
    assert!(began.elapsed() < bound, "{:?}", began.elapsed());
}

/// Waits until the line is told as lost. A change from before the subscription may still come first:
/// it went out before its write was answered, and is heard on another thread.
async fn hears_of_the_loss(changes: &mut Changes) {
    while !timeout(PATIENCE, changes.next()).await.unwrap().lost {}
}

#[tokio::test]
async fn a_killed_server_is_told_at_once_and_found_again() {
    let mut server = Server::least().await;
    let store = server.store().await;
    let before = match store.put("a", "x", Put::default()).await.unwrap() {
        Written::At(number) => number,
        Written::Fenced => panic!("there is no fence"),
    };
    let mut changes = store.on(&["a"]).await.unwrap();
    let mut feed = store.feed().await.unwrap();
    let began = Instant::now();
    server.kill();
    hears_of_the_loss(&mut changes).await;
    assert!(began.elapsed() < BOUND, "{:?}", began.elapsed());
    is_lost(&mut feed).await;
    until("the breaker", async || store.entry("a").await.err()).await;
    every_call_fails_within(&*store, AT_ONCE).await;

    server.restart().await;
    let took = answers(&*store).await;
    assert!(took < Duration::from_secs(1), "{took:?}");
    // Told once more now that the subscription stands, and heard again.
    hears_of_the_loss(&mut changes).await;
    is_lost(&mut feed).await;
    let number = store.delete("a", None).await.unwrap();
    assert!(matches!(number, Written::At(number) if number > before), "{number:?} after {before}");
    while timeout(PATIENCE, changes.next()).await.unwrap().deleted.is_none() {}
}

#[tokio::test]
async fn a_frozen_server_costs_one_bound_and_then_nothing() {
    let server = Server::least().await;
    let store = server.store().await;
    let mut changes = store.on(&["a"]).await.unwrap();
    server.signal("-STOP");
    let began = Instant::now();
    assert!(is_unavailable(&store.entry("a").await));
    assert!(began.elapsed() <= BOUND + AT_ONCE, "{:?}", began.elapsed());
    every_call_fails_within(&*store, AT_ONCE).await;
    hears_of_the_loss(&mut changes).await;
    assert!(began.elapsed() < BOUND * 3, "{:?}", began.elapsed());
    every_call_fails_within(&*store, AT_ONCE).await;
    server.signal("-CONT");
    let took = answers(&*store).await;
    assert!(took < Duration::from_secs(1), "{took:?}");
    hears_of_the_loss(&mut changes).await;
}

#[tokio::test]
async fn who_waits_hears_of_a_frozen_server_without_asking() {
    let server = Server::least().await;
    let store = server.store().await;
    let mut changes = store.on(&["a"]).await.unwrap();
    server.signal("-STOP");
    let began = Instant::now();
    hears_of_the_loss(&mut changes).await;
    assert!(began.elapsed() < BOUND * 3, "{:?}", began.elapsed());
    server.signal("-CONT");
}

#[tokio::test]
async fn numbers_rise_and_the_life_ends_when_the_server_is_emptied() {
    let server = Server::least().await;
    let store = server.store().await;
    assert_eq!(store.life(None).await.unwrap(), None);
    assert_eq!(store.life(Some("one")).await.unwrap().as_deref(), Some("one"));
    assert_eq!(store.life(Some("two")).await.unwrap().as_deref(), Some("one"));
    // Far ahead of the server's clock: its own memory of it is what will be lost.
    let ahead = store.put("a", "x", Put::default()).await.unwrap();
    let Written::At(ahead) = ahead else { panic!("{ahead:?}") };
    let ahead = ahead + 1_000_000_000;
    let Grant::Granted(lease) = store.lease("l", PATIENCE, &holder("h"), ahead).await.unwrap() else {
        panic!("it was free")
    };
    let mut feed = store.feed().await.unwrap();
    // The keeper has to have looked once since the life began: the second look from here on has surely
    // seen it, and is over when the third begins.
    let looks = || calls(&server, "role");
    let before = looks();
    until("three looks", async || (looks() >= before + 3).then_some(())).await;
    server.admin("FLUSHALL");
    is_lost(&mut feed).await;
    assert_eq!(store.life(None).await.unwrap(), None);
    assert!(is_at_least(store.put("a", "x", Put::default()).await.unwrap(), lease.token + 1));
    let fenced = Put { fence: Some(&lease), ..Put::default() };
    assert_eq!(store.put("a", "zombie", fenced).await.unwrap(), Written::Fenced);
}

/// How often the server was asked that.
fn calls(server: &Server, command: &str) -> u64 {
    let said = server.admin("INFO commandstats");
    let line = said.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
    line.and_then(|line| line.split(',').next()?.parse().ok()).unwrap_or(0)
}

fn is_at_least(written: Written, number: u64) -> bool {
    matches!(written, Written::At(at) if at >= number)
}

#[tokio::test]
async fn a_primary_that_becomes_a_replica_is_left_and_taken_back() {
    let (server, other) = (Server::least().await, Server::start(&[]).await);
    let store = server.store().await;
    store.put("a", "x", Put::default()).await.unwrap();
    let mut changes = store.on(&["a"]).await.unwrap();
    server.admin(&format!("REPLICAOF 127.0.0.1 {}", other.port));
    // What was written just before may be told first.
    while !timeout(PATIENCE, changes.next()).await.unwrap().lost {}
    assert!(is_unavailable(&store.put("a", "y", Put::default()).await));
    // Reads are not answered from a replica either.
    assert!(is_unavailable(&store.entry("a").await));
    server.admin("REPLICAOF NO ONE");
    answers(&*store).await;
    assert!(is_at_least(store.put("a", "y", Put::default()).await.unwrap(), 1));
}

#[tokio::test]
async fn a_full_server_takes_leases_back_and_says_that_it_is_full() {
    let server = Server::least().await;
    let store = server.store().await;
    let Grant::Granted(lease) = store.lease("l", PATIENCE, &holder("h"), 0).await.unwrap() else {
        panic!("it was free")
    };
    server.admin("CONFIG SET maxmemory 1");
    assert!(is_unavailable(&store.put("a", "x", Put::default()).await));
    assert!(is_unavailable(&store.lease("m", PATIENCE, &holder("h"), 0).await));
    assert!(store.entry("l").await.unwrap().is_some());
    store.release(&lease).await.unwrap();
    assert_eq!(store.entry("l").await.unwrap(), None);
    server.admin("CONFIG SET maxmemory 0");
    assert!(is_at_least(store.put("a", "x", Put::default()).await.unwrap(), lease.token));
}

#[tokio::test]
async fn a_full_server_refuses_a_step_as_a_whole() {
    let server = Server::least().await;
    let store = server.store().await;
    let (one, bytes) = (holder("one"), Bytes::from_static(b"body"));
    let Lock::Granted(lease) = store.enter(flight(&one)).await.unwrap().lock else { panic!("it was free") };
    store.put_bytes("own", &bytes, PATIENCE).await.unwrap();
    server.admin("CONFIG SET maxmemory 1");
    assert!(is_unavailable(&store.publish(result(&lease, &bytes)).await));
    assert_eq!((store.entry("a").await, store.entry("a!").await), (Ok(None), Ok(None)));
    assert_eq!(store.bytes("a/1/0").await, Ok(None));
    assert_eq!(store.entry("l").await.unwrap().unwrap().number, lease.token, "it is held still");
    assert!(is_unavailable(&store.put_bytes("more", &bytes, PATIENCE).await));
    store.remove_bytes(&["own".into()]).await.unwrap();
    // Its holder gets it, and another hears of it.
    let again = store.enter(flight(&one)).await.unwrap().lock;
    assert_eq!(again, Lock::Granted(lease.clone()));
    let other = store.enter(flight(&holder("two"))).await.unwrap().lock;
    assert!(matches!(other, Lock::Held { .. }), "{other:?}");
    store.release(&lease).await.unwrap();
    assert!(is_unavailable(&store.enter(flight(&one)).await));
    assert_eq!(store.entry("l").await, Ok(None));
    server.admin("CONFIG SET maxmemory 0");
    let Lock::Granted(lease) = store.enter(flight(&one)).await.unwrap().lock else { panic!("it was free") };
    let landing = store.publish(result(&lease, &bytes)).await.unwrap();
    server.admin("CONFIG SET maxmemory 1");
    // What is there is read.
    let found = store.enter(flight(&one)).await.unwrap();
    assert_eq!(found.value.map(|entry| Landing::At(entry.number)), Some(landing));
    assert_eq!((found.body, found.lock), (Some(bytes), Lock::Free));
}
