//! What an origin may cost: connections, time, and the place of other requests.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dustgate::upstream::ErrorKind;
use dustgate::upstream::HttpVersion::{One, Two};
use futures_util::StreamExt as _;
use futures_util::future::join_all;
use http::Method;
use tokio::net::TcpListener;
use tokio::time::{Instant, timeout};

use super::ground::Came::{Nothing, Whole};
use super::ground::{Origin, client, get, post, request, send};

/// How many connections to that port are open on this side.
fn connections(port: u16) -> usize {
    let to = format!("0100007F:{port:04X}");
    let sockets = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
    // The other's address, and ESTABLISHED.
    sockets.lines().filter(|line| line.split_whitespace().skip(2).take(2).eq([to.as_str(), "01"])).count()
}

/// A refusal's second try takes a connection that is there.
#[tokio::test]
async fn refusals_do_not_pile_up_connections() {
    for most in [1, 2, 64] {
        let origin = Origin::python(&[]);
        let client = origin.client_with(Two, |settings| settings.max_concurrent = most);
        for nth in 0..60 {
            let seen = get(&client, &format!("/?id=r{nth}&do=reset.7&at=before")).await;
            assert_eq!(seen.came, Nothing(ErrorKind::Reset), "{}", seen.detail);
        }
        assert_eq!(origin.count(&client, "r59").await, 2, "each was tried twice");
        let open = connections(origin.port);
        assert!(open <= most.min(2), "{open} connections, max_concurrent = {most}");
    }
}

/// And many that are refused at once share what is made for them.
#[tokio::test]
async fn requests_that_are_refused_at_once_share_connections() {
    let origin = Origin::python(&[]);
    let client = origin.client(Two);
    for round in 0..3 {
        let targets: Vec<_> =
            (0..40).map(|nth| format!("/?id=s{round}.{nth}&do=reset.7&at=before&once=1")).collect();
        let all = join_all(targets.iter().map(|target| get(&client, target))).await;
        assert!(all.iter().all(|seen| seen.came == Whole && seen.tries == 2));
    }
    let open = connections(origin.port);
    assert!(open <= 3, "{open} connections");
}

/// Connections that were made for a burst are no more than may be in use.
#[tokio::test]
async fn idle_connections_are_no_more_than_may_be_in_use() {
    let origin = Origin::python(&["--streams", "1"]);
    let client = origin.client_with(Two, |settings| settings.max_concurrent = 3);
    for round in 0..4 {
        let targets: Vec<_> = (0..9).map(|nth| format!("/?id=i{round}.{nth}&do=reset.7&at=before")).collect();
        join_all(targets.iter().map(|target| get(&client, target))).await;
        let open = connections(origin.port);
        assert!(open <= 3, "{open} connections");
    }
}

/// An origin that accepts and says nothing is given up after the first-byte limit where there is none
/// for connecting, whatever it is that does not come; and no place is lost by it.
#[tokio::test]
async fn a_silent_origin_is_given_up_without_a_connect_timeout() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = silent.local_addr().unwrap().port();
    for (scheme, http) in [("http", One), ("http", Two), ("https", One), ("https", Two)] {
        let client = client(&format!("{scheme}://127.0.0.1:{port}"), http, |settings| {
            settings.connect_timeout = Duration::ZERO;
            settings.first_byte_timeout = Duration::from_millis(400);
            settings.max_concurrent = 2;
            settings.tls.insecure = true;
        });
        let requests = join_all((0..4).map(|_| get(&client, "/")));
        let all = timeout(Duration::from_secs(5), requests).await;
        let all = all.unwrap_or_else(|_| panic!("{scheme} over {http:?} waits for ever"));
        for seen in all {
            assert!(matches!(seen.came, Nothing(kind) if kind.is_timeout()), "{}", seen.detail);
        }
        assert_eq!(client.limit().in_flight(), 0, "{scheme} over {http:?}");
    }
}

/// So is one that allows no streams.
#[tokio::test]
async fn an_origin_without_streams_is_given_up_without_a_connect_timeout() {
    let origin = Origin::python(&["--streams", "0"]);
    let client = origin.client_with(Two, |settings| {
        settings.connect_timeout = Duration::ZERO;
        settings.first_byte_timeout = Duration::from_millis(400);
    });
    let seen = timeout(Duration::from_secs(5), get(&client, "/")).await.expect("it has an end");
    assert_eq!(seen.came, Nothing(ErrorKind::FirstByteTimeout), "{}", seen.detail);
    assert_eq!(client.limit().in_flight(), 0);
}

/// Content that is not read takes the connection's window; other content does not wait for it.
#[tokio::test]
async fn content_that_is_not_read_stops_no_other() {
    let origin = Origin::python(&[]);
    let client =
        Arc::new(origin.client_with(Two, |settings| settings.first_byte_timeout = Duration::from_secs(5)));
    // The connection is there.
    assert_eq!(get(&client, "/?id=warm").await.came, Whole);
    let (taken, mut full) = tokio::sync::mpsc::unbounded_channel();
    let pieces = futures_util::stream::iter(0..30).map(move |nth| {
        let _ = taken.send(nth);
        Ok(Bytes::from(vec![b'u'; 10_000]))
    });
    let mut stuck = request(Method::PUT, "/?id=stuck&unread=1", None);
    stuck.body = Some(Box::pin(pieces));
    let sender = client.clone();
    let stuck = tokio::spawn(async move { send(&sender, stuck).await.came });
    // With the seventh piece the window is used up.
    while full.recv().await.unwrap() < 6 {}
    let began = Instant::now();
    for nth in 0..5 {
        let seen = post(&client, &format!("/?id=small{nth}"), b"small").await;
        assert_eq!(seen.came, Whole, "{}", seen.detail);
    }
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    assert_eq!(connections(origin.port), 2, "one for the small ones, one after the other");
    stuck.abort();
}

/// Nor for content that has gone out and lies there unread.
#[tokio::test]
async fn content_that_lies_unread_stops_no_other() {
    let origin = Origin::python(&[]);
    let client =
        Arc::new(origin.client_with(Two, |settings| settings.first_byte_timeout = Duration::from_secs(5)));
    assert_eq!(get(&client, "/?id=warm").await.came, Whole);
    let mut lying = Vec::new();
    for nth in 0..4 {
        // Together all but 15 bytes of the window.
        let content = vec![Bytes::from(vec![b'l'; 16_380])];
        let request = request(Method::PUT, &format!("/?id=lie{nth}&unread=1&do=hang"), Some(content));
        let sender = client.clone();
        lying.push(tokio::spawn(async move { send(&sender, request).await.came }));
        let began = Instant::now();
        while origin.count(&client, &format!("lie{nth}")).await == 0 {
            assert!(began.elapsed() < Duration::from_secs(5));
        }
    }
    let seen = timeout(Duration::from_secs(2), post(&client, "/?id=small", b"more than 15 bytes")).await;
    assert_eq!(seen.expect("it does not wait").came, Whole);
    for task in lying {
        task.abort();
    }
}

/// Small requests with content go side by side over one connection.
#[tokio::test]
async fn small_content_shares_connections() {
    let origin = Origin::python(&[]);
    let client = origin.client(Two);
    assert_eq!(get(&client, "/?id=warm").await.came, Whole);
    let mut waiting = Vec::new();
    for nth in 0..20 {
        let target = format!("/?id=p{nth}&wait=1500");
        let mut one = Box::pin(async {
            let target = target;
            post(&client, &target, b"small").await
        });
        assert!(timeout(Duration::from_millis(20), &mut one).await.is_err(), "it waits");
        waiting.push(one);
    }
    assert!(connections(origin.port) <= 2, "{} connections", connections(origin.port));
    assert!(join_all(waiting).await.iter().all(|seen| seen.came == Whole));
}
