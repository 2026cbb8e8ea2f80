//! The Dust server: the store that other applications share, by the official clients' single flight too.
//!
//! A store has one channel for writes and events. The channel has no reads, so these go over HTTP, but for
//! what the latest events say. Nothing is read of a store's history.
//!
//! `keeper` joins each store and makes another channel (`channel`) when one is over, on a thread of its own.
//! A write (`op`) waits in `pending` until its reply or its own event comes. Events are put in order (`order`, `gap`),
//! read (`events`) and remembered for a while (`recent`). Paths are in `names`, the form of values in `leaf`,
//! the numbers over several stores in `numbers`, over a restored one in `lift` and `raise`, reasons in `fault`, the
//! rate limit in `gate` and `appraise`, reads in `http`, `reading` and `listing`, those in the background at the
//! `pace` of housekeeping. `prune` deletes what has expired.
//!
//! Leases are asked for and given back in `lease`. `holders` knows which holders ask for one and which have
//! one. `stray` looks for those that land late. `debts` releases those that no holder knows of.
//!
//! Bytes are not carried. Every call has a bound, and while there is no channel every write fails at once.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::{join_all, join5};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::hub::{Changes, Feed};
use super::thread;
use super::{
    Dust, Entry, Error, Findings, Grant, Holder, Inquiry, Landing, Lease, Number, Panics, Part, Publication,
    Put, Renewal, Result, Traits, Value, Written,
};
use crate::clock::{Clock, WallMs};

mod appraise;
mod channel;
mod debts;
mod entrance;
mod events;
mod fault;
mod frame;
mod gap;
mod gate;
mod holders;
mod http;
mod keeper;
mod keys;
mod leaf;
mod lease;
mod lift;
mod listing;
mod names;
mod numbers;
mod op;
mod order;
mod pace;
mod pending;
mod prune;
mod raise;
mod reading;
mod recent;
mod socket;
mod state;
mod stray;
mod target;

pub use keys::sweep;
pub use target::Target;

use events::{lives, ms};
use fault::Reason;
use gate::Term;
use leaf::Leaf;
use names::Names;
use op::{Fence, Tag, Write};
use pending::Done;
use state::{Shared, lock};

/// How long before its end a lease counts as due: the server's time is known roughly.
const DUE_MS: u64 = 500;
/// The key of a store's life.
const LIFE: &str = "#life";

/// The store in a Dust server.
#[derive(Debug)]
pub struct Server {
    shared: Arc<Shared>,
    /// Its drop ends the thread that keeps the channels.
    _stop: oneshot::Sender<()>,
}

// === impl Server ===

impl Server {
    /// How long a caller waits for a call: a server with many entries takes most of that for one write.
    pub const BOUND: Duration = Duration::from_secs(1);

    /// As [`Server::open_or_wait`], for a start that can't go on without the store.
    ///
    /// # Errors
    /// As there, and [`Error::Unavailable`] if it could not be reached in time.
    ///
    /// # Cancel safety
    /// Dropping it leaves nothing behind.
    pub async fn open(
        target: Target,
        prefix: &str,
        clock: Arc<dyn Clock>,
        patience: Duration,
    ) -> Result<Self> {
        let (store, missing) = Self::open_or_wait(target, prefix, clock, patience).await?;
        missing.map_or(Ok(store), Err)
    }

    /// Joins the stores that `target` names, for the fleet called `prefix`. A server that does not answer is
    /// tried again until `patience` is over; then this returns why, and attempts go on in the background.
    ///
    /// # Errors
    /// [`Error::Refused`] at once if the server does not know the token or a store, or the token lacks a
    /// scope that is needed.
    ///
    /// # Cancel safety
    /// Dropping it leaves nothing behind.
    pub async fn open_or_wait(
        target: Target,
        prefix: &str,
        clock: Arc<dyn Clock>,
        patience: Duration,
    ) -> Result<(Self, Option<Error>)> {
        let shared = Arc::new(Shared::new(target, prefix, clock)?);
        let (stop, stopped) = oneshot::channel();
        let (tells, firsts): (Vec<_>, Vec<_>) = shared.stores.iter().map(|_| oneshot::channel()).unzip();
        let mut tells: Vec<_> = tells.into_iter().map(Some).collect();
        let (of_thread, fallen, prefix) = (shared.clone(), shared.clone(), prefix.to_owned());
        let work = move || {
            let tells = tells.iter_mut().map(Option::take).enumerate();
            let keepers = tells.map(|(n, tell)| keeper::keep(of_thread.clone(), n, patience, tell));
            let keepers = join_all(keepers.collect::<Vec<_>>());
            let pruner = prune::prune(of_thread.clone(), prefix.clone());
            let (appraiser, payer) = (appraise::appraise(of_thread.clone()), debts::pay(of_thread.clone()));
            let chaser = stray::chase(of_thread.clone());
            async { drop(join5(keepers, pruner, appraiser, payer, chaser).await) }
        };
        thread::start("dust", shared.thread.clone(), work, move |why| fallen.fell(&why), stopped)
            .map_err(|error| Error::Unavailable(format!("no thread for it: {error}")))?;
        let mut missing = None;
        for (first, store) in join_all(firsts).await.into_iter().zip(&shared.stores) {
            let first = first.map_err(|_| shared.thread.error())?;
            let named = |error: Error| error.of(&store.name);
            missing = missing.or(first.map_err(named)?.map(named));
        }
        let store = Self { shared, _stop: stop };
        if missing.is_none() {
            // Other errors pass, or show later, too.
            if let Err(why @ Error::Refused(_)) = store.try_reads().await {
                return Err(why);
            }
        }
        Ok((store, missing))
    }

    /// Reads once from each store, so that a token that may not shows now and not at the first request. It
    /// also tells the server's time, roughly: leases tell it better. The reply to a join has said whether the
    /// token may write.
    async fn try_reads(&self) -> Result<()> {
        for (n, store) in self.shared.stores.iter().enumerate() {
            let sent = Instant::now();
            let time = self.shared.reads.time(&store.entries).await;
            if let Some(time) = time.map_err(|error: Error| error.of(&store.name))? {
                self.shared.clocked_within(time, sent, sent.elapsed() + Duration::from_secs(1));
            }
            // It is needed only where others write over HTTP: see `lacks`.
            let _ = self.shared.reads.log(n, &store.entries).await;
        }
        // Those that showed life before may show it again only in a while.
        for (key, entry) in self.list(self.shared.names.members()).await.unwrap_or_default() {
            if let Value::Lease { rest } = entry.value {
                let until = self.shared.server_ms().saturating_add(rest.map_or(0, ms));
                let token = self.shared.numbers.count(self.shared.spot(&key), entry.number);
                lock(&self.shared.gate).lives(&key.into(), Term { token, until });
            }
        }
        // Without an answer the limit of a server as it comes is taken for the token's.
        let _ = self.shared.ask_allowance().await;
        Ok(())
    }

    /// Deletes what has expired of the fleet called `prefix`, a few dozen at most, with a pause after each.
    /// Instances do so by themselves from time to time. Returns how much was deleted.
    ///
    /// # Errors
    /// The store does not answer, or refuses.
    pub async fn prune(&self, prefix: &str, pause: Duration) -> Result<usize> {
        prune::walk(&self.shared, prefix, pause).await
    }

    /// How many [`Changes`] and [`Feed`]s are alive.
    pub fn subscriptions(&self) -> usize {
        self.shared.hub.len()
    }

    /// Sends a write, and returns what came of it.
    async fn write(&self, key: &str, write: Write) -> Result<state::Outcome> {
        self.shared.write(self.shared.spot(key), write).await
    }

    /// The count and the number of what landed.
    fn landed(&self, key: &str, epoch: u64, done: Done) -> Result<Number> {
        let count =
            done.count.ok_or_else(|| Error::Broken("a write was answered without its number".into()))?;
        let spot = self.shared.spot(key);
        let number = self.shared.numbers.number(spot, epoch, count);
        self.shared.numbers.heard(spot, count, number);
        Ok(number)
    }

    fn written(&self, key: &str, epoch: u64, outcome: state::Outcome) -> Result<Written> {
        match outcome {
            Ok(done) => Ok(Written::At(self.landed(key, epoch, done)?)),
            Err(Reason::Fenced) => Ok(Written::Fenced),
            Err(reason) => Err(reason.error()),
        }
    }

    /// A fence as it is sent. It can only be in the store of the key that it guards.
    fn fence(&self, key: &str, fence: Option<&Lease>) -> Result<Option<Fence>> {
        let Some(lease) = fence else { return Ok(None) };
        let spot = self.shared.spot(&lease.key);
        if spot.store != self.shared.spot(key).store {
            return Err(Error::Refused(format!("{} and {key} lie in different stores", lease.key)));
        }
        let token = self.shared.numbers.count(spot, lease.token);
        Ok(Some((self.shared.names.path(&lease.key), token)))
    }

    /// The epoch of a write to `key` under this fence.
    fn epoch(&self, key: &str, fence: Option<&Lease>) -> u64 {
        self.shared.numbers.epoch(self.shared.spot(key), fence.map_or(0, |lease| lease.token))
    }

    async fn set(&self, key: &str, value: &str, how: Put<'_>) -> Result<Written> {
        let epoch = self.epoch(key, how.fence);
        let until = how.expires_in.map(|lives| self.shared.server_ms().saturating_add(ms(lives)));
        let leaf = Leaf::written(value, until, epoch);
        let tag = lives(how.expires_in, epoch);
        let fence = self.fence(key, how.fence)?;
        let write = Write::set(key.into(), &self.shared.names.path(key), &leaf, tag, fence);
        self.written(key, epoch, self.write(key, write).await?)
    }
}

#[async_trait]
impl Dust for Server {
    async fn entry(&self, key: &str) -> Result<Option<Entry>> {
        self.read(key).await
    }

    async fn put(&self, key: &str, value: &str, how: Put<'_>) -> Result<Written> {
        self.set(key, value, how).await
    }

    async fn delete(&self, key: &str, fence: Option<&Lease>) -> Result<Written> {
        let epoch = self.epoch(key, fence);
        let tag = Tag { number: None, epoch };
        let write = Write::delete(key.into(), &self.shared.names.path(key), tag, self.fence(key, fence)?);
        self.written(key, epoch, self.write(key, write).await?)
    }

    async fn announce(&self, key: &str, lives: Duration) -> Result<Number> {
        let epoch = self.epoch(key, None);
        let write = Write::delete(key.into(), &Names::told(key), self::lives(Some(lives), epoch), None);
        match self.write(key, write).await? {
            Ok(done) => self.landed(key, epoch, done),
            Err(reason) => Err(reason.error()),
        }
    }

    async fn lease(&self, key: &str, ttl: Duration, holder: &Holder, seen: Number) -> Result<Grant> {
        self.ask(key, ttl, holder, seen).await
    }

    async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<Renewal> {
        let key = &*lease.key;
        let count = self.shared.numbers.count(self.shared.spot(key), lease.token);
        let write = Write::renew(key.into(), &self.shared.names.path(key), count, ms(ttl));
        match self.write(key, write).await? {
            Ok(_) => Ok(Renewal::Renewed),
            Err(Reason::NotHeld) => Ok(Renewal::NotHeld),
            Err(reason) => Err(reason.error()),
        }
    }

    async fn release(&self, lease: &Lease) -> Result<()> {
        self.give_back(lease).await
    }

    async fn release_holder(&self, key: &str, holder: &Holder) -> Result<()> {
        match self.holder(key).await? {
            Some((lease, _)) if lease.holder == *holder => self.give_back(&lease).await,
            _ => Ok(()),
        }
    }

    async fn enter(&self, inquiry: Inquiry<'_>) -> Result<Findings> {
        self.inquire(inquiry).await
    }

    async fn publish(&self, publication: Publication<'_>) -> Result<Landing> {
        self.conclude(publication).await
    }

    async fn flush(&self) -> Result<()> {
        self.shared.settle().await
    }

    async fn on(&self, keys: &[&str]) -> Result<Changes> {
        // In this order: a channel that ends after the check is reported to these changes too.
        let changes = self.shared.hub.on(keys);
        for key in keys {
            self.shared.stores[self.shared.spot(key).store].line()?;
        }
        Ok(changes)
    }

    async fn feed(&self) -> Result<Feed> {
        let feed = self.shared.hub.feed();
        for store in &self.shared.stores {
            store.line()?;
        }
        Ok(feed)
    }

    async fn entries(&self, prefix: &str) -> Result<Vec<(String, Entry)>> {
        self.list(prefix).await
    }

    async fn part(&self, prefix: &str, from: Option<&str>) -> Result<Part> {
        self.list_part(prefix, from).await
    }

    async fn life(&self, propose: Option<&str>) -> Result<Option<Arc<str>>> {
        if let Some(id) = propose {
            let leaf = Leaf::written(id, None, 0);
            let write = Write::set_if_absent(LIFE.into(), &self.shared.names.path(LIFE), &leaf);
            match self.write(LIFE, write).await? {
                Ok(_) | Err(Reason::Conflict) => {}
                Err(reason) => return Err(reason.error()),
            }
        }
        Ok(self.read(LIFE).await?.and_then(|entry| entry.text().cloned()))
    }

    fn now_ms(&self) -> WallMs {
        self.shared.server_ms()
    }

    fn ceiling(&self) -> Number {
        self.shared.numbers.ceiling()
    }

    fn impossible(&self) -> u64 {
        self.shared.numbers.impossible()
    }

    fn lacks(&self) -> Option<Arc<str>> {
        self.shared.reads.lacks()
    }

    fn panics(&self) -> Panics {
        self.shared.thread.panics()
    }

    fn offset_ms(&self) -> i64 {
        self.shared.offset_ms()
    }

    fn shared(&self) -> bool {
        true
    }

    fn traits(&self) -> Traits {
        // A write of which no event came shows by the next event only.
        Traits { call_bound: Self::BOUND, tells_all: false, counts_calls: true, ..Traits::REMOTE }
    }

    fn kind(&self) -> &'static str {
        "dust"
    }
}

/// What a caller is told of another holder's lease.
fn held_by(lease: Lease, rest: Duration) -> Grant {
    let Lease { token, holder, .. } = lease;
    let holder = Some(holder).filter(|holder| !holder.0.is_empty());
    Grant::Held { rest: Some(rest), token: Some(token), holder }
}
