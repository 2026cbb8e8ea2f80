//! What a connection is doing, and how long it may.
//!
//! hyper's own timer for a head runs while a kept-alive connection is idle too, so deadlines are
//! kept here: a short one from the first byte of a head to its last, a long one between two
//! requests, and one for a client that takes nothing of what is written to it.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Instant;

use crate::proxy::cause::Cause;
use crate::proxy::connection::answer::Answer;
use crate::proxy::connection::presence::Presence;
use crate::proxy::settings::Server;
use crate::telemetry::labels::Closed;

/// What a connection is doing, and since when.
#[derive(Debug)]
pub(crate) struct Phase {
    what: AtomicU8,
    /// How many requests there were.
    asked: AtomicU64,
    /// While the last answer is being written: whether the next head has begun.
    begun: AtomicBool,
    /// What has become of the content of the last request.
    content: AtomicU8,
    since_ms: AtomicU64,
    /// Since when bytes wait for the client to take some; 0: none do.
    stalled_ms: AtomicU64,
    start: Instant,
    presence: Arc<Presence>,
    /// Why it is closed before its time.
    closed: OnceLock<Closed>,
    /// What the client has of the answer.
    answer: Answer,
}

/// When it is dropped the answer is all in the connection's buffer; when that has been written
/// the connection is idle.
pub(crate) struct Busy(Arc<Phase>);

/// The content of a request, while it is being read.
pub(crate) struct Content {
    body: Incoming,
    /// None if there is none.
    reading: Option<Reading>,
}

struct Reading {
    phase: Arc<Phase>,
    /// Which request's it is.
    of: u64,
}

/// The first head is awaited, and nothing of it has come.
const NEW: u8 = 0;
const IDLE: u8 = 1;
const HEAD: u8 = 2;
const BUSY: u8 = 3;
/// The answer is all there, and the client has not taken all of it yet.
const WRITING: u8 = 4;
/// The answer is written, and the request's content is still being read.
const CONTENT: u8 = 5;
/// The answer is written, and the request's content was left unread: what comes is more of that and no
/// head, so nothing is written any more. If it has come whole after all, another request may follow.
const CLOSING: u8 = 6;

/// There is no content, or all of it was read.
const OVER: u8 = 0;
const READING: u8 = 1;
const LEFT: u8 = 2;

/// How often a connection is looked at that has no deadline.
const NO_HURRY: Duration = Duration::from_mins(1);

// === impl Phase ===

impl Phase {
    pub(crate) fn new(presence: Arc<Presence>) -> Self {
        Self {
            what: AtomicU8::new(NEW),
            asked: AtomicU64::new(0),
            begun: AtomicBool::new(false),
            content: AtomicU8::new(OVER),
            since_ms: AtomicU64::new(0),
            stalled_ms: AtomicU64::new(0),
            start: Instant::now(),
            presence,
            closed: OnceLock::new(),
            answer: Answer::default(),
        }
    }

    /// A request is with the proxy.
    pub(crate) fn busy(self: &Arc<Self>) -> Busy {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.answer.begins(self.what.load(Ordering::Acquire) != WRITING);
        self.content.store(OVER, Ordering::Release);
        self.set(BUSY);
        Busy(self.clone())
    }

    /// The content of the request that is with the proxy.
    pub(crate) fn content(self: &Arc<Self>, body: Incoming) -> Content {
        let reading = (!body.is_end_stream()).then(|| {
            self.content.store(READING, Ordering::Release);
            Reading { phase: self.clone(), of: self.asked() }
        });
        Content { body, reading }
    }

    /// How many requests there were.
    pub(crate) fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }

    /// Whether a request is with the proxy, so that nobody reads from the connection.
    pub(crate) fn is_busy(&self) -> bool {
        self.what.load(Ordering::Acquire) == BUSY
    }

    /// Whether what is written now is no answer to a request.
    pub(crate) fn is_unasked(&self) -> bool {
        matches!(self.what.load(Ordering::Acquire), NEW | IDLE | HEAD)
    }

    /// Whether nothing is written any more.
    pub(crate) fn is_closing(&self) -> bool {
        self.what.load(Ordering::Acquire) == CLOSING
    }

    /// Whether a part of a head has come.
    pub(crate) fn is_in_head(&self) -> bool {
        self.what.load(Ordering::Acquire) == HEAD
    }

    /// Bytes came in. Says whether they begin a head.
    pub(crate) fn read(&self) -> bool {
        match self.what.load(Ordering::Acquire) {
            NEW => {
                // From the connection's beginning: one that says nothing is one whose head is late.
                self.what.store(HEAD, Ordering::Release);
                true
            }
            IDLE => {
                self.set(HEAD);
                true
            }
            WRITING if self.content.load(Ordering::Acquire) == OVER => {
                self.begun.store(true, Ordering::Release);
                false
            }
            _ => false,
        }
    }

    /// What the client has of the answer.
    pub(crate) fn answer(&self) -> &Answer {
        &self.answer
    }

    /// The client will send no more.
    pub(crate) fn ends(&self) {
        self.presence.ends();
    }

    /// Something was written to a client that will send no more.
    pub(crate) fn is_written_to(&self) {
        self.presence.is_written_to();
    }

    /// Nothing is left to be written: only now may a client be late.
    pub(crate) fn written(&self) {
        if self.what.load(Ordering::Acquire) == WRITING {
            self.set(match self.content.load(Ordering::Acquire) {
                READING => CONTENT,
                LEFT => CLOSING,
                _ if self.begun.load(Ordering::Acquire) => HEAD,
                _ => IDLE,
            });
        }
    }

    /// All of a request's content was read, or the rest was left.
    fn content_is(&self, of: u64, content: u8) {
        if self.asked() != of {
            return;
        }
        self.content.store(content, Ordering::Release);
        if self.what.load(Ordering::Acquire) == CONTENT {
            self.set(if content == LEFT { CLOSING } else { IDLE });
        }
    }

    /// The client takes nothing of what is to be written.
    pub(crate) fn stalls(&self) {
        if self.stalled_ms.load(Ordering::Acquire) == 0 {
            self.stalled_ms.store(self.now_ms().max(1), Ordering::Release);
        }
    }

    /// How long it has taken nothing; none if it is not waited for.
    pub(crate) fn stalled(&self) -> Option<Duration> {
        match self.stalled_ms.load(Ordering::Acquire) {
            0 => None,
            since => Some(Duration::from_millis(self.now_ms().saturating_sub(since))),
        }
    }

    /// The client took some.
    pub(crate) fn goes_on(&self) {
        self.stalled_ms.store(0, Ordering::Release);
    }

    /// How long the connection has been doing what it does.
    pub(crate) fn age(&self) -> Duration {
        Duration::from_millis(self.now_ms().saturating_sub(self.since_ms.load(Ordering::Acquire)))
    }

    /// It is closed before its time, for the first reason that is given.
    pub(crate) fn closes(&self, why: Closed) {
        let _first = self.closed.set(why);
    }

    /// Why it is closed before its time.
    pub(crate) fn closed(&self) -> Option<Closed> {
        self.closed.get().copied()
    }

    /// Why the connection is to be closed now, if it is.
    pub(crate) fn expired(&self, server: &Server) -> Option<Closed> {
        self.patience(server)
            .into_iter()
            .flatten()
            .find(|(end, _)| Instant::now() >= *end)
            .map(|(_, why)| why)
    }

    /// When to look again. Any phase may begin at any time: a part of the shortest patience.
    pub(crate) fn next_look(&self, server: &Server) -> Instant {
        let patience = [server.header_timeout, server.idle_timeout, server.send_timeout].into_iter();
        let shortest = patience.filter(|patience| !patience.is_zero()).min().unwrap_or(NO_HURRY);
        let soon = Instant::now() + shortest / 4 + Duration::from_millis(1);
        self.patience(server).into_iter().flatten().map(|(end, _)| end).fold(soon, Instant::min)
    }

    fn patience(&self, server: &Server) -> [Option<(Instant, Closed)>; 2] {
        let until = |since_ms, patience: Duration, why| {
            let since = self.start + Duration::from_millis(since_ms);
            (!patience.is_zero()).then(|| (since + patience, why))
        };
        let since = self.since_ms.load(Ordering::Acquire);
        let asked = match self.what.load(Ordering::Acquire) {
            NEW | HEAD => until(since, server.header_timeout, Closed::Header),
            IDLE | CLOSING => until(since, server.idle_timeout, Closed::Idle),
            _ => None,
        };
        let stalled = match self.stalled_ms.load(Ordering::Acquire) {
            0 => None,
            since => until(since, server.send_timeout, Closed::Send),
        };
        [asked, stalled]
    }

    fn set(&self, what: u8) {
        self.since_ms.store(self.now_ms(), Ordering::Release);
        self.what.store(what, Ordering::Release);
    }

    fn now_ms(&self) -> u64 {
        crate::clock::millis(self.start.elapsed())
    }
}

// === impl Busy ===

impl Busy {
    /// Why the connection is closed before its time, if it is.
    pub(crate) fn closed(&self) -> Option<Closed> {
        self.0.closed()
    }

    /// The end of the answer will be told by the connection's end alone.
    pub(crate) fn ends_by_closing(&self) {
        self.0.answer.ends_by_closing();
    }

    /// Such an answer has come to its end.
    pub(crate) fn is_whole(&self) {
        self.0.answer.is_whole();
    }

    /// The answer's content broke off. Returns whether the client, which has none of it yet, is told
    /// this instead.
    pub(crate) fn says_instead(&self, cause: Cause) -> bool {
        self.0.answer.says_instead(cause)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.begun.store(false, Ordering::Release);
        self.0.set(WRITING);
    }
}

// === impl Content ===

impl Content {
    fn is_over(&mut self) {
        if let Some(reading) = self.reading.take() {
            reading.phase.content_is(reading.of, OVER);
        }
    }
}

impl Body for Content {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if matches!(polled, Poll::Ready(None)) || self.body.is_end_stream() {
            self.is_over();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Content {
    fn drop(&mut self) {
        if let Some(reading) = &self.reading {
            reading.phase.content_is(reading.of, LEFT);
        }
    }
}
