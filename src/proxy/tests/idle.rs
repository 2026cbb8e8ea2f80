//! Connections that are idle for a while between requests, and hold little meanwhile.

use std::mem::size_of_val;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::proxy::listener::{self, connection};

const GET: &[u8] = b"GET /a HTTP/1.1\r\nHost: h.test\r\n\r\n";
/// Lets more time pass than it takes for a connection to count as idle, and less than its timeouts. It stands
/// still while bytes are on their way: paused time runs ahead of them.
async fn a_while() {
    tokio::time::pause();
    sleep(Duration::from_secs(3)).await;
    tokio::time::resume();
}

/// Reads a response, and returns its status.
async fn status(client: &mut TcpStream) -> String {
    let mut said = Vec::new();
    while !said.windows(4).any(|four| four == b"\r\n\r\n") {
        said.push(client.read_u8().await.expect("a reply"));
    }
    let head = String::from_utf8(said).expect("text");
    let len = head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
    let mut content = vec![0; len.parse().expect("a number")];
    client.read_exact(&mut content).await.expect("the content");
    head[9..12].to_owned()
}

#[tokio::test(start_paused = true)]
async fn a_connection_goes_on_after_it_was_idle() {
    let fleet = Fleet::new().await;
    let one = fleet.instance("one", WhenUnsure::Validate).await;
    tokio::time::resume();
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = TcpStream::connect(port.local_addr().unwrap()).await.unwrap();
    let (signal, guard) = crate::drain::channel();
    tokio::spawn(listener::serve(Arc::new(port), one.proxy.clone(), Arc::default(), guard));
    // It sends nothing for a while at first.
    a_while().await;
    client.write_all(GET).await.unwrap();
    assert_eq!(status(&mut client).await, "200");
    a_while().await;
    // A head in two parts.
    client.write_all(&GET[..9]).await.unwrap();
    a_while().await;
    client.write_all(&GET[9..]).await.unwrap();
    assert_eq!(status(&mut client).await, "200");
    a_while().await;
    // One and a half at once.
    client.write_all(&[GET, &GET[..9]].concat()).await.unwrap();
    assert_eq!(status(&mut client).await, "200");
    a_while().await;
    client.write_all(&GET[9..]).await.unwrap();
    assert_eq!(status(&mut client).await, "200");
    a_while().await;
    // What is no head is refused as ever.
    client.write_all(b"no head\r\n\r\n").await.unwrap();
    assert_eq!(status(&mut client).await, "400");
    assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
    drop(signal);
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_ends_when_the_process_is_told_to_leave() {
    let fleet = Fleet::new().await;
    let one = fleet.instance("one", WhenUnsure::Validate).await;
    tokio::time::resume();
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = TcpStream::connect(port.local_addr().unwrap()).await.unwrap();
    let (signal, guard) = crate::drain::channel();
    tokio::spawn(listener::serve(Arc::new(port), one.proxy.clone(), Arc::default(), guard));
    client.write_all(GET).await.unwrap();
    assert_eq!(status(&mut client).await, "200");
    a_while().await;
    signal.drain().await;
    assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_lives_as_long_as_a_connection_is_small() {
    let fleet = Fleet::new().await;
    let one = fleet.instance("one", WhenUnsure::Validate).await;
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let socket = TcpStream::connect(port.local_addr().unwrap()).await.unwrap();
    let peer = socket.local_addr().unwrap();
    let (_signal, guard) = crate::drain::channel();
    let serving = connection::serve(socket, peer, &one.proxy, guard);
    assert!(size_of_val(&serving) < 1800, "{}", size_of_val(&serving));
}
