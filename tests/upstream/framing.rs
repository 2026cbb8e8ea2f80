//! How the end of a body is told, and what happens when it is not.

use dustgate::upstream::{ErrorKind, Framing};
use http::{Method, StatusCode, Version};

use super::*;
use crate::support::Gate;
use crate::support::origin::Act::Expect;
use crate::support::origin::{Wire, reset, say, wait_at};

#[tokio::test]
async fn a_declared_length_is_kept_to() {
    let origin = Wire::saying("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello").await;
    let response = get(&plain(&origin.url()), "/").await.unwrap();
    assert_eq!((response.status, response.version), (StatusCode::OK, Version::HTTP_11));
    assert_eq!(response.framing, Framing::Length(5));
    assert_eq!(response.timing.tries, 1);
    assert!(response.timing.connect.is_some());
    assert_eq!(read(response).await, ("hello".into(), None));
}

#[tokio::test]
async fn fewer_bytes_than_declared_are_a_break() {
    let origin = Wire::saying("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello").await;
    let (body, broke) = read(get(&plain(&origin.url()), "/").await.unwrap()).await;
    assert_eq!((body.as_str(), broke.unwrap().kind), ("hello", ErrorKind::Truncated));
}

#[tokio::test]
async fn chunks_end_with_their_last() {
    let origin = Wire::saying(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n5\r\nhello\r\n1;x=y\r\n!\r\n0\r\nt: 1\r\n\r\n",
    )
    .await;
    let response = get(&plain(&origin.url()), "/").await.unwrap();
    assert_eq!(response.framing, Framing::Framed);
    assert!(!response.headers.contains_key("transfer-encoding"));
    assert_eq!(read(response).await, ("hello!".into(), None));
}

#[tokio::test]
async fn chunks_without_a_last_one_are_a_break() {
    for cut in ["5\r\nhello\r\n", "5\r\nhel", "5\r\nhello\r\n0\r\n", "5\r\nhello\r\n0\r\nt: 1\r\n"] {
        let answer: &'static str =
            format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{cut}").leak();
        let origin = Wire::saying(answer).await;
        let (_, broke) = read(get(&plain(&origin.url()), "/").await.unwrap()).await;
        assert_eq!(broke.expect(cut).kind, ErrorKind::Truncated, "{cut:?}");
    }
}

#[tokio::test]
async fn what_is_no_chunk_is_a_break() {
    let origin =
        Wire::saying("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\nxyz\r\nhello\r\n")
            .await;
    let (body, broke) = read(get(&plain(&origin.url()), "/").await.unwrap()).await;
    assert_eq!((body.as_str(), broke.unwrap().kind), ("ok", ErrorKind::Protocol));
}

/// It came with the head, which nobody has been told of yet.
#[tokio::test]
async fn what_is_no_chunk_from_the_first_byte_on_is_no_answer() {
    for turn in 0..50 {
        let origin =
            Wire::saying("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\nhello\r\n").await;
        let error = get(&plain(&origin.url()), "/").await.expect_err("no answer");
        assert_eq!(error.kind, ErrorKind::Protocol, "turn {turn}");
    }
}

/// What is looked at is not lost, and what has not come yet is not waited for.
#[tokio::test]
async fn the_first_bytes_are_looked_at_and_not_waited_for() {
    let gate = Gate::shut();
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-end\r\n\r\n";
    let script = vec![Expect, say(head), wait_at(&gate), say("2\r\nok\r\n0\r\nx-end: 1\r\n\r\n")];
    let origin = Wire::new(vec![script]).await;
    let response = get(&plain(&origin.url()), "/").await.unwrap();
    gate.open();
    let trailers = response.trailers.clone();
    assert_eq!(read(response).await, ("ok".into(), None));
    assert_eq!(trailers.came.get().unwrap()["x-end"], "1");
}

#[tokio::test]
async fn a_reset_in_the_body_is_a_break() {
    let gate = Gate::shut();
    let script =
        vec![Expect, say("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello"), wait_at(&gate), reset()];
    let origin = Wire::new(vec![script]).await;
    let mut response = get(&plain(&origin.url()), "/").await.unwrap();
    assert_eq!(response.body.next().await.unwrap().unwrap(), "hello");
    gate.open();
    assert_eq!(response.body.next().await.unwrap().unwrap_err().kind, ErrorKind::Truncated);
    assert!(response.body.next().await.is_none());
}

#[tokio::test]
async fn a_reset_of_a_body_that_ends_with_the_connection_is_a_break_too() {
    let gate = Gate::shut();
    let origin =
        Wire::new(vec![vec![Expect, say("HTTP/1.1 200 OK\r\n\r\nhello"), wait_at(&gate), reset()]]).await;
    let mut response = get(&plain(&origin.url()), "/").await.unwrap();
    assert_eq!(response.framing, Framing::Close);
    assert_eq!(response.body.next().await.unwrap().unwrap(), "hello");
    gate.open();
    assert_eq!(response.body.next().await.unwrap().unwrap_err().kind, ErrorKind::Truncated);
}

#[tokio::test]
async fn ends_with_the_connection() {
    for answer in ["HTTP/1.1 200 OK\r\n\r\nhello", "HTTP/1.0 200 OK\r\n\r\nhello"] {
        let origin = Wire::saying(answer).await;
        let response = get(&plain(&origin.url()), "/").await.unwrap();
        assert_eq!(response.framing, Framing::Close, "{answer:?}");
        assert_eq!(read(response).await, ("hello".into(), None));
    }
}

#[tokio::test]
async fn no_body_by_definition() {
    let table = [
        (Method::HEAD, "HTTP/1.1 200 OK\r\ncontent-length: 77\r\n\r\n"),
        (Method::HEAD, "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n"),
        (Method::GET, "HTTP/1.1 304 Not Modified\r\ncontent-length: 77\r\n\r\n"),
        (Method::GET, "HTTP/1.1 204 No Content\r\n\r\n"),
    ];
    for (method, answer) in table {
        let origin = Wire::saying(answer).await;
        let response = plain(&origin.url()).send(request(method.clone(), "/")).await.unwrap();
        assert_eq!(response.framing, Framing::Length(0), "{answer:?}");
        let length = response.headers.get("content-length").map(|value| value.to_str().unwrap());
        // Of a HEAD it is what a GET would bring; a 304 has none of its own.
        let said = (method == Method::HEAD && answer.contains("77")).then_some("77");
        assert_eq!(length, said, "{answer:?}");
        assert_eq!(read(response).await, (String::new(), None));
    }
}

#[tokio::test]
async fn interim_responses_are_passed_over() {
    let origin = Wire::saying(
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
    )
    .await;
    let response = get(&plain(&origin.url()), "/").await.unwrap();
    assert_eq!(response.status, StatusCode::OK);
    assert!(!response.headers.contains_key("link"));
    assert_eq!(read(response).await, ("ok".into(), None));
}

#[tokio::test]
async fn what_cannot_be_passed_on() {
    let table = [
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello!",
        "HTTP/1.1 200 OK\r\ncontent-length: +5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nbad header\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
        "SSH-2.0-OpenSSH_9.2\r\n",
    ];
    for answer in table {
        let origin = Wire::saying(answer).await;
        let error = get(&plain(&origin.url()), "/").await.expect_err(answer);
        assert_eq!(error.kind, ErrorKind::Protocol, "{answer:?}: {error}");
    }
}

#[tokio::test]
async fn a_coding_beats_a_length() {
    let origin = Wire::saying(
        "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    )
    .await;
    let response = get(&plain(&origin.url()), "/").await.unwrap();
    assert_eq!(response.framing, Framing::Framed);
    assert!(!response.headers.contains_key("content-length"));
    assert_eq!(read(response).await, ("hello".into(), None));
}
