//! A store behind a network that fails: by a seeded plan, or on demand.
//!
//! It wraps any store. Faults occur before the inner store is called or after it has answered, so that
//! a call that landed without an answer (F11) differs from one that never landed. All time is tokio's:
//! with paused time a run repeats exactly.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::ops::Range;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::OnceCell;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, sleep_until};

use crate::clock::{Dice, WallMs};
use crate::dust::{
    BucketTerms, Changes, Draw, Drawn, Dust, Entry, Error, Feed, FeedItem, Findings, Grant, Holder, Hub,
    Inquiry, Landing, Lease, Number, Publication, Put, Renewal, Result, Room, Written,
};
use crate::testkit::owned::{OwnedInquiry, OwnedPublication};

/// How often each fault occurs by itself, in parts per 1000 of all calls (or events).
#[derive(Debug, Clone)]
pub struct Plan {
    /// Calls reach the store up to this much later, even if the caller has given up meanwhile.
    pub delay: Duration,
    /// The request is lost.
    pub lose_request: u64,
    /// The request lands, its answer is lost.
    pub lose_answer: u64,
    /// Answered at once with [`Error::Unavailable`], nothing done.
    pub refuse: u64,
    /// Never answered, nothing done.
    pub hang: u64,
    /// An event is lost, without a report.
    pub lose_event: u64,
    /// Spans of time, from when the decorator was made, in which it is down.
    pub down: Vec<Range<Duration>>,
    /// How long until a lost request or answer fails with [`Error::Unavailable`]; `None`: never, the
    /// caller must have a bound of its own.
    pub silence: Option<Duration>,
}

/// A fault of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It reaches the store that much later, even if the caller has given up meanwhile.
    Delay(Duration),
    /// It never reaches the store.
    RequestLost,
    /// It lands, and its answer is lost.
    AnswerLost,
    /// Refused at once.
    Unavailable,
    /// Neither done nor ever answered.
    Hang,
}

/// A kind of call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the methods of the trait, by name; to look is to enter without a lease")]
pub enum Op {
    Enter,
    Look,
    Publish,
    Entry,
    Bytes,
    PutBytes,
    RemoveBytes,
    Draw,
    Put,
    Announce,
    Delete,
    Lease,
    Renew,
    Release,
    ReleaseHolder,
    On,
    Feed,
    Entries,
}

/// A store behind a connection that fails.
#[derive(Debug)]
pub struct Faulty {
    inner: Arc<dyn Dust>,
    line: Arc<BadLine>,
    pump: OnceCell<Pump>,
    /// How far ahead it reports the store's clock, in ms.
    ahead: AtomicI64,
}

#[derive(Debug)]
struct BadLine {
    plan: Plan,
    dice: Dice,
    hub: Hub,
    since: Instant,
    by_hand: Mutex<ByHand>,
}

#[derive(Debug, Default)]
struct ByHand {
    down: bool,
    deaf: bool,
    next: VecDeque<(Option<Op>, Fault)>,
    struck: u64,
}

/// The task that passes events on; it ends with the decorator.
#[derive(Debug)]
struct Pump(AbortHandle);

// === impl Plan ===

impl Default for Plan {
    /// No faults; what is lost on demand fails after 200 ms.
    fn default() -> Self {
        Self {
            delay: Duration::ZERO,
            lose_request: 0,
            lose_answer: 0,
            refuse: 0,
            hang: 0,
            lose_event: 0,
            down: Vec::new(),
            silence: Some(Duration::from_millis(200)),
        }
    }
}

// === impl Fault ===

impl Fault {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Delay(_) => "delay",
            Self::RequestLost => "request lost",
            Self::AnswerLost => "answer lost",
            Self::Unavailable => "unavailable",
            Self::Hang => "hang",
        }
    }
}

// === impl Op ===

impl Op {
    /// The kind of an inquiry: with a lease or without.
    pub fn of(inquiry: Inquiry<'_>) -> Self {
        if inquiry.lease.is_some() { Self::Enter } else { Self::Look }
    }
}

// === impl Faulty ===

impl Faulty {
    /// Puts `inner` behind a connection that fails by `plan`, at random by `dice`.
    pub fn new(inner: Arc<dyn Dust>, plan: Plan, dice: Dice) -> Self {
        let by_hand = Mutex::default();
        let line = BadLine { plan, dice, hub: Hub::new(), since: Instant::now(), by_hand };
        Self { inner, line: Arc::new(line), pump: OnceCell::new(), ahead: AtomicI64::new(0) }
    }

    /// A connection with no faults except those on demand.
    pub fn sound(inner: Arc<dyn Dust>) -> Self {
        Self::new(inner, Plan::default(), Dice::seeded(0))
    }

    /// Cuts the connection: calls are refused, events are missed, and that is reported to all subscribers.
    pub fn down(&self) {
        self.line.by_hand().down = true;
        self.line.hub.lost();
    }

    /// Restores the connection. Subscribers get events again, after the report that some were missed.
    pub fn up(&self) {
        self.line.by_hand().down = false;
        self.line.hub.lost();
    }

    /// Sets whether events are lost without a report.
    pub fn lose_events(&self, lose: bool) {
        self.line.by_hand().deaf = lose;
    }

    /// The next call of `op` (`None`: of any) meets `fault`. Several faults are queued.
    pub fn next(&self, op: Option<Op>, fault: Fault) {
        self.line.by_hand().next.push_back((op, fault));
    }

    /// The next call lands, and its answer is lost.
    pub fn drop_next_answer(&self) {
        self.next(None, Fault::AnswerLost);
    }

    /// The next call does not reach the store.
    pub fn drop_next_request(&self) {
        self.next(None, Fault::RequestLost);
    }

    /// The next call is never answered.
    pub fn hang_next(&self) {
        self.next(None, Fault::Hang);
    }

    /// Makes this side report the store's clock as so many ms ahead of what it is.
    pub fn set_ahead(&self, ms: i64) {
        self.ahead.store(ms, Ordering::Relaxed);
    }

    /// How many faults occurred so far, refusals of a cut connection included.
    pub fn struck(&self) -> u64 {
        self.line.by_hand().struck
    }

    /// How many [`Changes`] and [`Feed`]s of this side are alive.
    pub fn subscriptions(&self) -> usize {
        self.line.hub.len()
    }

    async fn call<T: Send + 'static>(&self, op: Op, ask: BoxFuture<'static, Result<T>>) -> Result<T> {
        match self.line.fate(op) {
            None => ask.await,
            Some(Fault::Delay(late)) => {
                // A call that was sent arrives, whether or not its caller still waits.
                let task = tokio::spawn(async move {
                    sleep(late).await;
                    ask.await
                });
                task.await.unwrap_or_else(|_| Err(Error::Unavailable("closing".into())))
            }
            Some(Fault::AnswerLost) => {
                ask.await?;
                self.silence().await
            }
            Some(Fault::RequestLost) => self.silence().await,
            Some(Fault::Unavailable) => Err(Error::Unavailable("no connection".into())),
            Some(Fault::Hang) => std::future::pending().await,
        }
    }

    async fn silence<T>(&self) -> Result<T> {
        match self.line.plan.silence {
            Some(silence) => sleep(silence).await,
            None => std::future::pending().await,
        }
        Err(Error::Unavailable("no answer in time".into()))
    }

    /// Starts the task that passes events on, at the first subscription.
    async fn listen(&self) -> Result<()> {
        let start = async || {
            let feed = self.inner.feed().await?;
            let task = tokio::spawn(pump(self.line.clone(), feed));
            Ok(Pump(task.abort_handle()))
        };
        self.pump.get_or_try_init(start).await.map(|_| ())
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Dust for Faulty {
    async fn entry(&self, key: &str) -> Result<Option<Entry>> {
        let (inner, key) = (self.inner.clone(), key.to_owned());
        self.call(Op::Entry, Box::pin(async move { inner.entry(&key).await })).await
    }

    async fn put(&self, key: &str, value: &str, how: Put<'_>) -> Result<Written> {
        let (inner, key, value) = (self.inner.clone(), key.to_owned(), value.to_owned());
        let (fence, expires_in, durable) = (how.fence.cloned(), how.expires_in, how.durable);
        let ask =
            async move { inner.put(&key, &value, Put { fence: fence.as_ref(), expires_in, durable }).await };
        self.call(Op::Put, Box::pin(ask)).await
    }

    async fn delete(&self, key: &str, fence: Option<&Lease>) -> Result<Written> {
        let (inner, key, fence) = (self.inner.clone(), key.to_owned(), fence.cloned());
        self.call(Op::Delete, Box::pin(async move { inner.delete(&key, fence.as_ref()).await })).await
    }

    async fn announce(&self, key: &str, lives: Duration) -> Result<Number> {
        let (inner, key) = (self.inner.clone(), key.to_owned());
        self.call(Op::Announce, Box::pin(async move { inner.announce(&key, lives).await })).await
    }

    async fn lease(&self, key: &str, ttl: Duration, holder: &Holder, seen: Number) -> Result<Grant> {
        let (inner, key, holder) = (self.inner.clone(), key.to_owned(), holder.clone());
        self.call(Op::Lease, Box::pin(async move { inner.lease(&key, ttl, &holder, seen).await })).await
    }

    async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<Renewal> {
        let (inner, lease) = (self.inner.clone(), lease.clone());
        self.call(Op::Renew, Box::pin(async move { inner.renew(&lease, ttl).await })).await
    }

    async fn release(&self, lease: &Lease) -> Result<()> {
        let (inner, lease) = (self.inner.clone(), lease.clone());
        self.call(Op::Release, Box::pin(async move { inner.release(&lease).await })).await
    }

    async fn release_holder(&self, key: &str, holder: &Holder) -> Result<()> {
        let (inner, key, holder) = (self.inner.clone(), key.to_owned(), holder.clone());
        self.call(Op::ReleaseHolder, Box::pin(async move { inner.release_holder(&key, &holder).await })).await
    }

    async fn enter(&self, inquiry: Inquiry<'_>) -> Result<Findings> {
        let (inner, inquiry) = (self.inner.clone(), OwnedInquiry::of(inquiry));
        let op = Op::of(inquiry.get());
        self.call(op, Box::pin(async move { inner.enter(inquiry.get()).await })).await
    }

    async fn publish(&self, publication: Publication<'_>) -> Result<Landing> {
        let (inner, publication) = (self.inner.clone(), OwnedPublication::of(publication));
        self.call(Op::Publish, Box::pin(async move { inner.publish(publication.get()).await })).await
    }

    async fn entry_with_body(&self, key: &str) -> Result<Option<(Entry, Option<Bytes>)>> {
        let (inner, key) = (self.inner.clone(), key.to_owned());
        self.call(Op::Entry, Box::pin(async move { inner.entry_with_body(&key).await })).await
    }

    async fn bytes(&self, name: &str) -> Result<Option<Bytes>> {
        let (inner, name) = (self.inner.clone(), name.to_owned());
        self.call(Op::Bytes, Box::pin(async move { inner.bytes(&name).await })).await
    }

    async fn put_bytes(&self, name: &str, bytes: &Bytes, lives: Duration) -> Result<()> {
        let (inner, name, bytes) = (self.inner.clone(), name.to_owned(), bytes.clone());
        self.call(Op::PutBytes, Box::pin(async move { inner.put_bytes(&name, &bytes, lives).await })).await
    }

    async fn remove_bytes(&self, names: &[String]) -> Result<()> {
        let (inner, names) = (self.inner.clone(), names.to_vec());
        self.call(Op::RemoveBytes, Box::pin(async move { inner.remove_bytes(&names).await })).await
    }

    async fn draw(&self, name: &str, terms: BucketTerms, draw: Draw) -> Result<Option<Drawn>> {
        let (inner, name) = (self.inner.clone(), name.to_owned());
        self.call(Op::Draw, Box::pin(async move { inner.draw(&name, terms, draw).await })).await
    }

    async fn flush(&self) -> Result<()> {
        self.inner.flush().await
    }

    async fn on(&self, keys: &[&str]) -> Result<Changes> {
        self.call(Op::On, Box::pin(async { Ok(()) })).await?;
        self.listen().await?;
        Ok(self.line.hub.on(keys))
    }

    async fn feed(&self) -> Result<Feed> {
        self.call(Op::Feed, Box::pin(async { Ok(()) })).await?;
        self.listen().await?;
        Ok(self.line.hub.feed())
    }

    async fn entries(&self, prefix: &str) -> Result<Vec<(String, Entry)>> {
        let (inner, prefix) = (self.inner.clone(), prefix.to_owned());
        self.call(Op::Entries, Box::pin(async move { inner.entries(&prefix).await })).await
    }

    async fn part(&self, prefix: &str, from: Option<&str>) -> Result<crate::dust::Part> {
        let (inner, prefix, from) = (self.inner.clone(), prefix.to_owned(), from.map(str::to_owned));
        self.call(Op::Entries, Box::pin(async move { inner.part(&prefix, from.as_deref()).await })).await
    }

    async fn life(&self, propose: Option<&str>) -> Result<Option<Arc<str>>> {
        let (inner, propose) = (self.inner.clone(), propose.map(str::to_owned));
        self.call(Op::Entry, Box::pin(async move { inner.life(propose.as_deref()).await })).await
    }

    fn now_ms(&self) -> WallMs {
        self.inner.now_ms().saturating_add_signed(self.ahead.load(Ordering::Relaxed))
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

    fn traits(&self) -> crate::dust::Traits {
        self.inner.traits()
    }

    fn kind(&self) -> &'static str {
        self.inner.kind()
    }

    fn room(&self) -> Option<Room> {
        self.inner.room()
    }
}

// === impl BadLine ===

impl BadLine {
    fn by_hand(&self) -> MutexGuard<'_, ByHand> {
        self.by_hand.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_down(&self) -> bool {
        let at = self.since.elapsed();
        self.by_hand().down || self.plan.down.iter().any(|span| span.contains(&at))
    }

    fn fate(&self, op: Op) -> Option<Fault> {
        let fault = if self.is_down() { Some(Fault::Unavailable) } else { self.fate_while_up(op) };
        if fault.is_some() {
            self.by_hand().struck += 1;
        }
        fault
    }

    fn fate_while_up(&self, op: Op) -> Option<Fault> {
        let mut hand = self.by_hand();
        if let Some(at) = hand.next.iter().position(|(only, _)| only.is_none_or(|only| only == op)) {
            return hand.next.remove(at).map(|(_, fault)| fault);
        }
        drop(hand);
        // One random number for all faults, so that their chances are those of the plan.
        let mut throw = self.dice.below(1000);
        let chances = [
            (self.plan.lose_request, Fault::RequestLost),
            (self.plan.lose_answer, Fault::AnswerLost),
            (self.plan.refuse, Fault::Unavailable),
            (self.plan.hang, Fault::Hang),
        ];
        for (chance, fault) in chances {
            if throw < chance {
                return Some(fault);
            }
            throw -= chance;
        }
        (self.plan.delay > Duration::ZERO).then(|| Fault::Delay(self.dice.up_to(self.plan.delay)))
    }

    /// When the plan next cuts or restores the connection.
    fn next_turn(&self) -> Option<Instant> {
        let now = Instant::now();
        let turns = self.plan.down.iter().flat_map(|span| [self.since + span.start, self.since + span.end]);
        turns.filter(|at| *at > now).min()
    }

    fn loses_event(&self) -> bool {
        let silent = self.by_hand().deaf;
        silent || self.is_down() || self.dice.below(1000) < self.plan.lose_event
    }
}

// === impl Pump ===

impl Drop for Pump {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn pump(line: Arc<BadLine>, mut feed: Feed) {
    loop {
        let turn = line.next_turn();
        tokio::select! {
            biased;
            item = feed.next() => match item {
                FeedItem::Change(change) => if !line.loses_event() { line.hub.emit(change) },
                FeedItem::Lost => line.hub.lost(),
                FeedItem::Doubt => line.hub.doubt(),
            },
            () = sleep_until(turn.unwrap_or_else(Instant::now)), if turn.is_some() => line.hub.lost(),
        }
    }
}

#[cfg(test)]
mod tests;
