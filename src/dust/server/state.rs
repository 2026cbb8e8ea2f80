//! State that the store's calls, its channels and their keeper share.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Instant, timeout};

use super::super::hub::Hub;
use super::super::skew::Skew;
use super::super::{Error, Result};
use super::fault::{self, Reason};
use super::gate::{Gate, rest_of_minute};
use super::http::Reads;
use super::names::Names;
use super::numbers::{Numbers, Spot};
use super::op::Write;
use super::pending::{Done, Pending};
use super::recent::Recent;
use super::target::Target;
use crate::clock::{Clock, Dice, WallMs};

/// The bound of a call. A little less than the callers' own.
pub(super) const CALL_BOUND: Duration = Duration::from_millis(900);
/// How many writes may wait to be sent.
const QUEUE: usize = 4096;
/// The longest time between the beginning of the server's minute and the first write after a refusal.
const SPREAD: Duration = Duration::from_secs(1);

/// What all stores of one server share.
#[derive(Debug)]
pub(super) struct Shared {
    pub target: Target,
    pub names: Names,
    pub numbers: Numbers,
    pub hub: Hub,
    pub reads: Reads,
    pub clock: Arc<dyn Clock>,
    pub dice: Dice,
    pub stores: Vec<Store>,
    gate: Mutex<Gate>,
    /// The server's time at `base` in ms. Later times add the monotonic time since `base`.
    origin: AtomicI64,
    base: Instant,
    skew: Mutex<Skew>,
}

/// One store.
#[derive(Debug)]
pub(super) struct Store {
    /// As `org/name`.
    pub name: String,
    /// The URL of its entries.
    pub entries: String,
    /// Wakes the keeper to check the line.
    pub knock: Notify,
    pub recent: Mutex<Recent>,
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    Up(Line),
    /// There is no channel: calls fail with this error.
    Down(Error),
}

/// A joined channel.
#[derive(Debug, Clone)]
pub(super) struct Line {
    /// Its name, unique to it.
    pub name: Arc<str>,
    pub queue: mpsc::Sender<Push>,
    pub pending: Arc<Mutex<Pending>>,
}

/// A write that is to be sent.
#[derive(Debug)]
pub(super) struct Push {
    pub write: Write,
    pub tell: oneshot::Sender<Outcome>,
}

/// What came of a write.
pub(super) type Outcome = Result<Done, Reason>;

// === impl Shared ===

impl Shared {
    pub(super) fn new(target: Target, prefix: &str, clock: Arc<dyn Clock>) -> Result<Self> {
        let stores = (0..target.stores.len()).map(|n| Store::new(&target, n)).collect();
        Ok(Self {
            names: Names::new(prefix),
            numbers: Numbers::new(target.stores.len()),
            hub: Hub::new(),
            reads: Reads::new(&target.token)?,
            dice: Dice::new(),
            stores,
            gate: Mutex::default(),
            // Until the server has been asked.
            origin: AtomicI64::new(i64::try_from(clock.wall_ms()).unwrap_or(i64::MAX)),
            base: Instant::now(),
            skew: Mutex::default(),
            clock,
            target,
        })
    }

    /// Where a key is: all entries of a hash are in one store, and all others in the first.
    pub(super) fn spot(&self, key: &str) -> Spot {
        let many = self.stores.len() as u128;
        match self.names.hash(key) {
            // Less than the number of stores.
            Some(hash) => Spot { store: usize::try_from(hash % many).unwrap_or(0), is_first: false },
            None => Spot { store: 0, is_first: true },
        }
    }

    /// Sends a write and waits within the bound for what came of it.
    pub(super) async fn write(&self, spot: Spot, write: Write) -> Result<Outcome> {
        let store = &self.stores[spot.store];
        let line = store.line()?;
        let now = Instant::now();
        if !lock(&line.pending).admits(now) {
            return Err(Error::Unavailable("the store is busy".into()));
        }
        if !lock(&self.gate).admits(now) {
            return Err(fault::limited());
        }
        let (tell, told) = oneshot::channel();
        let full = |_| Error::Unavailable("too many writes wait".into());
        line.queue.try_send(Push { write, tell }).map_err(full)?;
        // With the channel goes all that waits for its answers.
        drop(line);
        match timeout(CALL_BOUND, told).await {
            Ok(Ok(outcome)) => Ok(outcome),
            Ok(Err(_)) => Err(Error::Unavailable("the line broke".into())),
            Err(_) => {
                store.knock.notify_one();
                Err(Error::silent(CALL_BOUND))
            }
        }
    }

    /// Records that a write sent at `sent` was answered.
    pub(super) fn answered(&self, outcome: &Outcome, sent: Instant) {
        if matches!(outcome, Err(Reason::Limited)) {
            let until = Instant::now() + rest_of_minute(self.server_ms()) + self.dice.up_to(SPREAD);
            lock(&self.gate).refused(until);
        } else {
            lock(&self.gate).passed(sent);
        }
    }

    /// Records that the server's clock showed `server_ms` during a call that was sent at `sent`.
    pub(super) fn clocked(&self, server_ms: WallMs, sent: Instant) {
        self.clocked_within(server_ms, sent, sent.elapsed());
    }

    /// Records a time of the server's clock that may be wrong by half of `took`.
    pub(super) fn clocked_within(&self, server_ms: WallMs, sent: Instant, took: Duration) {
        let at = crate::clock::millis((sent + sent.elapsed() / 2).saturating_duration_since(self.base));
        let origin = i64::try_from(server_ms).unwrap_or(i64::MAX).saturating_sub_unsigned(at);
        self.origin.store(lock(&self.skew).add(origin, took), Ordering::Release);
    }

    /// The time on the server's clock, in ms.
    pub(super) fn server_ms(&self) -> WallMs {
        crate::clock::millis(self.base.elapsed()).saturating_add_signed(self.origin.load(Ordering::Acquire))
    }

    /// How far the server's clock is ahead of this machine's, in ms.
    pub(super) fn offset_ms(&self) -> i64 {
        let (server, own) = (self.server_ms(), self.clock.wall_ms());
        i64::try_from(server).unwrap_or(i64::MAX).saturating_sub_unsigned(own)
    }
}

// === impl Store ===

impl Store {
    fn new(target: &Target, index: usize) -> Self {
        Self {
            name: target.stores[index].clone(),
            entries: target.entries(index),
            knock: Notify::new(),
            recent: Mutex::new(Recent::after(0)),
            state: Mutex::new(State::Down(Error::Unavailable("not connected yet".into()))),
        }
    }

    /// Returns the channel if one is joined, otherwise the error for callers.
    pub(super) fn line(&self) -> Result<Line> {
        match &*lock(&self.state) {
            State::Up(line) => Ok(line.clone()),
            State::Down(why) => Err(why.clone()),
        }
    }

    pub(super) fn up(&self, line: Line) {
        *lock(&self.state) = State::Up(line);
    }

    pub(super) fn down(&self, why: Error) {
        // Dropped after the lock: it wakes the writers that wait.
        let gone = std::mem::replace(&mut *lock(&self.state), State::Down(why));
        drop(gone);
    }
}

// === impl Line ===

impl Line {
    pub(super) fn new(name: &str) -> (Self, mpsc::Receiver<Push>) {
        let (queue, pushes) = mpsc::channel(QUEUE);
        (Self { name: name.into(), queue, pending: Arc::default() }, pushes)
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change made under these locks is complete at each step: a panic elsewhere broke nothing.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
