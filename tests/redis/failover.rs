//! Another server in the place of the one that was: one that knows less, and one that knows nothing.

use dustgate::dust::{Dust, Put, Written};

use crate::support::relay::{Mode, Relay};
use crate::support::server::{Server, answers, is_lost, open};
use crate::support::until;

async fn write(store: &dyn Dust, key: &str) -> u64 {
    match store.put(key, "x", Put::default()).await.unwrap() {
        Written::At(number) => number,
        Written::Fenced => panic!("there is no fence"),
    }
}

#[tokio::test]
async fn a_replica_that_was_behind_is_promoted() {
    let (mut primary, user) = (Server::start(&[]).await, "user dustgate on >secret ~* &* +@all");
    primary.admin("ACL SETUSER dustgate on >secret ~* &* +@all");
    let copies = Relay::to(primary.port);
    let replica = Server::start(&[user, &format!("replicaof 127.0.0.1 {}", copies.at.port())]).await;
    let relay = Relay::to(primary.port);
    let store = open(&format!("redis://dustgate:secret@127.0.0.1:{}", relay.at.port())).await.unwrap();
    store.life(Some("one")).await.unwrap();
    let early = write(&store, "early").await;
    let has = |what: &str| replica.admin(&format!("GET {what}")).contains(&early.to_string());
    until("the copy", async || has("{dustgate}:early").then_some(())).await;
    // It hears no more, then the primary is gone, and it takes its place.
    copies.set(Mode::LoseAnswers);
    let late = write(&store, "late").await;
    let mut feed = store.feed().await.unwrap();
    primary.kill();
    is_lost(&mut feed).await;
    replica.admin("REPLICAOF NO ONE");
    relay.leads_to(replica.port);
    answers(&store).await;
    is_lost(&mut feed).await;
    assert_eq!(store.life(None).await.unwrap().as_deref(), Some("one"));
    assert_eq!(store.entry("early").await.unwrap().unwrap().number, early);
    assert_eq!(store.entry("late").await.unwrap(), None, "it was behind");
    assert!(write(&store, "after").await > late);
}

#[tokio::test]
async fn a_server_with_nothing_in_it_takes_the_place() {
    let (mut one, other) = (Server::least().await, Server::least().await);
    let relay = Relay::to(one.port);
    let store = open(&format!("redis://dustgate:secret@127.0.0.1:{}", relay.at.port())).await.unwrap();
    store.life(Some("one")).await.unwrap();
    let before = write(&store, "a").await;
    let mut feed = store.feed().await.unwrap();
    one.kill();
    relay.leads_to(other.port);
    is_lost(&mut feed).await;
    answers(&store).await;
    assert_eq!(store.life(None).await.unwrap(), None);
    assert_eq!(store.entry("a").await.unwrap(), None);
    assert!(write(&store, "a").await > before);
}
