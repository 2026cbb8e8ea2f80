//! A bound on exchanges at a time, with two lanes of waiting: fills first, since many wait for
//! each, then passes; each lane in the order of arrival.
//!
//! How many there may be can change while it is in use ([`Limit::resize`]): a budget that several
//! instances share gives and takes places here, and hears by [`Limit::changed`] what is wanted.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, timeout_at};

use super::{Error, ErrorKind, Lane};

/// The bound. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Limit {
    inner: Arc<Inner>,
}

/// A place. Dropping it gives it to who waits next.
#[derive(Debug)]
pub struct Permit {
    inner: Arc<Inner>,
}

/// What a limit bears at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Load {
    /// Exchanges under way.
    pub in_flight: usize,
    /// Fills that wait for a place.
    pub fills: usize,
    /// Passes that do.
    pub passes: usize,
}

#[derive(Debug)]
struct Inner {
    queue: usize,
    patience: Duration,
    state: Mutex<State>,
    /// Rung when somebody begins or ceases to wait, and when an exchange ends.
    bell: Notify,
}

#[derive(Debug, Default)]
struct State {
    places: usize,
    taken: usize,
    fills: VecDeque<Waiter>,
    passes: VecDeque<Waiter>,
    next: u64,
}

#[derive(Debug)]
struct Waiter {
    id: u64,
    tell: oneshot::Sender<()>,
}

/// A request in the queue; leaves it when dropped.
struct Waiting<'a> {
    inner: &'a Arc<Inner>,
    id: u64,
    lane: Lane,
    served: bool,
}

// === impl Limit ===

impl Limit {
    /// `places` exchanges at a time (at least one), `queue` waiting, each for `patience` (zero: for
    /// ever).
    pub fn new(places: usize, queue: usize, patience: Duration) -> Self {
        let state = State { places: places.max(1), ..State::default() };
        let inner = Inner { queue, patience, state: Mutex::new(state), bell: Notify::new() };
        Self { inner: Arc::new(inner) }
    }

    /// A place, at once or after waiting.
    ///
    /// # Errors
    /// [`ErrorKind::QueueFull`] at once, [`ErrorKind::QueueTimeout`] after `patience`.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the queue; a place that was just given goes on to the next.
    pub async fn acquire(&self, lane: Lane) -> Result<Permit, Error> {
        self.acquire_by(lane, None).await
    }

    /// As [`Limit::acquire`], and waited for no longer than until `deadline`. One that has passed
    /// is no reason to refuse a place that is free.
    ///
    /// # Errors
    /// As there; [`ErrorKind::QueueTimeout`] at the deadline, too.
    ///
    /// # Cancel safety
    /// As there.
    pub async fn acquire_by(&self, lane: Lane, deadline: Option<Instant>) -> Result<Permit, Error> {
        let began = Instant::now();
        let (mut waiting, told) = {
            let mut state = self.inner.lock();
            if state.taken < state.places {
                state.taken += 1;
                return Ok(Permit { inner: self.inner.clone() });
            }
            if state.waiting() >= self.inner.queue {
                return Err(Error {
                    kind: ErrorKind::QueueFull,
                    detail: format!("{} requests wait already", state.waiting()),
                });
            }
            let (tell, told) = oneshot::channel();
            let id = state.next;
            state.next += 1;
            state.lane(lane).push_back(Waiter { id, tell });
            (Waiting { inner: &self.inner, id, lane, served: false }, told)
        };
        self.inner.bell.notify_one();
        let patience = (!self.inner.patience.is_zero()).then(|| began + self.inner.patience);
        let told = match patience.into_iter().chain(deadline).min() {
            Some(end) => timeout_at(end, told).await,
            None => Ok(told.await),
        };
        // The sender is never dropped unsent: it stays in the queue until it is used or `waiting`
        // takes it out.
        if told.is_err() {
            return Err(Error {
                kind: ErrorKind::QueueTimeout,
                detail: format!("no place within {} ms", began.elapsed().as_millis()),
            });
        }
        waiting.served = true;
        Ok(Permit { inner: self.inner.clone() })
    }

    /// Exchanges under way.
    pub fn in_flight(&self) -> usize {
        self.inner.lock().taken
    }

    /// Requests that wait for a place.
    pub fn queued(&self) -> usize {
        self.inner.lock().waiting()
    }

    /// All of that in one look.
    pub fn load(&self) -> Load {
        let state = self.inner.lock();
        Load { in_flight: state.taken, fills: state.fills.len(), passes: state.passes.len() }
    }

    /// From now on so many places, none included. New ones go to who waits; of those that are gone
    /// none is taken from an exchange under way: it is not given on when that ends.
    pub fn resize(&self, places: usize) {
        let mut state = self.inner.lock();
        state.places = places;
        state.fill_up();
    }

    /// Waits until the load may be another one than when this returned last. For one listener.
    /// Cancel safe.
    pub async fn changed(&self) {
        self.inner.bell.notified().await;
    }
}

// === impl Inner ===

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change below is one step that cannot panic half way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl State ===

impl State {
    fn waiting(&self) -> usize {
        self.fills.len() + self.passes.len()
    }

    fn lane(&mut self, lane: Lane) -> &mut VecDeque<Waiter> {
        match lane {
            Lane::Fill => &mut self.fills,
            Lane::Pass => &mut self.passes,
        }
    }

    /// Hands a place on, or counts it free.
    fn give(&mut self) {
        self.taken -= 1;
        self.fill_up();
    }

    /// Gives the places that are free to who waits.
    fn fill_up(&mut self) {
        while self.taken < self.places {
            let Some(waiter) = self.fills.pop_front().or_else(|| self.passes.pop_front()) else { return };
            // Counted even if it is not heard: who stood in the queue gives it back when it leaves.
            let _ = waiter.tell.send(());
            self.taken += 1;
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.inner.lock().give();
        self.inner.bell.notify_one();
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.served {
            return;
        }
        let mut state = self.inner.lock();
        let lane = state.lane(self.lane);
        if let Some(at) = lane.iter().position(|waiter| waiter.id == self.id) {
            lane.remove(at);
        } else {
            // It was told, and left before it heard.
            state.give();
        }
        drop(state);
        self.inner.bell.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(5);

    #[tokio::test(start_paused = true)]
    async fn fills_go_before_passes_that_came_earlier() {
        let limit = Limit::new(1, 10, PATIENCE);
        let held = limit.acquire(Lane::Pass).await.unwrap();
        let mut pass = Box::pin(limit.acquire(Lane::Pass));
        let mut fill = Box::pin(limit.acquire(Lane::Fill));
        assert!((&mut pass).now_or_never().is_none());
        assert!((&mut fill).now_or_never().is_none());
        assert_eq!((limit.in_flight(), limit.queued()), (1, 2));
        drop(held);
        let fill = (&mut fill).now_or_never().expect("first").unwrap();
        assert!((&mut pass).now_or_never().is_none());
        drop(fill);
        pass.await.unwrap();
        assert_eq!((limit.in_flight(), limit.queued()), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_queue_refuses_at_once_and_a_slow_one_in_time() {
        let limit = Limit::new(1, 1, PATIENCE);
        let held = limit.acquire(Lane::Fill).await.unwrap();
        let began = tokio::time::Instant::now();
        let waits = limit.acquire(Lane::Fill);
        let full = limit.acquire(Lane::Fill);
        let (waits, full) = tokio::join!(biased; waits, full);
        assert_eq!(full.unwrap_err().kind, ErrorKind::QueueFull);
        assert_eq!(waits.unwrap_err().kind, ErrorKind::QueueTimeout);
        assert_eq!(began.elapsed(), PATIENCE);
        assert_eq!(limit.queued(), 0);
        drop(held);
        assert!(limit.acquire(Lane::Pass).now_or_never().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn who_leaves_takes_no_place_along() {
        let limit = Limit::new(1, 10, PATIENCE);
        let held = limit.acquire(Lane::Fill).await.unwrap();
        let mut told = Box::pin(limit.acquire(Lane::Fill));
        let mut left = Box::pin(limit.acquire(Lane::Fill));
        let mut next = Box::pin(limit.acquire(Lane::Pass));
        for waiting in [&mut told, &mut left, &mut next] {
            assert!(waiting.now_or_never().is_none());
        }
        drop(left);
        assert_eq!(limit.queued(), 2);
        drop(held);
        // It has been given the place, has not looked yet, and leaves.
        drop(told);
        assert!((&mut next).now_or_never().is_some());
        drop(next);
        assert_eq!((limit.in_flight(), limit.queued()), (0, 0));
    }
    #[tokio::test(start_paused = true)]
    async fn places_come_and_go_while_it_is_in_use() {
        let limit = Limit::new(2, 10, PATIENCE);
        limit.resize(0);
        let mut pass = Box::pin(limit.acquire(Lane::Pass));
        let mut fill = Box::pin(limit.acquire(Lane::Fill));
        assert!((&mut pass).now_or_never().is_none());
        assert!((&mut fill).now_or_never().is_none());
        limit.changed().await;
        assert_eq!(limit.load(), Load { in_flight: 0, fills: 1, passes: 1 });
        limit.resize(1);
        let fill = (&mut fill).now_or_never().expect("fills go first").unwrap();
        assert!((&mut pass).now_or_never().is_none());
        limit.resize(0);
        drop(fill);
        assert!((&mut pass).now_or_never().is_none(), "a place that is gone is not given on");
        limit.resize(1);
        drop((&mut pass).now_or_never().expect("the next").unwrap());
        assert_eq!(limit.load(), Load::default());
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_past_the_deadline_and_a_free_place_has_none() {
        let limit = Limit::new(1, 10, PATIENCE);
        let began = Instant::now();
        let held = limit.acquire_by(Lane::Fill, Some(began)).await.unwrap();
        let late = began + Duration::from_secs(1);
        let error = limit.acquire_by(Lane::Fill, Some(late)).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::QueueTimeout);
        assert_eq!(Instant::now(), late);
        drop(held);
        assert_eq!(limit.load(), Load::default());
    }
}
