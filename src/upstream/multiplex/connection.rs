//! One connection: how many streams it has, and when no more may begin on it.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use h2::{Ping, PingPong};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::sieve::Seen;
use super::unread::Unread;

/// The most streams that one connection is given, however many the origin allows.
pub(super) const STREAMS: usize = 64;
/// How many bytes of a stream's body may lie here unread. The connection's window has room for that much of
/// each stream, so that an unread stream does not stop another.
pub(super) const STREAM_WINDOW: u32 = 512 << 10;
/// How often a PING is sent on a connection with streams, and for how long its answer is awaited.
const PING: Duration = Duration::from_secs(5);

/// The bit beside the number of streams that marks a connection as left: no more streams begin.
const LEFT: usize = 1 << (usize::BITS - 1);

/// A connection that is ready for streams.
pub(super) struct Connection {
    send: SendRequest<Bytes>,
    /// Streams under way, and [`LEFT`]: both in one word, so that no stream begins on a connection that is
    /// left.
    streams: AtomicUsize,
    /// How many streams the origin allows.
    most: AtomicUsize,
    answered: AtomicBool,
    /// Notified when a stream has ended or the connection is left.
    changed: Notify,
    /// The bodies under way.
    bodies: Mutex<Vec<Weak<Unread>>>,
    seen: Arc<Seen>,
}

// === impl Connection ===

impl Connection {
    /// A connection on which one stream is taken already.
    pub(super) fn new(send: SendRequest<Bytes>, most: usize, seen: Arc<Seen>) -> Self {
        Self {
            send,
            streams: AtomicUsize::new(1),
            most: AtomicUsize::new(most),
            answered: AtomicBool::new(false),
            changed: Notify::new(),
            bodies: Mutex::default(),
            seen,
        }
    }

    pub(super) fn sender(&self) -> SendRequest<Bytes> {
        self.send.clone()
    }

    /// How many streams it may have at a time.
    pub(super) fn most(&self) -> usize {
        self.most.load(Ordering::Relaxed).min(STREAMS)
    }

    /// Returns whether no stream begins here any more.
    pub(super) fn is_gone(&self) -> bool {
        // Only `poll_ready` reports a GOAWAY before the connection itself has ended.
        let mut nobody = Context::from_waker(Waker::noop());
        if let Poll::Ready(Err(_)) = self.sender().poll_ready(&mut nobody) {
            self.leave();
        }
        self.is_left()
    }

    /// Takes a stream. Returns whether one was free.
    pub(super) fn take(&self) -> bool {
        if self.is_gone() {
            return false;
        }
        let most = self.most();
        let one_more = |streams: usize| (streams & LEFT == 0 && streams < most).then(|| streams + 1);
        self.streams.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more).is_ok()
    }

    /// Gives a stream back.
    pub(super) fn give_back(&self) {
        self.streams.fetch_sub(1, Ordering::AcqRel);
        self.changed.notify_one();
    }

    /// From now on no stream begins here. Those under way go on.
    pub(super) fn leave(&self) {
        self.streams.fetch_or(LEFT, Ordering::AcqRel);
        self.changed.notify_one();
    }

    pub(super) fn is_left(&self) -> bool {
        self.streams.load(Ordering::Acquire) & LEFT != 0
    }

    fn in_use(&self) -> usize {
        self.streams.load(Ordering::Acquire) & !LEFT
    }

    /// Records that the head of a response has come.
    pub(super) fn answered(&self) {
        self.answered.store(true, Ordering::Relaxed);
    }

    /// Returns whether any head has come over it.
    pub(super) fn has_answered(&self) -> bool {
        self.answered.load(Ordering::Relaxed)
    }

    /// Registers a body that is under way.
    pub(super) fn bears(&self, body: &Arc<Unread>) {
        let mut bodies = self.bodies();
        bodies.retain(|body| body.strong_count() > 0);
        bodies.push(Arc::downgrade(body));
    }

    /// Acts on the frames that came lately, before the library gives the connection up: puts small ones
    /// together, and leaves the connection after many empty ones.
    fn look_through(&self) {
        if self.seen.many_small() {
            for body in self.bodies().iter().filter_map(Weak::upgrade) {
                body.set_aside();
            }
            self.seen.together();
        }
        if self.seen.many_empty() && !self.is_left() {
            self.leave();
        }
    }

    fn bodies(&self) -> MutexGuard<'_, Vec<Weak<Unread>>> {
        // Plain changes cannot be left half done.
        self.bodies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Drives the connection until it ends, or has had no stream for `idle`.
    pub(super) async fn drive<T>(
        self: Arc<Self>,
        mut frames: h2::client::Connection<T, Bytes>,
        idle: Duration,
    ) where
        T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    {
        let pings = frames.ping_pong();
        let carried = std::future::poll_fn(|cx| {
            let ended = Pin::new(&mut frames).poll(cx);
            self.most.store(frames.max_concurrent_send_streams(), Ordering::Relaxed);
            self.look_through();
            ended
        });
        tokio::select! {
            // Each exchange learns by itself how it ended.
            _ = carried => {}
            () = self.unused(idle) => {}
            () = self.listens(pings) => {}
        }
        self.leave();
    }

    /// Resolves when no stream is under way and the connection is left, or has been unused for `idle`.
    async fn unused(&self, idle: Duration) {
        loop {
            let changed = self.changed.notified();
            if self.in_use() > 0 {
                changed.await;
            } else if self.is_left() || timeout(idle, changed).await.is_err() && self.leave_unused() {
                return;
            }
        }
    }

    /// Leaves it if no stream is under way. Returns whether it did.
    pub(super) fn leave_unused(&self) -> bool {
        let left = self.streams.compare_exchange(0, LEFT, Ordering::AcqRel, Ordering::Acquire).is_ok();
        if left {
            self.changed.notify_one();
        }
        left
    }

    /// Sends a PING now and then, and leaves the connection if no answer comes. Streams under way are not
    /// broken off: a busy origin answers late, and each exchange has limits of its own. Never resolves.
    async fn listens(&self, pings: Option<PingPong>) {
        if let Some(mut pings) = pings {
            loop {
                sleep(PING).await;
                if self.in_use() > 0 && !matches!(timeout(PING, pings.ping(Ping::opaque())).await, Ok(Ok(_)))
                {
                    self.leave();
                    break;
                }
            }
        }
        std::future::pending::<()>().await;
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("in_use", &self.in_use())
            .field("most", &self.most())
            .field("left", &self.is_left())
            .finish_non_exhaustive()
    }
}
