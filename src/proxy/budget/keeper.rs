//! The task that keeps an instance's share of a budget. It alone asks the store for permits, renews them, and
//! gives them back, however many requests wait.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::time::{Instant, sleep_until};

use crate::dust::{Change, Error, Feed, FeedItem, Grant, Lease, Number, Renewal, Result, What};
use crate::flight::{Flight, StoreWatch};
use crate::proxy::budget::Shared;
use crate::proxy::budget::permits::{HEAD_START, KnownPermits};
use crate::upstream::limit::{Limit, Load};

/// The keeper. Dropped, it gives its permits back.
pub(crate) struct Keeper {
    shared: Arc<Shared>,
    limit: Limit,
    permits: KnownPermits,
    calls: FuturesUnordered<BoxFuture<'static, Heard>>,
    ear: Ear,
    /// Set while the store does not answer and this instance goes by its own limit: when to ask the store
    /// again.
    alone: Option<Instant>,
    /// Set while permits are lacking and none is known to be free: when to try one all the same.
    crowded: Option<Instant>,
    /// When it was crowded last.
    pressed: Instant,
}

/// The result of a store call.
enum Heard {
    Asked { number: usize, sent: Instant, answer: Result<Grant> },
    Renewed { token: Number, sent: Instant, answer: Result<Renewal> },
    Feed(Result<Feed>),
}

/// Whether the changes in the store are followed.
enum Ear {
    Closed,
    Opening,
    Open(Feed),
}

/// The most permits that are asked for at the same time.
const AT_ONCE: usize = 8;
/// The pause before a store that did not answer is asked again; up to as much again is added at random.
const AGAIN: Duration = Duration::from_millis(250);
/// How often, in a crowd, a permit that others are thought to have is tried; up to a quarter is added at
/// random.
const DOUBT: Duration = Duration::from_secs(1);
/// How long after the last crowd the changes in the store are still followed.
const LISTEN: Duration = Duration::from_secs(10);
/// An instance that hears of a free permit asks for it within this time ...
const SOON: Duration = Duration::from_millis(5);
/// ... or only after that, if only passes wait.
const LATER: Duration = Duration::from_millis(10);

// === impl Keeper ===

impl Keeper {
    pub(super) fn new(shared: Arc<Shared>, limit: Limit) -> Self {
        let permits = KnownPermits::new(shared.rules);
        Self {
            shared,
            limit,
            permits,
            calls: FuturesUnordered::new(),
            ear: Ear::Closed,
            alone: None,
            crowded: None,
            pressed: Instant::now(),
        }
    }

    /// Keeps the budget until it is dropped.
    pub(crate) async fn run(mut self) {
        let flight = self.shared.flight.clone();
        let key = self.shared.key(0);
        let mut watch: Option<StoreWatch<'_>> = None;
        loop {
            let next = self.step();
            if self.crowded.is_none() || self.alone.is_some() {
                watch = None;
            } else if watch.is_none() {
                watch = Some(flight.watch(&key));
            }
            let shared = self.shared.clone();
            tokio::select! {
                biased;
                Some(heard) = self.calls.next(), if !self.calls.is_empty() => self.hear(heard),
                item = self.ear.next(&shared) => self.listen(item),
                _error = failed(watch.as_ref()) => {
                    watch = None;
                    self.go_alone();
                }
                () = self.limit.changed() => {}
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
            }
        }
    }

    /// Does what is due. Returns when something is next due by itself.
    fn step(&mut self) -> Option<Instant> {
        let now = Instant::now();
        for lease in self.permits.run_out(now) {
            self.shared.lost_unanswered();
            self.shared.flight.give(lease);
        }
        // While nothing needs a permit, the store is not asked whether it is back.
        if self.permits.lacks(self.limit.load()) == 0 && self.alone.is_some_and(|at| at <= now) {
            self.alone = None;
        }
        self.give_back(now);
        for lease in self.permits.beats(now) {
            self.renew(lease);
        }
        let load = self.limit.load();
        self.ask(now, load);
        self.shared.tell(self.permits.held(), self.permits.asked(), self.alone.is_some());
        if self.crowded.is_none() && now >= self.pressed + LISTEN {
            self.ear = Ear::Closed;
        }
        let again = self.alone.filter(|at| *at > now);
        let deaf = matches!(self.ear, Ear::Open(_)).then_some(self.pressed + LISTEN);
        let deaf = deaf.filter(|at| self.crowded.is_none() && *at > now);
        [self.permits.next(now, load), again, self.crowded, deaf].into_iter().flatten().min()
    }

    /// Gives back permits that are not needed, and opens as many places as there are permits.
    fn give_back(&mut self, now: Instant) {
        let held = self.permits.held();
        if self.alone.is_some() {
            // Places don't depend on permits now, so giving permits back can't take a place from an exchange.
            let unused = self.permits.surplus(now, self.limit.load()).min(held);
            let unused = unused.min(held.saturating_sub(self.limit.in_flight()));
            self.give(now, unused);
            self.limit.resize(self.shared.rules.most);
            return;
        }
        let surplus = self.permits.surplus(now, self.limit.load());
        let places = held.saturating_sub(surplus);
        // Places are closed first, so that no request can take one whose permit is about to be given back.
        self.limit.resize(places);
        let free = held.saturating_sub(self.limit.in_flight().max(places));
        self.give(now, free);
    }

    fn give(&mut self, now: Instant, how_many: usize) {
        for lease in self.permits.give(now, how_many) {
            self.shared.flight.give(lease);
        }
    }

    /// Asks for permits that are lacking, as far as any may be free.
    fn ask(&mut self, now: Instant, load: Load) {
        let lacks = self.permits.to_ask(load);
        match self.alone {
            Some(at) if at > now || self.permits.asked() > 0 => return self.at_ease(),
            _ => {}
        }
        if self.crowded.is_some_and(|at| at <= now) {
            let start = self.start();
            self.permits.doubt(start);
            self.crowded = Some(self.next_doubt(now));
        }
        let most = if self.alone.is_some() { 1 } else { AT_ONCE };
        for _ in 0..lacks.min(most.saturating_sub(self.permits.asked())) {
            let start = self.start();
            let Some(number) = self.permits.pick(now, start) else {
                self.open_ear();
                if self.crowded.is_none() {
                    self.crowded = Some(self.next_doubt(now));
                }
                return;
            };
            let (flight, key) = (self.shared.flight.clone(), self.shared.key(number));
            self.call(async move {
                let sent = Instant::now();
                Heard::Asked { number, sent, answer: flight.take(&key).await }
            });
        }
        if lacks == 0 {
            self.at_ease();
        }
    }

    fn at_ease(&mut self) {
        self.crowded = None;
    }

    /// The number at which the search for a free permit begins. It is random, so that instances that ask at
    /// the same time seldom ask for the same one.
    fn start(&self) -> usize {
        let all = u64::try_from(self.shared.rules.permits).unwrap_or(u64::MAX);
        usize::try_from(self.shared.dice.below(all)).unwrap_or(0)
    }

    fn next_doubt(&self, now: Instant) -> Instant {
        now + DOUBT + self.shared.dice.up_to(DOUBT / 4)
    }

    fn renew(&mut self, lease: Lease) {
        let flight: Arc<Flight> = self.shared.flight.clone();
        self.call(async move {
            let sent = Instant::now();
            Heard::Renewed { token: lease.token, sent, answer: flight.keep(&lease).await }
        });
    }

    fn call(&mut self, call: impl Future<Output = Heard> + Send + 'static) {
        self.calls.push(Box::pin(call));
    }

    fn hear(&mut self, heard: Heard) {
        let now = Instant::now();
        match heard {
            Heard::Asked { number, sent, answer: Ok(Grant::Granted(lease)) } => {
                self.alone = None;
                self.permits.granted(number, lease, sent, now);
            }
            Heard::Asked { number, answer: Ok(refusal), .. } => {
                self.alone = None;
                let ttl = self.shared.rules.ttl;
                let rest = match refusal {
                    Grant::Held { rest: Some(rest), .. } => rest.min(ttl),
                    // Occupied: the writer of that entry may remove it again.
                    Grant::Held { .. } | Grant::Occupied | Grant::Granted(_) => ttl,
                };
                let jitter = self.shared.dice.up_to(HEAD_START);
                self.permits.refused(number, Some(now + rest + jitter));
                self.open_ear();
            }
            Heard::Asked { number, answer: Err(_), .. } => {
                self.permits.refused(number, None);
                self.go_alone();
            }
            Heard::Renewed { token, sent, answer } => match answer {
                Ok(Renewal::NotHeld) => {
                    if self.permits.lost(token) {
                        self.shared.lost_not_held();
                    }
                }
                Ok(Renewal::Renewed) => self.permits.renewed(token, sent, true),
                Err(_) => self.permits.renewed(token, sent, false),
            },
            Heard::Feed(Ok(feed)) => {
                // Changes before the feed was confirmed were missed.
                self.permits.forget();
                self.ear = Ear::Open(feed);
            }
            Heard::Feed(Err(_)) => {
                self.ear = Ear::Closed;
                self.go_alone();
            }
        }
    }

    /// Other instances want permits too: from now on their changes are followed.
    fn open_ear(&mut self) {
        self.pressed = Instant::now();
        if matches!(self.ear, Ear::Closed) {
            self.ear = Ear::Opening;
            let flight = self.shared.flight.clone();
            self.call(async move { Heard::Feed(flight.bounded(flight.dust().feed()).await) });
        }
    }

    fn listen(&mut self, item: Option<(usize, What)>) {
        let Some((number, what)) = item else {
            self.ear = Ear::Closed;
            if self.crowded.is_some() {
                // If the store is gone, this fails.
                self.open_ear();
            }
            return;
        };
        let (now, ttl) = (Instant::now(), self.shared.rules.ttl);
        let until = match what {
            What::Lease(rest) | What::Renew(rest) => now + rest.min(ttl) + self.shared.dice.up_to(HEAD_START),
            What::Set { .. } => now + ttl,
            What::Release | What::Delete => {
                let passes_only = self.limit.load().fills == 0;
                now + self.shared.dice.up_to(SOON) + if passes_only { LATER } else { Duration::ZERO }
            }
        };
        self.permits.heard(number, until);
    }

    fn go_alone(&mut self) {
        if self.alone.is_none() {
            self.shared.fell_back();
        }
        // Changes by other instances are missed meanwhile.
        self.permits.forget();
        self.alone = Some(Instant::now() + AGAIN + self.shared.dice.up_to(AGAIN));
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        let held = self.permits.held();
        self.give(Instant::now(), held);
        self.shared.tell(0, 0, false);
    }
}

// === impl Ear ===

impl Ear {
    /// The next change of a permit; none if some were missed. Cancel safe.
    async fn next(&mut self, shared: &Shared) -> Option<(usize, What)> {
        let Self::Open(feed) = self else { return std::future::pending().await };
        loop {
            match feed.next().await {
                FeedItem::Lost => return None,
                // Of records.
                FeedItem::Doubt => {}
                FeedItem::Change(Change { key, what, .. }) => {
                    if let Some(number) = shared.number(&key) {
                        return Some((number, what));
                    }
                }
            }
        }
    }
}

async fn failed(watch: Option<&StoreWatch<'_>>) -> Error {
    match watch {
        Some(watch) => watch.failed().await,
        None => std::future::pending().await,
    }
}
