//! What lies unread takes about as much memory as it is long.

use dustgate::upstream::HttpVersion::Two;
use dustgate::upstream::Upstream as _;
use futures_util::StreamExt as _;
use http::Method;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::ground::{client, request};

/// As much as a stream may hold unread.
const WINDOW: usize = 512 << 10;
const STREAMS: usize = 2;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0, 0, u8::try_from(payload.len()).unwrap(), kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Answers each request with bytes of which each has a frame of its own.
async fn answer(mut socket: TcpStream) {
    socket.write_all(&frame(4, 0, 0, &[])).await.unwrap();
    socket.read_exact(&mut [0; 24]).await.unwrap();
    loop {
        let mut head = [0; 9];
        if socket.read_exact(&mut head).await.is_err() {
            return;
        }
        let [_, high, low, kind, flags, a, b, c, d] = head;
        let mut payload = vec![0; usize::from(u16::from_be_bytes([high, low]))];
        socket.read_exact(&mut payload).await.unwrap();
        match (kind, flags & 1) {
            (4, 0) => socket.write_all(&frame(4, 1, 0, &[])).await.unwrap(),
            (6, 0) => socket.write_all(&frame(6, 1, 0, &payload)).await.unwrap(),
            (1, _) => {
                let stream = u32::from_be_bytes([a, b, c, d]);
                // :status 200
                socket.write_all(&frame(1, 4, stream, &[0x88])).await.unwrap();
                let many = frame(0, 0, stream, b"x").repeat(WINDOW / 64);
                for _ in 0..64 {
                    socket.write_all(&many).await.unwrap();
                }
                socket.write_all(&frame(0, 1, stream, &[])).await.unwrap();
            }
            _ => {}
        }
    }
}

fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[tokio::test]
async fn a_window_full_of_single_bytes_takes_little_more_than_the_window() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(answer(socket));
        }
    });
    let client = client(&url, Two, |_| {});
    let before = resident();
    let mut unread = Vec::new();
    for _ in 0..STREAMS {
        unread.push(client.send(request(Method::GET, "/", None)).await.unwrap());
    }
    // Answered when all before it has come.
    let mut last = client.send(request(Method::GET, "/", None)).await.unwrap();
    last.body.next().await.unwrap().unwrap();
    let grown = resident().saturating_sub(before);
    assert!(grown < 32 << 20, "{STREAMS} windows take {grown} bytes");
    for mut response in unread {
        let mut read = 0;
        while let Some(piece) = response.body.next().await {
            read += piece.unwrap().len();
        }
        assert_eq!(read, WINDOW);
    }
}
