//! One flight as its members see it: what it was told, who waits for that, who still wants it.
//!
//! Everything is under one small mutex, held for a few instructions and never while a waker
//! runs. A flight is told once; the ending is written before the wakers are taken, and a waiter
//! looks at the ending under the same lock under which it leaves its waker: no wake-up is lost.

use std::collections::BTreeMap;
use std::fmt::{self, Debug};
use std::future::Future;
use std::pin::Pin;
use std::sync::PoisonError;
use std::task::{Context, Poll, Waker};

use super::sync::{Arc, Mutex, MutexGuard};

/// What a follower hears, once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settled<V> {
    /// The leader told this.
    Told(V),
    /// The leader was dropped without a word: elect again.
    Abandoned,
}

/// A place in somebody's flight. Each one, clones included, counts as interest in it.
///
/// Dropping it withdraws the interest, and a wait under way on it is forgotten (S17).
pub struct Follower<V, I = ()> {
    pub(super) cell: Arc<Cell<V, I>>,
}

pub(super) struct Cell<V, I> {
    /// Tells flights apart in a list: a flight may stand at several keys.
    pub(super) serial: u64,
    state: Mutex<State<V, I>>,
}

struct State<V, I> {
    ending: Option<Settled<V>>,
    /// Who waits for the ending.
    waiting: Wakers,
    /// Who waits for the last follower to leave.
    watching: Wakers,
    followers: usize,
    info: I,
}

/// Wakers, each under a number that is used once, so that it can be taken back.
struct Wakers {
    next: u64,
    left: BTreeMap<u64, Waker>,
}

/// What a [`Waiting`] waits for.
#[derive(Clone, Copy)]
enum Event {
    Ending,
    NobodyLeft,
}

/// A wait for an event of a cell. Dropped, it takes its waker back.
struct Waiting<'a, V, I> {
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

    /// Waits for what the leader tells, and answers it again whenever asked again.
    ///
    /// Cancel safe: dropped, it leaves nothing behind.
    pub async fn settled(&self) -> Settled<V> {
        self.cell.wait(Event::Ending).await;
        self.cell.ending().unwrap_or(Settled::Abandoned)
    }

    /// What the leader has told, if it has told anything yet.
    pub fn told(&self) -> Option<V> {
        match self.cell.ending() {
            Some(Settled::Told(value)) => Some(value),
            Some(Settled::Abandoned) | None => None,
        }
    }

    /// What its leader says of it now.
    pub fn info(&self) -> I
    where
        I: Clone,
    {
        self.cell.with_info(|info| info.clone())
    }

    /// Whether the flight was told something or was abandoned.
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
        let wakers = if state.followers == 0 { state.watching.take() } else { BTreeMap::new() };
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
            State { ending: None, waiting: Wakers::new(), watching: Wakers::new(), followers: 0, info };
        Self { serial, state: Mutex::new(state) }
    }

    /// Ends the flight for everybody in it; the first ending stands.
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

    /// How many wakers are left for the ending.
    #[cfg(test)]
    pub(super) fn waiters(&self) -> usize {
        self.lock().waiting.left.len()
    }

    /// Waits until no follower is left.
    pub(super) async fn forsaken(&self) {
        self.wait(Event::NobodyLeft).await;
    }

    fn wait(&self, event: Event) -> Waiting<'_, V, I> {
        Waiting { cell: self, event, id: None }
    }

    fn lock(&self) -> MutexGuard<'_, State<V, I>> {
        // Nothing here panics half way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<V: Clone, I> Cell<V, I> {
    fn ending(&self) -> Option<Settled<V>> {
        self.lock().ending.clone()
    }
}

// === impl State ===

impl<V, I> State<V, I> {
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
        Self { next: 0, left: BTreeMap::new() }
    }

    /// Leaves a waker, in the place of the one left before.
    fn leave(&mut self, id: Option<u64>, waker: &Waker) -> u64 {
        let id = id.unwrap_or_else(|| {
            self.next += 1;
            self.next
        });
        match self.left.get_mut(&id) {
            Some(left) => left.clone_from(waker),
            None => drop(self.left.insert(id, waker.clone())),
        }
        id
    }

    fn take(&mut self) -> BTreeMap<u64, Waker> {
        std::mem::take(&mut self.left)
    }
}

fn wake(wakers: BTreeMap<u64, Waker>) {
    for waker in wakers.into_values() {
        waker.wake();
    }
}

// === impl Waiting ===

impl<V, I> Future for Waiting<'_, V, I> {
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

impl<V, I> Drop for Waiting<'_, V, I> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            let waker = self.cell.lock().wakers(self.event).left.remove(&id);
            // Dropped outside the lock: a waker's drop is somebody else's code.
            drop(waker);
        }
    }
}
