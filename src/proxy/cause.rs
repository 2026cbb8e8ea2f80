//! The error responses of this proxy: one table from cause to status, word and sentence.

use std::time::{Duration, UNIX_EPOCH};

use http::StatusCode;
use serde_json::json;

use crate::key::target::Refusal;
use crate::route::NoRoute;
use crate::upstream::ErrorKind;

/// Why this proxy answers with an error of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The request target can't be passed on.
    Target(Refusal),
    /// The head is not HTTP.
    Malformed,
    /// The head is of an HTTP version that is not supported.
    Version,
    /// The head was not complete in time.
    HeadTimeout,
    /// The head is longer than the settings allow, or has more fields.
    HeadTooLarge,
    /// No route matches.
    NoRoute(NoRoute),
    /// The request has the fleet's id in CDN-Loop: it has been here before.
    Loop,
    /// The request needs another protocol on its connection.
    Upgrade,
    /// The exchange with upstream failed.
    Upstream(ErrorKind),
    /// Upstream failed a moment ago, or its error response can't be shared.
    UpstreamStatus(StatusCode),
    /// Too many requests wait already.
    Waiters,
    /// The wait deadline passed, or the store is down under `on_unavailable = "error"`.
    Refused(Refused),
    /// The request says only-if-cached, and nothing stored may be used (RFC 9111 §5.2.1.7).
    OnlyIfCached,
    /// A purge on the data port was not carried out.
    NotPurged(NotPurged),
}

/// Returns whether an error of this word is for want of a place, or of the store: the same request may do better a
/// moment later.
pub(crate) fn is_for_now(word: &str) -> bool {
    let refused = [Refused::StoreDown, Refused::Deadline, Refused::Unwanted].map(Cause::Refused);
    let limited = ErrorKind::Limited { status: 503, seconds: 0 };
    let queued =
        [ErrorKind::QueueFull, ErrorKind::QueueTimeout, ErrorKind::Unwanted, limited, ErrorKind::Local];
    let causes = refused.into_iter().chain([Cause::Waiters]).chain(queued.map(Cause::Upstream));
    causes.map(Cause::as_str).any(|one| one == word)
}

/// Why a purge on the data port was not carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotPurged {
    /// Its client may not purge.
    Forbidden,
    /// As many purges have come as the route takes.
    Rate {
        /// When the next one may come.
        seconds: u32,
    },
    /// It names something that no response can have.
    Wrong,
}

/// A flight that ended without a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The store is unavailable and `on_unavailable = "error"`.
    StoreDown,
    /// The wait deadline passed.
    Deadline,
    /// Its client may have left, and no other request was known to wait.
    Unwanted,
}

impl Cause {
    /// The status.
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::Target(refusal) => refusal.status(),
            Self::Version => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Self::HeadTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::NoRoute(NoRoute::NoHost) => StatusCode::MISDIRECTED_REQUEST,
            Self::NoRoute(NoRoute::NoPath) => StatusCode::NOT_FOUND,
            Self::Loop => StatusCode::LOOP_DETECTED,
            Self::Upgrade => StatusCode::NOT_IMPLEMENTED,
            Self::Malformed | Self::Upstream(ErrorKind::RequestBody) | Self::NotPurged(NotPurged::Wrong) => {
                StatusCode::BAD_REQUEST
            }
            Self::Upstream(ErrorKind::RequestBodyTimeout | ErrorKind::RequestBodyRate) => {
                StatusCode::REQUEST_TIMEOUT
            }
            Self::Upstream(kind) if kind.is_queue() => StatusCode::SERVICE_UNAVAILABLE,
            Self::Upstream(kind) if kind.is_timeout() => StatusCode::GATEWAY_TIMEOUT,
            Self::Upstream(_) => StatusCode::BAD_GATEWAY,
            Self::UpstreamStatus(status) => status,
            Self::Waiters | Self::Refused(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::OnlyIfCached => StatusCode::GATEWAY_TIMEOUT,
            Self::NotPurged(NotPurged::Forbidden) => StatusCode::METHOD_NOT_ALLOWED,
            Self::NotPurged(NotPurged::Rate { .. }) => StatusCode::TOO_MANY_REQUESTS,
        }
    }

    /// The word in the response and in the log.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Target(refusal) => refusal.as_str(),
            Self::Malformed => "malformed",
            Self::Version => "http_version",
            Self::HeadTimeout => "header_timeout",
            Self::HeadTooLarge => "head_too_large",
            Self::NoRoute(NoRoute::NoHost) => "no_route_host",
            Self::NoRoute(NoRoute::NoPath) => "no_route_path",
            Self::Loop => "loop",
            Self::Upgrade => "upgrade",
            Self::Upstream(kind) => kind.as_str(),
            Self::UpstreamStatus(_) => "upstream_status",
            Self::Waiters => "waiters",
            Self::Refused(Refused::Deadline) => "wait_deadline",
            Self::Refused(Refused::StoreDown) => "store_unavailable",
            Self::Refused(Refused::Unwanted) => "unwanted",
            Self::OnlyIfCached => "only_if_cached",
            Self::NotPurged(NotPurged::Forbidden) => "purge_not_allowed",
            Self::NotPurged(NotPurged::Rate { .. }) => "too_many_purges",
            Self::NotPurged(NotPurged::Wrong) => "purge_of_nothing",
        }
    }

    fn detail(self) -> &'static str {
        match self {
            Self::Target(refusal) => refusal.detail(),
            Self::Malformed => "the request line or a field can't be read",
            Self::Version => "only HTTP/1.0 and HTTP/1.1 are spoken here",
            Self::HeadTimeout => "the request's head was not whole in time",
            Self::HeadTooLarge => "the request's head is too large, or has too many fields",
            Self::NoRoute(NoRoute::NoHost) => "no route has this host",
            Self::NoRoute(NoRoute::NoPath) => "no route of this host has this path",
            Self::Loop => "the request has been through here already",
            Self::Upgrade => "connections are not upgraded here, to WebSocket or to any other protocol",
            Self::Upstream(kind) => match kind {
                ErrorKind::Connect => "the origin cannot be reached",
                ErrorKind::ConnectTimeout => "the origin did not accept a connection in time",
                ErrorKind::FirstByteTimeout => "the origin did not answer in time",
                ErrorKind::ReadTimeout => "the origin stopped sending",
                ErrorKind::Tls => "no secure connection to the origin",
                ErrorKind::Reset => "the origin closed the connection without an answer",
                ErrorKind::Truncated => "the origin's answer broke off",
                ErrorKind::Protocol => "the origin's answer is not HTTP that can be passed on",
                ErrorKind::UnaskedNotModified => "the origin answered 304 to a request without a condition",
                ErrorKind::UnaskedPart => "the origin sent a part of what was asked for whole",
                ErrorKind::QueueFull => "too many requests wait for the origin",
                ErrorKind::QueueTimeout => "no place at the origin in time",
                ErrorKind::RequestBody => "the request's content broke off",
                ErrorKind::RequestBodyTimeout => "the request's content paused for too long",
                ErrorKind::RequestBodyRate => "the request's content came too slowly",
                ErrorKind::Unwanted => "places at the origin are short, and the client seemed to have left",
                ErrorKind::Limited { .. } => "the origin has asked to be left alone for a while",
                ErrorKind::Local => {
                    "no descriptor, port or memory is left here for a connection to the origin"
                }
            },
            Self::UpstreamStatus(_) => "the origin failed a moment ago",
            Self::Waiters => "too many requests wait here",
            Self::Refused(Refused::Deadline) => "no answer within the wait deadline",
            Self::Refused(Refused::StoreDown) => "the coordination store is unavailable",
            Self::Refused(Refused::Unwanted) => Self::Upstream(ErrorKind::Unwanted).detail(),
            Self::OnlyIfCached => "not stored, and only-if-cached was asked",
            Self::NotPurged(NotPurged::Forbidden) => "this client may not purge here",
            Self::NotPurged(NotPurged::Rate { .. }) => "more purges have come than this route takes",
            Self::NotPurged(NotPurged::Wrong) => {
                "1 to 1000 tags are named, each of 1 to 128 bytes, and the host that they are purged on"
            }
        }
    }

    /// After how many seconds the request may be tried again, if that is known.
    pub(crate) fn again_s(self) -> Option<u64> {
        match self {
            Self::Upstream(kind) => kind.again_s(),
            Self::NotPurged(NotPurged::Rate { seconds }) => Some(seconds.into()),
            _ => None,
        }
    }

    /// Returns whether the connection is to be closed: its framing can't be trusted.
    pub(crate) fn closes(self) -> bool {
        matches!(
            self,
            Self::Target(_)
                | Self::Malformed
                | Self::Version
                | Self::HeadTimeout
                | Self::HeadTooLarge
                | Self::Upstream(
                    ErrorKind::RequestBody | ErrorKind::RequestBodyTimeout | ErrorKind::RequestBodyRate
                )
        )
    }

    /// The length of the content.
    pub(crate) fn content_len(self) -> u64 {
        self.content().len() as u64
    }

    pub(crate) fn content(self) -> String {
        json!({ "error": self.as_str(), "detail": self.detail() }).to_string() + "\n"
    }

    /// The whole response as bytes, and the length of its content: for a connection without a request, or
    /// whose response has not begun. It is the last response of the connection.
    pub(crate) fn raw(self, now_ms: u64) -> (Vec<u8>, usize) {
        let (status, content) = (self.status(), self.content());
        let date = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_millis(now_ms));
        let again = if status == StatusCode::SERVICE_UNAVAILABLE { "retry-after: 1\r\n" } else { "" };
        let head = format!(
            "HTTP/1.1 {} {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\ncache-control: \
             no-store\r\n{again}connection: close\r\ndate: {date}\r\n\r\n",
            status.as_str(),
            status.canonical_reason().unwrap_or_default(),
            content.len(),
        );
        ((head + &content).into_bytes(), content.len())
    }
}
