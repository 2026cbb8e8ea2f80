//! State that the store's calls, its line and its keeper share.

use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::{Cmd, ErrorKind, FromRedisValue, RedisError, ServerErrorKind};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::super::hub::Hub;
use super::super::skew::Skew;
use super::super::thread::Watch;
use super::super::{Error, Number, Result};
use super::connection::{Line, LineCheck, Wire};
use super::fault;
use super::names::Names;
use super::scripts::{Call, Scripts};
use super::target::Target;
use crate::clock::{Clock, Dice, WallMs};

/// The bound of a call. A little less than the callers' own bound for a store across a network, so
/// that a silent store is noticed here first and its line doubted.
pub(super) const CALL_BOUND: Duration = Duration::from_millis(180);
/// How long a call that carries bytes of a body may take.
const CARRY_BOUND: Duration = Duration::from_secs(5);
/// The highest number: scripts count in floating point, exact up to here. Microseconds reach it
/// in the year 2255.
pub(super) const MAX_NUMBER: Number = (1 << 53) - 1;
/// How far a number may be ahead of the server's clock, in µs: a day. A number beyond was not given by
/// the server. It gives its clock's time or one more than the highest known number, so only a clock
/// that was set back leaves numbers ahead; set back by more, it counts as an emptied server. The
/// scripts have the same constant (`AHEAD`).
const AHEAD: Number = 24 * 60 * 60 * 1_000_000;

#[derive(Debug)]
pub(super) struct Shared {
    pub target: Target,
    pub names: Names,
    pub scripts: Scripts,
    pub hub: Hub,
    pub clock: Arc<dyn Clock>,
    pub dice: Dice,
    /// The index of the seed or sentinel that is asked first for the primary.
    pub first: AtomicUsize,
    /// The index of the primary's address that is tried first.
    pub first_address: AtomicUsize,
    /// Wakes the keeper to check the line.
    pub knock: Notify,
    /// What is known of the thread that keeps the line.
    pub thread: Arc<Watch>,
    state: Mutex<LineState>,
    /// The server's time at `base` in ms. Later times add the monotonic time since `base`, so that setting
    /// this machine's clock changes nothing.
    origin: AtomicI64,
    base: Instant,
    /// How many numbers came that the server can't have given.
    beyond: AtomicU64,
    skew: Mutex<Skew>,
    highest: AtomicU64,
    life: Mutex<Option<String>>,
}

/// The state of the line.
#[derive(Debug)]
enum LineState {
    Up(Arc<Line>),
    /// A call was not answered: calls fail until the keeper's check is answered.
    Doubted(Arc<Line>),
    /// There is no line: calls fail with this error.
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
            thread: Arc::default(),
            state: Mutex::new(LineState::Down(Error::Unavailable("not connected yet".into()))),
            origin: AtomicI64::new(origin),
            base: Instant::now(),
            beyond: AtomicU64::new(0),
            skew: Mutex::default(),
            highest: AtomicU64::new(0),
            life: Mutex::default(),
        }
    }

    /// Returns the line if it is up, otherwise the error for callers.
    pub(super) fn line(&self) -> Result<Arc<Line>> {
        match &*lock(&self.state) {
            LineState::Up(line) => Ok(line.clone()),
            LineState::Doubted(_) => Err(Error::Unavailable("it has not answered lately".into())),
            LineState::Down(why) => Err(why.clone()),
        }
    }

    /// Sends a command and waits for its answer within the bound.
    pub(super) async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> Result<T> {
        let line = self.line()?;
        let mut connection = line.commands.clone();
        self.bounded(&line, command.query_async(&mut connection)).await
    }

    /// Asks for bytes of bodies, or sends some. They take longer than other calls where the network is slow or
    /// busy, so that a late answer casts no doubt on the line.
    pub(super) async fn carry<T: FromRedisValue>(&self, command: &Cmd) -> Result<T> {
        let line = self.line()?;
        let mut connection = line.commands.clone();
        let Ok(answer) = timeout(CARRY_BOUND, command.query_async(&mut connection)).await else {
            return Err(Error::silent(CARRY_BOUND));
        };
        self.judged(&line, answer)
    }

    /// Calls a script and waits for its answer within the bound.
    pub(super) async fn run<T: FromRedisValue>(&self, call: Call<'_>) -> Result<T> {
        let line = self.line()?;
        let mut connection = line.commands.clone();
        let answer = async {
            match call.by_digest().query_async(&mut connection).await {
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
        self.judged(line, answer)
    }

    /// Tells what an error means, for the caller and for the line.
    fn judged<T>(&self, line: &Arc<Line>, answer: Result<T, RedisError>) -> Result<T> {
        answer.map_err(|error| {
            let (error, meaning) = fault::judge(&error);
            if meaning == fault::Line::Over {
                self.over(&line.wire, error.clone());
            }
            error
        })
    }

    /// Records a number that was seen.
    pub(super) fn saw(&self, number: Number) {
        if number <= self.ceiling() {
            self.highest.fetch_max(number, Ordering::AcqRel);
        }
    }

    /// The highest number seen: the next write's is above it, even if the server has lost its own.
    pub(super) fn highest(&self) -> Number {
        self.highest.load(Ordering::Acquire)
    }

    /// Makes this the line for calls. Returns false if it has broken meanwhile.
    pub(super) fn up(&self, line: &Arc<Line>) -> bool {
        let mut state = lock(&self.state);
        // `over` takes the same lock: either it ran before, or it will find the line here.
        if line.wire.is_over() {
            return false;
        }
        *state = LineState::Up(line.clone());
        true
    }

    /// Sets the error of calls while there is no line.
    pub(super) fn down(&self, why: Error) {
        *lock(&self.state) = LineState::Down(why);
    }

    /// Ends the line, if there is one: the thread that keeps it has fallen.
    pub(super) fn fell(&self, why: Error) {
        let wire = match &*lock(&self.state) {
            LineState::Up(line) | LineState::Doubted(line) => Some(line.wire.clone()),
            LineState::Down(_) => None,
        };
        match wire {
            Some(wire) => self.over(&wire, why),
            None => self.down(why),
        }
    }

    /// Ends a line and reports to all subscribers that events are lost.
    pub(super) fn over(&self, wire: &Arc<Wire>, why: Error) {
        let gone = {
            let mut state = lock(&self.state);
            if !wire.end() {
                return;
            }
            let is_it = |line: &Arc<Line>| Arc::ptr_eq(&line.wire, wire);
            let stands = matches!(&*state, LineState::Up(line) | LineState::Doubted(line) if is_it(line));
            stands.then(|| std::mem::replace(&mut *state, LineState::Down(why)))
        };
        drop(gone);
        self.hub.lost();
        self.knock.notify_one();
    }

    fn doubt(&self, line: &Arc<Line>) {
        let mut state = lock(&self.state);
        if matches!(&*state, LineState::Up(up) if Arc::ptr_eq(up, line)) {
            *state = LineState::Doubted(line.clone());
            self.knock.notify_one();
        }
    }

    /// Records the result of a check.
    pub(super) fn looked(&self, look: LineCheck) {
        let origin = lock(&self.skew).add(look.origin_ms, look.took);
        self.origin.store(origin, Ordering::Release);
        let mut life = lock(&self.life);
        let ended = life.is_some() && *life != look.life;
        *life = look.life;
        drop(life);
        if ended {
            // Emptied, or another store: what was learned from events is no longer certain.
            self.hub.lost();
        }
    }

    /// Milliseconds since this was made.
    pub(super) fn mono_ms(&self) -> u64 {
        crate::clock::millis(self.base.elapsed())
    }

    /// The time on the server's clock, in ms.
    pub(super) fn server_ms(&self) -> WallMs {
        self.mono_ms().saturating_add_signed(self.origin.load(Ordering::Acquire))
    }

    /// How far the server's clock is ahead of this machine's, in ms.
    pub(super) fn offset_ms(&self) -> i64 {
        let (server, own) = (self.server_ms(), self.clock.wall_ms());
        i64::try_from(server).unwrap_or(i64::MAX).saturating_sub_unsigned(own)
    }

    /// The highest number that the server can have given by now.
    pub(super) fn ceiling(&self) -> Number {
        self.server_ms().saturating_mul(1000).saturating_add(AHEAD).min(MAX_NUMBER)
    }

    /// Counts a number that is above the ceiling.
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
