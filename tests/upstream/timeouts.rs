//! Who is waited for, and for how long.

use std::sync::Arc;

use dustgate::upstream::ErrorKind;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until};

use super::*;
use crate::support::Gate;
use crate::support::origin::Act::{Expect, Head, Read};
use crate::support::origin::{Heard, Wire, say, silence, wait_at};

#[tokio::test]
async fn nobody_there() {
    // Bound, and given up: nothing listens there now.
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let error = get(&plain(&format!("http://{address}")), "/").await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Connect, "{error}");
}

#[tokio::test]
async fn no_such_name() {
    let error = get(&plain("http://no-such-name.invalid"), "/secret?token=s3cret").await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Connect, "{error}");
    assert!(!error.detail.contains("s3cret"), "{error}");
}

#[tokio::test]
async fn no_connection_in_time() {
    // Accepted by the kernel, and no handshake: for TLS that is a connection that does not come.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = client(&format!("https://{}", listener.local_addr().unwrap()), |settings| {
        settings.connect_timeout = SHORT;
        settings.tls.insecure = true;
    });
    assert_eq!(get(&client, "/").await.unwrap_err().kind, ErrorKind::ConnectTimeout);
}

#[tokio::test]
async fn silence_before_the_head() {
    let mut origin = Wire::new(vec![vec![Expect, silence()]]).await;
    let client = client(&origin.url(), |settings| settings.first_byte_timeout = SHORT);
    let began = Instant::now();
    assert_eq!(get(&client, "/").await.unwrap_err().kind, ErrorKind::FirstByteTimeout);
    assert!(began.elapsed() >= SHORT);
    origin.until(Heard::Gone).await;
    assert_eq!(client.limit().in_flight(), 0);
}

#[tokio::test]
async fn silence_within_the_head() {
    let origin = Wire::new(vec![vec![Expect, say("HTTP/1.1 200 OK\r\n"), silence()]]).await;
    let client = client(&origin.url(), |settings| settings.first_byte_timeout = SHORT);
    assert_eq!(get(&client, "/").await.unwrap_err().kind, ErrorKind::FirstByteTimeout);
}

#[tokio::test]
async fn silence_within_the_body() {
    let mut origin =
        Wire::new(vec![vec![Expect, say("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello"), silence()]])
            .await;
    let client = client(&origin.url(), |settings| settings.read_timeout = SHORT);
    let (body, broke) = read(get(&client, "/").await.unwrap()).await;
    assert_eq!((body.as_str(), broke.unwrap().kind), ("hello", ErrorKind::ReadTimeout));
    origin.until(Heard::Gone).await;
    assert_eq!(client.limit().in_flight(), 0);
}

#[tokio::test]
async fn a_slow_reader_is_not_the_origins_silence() {
    let origin = Wire::saying("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello").await;
    let client = client(&origin.url(), |settings| settings.read_timeout = SHORT);
    let mut response = get(&client, "/").await.unwrap();
    assert_eq!(response.body.next().await.unwrap().unwrap(), "hello");
    sleep_until(Instant::now() + 2 * SHORT).await;
    assert!(response.body.next().await.is_none());
}

#[tokio::test]
async fn a_drip_is_not_silence() {
    let gate = Gate::shut();
    let mut script = vec![Expect, say("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n")];
    for _ in 0..6 {
        script.extend([wait_at(&gate), say("x")]);
    }
    let origin = Wire::new(vec![script]).await;
    let client = client(&origin.url(), |settings| settings.read_timeout = 2 * SHORT);
    let response = get(&client, "/").await.unwrap();
    let drip = async {
        for _ in 0..6 {
            sleep_until(Instant::now() + SHORT / 2).await;
            gate.let_one_in();
        }
    };
    let (read, ()) = tokio::join!(read(response), drip);
    assert_eq!(read, ("xxxxxx".into(), None));
}

/// A client that sends half, stalls for longer than any limit, and sends the rest.
fn stalling(first: &'static str, rest: &'static str) -> (dustgate::upstream::Body, Arc<Semaphore>) {
    let gate = Arc::new(Semaphore::new(0));
    let wait = gate.clone();
    let body = futures_util::stream::iter([first, rest]).then(move |piece| {
        let wait = (piece == rest).then(|| wait.clone());
        async move {
            if let Some(wait) = wait {
                wait.acquire().await.unwrap().forget();
            }
            Ok(bytes::Bytes::from_static(piece.as_bytes()))
        }
    });
    (Box::pin(body), gate)
}

#[tokio::test]
async fn a_stalling_client_is_not_a_silent_origin() {
    let mut origin =
        Wire::new(vec![vec![Expect, say("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")]]).await;
    let client = client(&origin.url(), |settings| settings.first_byte_timeout = SHORT);
    let (body, gate) = stalling("hello", "world");
    let mut asked = request(Method::POST, "/");
    asked.headers.insert("content-length", 10.into());
    asked.body = Some(body);
    let goes_on = async {
        sleep_until(Instant::now() + 3 * SHORT).await;
        gate.add_permits(1);
    };
    let (response, ()) = tokio::join!(client.send(asked), goes_on);
    assert_eq!(read(response.unwrap()).await.0, "ok");
    assert!(origin.request().await.ends_with("helloworld"));
}

#[tokio::test]
async fn but_silence_after_the_clients_last_byte_is() {
    let origin = Wire::new(vec![vec![Expect, silence()]]).await;
    let client = client(&origin.url(), |settings| settings.first_byte_timeout = SHORT);
    let (body, gate) = stalling("hello", "world");
    let mut asked = request(Method::POST, "/");
    asked.headers.insert("content-length", 10.into());
    asked.body = Some(body);
    gate.add_permits(1);
    assert_eq!(client.send(asked).await.unwrap_err().kind, ErrorKind::FirstByteTimeout);
}

#[tokio::test]
async fn an_answer_may_begin_before_the_request_ends() {
    let mut origin = Wire::new(vec![vec![
        Head,
        Read(5),
        say("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nfirst"),
        Read(5),
        say("then!"),
    ]])
    .await;
    let client = client(&origin.url(), |settings| settings.read_timeout = SHORT);
    let (body, gate) = stalling("hello", "world");
    let mut asked = request(Method::POST, "/");
    asked.headers.insert("content-length", 10.into());
    asked.body = Some(body);
    let mut response = client.send(asked).await.unwrap();
    assert_eq!(response.body.next().await.unwrap().unwrap(), "first");
    let goes_on = async {
        sleep_until(Instant::now() + 3 * SHORT).await;
        gate.add_permits(1);
    };
    let (rest, ()) = tokio::join!(response.body.next(), goes_on);
    assert_eq!(rest.unwrap().unwrap(), "then!", "the client's stall was not the origin's");
    assert!(origin.request().await.starts_with("POST "));
}

#[tokio::test]
async fn who_leaves_closes_the_exchange() {
    let mut origin = Wire::new(vec![
        vec![Expect, silence()],
        vec![Expect, say("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello"), silence()],
    ])
    .await;
    let client = plain(&origin.url());
    let asking = tokio::spawn({
        let client = Arc::new(client);
        let keep = client.clone();
        async move {
            let _keep = keep;
            get(&client, "/").await.map(|_| ())
        }
    });
    origin.request().await;
    asking.abort();
    origin.until(Heard::Gone).await;

    let client = plain(&origin.url());
    let response = get(&client, "/").await.unwrap();
    assert_eq!(client.limit().in_flight(), 1);
    drop(response);
    origin.until(Heard::Gone).await;
    assert_eq!(client.limit().in_flight(), 0);
}
