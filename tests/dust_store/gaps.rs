//! Operations of which no event comes.

use std::time::Duration;

use dustgate::dust::{Change, Dust, FeedItem, Put, What, Written};
use dustgate::testkit::dust_server::Next;
use serde_json::json;
use tokio::time::timeout;

use crate::kit::{self, STORE};

const STAMP: &str = "dustgate/1/s/all/h";

async fn put(dust: &dyn Dust, key: &str) -> u64 {
    match dust.put(key, "x", Put::default()).await {
        Ok(Written::At(number)) => number,
        other => panic!("{other:?}"),
    }
}

async fn next(feed: &mut dustgate::dust::Feed) -> Option<(String, u64)> {
    match timeout(Duration::from_secs(5), feed.next()).await.expect("something comes") {
        FeedItem::Change(Change { key, number, what: What::Set { .. } }) => Some((key.to_string(), number)),
        FeedItem::Change(other) => panic!("{other:?}"),
        FeedItem::Lost => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_event_told_is_read_from_the_log_before_anything_later_is_told() {
    let server = kit::server().await;
    let (a, b) = (kit::open(&server).await, kit::open(&server).await);
    let mut feed = b.feed().await.unwrap();
    server.faults(|it| it.swallowed_events = Next::of("set", 1));
    let purge = put(&*a, STAMP).await;
    server.write_silently(STORE, &json!({ "op": "set", "path": "theirs", "value": 7 })).unwrap();
    let later = put(&*a, "later").await;
    assert_eq!(next(&mut feed).await, Some((STAMP.into(), purge)));
    assert_eq!(later, purge + 2);
    assert_eq!(next(&mut feed).await, Some(("later".into(), later)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_in_the_log_any_more_is_told_as_a_loss_before_anything_later_is_told() {
    let server = kit::server().await;
    let (a, b) = (kit::open(&server).await, kit::open(&server).await);
    let mut feed = b.feed().await.unwrap();
    for round in 0..2 {
        server.faults(|it| it.swallowed_events = Next::of("set", 1));
        put(&*a, STAMP).await;
        if round == 0 {
            server.compact(STORE);
        } else {
            server.faults(|it| it.refused_requests = Some(503));
        }
        let later = put(&*a, "later").await;
        assert_eq!(next(&mut feed).await, None, "{round}");
        assert_eq!(next(&mut feed).await, Some(("later".into(), later)), "{round}");
        server.faults(|it| it.refused_requests = None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_of_others_of_which_nothing_is_told_cost_a_read_and_no_loss() {
    let server = kit::server().await;
    let (a, b) = (kit::open(&server).await, kit::open(&server).await);
    let mut feed = b.feed().await.unwrap();
    let reads = server.count("GET");
    for n in 0..20 {
        server.write_silently(STORE, &json!({ "op": "set", "path": "theirs", "value": n })).unwrap();
    }
    let later = put(&*a, "later").await;
    assert_eq!(next(&mut feed).await, Some(("later".into(), later)));
    assert!(server.count("GET") <= reads + 2, "one for each instance");
}
