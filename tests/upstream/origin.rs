//! An origin made of raw bytes: a script for each connection, in the order of acceptance.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;

use Act::{Expect, Say};

/// What an origin does on a connection. When nothing is left to do it closes.
#[derive(Clone)]
pub enum Act {
    /// Reads a request: head, and content if its length is declared.
    Expect,
    /// Reads a head only.
    Head,
    /// Reads so many bytes, as they come.
    Bytes(usize),
    /// Writes.
    Say(&'static str),
    /// Waits for a permit.
    Gate(Arc<Semaphore>),
    /// Waits until the other side closes.
    Silence,
    /// Closes so that the other side gets a reset.
    Reset,
    /// As the first act: there is no handshake, nor anything else, until the other side closes.
    Mute,
}

/// What came.
#[derive(Debug, PartialEq, Eq)]
pub enum Seen {
    /// A connection was accepted.
    Connection,
    /// A request, head and content.
    Request(String),
    /// The other side closed while it was waited for.
    Gone,
}

pub struct Origin {
    pub address: SocketAddr,
    seen: mpsc::UnboundedReceiver<Seen>,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl Origin {
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
        Self::new(vec![vec![Expect, Say(answer)]]).await
    }

    async fn start(scripts: Vec<Vec<Act>>, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, seen) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            for script in scripts {
                let (socket, _) = listener.accept().await.unwrap();
                let _ = tell.send(Seen::Connection);
                let (tls, tell) = (tls.clone(), tell.clone());
                tokio::spawn(async move { serve(socket, tls, script, &tell).await });
            }
            // Whatever comes beyond the scripts is accepted, seen and closed.
            while listener.accept().await.is_ok() {
                let _ = tell.send(Seen::Connection);
            }
        });
        Self { address, seen }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The next request, whatever else is seen before it.
    pub async fn request(&mut self) -> String {
        loop {
            if let Seen::Request(request) = self.next().await {
                return request;
            }
        }
    }

    /// Waits until this is seen.
    pub async fn until(&mut self, what: Seen) {
        while self.next().await != what {}
    }

    /// All that was seen and not yet asked for.
    pub fn rest(&mut self) -> Vec<Seen> {
        std::iter::from_fn(|| self.seen.try_recv().ok()).collect()
    }

    async fn next(&mut self) -> Seen {
        tokio::time::timeout(Duration::from_secs(10), self.seen.recv()).await.expect("seen in time").unwrap()
    }
}

async fn serve(
    socket: TcpStream,
    tls: Option<TlsAcceptor>,
    script: Vec<Act>,
    tell: &mpsc::UnboundedSender<Seen>,
) {
    if script.iter().any(|act| matches!(act, Act::Reset)) {
        socket.set_zero_linger().unwrap();
    }
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
            Expect | Act::Head | Act::Bytes(_) => match read_request(&mut stream, &mut read, &act).await {
                Some(request) => drop(tell.send(Seen::Request(request))),
                None => return,
            },
            Say(bytes) => {
                if stream.write_all(bytes.as_bytes()).await.is_err() {
                    return;
                }
                let _ = stream.flush().await;
            }
            Act::Gate(gate) => gate.acquire().await.unwrap().forget(),
            Act::Silence | Act::Mute => {
                let mut rest = Vec::new();
                let _ = stream.read_to_end(&mut rest).await;
                let _ = tell.send(Seen::Gone);
                return;
            }
            Act::Reset => return,
        }
    }
    let _ = stream.shutdown().await;
}

/// What the act asks for; bytes beyond it stay in `read`.
async fn read_request(stream: &mut Box<dyn Stream>, read: &mut Vec<u8>, act: &Act) -> Option<String> {
    let end = loop {
        let head = read.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4);
        let end = match (act, head) {
            (Act::Bytes(count), _) => Some(*count),
            (Expect, Some(head)) => Some(head + content_length(&read[..head])),
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
