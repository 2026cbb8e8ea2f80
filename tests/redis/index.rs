//! The names that listings are made of: as many as there are keys.

use std::fmt::Write as _;
use std::time::Duration;

use dustgate::dust::{Dust, Grant, Holder, Put};
use futures_util::{StreamExt as _, stream};

use crate::support::server::{Server, open};
use crate::support::until;

const SHORT: Duration = Duration::from_millis(300);

/// How many names there are, and how many with their end.
fn names(server: &Server) -> (u64, u64) {
    let said = server.admin("ZCARD {dustgate}#index\r\nZCARD {dustgate}#expiry");
    let mut counts = said.lines().filter_map(|line| line.strip_prefix(':')?.parse().ok());
    (counts.next().unwrap(), counts.next().unwrap())
}

#[tokio::test]
async fn names_go_with_what_they_name() {
    let server = Server::start(&[]).await;
    let store = open(&format!("redis://127.0.0.1:{}", server.port)).await.unwrap();
    let short = Put { expires_in: Some(SHORT), ..Put::default() };
    let keys: Vec<String> = (0..10_000).map(|n| format!("k{n}")).collect();
    let fills = stream::iter(&keys).for_each_concurrent(50, |key| {
        let store = &store;
        async move { store.put(key, "x", short).await.map(|_| ()).unwrap() }
    });
    store.put("stays", "x", Put::default()).await.unwrap();
    fills.await;
    tokio::time::sleep(SHORT).await;
    // Traffic alone is enough: each write takes more out than it adds.
    for _ in 0..3_000 {
        store.put("written", "x", short).await.unwrap();
    }
    assert!(names(&server).0 < 100, "{:?}", names(&server));
    assert_eq!(store.entries("stays").await.unwrap().len(), 1, "what has no end keeps its name");
}

#[tokio::test]
async fn without_any_traffic_they_go_too() {
    let server = Server::start(&[]).await;
    let store = open(&format!("redis://127.0.0.1:{}", server.port)).await.unwrap();
    let short = Put { expires_in: Some(SHORT), ..Put::default() };
    for n in 0..300 {
        store.put(&format!("k{n}"), "x", short).await.unwrap();
    }
    // A full server takes names away all the same.
    server.admin("CONFIG SET maxmemory 1");
    until("an empty index", async || (names(&server) == (0, 0)).then_some(())).await;
}

#[tokio::test]
async fn what_an_earlier_version_left_goes() {
    let server = Server::start(&[]).await;
    let mut lines =
        String::from("SET {dustgate}:there \"v1 x\" PX 5000\r\nZADD {dustgate}#index 0 there\r\n");
    for n in 0..600 {
        let _ = write!(lines, "ZADD {{dustgate}}#index 0 gone{n}\r\n");
    }
    server.admin(lines.trim_end());
    let store = open(&format!("redis://127.0.0.1:{}", server.port)).await.unwrap();
    until("the old names to go", async || (names(&server) == (1, 1)).then_some(())).await;
    assert_eq!(store.entries("").await.unwrap().len(), 1);
    until("the last one to go", async || (names(&server) == (0, 0)).then_some(())).await;
}

#[tokio::test]
async fn they_go_while_somebody_waits_for_a_change_too() {
    let server = Server::start(&[]).await;
    let mut lines = String::from("SET {dustgate}:there \"v1 x\"\r\nZADD {dustgate}#index 0 there\r\n");
    for n in 0..600 {
        let _ = write!(lines, "ZADD {{dustgate}}#index 0 gone{n}\r\n");
    }
    server.admin(lines.trim_end());
    let store = open(&format!("redis://127.0.0.1:{}", server.port)).await.unwrap();
    // The line is looked at all the time.
    let _watch = store.on(&["there"]).await.unwrap();
    until("the old names to go", async || (names(&server) == (1, 0)).then_some(())).await;
}

#[tokio::test]
async fn names_follow_every_kind_of_change() {
    let server = Server::start(&[]).await;
    let store = open(&format!("redis://127.0.0.1:{}", server.port)).await.unwrap();
    let long = Put { expires_in: Some(Duration::from_mins(1)), ..Put::default() };
    store.put("a", "x", long).await.unwrap();
    assert_eq!(names(&server), (1, 1));
    store.put("a", "x", Put::default()).await.unwrap();
    assert_eq!(names(&server), (1, 0), "for ever now");
    store.put("a", "x", Put { expires_in: Some(SHORT), ..Put::default() }).await.unwrap();
    let Grant::Granted(lease) = store.lease("lock", SHORT, &Holder("me".into()), 0).await.unwrap() else {
        panic!("it is free")
    };
    assert_eq!(names(&server), (2, 2));
    store.renew(&lease, Duration::from_mins(1)).await.unwrap();
    tokio::time::sleep(SHORT * 2).await;
    store.put("b", "x", long).await.unwrap();
    assert_eq!(names(&server), (2, 2), "the renewed lease and b");
    store.release(&lease).await.unwrap();
    store.delete("b", None).await.unwrap();
    assert_eq!(names(&server), (0, 0));
}
