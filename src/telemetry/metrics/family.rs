//! Builds metric families. A name that Prometheus refuses is a mistake in this module, which its first
//! test finds, so building returns no errors.

use std::io::Write as _;
use std::sync::OnceLock;
use std::time::Duration;

use prometheus::{
    Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
};

use super::Register;

/// What a family looks like when it has no value yet.
pub(super) struct Shape {
    pub(super) name: String,
    pub(super) help: String,
    pub(super) kind: &'static str,
}

/// Buckets for whole requests, in seconds: from a memory hit to a slow API.
const REQUEST: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// Buckets for calls of a near store, in seconds.
const CALL: &[f64] = &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0];

/// Which buckets a histogram has.
#[derive(Clone, Copy)]
pub(super) enum Buckets {
    Request,
    Call,
}

/// A counter that is made when it is first used. Most cells of a route's table stay empty, and an empty
/// one is not worth a line in every scrape.
#[derive(Default)]
pub(super) struct LazyCounter(OnceLock<IntCounter>);

/// The same, for a histogram.
#[derive(Default)]
pub(super) struct LazyHistogram(OnceLock<Histogram>);

const WRITTEN: &str = "names and labels are written in this module";

// === impl Register ===

impl Register {
    pub(super) fn counter(&mut self, name: &str, help: &str) -> IntCounter {
        self.add("counter", IntCounter::new(full(name), help).expect(WRITTEN))
    }

    pub(super) fn counters(&mut self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.add("counter", IntCounterVec::new(Opts::new(full(name), help), labels).expect(WRITTEN))
    }

    pub(super) fn gauge(&mut self, name: &str, help: &str) -> IntGauge {
        self.add("gauge", IntGauge::new(full(name), help).expect(WRITTEN))
    }

    pub(super) fn gauges(&mut self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.add("gauge", IntGaugeVec::new(Opts::new(full(name), help), labels).expect(WRITTEN))
    }

    pub(super) fn fraction(&mut self, name: &str, help: &str) -> Gauge {
        self.add("gauge", Gauge::new(full(name), help).expect(WRITTEN))
    }

    pub(super) fn histogram(&mut self, name: &str, help: &str, buckets: Buckets) -> Histogram {
        self.add("histogram", Histogram::with_opts(opts(name, help, buckets)).expect(WRITTEN))
    }

    pub(super) fn histograms(
        &mut self,
        name: &str,
        help: &str,
        buckets: Buckets,
        labels: &[&str],
    ) -> HistogramVec {
        self.add("histogram", HistogramVec::new(opts(name, help, buckets), labels).expect(WRITTEN))
    }
}

// === impl Shape ===

impl Shape {
    /// HELP and TYPE.
    pub(super) fn header(&self, out: &mut Vec<u8>) {
        let _ = writeln!(out, "# HELP {} {}\n# TYPE {} {}", self.name, self.help, self.name, self.kind);
    }
}

// === impl LazyCounter ===

impl LazyCounter {
    pub(super) fn get(&self, family: &IntCounterVec, labels: &[&str]) -> &IntCounter {
        self.0.get_or_init(|| family.with_label_values(labels))
    }
}

// === impl LazyHistogram ===

impl LazyHistogram {
    pub(super) fn get(&self, family: &HistogramVec, labels: &[&str]) -> &Histogram {
        self.0.get_or_init(|| family.with_label_values(labels))
    }

    /// The number of observations. Makes no empty series.
    pub(super) fn count(&self) -> u64 {
        self.0.get().map_or(0, Histogram::get_sample_count)
    }
}

/// Seconds, as Prometheus wants them.
pub(super) fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}

/// A status as its class, for a label. 0 says that nothing was sent.
pub(super) fn class(status: u16) -> (usize, &'static str) {
    match status {
        100..=199 => (1, "1xx"),
        200..=299 => (2, "2xx"),
        300..=399 => (3, "3xx"),
        400..=499 => (4, "4xx"),
        // A status above 599 counts as a 5xx (RFC 9110 §15).
        500.. => (5, "5xx"),
        _ => (0, "none"),
    }
}

/// The number of classes.
pub(super) const CLASSES: usize = 6;

fn full(name: &str) -> String {
    format!("dustgate_{name}")
}

fn opts(name: &str, help: &str, buckets: Buckets) -> HistogramOpts {
    let buckets = match buckets {
        Buckets::Request => REQUEST,
        Buckets::Call => CALL,
    };
    HistogramOpts::new(full(name), help).buckets(buckets.to_vec())
}
