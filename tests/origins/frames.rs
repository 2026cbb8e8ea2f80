//! Frames of unusual sizes.

use dustgate::upstream::HttpVersion::Two;
use dustgate::upstream::Upstream as _;
use futures_util::StreamExt as _;
use http::Method;

use super::ground::Came::Whole;
use super::ground::{Origin, get, request};

#[tokio::test]
async fn small_frames_that_are_not_read_break_no_other_stream_and_come_whole_in_the_end() {
    let origin = Origin::python(&[]);
    let client = origin.client(Two);
    let mut unread = Vec::new();
    for nth in 0..2 {
        let target = format!("/?id=u{nth}&size=40000&piece=1&length=none");
        unread.push(client.send(request(Method::GET, &target, None)).await.unwrap());
    }
    let read = get(&client, "/?id=read&wait=4000").await;
    assert_eq!((read.came, read.tries), (Whole, 1), "{}", read.detail);
    let plain = get(&client, "/?id=plain&size=40000").await;
    for response in unread {
        let mut body = response.body;
        let mut read = Vec::new();
        while let Some(piece) = body.next().await {
            read.extend_from_slice(&piece.unwrap());
        }
        assert_eq!(read, plain.body);
    }
}

#[tokio::test]
async fn empty_frames_break_no_stream() {
    let origin = Origin::python(&[]);
    let client = origin.client(Two);
    for nth in 0..12 {
        let seen = get(&client, &format!("/?id=e{nth}&empty=10")).await;
        assert_eq!(seen.came, Whole, "response {nth}: {}", seen.detail);
    }
    let seen = get(&client, "/?id=many&empty=1000").await;
    assert_eq!(seen.came, Whole, "{}", seen.detail);
}
