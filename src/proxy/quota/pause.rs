//! The task that shares an origin's wish to be left alone with the other instances, and tries whether it is over.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, OptionFuture};
use tokio::time::{Instant, sleep_until};

use crate::catalog::pauses::NotedPause;
use crate::clock::{WallMs, millis};
use crate::dust::{Changes, Grant, Lease, Result};
use crate::proxy::quota::{Fleet, Shared};
use crate::telemetry::log::{Event, Level};
use crate::upstream::limit::{Gate, Pause};

/// The keeper of one upstream's pauses.
pub(crate) struct Keeper {
    shared: Arc<Shared>,
    changes: Option<Changes>,
    call: Option<BoxFuture<'static, Heard>>,
    /// Whether the note is to be read.
    reads: bool,
    /// The end of the pause that the store has a note of, as far as known; 0 if it has none.
    noted: WallMs,
    /// The pause that was logged last.
    told: Option<Pause>,
    /// The lease of the trial, and when it runs out.
    trial: Option<(Lease, Instant)>,
    /// The exchange of the trial that is under way, and until when the others wait for it.
    awaited: Option<(u64, Instant)>,
    /// When the store may be asked again.
    next: Instant,
}

/// The result of a store call.
enum Heard {
    Listens(Result<Changes>),
    Read(Result<Option<NotedPause>>),
    Noted(WallMs, Result<()>),
    Forgot(Result<()>),
    Asked(Result<Grant>, Instant),
}

/// A pause that lasts this much longer than the note says is noted anew.
const LONGER: Duration = Duration::from_secs(1);
/// The pause before a store that did not answer is asked again, or another's trial is looked at; up to as much
/// again is added at random.
const AGAIN: Duration = Duration::from_millis(250);
/// How long other requests wait for the exchange of a trial before the next one is let through. Its answer may be
/// long in coming for a reason of its own: a slow upload, or a long poll. Less than they wait in the queue by
/// default, so that they get their turn.
const TRIAL: Duration = Duration::from_secs(2);

// === impl Keeper ===

impl Keeper {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let next = Instant::now();
        Self {
            shared,
            changes: None,
            call: None,
            reads: false,
            noted: 0,
            told: None,
            trial: None,
            awaited: None,
            next,
        }
    }

    /// Keeps the pauses until it is dropped.
    pub(crate) async fn run(mut self) {
        let shared = self.shared.clone();
        loop {
            let due = self.step();
            let asks = self.call.is_some();
            let call: OptionFuture<_> = self.call.as_mut().into();
            let change: OptionFuture<_> = self.changes.as_mut().map(Changes::next).into();
            tokio::select! {
                biased;
                Some(heard) = call, if asks => self.hear(heard),
                Some(wake) = change => {
                    if wake.lost {
                        self.changes = None;
                    }
                    self.reads = true;
                    // Another's trial may have ended.
                    self.next = Instant::now();
                }
                () = shared.limit.gated() => {}
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
            }
        }
    }

    /// Does what is due. Returns when something is next due by itself.
    fn step(&mut self) -> Option<Instant> {
        let now = Instant::now();
        let passed_by = self.await_trial(now);
        passed_by.into_iter().chain(self.share(now)).min()
    }

    /// Lets the others go on once a trial has taken too long. Returns when that will be.
    fn await_trial(&mut self, now: Instant) -> Option<Instant> {
        let limit = &self.shared.limit;
        let trial = limit.trial();
        let known = self.awaited.take().filter(|(id, _)| Some(*id) == trial);
        // While a trial takes longer than its lease, another instance has the next one.
        let time = TRIAL.min(self.shared.parts.flight.settings().lease_ttl);
        let (id, until) = known.or_else(|| Some((trial?, now + time)))?;
        if now < until {
            self.awaited = Some((id, until));
            return Some(until);
        }
        limit.passes_by_trial();
        if !limit.wants_trial() {
            // Another instance may have a request for the next trial.
            self.give();
        }
        None
    }

    /// Does what is due at the gate and at the store. Returns when something is next due there by itself.
    fn share(&mut self, now: Instant) -> Option<Instant> {
        let gate = self.shared.limit.gate();
        self.tell(gate);
        if self.trial.as_ref().is_some_and(|(_, until)| *until <= now) || !matches!(gate, Gate::Trial(_)) {
            self.give();
        }
        if matches!(self.shared.parts.fleet, Fleet::Alone) {
            if self.shared.limit.wants_trial() {
                self.shared.limit.let_one();
            }
            return None;
        }
        if self.call.is_some() {
            return None;
        }
        if now < self.next {
            return Some(self.next);
        }
        if self.changes.is_none() {
            let shared = self.shared.clone();
            self.begin(async move { Heard::Listens(shared.catalog.pause_changes(&shared.upstream).await) });
        } else if self.reads {
            self.reads = false;
            let shared = self.shared.clone();
            self.begin(async move { Heard::Read(shared.catalog.pause(&shared.upstream).await) });
        } else {
            self.follow(gate, now);
        }
        None
    }

    /// Writes down what the gate shows, or takes the lease of the trial.
    fn follow(&mut self, gate: Gate, now: Instant) {
        let shared = self.shared.clone();
        match gate {
            Gate::Closed(pause) if now < pause.until => {
                let until = shared.parts.flight.dust().now_ms().saturating_add(millis(pause.until - now));
                if until < self.noted.saturating_add(millis(LONGER)) {
                    return;
                }
                let noted = NotedPause { status: pause.status, until };
                let call = async move { shared.catalog.note_pause(&shared.upstream, noted).await };
                self.begin(async move { Heard::Noted(until, call.await) });
            }
            Gate::Open if self.noted > 0 => {
                self.begin(async move { Heard::Forgot(shared.catalog.forget_pause(&shared.upstream).await) });
            }
            Gate::Trial(_) if shared.limit.wants_trial() => match self.trial {
                Some(_) => shared.limit.let_one(),
                None => self.begin(async move {
                    let trial = shared.catalog.trial_of(&shared.upstream);
                    let sent = Instant::now();
                    Heard::Asked(shared.parts.flight.take(&trial).await, sent)
                }),
            },
            Gate::Open | Gate::Closed(_) | Gate::Trial(_) => {}
        }
    }

    fn begin(&mut self, call: impl Future<Output = Heard> + Send + 'static) {
        self.call = Some(Box::pin(call));
    }

    fn hear(&mut self, heard: Heard) {
        self.call = None;
        let now = Instant::now();
        let later = now + AGAIN + self.shared.parts.dice.up_to(AGAIN);
        match heard {
            Heard::Listens(Ok(changes)) => {
                // Changes from before it was confirmed were missed.
                (self.changes, self.reads) = (Some(changes), true);
            }
            Heard::Read(Ok(noted)) => self.heard_of(noted, now),
            Heard::Noted(until, Ok(())) => self.noted = until,
            Heard::Forgot(Ok(())) => self.noted = 0,
            Heard::Asked(Ok(Grant::Granted(lease)), sent) => {
                self.trial = Some((lease, sent + self.shared.parts.flight.settings().lease_ttl));
            }
            Heard::Asked(Err(_), _) => {
                // Without the store each instance tries by itself.
                self.shared.limit.let_one();
                self.next = later;
            }
            Heard::Read(Err(_)) => (self.reads, self.next) = (true, later),
            Heard::Listens(Err(_)) => {
                if self.shared.limit.wants_trial() {
                    self.shared.limit.let_one();
                }
                self.next = later;
            }
            // The end of another's trial is a change; a look later, if that is missed.
            Heard::Asked(Ok(_), _) | Heard::Noted(_, Err(_)) | Heard::Forgot(Err(_)) => self.next = later,
        }
    }

    /// Takes in what the store says.
    fn heard_of(&mut self, noted: Option<NotedPause>, now: Instant) {
        let limit = &self.shared.limit;
        let Some(NotedPause { status, until }) = noted else {
            self.noted = 0;
            // Another instance has found that it is over. A pause that has only begun here is not.
            let over = match limit.gate() {
                Gate::Open => false,
                Gate::Closed(pause) => pause.until <= now,
                Gate::Trial(_) => true,
            };
            if over {
                limit.open();
            }
            return;
        };
        // One that is known may be over here already, by a trial whose end is not written down yet. One from
        // before this instance began is to be tried first, even if its time is over.
        if until > self.noted {
            let clock = self.shared.parts.flight.dust().now_ms();
            if clock < until {
                limit.close(Pause { status, until: now + Duration::from_millis(until - clock) });
            } else {
                let ended = now.checked_sub(Duration::from_millis(clock - until));
                limit.tries_first(Pause { status, until: ended.unwrap_or(now) });
            }
        }
        self.noted = until;
    }

    /// Logs that a pause has begun or ended.
    fn tell(&mut self, gate: Gate) {
        let (log, upstream) = (&self.shared.parts.log, &self.shared.upstream);
        match (gate, self.told) {
            (Gate::Closed(pause), None) => {
                let left = pause.until.saturating_duration_since(Instant::now()).as_millis().div_ceil(1000);
                let text = format!("answered {} and is left alone for {left} s", pause.status);
                log.event(Event::new(Level::Warn, "limited", text).about(upstream));
                self.told = Some(pause);
            }
            (Gate::Open, Some(_)) => {
                let text = "takes requests again";
                log.event(Event::new(Level::Info, "limited_over", text).about(upstream));
                self.told = None;
            }
            _ => {}
        }
    }

    fn give(&mut self) {
        if let Some((lease, _)) = self.trial.take() {
            self.shared.parts.flight.give(lease);
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.give();
    }
}
