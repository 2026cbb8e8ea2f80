//! An origin of raw bytes: a script for each connection, in the order of acceptance, in clear text or
//! behind TLS.

use std::net::SocketAddr;

use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

use super::answer::Step;
use super::play::{Stream, take};
use crate::support::{Gate, within};

/// What an origin does on a connection. When nothing is left to do it closes.
#[derive(Clone)]
pub enum Act {
    /// Reads a request: head, and content if its length is declared.
    Expect,
    /// Reads a head only.
    Head,
    /// Reads so many bytes, as they come.
    Read(usize),
    /// As the first act: there is no handshake, nor anything else, until the other side closes.
    Mute,
    /// Writes, waits, or ends it.
    Do(Step),
}

/// Writes.
pub const fn say(bytes: &'static str) -> Act {
    Act::Do(Step::Bytes(Bytes::from_static(bytes.as_bytes())))
}

/// Waits at a gate.
pub fn wait_at(gate: &Gate) -> Act {
    Act::Do(Step::Gate(gate.clone()))
}

/// Does nothing until the other side closes.
pub fn silence() -> Act {
    Act::Do(Step::Silence)
}

/// Closes so that the other side gets a reset.
pub fn reset() -> Act {
    Act::Do(Step::Reset)
}

/// What came.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// A connection was accepted.
    Connection,
    /// A request, head and content.
    Request(String),
    /// The other side closed while it was waited for.
    Gone,
}

pub struct Wire {
    pub address: SocketAddr,
    heard: mpsc::UnboundedReceiver<Heard>,
}

impl Wire {
    /// An origin in clear text.
    pub async fn new(scripts: Vec<Vec<Act>>) -> Self {
        Self::start(scripts, None).await
    }

    /// An origin behind TLS.
    pub async fn tls(scripts: Vec<Vec<Act>>, tls: TlsAcceptor) -> Self {
        Self::start(scripts, Some(tls)).await
    }

    /// One connection, one request, one answer.
    pub async fn saying(answer: &'static str) -> Self {
        Self::new(vec![vec![Act::Expect, say(answer)]]).await
    }

    async fn start(scripts: Vec<Vec<Act>>, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, heard) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            for script in scripts {
                let (socket, _) = listener.accept().await.unwrap();
                let _ = tell.send(Heard::Connection);
                let (tls, tell) = (tls.clone(), tell.clone());
                tokio::spawn(async move { serve(socket, tls, script, &tell).await });
            }
            // Whatever comes beyond the scripts is accepted, told and closed.
            while listener.accept().await.is_ok() {
                let _ = tell.send(Heard::Connection);
            }
        });
        Self { address, heard }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The next request, whatever else is heard before it.
    pub async fn request(&mut self) -> String {
        loop {
            if let Heard::Request(request) = self.next().await {
                return request;
            }
        }
    }

    /// Waits until this is heard.
    pub async fn until(&mut self, what: Heard) {
        while self.next().await != what {}
    }

    /// All that was heard and not yet asked for.
    pub fn rest(&mut self) -> Vec<Heard> {
        std::iter::from_fn(|| self.heard.try_recv().ok()).collect()
    }

    async fn next(&mut self) -> Heard {
        within("word from the origin", self.heard.recv()).await.unwrap()
    }
}

async fn serve(
    socket: TcpStream,
    tls: Option<TlsAcceptor>,
    script: Vec<Act>,
    tell: &mpsc::UnboundedSender<Heard>,
) {
    let tls = tls.filter(|_| !matches!(script.first(), Some(Act::Mute)));
    let mut stream: Box<dyn Stream> = match tls {
        None => Box::new(socket),
        Some(tls) => match tls.accept(socket).await {
            Ok(stream) => Box::new(stream),
            Err(_) => return,
        },
    };
    let mut read = Vec::new();
    for act in script {
        match act {
            Act::Do(Step::Silence) | Act::Mute => {
                let _ = stream.read_to_end(&mut Vec::new()).await;
                let _ = tell.send(Heard::Gone);
                return;
            }
            Act::Do(step) => {
                if take(&mut *stream, &step, false).await.is_some() {
                    return;
                }
            }
            Act::Expect | Act::Head | Act::Read(_) => match request(&mut *stream, &mut read, &act).await {
                Some(request) => drop(tell.send(Heard::Request(request))),
                None => return,
            },
        }
    }
    let _ = stream.shutdown().await;
}

/// What the act asks for; bytes beyond it stay in `read`.
async fn request(stream: &mut dyn Stream, read: &mut Vec<u8>, act: &Act) -> Option<String> {
    let end = loop {
        let head = read.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4);
        let end = match (act, head) {
            (Act::Read(count), _) => Some(*count),
            (Act::Expect, Some(head)) => Some(head + content_length(&read[..head])),
            (_, head) => head,
        };
        if let Some(end) = end.filter(|end| *end <= read.len()) {
            break end;
        }
        if stream.read_buf(read).await.ok()? == 0 {
            return None;
        }
    };
    Some(String::from_utf8(read.drain(..end).collect()).unwrap())
}

fn content_length(head: &[u8]) -> usize {
    let head = String::from_utf8_lossy(head).to_lowercase();
    head.lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .map_or(0, |length| length.parse().unwrap())
}
