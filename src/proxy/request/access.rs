//! A request's line in the log and its share of the metrics, filled in on the way and written when the last
//! byte has been sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{StatusCode, request};
use tokio::time::Instant;

use crate::clock::WallMs;
use crate::key::Key;
use crate::key::target::Target;
use crate::proxy::cause::Cause;
use crate::proxy::connection::{Presence, Seat};
use crate::proxy::observer::Observer;
use crate::proxy::request::Forwarded;
use crate::proxy::request::broken::Broken;
use crate::record::Manifest;
use crate::route::Route;
use crate::telemetry::{Access, Cache, Log, RouteMetrics, Source, Why};
use crate::tier::Stored;
use crate::upstream;

/// What is recorded of one request.
#[derive(Debug)]
pub struct RequestLog {
    /// The line, as far as it is filled in.
    pub(crate) line: Access,
    began: Instant,
    first_byte: Option<Duration>,
    log: Log,
    metrics: Option<Arc<RouteMetrics>>,
    /// Bytes of the request's content, counted where they are read.
    read: Option<Arc<AtomicU64>>,
    /// Bodies that should have answered it and could not be read.
    pub(crate) unread: Vec<Arc<Manifest>>,
    /// The flight that it joined last had its verdict already.
    pub(crate) late: bool,
    /// Its response may be older than a purge that this instance has not heard of.
    pub(crate) unsure: bool,
    /// Its client's presence; none while it waits for no exchange.
    pub(crate) presence: Option<Arc<Presence>>,
    /// The exchange that it waits for, or whose response it is sent.
    seat: Option<Seat>,
    written: bool,
}

impl RequestLog {
    pub(crate) fn open(
        observer: &Observer,
        ts: WallMs,
        parts: &request::Parts,
        forwarded: &Forwarded,
    ) -> Box<Self> {
        let access = Access {
            ts,
            id: observer.next_id(),
            client: Some(forwarded.client),
            method: parts.method.clone(),
            scheme: forwarded.scheme.as_str(),
            proto: parts.version,
            cache: Cache::Error,
            ..Access::default()
        };
        let log = observer.log.clone();
        Box::new(Self {
            line: access,
            began: Instant::now(),
            first_byte: None,
            log,
            metrics: None,
            read: None,
            unread: Vec::new(),
            late: false,
            unsure: false,
            presence: None,
            seat: None,
            written: false,
        })
    }

    /// When the request came.
    pub(crate) fn began(&self) -> Instant {
        self.began
    }

    pub(crate) fn asks(&mut self, target: &Target) {
        if self.log.wants_requests() {
            target.host().clone_into(&mut self.line.host);
            target.path().clone_into(&mut self.line.path);
            self.line.query = target.query().map(str::to_owned);
        }
    }

    pub(crate) fn routed(&mut self, route: &Route, metrics: Arc<RouteMetrics>) {
        self.line.route = Some(route.name.clone());
        self.metrics = Some(metrics);
    }

    /// The request is answered with a stored response.
    pub(crate) fn hit(&mut self, stored: &Stored) {
        self.line.cache = Cache::Hit;
        self.line.source = Some(Source::Cached);
        self.line.key = Some(stored.hash.0);
        self.line.fence = Some(stored.record.token);
    }

    /// The request is answered with a stale stored response.
    pub(crate) fn stale_hit(&mut self, stored: &Stored, why: Why) {
        self.hit(stored);
        self.line.cache = Cache::Stale;
        self.line.stale = true;
        self.line.why = Some(why);
    }

    /// The request joins the flight of this key.
    pub(crate) fn following(&mut self, key: &Key) {
        self.line.key = Some(key.hash().0);
    }

    /// How long the request has waited for a verdict.
    pub(crate) fn waited(&mut self, wait: Duration) {
        self.line.wait = Some(wait);
    }

    pub(crate) fn upstream_answered(&mut self, route: &Route, status: StatusCode, timing: &upstream::Timing) {
        self.line.upstream = Some(route.upstream.clone());
        self.line.up_status = Some(status.as_u16());
        self.line.up_connect = timing.connect;
        self.line.up_first_byte = Some(timing.first_byte);
        self.line.tries = timing.tries;
    }

    /// The request has content, whose bytes are counted here.
    pub(crate) fn reads(&mut self, read: Arc<AtomicU64>) {
        self.read = Some(read);
    }

    /// The request waits for this exchange, until it waits for another or its response has ended.
    pub(crate) fn waits_for(&mut self, interest: upstream::Interest) {
        self.seat = None;
        let presence = self.presence.clone().unwrap_or_default();
        self.seat = Some(Seat::take(presence, interest));
    }

    /// The requests that are known to wait for that exchange.
    pub(crate) fn interest(&self) -> Option<upstream::Interest> {
        self.seat.as_ref().map(|seat| seat.interest().clone())
    }

    /// Returns whether its client may be gone: it has ended its side of the connection.
    pub(crate) fn may_be_gone(&self) -> bool {
        self.presence.as_ref().is_some_and(|presence| !presence.is_sure())
    }

    /// The response head is being sent.
    pub(crate) fn answered(&mut self, status: StatusCode) {
        self.line.status = status.as_u16();
    }

    /// Bytes of content are being sent.
    pub(crate) fn sent(&mut self, bytes: u64) {
        if self.first_byte.is_none() {
            self.first_byte = Some(self.began.elapsed());
        }
        self.line.bytes_out += bytes;
    }

    /// The response has ended, complete or broken off.
    pub(crate) fn close(mut self: Box<Self>, broken: Option<&Broken>) {
        if let Some(broken) = broken {
            self.line.aborted = true;
            self.line.error = Some(broken.word());
        }
        self.write();
    }

    /// The response broke off before its first byte, and this error response is sent instead.
    pub(crate) fn close_with(mut self: Box<Self>, cause: Cause) {
        self.line.cache = Cache::Error;
        (self.line.source, self.line.ttl_s, self.line.age_s) = (None, None, None);
        self.line.error = Some(cause.as_str());
        self.line.bytes_out = cause.content_len();
        self.answered(cause.status());
        self.write();
    }

    fn write(&mut self) {
        self.written = true;
        let duration = self.began.elapsed();
        let first_byte = self.first_byte.unwrap_or(duration);
        if let Some(metrics) = &self.metrics {
            metrics.request(
                self.line.cache,
                self.line.status,
                self.line.bytes_out,
                duration,
                Some(first_byte),
            );
        }
        self.line.duration = duration;
        if self.line.upstream.is_some() && self.line.up_bytes.is_none() {
            // Its own exchange: what was received was sent on.
            self.line.up_bytes = Some(self.line.bytes_out);
        }
        self.line.bytes_in = self.read.as_ref().map_or(0, |read| read.load(Ordering::Relaxed));
        self.line.first_byte = Some(first_byte);
        if self.log.wants_requests() {
            self.log.access(std::mem::take(&mut self.line));
        }
    }
}

impl Drop for RequestLog {
    /// If the line is not written yet, the client left before its response ended, or the process did.
    fn drop(&mut self) {
        if self.written {
            return;
        }
        self.line.aborted = true;
        if self.line.error.is_none() {
            self.line.error = Some(self.log.broken_off());
        }
        self.write();
    }
}
