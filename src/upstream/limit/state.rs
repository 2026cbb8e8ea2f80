//! Which requests have a place, which wait for one or for a token, and which give way. Each method is one step.

use std::collections::{BTreeMap, HashMap, VecDeque};

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::meter::{Gate, Meter, Pause};
use super::{Demand, Load};
use crate::upstream::Lane;

/// This many exchanges that no client is known to wait for may begin, or a share of the places if that is
/// more. So few cost little, and a client that closes its side early is not always gone.
const SPARE: usize = 64;
/// While others wait, exchanges that no client is known to wait for keep a fourth of the places.
const SHARE: usize = 4;
/// While tokens lack, so many waiting requests want a place all the same: they are the next to get one.
const NEXT: usize = 8;

/// Places, queue and exchanges.
#[derive(Debug, Default)]
pub(super) struct LimitState {
    places: usize,
    taken: usize,
    fills: VecDeque<Waiter>,
    passes: VecDeque<Waiter>,
    /// Requests that no client is known to wait for: served last.
    spare: VecDeque<Waiter>,
    next: u64,
    running: HashMap<u64, Running>,
    /// The exchanges under way that no client is known to wait for, in the order in which that came about.
    idle: BTreeMap<u64, u64>,
    /// How many exchanges were told to end and have not ended yet.
    ending: usize,
    /// Exchanges under way that wait for a token to be sent again.
    again: VecDeque<oneshot::Sender<()>>,
    pub(super) meter: Meter,
}

/// What a waiting request is told.
#[derive(Debug)]
pub(super) enum Told {
    /// It has a place. The receiver tells it when it is to end.
    Place(Revoked),
    /// It leaves the queue: no client is known to wait for it.
    Unwanted,
    /// It leaves the queue: the origin asks to be left alone.
    Paused(Pause),
}

/// Resolves when the exchange is to end.
pub(super) type Revoked = oneshot::Receiver<()>;

/// Why a request gets neither a place nor a turn in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    /// The queue is full.
    Queue,
    /// No client is known to wait for it, and there are as many such exchanges as allowed.
    Spare,
    /// The origin asks to be left alone.
    Paused(Pause),
}

/// What a request got: a place, or a turn in the queue.
#[derive(Debug)]
pub(super) enum Entered {
    Place(Revoked),
    Queue(oneshot::Receiver<Told>),
}

#[derive(Debug)]
struct Waiter {
    id: u64,
    lane: Lane,
    /// Whether it costs the origin little to be asked: it has no content and changes nothing.
    light: bool,
    tell: oneshot::Sender<Told>,
}

#[derive(Debug)]
struct Running {
    revoke: Option<oneshot::Sender<()>>,
    /// Its key in `LimitState::idle`; `None` while a client is known to wait for it.
    idle: Option<u64>,
    /// Whether it goes on to its end, whatever waits for a place.
    stays: bool,
}

impl LimitState {
    pub(super) fn new(places: usize) -> Self {
        Self { places, ..Self::default() }
    }

    /// Takes a place, or a turn in the queue of at most `queue` requests.
    pub(super) fn enter(
        &mut self,
        lane: Lane,
        light: bool,
        wanted: bool,
        queue: usize,
        now: Instant,
    ) -> Result<(u64, Entered), Full> {
        if let Some(pause) = self.meter.meets(now) {
            return Err(Full::Paused(pause));
        }
        if !wanted && self.idle.len() + self.spare.len() >= self.most_spare() {
            // None under way is ended for it: its cost is paid, and it may be about to end.
            return Err(Full::Spare);
        }
        let id = self.number();
        if self.taken < self.places && self.meter.lets_one() {
            let revoked = self.run(id, wanted);
            self.settle();
            return Ok((id, Entered::Place(revoked)));
        }
        if self.waiting() >= queue {
            // A request that a client is known to wait for takes the turn of one without.
            let given_up = if wanted { self.spare.pop_front() } else { None };
            let Some(given_up) = given_up else {
                self.refused();
                return Err(Full::Queue);
            };
            let _left_meanwhile = given_up.tell.send(Told::Unwanted);
        }
        if self.taken < self.places && self.meter.lacks_token() {
            self.meter.counts.waited += 1;
        }
        let (tell, told) = oneshot::channel();
        let waiter = Waiter { id, lane, light, tell };
        if wanted {
            self.lane(lane).push_back(waiter);
        } else {
            self.spare.push_back(waiter);
        }
        self.settle();
        Ok((id, Entered::Queue(told)))
    }

    /// Lets an exchange under way go on to its end, whether or not a client is known to wait for it. Returns
    /// false if it was told to end before.
    pub(super) fn stays(&mut self, id: u64) -> bool {
        let Some(running) = self.running.get_mut(&id).filter(|running| running.revoke.is_some()) else {
            return false;
        };
        running.stays = true;
        if let Some(turn) = running.idle.take() {
            self.idle.remove(&turn);
        }
        self.settle();
        true
    }

    /// Records whether a client is known to wait for it.
    pub(super) fn turn(&mut self, id: u64, wanted: bool) {
        let number = self.number();
        if let Some(running) = self.running.get_mut(&id) {
            // An exchange that was told to end does end, and one that stays is never told to.
            if running.revoke.is_some() && !running.stays {
                match (wanted, running.idle) {
                    (true, Some(turn)) => {
                        self.idle.remove(&turn);
                        running.idle = None;
                    }
                    (false, None) => {
                        self.idle.insert(number, id);
                        running.idle = Some(number);
                    }
                    (true, None) | (false, Some(_)) => {}
                }
            }
        } else if wanted {
            if let Some(waiter) = take(&mut self.spare, id) {
                self.lane(waiter.lane).push_back(waiter);
            }
        } else if let Some(waiter) = take(&mut self.fills, id).or_else(|| take(&mut self.passes, id)) {
            self.spare.push_back(waiter);
        }
        self.settle();
    }

    /// An exchange has ended: its place goes to the next.
    pub(super) fn ended(&mut self, id: u64) {
        let Some(running) = self.running.remove(&id) else { return };
        match (running.revoke, running.idle) {
            (None, _) => self.ending -= 1,
            (Some(_), Some(turn)) => drop(self.idle.remove(&turn)),
            (Some(_), None) => {}
        }
        self.taken -= 1;
        self.meter.ended(id);
        self.settle();
    }

    /// A request was refused, or has waited for too long.
    pub(super) fn refused(&mut self) {
        if self.meter.lacks_token() {
            self.meter.counts.refused += 1;
        }
    }

    /// Takes a token for an exchange under way that is sent again, or returns where it waits for one. The
    /// sender is dropped if the origin asks to be left alone.
    pub(super) fn again(&mut self) -> Option<oneshot::Receiver<()>> {
        if self.meter.again() {
            return None;
        }
        let (tell, told) = oneshot::channel();
        if !matches!(self.meter.gate(), Gate::Closed(_)) {
            self.again.push_back(tell);
        }
        Some(told)
    }

    /// Tokens have come, or are not needed any more.
    pub(super) fn metered(&mut self, change: impl FnOnce(&mut Meter)) {
        change(&mut self.meter);
        self.settle();
    }

    /// The origin asks to be left alone: all that wait are told. Returns whether that is news.
    pub(super) fn close(&mut self, pause: Pause) -> bool {
        let news = self.meter.close(pause);
        if news {
            self.again.clear();
            for queue in [&mut self.fills, &mut self.passes, &mut self.spare] {
                for waiter in queue.drain(..) {
                    let _left_meanwhile = waiter.tell.send(Told::Paused(pause));
                }
            }
        }
        news
    }

    /// The exchanges that lack nothing but a token.
    pub(super) fn demand(&self) -> Demand {
        let tokens = usize::try_from(self.meter.tokens().unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
        let free = self.places.saturating_sub(self.taken).min(self.meter.lets_through());
        // Those at hand are on their way to the first of them.
        let again = self.again.len();
        let fills = free.min(self.fills.len());
        let passes = (free - fills).min(self.passes.len() + self.spare.len());
        let fills = again + fills;
        let spare = tokens.saturating_sub(fills);
        Demand { fills: fills.saturating_sub(tokens), passes: passes.saturating_sub(spare) }
    }

    /// Returns whether a request waits for a trial to be let through.
    pub(super) fn wants_trial(&self) -> bool {
        self.meter.wants_trial() && self.waiting() > 0
    }

    /// A request ceases to wait; a place that it was just given goes to the next.
    pub(super) fn leaves(&mut self, id: u64) {
        for queue in [&mut self.fills, &mut self.passes, &mut self.spare] {
            if take(queue, id).is_some() {
                return;
            }
        }
        self.ended(id);
    }

    pub(super) fn resize(&mut self, places: usize) {
        self.places = places;
        self.settle();
    }

    pub(super) fn taken(&self) -> usize {
        self.taken
    }

    pub(super) fn waiting(&self) -> usize {
        self.fills.len() + self.passes.len() + self.spare.len()
    }

    pub(super) fn load(&self) -> Load {
        let next = self
            .meter
            .tokens()
            .map_or(usize::MAX, |tokens| usize::try_from(tokens).unwrap_or(usize::MAX).max(NEXT));
        let fills = self.fills.len().min(next);
        let passes = (self.passes.len() + self.spare.len()).min(next - fills);
        Load { in_flight: self.taken, fills, passes }
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn lane(&mut self, lane: Lane) -> &mut VecDeque<Waiter> {
        match lane {
            Lane::Fill => &mut self.fills,
            Lane::Pass => &mut self.passes,
        }
    }

    fn run(&mut self, id: u64, wanted: bool) -> Revoked {
        let (revoke, revoked) = oneshot::channel();
        let idle = (!wanted).then(|| self.number());
        if let Some(turn) = idle {
            self.idle.insert(turn, id);
        }
        self.running.insert(id, Running { revoke: Some(revoke), idle, stays: false });
        self.taken += 1;
        self.meter.begins(id);
        revoked
    }

    /// How many exchanges that no client is known to wait for may go on while others wait. One place is
    /// always for the others.
    fn share(&self) -> usize {
        (self.places / SHARE).max(1).min(self.places.saturating_sub(1))
    }

    /// How many of them may be under way or wait.
    fn most_spare(&self) -> usize {
        self.share().max(SPARE)
    }

    /// Restores order after a change: gives free places, and tells surplus exchanges to end.
    fn settle(&mut self) {
        self.fill_up();
        // Waiting ones leave first: they have cost the origin nothing. Those under way are left alone until
        // their place is wanted.
        while self.idle.len() + self.spare.len() > self.most_spare() {
            let Some(waiter) = self.spare.pop_back() else { break };
            let _left_meanwhile = waiter.tell.send(Told::Unwanted);
        }
        let for_places = if self.taken < self.places { 0 } else { self.fills.len() + self.passes.len() };
        while self.idle.len() > self.share() && self.ending < for_places {
            self.revoke_oldest();
        }
    }

    /// Gives the free places to waiting requests.
    fn fill_up(&mut self) {
        while !self.again.is_empty() && self.meter.again() {
            let Some(tell) = self.again.pop_front() else { break };
            if tell.send(()).is_err() {
                // It waits no more: its token is another's.
                self.meter.unspent();
            }
        }
        while self.taken < self.places && self.meter.lets_one() {
            let known = self.fills.pop_front().or_else(|| self.next_pass());
            let wanted = known.is_some();
            let Some(waiter) = known.or_else(|| self.spare.pop_front()) else { return };
            let revoked = self.run(waiter.id, wanted);
            // The place counts even if the request is gone: `leaves` gives it back.
            let _ = waiter.tell.send(Told::Place(revoked));
        }
    }

    /// The pass whose turn it is. What is tried after a pause may be told to go away again: one that is light goes
    /// before uploads then.
    fn next_pass(&mut self) -> Option<Waiter> {
        let tries = matches!(self.meter.gate(), Gate::Trial(_));
        let light = if tries { self.passes.iter().position(|waiter| waiter.light) } else { None };
        self.passes.remove(light.unwrap_or(0))
    }

    fn revoke_oldest(&mut self) {
        let Some((_, id)) = self.idle.pop_first() else { return };
        if let Some(running) = self.running.get_mut(&id)
            && let Some(revoke) = running.revoke.take()
        {
            self.ending += 1;
            // An exchange that has not polled yet finds it later.
            let _ = revoke.send(());
        }
    }
}

fn take(queue: &mut VecDeque<Waiter>, id: u64) -> Option<Waiter> {
    let at = queue.iter().position(|waiter| waiter.id == id)?;
    queue.remove(at)
}
