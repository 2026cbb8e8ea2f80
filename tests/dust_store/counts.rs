//! Numbers that no store can have given.

use std::time::Duration;

use dustgate::dust::{Dust, Error, FeedItem, Put, Written};
use serde_json::json;
use tokio::time::{sleep, timeout};

use crate::kit::{self, STORE};

const SOON: Duration = Duration::from_secs(10);
const HIGHEST: u64 = 1 << 53;

async fn put(dust: &dyn Dust, key: &str) -> u64 {
    let written = async {
        loop {
            match dust.put(key, "x", Put::default()).await {
                Ok(Written::At(number)) => return number,
                Ok(other) => panic!("{other:?}"),
                Err(_) => sleep(Duration::from_millis(20)).await,
            }
        }
    };
    timeout(SOON, written).await.expect("it is there again")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_with_a_number_far_beyond_all_others_hides_none_of_those_after_it() {
    let server = kit::server().await;
    let (a, b) = (kit::open(&server).await, kit::open(&server).await);
    for number in [server.seq(STORE) + 2_000_000, HIGHEST, u64::MAX - 1, u64::MAX] {
        let (ceiling, before) = (b.ceiling(), b.impossible());
        let mut feed = b.feed().await.unwrap();
        let event = json!({ "store_seq": number, "op": "set", "path": "x", "path_segments": ["x"], "value": "v",
                            "device_id": "d", "client_op_id": "c" });
        let seen = async {
            while b.impossible() == before {
                // Not heard where the line was just made.
                server.tell(STORE, &event, false);
                sleep(Duration::from_millis(100)).await;
            }
            while feed.next().await != FeedItem::Lost {}
        };
        timeout(SOON, seen).await.expect("it is told");
        // Both come back, and hear of what is written from then on.
        put(&*b, "back").await;
        let written = put(&*a, "k").await;
        let told = async {
            loop {
                match feed.next().await {
                    FeedItem::Change(change) if change.number == written => return,
                    _ => {}
                }
            }
        };
        timeout(SOON, told).await.expect("it is told");
        assert!(b.ceiling() <= ceiling + 100, "{number}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_has_gone_far_ahead_is_followed_there() {
    let server = kit::server().await;
    let dust = kit::open(&server).await;
    let before = put(&*dust, "k").await;
    server.count_from(STORE, 5_000_000);
    // The answer has a number that can't be believed until a join says the same.
    assert!(matches!(
        dust.put("k", "x", Put::default()).await,
        Err(Error::Unavailable(_) | Error::Broken(_))
    ));
    let after = put(&*dust, "k").await;
    assert!(after > before && after > 5_000_000, "{after}");
    assert!(dust.entry("k").await.unwrap().is_some_and(|entry| entry.number == after));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_counts_beyond_all_numbers_is_broken_until_it_does_not() {
    let server = kit::server().await;
    let dust = kit::open(&server).await;
    put(&*dust, "k").await;
    let copy = server.back_up(STORE);
    server.count_from(STORE, u64::MAX - 7);
    let broken = async {
        loop {
            match dust.put("k", "x", Put::default()).await {
                Err(Error::Broken(why)) => return why,
                Ok(other) => panic!("{other:?}"),
                Err(_) => sleep(Duration::from_millis(20)).await,
            }
        }
    };
    let why = timeout(SOON, broken).await.expect("it is seen");
    assert!(why.contains("writes") || why.contains("write "), "{why}");
    server.restore(&copy);
    put(&*dust, "k").await;
}
