//! The keep-alive race: which failures are tried once more, and which are not.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dustgate::upstream::ErrorKind;

use super::*;
use crate::support::origin::Act::Expect;
use crate::support::origin::{Act, Heard, Wire, reset, say, silence};

const OK: Act = say("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
const PART: Act = say("HTTP/1.1 200 OK\r\ncontent-le");

/// An origin whose first connection has answered one request and is in the pool; then it goes on
/// as told.
async fn used(then: &[Act], others: &[&[Act]]) -> (Wire, Client) {
    let mut scripts = vec![[&[Expect, OK], then].concat()];
    scripts.extend(others.iter().map(|script| script.to_vec()));
    let mut origin = Wire::new(scripts).await;
    // Long enough for a busy machine: only one of these tests waits for it.
    let client = client(&origin.url(), |settings| settings.first_byte_timeout = 10 * SHORT);
    let response = get(&client, "/first").await.unwrap();
    assert!(response.timing.connect.is_some());
    assert_eq!(read(response).await.0, "ok");
    settle().await;
    assert_eq!(origin.rest().len(), 2);
    (origin, client)
}

fn counts(origin: &mut Wire) -> (usize, usize) {
    let seen = origin.rest();
    let connections = seen.iter().filter(|seen| **seen == Heard::Connection).count();
    (connections, seen.iter().filter(|seen| matches!(seen, Heard::Request(_))).count())
}

#[tokio::test]
async fn a_used_connection_is_used_again() {
    let (mut origin, client) = used(&[Expect, OK], &[]).await;
    let response = get(&client, "/").await.unwrap();
    assert_eq!((response.timing.tries, response.timing.connect), (1, None));
    assert_eq!(counts(&mut origin), (0, 1));
}

#[tokio::test]
async fn closed_under_the_request_is_tried_once_more() {
    for method in [Method::GET, Method::HEAD, Method::OPTIONS] {
        let (mut origin, client) = used(&[Expect], &[&[Expect, OK]]).await;
        let response = client.send(request(method.clone(), "/x?y")).await.unwrap();
        assert_eq!(response.timing.tries, 2);
        assert!(response.timing.connect.is_some(), "on a connection of its own");
        let (first, second) = (origin.request().await, origin.request().await);
        assert_eq!(first, second, "the same request, byte for byte");
        assert!(first.starts_with(&format!("{method} /x?y ")));
    }
}

#[tokio::test]
async fn reset_under_the_request_is_tried_once_more() {
    let (mut origin, client) = used(&[Expect, reset()], &[&[Expect, OK]]).await;
    assert_eq!(get(&client, "/").await.unwrap().timing.tries, 2);
    assert_eq!(counts(&mut origin), (1, 2));
}

#[tokio::test]
async fn never_twice() {
    let (mut origin, client) = used(&[Expect], &[&[Expect], &[Expect, OK]]).await;
    assert_eq!(get(&client, "/").await.unwrap_err().kind, ErrorKind::Reset);
    assert_eq!(counts(&mut origin), (1, 2));
}

#[tokio::test]
async fn a_fresh_connection_that_closes_is_a_failure() {
    for end in [vec![Expect], vec![Expect, reset()], vec![Expect, PART]] {
        let mut origin = Wire::new(vec![end, vec![Expect, OK]]).await;
        let error = get(&plain(&origin.url()), "/").await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Reset, "{error}");
        assert_eq!(counts(&mut origin), (1, 1));
    }
}

#[tokio::test]
async fn what_may_not_be_repeated_is_not() {
    for (method, body) in
        [(Method::POST, false), (Method::PUT, false), (Method::DELETE, false), (Method::GET, true)]
    {
        let (mut origin, client) = used(&[Expect], &[&[Expect, OK]]).await;
        let mut asked = request(method.clone(), "/");
        asked.body = body.then(|| {
            asked.headers.insert("content-length", 4.into());
            pieces(&["body"])
        });
        assert_eq!(client.send(asked).await.expect_err(method.as_str()).kind, ErrorKind::Reset);
        assert_eq!(counts(&mut origin), (0, 1), "{method}");
    }
}

#[tokio::test]
async fn a_timeout_is_not_tried_again() {
    let (mut origin, client) = used(&[Expect, silence()], &[&[Expect, OK]]).await;
    assert_eq!(get(&client, "/").await.unwrap_err().kind, ErrorKind::FirstByteTimeout);
    origin.until(Heard::Gone).await;
    assert_eq!(counts(&mut origin), (0, 0));
}

#[tokio::test]
async fn a_head_that_breaks_off_looks_like_none() {
    // The library tells nothing of the bytes that came; a safe request may be repeated.
    let (mut origin, client) = used(&[Expect, PART], &[&[Expect, OK]]).await;
    assert_eq!(get(&client, "/").await.unwrap().timing.tries, 2);
    assert_eq!(counts(&mut origin), (1, 2));
}

#[tokio::test]
async fn a_body_that_breaks_off_is_not_tried_again() {
    let (mut origin, client) =
        used(&[Expect, say("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhi")], &[&[Expect, OK]]).await;
    let response = get(&client, "/").await.unwrap();
    assert_eq!(read(response).await.1.unwrap().kind, ErrorKind::Truncated);
    assert_eq!(counts(&mut origin), (0, 1));
    // Nor if nothing of it came.
    let (mut origin, client) =
        used(&[Expect, say("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n")], &[&[Expect, OK]]).await;
    let broke = match get(&client, "/").await {
        Ok(response) => read(response).await.1.unwrap(),
        Err(error) => error,
    };
    assert_eq!(broke.kind, ErrorKind::Truncated);
    assert_eq!(counts(&mut origin), (0, 1));
}

#[tokio::test]
async fn on_sent_is_called_once() {
    let (_origin, client) = used(&[Expect], &[&[Expect, OK]]).await;
    let calls = Arc::new(AtomicUsize::new(0));
    let mut asked = request(Method::GET, "/");
    let counter = calls.clone();
    asked.on_sent = Some(Box::new(move || {
        counter.fetch_add(1, Ordering::Relaxed);
    }));
    assert_eq!(client.send(asked).await.unwrap().timing.tries, 2);
    assert_eq!(calls.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_connection_closed_while_idle_costs_nothing() {
    let (mut origin, client) = used(&[], &[&[Expect, OK]]).await;
    assert_eq!(read(get(&client, "/").await.unwrap()).await.0, "ok");
    assert_eq!(counts(&mut origin), (1, 1), "seen once, wherever the close was noticed");
}

#[tokio::test]
async fn connections_need_not_be_kept() {
    let mut origin = Wire::new(vec![vec![Expect, OK, Expect], vec![Expect, OK]]).await;
    let client = client(&origin.url(), |settings| settings.pool_idle_timeout = Duration::ZERO);
    for _ in 0..2 {
        assert_eq!(read(get(&client, "/").await.unwrap()).await.0, "ok");
        settle().await;
    }
    assert_eq!(counts(&mut origin), (2, 2));
}
