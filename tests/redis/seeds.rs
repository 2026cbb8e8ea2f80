//! Of those who may know the primary most say nothing.

use std::net::TcpListener;
use std::time::Duration;

use dustgate::dust::{Dust, Put};
use tokio::time::Instant;

use crate::support::cluster::cluster;
use crate::support::server::{LEAST, Server, open};
use crate::support::until;

/// Some that accept, or leave it to the kernel, and never say a word.
fn silent(count: usize) -> (Vec<TcpListener>, String) {
    let listeners: Vec<TcpListener> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let hosts: Vec<String> = listeners.iter().map(|one| one.local_addr().unwrap().to_string()).collect();
    (listeners, hosts.join(","))
}

#[tokio::test]
async fn a_cluster_is_found_behind_five_that_are_silent() {
    let user = format!("user dustgate on >secret {LEAST} +cluster|slots +cluster|keyslot");
    let (_, nodes) = cluster(&user).await;
    let (_silent, hosts) = silent(5);
    let url = format!("redis+cluster://dustgate:secret@{hosts},127.0.0.1:{}", nodes[0].port);
    let began = Instant::now();
    let store = open(&url).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    store.put("a", "x", Put::default()).await.unwrap();
}

#[tokio::test]
async fn a_sentinel_is_found_behind_silent_ones_and_asked_first_the_next_time() {
    let mut primary = Server::start(&["user dustgate on >secret ~* &* +@all"]).await;
    let sentinel = Server::start(&[&format!("sentinel monitor cache 127.0.0.1 {} 1", primary.port)]).await;
    let (_silent, hosts) = silent(7);
    // An address that takes no connection at all, and tells nobody.
    let url =
        format!("redis+sentinel://dustgate:secret@192.0.2.1:1,{hosts},127.0.0.1:{}/cache", sentinel.port);
    let store = open(&url).await.unwrap();
    store.put("a", "x", Put::default()).await.unwrap();
    primary.restart().await;
    until("an answer", async || store.put("a", "x", Put::default()).await.ok()).await;
}

#[tokio::test]
async fn one_that_does_not_know_the_primary_is_worth_more_than_silence() {
    let sentinel = Server::start(&["sentinel monitor cache 127.0.0.1 1 1"]).await;
    let (_silent, hosts) = silent(2);
    let url = format!("redis+sentinel://127.0.0.1:{},{hosts}/other", sentinel.port);
    let why = open(&url).await.unwrap_err().to_string();
    assert!(why.contains("other"), "{why}");
}
