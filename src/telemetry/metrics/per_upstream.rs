//! Metrics of each upstream.

use std::array;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use prometheus::{Histogram, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec};

use super::Register;
use super::family::{Buckets, CLASSES, LazyCounter, class, seconds};
use super::parts::raise;
use crate::telemetry::labels::LeaseLost;

#[derive(Clone)]
pub(super) struct Families {
    requests: IntCounterVec,
    errors: IntCounterVec,
    durations: HistogramVec,
    in_flight: IntGaugeVec,
    queue: IntGaugeVec,
    permits: IntGaugeVec,
    permits_most: IntGaugeVec,
    permits_alone: IntGaugeVec,
    permits_fallbacks: IntCounterVec,
    permits_lost: IntCounterVec,
    tokens: IntCounterVec,
    tokens_waited: IntCounterVec,
    tokens_refused: IntCounterVec,
    tokens_share: IntGaugeVec,
    tokens_fallbacks: IntCounterVec,
    limited: IntGaugeVec,
    pauses: IntCounterVec,
}

/// The handles of one upstream. Cheap to clone.
#[derive(Clone)]
pub struct UpstreamMetrics {
    inner: Arc<Inner>,
}

struct Inner {
    name: String,
    families: Families,
    requests: [LazyCounter; CLASSES],
    duration: Histogram,
    in_flight: IntGauge,
    queue: IntGauge,
}

// === impl Families ===

impl Families {
    pub(super) fn new(to: &mut Register) -> Self {
        let upstream = &["upstream"][..];
        Self {
            requests: to.counters(
                "upstream_requests_total",
                "Responses that upstreams sent, by class of status.",
                &["upstream", "code"],
            ),
            errors: to.counters(
                "upstream_errors_total",
                "Exchanges that failed before or within the response, by kind.",
                &["upstream", "reason"],
            ),
            durations: to.histograms(
                "upstream_duration_seconds",
                "From sending a request to the response's head.",
                Buckets::Request,
                upstream,
            ),
            in_flight: to.gauges("upstream_in_flight", "Exchanges under way.", upstream),
            queue: to.gauges("upstream_queue", "Requests that wait for a place.", upstream),
            permits: to.gauges(
                "upstream_permits",
                "Permits of the fleet's budget that this instance holds.",
                upstream,
            ),
            permits_most: to.gauges("upstream_permits_max", "Permits of the whole fleet.", upstream),
            permits_alone: to.gauges(
                "upstream_permits_fallback",
                "1 while the store does not answer and the instance's own limit counts.",
                upstream,
            ),
            permits_fallbacks: to.counters(
                "upstream_permits_fallbacks_total",
                "Times that this began.",
                upstream,
            ),
            permits_lost: to.counters(
                "upstream_permits_lost_total",
                "Permits lost before they were given back.",
                &["upstream", "reason"],
            ),
            tokens: to.counters(
                "upstream_tokens_total",
                "Tokens of the fleet's rate that exchanges took.",
                upstream,
            ),
            tokens_waited: to.counters(
                "upstream_tokens_waited_total",
                "Requests that waited because there was no token.",
                upstream,
            ),
            tokens_refused: to.counters(
                "upstream_tokens_refused_total",
                "Requests that got no token in time, or found the queue full.",
                upstream,
            ),
            tokens_share: to.gauges(
                "upstream_tokens_fallback",
                "1 while the store does not answer and the instance goes by its share of the rate.",
                upstream,
            ),
            tokens_fallbacks: to.counters(
                "upstream_tokens_fallbacks_total",
                "Times that this began.",
                upstream,
            ),
            limited: to.gauges(
                "upstream_limited_seconds",
                "How much longer the origin asks to be left alone.",
                upstream,
            ),
            pauses: to.counters("upstream_limited_total", "Times that it asked for that.", upstream),
        }
    }
}

// === impl UpstreamMetrics ===

impl UpstreamMetrics {
    pub(super) fn new(families: &Families, name: &str) -> Self {
        let upstream = &[name][..];
        let inner = Inner {
            name: name.to_owned(),
            requests: array::from_fn(|_| LazyCounter::default()),
            duration: families.durations.with_label_values(upstream),
            in_flight: families.in_flight.with_label_values(upstream),
            queue: families.queue.with_label_values(upstream),
            families: families.clone(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// A response's head came.
    pub fn response(&self, status: u16, first_byte: Duration) {
        let (nth, code) = class(status);
        self.inner.requests[nth].get(&self.inner.families.requests, &[self.inner.name.as_str(), code]).inc();
        self.inner.duration.observe(seconds(first_byte));
    }

    /// An exchange failed, in its head or in its body. `kind`: the word of the error's kind.
    pub fn error(&self, kind: &'static str) {
        self.inner.families.errors.with_label_values(&[self.inner.name.as_str(), kind]).inc();
    }

    /// Sets the state of the fleet's budget, as this instance sees it; for [`super::Metrics::on_render`].
    pub fn set_budget(&self, held: usize, most: usize, alone: bool, fallbacks: u64) {
        let (families, upstream) = (&self.inner.families, &[self.inner.name.as_str()]);
        families.permits.with_label_values(upstream).set(i64::try_from(held).unwrap_or(i64::MAX));
        families.permits_most.with_label_values(upstream).set(i64::try_from(most).unwrap_or(i64::MAX));
        families.permits_alone.with_label_values(upstream).set(alone.into());
        raise(&families.permits_fallbacks.with_label_values(upstream), fallbacks);
    }

    /// Sets the number of permits that were lost for this reason since the start.
    pub fn set_permits_lost(&self, reason: LeaseLost, total: u64) {
        let label = [self.inner.name.as_str(), reason.as_str()];
        raise(&self.inner.families.permits_lost.with_label_values(&label), total);
    }

    /// Sets what became of the tokens of the fleet's rate.
    pub fn set_rate(&self, spent: u64, waited: u64, refused: u64, alone: bool, fallbacks: u64) {
        let (families, upstream) = (&self.inner.families, &[self.inner.name.as_str()]);
        raise(&families.tokens.with_label_values(upstream), spent);
        raise(&families.tokens_waited.with_label_values(upstream), waited);
        raise(&families.tokens_refused.with_label_values(upstream), refused);
        families.tokens_share.with_label_values(upstream).set(alone.into());
        raise(&families.tokens_fallbacks.with_label_values(upstream), fallbacks);
    }

    /// Sets for how much longer the origin asks to be left alone, and how often it has asked for that.
    pub fn set_limited(&self, left_ms: u64, pauses: u64) {
        let (families, upstream) = (&self.inner.families, &[self.inner.name.as_str()]);
        let left = i64::try_from(left_ms.div_ceil(1000)).unwrap_or(i64::MAX);
        families.limited.with_label_values(upstream).set(left);
        raise(&families.pauses.with_label_values(upstream), pauses);
    }

    /// Sets the exchanges under way and in the queue; for [`super::Metrics::on_render`].
    pub fn set_load(&self, in_flight: usize, queued: usize) {
        self.inner.in_flight.set(i64::try_from(in_flight).unwrap_or(i64::MAX));
        self.inner.queue.set(i64::try_from(queued).unwrap_or(i64::MAX));
    }
}

impl fmt::Debug for UpstreamMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("UpstreamMetrics").field(&self.inner.name).finish()
    }
}
