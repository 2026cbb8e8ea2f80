//! Plays an answer on a connection.

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, Interest};
use tokio::net::TcpStream;
use tokio::time::sleep;
use tokio_rustls::server::TlsStream;

use super::answer::{Answer, Framing, Step};
use crate::support::pattern::Pattern;

/// What a script is played on: a socket, or TLS over one.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {
    fn socket(&self) -> &TcpStream;
}

impl Stream for TcpStream {
    fn socket(&self) -> &TcpStream {
        self
    }
}

impl Stream for TlsStream<TcpStream> {
    fn socket(&self) -> &TcpStream {
        self.get_ref().0
    }
}

/// What is next on the connection.
pub(super) enum After {
    /// Another request.
    Again,
    /// Nothing: the script closed it.
    Closed,
    /// Nothing: the other side closed it first.
    Left,
}

pub(super) async fn go_on(stream: &mut TcpStream) -> Option<()> {
    stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.ok()
}

pub(super) async fn play(stream: &mut TcpStream, answer: &Answer, is_head: bool) -> After {
    for step in &answer.before_head {
        if let Some(after) = take(stream, step, false).await {
            return after;
        }
    }
    if answer.framing != Framing::Raw && stream.write_all(head(answer).as_bytes()).await.is_err() {
        return After::Left;
    }
    if is_head {
        return if answer.framing == Framing::UntilClose { After::Closed } else { After::Again };
    }
    let chunked = answer.framing == Framing::Chunked;
    for step in &answer.steps {
        if let Some(after) = take(stream, step, chunked).await {
            return after;
        }
    }
    if chunked && stream.write_all(b"0\r\n\r\n").await.is_err() {
        return After::Left;
    }
    if answer.framing == Framing::UntilClose { After::Closed } else { After::Again }
}

fn head(answer: &Answer) -> String {
    let mut head = format!("HTTP/1.1 {} X\r\n", answer.status);
    for (name, value) in &answer.fields {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let bodiless = answer.status == 304 || answer.status == 204;
    match answer.framing {
        Framing::Length if !bodiless => head.push_str(&format!("Content-Length: {}\r\n", answer.len())),
        Framing::Declared(len) => head.push_str(&format!("Content-Length: {len}\r\n")),
        Framing::Chunked => head.push_str("Transfer-Encoding: chunked\r\n"),
        Framing::UntilClose => head.push_str("Connection: close\r\n"),
        Framing::Length | Framing::Raw => {}
    }
    head.push_str("\r\n");
    head
}

/// Takes one step, if that is not the last on this connection.
pub(super) async fn take(stream: &mut dyn Stream, step: &Step, chunked: bool) -> Option<After> {
    match step {
        Step::Bytes(bytes) => write(stream, bytes, chunked).await,
        Step::Pattern(len) => {
            let pattern = Pattern::new();
            let mut at = 0;
            while at < *len {
                let some = pattern.at(at, len - at);
                at += some.len() as u64;
                if let Some(left) = write(stream, some, chunked).await {
                    return Some(left);
                }
            }
            None
        }
        Step::Gate(gate) => tokio::select! {
            () = gate.pass() => None,
            () = gone(stream.socket()) => Some(After::Left),
        },
        Step::Wait(wait) => tokio::select! {
            () = sleep(*wait) => None,
            () = gone(stream.socket()) => Some(After::Left),
        },
        Step::Call(what) => {
            what();
            None
        }
        Step::Close => {
            let _closing_anyway = stream.shutdown().await;
            Some(After::Closed)
        }
        Step::Reset => {
            // With nothing left to linger for, closing is a reset.
            stream.socket().set_zero_linger().unwrap();
            Some(After::Closed)
        }
        Step::Silence => {
            gone(stream.socket()).await;
            Some(After::Left)
        }
    }
}

async fn write(stream: &mut dyn Stream, bytes: &[u8], chunked: bool) -> Option<After> {
    if bytes.is_empty() {
        return None;
    }
    let written = if chunked {
        let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
        chunk.extend_from_slice(bytes);
        chunk.extend_from_slice(b"\r\n");
        stream.write_all(&chunk).await
    } else {
        stream.write_all(bytes).await
    };
    let sent = match written {
        Ok(()) => stream.flush().await,
        Err(error) => Err(error),
    };
    sent.is_err().then_some(After::Left)
}

/// Resolves when the other side has closed.
async fn gone(stream: &TcpStream) {
    loop {
        let mut byte = [0];
        match stream.peek(&mut byte).await {
            Ok(0) | Err(_) => return,
            // The next request, sent early: that one is still there.
            Ok(_) => {
                if stream.ready(Interest::ERROR).await.is_err() {
                    return;
                }
            }
        }
    }
}
