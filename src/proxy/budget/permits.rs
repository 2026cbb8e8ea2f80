//! What an instance knows of a budget: the permits that it holds, and which of the others are taken. No clock
//! and no I/O: the caller passes time and randomness in.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tokio::time::Instant;

use crate::dust::{Lease, Number};
use crate::upstream::limit::Load;

/// The permits of one budget, seen from one instance.
#[derive(Debug)]
pub(crate) struct KnownPermits {
    rules: Rules,
    /// Oldest first.
    held: Vec<HeldPermit>,
    /// Numbers of permits that are held here or asked for.
    mine: HashSet<usize>,
    /// Numbers of permits that other instances have, as far as known, and until when at least.
    busy: HashMap<usize, Instant>,
    asked: usize,
    idle: Option<Idle>,
    /// From when on turns are over, one in each step.
    turns_from: Option<Instant>,
    /// Numbers of permits that were given back here, and until when others may ask for them first.
    given: HashMap<usize, Instant>,
}

/// The fixed terms of a budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rules {
    /// Permits of the whole fleet.
    pub(crate) permits: usize,
    /// The most exchanges that this instance may have under way.
    pub(crate) most: usize,
    /// The time to live of a permit's lease.
    pub(crate) ttl: Duration,
}

#[derive(Debug)]
struct HeldPermit {
    number: usize,
    lease: Lease,
    since: Instant,
    /// When it runs out if no renewal is answered.
    ends: Instant,
    /// When it is renewed next.
    beat: Instant,
    beating: bool,
}

/// Permits that this instance does not use.
#[derive(Debug, Clone, Copy)]
struct Idle {
    since: Instant,
    /// The fewest unused permits since then.
    fewest: usize,
}

/// How long an unused permit is kept: the next request often comes soon.
const LINGER: Duration = Duration::from_millis(20);
/// How long this instance does not ask again for a permit that it gave back: other instances go first.
pub(crate) const HEAD_START: Duration = Duration::from_millis(25);
/// A turn is this part of a lease's time.
const TURN: u32 = 6;
/// Renewed after this part of its time ...
const BEAT: u32 = 3;
/// ... after this one when the last renewal was not answered ...
const AGAIN: u32 = 6;
/// ... and with those that are due this part of it later: fewer wakings.
const TOGETHER: u32 = 12;

// === impl KnownPermits ===

impl KnownPermits {
    pub(crate) fn new(rules: Rules) -> Self {
        Self {
            rules,
            held: Vec::new(),
            mine: HashSet::new(),
            busy: HashMap::new(),
            asked: 0,
            idle: None,
            turns_from: None,
            given: HashMap::new(),
        }
    }

    /// How many permits this instance holds.
    pub(crate) fn held(&self) -> usize {
        self.held.len()
    }

    /// How many permits are asked for and not answered yet.
    pub(crate) fn asked(&self) -> usize {
        self.asked
    }

    /// How many more permits this instance could use.
    pub(crate) fn lacks(&self, load: Load) -> usize {
        self.wanted(load).saturating_sub(self.held.len())
    }

    /// How many of these are not asked for yet.
    pub(crate) fn to_ask(&self, load: Load) -> usize {
        self.lacks(load).saturating_sub(self.asked)
    }

    fn wanted(&self, load: Load) -> usize {
        (load.in_flight + load.fills + load.passes).min(self.rules.most)
    }

    /// How many permits are to be given back now: those that were unused for a while, and those whose turn is
    /// over. The result stays the same until they are given ([`Self::give`]).
    pub(crate) fn surplus(&mut self, now: Instant, load: Load) -> usize {
        let unused = self.held.len().saturating_sub(self.wanted(load));
        self.idle = match self.idle {
            _ if unused == 0 => None,
            None => Some(Idle { since: now, fewest: unused }),
            Some(idle) => Some(Idle { fewest: idle.fewest.min(unused), ..idle }),
        };
        let rested = self.idle.filter(|idle| idle.since + LINGER <= now).map_or(0, |idle| idle.fewest);
        rested.max(self.turns_over(now))
    }

    /// How many permits have had their turn and may be given back now. One in each step (a turn divided by
    /// the number of permits here), and up to half of them at once if exchanges are long and end together.
    /// Not all: instances with the same need get the same share, and don't take turns with the whole budget.
    fn turns_over(&self, now: Instant) -> usize {
        let over = self.held.iter().filter(|held| held.since + self.turn() <= now).count();
        let Some(since) = self.turns_from().and_then(|from| now.checked_duration_since(from)) else {
            return 0;
        };
        let so_far = since.as_nanos() / self.step().as_nanos().max(1) + 1;
        usize::try_from(so_far).unwrap_or(usize::MAX).min(self.half()).min(over)
    }

    /// When one more permit may be given back.
    fn next_turn(&self, now: Instant) -> Option<Instant> {
        let over = self.turns_over(now);
        if over == self.half() {
            return None;
        }
        let by_pace = self.turns_from()? + self.step() * u32::try_from(over).unwrap_or(u32::MAX);
        let by_age = self.held.get(over)?.since + self.turn();
        Some(by_pace.max(by_age)).filter(|at| *at > now)
    }

    fn turns_from(&self) -> Option<Instant> {
        let first = self.held.first()?.since + self.turn();
        Some(self.turns_from.map_or(first, |from| from.max(first)))
    }

    fn turn(&self) -> Duration {
        self.rules.ttl / TURN
    }

    fn step(&self) -> Duration {
        self.turn() / u32::try_from(self.held.len()).unwrap_or(u32::MAX).max(1)
    }

    fn half(&self) -> usize {
        self.held.len().div_ceil(2)
    }

    /// Gives up `how_many` permits, the oldest first.
    pub(crate) fn give(&mut self, now: Instant, how_many: usize) -> Vec<Lease> {
        if how_many == 0 {
            return Vec::new();
        }
        let turns = u32::try_from(how_many.min(self.turns_over(now))).unwrap_or(u32::MAX);
        if let Some(from) = self.turns_from().filter(|_| turns > 0) {
            // Turns that were not used are saved up to half of the permits, and no further.
            let saved = self.step() * u32::try_from(self.half() - 1).unwrap_or(u32::MAX);
            let from = now.checked_sub(saved).map_or(from, |earliest| from.max(earliest));
            self.turns_from = Some(from + self.step() * turns);
        }
        self.idle = None;
        let given: Vec<_> = self.held.drain(..how_many.min(self.held.len())).collect();
        for held in &given {
            self.mine.remove(&held.number);
            self.given.insert(held.number, now + HEAD_START);
        }
        given.into_iter().map(|held| held.lease).collect()
    }

    /// Picks a permit that may be free, from `start` on in their order. It counts as asked for from now on.
    pub(crate) fn pick(&mut self, now: Instant, start: usize) -> Option<usize> {
        self.busy.retain(|_, until| *until > now);
        self.given.retain(|_, until| *until > now);
        let all = self.rules.permits;
        let free = |number: &usize| {
            !self.mine.contains(number) && !self.busy.contains_key(number) && !self.given.contains_key(number)
        };
        let number = (0..all).map(|nth| (start + nth) % all).find(free)?;
        self.mine.insert(number);
        self.asked += 1;
        Some(number)
    }

    /// The store has granted a permit that was asked for at `sent`.
    pub(crate) fn granted(&mut self, number: usize, lease: Lease, sent: Instant, now: Instant) {
        self.asked -= 1;
        let (ends, beat) = (sent + self.rules.ttl, sent + self.rules.ttl / BEAT);
        self.held.push(HeldPermit { number, lease, since: now, ends, beat, beating: false });
    }

    /// The store has not granted a permit. With `until`, another instance has it until then.
    pub(crate) fn refused(&mut self, number: usize, until: Option<Instant>) {
        self.asked -= 1;
        self.mine.remove(&number);
        if let Some(until) = until {
            self.busy.insert(number, until);
        }
    }

    /// Another instance's permit has changed: it is taken until then, or it may be tried then.
    pub(crate) fn heard(&mut self, number: usize, until: Instant) {
        if number < self.rules.permits && !self.mine.contains(&number) {
            self.busy.insert(number, until);
        }
    }

    /// Forgets which permits other instances have.
    pub(crate) fn forget(&mut self) {
        self.busy.clear();
    }

    /// Lets one permit be tried that others are thought to have, from `start` on: its release may have been
    /// missed.
    pub(crate) fn doubt(&mut self, start: usize) {
        let all = self.rules.permits;
        let busy = (0..all).map(|nth| (start + nth) % all).find(|number| self.busy.contains_key(number));
        if let Some(number) = busy {
            self.busy.remove(&number);
        }
    }

    /// The leases to renew now. Each counts as being renewed from now on.
    pub(crate) fn beats(&mut self, now: Instant) -> Vec<Lease> {
        let due = |held: &&mut HeldPermit| !held.beating && held.beat <= now;
        if !self.held.iter_mut().any(|held| due(&held)) {
            return Vec::new();
        }
        let soon = now + self.rules.ttl / TOGETHER;
        let together = self.held.iter_mut().filter(|held| !held.beating && held.beat <= soon);
        together
            .map(|held| {
                held.beating = true;
                held.lease.clone()
            })
            .collect()
    }

    /// A renewal that was sent at `sent` has ended, answered or not.
    pub(crate) fn renewed(&mut self, token: Number, sent: Instant, answered: bool) {
        let ttl = self.rules.ttl;
        if let Some(held) = self.held.iter_mut().find(|held| held.lease.token == token) {
            held.beating = false;
            if answered {
                (held.ends, held.beat) = (sent + ttl, sent + ttl / BEAT);
            } else {
                held.beat = sent + ttl / AGAIN;
            }
        }
    }

    /// The store says that this lease is not held. Returns whether it was known here.
    pub(crate) fn lost(&mut self, token: Number) -> bool {
        let before = self.held.len();
        self.remove(|held| held.lease.token == token);
        self.held.len() < before
    }

    /// Removes permits for which no renewal was answered in time. In the store they may still be held.
    pub(crate) fn run_out(&mut self, now: Instant) -> Vec<Lease> {
        self.remove(|held| held.ends <= now)
    }

    fn remove(&mut self, which: impl Fn(&HeldPermit) -> bool) -> Vec<Lease> {
        let (gone, kept): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.held).into_iter().partition(|held| which(held));
        self.held = kept;
        for held in &gone {
            self.mine.remove(&held.number);
        }
        gone.into_iter().map(|held| held.lease).collect()
    }

    /// When something is due by itself: a renewal, an end, the return of unused permits, a turn, and, if
    /// permits are lacking, the time when one may be free.
    pub(crate) fn next(&self, now: Instant, load: Load) -> Option<Instant> {
        let beats = self.held.iter().filter(|held| !held.beating).map(|held| held.beat);
        let ends = self.held.iter().map(|held| held.ends);
        let idle = self.idle.map(|idle| idle.since + LINGER);
        let turn = self.next_turn(now);
        let lacks = self.to_ask(load) > 0;
        let free = self.busy.values().chain(self.given.values()).copied();
        let free = free.filter(|at| lacks && *at > now);
        beats.chain(ends).chain(idle).chain(turn).chain(free).min()
    }
}
