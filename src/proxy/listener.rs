//! The data port: connections in, requests to the proxy.
//!
//! hyper's own timer for a head runs while a kept-alive connection is idle too, so both
//! deadlines are kept here: a short one from the first byte of a head to its last, a long one
//! between two requests.

use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep_until};

use super::{Client, Proxy};
use crate::drain::Guard;
use crate::telemetry::words::Shed;

/// How the data port treats its connections.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// From the first byte of a head to its last. Zero: for ever.
    pub header_timeout: Duration,
    /// Between two requests of a connection, from when the last byte of an answer was written.
    /// Zero: for ever.
    pub idle_timeout: Duration,
    /// The most connections; the newest above it is refused.
    pub max_connections: usize,
    /// The longest head, in bytes.
    pub max_header_size: usize,
}

/// Connections open on all listeners.
#[derive(Debug, Default)]
pub struct Connections(AtomicUsize);

/// What a connection is doing, and since when.
#[derive(Debug)]
struct Phase {
    what: AtomicU8,
    /// While the last answer is being written: whether the next head has begun.
    begun: AtomicBool,
    since_ms: AtomicU64,
    start: Instant,
}

/// When it is dropped the answer is all in the connection's buffer; when that has been written
/// the connection is idle.
pub(crate) struct Busy(Arc<Phase>);

const IDLE: u8 = 0;
const HEAD: u8 = 1;
const BUSY: u8 = 2;
/// The answer is all there, and the client has not taken all of it yet.
const WRITING: u8 = 3;

/// A socket that notes when the first byte of a head comes in, and when all has been written.
struct Watched {
    io: TcpStream,
    phase: Arc<Phase>,
}

struct Place<'a>(&'a Connections);

/// How far above the limit a head is still read.
const HEAD_SLACK: usize = 4096;
/// How often a connection is looked at that has no deadline.
const NO_HURRY: Duration = Duration::from_mins(1);

impl Connections {
    /// How many there are.
    pub fn open(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    fn enter(&self, most: usize) -> Option<Place<'_>> {
        let before = self.0.fetch_add(1, Ordering::AcqRel);
        let place = Place(self);
        (before < most).then_some(place)
    }
}

/// Serves a listener until the drain begins, and its connections until they have ended.
pub async fn serve(
    listener: TcpListener,
    proxy: Arc<Proxy>,
    limits: Limits,
    connections: Arc<Connections>,
    drain: Guard,
) {
    let mut stopping = pin!(drain.draining());
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut stopping => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((socket, peer)) => {
                let (proxy, connections, drain) = (proxy.clone(), connections.clone(), drain.clone());
                tokio::spawn(async move {
                    let Some(_place) = connections.enter(limits.max_connections) else {
                        proxy.notices.shed(Shed::Connections);
                        return;
                    };
                    connection(socket, peer, &proxy, limits, drain).await;
                });
            }
            Err(error) => {
                // Out of descriptors, most likely: it passes, and spinning would not help it.
                proxy.notices.accept_failed(&error);
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn connection(socket: TcpStream, peer: SocketAddr, proxy: &Arc<Proxy>, limits: Limits, drain: Guard) {
    // Small answers are written whole: waiting for more only delays them.
    let _ = socket.set_nodelay(true);
    let phase = Arc::new(Phase::new());
    let client = Client { peer };
    let service = service_fn(|request| {
        phase.set(BUSY);
        let busy = Busy(phase.clone());
        let client = &client;
        async move {
            let response = proxy.handle(client, request).await;
            Ok::<_, std::convert::Infallible>(response.map(|body| body.on_connection(busy)))
        }
    });
    let io = TokioIo::new(Watched { io: socket, phase: phase.clone() });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(None);
    // A little above the limit, so that what is over it is read and answered by us.
    builder.max_buf_size(limits.max_header_size.max(8192).saturating_add(HEAD_SLACK));
    let mut conn = pin!(builder.serve_connection(io, service));
    let mut stopping = pin!(drain.draining());
    let mut leaving = false;
    let mut timer = pin!(sleep_until(phase.next_look(limits)));
    loop {
        tokio::select! {
            biased;
            ended = conn.as_mut() => {
                if let Err(error) = ended {
                    proxy.notices.connection_error(&error);
                }
                return;
            }
            () = &mut stopping, if !leaving => {
                leaving = true;
                conn.as_mut().graceful_shutdown();
            }
            () = timer.as_mut() => {
                if phase.expired(limits) {
                    return;
                }
                timer.as_mut().reset(phase.next_look(limits));
            }
        }
    }
}

// === impl Phase ===

impl Phase {
    fn new() -> Self {
        // A connection that says nothing is one whose head is late.
        Self {
            what: AtomicU8::new(HEAD),
            begun: AtomicBool::new(false),
            since_ms: AtomicU64::new(0),
            start: Instant::now(),
        }
    }

    fn set(&self, what: u8) {
        let since = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.since_ms.store(since, Ordering::Release);
        self.what.store(what, Ordering::Release);
    }

    /// Bytes came in.
    fn read(&self) {
        match self.what.load(Ordering::Acquire) {
            IDLE => self.set(HEAD),
            WRITING => self.begun.store(true, Ordering::Release),
            _ => {}
        }
    }

    /// Nothing is left to be written: only now may a client be late.
    fn written(&self) {
        if self.what.load(Ordering::Acquire) == WRITING {
            self.set(if self.begun.load(Ordering::Acquire) { HEAD } else { IDLE });
        }
    }

    /// Whether its patience has ended.
    fn expired(&self, limits: Limits) -> bool {
        self.patience(limits).is_some_and(|end| Instant::now() >= end)
    }

    /// When to look again. Any phase may begin at any time: a part of the shortest patience.
    fn next_look(&self, limits: Limits) -> Instant {
        let patience = [limits.header_timeout, limits.idle_timeout].into_iter();
        let shortest = patience.filter(|patience| !patience.is_zero()).min().unwrap_or(NO_HURRY);
        let soon = Instant::now() + shortest / 4 + Duration::from_millis(1);
        self.patience(limits).map_or(soon, |end| end.min(soon))
    }

    fn patience(&self, limits: Limits) -> Option<Instant> {
        let since = self.start + Duration::from_millis(self.since_ms.load(Ordering::Acquire));
        match self.what.load(Ordering::Acquire) {
            HEAD => Some(limits.header_timeout),
            IDLE => Some(limits.idle_timeout),
            _ => None,
        }
        .filter(|patience| !patience.is_zero())
        .map(|patience| since + patience)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.begun.store(false, Ordering::Release);
        self.0.set(WRITING);
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::AcqRel);
    }
}

// === impl Watched ===

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        if buf.filled().len() > before {
            self.phase.read();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The buffer above this is flushed only when it is empty.
        ready!(Pin::new(&mut self.io).poll_flush(cx))?;
        self.phase.written();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }
}
