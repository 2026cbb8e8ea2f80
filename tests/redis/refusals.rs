//! Servers that will not do are refused at the start, with the reason.

use std::sync::Arc;
use std::time::Duration;

use dustgate::clock::SystemClock;
use dustgate::dust::redis::{Redis, Target};
use dustgate::dust::{Dust, Error, Put};
use tokio::time::{Instant, sleep};

use crate::support::server::{LEAST, Server, answers, open};

async fn refused(url: &str) -> String {
    match open(url).await {
        Err(Error::Refused(why)) => why,
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn wrong_credentials() {
    let server = Server::least().await;
    let at = format!("127.0.0.1:{}", server.port);
    for login in ["", "dustgate:wrong@", "nobody:secret@", ":wrong@"] {
        let why = refused(&format!("redis://{login}{at}")).await;
        assert!(!why.contains("wrong"), "{why}");
    }
}

#[tokio::test]
async fn a_password_without_a_user() {
    let server = Server::start(&["requirepass pass/word"]).await;
    let store = open(&format!("redis://:pass%2Fword@127.0.0.1:{}", server.port)).await.unwrap();
    store.put("a", "x", Put::default()).await.unwrap();
    refused(&format!("redis://127.0.0.1:{}", server.port)).await;
}

#[tokio::test]
async fn a_policy_that_throws_purges_away() {
    let server = Server::start(&[]).await;
    let url = format!("redis://127.0.0.1:{}", server.port);
    // Stamps and leases have a TTL: what only evicts such keys evicts just them.
    for policy in ["allkeys-lru", "allkeys-lfu", "volatile-lru", "volatile-ttl", "volatile-random"] {
        server.admin(&format!("CONFIG SET maxmemory-policy {policy}"));
        let why = refused(&url).await;
        assert!(why.contains(policy), "{why}");
        assert!(why.contains("CONFIG SET maxmemory-policy noeviction"), "{why}");
        let target = Target::parse(&url).unwrap().allowing_eviction(true);
        let store = Redis::open(target, "dustgate", Arc::new(SystemClock), Duration::from_secs(2)).await;
        store.unwrap().put("a", "x", Put::default()).await.unwrap();
    }
    server.admin("CONFIG SET maxmemory-policy noeviction");
    open(&url).await.unwrap();
}

#[tokio::test]
async fn a_server_that_is_set_to_evict_while_it_runs_is_refused_until_it_is_set_back() {
    let server = Server::start(&[]).await;
    let store = open(&format!("redis://127.0.0.1:{}", server.port)).await.unwrap();
    store.put("a", "x", Put::default()).await.unwrap();
    server.admin("CONFIG SET maxmemory-policy volatile-lru");
    let deadline = Instant::now() + Duration::from_secs(20);
    let why = loop {
        match store.entry("a").await {
            Err(Error::Refused(why)) => break why,
            other => assert!(Instant::now() < deadline, "{other:?}"),
        }
        sleep(Duration::from_millis(50)).await;
    };
    assert!(why.contains("volatile-lru"), "{why}");
    server.admin("CONFIG SET maxmemory-policy noeviction");
    answers(&store).await;
}

#[tokio::test]
async fn a_replica() {
    let primary = Server::start(&[]).await;
    let replica = Server::start(&[&format!("replicaof 127.0.0.1 {}", primary.port)]).await;
    let why = refused(&format!("redis://127.0.0.1:{}", replica.port)).await;
    assert!(why.contains("replica of 127.0.0.1"), "{why}");
}

#[tokio::test]
async fn a_database_that_is_not_there() {
    let server = Server::start(&["databases 2"]).await;
    open(&format!("redis://127.0.0.1:{}/1", server.port)).await.unwrap();
    refused(&format!("redis://127.0.0.1:{}/2", server.port)).await;
}

#[tokio::test]
async fn a_right_that_is_missing_is_named_at_the_start() {
    let needed = LEAST.split_whitespace().filter(|right| right.starts_with('+'));
    for right in needed {
        let less: Vec<&str> = LEAST.split_whitespace().filter(|one| *one != right).collect();
        let server = Server::start(&[&format!("user dustgate on >secret {}", less.join(" "))]).await;
        let why = match open(&server.url()).await {
            Err(Error::Refused(why)) => why,
            other => panic!("not refused without {right}: {:?}", other.err()),
        };
        assert!(why.contains("permission") || why.contains("can't run this command"), "{right}: {why}");
        assert!(why.contains(right) && why.contains("the user needs ~{dustgate}*"), "{right}: {why}");
    }
    let elsewhere = LEAST.replace("{dustgate}", "{other}");
    let server = Server::start(&[&format!("user dustgate on >secret {elsewhere}")]).await;
    refused(&server.url()).await;
}

#[tokio::test]
async fn nobody_there() {
    let url = format!("redis://127.0.0.1:{}", crate::support::server::free_port());
    let store = open(&url).await;
    assert!(matches!(&store, Err(Error::Unavailable(_))), "{store:?}");
}
