//! Two instances over one store, a judge, and a store decorator that records calls.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::time::Instant;

use crate::clock::{Dice, ManualClock, WallMs};
use crate::dust::{
    Changes, Dust, Embedded, Entry, Feed, Findings, Grant, Holder, Hub, Inquiry, Landing, Lease, Number,
    Publication, Put, Renewal, Result, Written,
};
use crate::flight::{Entered, Fill, Flight, Found, Judge, Judged, Names, OnUnavailable, Settings};
use crate::testkit::faulty::{Faulty, Op};

pub(super) const TTL: Duration = Duration::from_secs(6);
pub(super) const BOUND: Duration = Duration::from_millis(200);
pub(super) const JITTER: Duration = Duration::from_millis(250);

/// One instance: its flight, its line to the store, and what went over it.
pub(super) struct Instance {
    pub(super) flight: Arc<Flight>,
    pub(super) line: Arc<Faulty>,
    pub(super) spy: Arc<Spy>,
}

/// One store for all.
pub(super) struct Rig {
    pub(super) store: Arc<Embedded>,
    seeds: Mutex<u64>,
}

/// Finds any value but "old", which is stale; a verdict "pass"; and "growing <token>" while the
/// lease with that token lives.
pub(super) struct Any;

/// Records calls, and runs something just before one.
#[derive(Default)]
pub(super) struct Log {
    calls: Vec<(Op, String)>,
    before: VecDeque<(Op, BoxFuture<'static, ()>)>,
}

pub(super) struct Spy {
    inner: Arc<Faulty>,
    log: Mutex<Log>,
    own: OnceLock<Arc<Hub>>,
}

pub(super) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub(super) fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

pub(super) fn names() -> Names {
    Names::of("k")
}

pub(super) fn settings() -> Settings {
    Settings { lease_ttl: TTL, call_bound: BOUND, jitter: JITTER, on_unavailable: OnUnavailable::RunLocal }
}

/// Lets every task that can run do so, without time passing.
pub(super) async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

// === impl Rig ===

impl Rig {
    pub(super) fn new() -> Self {
        let clock = Arc::new(ManualClock::at(1_000_000));
        Self { store: Arc::new(Embedded::memory(clock)), seeds: Mutex::new(0) }
    }

    pub(super) fn instance(&self) -> Instance {
        self.instance_with(settings())
    }

    pub(super) fn instance_with(&self, settings: Settings) -> Instance {
        let line = Arc::new(Faulty::sound(self.store.clone()));
        let spy = Arc::new(Spy { inner: line.clone(), log: Mutex::default(), own: OnceLock::new() });
        let mut seeds = self.seeds.lock().unwrap();
        *seeds += 1;
        let flight = Flight::new(spy.clone(), Arc::new(Dice::seeded(*seeds)), settings);
        Instance { flight, line, spy }
    }

    pub(super) async fn put(&self, key: &str, text: &str) -> Number {
        match self.store.put(key, text, Put::default()).await.unwrap() {
            Written::At(number) => number,
            Written::Fenced => panic!("there was no fence"),
        }
    }

    pub(super) async fn text(&self, key: &str) -> Option<String> {
        let entry = self.store.entry(key).await.unwrap();
        entry.and_then(|entry| entry.text().map(ToString::to_string))
    }

    /// Takes a lease without a heartbeat, as of a holder that dies at once.
    pub(super) async fn hold(&self, ttl: Duration) -> Lease {
        let holder = Holder(format!("raw {:?}", Instant::now()).into());
        match self.store.lease(&names().lock, ttl, &holder, 0).await.unwrap() {
            Grant::Granted(lease) => lease,
            other => panic!("{other:?}"),
        }
    }

    /// The token of the live lease.
    pub(super) async fn holder(&self) -> Option<Number> {
        self.store.entry(&names().lock).await.unwrap().map(|entry| entry.number)
    }
}

// === impl Instance ===

impl Instance {
    pub(super) async fn enter(&self, within: Duration) -> Entered<String> {
        self.flight.enter(&names(), Instant::now() + within, 0, &Any).await
    }

    pub(super) async fn win(&self) -> Fill {
        match self.enter(secs(1)).await {
            Entered::Won(fill) => fill,
            other => panic!("{other:?}"),
        }
    }

    /// Enters in a task of its own, and lets it run until it waits.
    pub(super) async fn enter_aside(&self, within: Duration) -> tokio::task::JoinHandle<Entered<String>> {
        let flight = self.flight.clone();
        let deadline = Instant::now() + within;
        let task = tokio::spawn(async move { flight.enter(&names(), deadline, 0, &Any).await });
        settle().await;
        task
    }
}

// === impl Any ===

impl Judge for Any {
    type Found = String;

    fn judge(&self, found: &Found, live: Option<Number>) -> Judged<String> {
        let text = |entry: &Option<Entry>| entry.as_ref().and_then(Entry::text).map(ToString::to_string);
        match (text(&found.value), text(&found.verdict)) {
            (Some(value), _) if value != "old" => Judged::Found(value),
            (_, Some(verdict)) if verdict == "pass" => Judged::Found(verdict),
            (_, Some(verdict)) if live.is_some_and(|token| verdict == format!("growing {token}")) => {
                Judged::Found(verdict)
            }
            _ => Judged::Absent,
        }
    }

    fn aside(&self, entry: &Entry, _: Number) -> Judged<String> {
        entry.text().map_or(Judged::Absent, |text| Judged::Found(text.to_string()))
    }

    fn stale(&self, value: Option<&Entry>) -> Option<String> {
        value.and_then(Entry::text).map(ToString::to_string)
    }
}

// === impl Spy ===

impl Spy {
    /// The calls since the last call of this.
    pub(super) fn calls(&self) -> Vec<(Op, String)> {
        std::mem::take(&mut self.log.lock().unwrap().calls)
    }

    pub(super) fn count(&self, op: Op) -> usize {
        self.log.lock().unwrap().calls.iter().filter(|(called, _)| *called == op).count()
    }

    /// Runs `what` right before the next call of `op`.
    pub(super) fn before(&self, op: Op, what: impl Future<Output = ()> + Send + 'static) {
        self.log.lock().unwrap().before.push_back((op, Box::pin(what)));
    }

    /// Makes new subscriptions get only the events of the returned hub.
    pub(super) fn hear_only_this(&self) -> Arc<Hub> {
        self.own.get_or_init(Arc::default).clone()
    }

    async fn note(&self, op: Op, key: &str) {
        let what = {
            let mut log = self.log.lock().unwrap();
            log.calls.push((op, key.to_owned()));
            let at = log.before.iter().position(|(before, _)| *before == op);
            at.and_then(|at| log.before.remove(at))
        };
        if let Some((_, what)) = what {
            what.await;
        }
    }
}

impl fmt::Debug for Spy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Spy")
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Dust for Spy {
    async fn entry(&self, key: &str) -> Result<Option<Entry>> {
        self.note(Op::Entry, key).await;
        self.inner.entry(key).await
    }

    async fn put(&self, key: &str, value: &str, how: Put<'_>) -> Result<Written> {
        self.note(Op::Put, key).await;
        self.inner.put(key, value, how).await
    }

    async fn delete(&self, key: &str, fence: Option<&Lease>) -> Result<Written> {
        self.note(Op::Delete, key).await;
        self.inner.delete(key, fence).await
    }

    async fn announce(&self, key: &str, lives: Duration) -> Result<Number> {
        self.inner.announce(key, lives).await
    }

    async fn lease(&self, key: &str, ttl: Duration, holder: &Holder, seen: Number) -> Result<Grant> {
        self.note(Op::Lease, key).await;
        self.inner.lease(key, ttl, holder, seen).await
    }

    async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<Renewal> {
        self.note(Op::Renew, &lease.key).await;
        self.inner.renew(lease, ttl).await
    }

    async fn release(&self, lease: &Lease) -> Result<()> {
        self.note(Op::Release, &lease.key).await;
        self.inner.release(lease).await
    }

    async fn release_holder(&self, key: &str, holder: &Holder) -> Result<()> {
        self.note(Op::ReleaseHolder, key).await;
        self.inner.release_holder(key, holder).await
    }

    async fn enter(&self, inquiry: Inquiry<'_>) -> Result<Findings> {
        self.note(Op::of(inquiry), inquiry.lock).await;
        self.inner.enter(inquiry).await
    }

    async fn publish(&self, publication: Publication<'_>) -> Result<Landing> {
        self.note(Op::Publish, &publication.lease.key).await;
        self.inner.publish(publication).await
    }

    async fn entry_with_body(&self, key: &str) -> Result<Option<(Entry, Option<Bytes>)>> {
        self.note(Op::Entry, key).await;
        self.inner.entry_with_body(key).await
    }

    async fn bytes(&self, name: &str) -> Result<Option<Bytes>> {
        self.note(Op::Bytes, name).await;
        self.inner.bytes(name).await
    }

    async fn put_bytes(&self, name: &str, bytes: &Bytes, lives: Duration) -> Result<()> {
        self.note(Op::PutBytes, name).await;
        self.inner.put_bytes(name, bytes, lives).await
    }

    async fn remove_bytes(&self, names: &[String]) -> Result<()> {
        self.note(Op::RemoveBytes, &names.join(" ")).await;
        self.inner.remove_bytes(names).await
    }

    async fn draw(
        &self,
        name: &str,
        terms: crate::dust::BucketTerms,
        draw: crate::dust::Draw,
    ) -> Result<Option<crate::dust::Drawn>> {
        self.note(Op::Draw, name).await;
        self.inner.draw(name, terms, draw).await
    }

    async fn flush(&self) -> Result<()> {
        self.inner.flush().await
    }

    async fn on(&self, keys: &[&str]) -> Result<Changes> {
        self.note(Op::On, &keys.join(" ")).await;
        match self.own.get() {
            Some(hub) => Ok(hub.on(keys)),
            None => self.inner.on(keys).await,
        }
    }

    async fn feed(&self) -> Result<Feed> {
        self.inner.feed().await
    }

    async fn entries(&self, prefix: &str) -> Result<Vec<(String, Entry)>> {
        self.inner.entries(prefix).await
    }

    async fn part(&self, prefix: &str, from: Option<&str>) -> Result<crate::dust::Part> {
        self.inner.part(prefix, from).await
    }

    async fn life(&self, propose: Option<&str>) -> Result<Option<Arc<str>>> {
        self.inner.life(propose).await
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

    fn panics(&self) -> crate::dust::Panics {
        self.inner.panics()
    }

    fn offset_ms(&self) -> i64 {
        self.inner.offset_ms()
    }

    fn shared(&self) -> bool {
        self.inner.shared()
    }

    fn room(&self) -> Option<crate::dust::Room> {
        self.inner.room()
    }

    fn traits(&self) -> crate::dust::Traits {
        self.inner.traits()
    }

    fn kind(&self) -> &'static str {
        "spy"
    }
}
