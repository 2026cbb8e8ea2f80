//! A limit on exchanges at a time: each of them has a place. Requests wait for a place in two lanes: fills
//! first, since many clients wait for each, then passes; each lane in the order of arrival.
//!
//! Behind both come those that no client is known to wait for ([`Interest`]). While others wait, these have
//! at most a fourth of the places (at least one, and never the last), and the oldest above that is told to
//! end. No more begin once that fourth is under way or waiting, or 64 if that is more. One that has begun
//! goes on until another request waits for its place, and one that must not be broken off goes on even then
//! (`Permit::stays`).
//!
//! The number of places can change while the limit is in use ([`Limit::resize`]): a budget that several
//! instances share gives and takes places, and learns of a changed load by [`Limit::changed`].
//!
//! Where a rate is kept, an exchange takes a token too when it begins, and another when it is sent again
//! ([`Limit::give`]). While the origin asks to be left alone nothing begins, and a request that
//! comes is told so ([`Limit::close`]). The giver of tokens learns what lacks by [`Limit::metered`].

use std::future::Future as _;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use self::meter::Meter;
use self::state::{Entered, Full, LimitState, Revoked, Told};
use super::{Error, ErrorKind, Interest, Lane};

pub use self::meter::{Counts, Gate, Pause};

mod meter;
mod state;
#[cfg(test)]
mod tests;

/// A limit on exchanges at a time. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Limit {
    inner: Arc<Inner>,
}

/// The right to a place. Dropping it gives the place to the request that waits next.
#[derive(Debug)]
pub struct Permit {
    inner: Arc<Inner>,
    id: u64,
    revoked: Revoked,
    /// Until when it may wait for a token to be sent again.
    deadline: Option<Instant>,
}

/// The exchanges that lack nothing but a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Demand {
    /// Fills, and exchanges that are sent again.
    pub fills: usize,
    /// Passes, and exchanges that no client is known to wait for.
    pub passes: usize,
}

/// A request that wants a place.
#[derive(Debug, Clone, Copy)]
pub struct Want<'a> {
    /// Its lane.
    pub lane: Lane,
    /// Whether it has no content and changes nothing: after a pause such a request is tried first.
    pub light: bool,
    /// Until when it waits.
    pub deadline: Option<Instant>,
    /// Whether a client is known to wait for it; `None`: one does.
    pub interest: Option<&'a Interest>,
}

/// The load of a limit at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Load {
    /// Exchanges under way.
    pub in_flight: usize,
    /// Fills that wait for a place.
    pub fills: usize,
    /// Passes that wait for a place, and all requests that no client is known to wait for.
    pub passes: usize,
}

/// An exchange's entry in a limit: it has a place or waits for one.
#[derive(Debug)]
pub(super) struct Slot {
    inner: Weak<Inner>,
    id: u64,
}

#[derive(Debug)]
struct Inner {
    queue: usize,
    patience: Duration,
    state: Mutex<LimitState>,
    /// Notified when a request begins or ceases to wait, and when an exchange ends.
    bell: Notify,
    /// Notified when there may be another demand for tokens.
    meter: Notify,
    /// Notified when the gate may have changed, or a request waits at it.
    gate: Notify,
}

/// A request in the queue; leaves it when dropped.
struct QueuedRequest<'a> {
    inner: &'a Arc<Inner>,
    id: u64,
    served: bool,
}

// === impl Limit ===

impl Limit {
    /// Allows `places` exchanges at a time (at least one) and `queue` waiting requests, each for `patience`
    /// (zero: for ever).
    pub fn new(places: usize, queue: usize, patience: Duration) -> Self {
        let state = Mutex::new(LimitState::new(places.max(1)));
        let (bell, meter, gate) = (Notify::new(), Notify::new(), Notify::new());
        Self { inner: Arc::new(Inner { queue, patience, state, bell, meter, gate }) }
    }

    /// Returns a place, at once or after a wait, for an exchange that a client waits for.
    ///
    /// # Errors
    /// [`ErrorKind::QueueFull`] at once, [`ErrorKind::QueueTimeout`] after `patience`.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the queue; a place that was just given goes on to the next.
    pub async fn acquire(&self, lane: Lane) -> Result<Permit, Error> {
        self.acquire_by(Want { lane, light: true, deadline: None, interest: None }).await
    }

    /// As [`Limit::acquire`], and waits until the deadline at most. Even after that, a free place is given.
    /// With an interest it counts whether a client is known to wait.
    ///
    /// # Errors
    /// As there; [`ErrorKind::QueueTimeout`] at the deadline, too; [`ErrorKind::Unwanted`] if no client is
    /// known to wait, and others need its turn in the queue or there are as many such exchanges as allowed.
    ///
    /// # Cancel safety
    /// As there.
    pub async fn acquire_by(&self, want: Want<'_>) -> Result<Permit, Error> {
        let (began, deadline) = (Instant::now(), want.deadline);
        let (mut waiting, told) = match self.enter(want)? {
            (id, Entered::Place(revoked)) => {
                return Ok(Permit { inner: self.inner.clone(), id, revoked, deadline });
            }
            (id, Entered::Queue(told)) => (QueuedRequest { inner: &self.inner, id, served: false }, told),
        };
        self.inner.ring();
        let patience = (!self.inner.patience.is_zero()).then(|| began + self.inner.patience);
        let told = match patience.into_iter().chain(deadline).min() {
            Some(end) => timeout_at(end, told).await,
            None => Ok(told.await),
        };
        // The sender is never dropped unsent: it stays in the queue until it is used or `waiting`
        // takes it out.
        match told {
            Ok(Ok(Told::Place(revoked))) => {
                waiting.served = true;
                Ok(Permit { inner: self.inner.clone(), id: waiting.id, revoked, deadline })
            }
            Ok(Ok(Told::Unwanted)) => Err(unwanted()),
            Ok(Ok(Told::Paused(pause))) => Err(paused(pause)),
            Ok(Err(_)) | Err(_) => {
                self.inner.lock().refused();
                Err(Error {
                    kind: ErrorKind::QueueTimeout,
                    detail: format!("no place within {} ms", began.elapsed().as_millis()),
                })
            }
        }
    }

    fn enter(&self, want: Want<'_>) -> Result<(u64, Entered), Error> {
        let Want { lane, light, interest, .. } = want;
        // Locked over both steps, so that it does not change between them.
        let mut interest = interest.map(Interest::lock);
        let wanted = interest.as_ref().is_none_or(|interest| interest.is_known());
        let mut state = self.inner.lock();
        let (id, entered) = match state.enter(lane, light, wanted, self.inner.queue, Instant::now()) {
            Ok(entered) => entered,
            Err(Full::Spare) => return Err(unwanted()),
            Err(Full::Paused(pause)) => return Err(paused(pause)),
            Err(Full::Queue) => {
                let detail = format!("{} requests wait already", state.waiting());
                return Err(Error { kind: ErrorKind::QueueFull, detail });
            }
        };
        if let Some(interest) = &mut interest {
            interest.stands(Slot { inner: Arc::downgrade(&self.inner), id });
        }
        Ok((id, entered))
    }

    /// Exchanges under way.
    pub fn in_flight(&self) -> usize {
        self.inner.lock().taken()
    }

    /// Requests that wait for a place.
    pub fn queued(&self) -> usize {
        self.inner.lock().waiting()
    }

    /// All counts at one moment.
    pub fn load(&self) -> Load {
        self.inner.lock().load()
    }

    /// Sets the number of places, which may be zero. New places go to waiting requests. A place that is taken
    /// away from an exchange under way is kept until that ends, and not given on.
    pub fn resize(&self, places: usize) {
        self.inner.lock().resize(places);
        self.inner.meter.notify_one();
    }

    /// Waits until the load may have changed since this returned last. For one listener. Cancel safe.
    pub async fn changed(&self) {
        self.inner.bell.notified().await;
    }

    /// From now on exchanges need tokens, of which there are none yet.
    pub fn counts_tokens(&self) {
        self.inner.lock().metered(Meter::counts_tokens);
    }

    /// From now on exchanges need no tokens.
    pub fn counts_none(&self) {
        self.inner.lock().metered(Meter::counts_none);
    }

    /// Gives tokens to the requests that wait; those that are left are for the next ones.
    pub fn give(&self, tokens: u64) {
        self.inner.lock().metered(|meter| meter.give(tokens));
    }

    /// Takes the tokens back that no request has used.
    pub fn lapse(&self) {
        self.inner.lock().metered(Meter::lapse);
    }

    /// The exchanges that lack nothing but a token.
    pub fn demand(&self) -> Demand {
        self.inner.lock().demand()
    }

    /// The tokens at hand, which no request has used yet.
    pub fn tokens(&self) -> u64 {
        self.inner.lock().meter.tokens().unwrap_or(0)
    }

    /// Waits until the demand for tokens may have changed since this returned last. For one listener. Cancel
    /// safe.
    pub async fn metered(&self) {
        self.inner.meter.notified().await;
    }

    /// Waits until the gate may have changed since this returned last, or a request has come to it. For one
    /// listener. Cancel safe.
    pub async fn gated(&self) {
        self.inner.gate.notified().await;
    }

    /// Whether exchanges may begin.
    pub fn gate(&self) -> Gate {
        self.inner.lock().meter.gate()
    }

    /// The origin asks to be left alone: nothing begins until then, and the requests that wait are told so. After that,
    /// requests wait until one is let through ([`Limit::let_one`]). Returns whether that is news.
    pub fn close(&self, pause: Pause) -> bool {
        let news = self.inner.lock().close(pause);
        self.inner.ring();
        news
    }

    /// A pause that is over is heard of. Requests wait until one is let through, as after [`Limit::close`]; none
    /// is sent away.
    pub fn tries_first(&self, over: Pause) {
        self.inner.lock().metered(|meter| meter.tries_first(over));
        self.inner.ring();
    }

    /// Ends a pause, or its trial.
    pub fn open(&self) {
        self.inner.lock().metered(Meter::open);
        self.inner.ring();
    }

    /// Lets one exchange through, after the pause: its answer shows whether the origin takes requests again.
    pub fn let_one(&self) {
        self.inner.lock().metered(Meter::let_one);
        self.inner.ring();
    }

    /// The number of the exchange that was let through and is under way.
    pub fn trial(&self) -> Option<u64> {
        self.inner.lock().meter.trial()
    }

    /// Requests no longer wait for the exchange that was let through: another one may be. Its answer still
    /// counts.
    pub fn passes_by_trial(&self) {
        self.inner.lock().metered(Meter::passes_by_trial);
        self.inner.ring();
    }

    /// Returns whether a request waits to be let through.
    pub fn wants_trial(&self) -> bool {
        self.inner.lock().wants_trial()
    }

    /// What happened since the start.
    pub fn counts(&self) -> Counts {
        self.inner.lock().meter.counts
    }
}

// === impl Permit ===

impl Permit {
    /// From now on the exchange is never told to end.
    ///
    /// # Errors
    /// [`ErrorKind::Unwanted`] if it was told to end already.
    pub(super) fn stays(&self) -> Result<(), Error> {
        if self.inner.lock().stays(self.id) { Ok(()) } else { Err(unwanted()) }
    }

    /// Returns when the exchange may be sent once more: at once, unless a rate is kept.
    ///
    /// # Errors
    /// [`ErrorKind::QueueTimeout`] if there is no token in time, or the origin asks to be left alone.
    pub(super) async fn again(&mut self) -> Result<(), Error> {
        let Some(told) = self.inner.lock().again() else { return Ok(()) };
        self.inner.ring();
        let patience = self.inner.patience;
        let patience = (!patience.is_zero()).then(|| Instant::now() + patience);
        let told = async {
            match patience.into_iter().chain(self.deadline).min() {
                Some(end) => timeout_at(end, told).await.is_ok_and(|told| told.is_ok()),
                None => told.await.is_ok(),
            }
        };
        if told.await {
            return Ok(());
        }
        let detail = "no token to send it once more".to_owned();
        Err(Error { kind: ErrorKind::QueueTimeout, detail })
    }

    /// Resolves when the exchange is to end, because no client is known to wait for it and other requests
    /// wait for a place.
    pub(super) async fn revoked(&mut self) -> Error {
        std::future::poll_fn(|cx| self.poll_revoked(cx)).await
    }

    /// As [`Permit::revoked`], polled.
    pub(super) fn poll_revoked(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        match Pin::new(&mut self.revoked).poll(cx) {
            Poll::Ready(Ok(())) => Poll::Ready(unwanted()),
            Poll::Ready(Err(_)) | Poll::Pending => Poll::Pending,
        }
    }
}

fn unwanted() -> Error {
    let detail = "nobody is known to wait for it, and places are for those who do".to_owned();
    Error { kind: ErrorKind::Unwanted, detail }
}

fn paused(pause: Pause) -> Error {
    let left = pause.until.saturating_duration_since(Instant::now());
    let seconds = u32::try_from(left.as_millis().div_ceil(1000)).unwrap_or(u32::MAX).max(1);
    let detail = format!("it answered {} and asks to be left alone for {seconds} s more", pause.status);
    Error { kind: ErrorKind::Limited { status: pause.status, seconds }, detail }
}

// === impl Slot ===

impl Slot {
    /// Tells the limit whether a client is known to wait.
    pub(super) fn turn(&self, wanted: bool) {
        if let Some(inner) = self.inner.upgrade() {
            inner.lock().turn(self.id, wanted);
            inner.ring();
        }
    }
}

// === impl Inner ===

impl Inner {
    /// Tells all listeners that something may have changed.
    fn ring(&self) {
        self.bell.notify_one();
        self.meter.notify_one();
        self.gate.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, LimitState> {
        // Each change is one step that cannot panic half way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.inner.lock().ended(self.id);
        self.inner.ring();
    }
}

impl Drop for QueuedRequest<'_> {
    fn drop(&mut self) {
        if self.served {
            return;
        }
        self.inner.lock().leaves(self.id);
        self.inner.ring();
    }
}
