//! A request's line in the log and its share of the metrics, filled in on the way and written
//! when the last byte has gone.

use std::ops::{Deref, DerefMut};
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

/// What is noted of one request.
#[derive(Debug)]
pub struct RequestLog {
    access: Access,
    began: Instant,
    first_byte: Option<Duration>,
    log: Log,
    metrics: Option<Arc<RouteMetrics>>,
    /// Bytes of the request's content, counted where they are read.
    read: Option<Arc<AtomicU64>>,
    /// Bodies that it was to be given and that could not be read.
    pub(crate) unread: Vec<Arc<Manifest>>,
    /// The flight that it joined last had its verdict already.
    pub(crate) late: bool,
    /// What it is given may be older than a purge that this instance has not heard of.
    pub(crate) unsure: bool,
    /// Whether its client is there; none while it waits for nothing.
    pub(crate) presence: Option<Arc<Presence>>,
    /// The exchange that it waits for, or whose answer it is given.
    seat: Option<Seat>,
    written: bool,
}

impl RequestLog {
    pub(crate) fn open(
        notices: &Observer,
        ts: WallMs,
        parts: &request::Parts,
        forwarded: &Forwarded,
    ) -> Box<Self> {
        let access = Access {
            ts,
            id: notices.next_id(),
            client: Some(forwarded.client),
            method: parts.method.clone(),
            scheme: forwarded.scheme.as_str(),
            proto: parts.version,
            cache: Cache::Error,
            ..Access::default()
        };
        let log = notices.log.clone();
        Box::new(Self {
            access,
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
            target.host().clone_into(&mut self.access.host);
            target.path().clone_into(&mut self.access.path);
            self.access.query = target.query().map(str::to_owned);
        }
    }

    pub(crate) fn routed(&mut self, route: &Route, metrics: Arc<RouteMetrics>) {
        self.access.route = Some(route.name.clone());
        self.metrics = Some(metrics);
    }

    /// It is answered from memory.
    pub(crate) fn hit(&mut self, stored: &Stored) {
        self.access.cache = Cache::Hit;
        self.access.source = Some(Source::Cached);
        self.access.key = Some(stored.hash.0);
        self.access.fence = Some(stored.record.token);
    }

    /// It is answered from memory although stale.
    pub(crate) fn stale_hit(&mut self, stored: &Stored, why: Why) {
        self.hit(stored);
        self.access.cache = Cache::Stale;
        self.access.stale = true;
        self.access.why = Some(why);
    }

    /// It rides a flight at this key.
    pub(crate) fn following(&mut self, key: &Key) {
        self.access.key = Some(key.hash().0);
    }

    /// It has waited so long for a verdict.
    pub(crate) fn waited(&mut self, wait: Duration) {
        self.access.wait = Some(wait);
    }

    pub(crate) fn upstream_answered(&mut self, route: &Route, status: StatusCode, timing: &upstream::Timing) {
        self.access.upstream = Some(route.upstream.clone());
        self.access.up_status = Some(status.as_u16());
        self.access.up_connect = timing.connect;
        self.access.up_first_byte = Some(timing.first_byte);
        self.access.tries = timing.tries;
    }

    /// The request has content, and this counts it.
    pub(crate) fn reads(&mut self, read: Arc<AtomicU64>) {
        self.read = Some(read);
    }

    /// It waits for an exchange, until it waits for another or its answer has ended.
    pub(crate) fn waits_for(&mut self, interest: upstream::Interest) {
        self.seat = None;
        let presence = self.presence.clone().unwrap_or_default();
        self.seat = Some(Seat::take(presence, interest));
    }

    /// Those who are known to wait for that exchange.
    pub(crate) fn interest(&self) -> Option<upstream::Interest> {
        self.seat.as_ref().map(|seat| seat.interest().clone())
    }

    /// Whether its client may be gone: it has ended its side of the connection.
    pub(crate) fn may_be_gone(&self) -> bool {
        self.presence.as_ref().is_some_and(|presence| !presence.is_sure())
    }

    /// The head is on its way.
    pub(crate) fn answered(&mut self, status: StatusCode) {
        self.access.status = status.as_u16();
    }

    /// Bytes are on their way.
    pub(crate) fn sent(&mut self, bytes: u64) {
        if self.first_byte.is_none() {
            self.first_byte = Some(self.began.elapsed());
        }
        self.access.bytes_out += bytes;
    }

    /// The answer has ended, whole or broken off.
    pub(crate) fn close(mut self: Box<Self>, broken: Option<&Broken>) {
        if let Some(broken) = broken {
            self.access.aborted = true;
            self.access.error = Some(broken.word());
        }
        self.write();
    }

    /// The answer broke off before its first byte, and this is said in its place.
    pub(crate) fn close_with(mut self: Box<Self>, cause: Cause) {
        self.access.cache = Cache::Error;
        (self.access.source, self.access.ttl_s, self.access.age_s) = (None, None, None);
        self.access.error = Some(cause.as_str());
        self.access.bytes_out = cause.content_len();
        self.answered(cause.status());
        self.write();
    }

    fn write(&mut self) {
        self.written = true;
        let duration = self.began.elapsed();
        let first_byte = self.first_byte.unwrap_or(duration);
        if let Some(metrics) = &self.metrics {
            metrics.request(
                self.access.cache,
                self.access.status,
                self.access.bytes_out,
                duration,
                Some(first_byte),
            );
        }
        self.access.duration = duration;
        if self.access.upstream.is_some() && self.access.up_bytes.is_none() {
            // Its own exchange: what came is what went on.
            self.access.up_bytes = Some(self.access.bytes_out);
        }
        self.access.bytes_in = self.read.as_ref().map_or(0, |read| read.load(Ordering::Relaxed));
        self.access.first_byte = Some(first_byte);
        if self.log.wants_requests() {
            self.log.access(std::mem::take(&mut self.access));
        }
    }
}

impl Drop for RequestLog {
    /// Unwritten: the client left, before its answer or in the middle of it.
    fn drop(&mut self) {
        if self.written {
            return;
        }
        self.access.aborted = true;
        if self.access.error.is_none() {
            self.access.error = Some("client_left");
        }
        self.write();
    }
}

impl Deref for RequestLog {
    type Target = Access;

    fn deref(&self) -> &Access {
        &self.access
    }
}

impl DerefMut for RequestLog {
    fn deref_mut(&mut self) -> &mut Access {
        &mut self.access
    }
}
