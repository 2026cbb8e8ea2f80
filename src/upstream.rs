//! The origin, behind a trait: the proxy never learns which client carries its requests.

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
use url::Url;

pub use self::client::Client;
pub use self::interest::Interest;
pub use self::settings::{ClientError, HostRule, HttpVersion, Settings, Tls};
pub use self::tls::Shared;

/// One origin.
#[async_trait]
pub trait Upstream: Send + Sync + Debug {
    /// Sends a request and waits for the head of the response, interim ones excluded.
    ///
    /// # Cancel safety
    /// Dropping the future (or the body) closes the exchange; nothing goes on behind it.
    async fn send(&self, request: Request) -> Result<Response, Error>;

    /// The target (path and query) that a URL of this origin has, as the origin writes its URLs;
    /// `None` if the URL is somebody else's.
    fn own_path(&self, url: &Url) -> Option<String> {
        let _ = url;
        None
    }
}

/// A request to the origin: end-to-end fields only, target checked.
pub struct Request {
    /// Method.
    pub method: Method,
    /// Path and query as they go on the wire, beginning with `/`.
    pub target: String,
    /// End-to-end fields. `Host` is as the upstream's setting says; what stands here counts only
    /// under [`settings::HostRule::Client`]. `TE: trailers` says that trailers will be passed on.
    pub headers: HeaderMap,
    /// The content, if there is any.
    pub body: Option<Body>,
    /// Which queue it waits in.
    pub lane: Lane,
    /// Until when it waits there at most, whatever the settings say.
    pub deadline: Option<Instant>,
    /// Those who are known to wait for it; none: it always counts as waited for.
    pub interest: Option<Interest>,
    /// Called once, when a place was had and the request is about to go out (F5). An error without
    /// that call says that nothing went out.
    pub on_sent: Option<Box<dyn FnOnce() + Send>>,
}

/// Which queue a request waits in when the origin has as many as it may have: fills go first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// For everybody.
    Fill,
    /// For one client.
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
    /// How the end of the body is told.
    pub framing: Framing,
    /// The body. An error in it is a break; a clean end is an end that the framing vouches for,
    /// except under [`Framing::Close`].
    pub body: Body,
    /// Measured times, for the log.
    pub timing: Timing,
    /// What may come after the body.
    pub trailers: Trailers,
    /// It asks for authentication that is bound to its connection (RFC 4559 §6), and is the first in a
    /// while: from now on no connection to this origin is kept.
    pub binds: bool,
}

/// Fields after a body (RFC 9110 §6.5): which ones the head announced, and, once the body has
/// ended, what came. Those that were not announced are dropped. Empty for most responses.
#[derive(Debug, Clone, Default)]
pub struct Trailers {
    /// The lines of Trailer (RFC 9110 §6.6.2).
    pub announced: Vec<HeaderValue>,
    /// Written before the body ends.
    pub came: Arc<OnceLock<HeaderMap>>,
}

/// Bytes as they come.
pub type Body = Pin<Box<dyn Stream<Item = Result<Bytes, Error>> + Send>>;

/// How the end of a body is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// By Content-Length, or there is none by definition (HEAD, 204, 304).
    Length(u64),
    /// By chunks or h2 frames.
    Framed,
    /// By the connection's close: truncation cannot be told.
    Close,
}

/// What a request's way cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timing {
    /// Waiting for a place.
    pub queued: Duration,
    /// What making a connection cost; none if one was at hand.
    pub connect: Option<Duration>,
    /// From the sending to the head.
    pub first_byte: Duration,
    /// How often it was sent: 2 after a retry.
    pub tries: u32,
}

/// Why there is no response, or no more of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind}: {detail}")]
pub struct Error {
    /// What kind.
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
    /// 304, where nothing was asked about.
    UnaskedNotModified,
    /// A part of bytes, where the whole was asked for.
    UnaskedPart,
    /// As many requests wait as may.
    QueueFull,
    /// Waited `queue_timeout` for a place.
    QueueTimeout,
    /// The client's own body broke off: not the origin's fault.
    RequestBody,
    /// The client's own body paused for longer than it may.
    RequestBodyTimeout,
    /// The client's own body came too slowly.
    RequestBodyRate,
    /// Not begun, or ended, because nobody is known to wait for it, and places are short. What is
    /// unsafe or has content is not ended so once it was sent.
    Unwanted,
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
            Self::Local => "local",
        }
    }

    /// Whether it was us, full, and not the origin: it says nothing of the origin and is remembered
    /// nowhere.
    pub fn is_queue(self) -> bool {
        matches!(self, Self::QueueFull | Self::QueueTimeout | Self::Unwanted | Self::Local)
    }

    /// Whether time ran out on the origin (504 and not 502).
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
