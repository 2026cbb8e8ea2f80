//! Metrics of each route.

use std::array;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use super::Register;
use super::family::{Buckets, CLASSES, LazyCounter, LazyHistogram, class, seconds};
use crate::telemetry::labels::{Cache, FillOutcome};

/// The number of ways to answer.
const WAYS: usize = Cache::ALL.len();

#[derive(Clone)]
pub(super) struct Families {
    requests: IntCounterVec,
    durations: HistogramVec,
    first_bytes: HistogramVec,
    bytes: IntCounterVec,
    fills: IntCounterVec,
    fill_durations: HistogramVec,
    filling: IntGaugeVec,
    fetches: IntCounterVec,
    keys: IntCounterVec,
    followers: IntGaugeVec,
    passes: IntCounterVec,
    unstored: IntCounterVec,
    uncoordinated: IntCounterVec,
}

/// The handles of one route. Cheap to clone.
#[derive(Clone)]
pub struct RouteMetrics {
    inner: Arc<Inner>,
}

/// One unit of a gauge, given back when dropped.
#[derive(Debug)]
pub struct GaugeGuard(IntGauge);

struct Inner {
    name: String,
    families: Families,
    ways: [Way; WAYS],
    fills: [LazyCounter; FillOutcome::ALL.len()],
    fill_duration: Histogram,
    filling: IntGauge,
    fetches: IntCounter,
    keys: IntCounter,
    followers: IntGauge,
    uncoordinated: IntCounter,
}

#[derive(Default)]
struct Way {
    requests: [LazyCounter; CLASSES],
    bytes: LazyCounter,
    duration: LazyHistogram,
    first_byte: LazyHistogram,
}

// === impl Families ===

impl Families {
    pub(super) fn new(to: &mut Register) -> Self {
        let route = &["route"][..];
        let way = &["route", "cache"][..];
        Self {
            requests: to.counters(
                "requests_total",
                "Requests answered, by route, way and class of status.",
                &["route", "cache", "code"],
            ),
            durations: to.histograms(
                "request_duration_seconds",
                "From a request's head to its response's end.",
                Buckets::Request,
                way,
            ),
            first_bytes: to.histograms(
                "first_byte_seconds",
                "From a request's head to the first byte of its response.",
                Buckets::Request,
                way,
            ),
            bytes: to.counters("response_bytes_total", "Bytes of content sent to clients.", way),
            fills: to.counters("fills_total", "Fills that ended, by outcome.", &["route", "outcome"]),
            fill_durations: to.histograms(
                "fill_duration_seconds",
                "From a fill's beginning to its publish or end.",
                Buckets::Request,
                route,
            ),
            filling: to.gauges("fills", "Fills under way on this instance.", route),
            fetches: to.counters("fill_fetches_total", "Requests that fills sent upstream.", route),
            keys: to.counters(
                "filled_keys_total",
                "Keys for which a fill was due; fetches over keys aim at 1.",
                route,
            ),
            followers: to.gauges("followers", "Requests that wait for or ride a fill.", route),
            passes: to.counters("passes_total", "Requests passed, by reason.", &["route", "reason"]),
            unstored: to.counters(
                "unstored_total",
                "Responses of the origin that were not stored, by reason.",
                &["route", "reason"],
            ),
            uncoordinated: to.counters(
                "uncoordinated_fills_total",
                "Fills without a lease: the store was down.",
                route,
            ),
        }
    }
}

// === impl RouteMetrics ===

impl RouteMetrics {
    pub(super) fn new(families: &Families, name: &str) -> Self {
        let route = &[name][..];
        let inner = Inner {
            name: name.to_owned(),
            ways: array::from_fn(|_| Way::default()),
            fills: array::from_fn(|_| LazyCounter::default()),
            fill_duration: families.fill_durations.with_label_values(route),
            filling: families.filling.with_label_values(route),
            fetches: families.fetches.with_label_values(route),
            keys: families.keys.with_label_values(route),
            followers: families.followers.with_label_values(route),
            uncoordinated: families.uncoordinated.with_label_values(route),
            families: families.clone(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// A request whose response has ended. `status` 0: nothing was sent.
    pub fn request(
        &self,
        cache: Cache,
        status: u16,
        bytes: u64,
        duration: Duration,
        first_byte: Option<Duration>,
    ) {
        let Inner { name, families, ways, .. } = &*self.inner;
        let way = &ways[cache as usize];
        let (nth, code) = class(status);
        let labels = &[name.as_str(), cache.as_str()];
        way.requests[nth].get(&families.requests, &[name, cache.as_str(), code]).inc();
        way.bytes.get(&families.bytes, labels).inc_by(bytes);
        way.duration.get(&families.durations, labels).observe(seconds(duration));
        if let Some(first_byte) = first_byte {
            way.first_byte.get(&families.first_bytes, labels).observe(seconds(first_byte));
        }
    }

    /// A fill begins; drop what is returned when it has ended.
    pub fn filling(&self) -> GaugeGuard {
        GaugeGuard::of(&self.inner.filling)
    }

    /// A fill has ended.
    pub fn fill(&self, outcome: FillOutcome, duration: Duration) {
        let Inner { name, families, fills, fill_duration, .. } = &*self.inner;
        fills[outcome as usize].get(&families.fills, &[name, outcome.as_str()]).inc();
        fill_duration.observe(seconds(duration));
    }

    /// A fill has sent a request to the origin; a retry counts as one more.
    pub fn fetch(&self) {
        self.inner.fetches.inc();
    }

    /// A key had to be filled: counted once for all requests that wanted it.
    pub fn key(&self) {
        self.inner.keys.inc();
    }

    /// A fill without a lease (S14).
    pub fn uncoordinated(&self) {
        self.inner.uncoordinated.inc();
    }

    /// A request begins to follow; drop what is returned when it stops.
    pub fn following(&self) -> GaugeGuard {
        GaugeGuard::of(&self.inner.followers)
    }

    /// A pass, by the word of the policy's reason.
    pub fn pass(&self, reason: &'static str) {
        self.inner.families.passes.with_label_values(&[self.inner.name.as_str(), reason]).inc();
    }

    /// A response of the origin that is not stored, by the word of the policy's reason.
    pub fn unstored(&self, reason: &'static str) {
        self.inner.families.unstored.with_label_values(&[self.inner.name.as_str(), reason]).inc();
    }

    /// The number of requests that were answered in this way, for the hit ratio.
    pub fn answered(&self, cache: Cache) -> u64 {
        self.inner.ways[cache as usize].duration.count()
    }
}

impl fmt::Debug for RouteMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RouteMetrics").field(&self.inner.name).finish()
    }
}

// === impl GaugeGuard ===

impl GaugeGuard {
    fn of(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for GaugeGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}
