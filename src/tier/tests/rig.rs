//! Instances of a fleet without proxies: each has a connection, a tier and a member, and all share a store.

use std::sync::Mutex;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::task::JoinSet;

use super::*;
use crate::clock::{Clock, Dice, ManualClock, WallMs};
use crate::dust::embedded::Limits;
use crate::dust::{
    self, Changes, Dust, Embedded, Entry, Feed, FeedItem, Findings, Grant, Holder, Hub, Inquiry, Landing,
    Lease, Publication, Put, Renewal, Written,
};
use crate::flight::Names;
use crate::record::{Pointer, codec};
use crate::testkit::Faulty;
use crate::tier::member;

pub(super) const TRUST: Duration = Duration::from_secs(10);
pub(super) const BOUND: Duration = Duration::from_millis(200);

/// A store that can be replaced by another.
#[derive(Debug)]
pub(super) struct Swap {
    inner: Mutex<Arc<dyn Dust>>,
    hub: Arc<Hub>,
    life: Mutex<Option<Arc<str>>>,
    pumps: Mutex<JoinSet<()>>,
    reads: Mutex<Vec<String>>,
    puts: Mutex<Vec<String>>,
    /// As [`dust::Traits::tells_all`].
    pub(super) tells_all: AtomicBool,
    /// As [`dust::Traits::counts_calls`].
    pub(super) counts_calls: AtomicBool,
}

/// An instance of the fleet.
pub(super) struct Instance {
    pub(super) line: Arc<Faulty>,
    pub(super) dust: Arc<dyn Dust>,
    pub(super) tier: Arc<Tier>,
    pub(super) stamps: Arc<Stamps>,
    pub(super) trust: Arc<Trust>,
    pub(super) member: Arc<Member>,
    pub(super) host: Arc<TestHost>,
    pub(super) tasks: JoinSet<()>,
}

#[derive(Default)]
pub(super) struct TestHost {
    seen: AtomicU64,
    pub(super) news: Mutex<Vec<News>>,
    pub(super) moved: Mutex<Vec<(String, bool)>>,
}

pub(super) fn embedded() -> Arc<dyn Dust> {
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(NOW));
    Arc::new(Embedded::memory_with(clock, Limits::default(), &Dice::seeded(1)).in_common())
}

impl Swap {
    pub(super) fn new() -> Arc<Self> {
        let swap = Arc::new(Self {
            inner: Mutex::new(embedded()),
            hub: Arc::default(),
            life: Mutex::new(Some("first".into())),
            pumps: Mutex::default(),
            reads: Mutex::default(),
            puts: Mutex::default(),
            tells_all: AtomicBool::new(true),
            counts_calls: AtomicBool::new(false),
        });
        swap.put_in(embedded(), Some("first"));
        swap
    }

    /// Replaces the store. Subscribers are told that changes were missed.
    pub(super) fn put_in(&self, other: Arc<dyn Dust>, life: Option<&str>) {
        *self.inner.lock().unwrap() = other.clone();
        *self.life.lock().unwrap() = life.map(Arc::from);
        let hub = self.hub.clone();
        let mut pumps = self.pumps.lock().unwrap();
        pumps.abort_all();
        pumps.spawn(async move {
            let mut feed = other.feed().await.unwrap();
            loop {
                match feed.next().await {
                    FeedItem::Change(change) => hub.emit(change),
                    FeedItem::Lost => hub.lost(),
                    FeedItem::Doubt => hub.doubt(),
                }
            }
        });
        self.hub.lost();
    }

    /// How often this key was written.
    pub(super) fn puts(&self, key: &str) -> usize {
        self.puts.lock().unwrap().iter().filter(|of| *of == key).count()
    }

    /// Reports that changes were missed.
    pub(super) fn lose(&self) {
        self.hub.lost();
    }

    /// Reports that changes of records may have been missed.
    pub(super) fn doubt(&self) {
        self.hub.doubt();
    }

    /// How many value keys were read since the last call.
    pub(super) fn reads(&self) -> usize {
        std::mem::take(&mut *self.reads.lock().unwrap()).len()
    }

    fn now(&self) -> Arc<dyn Dust> {
        self.inner.lock().unwrap().clone()
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Dust for Swap {
    async fn entry(&self, key: &str) -> dust::Result<Option<Entry>> {
        self.reads.lock().unwrap().push(key.to_owned());
        self.now().entry(key).await
    }
    async fn put(&self, key: &str, value: &str, how: Put<'_>) -> dust::Result<Written> {
        self.puts.lock().unwrap().push(key.to_owned());
        self.now().put(key, value, how).await
    }
    async fn delete(&self, key: &str, fence: Option<&Lease>) -> dust::Result<Written> {
        self.now().delete(key, fence).await
    }
    async fn announce(&self, key: &str, lives: Duration) -> dust::Result<Number> {
        self.now().announce(key, lives).await
    }
    async fn lease(&self, key: &str, ttl: Duration, holder: &Holder, seen: Number) -> dust::Result<Grant> {
        self.now().lease(key, ttl, holder, seen).await
    }
    async fn renew(&self, lease: &Lease, ttl: Duration) -> dust::Result<Renewal> {
        self.now().renew(lease, ttl).await
    }
    async fn release(&self, lease: &Lease) -> dust::Result<()> {
        self.now().release(lease).await
    }
    async fn release_holder(&self, key: &str, holder: &Holder) -> dust::Result<()> {
        self.now().release_holder(key, holder).await
    }
    async fn enter(&self, inquiry: Inquiry<'_>) -> dust::Result<Findings> {
        self.reads.lock().unwrap().push(inquiry.value.to_owned());
        self.now().enter(inquiry).await
    }
    async fn publish(&self, publication: Publication<'_>) -> dust::Result<Landing> {
        self.now().publish(publication).await
    }
    async fn entry_with_body(&self, key: &str) -> dust::Result<Option<(Entry, Option<Bytes>)>> {
        self.reads.lock().unwrap().push(key.to_owned());
        self.now().entry_with_body(key).await
    }
    async fn bytes(&self, name: &str) -> dust::Result<Option<Bytes>> {
        self.now().bytes(name).await
    }
    async fn put_bytes(&self, name: &str, bytes: &Bytes, lives: Duration) -> dust::Result<()> {
        self.now().put_bytes(name, bytes, lives).await
    }
    async fn remove_bytes(&self, names: &[String]) -> dust::Result<()> {
        self.now().remove_bytes(names).await
    }
    async fn draw(
        &self,
        name: &str,
        terms: dust::BucketTerms,
        draw: dust::Draw,
    ) -> dust::Result<Option<dust::Drawn>> {
        self.now().draw(name, terms, draw).await
    }
    async fn flush(&self) -> dust::Result<()> {
        self.now().flush().await
    }

    async fn on(&self, keys: &[&str]) -> dust::Result<Changes> {
        Ok(self.hub.on(keys))
    }
    async fn feed(&self) -> dust::Result<Feed> {
        Ok(self.hub.feed())
    }
    async fn entries(&self, prefix: &str) -> dust::Result<Vec<(String, Entry)>> {
        self.now().entries(prefix).await
    }
    async fn part(&self, prefix: &str, from: Option<&str>) -> dust::Result<dust::Part> {
        self.now().part(prefix, from).await
    }
    async fn life(&self, propose: Option<&str>) -> dust::Result<Option<Arc<str>>> {
        let mut life = self.life.lock().unwrap();
        if let (None, Some(propose)) = (life.as_ref(), propose) {
            *life = Some(propose.into());
        }
        Ok(life.clone())
    }
    fn now_ms(&self) -> WallMs {
        self.now().now_ms()
    }
    fn ceiling(&self) -> Number {
        self.now().ceiling()
    }
    fn impossible(&self) -> u64 {
        self.now().impossible()
    }
    fn lacks(&self) -> Option<std::sync::Arc<str>> {
        self.now().lacks()
    }
    fn panics(&self) -> crate::dust::Panics {
        self.now().panics()
    }
    fn offset_ms(&self) -> i64 {
        self.now().offset_ms()
    }
    fn room(&self) -> Option<dust::Room> {
        self.now().room()
    }
    fn shared(&self) -> bool {
        true
    }
    fn traits(&self) -> dust::Traits {
        let tells_all = self.tells_all.load(Ordering::Relaxed);
        let counts_calls = self.counts_calls.load(Ordering::Relaxed);
        dust::Traits { tells_all, counts_calls, ..self.now().traits() }
    }
    fn kind(&self) -> &'static str {
        "swap"
    }
}

#[async_trait]
impl Host for TestHost {
    fn stored(&self, record: Record) -> Option<Stored> {
        Some(Stored::new(record, &Rules::default(), None))
    }
    fn seen(&self) -> Number {
        self.seen.load(Ordering::Relaxed)
    }
    fn saw(&self, number: Number) {
        self.seen.fetch_max(number, Ordering::Relaxed);
    }
    async fn moves(&self, id: &str, begun: bool) -> Result<(), String> {
        self.moved.lock().unwrap().push((id.to_owned(), begun));
        Ok(())
    }
    fn hears(&self, news: News) {
        self.news.lock().unwrap().push(news);
    }
}

impl Instance {
    /// Starts an instance, and waits until it trusts its tier.
    pub(super) async fn start(name: &str, store: &Arc<Swap>, when: WhenUnsure) -> Self {
        let instance = Self::begin(name, store, when);
        instance.member.is_sure().await;
        instance
    }

    pub(super) fn begin(name: &str, store: &Arc<Swap>, when: WhenUnsure) -> Self {
        let line = Arc::new(Faulty::sound(store.clone()));
        let numbers = Numbers::new("dustgate");
        let dust: Arc<dyn Dust> = Arc::new(Own::new(line.clone(), numbers.clone()));
        let tier = Arc::new(Tier::in_fleet(1 << 20, numbers.clone()));
        let stamps = Arc::new(Stamps::new("dustgate", Duration::from_hours(1)));
        let trust = Arc::new(Trust::shared(when));
        let host = Arc::new(TestHost::default());
        let settings = member::Settings {
            prefix: "dustgate".into(),
            instance: name.into(),
            trust: TRUST,
            call_bound: BOUND,
            life: "first".into(),
        };
        let parts = member::Parts {
            dust: dust.clone(),
            tier: tier.clone(),
            stamps: stamps.clone(),
            numbers,
            trust: trust.clone(),
            dice: Arc::new(Dice::seeded(name.len() as u64)),
        };
        let member = Member::new(settings, parts, host.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(member.clone().follow());
        tasks.spawn(member.clone().keep_trust());
        Self { line, dust, tier, stamps, trust, member, host, tasks }
    }

    /// Fills a key as a fill does: under its lease, and then into memory.
    pub(super) async fn publish(&self, key: &str) -> Number {
        let names = Names::of(&format!("dustgate/1/{}", KeyHash::of(key)));
        let holder = Holder("filler".into());
        let lease = self.dust.lease(&names.lock, TRUST, &holder, self.host.seen()).await.unwrap();
        let Grant::Granted(lease) = lease else { panic!("{lease:?}") };
        let record = Record { key: key.into(), born: lease.token, ..record(lease.token, lease.token) };
        let text = codec::encode(&Pointer::Record(Box::new(record.clone()))).unwrap();
        let how = Put { fence: Some(&lease), ..Put::default() };
        assert!(matches!(self.dust.put(&names.value, &text, how).await, Ok(Written::At(_))));
        self.dust.release(&lease).await.unwrap();
        self.tier.keep(Arc::new(Stored::new(record, &Rules::default(), Some(Bytes::from_static(b"hello")))));
        lease.token
    }

    pub(super) async fn delete(&self, key: &str) {
        let names = Names::of(&format!("dustgate/1/{}", KeyHash::of(key)));
        self.dust.delete(&names.value, None).await.unwrap();
    }

    /// Reads a record from the store and keeps it, as a request does.
    pub(super) async fn recall(&self, key: &str) {
        let names = Names::of(&format!("dustgate/1/{}", KeyHash::of(key)));
        let entry = self.dust.entry(&names.value).await.unwrap().unwrap();
        let Ok(Pointer::Record(record)) = codec::decode(entry.text().unwrap(), &codec::Limits::NONE) else {
            panic!("{entry:?}")
        };
        self.tier.keep(Arc::new(Stored::new(*record, &Rules::default(), None).at(entry.number)));
    }

    /// The token of the entry that a hit finds.
    pub(super) fn find(&self, key: &str) -> Option<Number> {
        match self.tier.find(key)? {
            Held::Stored(stored) => Some(stored.record.token),
            Held::Vary(node) => Some(node.token),
        }
    }

    pub(super) fn is_sure(&self) -> bool {
        self.trust.holds(NOW)
    }

    pub(super) fn heard(&self, news: impl Fn(&News) -> bool) -> usize {
        self.host.news.lock().unwrap().iter().filter(|one| news(one)).count()
    }
}

/// Waits until `so` is true, for no longer than a minute.
pub(super) async fn until(what: &str, so: impl Fn() -> bool) {
    let asking = async {
        while !so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_mins(1), asking).await.is_ok(), "never: {what}");
}

/// Lets every task run until it waits for a longer time.
pub(super) async fn settle() {
    tokio::time::sleep(Duration::from_millis(100)).await;
}
