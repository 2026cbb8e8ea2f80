//! What a connection is doing, and how long it may do it.
//!
//! hyper's own timer for a head also runs while a kept-alive connection is idle, so deadlines are kept here:
//! a short one from the first byte of a head to its last, a long one between two requests, and one for a
//! client that takes nothing of what is written to it.

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
    /// How many requests there have been on the connection.
    asked: AtomicU64,
    /// While the last response is being written: whether the next head has begun.
    begun: AtomicBool,
    /// How much of the last request's content has been read.
    content: AtomicU8,
    since_ms: AtomicU64,
    /// Since when bytes wait for the client to take some, in ms after `start`; 0 if none wait.
    stalled_ms: AtomicU64,
    start: Instant,
    presence: Arc<Presence>,
    /// Why the connection is closed early.
    closed: OnceLock<Closed>,
    /// How much of the response has been written.
    answer: Answer,
}

/// A request is being handled or its response read. When this is dropped, all of the response is in the
/// connection's buffer. When that has been written, the connection is idle.
pub(crate) struct Busy(Arc<Phase>);

/// The content of a request, while it is being read.
pub(crate) struct RequestContent {
    body: Incoming,
    /// None if the request has no content.
    reading: Option<Reading>,
}

struct Reading {
    phase: Arc<Phase>,
    /// The number of the request on its connection.
    of: u64,
}

/// The first head is awaited, and no byte of it has come.
const NEW: u8 = 0;
const IDLE: u8 = 1;
const HEAD: u8 = 2;
const BUSY: u8 = 3;
/// The response is complete in the buffer, and the client has not taken all of it yet.
const WRITING: u8 = 4;
/// The response is written, and the request's content is still being read.
const CONTENT: u8 = 5;
/// The response is written, and the rest of the request's content is left unread. What comes next is more of
/// that and no head, so nothing is written any more. If all content has come after all, another request may
/// follow.
const CLOSING: u8 = 6;

/// There is no content, or all of it was read.
const OVER: u8 = 0;
const READING: u8 = 1;
const LEFT: u8 = 2;

/// How often a connection without a deadline is checked.
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

    /// A request is being handled.
    pub(crate) fn busy(self: &Arc<Self>) -> Busy {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.answer.begins(self.what.load(Ordering::Acquire) != WRITING);
        self.content.store(OVER, Ordering::Release);
        self.set(BUSY);
        Busy(self.clone())
    }

    /// The content of the request that is being handled.
    pub(crate) fn content(self: &Arc<Self>, body: Incoming) -> RequestContent {
        let reading = (!body.is_end_stream()).then(|| {
            self.content.store(READING, Ordering::Release);
            Reading { phase: self.clone(), of: self.asked() }
        });
        RequestContent { body, reading }
    }

    /// How many requests there have been on the connection.
    pub(crate) fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }

    /// Returns whether a request is being handled, so that hyper does not read from the connection.
    pub(crate) fn is_busy(&self) -> bool {
        self.what.load(Ordering::Acquire) == BUSY
    }

    /// Returns whether bytes that hyper writes now do not answer a request of the proxy.
    pub(crate) fn is_unasked(&self) -> bool {
        matches!(self.what.load(Ordering::Acquire), NEW | IDLE | HEAD)
    }

    /// Returns whether nothing is written any more.
    pub(crate) fn is_closing(&self) -> bool {
        self.what.load(Ordering::Acquire) == CLOSING
    }

    /// Returns whether part of a head has come.
    pub(crate) fn is_in_head(&self) -> bool {
        self.what.load(Ordering::Acquire) == HEAD
    }

    /// Bytes came in. Returns whether they begin a head.
    pub(crate) fn read(&self) -> bool {
        match self.what.load(Ordering::Acquire) {
            NEW => {
                // Timed from the connection's beginning: a client that sends nothing is one whose head is
                // late.
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

    /// How much of the response has been written.
    pub(crate) fn answer(&self) -> &Answer {
        &self.answer
    }

    /// The client has ended its side of the connection.
    pub(crate) fn ends(&self) {
        self.presence.ends();
    }

    /// Bytes were written to a client that has ended its side.
    pub(crate) fn is_written_to(&self) {
        self.presence.is_written_to();
    }

    /// Nothing is left to be written. Only from here does the deadline for the client's next bytes run.
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

    /// All of the content of request `of` was read, or the rest was left unread.
    fn content_is(&self, of: u64, content: u8) {
        if self.asked() != of {
            return;
        }
        self.content.store(content, Ordering::Release);
        if self.what.load(Ordering::Acquire) == CONTENT {
            self.set(if content == LEFT { CLOSING } else { IDLE });
        }
    }

    /// The client takes no bytes of what is to be written.
    pub(crate) fn stalls(&self) {
        if self.stalled_ms.load(Ordering::Acquire) == 0 {
            self.stalled_ms.store(self.now_ms().max(1), Ordering::Release);
        }
    }

    /// How long the client has taken no bytes; none if no bytes wait for it.
    pub(crate) fn stalled(&self) -> Option<Duration> {
        match self.stalled_ms.load(Ordering::Acquire) {
            0 => None,
            since => Some(Duration::from_millis(self.now_ms().saturating_sub(since))),
        }
    }

    /// The client took some bytes.
    pub(crate) fn goes_on(&self) {
        self.stalled_ms.store(0, Ordering::Release);
    }

    /// How long the connection has been in its current phase.
    pub(crate) fn age(&self) -> Duration {
        Duration::from_millis(self.now_ms().saturating_sub(self.since_ms.load(Ordering::Acquire)))
    }

    /// The connection is closed early. Only the first reason is kept.
    pub(crate) fn closes(&self, why: Closed) {
        let _first = self.closed.set(why);
    }

    /// Why the connection is closed early, if it is.
    pub(crate) fn closed(&self) -> Option<Closed> {
        self.closed.get().copied()
    }

    /// Why the connection has to be closed now, if it has.
    pub(crate) fn expired(&self, server: &Server) -> Option<Closed> {
        self.patience(server)
            .into_iter()
            .flatten()
            .find(|(end, _)| Instant::now() >= *end)
            .map(|(_, why)| why)
    }

    /// Returns whether the connection has been idle for this long.
    pub(crate) fn is_idle_for(&self, long: Duration) -> bool {
        self.what.load(Ordering::Acquire) == IDLE && self.age() >= long
    }

    /// When the connection has to be closed if nothing happens before; none if never.
    pub(crate) fn deadline(&self, server: &Server) -> Option<Instant> {
        self.patience(server).into_iter().flatten().map(|(end, _)| end).min()
    }

    /// When to check again. Another phase may begin at any time, so after a part of the shortest deadline.
    pub(crate) fn next_look(&self, server: &Server) -> Instant {
        let patience = [server.header_timeout, server.idle_timeout, server.send_timeout].into_iter();
        let shortest = patience.filter(|patience| !patience.is_zero()).min().unwrap_or(NO_HURRY);
        let soon = Instant::now() + shortest / 4 + Duration::from_millis(1);
        self.deadline(server).map_or(soon, |end| end.min(soon))
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
    /// Why the connection is closed early, if it is.
    pub(crate) fn closed(&self) -> Option<Closed> {
        self.0.closed()
    }

    /// The content of the response ends with the connection.
    pub(crate) fn ends_by_closing(&self) {
        self.0.answer.ends_by_closing();
    }

    /// Such a response is complete.
    pub(crate) fn is_whole(&self) {
        self.0.answer.is_whole();
    }

    /// The response's content broke off. Returns whether the client, which has received nothing of it, gets
    /// this error response instead.
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

// === impl RequestContent ===

impl RequestContent {
    fn is_over(&mut self) {
        if let Some(reading) = self.reading.take() {
            reading.phase.content_is(reading.of, OVER);
        }
    }
}

impl Body for RequestContent {
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

impl Drop for RequestContent {
    fn drop(&mut self) {
        if let Some(reading) = &self.reading {
            reading.phase.content_is(reading.of, LEFT);
        }
    }
}
