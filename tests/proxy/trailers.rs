//! Fields after a body: passed to a client that takes them, with an answer that is for it alone.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Answer, Origin, Proxy};

/// An answer in chunks with two fields after them, one announced.
fn timed(directives: &str) -> Answer {
    Answer::raw(format!(
        "HTTP/1.1 200 OK\r\nCache-Control: {directives}\r\nTrailer: Server-Timing\r\n\
         Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nServer-Timing: db;dur=2\r\nX-Else: 1\r\n\r\n"
    ))
}

/// All that comes for a request with these lines.
async fn asked(proxy: &Proxy, method: &str, lines: &str) -> String {
    let mut stream = TcpStream::connect(proxy.at).await.unwrap();
    let request = format!("{method} /a HTTP/1.1\r\nHost: api.test\r\n{lines}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut all = String::new();
    stream.read_to_string(&mut all).await.unwrap();
    all.to_ascii_lowercase()
}

#[tokio::test]
async fn what_was_announced_goes_to_a_client_that_takes_it() {
    let origin = Origin::answering(timed("no-store")).await;
    let proxy = Proxy::before(&origin).await;
    for method in ["GET", "POST"] {
        let said =
            asked(&proxy, method, "Connection: TE, close\r\nTE: trailers\r\nContent-Length: 0\r\n").await;
        assert!(said.contains("trailer: server-timing\r\n"), "{said}");
        assert!(said.ends_with("0\r\nserver-timing: db;dur=2\r\n\r\n"), "{said}");
        assert!(!said.contains("x-else"), "it was not announced: {said}");
        assert!(proxy.logged(1, "/a").await[0]["aborted"].is_null());
    }
    let seen = origin.last("/a");
    assert_eq!((seen.field("te"), seen.field("connection")), ("trailers", "te"));
}

#[tokio::test]
async fn a_client_that_says_nothing_gets_none() {
    let origin = Origin::answering(timed("no-store")).await;
    let proxy = Proxy::before(&origin).await;
    for lines in ["Connection: close\r\n", "Connection: TE, close\r\nTE: gzip\r\n"] {
        let said = asked(&proxy, "POST", lines).await;
        assert!(said.ends_with("hello\r\n0\r\n\r\n"), "{said}");
        assert!(!said.contains("trailer"), "{said}");
    }
    assert_eq!(origin.last("/a").field("te"), "");
}

#[tokio::test]
async fn they_are_dropped_when_the_answer_is_stored() {
    let origin = Origin::answering(timed("max-age=60")).await;
    let proxy = Proxy::before(&origin).await;
    for _ in 0..2 {
        let said = asked(&proxy, "GET", "Connection: TE, close\r\nTE: trailers\r\n").await;
        assert!(said.contains("hello") && !said.contains("timing"), "{said}");
        proxy.until_stored(1).await;
    }
    assert_eq!(origin.total(), 1);
}
