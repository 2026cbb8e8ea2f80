//! The body of a response: where its bytes come from, and what is logged when they have been sent.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::Stream as _;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use crate::proxy::connection::Busy;
use crate::proxy::outcome::Follower;
use crate::proxy::request::access::RequestLog;

pub use crate::proxy::request::broken::Broken;
use crate::proxy::respond::multipart::Multipart;
use crate::telemetry::Access;
use crate::{body, upstream};

/// Where the bytes come from.
pub enum Source {
    /// There are none.
    Empty,
    /// Held in memory.
    Whole(Bytes),
    /// A stored body, or one that is still growing.
    Reader(body::Reader),
    /// A stored body whose first bytes were read, and checked, before the head went out.
    Primed(Bytes, Box<body::Reader>),
    /// Several parts of a stored body, or of one that is still growing.
    Parts(Box<Multipart>),
    /// The content of an exchange with upstream, as it is received.
    Upstream(upstream::Body),
}

/// The body of a response. Dropped before its end, it logs that the client left. If its source breaks off, it
/// ends with an error for the connection and never with a clean end.
pub struct ReplyBody {
    source: Source,
    /// Bytes to come, where that is known.
    left: Option<u64>,
    ticket: Option<Box<RequestLog>>,
    /// Where the trailers will be, for a client that accepts them.
    trailers: Option<Arc<OnceLock<HeaderMap>>>,
    /// The place in a flight: while the body is read, it counts as waiting for the fill.
    place: Option<Follower>,
    /// The connection is busy for as long as this is here.
    busy: Option<Busy>,
}

// === impl ReplyBody ===

impl ReplyBody {
    /// A body of `left` bytes, if that is known, from `source`.
    pub fn new(source: Source, left: Option<u64>) -> Self {
        let left = match &source {
            Source::Empty => Some(0),
            Source::Whole(bytes) => Some(bytes.len() as u64),
            Source::Reader(_) | Source::Primed(..) | Source::Parts(_) | Source::Upstream(_) => left,
        };
        Self { source, left, ticket: None, trailers: None, place: None, busy: None }
    }

    /// No bytes.
    pub fn empty() -> Self {
        Self::new(Source::Empty, Some(0))
    }

    /// Sends the trailers that came after the source's last byte.
    pub(crate) fn before_trailers(mut self, came: Arc<OnceLock<HeaderMap>>) -> Self {
        self.trailers = Some(came);
        self
    }

    /// Keeps the place in a flight until the body has gone.
    pub(crate) fn riding(mut self, place: Follower) -> Self {
        self.place = Some(place);
        self
    }

    /// Keeps the connection busy until the body has gone.
    pub(crate) fn on_connection(mut self, busy: Busy) -> Self {
        self.busy = Some(busy);
        self
    }

    /// Takes the request's log line, which is written when the body has been sent.
    pub(crate) fn with_ticket(mut self, ticket: Box<RequestLog>) -> Self {
        self.ticket = Some(ticket);
        self
    }

    /// The request's line in the log, until it is written.
    pub(crate) fn line(&self) -> Option<&Access> {
        self.ticket.as_ref().map(|ticket| &ticket.line)
    }

    fn note(&mut self, bytes: &Bytes) {
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(bytes.len() as u64);
        }
        if let Some(ticket) = &mut self.ticket {
            ticket.sent(bytes.len() as u64);
        }
    }

    fn ended(&mut self) {
        if self.left.is_none()
            && let Some(busy) = &self.busy
        {
            busy.is_whole();
        }
        if let Some(ticket) = self.ticket.take() {
            ticket.close(None);
        }
        self.place = None;
    }

    fn broke(&mut self, error: &Broken) {
        self.source = Source::Empty;
        let cause = error.cause();
        let instead = self.busy.as_ref().is_some_and(|busy| busy.says_instead(cause));
        match self.ticket.take() {
            Some(ticket) if instead => ticket.close_with(cause),
            Some(ticket) => ticket.close(Some(error)),
            None => {}
        }
        self.place = None;
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let this = &mut *self;
        let next = match &mut this.source {
            Source::Empty => None,
            Source::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                this.source = Source::Empty;
                (!bytes.is_empty()).then_some(Ok(bytes))
            }
            Source::Reader(reader) => ready!(Pin::new(reader).poll_next(cx)).map(|r| r.map_err(Broken::from)),
            Source::Primed(first, _) => {
                let first = std::mem::take(first);
                if let Source::Primed(_, reader) = std::mem::replace(&mut this.source, Source::Empty) {
                    this.source = Source::Reader(*reader);
                }
                Some(Ok(first))
            }
            Source::Parts(parts) => ready!(Pin::new(parts).poll_next(cx)).map(|r| r.map_err(Broken::from)),
            Source::Upstream(body) => ready!(body.as_mut().poll_next(cx)).map(|r| r.map_err(Broken::from)),
        };
        Poll::Ready(match next {
            Some(Ok(bytes)) => {
                this.note(&bytes);
                if this.left == Some(0) {
                    // The connection may not poll again after the last byte of a known length.
                    this.ended();
                }
                Some(Ok(Frame::data(bytes)))
            }
            Some(Err(broken)) => {
                this.broke(&broken);
                Some(Err(broken))
            }
            None => {
                let trailers = this.trailers.take();
                if let Some(fields) = trailers.and_then(|came| came.get().cloned()) {
                    // The connection may not poll again after them.
                    this.ended();
                    this.source = Source::Empty;
                    return Poll::Ready(Some(Ok(Frame::trailers(fields))));
                }
                this.ended();
                None
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.left == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Drop for ReplyBody {
    fn drop(&mut self) {
        if let Some(mut ticket) = self.ticket.take() {
            // Otherwise the log line, when dropped, says that the client left.
            if self.left == Some(0) {
                ticket.close(None);
            } else if let Some(why) = self.busy.as_ref().and_then(Busy::closed) {
                ticket.line.error = Some(why.as_str());
            }
        }
    }
}

/// Logs the status, and hands the log line to the body: it is written when that has been sent.
pub(crate) fn finish(
    mut ticket: Box<RequestLog>,
    response: http::Response<ReplyBody>,
) -> http::Response<ReplyBody> {
    ticket.answered(response.status());
    response.map(|body| body.with_ticket(ticket))
}
