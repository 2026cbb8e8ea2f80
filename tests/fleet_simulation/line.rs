//! The store that all share, and each instance's line to it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use dustgate::clock::WallMs;
use dustgate::dust::embedded::Limits;
use dustgate::dust::{
    Changes, Dust, Embedded, Entry, Error, Feed, FeedItem, Findings, Grant, Holder, Hub, Inquiry, Landing,
    Lease, Number, Publication, Put, Renewal, Result, Written,
};
use dustgate::testkit::owned::{OwnedInquiry, OwnedPublication};
use futures_util::future::BoxFuture;
use tokio::sync::OnceCell;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep};

use crate::gate::{Gate, State};
use crate::judge::STAMPS;
use crate::ordered::Ordered;
use crate::plan::CALL_BOUND;
use crate::shelf::Shelf;
use crate::world::World;

/// Where all lines end: at one store, at none while that is down, at another after a failover.
#[derive(Debug)]
pub struct Switchboard {
    world: Arc<World>,
    shelf: Arc<Shelf>,
    at: Ordered<End>,
    /// What becomes of stamps that are written.
    stamps: Mutex<Stamped>,
}

/// What becomes of stamps that are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stamped {
    Taken,
    /// There is no room for them.
    Refused,
    /// Nobody answers.
    Unanswered,
}

#[derive(Debug, Clone)]
struct End {
    store: Arc<Embedded>,
    up: bool,
}

/// The line of one instance.
#[derive(Debug)]
pub struct Line {
    board: Arc<Switchboard>,
    gate: Arc<Gate>,
    hub: Arc<Hub>,
    pump: OnceCell<Pump>,
    /// How far wrong its idea of the store's clock is, in ms.
    error: i64,
    /// How far its own clock is ahead.
    ahead: i64,
    /// Until when it has not noticed that its own clock was set, and by how much that was.
    stepped: Mutex<Option<(Instant, i64)>>,
}

#[derive(Debug)]
struct Pump(AbortHandle);

impl Drop for Pump {
    fn drop(&mut self) {
        self.0.abort();
    }
}

// === impl Switchboard ===

impl Switchboard {
    pub fn new(world: &Arc<World>, shelf: &Arc<Shelf>) -> Arc<Self> {
        let at = Ordered::new(End { store: Arc::new(empty(world)), up: true });
        let stamps = Mutex::new(Stamped::Taken);
        Arc::new(Self { world: world.clone(), shelf: shelf.clone(), at, stamps })
    }

    pub fn store(&self) -> Arc<Embedded> {
        self.at.get().store
    }

    /// From now on that becomes of stamps.
    pub fn stamps_are(&self, stamped: Stamped) {
        *self.stamps.lock().expect("no panic under this lock") = stamped;
    }

    /// All lines are cut, or mended.
    pub fn set_up(&self, up: bool) {
        self.world.ledger.line_changes(&self.world);
        self.at.change(|end| end.up = up);
    }

    /// What is in the store now, as a replica has it.
    pub fn replica(&self) -> Embedded {
        self.store().replica(self.world.wall(0)).expect("memory can be read")
    }

    /// From now on all lines end at another store: an old replica, or an empty one. Its numbers
    /// go on above those of the last, as every shared store sees to.
    pub async fn fail_over(&self, to: Option<Embedded>) {
        let (old, new) = (self.store(), to.unwrap_or_else(|| empty(&self.world)));
        let holder = Holder("the simulation".into());
        let mark = |seen| (seen, Duration::from_millis(1));
        let (seen, ttl) = mark(0);
        let Ok(Grant::Granted(last)) = old.lease("sim/last", ttl, &holder, seen).await else {
            panic!("nobody else has it")
        };
        let (seen, ttl) = mark(last.token);
        new.lease("sim/last", ttl, &holder, seen).await.expect("it is in memory");
        self.world.ledger.begin_anew();
        self.at.change(|end| end.store = Arc::new(new));
    }

    fn end(&self) -> Result<Arc<Embedded>> {
        let end = self.at.get();
        if end.up { Ok(end.store) } else { Err(cut()) }
    }

    async fn put(&self, key: &str, value: &str, how: Put<'_>) -> Result<Written> {
        let stamped = *self.stamps.lock().expect("no panic under this lock");
        if stamped != Stamped::Taken && key.starts_with(STAMPS) {
            if stamped == Stamped::Unanswered {
                sleep(CALL_BOUND * 2).await;
            }
            return Err(Error::Unavailable("full".into()));
        }
        let written = self.end()?.put(key, value, how).await;
        if let Ok(Written::At(_)) = written {
            self.world.ledger.landed(&self.world, &self.shelf, key, value, None);
        }
        written
    }

    async fn announce(&self, key: &str, lives: Duration) -> Result<Number> {
        let number = self.end()?.announce(key, lives).await?;
        self.world.ledger.announced(&self.world, key, number);
        Ok(number)
    }

    async fn delete(&self, key: &str, fence: Option<&Lease>) -> Result<Written> {
        let deleted = self.end()?.delete(key, fence).await;
        if let Ok(Written::At(_)) = deleted {
            self.world.ledger.removed(key);
        }
        deleted
    }

    async fn publish(&self, publication: Publication<'_>) -> Result<Landing> {
        let landing = self.end()?.publish(publication).await;
        if let Ok(Landing::At(_) | Landing::Unreleased(_)) = landing {
            let body = publication.value.and_then(|value| value.body).map(|body| body.bytes);
            let value = publication.value.map(|value| (value.key, value.text));
            for (key, text) in value.into_iter().chain(publication.verdict.map(|note| (note.key, note.text)))
            {
                self.world.ledger.landed(&self.world, &self.shelf, key, text, body);
            }
        }
        landing
    }
}

fn empty(world: &World) -> Embedded {
    Embedded::memory_with(world.wall(0), Limits::default(), &world.dice()).in_common()
}

fn cut() -> Error {
    Error::Unavailable("no connection".into())
}

// === impl Line ===

impl Line {
    pub fn new(board: &Arc<Switchboard>, gate: &Arc<Gate>, ahead: i64) -> Self {
        let error = i64::try_from(board.world.dice.below(60)).unwrap_or(0) - 30;
        let error = if board.world.plan.skew == 0 { 0 } else { error };
        let (board, gate) = (board.clone(), gate.clone());
        let stepped = Mutex::default();
        Self { board, gate, hub: Arc::default(), pump: OnceCell::new(), error, ahead, stepped }
    }

    /// Its own clock is set, which it notices when it asks the store for the time again.
    pub fn step(&self, by_ms: i64, unnoticed: Duration) {
        *self.stepped.lock().expect("no panic under this lock") = Some((Instant::now() + unnoticed, by_ms));
    }

    fn off_ms(&self) -> i64 {
        let stepped = *self.stepped.lock().expect("no panic under this lock");
        stepped.filter(|(until, _)| Instant::now() < *until).map_or(0, |(_, by_ms)| by_ms)
    }

    /// While the gate is frozen, what was sent arrives after the thaw, whoever still listens.
    async fn call<T: Send + 'static>(&self, ask: BoxFuture<'static, Result<T>>) -> Result<T> {
        match self.gate.is() {
            State::Open => ask.await,
            State::Shut => Err(cut()),
            State::Frozen => {
                let (gate, world) = (self.gate.clone(), self.board.world.clone());
                let late = tokio::spawn(async move {
                    gate.pass().await.map_err(|_| cut())?;
                    world.count("late call of a zombie");
                    ask.await
                });
                late.await.unwrap_or_else(|_| Err(cut()))
            }
        }
    }

    async fn listen(&self) -> Result<()> {
        self.board.end()?;
        self.gate.pass().await.map_err(|_| cut())?;
        let start = async || {
            let (board, seen) = (self.board.clone(), self.board.at.changes());
            let feed = board.store().feed().await?;
            let task = tokio::spawn(pump(board, seen, self.gate.clone(), self.hub.clone(), feed));
            Ok(Pump(task.abort_handle()))
        };
        self.pump.get_or_try_init(start).await.map(|_: &Pump| ())
    }
}

async fn pump(board: Arc<Switchboard>, mut seen: u64, gate: Arc<Gate>, hub: Arc<Hub>, mut feed: Feed) {
    loop {
        tokio::select! {
            biased;
            () = gate.shut() => return,
            () = board.at.changed(seen) => {
                if gate.pass().await.is_err() {
                    return;
                }
                seen = board.at.changes();
                let end = board.at.get();
                // In memory: it always has one.
                let Ok(next) = end.store.feed().await else { return };
                feed = next;
                hub.lost();
            }
            item = feed.next() => {
                if gate.pass().await.is_err() {
                    return;
                }
                match item {
                    FeedItem::Change(change) if board.at.get().up => hub.emit(change),
                    FeedItem::Change(_) => {}
                    FeedItem::Lost => hub.lost(),
                    FeedItem::Doubt => hub.doubt(),
                }
            }
        }
    }
}

/// One call of the store behind the board.
macro_rules! ask {
    ($self:ident, |$store:ident| $call:expr) => {{
        let board = $self.board.clone();
        $self
            .call(Box::pin(async move {
                let $store = board.end()?;
                $call.await
            }))
            .await
    }};
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Dust for Line {
    async fn entry(&self, key: &str) -> Result<Option<Entry>> {
        let key = key.to_owned();
        ask!(self, |store| store.entry(&key))
    }

    async fn put(&self, key: &str, value: &str, how: Put<'_>) -> Result<Written> {
        let (board, key, value) = (self.board.clone(), key.to_owned(), value.to_owned());
        let (fence, expires_in, durable) = (how.fence.cloned(), how.expires_in, how.durable);
        self.call(Box::pin(async move {
            board.put(&key, &value, Put { fence: fence.as_ref(), expires_in, durable }).await
        }))
        .await
    }

    async fn delete(&self, key: &str, fence: Option<&Lease>) -> Result<Written> {
        let (board, key, fence) = (self.board.clone(), key.to_owned(), fence.cloned());
        self.call(Box::pin(async move { board.delete(&key, fence.as_ref()).await })).await
    }

    async fn announce(&self, key: &str, lives: Duration) -> Result<Number> {
        let (board, key) = (self.board.clone(), key.to_owned());
        self.call(Box::pin(async move { board.announce(&key, lives).await })).await
    }

    async fn lease(&self, key: &str, ttl: Duration, holder: &Holder, seen: Number) -> Result<Grant> {
        let (key, holder) = (key.to_owned(), holder.clone());
        ask!(self, |store| store.lease(&key, ttl, &holder, seen))
    }

    async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<Renewal> {
        let lease = lease.clone();
        ask!(self, |store| store.renew(&lease, ttl))
    }

    async fn release(&self, lease: &Lease) -> Result<()> {
        let lease = lease.clone();
        ask!(self, |store| store.release(&lease))
    }

    async fn release_holder(&self, key: &str, holder: &Holder) -> Result<()> {
        let (key, holder) = (key.to_owned(), holder.clone());
        ask!(self, |store| store.release_holder(&key, &holder))
    }

    async fn enter(&self, inquiry: Inquiry<'_>) -> Result<Findings> {
        let inquiry = OwnedInquiry::of(inquiry);
        ask!(self, |store| store.enter(inquiry.get()))
    }

    async fn publish(&self, publication: Publication<'_>) -> Result<Landing> {
        let (board, publication) = (self.board.clone(), OwnedPublication::of(publication));
        self.call(Box::pin(async move { board.publish(publication.get()).await })).await
    }

    async fn entry_with_body(&self, key: &str) -> Result<Option<(Entry, Option<Bytes>)>> {
        let key = key.to_owned();
        ask!(self, |store| store.entry_with_body(&key))
    }

    async fn bytes(&self, name: &str) -> Result<Option<Bytes>> {
        let name = name.to_owned();
        ask!(self, |store| store.bytes(&name))
    }

    async fn put_bytes(&self, name: &str, bytes: &Bytes, lives: Duration) -> Result<()> {
        let (name, bytes) = (name.to_owned(), bytes.clone());
        ask!(self, |store| store.put_bytes(&name, &bytes, lives))
    }

    async fn remove_bytes(&self, names: &[String]) -> Result<()> {
        let names = names.to_vec();
        ask!(self, |store| store.remove_bytes(&names))
    }

    async fn draw(
        &self,
        name: &str,
        terms: dustgate::dust::BucketTerms,
        draw: dustgate::dust::Draw,
    ) -> Result<Option<dustgate::dust::Drawn>> {
        let name = name.to_owned();
        ask!(self, |store| store.draw(&name, terms, draw))
    }

    async fn flush(&self) -> Result<()> {
        self.board.store().flush().await
    }

    async fn on(&self, keys: &[&str]) -> Result<Changes> {
        self.listen().await?;
        Ok(self.hub.on(keys))
    }

    async fn feed(&self) -> Result<Feed> {
        self.listen().await?;
        Ok(self.hub.feed())
    }

    async fn entries(&self, prefix: &str) -> Result<Vec<(String, Entry)>> {
        let prefix = prefix.to_owned();
        ask!(self, |store| store.entries(&prefix))
    }

    async fn part(&self, prefix: &str, from: Option<&str>) -> Result<dustgate::dust::Part> {
        let (prefix, from) = (prefix.to_owned(), from.map(str::to_owned));
        ask!(self, |store| store.part(&prefix, from.as_deref()))
    }

    async fn life(&self, propose: Option<&str>) -> Result<Option<Arc<str>>> {
        let propose = propose.map(str::to_owned);
        ask!(self, |store| store.life(propose.as_deref()))
    }

    fn now_ms(&self) -> WallMs {
        self.board.store().now_ms().saturating_add_signed(self.error + self.off_ms())
    }

    fn ceiling(&self) -> Number {
        self.board.store().ceiling()
    }

    fn impossible(&self) -> u64 {
        self.board.store().impossible()
    }

    fn lacks(&self) -> Option<Arc<str>> {
        self.board.store().lacks()
    }

    fn panics(&self) -> dustgate::dust::Panics {
        self.board.store().panics()
    }

    fn room(&self) -> Option<dustgate::dust::Room> {
        self.board.store().room()
    }

    fn offset_ms(&self) -> i64 {
        self.error - self.ahead
    }

    fn shared(&self) -> bool {
        true
    }

    fn traits(&self) -> dustgate::dust::Traits {
        dustgate::dust::Traits::REMOTE
    }

    fn kind(&self) -> &'static str {
        "simulated"
    }
}

#[cfg(test)]
mod tests {
    use dustgate::record::{Pointer, codec};
    use dustgate::testkit::fixtures;

    use super::*;
    use crate::plan::Plan;

    fn text(token: Number) -> String {
        let mut record = fixtures::record("http://h.test/k0");
        (record.born, record.token) = (token, token);
        codec::encode(&Pointer::Record(Box::new(record))).expect("it is short")
    }

    #[tokio::test(start_paused = true)]
    async fn an_older_record_replaces_no_newer_one_unless_that_one_was_removed() {
        let world = World::new(Plan::of(0));
        let board = Switchboard::new(&world, &Arc::default());
        let key = "sim/1/00000000000000000000000000000000";
        let (newer, older) = (text(2), text(1));
        for text in [&newer, &older, &newer] {
            board.put(key, text, Put::default()).await.expect("it is in memory");
        }
        assert_eq!(world.report().broken.len(), 1, "{:?}", world.report().broken);
        board.delete(key, None).await.expect("it is in memory");
        board.put(key, &older, Put::default()).await.expect("it is in memory");
        assert_eq!(world.report().broken.len(), 1, "{:?}", world.report().broken);
    }
}
