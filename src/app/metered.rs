//! An upstream, a store, and what is counted of them.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use prometheus::Histogram;
use tokio::time::Instant;

use crate::clock::WallMs;
use crate::dust::{self, Changes, Dust, Entry, Feed, Grant, Holder, Lease, Number, Put, Renewal, Written};
use crate::telemetry::{Metrics, UpstreamMetrics};
use crate::upstream::{Error, Request, Response, Upstream};

/// Counts what an upstream answers.
#[derive(Debug)]
pub(super) struct Metered<U> {
    inner: Arc<U>,
    metrics: UpstreamMetrics,
}

impl<U> Metered<U> {
    pub(super) fn new(inner: Arc<U>, metrics: UpstreamMetrics) -> Self {
        Self { inner, metrics }
    }
}

#[async_trait]
impl<U: Upstream> Upstream for Metered<U> {
    async fn send(&self, request: Request) -> Result<Response, Error> {
        match self.inner.send(request).await {
            Ok(response) => {
                self.metrics.response(response.status.as_u16(), response.timing.first_byte);
                Ok(response)
            }
            Err(error) => {
                self.metrics.error(error.kind.as_str());
                Err(error)
            }
        }
    }
}

/// Times the calls of a store, and counts those that failed.
#[derive(Debug)]
pub(super) struct MeteredDust {
    inner: Arc<dyn Dust>,
    metrics: Arc<Metrics>,
    times: Times,
}

#[derive(Debug)]
struct Times {
    entry: Histogram,
    put: Histogram,
    delete: Histogram,
    lease: Histogram,
    renew: Histogram,
    release: Histogram,
    on: Histogram,
    entries: Histogram,
}

// === impl MeteredDust ===

impl MeteredDust {
    pub(super) fn new(inner: Arc<dyn Dust>, metrics: Arc<Metrics>) -> Self {
        let of = |op| metrics.dust.call(op);
        let times = Times {
            entry: of("entry"),
            put: of("put"),
            delete: of("delete"),
            lease: of("lease"),
            renew: of("renew"),
            release: of("release"),
            on: of("on"),
            entries: of("entries"),
        };
        Self { inner, metrics, times }
    }

    async fn timed<T>(
        &self,
        op: &'static str,
        histogram: &Histogram,
        call: impl Future<Output = dust::Result<T>> + Send,
    ) -> dust::Result<T> {
        let began = Instant::now();
        let answer = call.await;
        histogram.observe(began.elapsed().as_secs_f64());
        if let Err(error) = &answer {
            let reason = match error {
                dust::Error::Unavailable(_) => "unavailable",
                dust::Error::Refused(_) => "refused",
                dust::Error::Broken(_) => "broken",
            };
            self.metrics.dust.error(op, reason);
        }
        answer
    }
}

#[async_trait]
impl Dust for MeteredDust {
    async fn entry(&self, key: &str) -> dust::Result<Option<Entry>> {
        self.timed("entry", &self.times.entry, self.inner.entry(key)).await
    }

    async fn put(&self, key: &str, value: &str, how: Put<'_>) -> dust::Result<Written> {
        self.timed("put", &self.times.put, self.inner.put(key, value, how)).await
    }

    async fn delete(&self, key: &str, fence: Option<&Lease>) -> dust::Result<Written> {
        self.timed("delete", &self.times.delete, self.inner.delete(key, fence)).await
    }

    async fn lease(&self, key: &str, ttl: Duration, holder: &Holder, seen: Number) -> dust::Result<Grant> {
        self.timed("lease", &self.times.lease, self.inner.lease(key, ttl, holder, seen)).await
    }

    async fn renew(&self, lease: &Lease, ttl: Duration) -> dust::Result<Renewal> {
        self.timed("renew", &self.times.renew, self.inner.renew(lease, ttl)).await
    }

    async fn release(&self, lease: &Lease) -> dust::Result<()> {
        self.timed("release", &self.times.release, self.inner.release(lease)).await
    }

    async fn release_holder(&self, key: &str, holder: &Holder) -> dust::Result<()> {
        self.timed("release", &self.times.release, self.inner.release_holder(key, holder)).await
    }

    async fn on(&self, keys: &[&str]) -> dust::Result<Changes> {
        self.timed("on", &self.times.on, self.inner.on(keys)).await
    }

    async fn feed(&self) -> dust::Result<Feed> {
        self.timed("on", &self.times.on, self.inner.feed()).await
    }

    async fn entries(&self, prefix: &str) -> dust::Result<Vec<(String, Entry)>> {
        self.timed("entries", &self.times.entries, self.inner.entries(prefix)).await
    }

    fn now_ms(&self) -> WallMs {
        self.inner.now_ms()
    }

    fn kind(&self) -> &'static str {
        self.inner.kind()
    }
}
