//! Content of requests: sent once, and to its end.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dustgate::upstream::HttpVersion::Two;
use futures_util::future::join_all;
use http::Method;

use super::ground::Came::Whole;
use super::ground::{Origin, client, post, request, send, told};
use super::nginx::Nginx;

/// GOAWAY that names a request's own stream as its last one: it is answered there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_post_that_goaway_leaves_in_is_sent_once() {
    let nginx = Nginx::start("http2", "keepalive_requests 1; http2_max_concurrent_streams 1;").await;
    let client = Arc::new(client(&nginx.url(), Two, |_| {}));
    let tasks = (0..16).map(|_| {
        let client = client.clone();
        tokio::spawn(async move {
            let (mut twice, mut bad) = (0, 0);
            for _ in 0..100 {
                let seen = post(&client, "/", b"content").await;
                twice += u32::from(seen.tries > 1);
                bad += u32::from(seen.came != Whole);
            }
            (twice, bad)
        })
    });
    let all = join_all(tasks).await.into_iter().map(Result::unwrap);
    let (twice, bad) = all.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    assert_eq!((twice, bad), (0, 0), "(sent twice, failed) of 1600");
}

fn pieces() -> Vec<Bytes> {
    (0..50_u8).map(|nth| Bytes::from(vec![nth; 10_000])).collect()
}

#[tokio::test]
async fn content_goes_out_to_its_end_after_an_early_answer() {
    let origin = Origin::python(&[]);
    let client = origin.client(Two);
    let seen = send(&client, request(Method::PUT, "/?id=early&early=1", Some(pieces()))).await;
    assert_eq!(seen.came, Whole, "{}", seen.detail);
    assert_eq!(told(&origin, &client, "got-early").await, 500_000);
    // One that ends with its head.
    let seen = send(&client, request(Method::PUT, "/?id=bare&early=1&size=0", Some(pieces()))).await;
    assert_eq!(seen.came, Whole, "{}", seen.detail);
    assert_eq!(told(&origin, &client, "got-bare").await, 500_000);
}

#[tokio::test]
async fn an_answer_is_whole_when_the_origin_wants_no_more_content() {
    let origin = Origin::python(&[]);
    let client = origin.client(Two);
    for nth in 0..10 {
        let target = format!("/?id=no{nth}&early=1&enough=1");
        let seen = send(&client, request(Method::PUT, &target, Some(pieces()))).await;
        assert_eq!((seen.came, seen.tries), (Whole, 1), "{}", seen.detail);
    }
}

#[tokio::test]
async fn content_that_an_origin_takes_no_more_of_is_given_up_after_its_answer() {
    let origin = Origin::python(&[]);
    let client = origin.client_with(Two, |settings| settings.read_timeout = Duration::from_millis(300));
    let seen = send(&client, request(Method::PUT, "/?id=stuck&early=1&unread=1", Some(pieces()))).await;
    assert_eq!(seen.came, Whole, "{}", seen.detail);
    // CANCEL
    assert_eq!(told(&origin, &client, "reset-stuck").await, 8);
}
