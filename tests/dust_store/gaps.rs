//! Operations of which no event comes.

use std::time::Duration;

use dustgate::dust::{Change, Dust, FeedItem, Put, What, Written};
use dustgate::testkit::dust_server::{DustServer, Next, Setup, Token};
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};

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

#[tokio::test(flavor = "multi_thread")]
async fn many_writes_of_others_cost_few_reads() {
    let server = kit::server().await;
    let (a, b) = (kit::open(&server).await, kit::open(&server).await);
    let mut feed = b.feed().await.unwrap();
    let reads = server.count("GET");
    let mut written = Vec::new();
    for n in 0..20 {
        server.write_silently(STORE, &json!({ "op": "set", "path": "theirs", "value": n })).unwrap();
        written.push(put(&*a, &format!("k{n}")).await);
    }
    for (n, number) in written.into_iter().enumerate() {
        assert_eq!(next(&mut feed).await, Some((format!("k{n}"), number)));
    }
    let reads = server.count("GET") - reads;
    assert!(reads <= 12, "{reads} by two instances, and not one for each gap");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_write_without_end_is_read_at_a_pace() {
    let token = Token::new("dust_tok_reads", "acme").limited(1_000_000, 1_000);
    let server = DustServer::start(Setup::real().store(STORE).token(token)).await;
    let open =
        async || kit::try_open(kit::target(&server, STORE).with_token("dust_tok_reads")).await.unwrap();
    let (a, b) = (open().await, open().await);
    let mut feed = b.feed().await.unwrap();
    let (began, reads) = (Instant::now(), server.count("GET"));
    let mut last = 0;
    for n in 0..40 {
        server.write_silently(STORE, &json!({ "op": "set", "path": "theirs", "value": n })).unwrap();
        last = put(&a, "k").await;
        // The next gap is one of its own.
        sleep(Duration::from_millis(120)).await;
    }
    let told = async {
        loop {
            match feed.next().await {
                FeedItem::Change(change) if change.number == last => return,
                FeedItem::Change(_) => {}
                FeedItem::Lost => panic!("nothing was lost"),
            }
        }
    };
    timeout(Duration::from_secs(5), told).await.expect("it is told");
    let (reads, took) = (u128::from(server.count("GET") - reads), began.elapsed());
    // An eighth of 1 000 a minute, what was saved up, and the one under way at each end, for each instance.
    let most = 2 * (12 + 125 * took.as_millis() / 60_000 + 2);
    assert!(reads <= most, "{reads} in {took:?}, and not {}", 2 * 40);
}

#[tokio::test(flavor = "multi_thread")]
async fn losses_are_told_with_a_pause_between_them() {
    let server = kit::server().await;
    let (a, b) = (kit::open(&server).await, kit::open(&server).await);
    let mut feed = b.feed().await.unwrap();
    server.faults(|it| it.refused_requests = Some(503));
    let mut last = 0;
    let mut losses = Vec::new();
    for _ in 0..4 {
        server.faults(|it| it.swallowed_events = Next::of("set", 1));
        put(&*a, STAMP).await;
        last = put(&*a, "later").await;
        // The next gap is one of its own.
        sleep(Duration::from_millis(150)).await;
    }
    loop {
        match timeout(Duration::from_secs(15), feed.next()).await.expect("it is told") {
            FeedItem::Lost => losses.push(Instant::now()),
            FeedItem::Change(change) if change.number == last => break,
            FeedItem::Change(_) => {}
        }
    }
    assert!(losses.len() == 2 && losses[1] - losses[0] > Duration::from_secs(4), "{losses:?}");
}
