//! What the store's calls, its line and its keeper share.

use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::{Cmd, ErrorKind, FromRedisValue, RedisError, ServerErrorKind};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::super::hub::Hub;
use super::super::{Error, Number, Result};
use super::connection::{Line, Look, Wire};
use super::fault;
use super::names::Names;
use super::scripts::{Call, Scripts};
use super::skew::Skew;
use super::target::Target;
use crate::clock::{Clock, Dice, WallMs};

/// How long a call waits for its answer. A little less than what callers grant a store across a
/// network, so that it is this that finds out, and opens the breaker.
pub(super) const CALL_BOUND: Duration = Duration::from_millis(180);
/// The highest number: scripts count in floating point, exact up to here. Microseconds reach it
/// in the year 2255.
pub(super) const MAX_NUMBER: Number = (1 << 53) - 1;
/// A number that is so much further than the server's clock, in µs, was not given by it: a day. It
/// gives what its clock shows or one more than the highest that is known, so only a clock that was
/// set back leaves numbers ahead; one that was set back by more is as an emptied server. The scripts
/// have it too (`AHEAD`).
const AHEAD: Number = 24 * 60 * 60 * 1_000_000;

#[derive(Debug)]
pub(super) struct Shared {
    pub target: Target,
    pub names: Names,
    pub scripts: Scripts,
    pub hub: Hub,
    pub clock: Arc<dyn Clock>,
    pub dice: Dice,
    /// Which of those who may know the primary is asked first.
    pub first: AtomicUsize,
    /// Which of its addresses is.
    pub first_address: AtomicUsize,
    /// Rung when the keeper has something to look at.
    pub knock: Notify,
    state: Mutex<State>,
    /// The server's clock is this many ms, and those since `base`: a clock of this machine that is set
    /// changes nothing.
    origin: AtomicI64,
    base: Instant,
    /// Numbers that the server can't have given.
    beyond: AtomicU64,
    skew: Mutex<Skew>,
    highest: AtomicU64,
    life: Mutex<Option<String>>,
}

/// How the line stands.
#[derive(Debug)]
enum State {
    Up(Arc<Line>),
    /// A call went unanswered: no more of them until the keeper has had a sign of life.
    Doubted(Arc<Line>),
    /// What calls are answered meanwhile.
    Down(Error),
}

// === impl Shared ===

impl Shared {
    pub(super) fn new(target: Target, names: Names, clock: Arc<dyn Clock>) -> Self {
        // Until the server has been asked.
        let origin = i64::try_from(clock.wall_ms()).unwrap_or(i64::MAX);
        Self {
            target,
            names,
            scripts: Scripts::new(),
            hub: Hub::new(),
            clock,
            dice: Dice::new(),
            first: AtomicUsize::new(0),
            first_address: AtomicUsize::new(0),
            knock: Notify::new(),
            state: Mutex::new(State::Down(Error::Unavailable("not connected yet".into()))),
            origin: AtomicI64::new(origin),
            base: Instant::now(),
            beyond: AtomicU64::new(0),
            skew: Mutex::default(),
            highest: AtomicU64::new(0),
            life: Mutex::default(),
        }
    }

    /// The line, if it stands.
    pub(super) fn line(&self) -> Result<Arc<Line>> {
        match &*lock(&self.state) {
            State::Up(line) => Ok(line.clone()),
            State::Doubted(_) => Err(Error::Unavailable("it has not answered lately".into())),
            State::Down(why) => Err(why.clone()),
        }
    }

    /// A command's answer, within the bound.
    pub(super) async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> Result<T> {
        let line = self.line()?;
        let mut connection = line.commands.clone();
        self.bounded(&line, command.query_async(&mut connection)).await
    }

    /// A script's answer, within the bound.
    pub(super) async fn run<T: FromRedisValue>(&self, call: Call<'_>) -> Result<T> {
        let line = self.line()?;
        let mut connection = line.commands.clone();
        let answer = async {
            match call.by_name().query_async(&mut connection).await {
                Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                    call.in_full().query_async(&mut connection).await
                }
                other => other,
            }
        };
        self.bounded(&line, answer).await
    }

    async fn bounded<T>(
        &self,
        line: &Arc<Line>,
        call: impl Future<Output = Result<T, RedisError>>,
    ) -> Result<T> {
        let Ok(answer) = timeout(CALL_BOUND, call).await else {
            self.doubt(line);
            return Err(Error::silent(CALL_BOUND));
        };
        answer.map_err(|error| {
            let (error, meaning) = fault::judge(&error);
            if meaning == fault::Line::Over {
                self.over(&line.wire, error.clone());
            }
            error
        })
    }

    /// A number was heard of.
    pub(super) fn saw(&self, number: Number) {
        if number <= self.ceiling() {
            self.highest.fetch_max(number, Ordering::AcqRel);
        }
    }

    /// The highest number heard of: what is written next is above it, whatever became of the
    /// server's own memory.
    pub(super) fn highest(&self) -> Number {
        self.highest.load(Ordering::Acquire)
    }

    /// A line stands. False if it has broken meanwhile.
    pub(super) fn up(&self, line: &Arc<Line>) -> bool {
        let mut state = lock(&self.state);
        // Its end looks for it under this lock: either it finds the line here, or it came before.
        if line.wire.is_over() {
            return false;
        }
        *state = State::Up(line.clone());
        true
    }

    /// No line stands, and none can be had for this reason.
    pub(super) fn down(&self, why: Error) {
        *lock(&self.state) = State::Down(why);
    }

    /// A line is of no use any more: whoever watches is told.
    pub(super) fn over(&self, wire: &Arc<Wire>, why: Error) {
        let gone = {
            let mut state = lock(&self.state);
            if !wire.end() {
                return;
            }
            let is_it = |line: &Arc<Line>| Arc::ptr_eq(&line.wire, wire);
            let stands = matches!(&*state, State::Up(line) | State::Doubted(line) if is_it(line));
            stands.then(|| std::mem::replace(&mut *state, State::Down(why)))
        };
        drop(gone);
        self.hub.lost();
        self.knock.notify_one();
    }

    fn doubt(&self, line: &Arc<Line>) {
        let mut state = lock(&self.state);
        if matches!(&*state, State::Up(up) if Arc::ptr_eq(up, line)) {
            *state = State::Doubted(line.clone());
            self.knock.notify_one();
        }
    }

    /// Takes note of what a look told.
    pub(super) fn looked(&self, look: Look) {
        let origin = lock(&self.skew).add(look.origin_ms, look.took);
        self.origin.store(origin, Ordering::Release);
        let mut life = lock(&self.life);
        let ended = life.is_some() && *life != look.life;
        *life = look.life;
        drop(life);
        if ended {
            // Emptied, or another store: nothing of what was known by events is certain.
            self.hub.lost();
        }
    }

    /// Milliseconds since this was made.
    pub(super) fn mono_ms(&self) -> u64 {
        crate::clock::millis(self.base.elapsed())
    }

    /// What the server's clock shows.
    pub(super) fn server_ms(&self) -> WallMs {
        self.mono_ms().saturating_add_signed(self.origin.load(Ordering::Acquire))
    }

    /// How far it is ahead of this machine's.
    pub(super) fn offset_ms(&self) -> i64 {
        let (server, own) = (self.server_ms(), self.clock.wall_ms());
        i64::try_from(server).unwrap_or(i64::MAX).saturating_sub_unsigned(own)
    }

    /// The highest number that the server can have given by now.
    pub(super) fn ceiling(&self) -> Number {
        self.server_ms().saturating_mul(1000).saturating_add(AHEAD).min(MAX_NUMBER)
    }

    /// Counts a number that is above that.
    pub(super) fn beyond(&self) {
        self.beyond.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn beyonds(&self) -> u64 {
        self.beyond.load(Ordering::Relaxed)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change made under these locks is complete at each step: a panic elsewhere broke nothing.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
