//! Servers that will not do are refused at the start, with the reason.

use std::time::Duration;

use dustgate::dust::{Dust, Error, Put};

use super::server::{LEAST, Server, open};

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
    let server = Server::start(&["maxmemory-policy allkeys-lru"]).await;
    let url = format!("redis://127.0.0.1:{}", server.port);
    let why = refused(&url).await;
    assert!(why.contains("allkeys-lru") && why.contains("noeviction"), "{why}");
    server.admin("CONFIG SET maxmemory-policy volatile-ttl");
    open(&url).await.unwrap();
}

#[tokio::test]
async fn a_replica() {
    let primary = Server::start(&[]).await;
    let replica = Server::start(&[&format!("replicaof 127.0.0.1 {}", primary.port)]).await;
    let why = refused(&format!("redis://127.0.0.1:{}", replica.port)).await;
    assert!(why.contains("replica of 127.0.0.1"), "{why}");
}

#[tokio::test]
async fn a_user_that_may_not_ask_is_not_refused_for_that() {
    let less = LEAST.replace(" +info +role", "");
    let server = Server::start(&[&format!("user dustgate on >secret {less}")]).await;
    let store = server.store().await;
    store.put("a", "x", Put::default()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    store.put("a", "y", Put::default()).await.unwrap();
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
    for right in needed.filter(|right| !matches!(*right, "+info" | "+role")) {
        let less: Vec<&str> = LEAST.split_whitespace().filter(|one| *one != right).collect();
        let server = Server::start(&[&format!("user dustgate on >secret {}", less.join(" "))]).await;
        let why = match open(&server.url()).await {
            Err(Error::Refused(why)) => why,
            other => panic!("not refused without {right}: {:?}", other.err()),
        };
        assert!(why.contains("permission") || why.contains("can't run this command"), "{right}: {why}");
    }
    let elsewhere = LEAST.replace("{dustgate}", "{other}");
    let server = Server::start(&[&format!("user dustgate on >secret {elsewhere}")]).await;
    refused(&server.url()).await;
}

#[tokio::test]
async fn nobody_there() {
    let url = format!("redis://127.0.0.1:{}", super::server::free_port());
    let store = open(&url).await;
    assert!(matches!(&store, Err(Error::Unavailable(_))), "{store:?}");
}
