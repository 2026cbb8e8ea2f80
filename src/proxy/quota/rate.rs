//! The task that takes tokens for the requests of this instance. It alone asks the store for them, however many
//! requests wait.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::{BoxFuture, OptionFuture};
use tokio::time::{Instant, sleep_until};

use crate::dust::{Bucket, BucketTerms, Draw, Drawn, Result};
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
    /// A bucket of this instance's own.
    Own {
        bucket: Bucket,
        /// When the store is asked again; `None` if it has no buckets, or is not shared.
        again: Option<Instant>,
        /// Tokens that were taken out of it since the store was lost.
        spent: u64,
    },
}

/// An instance that did not get all it asked for asks again no sooner than this; up to as much again is added at
/// random, so that instances take turns.
const PAUSE: Duration = Duration::from_millis(10);
/// A token that no request has used lapses after this time.
const LAPSES: Duration = Duration::from_millis(20);
/// How often the instances are counted.
const COUNTED: Duration = Duration::from_secs(1);
/// The pause before a store that did not answer is asked again; up to as much again is added at random.
const AGAIN: Duration = Duration::from_millis(250);

// === impl Keeper ===

impl Keeper {
    pub(super) fn new(shared: Arc<Shared>, terms: BucketTerms) -> Self {
        let now = Instant::now();
        let source = match shared.parts.fleet {
            Fleet::Alone => Source::Own { bucket: Bucket::full(terms, 0), again: None, spent: 0 },
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
        let demand = self.shared.limit.demand();
        if demand == Demand::default() {
            return self.lapse;
        }
        if let Source::Own { .. } = self.source {
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
            Source::Own { .. } => Some(self.next),
            Source::Store => None,
        };
        let again = again.filter(|_| self.call.is_none());
        [waits, again, self.lapse].into_iter().flatten().filter(|at| *at > now).min()
    }

    /// Takes tokens out of this instance's own bucket.
    fn draw_own(&mut self, now: Instant, demand: Demand) {
        let Source::Own { bucket, spent, .. } = &mut self.source else { return };
        if now < self.next {
            return;
        }
        let now_us = u64::try_from((now - self.made).as_micros()).unwrap_or(u64::MAX);
        let drawn = bucket.draw(now_us, self.terms.share(self.living), draw(demand, 0));
        *spent = spent.saturating_add(drawn.tokens);
        self.next = now + drawn.wait;
        self.shared.limit.give(drawn.tokens);
    }

    fn ask(&mut self, demand: Demand) {
        let spent = match &self.source {
            Source::Store => 0,
            Source::Own { spent, .. } => *spent,
        };
        let draw = draw(demand, spent);
        let (shared, terms) = (self.shared.clone(), self.terms);
        let call = async move { shared.catalog.draw(&shared.upstream, terms, draw).await };
        self.call = Some((Box::pin(call), draw.wanted()));
    }

    fn hear(&mut self, answer: Result<Option<Drawn>>) {
        let Some((_, wanted)) = self.call.take() else { return };
        let now = Instant::now();
        match answer {
            Ok(Some(Drawn { tokens, wait })) => {
                (self.source, self.failed, self.next) = (Source::Store, false, now);
                if tokens < wanted {
                    self.next += wait.max(PAUSE) + self.shared.parts.dice.up_to(PAUSE);
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

    /// Goes by a bucket of its own, from which the store's is asked again at `again`. Returns whether that is
    /// new. Such a bucket begins empty after the store's, or there would be a second burst; without buckets in
    /// the store it begins full.
    fn go_alone(&mut self, now: Instant, again: Option<Instant>) -> bool {
        let new = matches!(self.source, Source::Store);
        let now_us = u64::try_from((now - self.made).as_micros()).unwrap_or(u64::MAX);
        match &mut self.source {
            Source::Own { again: old, .. } => *old = again,
            Source::Store => {
                self.counts(now);
                let bucket = match again {
                    Some(_) => Bucket::empty(now_us),
                    None => Bucket::full(self.terms.share(self.living), now_us),
                };
                self.source = Source::Own { bucket, again, spent: 0 };
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
        let shares = match self.source {
            Source::Store => 0,
            Source::Own { .. } => self.living,
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
