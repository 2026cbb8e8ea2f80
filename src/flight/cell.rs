//! The state that the members of one flight share: its result, the wakers that wait for it, and
//! the number of its followers.
//!
//! Everything is under one small mutex, held for a few instructions and never while a waker
//! runs. A flight ends once. The ending is written before the wakers are taken, and a waiter
//! checks the ending under the same lock under which it leaves its waker: no wake-up is lost.

use std::fmt::{self, Debug};
use std::future::Future;
use std::pin::Pin;
use std::sync::PoisonError;
use std::task::{Context, Poll, Waker};

use super::sync::{Arc, Mutex, MutexGuard};

/// How a flight ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settled<V> {
    /// The leader settled it with this result.
    Told(V),
    /// The leader was dropped before it settled the flight: elect again.
    Abandoned,
}

/// A share in a flight. Each one, clones included, counts as interest in it.
///
/// Dropping it withdraws the interest and cancels its wait (S17).
pub struct Follower<V, I = ()> {
    pub(super) cell: Arc<Cell<V, I>>,
}

pub(super) struct Cell<V, I> {
    /// Tells flights apart in a list: one flight may be at several keys.
    pub(super) serial: u64,
    state: Mutex<FlightState<V, I>>,
}

struct FlightState<V, I> {
    ending: Option<Settled<V>>,
    /// Wakers of the tasks that wait for the ending.
    waiting: Wakers,
    /// Wakers of the tasks that wait for the last follower to leave.
    watching: Wakers,
    followers: usize,
    info: I,
}

/// Wakers, each under a number that is used once, so that a dropped wait can remove its own. The numbers
/// ascend: most flights have one or two waiters, and a herd's are found by bisection.
struct Wakers {
    next: u64,
    left: Vec<(u64, Waker)>,
}

/// What a [`SettlementWait`] waits for.
#[derive(Clone, Copy)]
enum Event {
    Ending,
    NobodyLeft,
}

/// A wait for an event of a cell. Dropped, it removes its waker.
struct SettlementWait<'a, V, I> {
    cell: &'a Cell<V, I>,
    event: Event,
    id: Option<u64>,
}

// === impl Follower ===

impl<V: Clone, I> Follower<V, I> {
    pub(super) fn of(cell: &Arc<Cell<V, I>>) -> Self {
        cell.lock().followers += 1;
        Self { cell: Arc::clone(cell) }
    }

    /// Waits for the end of the flight. Called again, it returns the same ending at once.
    ///
    /// Cancel safe: dropped, it leaves nothing behind.
    pub async fn settled(&self) -> Settled<V> {
        self.cell.wait(Event::Ending).await;
        self.cell.ending().unwrap_or(Settled::Abandoned)
    }

    /// The leader's result, if the flight is settled with one.
    pub fn told(&self) -> Option<V> {
        match self.cell.ending() {
            Some(Settled::Told(value)) => Some(value),
            Some(Settled::Abandoned) | None => None,
        }
    }

    /// The info that its leader has set.
    pub fn info(&self) -> I
    where
        I: Clone,
    {
        self.cell.with_info(|info| info.clone())
    }

    /// Returns whether the flight has ended: settled or abandoned.
    pub fn is_settled(&self) -> bool {
        self.cell.lock().ending.is_some()
    }
}

impl<V, I> Clone for Follower<V, I> {
    fn clone(&self) -> Self {
        self.cell.lock().followers += 1;
        Self { cell: Arc::clone(&self.cell) }
    }
}

impl<V, I> Drop for Follower<V, I> {
    fn drop(&mut self) {
        let mut state = self.cell.lock();
        state.followers -= 1;
        let wakers = if state.followers == 0 { state.watching.take() } else { Vec::new() };
        drop(state);
        wake(wakers);
    }
}

impl<V, I> Debug for Follower<V, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follower").field("flight", &self.cell.serial).finish_non_exhaustive()
    }
}

// === impl Cell ===

impl<V, I> Cell<V, I> {
    pub(super) fn new(serial: u64, info: I) -> Self {
        let state =
            FlightState { ending: None, waiting: Wakers::new(), watching: Wakers::new(), followers: 0, info };
        Self { serial, state: Mutex::new(state) }
    }

    /// Ends the flight for all its members. Only the first call has an effect.
    pub(super) fn tell(&self, ending: Settled<V>) {
        let mut state = self.lock();
        if state.ending.is_some() {
            return;
        }
        state.ending = Some(ending);
        let wakers = state.waiting.take();
        drop(state);
        wake(wakers);
    }

    pub(super) fn is_told(&self) -> bool {
        self.lock().ending.is_some()
    }

    pub(super) fn followers(&self) -> usize {
        self.lock().followers
    }

    pub(super) fn with_info<R>(&self, look: impl FnOnce(&mut I) -> R) -> R {
        look(&mut self.lock().info)
    }

    /// How many wakers wait for the ending.
    #[cfg(test)]
    pub(super) fn waiters(&self) -> usize {
        self.lock().waiting.left.len()
    }

    /// Waits until no follower is left.
    pub(super) async fn forsaken(&self) {
        self.wait(Event::NobodyLeft).await;
    }

    fn wait(&self, event: Event) -> SettlementWait<'_, V, I> {
        SettlementWait { cell: self, event, id: None }
    }

    fn lock(&self) -> MutexGuard<'_, FlightState<V, I>> {
        // Nothing here panics half way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<V: Clone, I> Cell<V, I> {
    fn ending(&self) -> Option<Settled<V>> {
        self.lock().ending.clone()
    }
}

// === impl FlightState ===

impl<V, I> FlightState<V, I> {
    fn happened(&self, event: Event) -> bool {
        match event {
            Event::Ending => self.ending.is_some(),
            Event::NobodyLeft => self.followers == 0,
        }
    }

    fn wakers(&mut self, event: Event) -> &mut Wakers {
        match event {
            Event::Ending => &mut self.waiting,
            Event::NobodyLeft => &mut self.watching,
        }
    }
}

// === impl Wakers ===

impl Wakers {
    fn new() -> Self {
        Self { next: 0, left: Vec::new() }
    }

    /// Stores a waker, in place of the one under `id` if there is one. Returns its number.
    fn leave(&mut self, id: Option<u64>, waker: &Waker) -> u64 {
        if let Some(id) = id
            && let Ok(place) = self.place(id)
        {
            self.left[place].1.clone_from(waker);
            return id;
        }
        self.next += 1;
        self.left.push((self.next, waker.clone()));
        self.next
    }

    fn remove(&mut self, id: u64) -> Option<Waker> {
        self.place(id).ok().map(|place| self.left.remove(place).1)
    }

    fn place(&self, id: u64) -> Result<usize, usize> {
        self.left.binary_search_by_key(&id, |(id, _)| *id)
    }

    fn take(&mut self) -> Vec<(u64, Waker)> {
        std::mem::take(&mut self.left)
    }
}

fn wake(wakers: Vec<(u64, Waker)>) {
    for (_, waker) in wakers {
        waker.wake();
    }
}

// === impl SettlementWait ===

impl<V, I> Future for SettlementWait<'_, V, I> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let mut state = this.cell.lock();
        if state.happened(this.event) {
            return Poll::Ready(());
        }
        this.id = Some(state.wakers(this.event).leave(this.id, cx.waker()));
        Poll::Pending
    }
}

impl<V, I> Drop for SettlementWait<'_, V, I> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            let waker = self.cell.lock().wakers(self.event).remove(id);
            // Dropped outside the lock: a waker's drop runs foreign code.
            drop(waker);
        }
    }
}
