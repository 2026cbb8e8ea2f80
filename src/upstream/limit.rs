//! A bound on exchanges at a time, with two lanes of waiting: fills first, since many wait for
//! each, then passes; each lane in the order of arrival.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

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

#[derive(Debug)]
struct Inner {
    places: usize,
    queue: usize,
    patience: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
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
        let inner = Inner { places: places.max(1), queue, patience, state: Mutex::default() };
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
        let (mut waiting, told) = {
            let mut state = self.inner.lock();
            if state.taken < self.inner.places {
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
        let told = if self.inner.patience.is_zero() {
            Ok(told.await)
        } else {
            timeout(self.inner.patience, told).await
        };
        // The sender is never dropped unsent: it stays in the queue until it is used or `waiting`
        // takes it out.
        if told.is_err() {
            return Err(Error {
                kind: ErrorKind::QueueTimeout,
                detail: format!("no place within {} ms", self.inner.patience.as_millis()),
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
        while let Some(waiter) = self.fills.pop_front().or_else(|| self.passes.pop_front()) {
            if waiter.tell.send(()).is_ok() {
                return;
            }
        }
        self.taken -= 1;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.inner.lock().give();
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
}
