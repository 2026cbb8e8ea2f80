//! Which connection an exchange went over, where several are made at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// How often an origin closed a connection under a request.
type Closed = Arc<AtomicUsize>;

/// An origin that answers the first request of a connection, and closes each connection under one of
/// those that come after it, as a server does whose keep-alive has just ended.
async fn forgetful() -> (String, Closed) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let closed = Closed::default();
    let count = closed.clone();
    tokio::spawn(async move {
        for nth in 0_usize.. {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(answers(stream, 1 + nth % 3, count.clone()));
        }
    });
    (url, closed)
}

async fn answers(mut stream: TcpStream, many: usize, closed: Closed) {
    let mut read = [0; 4096];
    for _ in 0..many {
        if stream.read(&mut read).await.unwrap_or(0) == 0 {
            return;
        }
        tokio::task::yield_now().await;
        if stream.write_all(OK).await.is_err() {
            return;
        }
    }
    if stream.read(&mut read).await.unwrap_or(0) > 0 {
        closed.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_connection_closed_under_a_request_is_never_the_requests_failure() {
    let (url, closed) = forgetful().await;
    let client = Arc::new(plain(&url));
    let mut retried = 0;
    for _ in 0..8 {
        let asks = (0..24).map(|_| {
            let client = client.clone();
            tokio::spawn(async move {
                let mut retried = 0;
                for _ in 0..20 {
                    let response = get(&client, "/").await.unwrap();
                    retried += usize::from(response.timing.tries > 1);
                    assert_eq!(read(response).await.0, "ok");
                }
                retried
            })
        });
        retried += join_all(asks).await.into_iter().map(Result::unwrap).sum::<usize>();
    }
    assert!(retried > 100, "{retried} of {} were closed", closed.load(Ordering::Relaxed));
}
