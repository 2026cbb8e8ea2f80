//! Streams side by side: none stops another, and there are connections enough.

use std::time::Duration;

use bytes::Bytes;
use dustgate::upstream::ErrorKind::FirstByteTimeout;
use dustgate::upstream::HttpVersion::{One, Two};
use dustgate::upstream::Upstream as _;
use futures_util::StreamExt as _;
use futures_util::future::join_all;
use http::Method;
use tokio::time::Instant;

use super::ground::Came::{Nothing, Whole};
use super::ground::{Origin, get, request, send, told};
use crate::support::within;

/// Has that much time pass, for this side only, and all that is due then happen.
async fn pass(time: Duration) {
    tokio::time::pause();
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    tokio::time::advance(time).await;
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    tokio::time::resume();
}

/// Responses that nobody reads take their own windows, and nothing of the connection's.
#[tokio::test]
async fn streams_that_are_not_read_stop_no_other() {
    let origin = Origin::python(&[]);
    let client = origin.client(Two);
    let unread = join_all((0..40).map(|nth| {
        let request = request(Method::GET, &format!("/?id=u{nth}&size=4000000"), None);
        client.send(request)
    }))
    .await;
    assert!(unread.iter().all(Result::is_ok));
    let began = Instant::now();
    let seen = get(&client, "/?id=read&size=400000").await;
    assert_eq!((seen.came, seen.body.len()), (Whole, 400_000), "{}", seen.detail);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    // Those that are read after all are whole.
    for response in unread.into_iter().take(2) {
        let pieces: Vec<_> = response.unwrap().body.collect().await;
        let all: usize = pieces.into_iter().map(|piece| piece.unwrap().len()).sum();
        assert_eq!(all, 4_000_000);
    }
}

/// An origin of one stream at a time is asked over as many connections as requests may be sent.
#[tokio::test]
async fn where_streams_run_out_there_are_more_connections() {
    for (streams, requests) in [("1", 8), ("3", 20), ("100", 150)] {
        let origin = Origin::python(&["--streams", streams]);
        let client = origin.client(Two);
        for _ in 0..2 {
            // None is answered before all of them are there: they are side by side.
            let targets: Vec<_> = (0..requests).map(|nth| format!("/?id={nth}&crowd={requests}")).collect();
            let all = join_all(targets.iter().map(|target| get(&client, target)));
            let all = within(&format!("{requests} at once over {streams} streams"), all).await;
            assert!(all.iter().all(|seen| seen.came == Whole), "{:?}", all.first().map(|seen| &seen.detail));
            assert!(all.iter().all(|seen| seen.tries == 1), "none was refused");
        }
    }
}

/// The bound on exchanges holds over all connections, and who waits for a place does not wait for the
/// origin.
#[tokio::test]
async fn max_concurrent_counts_all_connections() {
    let origin = Origin::python(&["--streams", "1"]);
    let client = origin.client_with(Two, |settings| {
        settings.max_concurrent = 2;
        settings.first_byte_timeout = Duration::from_millis(800);
    });
    let all = join_all((0..8).map(|_| get(&client, "/?id=bound&wait=300"))).await;
    assert!(all.iter().all(|seen| seen.came == Whole), "{:?}", all.first().map(|seen| &seen.detail));
}

/// A connection that was answering and goes silent: the request on it fails, and the next has another.
#[tokio::test]
async fn a_connection_on_which_a_first_byte_timed_out_is_left() {
    for (http, words) in [(Two, &[][..]), (One, &["--h1"])] {
        let origin = Origin::python(words);
        let client = origin.client_with(http, |settings| {
            settings.first_byte_timeout = Duration::from_millis(400);
            settings.pool_idle_timeout = Duration::from_mins(1);
        });
        assert_eq!(get(&client, "/?id=warm").await.came, Whole);
        let mut failed = 0;
        for nth in 0..10 {
            let case = if nth == 0 { "&do=freeze" } else { "" };
            match get(&client, &format!("/?id={nth}{case}")).await.came {
                Whole => {}
                Nothing(FirstByteTimeout) => failed += 1,
                came => panic!("{came:?} over {http:?}"),
            }
        }
        assert_eq!(failed, 1, "{http:?}");
    }
}

/// With a long first-byte limit it is PING that finds out.
#[tokio::test]
async fn a_connection_that_answers_no_ping_is_left() {
    let origin = Origin::python(&[]);
    let client = origin.client(Two);
    assert_eq!(get(&client, "/?id=warm").await.came, Whole);
    let frozen = get(&client, "/?id=frozen&do=freeze");
    let aside = origin.client(Two);
    let later = async {
        told(&origin, &aside, "frozen").await;
        // A PING each five seconds, and as long for its answer.
        for _ in 0..3 {
            pass(Duration::from_secs(5)).await;
        }
        tokio::time::timeout(Duration::from_secs(2), get(&client, "/?id=later")).await
    };
    tokio::select! {
        seen = frozen => panic!("{:?} after its connection froze", seen.came),
        later = later => assert_eq!(later.expect("it has another connection").came, Whole),
    }
}

/// One connection after the other request, until it was idle for too long.
#[tokio::test]
async fn connections_are_shared_and_idle_ones_end() {
    let origin = Origin::python(&[]);
    let idle = Duration::from_secs(30);
    let client = origin.client_with(Two, |settings| settings.pool_idle_timeout = idle);
    let connect = async || {
        let response = client.send(request(Method::GET, "/?id=c", None)).await.unwrap();
        let connect = response.timing.connect;
        assert!(response.body.all(async |piece| piece.is_ok()).await);
        connect
    };
    assert!(connect().await.is_some(), "the first makes one");
    assert!(connect().await.is_none(), "the second finds it");
    pass(2 * idle).await;
    assert!(connect().await.is_some(), "it was idle for too long");
}

/// Content goes out within the origin's window, and comes back whole.
#[tokio::test]
async fn content_larger_than_the_window_goes_out() {
    let origin = Origin::python(&[]);
    let client = origin.client(Two);
    let pieces: Vec<Bytes> = (0..50_u8).map(|nth| Bytes::from(vec![nth; 10_000])).collect();
    let all: Vec<u8> = pieces.concat();
    let seen = send(&client, request(Method::PUT, "/?id=large", Some(pieces))).await;
    assert_eq!(seen.came, Whole, "{}", seen.detail);
    assert!(seen.body == all, "{} bytes", seen.body.len());
}
