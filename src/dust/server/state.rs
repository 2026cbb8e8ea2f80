//! State that the store's calls, its channels and their keeper share.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::{Instant, timeout};

use super::super::hub::Hub;
use super::super::skew::Skew;
use super::super::thread::Watch;
use super::super::{Error, Result};
use super::debts::Debts;
use super::fault::{self, Reason};
use super::gap::Alarm;
use super::gate::{Class, Denied, Gate, Moment, Term, Ticket, rest_of_refusal};
use super::holders::Holders;
use super::http::Reads;
use super::names::Names;
use super::numbers::{Numbers, Spot};
use super::op::{Kind, Tag, Write};
use super::pending::{Done, Pending};
use super::recent::{Held, Recent};
use super::stray::Stray;
use super::target::Target;
use crate::clock::{Clock, Dice, WallMs};

/// The bound of a call. A little less than the callers' own.
pub(super) const CALL_BOUND: Duration = Duration::from_millis(900);
/// How many writes may wait to be sent.
const QUEUE: usize = 4096;
/// The end of the year 9999: no clock shows more.
const MOST_MS: WallMs = 253_402_300_800_000;
/// The longest time between the beginning of the server's minute and the first write after a refusal.
pub(super) const SPREAD: Duration = Duration::from_secs(1);

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
    /// Leases that may land later, and a bell for new ones.
    pub strays: Mutex<Vec<Stray>>,
    pub strayed: Notify,
    /// The holders that ask for leases, and those that have them.
    pub holders: Mutex<Holders>,
    /// Releases that are owed.
    pub debts: Mutex<Debts>,
    /// Whether the process comes to its end: no more walks begin.
    pub ends: watch::Sender<bool>,
    /// Whether this instance walks through the entries.
    pub walks: AtomicBool,
    /// When subscribers are told of operations that are not known.
    pub alarm: Mutex<Alarm>,
    /// Notified when a write was held back: the server may have room for more.
    pub held_back: Notify,
    pub gate: Arc<Mutex<Gate>>,
    /// What is known of the thread that keeps the channels.
    pub thread: Arc<Watch>,
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
    /// Notified when a release is owed.
    pub indebted: Notify,
    /// Notified when it is joined again.
    pub rejoined: Notify,
    /// Notified when there is no channel any more.
    gone: Notify,
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
    pub ticket: Ticket,
}

/// A range of rendered paths in a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// The index of the store.
    pub store: usize,
    pub from: String,
    /// The first path beyond it.
    pub to: String,
}

/// A write that was answered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answer<'a> {
    pub key: &'a Arc<str>,
    pub kind: Kind,
    pub class: Class,
    pub tag: Tag,
    /// The token of the lease that was renewed or released.
    pub token: Option<u64>,
    pub sent: Instant,
}

/// What came of a write.
pub(super) type Outcome = Result<Done, Reason>;

// === impl Shared ===

impl Shared {
    pub(super) fn new(target: Target, prefix: &str, clock: Arc<dyn Clock>) -> Result<Self> {
        let stores: Vec<_> = (0..target.stores.len()).map(|n| Store::new(&target, n)).collect();
        Ok(Self {
            names: Names::new(prefix),
            numbers: Numbers::new(target.stores.len()),
            hub: Hub::new(),
            reads: Reads::new(&target.token, stores.len())?,
            dice: Dice::new(),
            stores,
            strays: Mutex::default(),
            strayed: Notify::new(),
            holders: Mutex::default(),
            debts: Mutex::default(),
            ends: watch::Sender::new(false),
            walks: AtomicBool::new(false),
            alarm: Mutex::default(),
            held_back: Notify::new(),
            gate: Arc::default(),
            thread: Arc::default(),
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

    /// The ranges of rendered paths in which all keys are that begin with `prefix`, each with its store.
    pub(super) fn places(&self, prefix: &str) -> Vec<Place> {
        let hashed = self.names.hash(prefix).map(|_| self.spot(prefix).store);
        let ranges = self.names.ranges(prefix);
        let mut places = Vec::new();
        for store in 0..self.stores.len() {
            for (from, to) in &ranges {
                let is_there =
                    if Names::is_flat_path(from) { store == 0 } else { hashed.is_none_or(|it| it == store) };
                if is_there {
                    places.push(Place { store, from: from.clone(), to: to.clone() });
                }
            }
        }
        places
    }

    /// Sends a write and waits within the bound for what came of it. After [`Error::NotDone`] it was not sent.
    pub(super) async fn write(&self, spot: Spot, write: Write) -> Result<Outcome> {
        let store = &self.stores[spot.store];
        let line = store.line().map_err(Error::not_done)?;
        let now = Instant::now();
        let full = |_| Error::NotDone("too many writes wait".into());
        let place = line.queue.try_reserve().map_err(full)?;
        let class = self.class(&write);
        if !lock(&line.pending).admits(class, now) {
            return Err(Error::NotDone("the store is busy".into()));
        }
        let ticket = Ticket::admit(&self.gate, class, self.moment()).map_err(|denied| {
            if denied == Denied::Kept && lock(&self.gate).may_be_told_more() {
                self.held_back.notify_one();
            }
            fault::denied(denied)
        })?;
        lock(&line.pending).sends(now);
        let (tell, told) = oneshot::channel();
        place.send(Push { write, tell, ticket });
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

    /// What a write is for.
    fn class(&self, write: &Write) -> Class {
        match write.kind {
            Kind::Lease if self.names.is_member(&write.key) => Class::Owed,
            // The right to write the purges that are owed.
            Kind::Lease if self.names.is_raise(&write.key) => Class::Owed,
            // A fill without a lease claims its segments.
            Kind::Free if Names::is_claim(&write.key) => Class::Spare,
            _ => write.class,
        }
    }

    /// Records that a write was answered.
    pub(super) fn answered(&self, answer: &Answer<'_>, outcome: &Outcome) {
        let Answer { key, kind, class, tag, token, sent } = *answer;
        let (now, mut gate) = (self.moment(), lock(&self.gate));
        if matches!(outcome, Err(Reason::Limited)) {
            // By the minute in which it was sent: its answer may come in the next one.
            let sent_ms =
                now.server_ms.saturating_sub(crate::clock::millis(now.at.saturating_duration_since(sent)));
            let (rest, is_over) = rest_of_refusal(sent_ms, now.server_ms);
            let spread = if is_over { Duration::ZERO } else { self.dice.up_to(SPREAD) };
            gate.refused(sent + rest + spread, is_over, now);
            return;
        }
        gate.passed(sent);
        let done = outcome.as_ref().ok();
        let Some(token) = token.or(done.and_then(|done| done.count)) else { return };
        let told = done.and_then(|done| done.expires_at);
        let until = told.unwrap_or_else(|| now.server_ms.saturating_add(tag.number.unwrap_or(0)));
        match (kind, outcome) {
            (Kind::Lease, Ok(_)) if class == Class::Lease => gate.opened(key, Term { token, until }),
            (Kind::Renewal, Ok(_)) => {
                gate.prolonged(key, Term { token, until });
                drop(gate);
                lock(&self.holders).prolonged(key, token, until);
            }
            (Kind::Renewal | Kind::Release, Err(Reason::NotHeld)) | (Kind::Release, Ok(_)) => {
                gate.closed(key, token);
                drop(gate);
                lock(&self.holders).closed(key, token);
            }
            _ => {}
        }
    }

    /// Records what the event with this count says of a lease: those before it are over.
    pub(super) fn heard(&self, key: &Arc<str>, count: u64, held: &Held) {
        let mut gate = lock(&self.gate);
        match held {
            Held::Lease { token, expires_at, .. } => {
                gate.closed(key, token.saturating_sub(1));
                if self.names.is_member(key) {
                    gate.lives(key, Term { token: *token, until: *expires_at });
                }
            }
            Held::Nothing | Held::Text(_) | Held::Other => gate.closed(key, count.saturating_sub(1)),
        }
    }

    /// The thread that keeps the channels has fallen: none is left.
    pub(super) fn fell(&self, why: &Error) {
        for store in &self.stores {
            store.down(why.clone());
        }
        self.hub.lost();
    }

    /// Returns whether nothing is held back for the token's limit that is owed.
    pub(super) fn is_open(&self) -> bool {
        lock(&self.gate).is_open()
    }

    pub(super) fn moment(&self) -> Moment {
        Moment { at: Instant::now(), server_ms: self.server_ms() }
    }

    /// Records that the server's clock showed `server_ms` during a call that was sent at `sent`.
    pub(super) fn clocked(&self, server_ms: WallMs, sent: Instant) {
        self.clocked_within(server_ms, sent, sent.elapsed());
    }

    /// Records a time of the server's clock that may be wrong by half of `took`.
    pub(super) fn clocked_within(&self, server_ms: WallMs, sent: Instant, took: Duration) {
        if server_ms > MOST_MS {
            return;
        }
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
            indebted: Notify::new(),
            rejoined: Notify::new(),
            gone: Notify::new(),
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

    /// Makes a call that is of use only while there is a channel.
    pub(super) async fn while_up<T>(&self, call: impl Future<Output = Result<T>>) -> Result<T> {
        // In this order: a channel that ends after the check is noticed.
        let gone = self.gone.notified();
        self.line()?;
        tokio::select! {
            answer = call => answer,
            () = gone => Err(self.line().err().unwrap_or_else(|| Error::Unavailable("the line broke".into()))),
        }
    }

    pub(super) fn down(&self, why: Error) {
        // Dropped after the lock: it wakes the writers that wait.
        let gone = std::mem::replace(&mut *lock(&self.state), State::Down(why));
        drop(gone);
        self.gone.notify_waiters();
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
