//! The origin, behind a trait: the proxy does not depend on the HTTP client that carries its requests.

pub mod client;
pub mod interest;
pub mod limit;
pub mod settings;

mod ahead;
mod body;
mod bound;
mod classify;
mod connection;
mod head;
mod length;
mod multiplex;
mod own;
mod probe;
mod retry;
mod tls;
mod transport;

use std::fmt::{self, Debug};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::Stream;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version};
use tokio::time::Instant;

pub use self::client::Client;
pub use self::interest::Interest;
pub use self::own::OwnUrls;
pub use self::settings::{ClientError, HostRule, HttpVersion, RetryAfter, Settings, Tls};
pub use self::tls::Shared;

/// One origin.
#[async_trait]
pub trait Upstream: Send + Sync + Debug {
    /// Sends a request and waits for the head of the response, interim ones excluded.
    ///
    /// # Cancel safety
    /// Dropping the future (or the body) closes the exchange; nothing goes on behind it.
    async fn send(&self, request: Request) -> Result<Response, Error>;

    /// How the origin writes its own URLs; `None` if that is not known.
    fn own_urls(&self) -> Option<&OwnUrls> {
        None
    }
}

/// A request to the origin: end-to-end fields only, target checked.
pub struct Request {
    /// Method.
    pub method: Method,
    /// Path and query as they go on the wire, beginning with `/`.
    pub target: String,
    /// End-to-end fields. `Host` follows the upstream's setting: a Host in here is sent only under
    /// [`settings::HostRule::Client`]. `TE: trailers` says that trailers are passed on.
    pub headers: HeaderMap,
    /// The content, if there is any.
    pub body: Option<Body>,
    /// The queue in which it waits for a place.
    pub lane: Lane,
    /// Until when it waits there at most, if that is before the `queue_timeout` of the settings.
    pub deadline: Option<Instant>,
    /// The clients that wait for it. `None`: it always counts as waited for.
    pub interest: Option<Interest>,
    /// Called once, when the request has its place and is about to be sent (F5). An error without that call
    /// means that nothing was sent.
    pub on_sent: Option<Box<dyn FnOnce() + Send>>,
}

/// The queue in which a request waits while the origin is at its limit: fills go first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// Fills, whose responses may be shared.
    Fill,
    /// Passes, each for one client.
    Pass,
}

/// The head of a response, and its body to come.
pub struct Response {
    /// Status, never 1xx.
    pub status: StatusCode,
    /// All fields, as received; hop-by-hop ones removed.
    pub headers: HeaderMap,
    /// Protocol version.
    pub version: Version,
    /// How the end of the body is known.
    pub framing: Framing,
    /// The body. An error in it is a break; a clean end is an end that the framing vouches for,
    /// except under [`Framing::Close`].
    pub body: Body,
    /// Measured times, for the log.
    pub timing: Timing,
    /// The fields that may follow the body.
    pub trailers: Trailers,
    /// Whether it is the first in a while to ask for authentication that is bound to its connection (RFC 4559
    /// §6): from now on connections to this origin are not reused.
    pub binds: bool,
}

/// Fields after a body (RFC 9110 §6.5): the names that the head announced, and, once the body has ended, the
/// fields that came. Fields that were not announced are dropped. Empty for most responses.
#[derive(Debug, Clone, Default)]
pub struct Trailers {
    /// The lines of Trailer (RFC 9110 §6.6.2).
    pub announced: Vec<HeaderValue>,
    /// Written before the body ends.
    pub came: Arc<OnceLock<HeaderMap>>,
}

/// A body, as a stream of bytes.
pub type Body = Pin<Box<dyn Stream<Item = Result<Bytes, Error>> + Send>>;

/// How the end of a body is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// By Content-Length, or there is none by definition (HEAD, 204, 304).
    Length(u64),
    /// By chunks or h2 frames.
    Framed,
    /// By the connection's close: truncation cannot be detected.
    Close,
}

/// Measured times of an exchange.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timing {
    /// Time spent waiting for a place.
    pub queued: Duration,
    /// Time to make a connection; `None` if a pooled one was used.
    pub connect: Option<Duration>,
    /// Time from sending the request to the response's head.
    pub first_byte: Duration,
    /// How often it was sent: 2 after a retry.
    pub tries: u32,
}

/// Why an exchange failed, before its head or in its body.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind}: {detail}")]
pub struct Error {
    /// The kind of failure.
    pub kind: ErrorKind,
    /// For the log and the operator; no secrets.
    pub detail: String,
}

/// What kind of failure; its word is the same in log, metric and answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// No connection: refused, no route, no such name.
    Connect,
    /// No connection within `connect_timeout`.
    ConnectTimeout,
    /// No response head within `first_byte_timeout`.
    FirstByteTimeout,
    /// No more of the body within `read_timeout`.
    ReadTimeout,
    /// The certificate or the handshake.
    Tls,
    /// Closed or reset before the head was whole.
    Reset,
    /// Closed or reset before the body was whole.
    Truncated,
    /// What came is not HTTP that can be passed on (unknown transfer coding, bad head).
    Protocol,
    /// 304, to a request without a condition.
    UnaskedNotModified,
    /// 206 with a part of bytes, to a request without a Range.
    UnaskedPart,
    /// The queue is full.
    QueueFull,
    /// No place within `queue_timeout`, or before the request's deadline.
    QueueTimeout,
    /// The client broke off the request's content: not the origin's fault.
    RequestBody,
    /// The client paused in the request's content for longer than allowed.
    RequestBodyTimeout,
    /// The client sent the request's content too slowly.
    RequestBodyRate,
    /// Not begun, or broken off, because no client is known to wait for it and places are short. A request
    /// that is unsafe or has content is not broken off so once it was sent.
    Unwanted,
    /// Not begun: the origin asks to be left alone.
    Limited {
        /// The status with which it did.
        status: u16,
        /// How much longer.
        seconds: u32,
    },
    /// This machine has no descriptor, port or memory left for a connection: not the origin's fault.
    Local,
}

// === impl ErrorKind ===

impl ErrorKind {
    /// The word in log, metrics and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::ConnectTimeout => "connect_timeout",
            Self::FirstByteTimeout => "first_byte_timeout",
            Self::ReadTimeout => "read_timeout",
            Self::Tls => "tls",
            Self::Reset => "reset",
            Self::Truncated => "truncated",
            Self::Protocol => "protocol",
            Self::UnaskedNotModified => "unasked_304",
            Self::UnaskedPart => "unasked_206",
            Self::QueueFull => "queue_full",
            Self::QueueTimeout => "queue_timeout",
            Self::RequestBody => "request_body",
            Self::RequestBodyTimeout => "body_timeout",
            Self::RequestBodyRate => "body_rate",
            Self::Unwanted => "unwanted",
            Self::Limited { .. } => "limited",
            Self::Local => "local",
        }
    }

    /// Returns whether the request was held back here and did not reach the origin. Such a failure says nothing
    /// new about the origin and is not remembered.
    pub fn is_queue(self) -> bool {
        matches!(
            self,
            Self::QueueFull | Self::QueueTimeout | Self::Unwanted | Self::Limited { .. } | Self::Local
        )
    }

    /// After how many seconds the request may be tried again, if that is known.
    pub fn again_s(self) -> Option<u64> {
        match self {
            Self::Limited { seconds, .. } => Some(seconds.into()),
            _ => None,
        }
    }

    /// Returns whether the origin was too slow (504 and not 502).
    pub fn is_timeout(self) -> bool {
        matches!(self, Self::ConnectTimeout | Self::FirstByteTimeout | Self::ReadTimeout)
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Fields may hold credentials; they are not printed.
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("target", &self.target)
            .field("lane", &self.lane)
            .finish_non_exhaustive()
    }
}

impl Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response")
            .field("status", &self.status)
            .field("framing", &self.framing)
            .finish_non_exhaustive()
    }
}
