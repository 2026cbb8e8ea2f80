//! What the proxy writes to log and metrics: one event a method.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::body;
use crate::catalog::Removal;
use crate::dust::{self, Number};
use crate::key::Key;
use crate::key::target::Target;
use crate::policy::PassReason;
use crate::route::Route;
use crate::telemetry::labels::{
    Closed, Eviction, FillOutcome, FollowerEnd, Integrity, Purge, Scope, Shed, Tier, Why,
};
use crate::telemetry::{Event, Fill, Level, Log, Metrics, RouteMetrics};
use crate::upstream::{self, ErrorKind};

/// Log and metrics of the proxy.
#[derive(Debug)]
pub struct Observer {
    /// The log.
    pub log: Log,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// The metrics of each route, by [`Route::index`].
    routes: Vec<Arc<RouteMetrics>>,
    ids: AtomicU64,
}

/// The data of a purge's line in the log.
#[derive(Debug)]
pub(crate) struct Audit<'a> {
    /// The kinds of the things that were purged, each once.
    pub kinds: Vec<Purge>,
    pub soft: bool,
    /// What was purged, and the field of the line that says so.
    pub what: String,
    pub field: &'static str,
    /// The name of the token that it was ordered with.
    pub by: Option<&'a str>,
}

/// The data of a fill's line in the log. Begin with [`FillReport::new`] and set what is known.
#[derive(Debug)]
pub(crate) struct FillReport<'a> {
    pub route: &'a Route,
    pub target: &'a Target,
    pub key: &'a Key,
    /// When it began, in ms of wall-clock time.
    pub ts: u64,
    /// The fencing token; logged only for a coordinated fill.
    pub fence: Option<Number>,
    /// Whether a lease protected it.
    pub coordinated: bool,
    pub outcome: FillOutcome,
    pub why: Option<Why>,
    pub duration: Duration,
    /// Bytes of content that were received from upstream.
    pub bytes: u64,
    /// Requests on this instance that rode it, beside the one that began it.
    pub followers: u64,
    /// The status of upstream's response; none if there was no response.
    pub up_status: Option<u16>,
    /// The timing of the exchange; none if there was no response.
    pub timing: Option<upstream::Timing>,
    /// What went wrong, in one word.
    pub error: Option<&'static str>,
}

impl Observer {
    /// For routes in matching order. Request ids begin with `first_id`, so that those of two instances
    /// differ.
    pub fn new(log: Log, metrics: Arc<Metrics>, routes: &[Arc<Route>], first_id: u64) -> Self {
        let routes = routes.iter().map(|route| Arc::new(metrics.route(&route.name))).collect();
        Self { log, metrics, routes, ids: AtomicU64::new(first_id) }
    }

    /// Returns the id of the next request.
    pub(crate) fn next_id(&self) -> u64 {
        self.ids.fetch_add(1, Ordering::Relaxed)
    }

    /// The metrics of a route.
    pub fn route(&self, route: &Route) -> &Arc<RouteMetrics> {
        &self.routes[route.index]
    }

    pub(crate) fn shed(&self, why: Shed) {
        self.metrics.shed.shed(why);
    }

    pub(crate) fn closed(&self, why: Closed) {
        self.metrics.process.closed(why);
    }

    pub(crate) fn refused(&self, word: &'static str) {
        self.metrics.process.refused(word);
    }

    /// A request's wait for a flight has ended, and how.
    pub(crate) fn followed(&self, scope: Scope, end: FollowerEnd, waited: Duration) {
        self.metrics.followers.ended(scope, end, waited);
    }

    pub(crate) fn passing(&self, route: &Route, reason: PassReason) {
        self.route(route).pass(reason.as_str());
    }

    /// A response of the origin is not stored.
    pub(crate) fn unstored(&self, route: &Route, reason: PassReason) {
        self.route(route).unstored(reason.as_str());
    }

    pub(crate) fn fill(&self, report: &FillReport<'_>) {
        self.route(report.route).fill(report.outcome, report.duration);
        if report.outcome == FillOutcome::Fenced {
            self.metrics.dust.fenced();
        }
        if !self.log.wants_requests() {
            return;
        }
        let timing = report.timing.unwrap_or_default();
        self.log.fill(Fill {
            ts: report.ts,
            route: report.route.name.clone(),
            host: report.target.host().to_owned(),
            path: report.target.path().to_owned(),
            query: report.target.query().map(str::to_owned),
            key: report.key.hash().0,
            fence: report.fence.filter(|_| report.coordinated),
            coordinated: report.coordinated,
            outcome: Some(report.outcome),
            why: report.why,
            duration: report.duration,
            followers: report.followers,
            upstream: report.route.upstream.clone(),
            up_status: report.up_status,
            up_connect: timing.connect,
            up_first_byte: report.timing.map(|timing| timing.first_byte),
            up_bytes: report.bytes,
            tries: timing.tries,
            error: report.error,
        });
    }

    pub(crate) fn upstream_error(&self, route: &Route, error: &upstream::Error) {
        match error.kind {
            ErrorKind::Unwanted => self.shed(Shed::Unwanted),
            ErrorKind::QueueFull | ErrorKind::QueueTimeout => self.shed(Shed::Queue),
            ErrorKind::Limited { .. } => self.shed(Shed::Limited),
            _ => {}
        }
        let event = Event::new(Level::Warn, error.kind.as_str(), error.detail.clone()).about(&route.upstream);
        self.log.event(event);
    }

    /// A response came from upstream. Logged only if it binds authentication to its connection.
    pub(crate) fn upstream_answered(&self, route: &Route, response: &upstream::Response) {
        if response.binds {
            let text = "asks for authentication that is bound to a connection: until ten minutes after the \
                        last such answer each request has a connection of its own";
            let event = Event::new(Level::Warn, "connection_auth", text).about(&route.upstream);
            self.log.event(event);
        }
    }

    pub(crate) fn store_error(&self, what: &'static str, error: &dust::Error) {
        self.log.event(Event::new(Level::Warn, "dust", error.to_string()).with("call", what));
    }

    /// Logs the failed removal of an entry. Returns whether the entry is gone.
    pub(crate) fn removed(&self, removal: impl Into<Removal>) -> bool {
        match removal.into() {
            Removal::Gone => true,
            Removal::Stays | Removal::Fenced => false,
            Removal::Failed(error) => {
                self.store_error("delete", &error);
                false
            }
        }
    }

    pub(crate) fn body_store_error(&self, error: &body::Error) {
        let text = format!("bodies are served straight through and not stored: {error}");
        self.log.warn("bodies", text);
    }

    /// Stored bytes could not be read, which counts as a miss. That the body store is still unreachable was
    /// logged before.
    pub(crate) fn unreadable(&self, error: &body::Error) {
        if matches!(error, body::Error::Away) {
            return;
        }
        self.log.warn("segment", format!("a stored body cannot be read, and counts as a miss: {error}"));
    }

    pub(crate) fn bad_pointer(&self, error: &dyn std::fmt::Display) {
        self.metrics.bodies.integrity(Integrity::Pointer);
        self.log.warn("pointer", format!("an entry is not a record, and counts as a miss: {error}"));
    }

    /// A connection ended with an error. Logged only if the client did not cause it.
    pub(crate) fn connection_error(&self, error: &hyper::Error) {
        if error.is_user() {
            self.log.warn("connection", error.to_string());
        }
    }

    pub(crate) fn accept_failed(&self, error: &std::io::Error) {
        self.log.error("accept", error.to_string());
    }

    /// TCP keepalive could not be set on the listener.
    pub(crate) fn unprobed(&self, error: &std::io::Error) {
        let text = format!("clients that are gone without a word are not found by keepalive: {error}");
        self.log.warn("keepalive", text);
    }

    /// Memory dropped this many records that were past their end.
    pub(crate) fn expired(&self, gone: usize) {
        self.metrics.memory.evictions(Tier::Memory, Eviction::Expired).inc_by(gone as u64);
    }

    /// This many records were removed because a store is full.
    pub(crate) fn made_room(&self, gone: u64) {
        self.metrics.memory.evictions(Tier::Bodies, Eviction::Room).inc_by(gone);
    }

    pub(crate) fn swept(&self, swept: &body::Swept) {
        self.metrics.bodies.swept(swept.removed);
    }

    /// An operator's purge was carried out: of things of these kinds, with this text.
    pub(crate) fn purged(&self, audit: &Audit<'_>, number: Number, coarsened: bool, took: Duration) {
        for kind in &audit.kinds {
            self.metrics.purges.purged(*kind, audit.soft, took);
        }
        self.metrics.dust.set_purge_number(number);
        let kinds: Vec<&str> = audit.kinds.iter().map(|kind| kind.as_str()).collect();
        let mut event = Event::new(Level::Info, "purge", "purged")
            .with("kind", kinds.join(" "))
            .with("soft", audit.soft)
            .with("number", number)
            .with(audit.field, audit.what.as_str());
        if coarsened {
            event = event.with("coarsened", true);
        }
        if let Some(by) = audit.by {
            event = event.with("by", by);
        }
        self.log.audit(event);
    }

    /// A token was refused what it asked of the operator's port.
    pub(crate) fn refused_operator(&self, by: &str, what: &str, why: &str) {
        let event = Event::new(Level::Warn, "refused", "refused to a token");
        self.log.audit(event.with("by", by).with("what", what).with("detail", why));
    }

    /// An operator's purge failed on the way: `written` of its stamps hold, and others may.
    pub(crate) fn half_purged(&self, audit: &Audit<'_>, written: usize, error: &dust::Error) {
        let kinds: Vec<&str> = audit.kinds.iter().map(|kind| kind.as_str()).collect();
        let mut event = Event::new(Level::Warn, "purge", "not all purged")
            .with("kind", kinds.join(" "))
            .with("soft", audit.soft)
            .with("written", written as u64)
            .with("error", error.to_string())
            .with(audit.field, audit.what.as_str());
        if let Some(by) = audit.by {
            event = event.with("by", by);
        }
        self.log.audit(event);
    }

    /// `count` stamps are still to be written to the store, because of this error.
    pub(crate) fn owes(&self, count: usize, error: &dust::Error) {
        let text = "purges by unsafe requests can't be written yet: they hold here, and are written before the \
                    store is trusted again";
        self.log.warn("stamps_owed", format!("{count} {text}: {error}"));
    }

    pub(crate) fn invalidated(&self, number: Number, took: Duration) {
        self.metrics.purges.purged(Purge::Unsafe, false, took);
        self.metrics.dust.set_purge_number(number);
    }
}

// === impl FillReport ===

impl<'a> FillReport<'a> {
    /// A coordinated fill of which only the end is known.
    pub(crate) fn new(route: &'a Route, target: &'a Target, key: &'a Key, outcome: FillOutcome) -> Self {
        Self {
            route,
            target,
            key,
            ts: 0,
            fence: None,
            coordinated: true,
            outcome,
            why: None,
            duration: Duration::ZERO,
            bytes: 0,
            followers: 0,
            up_status: None,
            timing: None,
            error: None,
        }
    }
}
