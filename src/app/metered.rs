//! Wrappers that count and time the calls of an upstream and of a store.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use prometheus::Histogram;
use tokio::time::Instant;

use super::health::Health;
use crate::clock::WallMs;
use crate::dust::{
    self, BucketTerms, Changes, Draw, Drawn, Dust, Entry, Feed, Findings, Grant, Holder, Inquiry,
    LONGEST_CALL, Landing, Lease, Number, Publication, Put, Renewal, Written,
};
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

#[deny(clippy::missing_trait_methods)]
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

    fn own_urls(&self) -> Option<&crate::upstream::OwnUrls> {
        self.inner.own_urls()
    }
}

/// Times the calls of a store, and counts those that failed.
#[derive(Debug)]
pub(super) struct MeteredDust {
    inner: Arc<dyn Dust>,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    times: Times,
    /// Whether calls fail as long as this instance has yet to join the fleet: what they would write
    /// before that would name bodies of no life.
    gated: bool,
}

/// A call that is under way. If it is dropped after a whole bound, it counts as failed.
struct Call<'a> {
    health: &'a Health,
    began: Instant,
    ended: bool,
}

#[derive(Debug)]
struct Times {
    enter: Histogram,
    publish: Histogram,
    entry: Histogram,
    bytes: Histogram,
    put_bytes: Histogram,
    draw: Histogram,
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
    pub(super) fn new(inner: Arc<dyn Dust>, metrics: Arc<Metrics>, health: Arc<Health>) -> Self {
        let of = |op| metrics.dust.call(op);
        let times = Times {
            enter: of("enter"),
            publish: of("publish"),
            entry: of("entry"),
            bytes: of("bytes"),
            put_bytes: of("put_bytes"),
            draw: of("draw"),
            put: of("put"),
            delete: of("delete"),
            lease: of("lease"),
            renew: of("renew"),
            release: of("release"),
            on: of("on"),
            entries: of("entries"),
        };
        Self { inner, metrics, health, times, gated: false }
    }

    /// The same store, whose calls fail as long as this instance has yet to join its fleet.
    pub(super) fn gated(self) -> Self {
        Self { gated: true, ..self }
    }

    async fn timed<T>(
        &self,
        op: &'static str,
        histogram: &Histogram,
        call: impl Future<Output = dust::Result<T>> + Send,
    ) -> dust::Result<T> {
        if self.gated && self.health.waits() {
            return Err(dust::Error::NotDone("it has not been there since the start".into()));
        }
        let under_way = Call { health: &self.health, began: Instant::now(), ended: false };
        let answer = call.await;
        histogram.observe(under_way.began.elapsed().as_secs_f64());
        under_way.ended(answer.is_ok());
        if let Err(error) = &answer {
            let reason = match error {
                dust::Error::Unavailable(_) | dust::Error::NotDone(_) => "unavailable",
                dust::Error::Refused(_) => "refused",
                dust::Error::Broken(_) => "broken",
            };
            self.metrics.dust.error(op, reason);
        }
        answer
    }
}

// === impl Call ===

impl Call<'_> {
    fn ended(mut self, worked: bool) {
        self.ended = true;
        self.health.called(self.began.elapsed(), worked);
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        // A caller that gives up sooner has other reasons than the store.
        if !self.ended && self.began.elapsed() >= LONGEST_CALL {
            self.health.called(self.began.elapsed(), false);
        }
    }
}

#[deny(clippy::missing_trait_methods)]
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

    async fn announce(&self, key: &str, lives: Duration) -> dust::Result<Number> {
        self.timed("put", &self.times.put, self.inner.announce(key, lives)).await
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

    async fn enter(&self, inquiry: Inquiry<'_>) -> dust::Result<Findings> {
        self.timed("enter", &self.times.enter, self.inner.enter(inquiry)).await
    }

    async fn publish(&self, publication: Publication<'_>) -> dust::Result<Landing> {
        self.timed("publish", &self.times.publish, self.inner.publish(publication)).await
    }

    async fn entry_with_body(&self, key: &str) -> dust::Result<Option<(Entry, Option<Bytes>)>> {
        self.timed("entry", &self.times.entry, self.inner.entry_with_body(key)).await
    }

    async fn bytes(&self, name: &str) -> dust::Result<Option<Bytes>> {
        self.timed("bytes", &self.times.bytes, self.inner.bytes(name)).await
    }

    async fn put_bytes(&self, name: &str, bytes: &Bytes, lives: Duration) -> dust::Result<()> {
        self.timed("put_bytes", &self.times.put_bytes, self.inner.put_bytes(name, bytes, lives)).await
    }

    async fn remove_bytes(&self, names: &[String]) -> dust::Result<()> {
        self.timed("delete", &self.times.delete, self.inner.remove_bytes(names)).await
    }

    async fn draw(&self, name: &str, terms: BucketTerms, draw: Draw) -> dust::Result<Option<Drawn>> {
        self.timed("draw", &self.times.draw, self.inner.draw(name, terms, draw)).await
    }

    async fn flush(&self) -> dust::Result<()> {
        self.inner.flush().await
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

    async fn part(&self, prefix: &str, from: Option<&str>) -> dust::Result<dust::Part> {
        self.timed("entries", &self.times.entries, self.inner.part(prefix, from)).await
    }

    async fn life(&self, propose: Option<&str>) -> dust::Result<Option<Arc<str>>> {
        self.timed("entry", &self.times.entry, self.inner.life(propose)).await
    }

    fn now_ms(&self) -> WallMs {
        self.inner.now_ms()
    }

    fn ceiling(&self) -> Number {
        self.inner.ceiling()
    }

    fn impossible(&self) -> u64 {
        self.inner.impossible()
    }

    fn lacks(&self) -> Option<Arc<str>> {
        self.inner.lacks()
    }

    fn panics(&self) -> dust::Panics {
        self.inner.panics()
    }

    fn offset_ms(&self) -> i64 {
        self.inner.offset_ms()
    }

    fn shared(&self) -> bool {
        self.inner.shared()
    }

    fn traits(&self) -> dust::Traits {
        self.inner.traits()
    }

    fn kind(&self) -> &'static str {
        self.inner.kind()
    }

    fn room(&self) -> Option<dust::Room> {
        self.inner.room()
    }
}

#[cfg(test)]
mod tests {
    use crate::clock::SystemClock;
    use crate::dust::Embedded;
    use crate::node::Joining;
    use crate::tasks::Tasks;
    use crate::testkit::Faulty;

    use super::*;

    fn metered() -> (Arc<Faulty>, MeteredDust, Arc<Health>, Arc<Metrics>) {
        let store = Embedded::memory(Arc::new(SystemClock));
        let line = Arc::new(Faulty::sound(Arc::new(store)));
        let (metrics, health) =
            (Metrics::new("test"), Arc::new(Health::new(true, Arc::default(), Tasks::null())));
        (line.clone(), MeteredDust::new(line, metrics.clone(), health.clone()), health, metrics)
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_is_down_after_some_failures_and_up_after_an_answer() {
        let (line, dust, health, metrics) = metered();
        line.down();
        for _ in 0..3 {
            assert!(health.dust_up());
            assert!(dust.entry("a").await.is_err());
        }
        assert!(!health.dust_up());
        line.up();
        assert!(dust.entry("a").await.is_ok());
        assert!(health.dust_up());
        assert!(
            metrics.render().contains("dustgate_dust_errors_total{op=\"entry\",reason=\"unavailable\"} 3")
        );
    }

    #[tokio::test(start_paused = true)]
    async fn until_the_fleet_is_joined_the_store_is_away_for_those_who_have_to_wait() {
        let store = Arc::new(Embedded::memory(Arc::new(SystemClock)));
        let joining = Arc::new(Joining::new(true));
        let (metrics, health) =
            (Metrics::new("test"), Arc::new(Health::new(false, joining.clone(), Tasks::null())));
        let open = MeteredDust::new(store.clone(), metrics.clone(), health.clone());
        let gated = MeteredDust::new(store, metrics, health).gated();
        assert!(open.entry("a").await.is_ok());
        assert!(matches!(gated.entry("a").await, Err(dust::Error::NotDone(_))));
        assert!(matches!(gated.on(&["a"]).await, Err(dust::Error::NotDone(_))));
        joining.set(false);
        assert!(gated.entry("a").await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_is_given_up_has_failed_only_if_it_had_its_time() {
        let (line, dust, health, _) = metered();
        for (patience, up) in [(LONGEST_CALL / 2, true), (LONGEST_CALL, false)] {
            for _ in 0..3 {
                line.hang_next();
                assert!(tokio::time::timeout(patience, dust.entry("a")).await.is_err());
            }
            assert_eq!(health.dust_up(), up, "{patience:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn somebody_looks_whether_it_is_back() {
        let (line, dust, health, _) = metered();
        let dust: Arc<dyn Dust> = Arc::new(dust);
        let clock = Arc::new(SystemClock);
        let settings = crate::body::Settings::default();
        let bodies = crate::body::Bodies::open("memory:", "s", settings, clock).await.expect("in memory");
        let watch = tokio::spawn(health.clone().watch(dust.clone(), bodies, "a".into()));
        line.down();
        assert!(dust.entry("a").await.is_err());
        tokio::time::sleep(Duration::from_secs(4)).await;
        assert!(!health.dust_up(), "nobody asked, and it was found out");
        line.up();
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert!(health.dust_up());
        watch.abort();
    }
}
