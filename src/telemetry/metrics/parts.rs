//! Metrics of the process as a whole.

use std::time::Duration;

use prometheus::{Gauge, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use super::Register;
use super::family::{Buckets, seconds};
use crate::telemetry::labels::{
    Closed, Eviction, FollowerEnd, Integrity, LeaseLost, Purge, Scope, Shed, Tier,
};

/// The process and its connections.
#[derive(Debug)]
pub struct ProcessMetrics {
    ready: IntGauge,
    draining: IntGauge,
    connections: IntGaugeVec,
    closed: IntCounterVec,
    refused: IntCounterVec,
    log_dropped: IntCounter,
    task_panics: IntCounterVec,
}

/// Requests that follow a fill.
#[derive(Debug)]
pub struct FollowerMetrics {
    ended: IntCounterVec,
    waited: HistogramVec,
}

/// Requests and connections that were turned away.
#[derive(Debug)]
pub struct ShedMetrics {
    shed: IntCounterVec,
}

/// The coordination store, and the trust that depends on it.
#[derive(Debug)]
pub struct DustMetrics {
    up: IntGauge,
    unsure: IntGauge,
    calls: HistogramVec,
    errors: IntCounterVec,
    leases_lost: IntCounterVec,
    leases_orphaned: IntCounter,
    fenced: IntCounter,
    went_back: IntCounter,
    impossible: IntCounter,
    occupied: IntCounter,
    clock_steps: IntCounter,
    clock_offset: Gauge,
    purge_number: IntGauge,
    stamps_owed: IntGauge,
}

/// The memory tier, and what any tier evicts.
#[derive(Debug)]
pub struct MemoryMetrics {
    bytes: IntGauge,
    objects: IntGauge,
    evictions: IntCounterVec,
}

/// The body store.
#[derive(Debug)]
pub struct BodyMetrics {
    bytes: IntGauge,
    others: IntGauge,
    errors: IntCounterVec,
    integrity: IntCounterVec,
    missing: IntCounter,
    swept: IntCounter,
}

/// Purges.
#[derive(Debug)]
pub struct PurgeMetrics {
    purges: IntCounterVec,
    seconds: Histogram,
}

// === impl ProcessMetrics ===

impl ProcessMetrics {
    pub(super) fn new(to: &mut Register, version: &str) -> Self {
        to.gauges("build_info", "Always 1; the version is the label.", &["version"])
            .with_label_values(&[version])
            .set(1);
        let closed = to.counters(
            "connections_closed_total",
            "Client connections closed before their time, by what was waited for.",
            &["reason"],
        );
        for reason in Closed::ALL {
            closed.with_label_values(&[reason.as_str()]);
        }
        Self {
            closed,
            refused: to.counters(
                "refused_total",
                "Requests that were answered without a route, by the word in the answer.",
                &["reason"],
            ),
            ready: to.gauge("ready", "1 while /readyz answers 200."),
            draining: to.gauge("draining", "1 once the end has begun."),
            connections: to.gauges("connections", "Client connections that are open.", &["listener"]),
            log_dropped: to.counter("log_dropped_total", "Log lines dropped because nobody read them."),
            task_panics: to.counters(
                "task_panics_total",
                "Panics of background tasks, which are begun again.",
                &["task"],
            ),
        }
    }

    /// Sets whether `/readyz` answers 200.
    pub fn set_ready(&self, ready: bool) {
        self.ready.set(ready.into());
    }

    /// Sets whether the drain has begun.
    pub fn set_draining(&self, draining: bool) {
        self.draining.set(draining.into());
    }

    /// The gauge of one listener's connections; keep it.
    pub fn connections(&self, listener: &str) -> IntGauge {
        self.connections.with_label_values(&[listener])
    }

    /// A connection was closed before its time, or an upload broken off.
    pub fn closed(&self, why: Closed) {
        self.closed.with_label_values(&[why.as_str()]).inc();
    }

    /// A request was answered without a route; the word is one of a closed set.
    pub fn refused(&self, word: &'static str) {
        self.refused.with_label_values(&[word]).inc();
    }

    /// A background task has panicked; its name is one of a closed set.
    pub fn task_panicked(&self, task: &'static str) {
        self.task_panics.with_label_values(&[task]).inc();
    }

    /// Sets the number of dropped lines, from [`crate::telemetry::Log::dropped`].
    pub fn set_log_dropped(&self, lines: u64) {
        self.log_dropped.inc_by(lines.saturating_sub(self.log_dropped.get()));
    }
}

// === impl FollowerMetrics ===

impl FollowerMetrics {
    pub(super) fn new(to: &mut Register) -> Self {
        Self {
            ended: to.counters(
                "followers_total",
                "Requests that followed a fill, by their end.",
                &["scope", "end"],
            ),
            waited: to.histograms(
                "follower_wait_seconds",
                "How long followers waited for a verdict.",
                Buckets::Request,
                &["scope"],
            ),
        }
    }

    /// A request has followed a fill: how that ended, and how long it waited for a verdict.
    pub fn ended(&self, scope: Scope, end: FollowerEnd, waited: Duration) {
        self.ended.with_label_values(&[scope.as_str(), end.as_str()]).inc();
        self.waited.with_label_values(&[scope.as_str()]).observe(seconds(waited));
    }
}

// === impl ShedMetrics ===

impl ShedMetrics {
    pub(super) fn new(to: &mut Register) -> Self {
        let shed = to.counters("shed_total", "Requests turned away, by what was full.", &["reason"]);
        for reason in Shed::ALL {
            shed.with_label_values(&[reason.as_str()]);
        }
        Self { shed }
    }

    /// A request, or a connection, was turned away.
    pub fn shed(&self, reason: Shed) {
        self.shed.with_label_values(&[reason.as_str()]).inc();
    }
}

// === impl DustMetrics ===

impl DustMetrics {
    pub(super) fn new(to: &mut Register) -> Self {
        Self {
            up: to.gauge("dust_up", "1 while the store answers."),
            unsure: to.gauge("tier_unsure", "1 while this instance may not trust its own tier."),
            calls: to.histograms("dust_call_seconds", "Calls to the store.", Buckets::Call, &["op"]),
            errors: to.counters("dust_errors_total", "Calls to the store that failed.", &["op", "reason"]),
            leases_lost: to.counters("leases_lost_total", "Leases lost while a fill went on.", &["reason"]),
            leases_orphaned: to.counter(
                "leases_orphaned_total",
                "Leases that turned out to have been granted after the answer was given up.",
            ),
            fenced: to.counter("fenced_total", "Writes refused because a newer holder owns the result."),
            went_back: to
                .counter("store_went_back_total", "Times the store had forgotten what was seen in it."),
            impossible: to.counter(
                "dust_impossible_total",
                "Entries taken for absent because the store can't have given their numbers.",
            ),
            occupied: to.counter(
                "dust_occupied_total",
                "Leases asked for at a key that holds a value: fetched uncoordinated.",
            ),
            clock_steps: to.counter("clock_steps_total", "Times this machine's clock was set."),
            clock_offset: to.fraction("clock_offset_seconds", "The store's clock minus this instance's."),
            purge_number: to.gauge("purge_last_number", "The highest stamp applied here."),
            stamps_owed: to.gauge("stamps_owed", "Stamps that the store has not taken yet."),
        }
    }

    /// Sets whether the store answers.
    pub fn set_up(&self, up: bool) {
        self.up.set(up.into());
    }

    /// Sets whether memory is past its trust.
    pub fn set_unsure(&self, unsure: bool) {
        self.unsure.set(unsure.into());
    }

    /// The histogram of one operation, by a name of the `Dust` trait; keep it.
    pub fn call(&self, op: &'static str) -> Histogram {
        self.calls.with_label_values(&[op])
    }

    /// A call failed.
    pub fn error(&self, op: &'static str, reason: &'static str) {
        self.errors.with_label_values(&[op, reason]).inc();
    }

    /// Sets the number of leases that were lost for this reason since the start.
    pub fn set_leases_lost(&self, reason: LeaseLost, total: u64) {
        raise(&self.leases_lost.with_label_values(&[reason.as_str()]), total);
    }

    /// Sets the number of leases that were given up and turned out to be granted (F11), since the start.
    pub fn set_leases_orphaned(&self, total: u64) {
        raise(&self.leases_orphaned, total);
    }

    /// A write was fenced off (S5).
    pub fn fenced(&self) {
        self.fenced.inc();
    }

    /// The store went back: it has a lower number or fewer stamps than were seen.
    pub fn went_back(&self) {
        self.went_back.inc();
    }

    /// Sets the number of entries that were taken for absent because of their numbers, since the start.
    pub fn set_impossible(&self, total: u64) {
        raise(&self.impossible, total);
    }

    /// Sets the number of calls for a lease at a key that holds a value, since the start.
    pub fn set_occupied(&self, total: u64) {
        raise(&self.occupied, total);
    }

    /// Sets how often this machine's clock was set since the start.
    pub fn set_clock_steps(&self, total: u64) {
        raise(&self.clock_steps, total);
    }

    /// Sets the store's clock minus this instance's, in seconds.
    pub fn set_clock_offset(&self, seconds: f64) {
        self.clock_offset.set(seconds);
    }

    /// Sets the number of URLs whose stamp is owed.
    pub fn set_stamps_owed(&self, count: usize) {
        self.stamps_owed.set(signed(count as u64));
    }

    /// Sets the highest stamp that was applied here.
    pub fn set_purge_number(&self, number: u64) {
        self.purge_number.set(signed(number));
    }
}

// === impl MemoryMetrics ===

impl MemoryMetrics {
    pub(super) fn new(to: &mut Register) -> Self {
        Self {
            bytes: to.gauge("memory_bytes", "Weight of what the memory tier holds."),
            objects: to.gauge("memory_objects", "Responses that the memory tier holds."),
            evictions: to.counters("evictions_total", "What left a tier, by reason.", &["tier", "reason"]),
        }
    }

    /// Sets what the tier holds now.
    pub fn set(&self, bytes: u64, objects: u64) {
        self.bytes.set(signed(bytes));
        self.objects.set(signed(objects));
    }

    /// The counter of evictions from a tier for a reason; keep it.
    pub fn evictions(&self, tier: Tier, reason: Eviction) -> IntCounter {
        self.evictions.with_label_values(&[tier.as_str(), reason.as_str()])
    }
}

// === impl BodyMetrics ===

impl BodyMetrics {
    pub(super) fn new(to: &mut Register) -> Self {
        let integrity = to.counters(
            "integrity_failures_total",
            "Stored things that did not match themselves.",
            &["what"],
        );
        for what in Integrity::ALL {
            integrity.with_label_values(&[what.as_str()]);
        }
        Self {
            bytes: to.gauge(
                "bodies_bytes",
                "Bytes that the body store gives out, as far as known here; in a directory, of the disk.",
            ),
            others: to.gauge(
                "bodies_other_lives_bytes",
                "Bytes of earlier lives of the store that wait to be swept, as the janitor found them.",
            ),
            errors: to.counters("bodies_errors_total", "Calls to the body store that failed.", &["op"]),
            integrity,
            missing: to
                .counter("segments_missing_total", "Segments that a record names and the store lacks."),
            swept: to.counter("orphans_swept_total", "Segments removed because no record named them."),
        }
    }

    /// Sets the bytes in the store.
    pub fn set_bytes(&self, bytes: u64) {
        self.bytes.set(signed(bytes));
    }

    /// Sets the bytes of earlier lives of the store.
    pub fn set_others(&self, bytes: u64) {
        self.others.set(signed(bytes));
    }

    /// Sets the number of calls that have failed since the start.
    pub fn set_errors(&self, op: &'static str, total: u64) {
        raise(&self.errors.with_label_values(&[op]), total);
    }

    /// Sets the numbers of segments that were missing, and that were damaged, since the start.
    pub fn set_lost(&self, missing: u64, corrupt: u64) {
        raise(&self.missing, missing);
        raise(&self.integrity.with_label_values(&[Integrity::Segment.as_str()]), corrupt);
    }

    /// Something did not match its digest or shape.
    pub fn integrity(&self, what: Integrity) {
        self.integrity.with_label_values(&[what.as_str()]).inc();
    }

    /// This number of segments was swept.
    pub fn swept(&self, segments: u64) {
        self.swept.inc_by(segments);
    }
}

/// Raises a counter to a total that another part keeps.
pub(super) fn raise(counter: &IntCounter, total: u64) {
    counter.inc_by(total.saturating_sub(counter.get()));
}

// === impl PurgeMetrics ===

impl PurgeMetrics {
    pub(super) fn new(to: &mut Register) -> Self {
        Self {
            purges: to.counters("purges_total", "Purges asked for here.", &["kind", "soft"]),
            seconds: to.histogram(
                "purge_seconds",
                "From a purge to its last confirmation.",
                Buckets::Request,
            ),
        }
    }

    /// A purge was answered.
    pub fn purged(&self, kind: Purge, soft: bool, took: Duration) {
        self.purges.with_label_values(&[kind.as_str(), if soft { "true" } else { "false" }]).inc();
        self.seconds.observe(seconds(took));
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
