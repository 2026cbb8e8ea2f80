//! The task that takes tokens for the requests of this instance. It alone asks the store for them, however many
//! requests wait.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::{BoxFuture, OptionFuture};
use tokio::time::{Instant, sleep_until};

use crate::dust::{BucketTerms, Draw, Drawn, Result};
use crate::proxy::quota::share::OwnShare;
use crate::proxy::quota::{Fleet, Shared};
use crate::telemetry::log::{Event, Level};
use crate::upstream::limit::Demand;

/// The keeper of one upstream's rate.
pub(crate) struct Keeper {
    shared: Arc<Shared>,
    terms: BucketTerms,
    source: Source,
    /// A draw that is under way, and how many tokens it asks for.
    call: Option<(BoxFuture<'static, Result<Option<Drawn>>>, u64)>,
    /// When tokens may be asked for again.
    next: Instant,
    /// When tokens that no request has used lapse.
    lapse: Option<Instant>,
    /// Whether the last draw failed. After a single one the store is asked once more.
    failed: bool,
    /// How many instances lived when the store was last heard.
    living: u64,
    /// When they were counted.
    counted: Option<Instant>,
    made: Instant,
}

/// Where tokens come from.
enum Source {
    /// The fleet's bucket in the store.
    Store,
    /// This instance's own share.
    Own {
        share: OwnShare,
        /// When the store is asked again; `None` if it has no buckets, or is not shared.
        again: Option<Instant>,
        /// Tokens that were taken out of the share since the store was lost, and are owed to the fleet's bucket.
        spent: u64,
        /// Until when the share goes on although the store answers again.
        settles: Option<Instant>,
    },
}

/// An instance that did not get all it asked for asks again no sooner than this; up to as much again is added at
/// random, so that instances take turns.
const PAUSE: Duration = Duration::from_millis(10);
/// A token that no request has used lapses after this time.
const LAPSES: Duration = Duration::from_millis(20);
/// How often the instances are counted.
const COUNTED: Duration = Duration::from_millis(250);
/// The share of an instance that has just come begins to fill after this time: the others have counted it by then.
const JOINS: Duration = Duration::from_secs(1);
/// The pause before a store that did not answer is asked again; up to as much again is added at random.
const AGAIN: Duration = Duration::from_millis(250);
/// An instance that has paid what it spent without the store goes on by its share for this time, and pays as it
/// spends: by then the others have asked again and paid too, each within twice [`AGAIN`] and the bound of a call.
const SETTLES: Duration = Duration::from_millis(800);

// === impl Keeper ===

impl Keeper {
    pub(super) fn new(shared: Arc<Shared>, terms: BucketTerms) -> Self {
        let now = Instant::now();
        let source = match shared.parts.fleet {
            Fleet::Alone => {
                Source::Own { share: OwnShare::whole(terms, 0), again: None, spent: 0, settles: None }
            }
            Fleet::Shared(_) => Source::Store,
        };
        Self {
            shared,
            terms,
            source,
            call: None,
            next: now,
            lapse: None,
            failed: false,
            living: 1,
            counted: None,
            made: now,
        }
    }

    /// Keeps the rate until it is dropped.
    pub(crate) async fn run(mut self) {
        let shared = self.shared.clone();
        loop {
            let due = self.step();
            let asks = self.call.is_some();
            let answer: OptionFuture<_> = self.call.as_mut().map(|(call, _)| call).into();
            tokio::select! {
                biased;
                Some(answer) = answer, if asks => self.hear(answer),
                () = shared.limit.metered() => {}
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
            }
        }
    }

    /// Does what is due. Returns when something is next due by itself.
    fn step(&mut self) -> Option<Instant> {
        let now = Instant::now();
        self.lapses(now);
        if self.counted.is_none_or(|at| at + COUNTED <= now) {
            self.counts(now);
        }
        self.settle(now);
        let demand = self.shared.limit.demand();
        let idle = demand == Demand::default();
        if idle && !self.owes() {
            return self.lapse;
        }
        // While a call is under way nothing is spent: what the answer settles is what was told.
        if !idle && self.call.is_none() {
            self.draw_own(now, demand);
        }
        let again = match &self.source {
            Source::Store => Some(self.next),
            Source::Own { again, .. } => *again,
        };
        if self.call.is_none() && again.is_some_and(|at| at <= now) {
            self.ask(self.shared.limit.demand());
        }
        let waits = match &self.source {
            Source::Own { .. } if !idle => Some(self.next),
            Source::Own { .. } | Source::Store => None,
        };
        let due = waits.into_iter().chain(again).filter(|_| self.call.is_none());
        due.chain(self.lapse).filter(|at| *at > now).min()
    }

    /// Returns whether tokens were spent that the fleet's bucket does not know of.
    fn owes(&self) -> bool {
        matches!(self.source, Source::Own { again: Some(_), spent: 1.., .. })
    }

    /// Goes back to the store's bucket, once all instances have paid.
    fn settle(&mut self, now: Instant) {
        if let Source::Own { spent: 0, settles: Some(until), .. } = self.source
            && until <= now
            && self.call.is_none()
        {
            self.source = Source::Store;
            self.next = now;
            self.tell(false);
        }
    }

    /// Takes tokens out of this instance's own share.
    fn draw_own(&mut self, now: Instant, demand: Demand) {
        let now_us = self.now_us(now);
        let Source::Own { share, spent, settles, again } = &mut self.source else { return };
        if now < self.next {
            return;
        }
        let drawn = share.draw(now_us, draw(demand, 0));
        *spent = spent.saturating_add(drawn.tokens);
        if settles.is_some() && *spent > 0 {
            *again = Some(now);
        }
        self.next = now + drawn.wait;
        self.shared.limit.give(drawn.tokens);
    }

    /// Asks the store: for tokens, or to take what was spent without it.
    fn ask(&mut self, demand: Demand) {
        let draw = match &self.source {
            Source::Store => draw(demand, 0),
            Source::Own { spent, .. } => draw(Demand::default(), *spent),
        };
        let (shared, terms) = (self.shared.clone(), self.terms);
        let call = async move { shared.catalog.draw(&shared.upstream, terms, draw).await };
        self.call = Some((Box::pin(call), draw.wanted()));
    }

    fn hear(&mut self, answer: Result<Option<Drawn>>) {
        let Some((_, wanted)) = self.call.take() else { return };
        let now = Instant::now();
        match answer {
            Ok(Some(Drawn { tokens, wait })) => {
                self.failed = false;
                match &mut self.source {
                    Source::Store => {
                        self.next = now;
                        if tokens < wanted {
                            self.next += wait.max(PAUSE) + self.shared.parts.dice.up_to(PAUSE);
                        }
                    }
                    // It keeps its share and what that has, also if the store goes again meanwhile.
                    Source::Own { again, spent, settles, .. } => {
                        *spent = 0;
                        let until = *settles.get_or_insert(now + SETTLES);
                        *again = Some(until);
                        self.next = now;
                    }
                }
                self.tell(false);
                self.shared.limit.give(tokens);
            }
            Ok(None) => {
                self.go_alone(now, None);
                self.tell(false);
            }
            Err(_) if !self.failed => {
                self.failed = true;
                self.next = self.next.max(now + self.shared.parts.dice.up_to(PAUSE));
            }
            Err(error) => {
                let again = now + AGAIN + self.shared.parts.dice.up_to(AGAIN);
                if self.go_alone(now, Some(again)) {
                    self.shared.fallbacks.fetch_add(1, Ordering::Relaxed);
                    let text = format!("goes by one of {} shares of the rate: {error}", self.living);
                    let event = Event::new(Level::Warn, "rate_share", text).about(&self.shared.upstream);
                    self.shared.parts.log.event(event);
                }
                self.tell(true);
            }
        }
    }

    /// Goes by a share of its own, from which the store's bucket is asked again at `again`. Returns whether that is
    /// new. A share begins empty: what it could hold may be spent already, or be held by others.
    fn go_alone(&mut self, now: Instant, again: Option<Instant>) -> bool {
        let new = matches!(self.source, Source::Store);
        match &mut self.source {
            Source::Own { again: old, settles, .. } => (*old, *settles) = (again, None),
            Source::Store => {
                self.counts(now);
                // After the store's bucket, instances have known of each other.
                let wait = if again.is_some() { Duration::ZERO } else { JOINS };
                let share = OwnShare::one_of(self.terms, self.living, self.now_us(now), wait);
                self.source = Source::Own { share, again, spent: 0, settles: None };
                self.next = now;
            }
        }
        new
    }

    /// Counts the instances, as long as the store is heard.
    fn counts(&mut self, now: Instant) {
        self.counted = Some(now);
        if let Fleet::Shared(living) = &self.shared.parts.fleet
            && let Some(living) = living()
        {
            self.living = u64::try_from(living).unwrap_or(u64::MAX).max(1);
        }
        let now_us = self.now_us(now);
        if let Source::Own { share, .. } = &mut self.source
            && share.living() != self.living
        {
            share.is_one_of(self.living, now_us);
            // A token may come sooner now, or later.
            self.next = now;
            self.tell(self.shared.alone.load(Ordering::Relaxed));
        }
    }

    fn now_us(&self, now: Instant) -> u64 {
        u64::try_from((now - self.made).as_micros()).unwrap_or(u64::MAX)
    }

    /// Takes back tokens that no request has used for a while: later they would be too many.
    fn lapses(&mut self, now: Instant) {
        let limit = &self.shared.limit;
        self.lapse = match self.lapse {
            _ if limit.tokens() == 0 => None,
            Some(at) if at <= now => {
                limit.lapse();
                None
            }
            Some(at) => Some(at),
            None => Some(now + LAPSES),
        };
    }

    fn tell(&self, alone: bool) {
        let shares = match &self.source {
            Source::Store => 0,
            Source::Own { share, .. } => share.living(),
        };
        self.shared.shares.store(shares, Ordering::Relaxed);
        self.shared.alone.store(alone, Ordering::Relaxed);
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // What is at hand belongs to now, and the next keeper does not know of it.
        self.shared.limit.lapse();
    }
}

fn draw(demand: Demand, spent: u64) -> Draw {
    let of = |requests: usize| u64::try_from(requests).unwrap_or(u64::MAX);
    Draw { fills: of(demand.fills), passes: of(demand.passes), spent }
}
