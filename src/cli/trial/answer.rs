//! One answer of the origin, read.

use std::time::Duration;

use futures_util::StreamExt as _;
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, timeout_at};

use super::masked::{Foreign, Masked};
use crate::clock::WallMs;
use crate::upstream::{Body, Framing, Response};

/// The most of a body that is read, in bytes.
const MOST: u64 = 64 << 20;
/// How long a body is read: it may never end.
const READ_FOR: Duration = Duration::from_secs(20);

/// What came.
pub(super) struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub framing: Framing,
    pub requested_at: WallMs,
    pub received_at: WallMs,
    /// How much of the body was read.
    pub bytes: u64,
    /// Of what was read.
    pub digest: [u8; 32],
    pub end: End,
    /// From sending the request until the head was there.
    pub head_after: Duration,
    /// The same until reading ended.
    pub all_after: Duration,
}

/// How reading the body ended.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum End {
    /// The body is whole.
    Whole,
    /// It goes on: no more of it is read.
    GoesOn,
    /// It broke off.
    Broken(Foreign),
}

// === impl Answer ===

impl Answer {
    /// The answer as its head tells, and the body to be read.
    pub(super) fn of(response: Response, requested_at: WallMs, received_at: WallMs) -> (Self, Body) {
        let Response { status, headers, framing, body, timing, .. } = response;
        let nothing = Sha256::new().finalize().into();
        let (head_after, end) = (timing.first_byte, End::GoesOn);
        let this = Self {
            status,
            headers,
            framing,
            requested_at,
            received_at,
            bytes: 0,
            digest: nothing,
            end,
            head_after,
            all_after: head_after,
        };
        (this, body)
    }

    /// Reads the body to its end, or as much of it as is enough.
    pub(super) async fn read(mut self, mut body: Body) -> Self {
        let began = Instant::now();
        let until = began + READ_FOR;
        let mut digest = Sha256::new();
        while self.bytes <= MOST {
            match timeout_at(until, body.next()).await {
                Ok(Some(Ok(part))) => {
                    self.bytes += part.len() as u64;
                    digest.update(&part);
                    continue;
                }
                Ok(Some(Err(error))) => self.end = End::Broken(Foreign::new(error.to_string())),
                Ok(None) => self.end = End::Whole,
                Err(_elapsed) => {}
            }
            break;
        }
        self.digest = digest.finalize().into();
        self.all_after += began.elapsed();
        self
    }

    /// In one line.
    pub(super) fn shown(&self, masked: &Masked) -> String {
        let framed = match self.framing {
            Framing::Length(_) => "",
            Framing::Framed => ", without a length",
            Framing::Close => ", until the connection closes",
        };
        let end = match &self.end {
            End::Whole => String::new(),
            End::GoesOn => ", and more that was not read".to_owned(),
            End::Broken(error) => format!(", then it broke off ({})", error.shown(masked)),
        };
        let (head, all) = (self.head_after.as_millis(), self.all_after.as_millis());
        format!(
            "{}, {} B{framed}{end}: head after {head}ms, end after {all}ms",
            self.status.as_u16(),
            self.bytes
        )
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "status": self.status.as_u16(),
            "bytes": self.bytes,
            "whole": self.end == End::Whole,
            "head_ms": self.head_after.as_millis(),
            "ms": self.all_after.as_millis(),
        })
    }

    /// The values of a field, joined.
    pub(super) fn field(&self, name: &http::HeaderName) -> Option<Foreign> {
        self.joined(name).map(Foreign::new)
    }

    /// The URL that a field has.
    pub(super) fn url(&self, name: &http::HeaderName) -> Option<Foreign> {
        self.joined(name).map(|url| Foreign::url(&url))
    }

    fn joined(&self, name: &http::HeaderName) -> Option<String> {
        let lines: Vec<_> =
            self.headers.get_all(name).iter().map(|line| String::from_utf8_lossy(line.as_bytes())).collect();
        (!lines.is_empty()).then(|| lines.join(", "))
    }
}
