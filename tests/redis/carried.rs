//! Bytes in the server: each has an end, and none is in the way of entries.

use std::time::Duration;

use bytes::Bytes;
use dustgate::dust::{Beside, Dust, Grant, Holder, Landing, Lease, Publication, Publish, Put};

use crate::support::server::{Server, open};

const HOUR: Duration = Duration::from_hours(1);

async fn lease(store: &dyn Dust) -> Lease {
    match store.lease("lock", HOUR, &Holder("me".into()), 0).await {
        Ok(Grant::Granted(lease)) => lease,
        other => panic!("{other:?}"),
    }
}

async fn publish(store: &dyn Dust, expires_in: Option<Duration>, name: &str) {
    let (lease, bytes) = (lease(store).await, Bytes::from_static(b"body"));
    let body = Some(Beside { name, bytes: &bytes });
    let value = Some(Publish { key: "a", text: "x", expires_in, body, keeps: &[] });
    let landing = store.publish(Publication { lease: &lease, value, verdict: None }).await;
    assert!(matches!(landing, Ok(Landing::At(_))), "{landing:?}");
}

/// The numbers that the server answers.
fn numbers(server: &Server, lines: &str) -> Vec<i64> {
    server.admin(lines).lines().filter_map(|line| line.strip_prefix(':')?.parse().ok()).collect()
}

#[tokio::test]
async fn bytes_always_have_an_end_and_stand_in_no_index() {
    let server = Server::start(&[]).await;
    let store = open(&format!("redis://127.0.0.1:{}", server.port)).await.unwrap();
    store.put_bytes("own", &Bytes::from_static(b"x"), HOUR).await.unwrap();
    publish(&store, Some(HOUR), "a/1/0").await;
    let hour = i64::try_from(HOUR.as_millis()).unwrap();
    let ends = numbers(&server, "PTTL {dustgate}=own\r\nPTTL {dustgate}:a\r\nPTTL {dustgate}=a/1/0");
    assert!(ends.len() == 3 && ends.iter().all(|left| (1..=hour).contains(left)), "{ends:?}");
    assert!(ends[2] <= ends[1], "not after its value: {ends:?}");
    assert_eq!(numbers(&server, "ZCARD {dustgate}#index\r\nZCARD {dustgate}#expiry"), [1, 1]);
    // Even beside a value that has none.
    publish(&store, None, "a/2/0").await;
    let ends = numbers(&server, "PTTL {dustgate}:a\r\nPTTL {dustgate}=a/2/0\r\nEXISTS {dustgate}=a/1/0");
    assert!(ends[0] == -1 && ends[1] > hour && ends[2] == 0, "{ends:?}");
    store.delete("a", None).await.unwrap();
    let left = "EXISTS {dustgate}=a/2/0\r\nEXISTS {dustgate}=own\r\nZCARD {dustgate}#index";
    assert_eq!(numbers(&server, left), [0, 1, 0]);
}

#[tokio::test]
async fn what_an_earlier_version_writes_over_leaves_bytes_that_end() {
    let server = Server::start(&[]).await;
    let store = open(&format!("redis://127.0.0.1:{}", server.port)).await.unwrap();
    publish(&store, Some(HOUR), "a/1/0").await;
    server.admin("SET {dustgate}:a \"v5 old\"");
    let (entry, body) = store.entry_with_body("a").await.unwrap().unwrap();
    assert_eq!((entry.text().map(|text| &**text), entry.number, body), (Some("old"), 5, None));
    let left = numbers(&server, "PTTL {dustgate}=a/1/0");
    assert!(left[0] > 0, "{left:?}");
    store.put("a", "new", Put::default()).await.unwrap();
}
