//! The time that a body has to be complete before any of it is put. One task waits for all bodies.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::time::{Instant, sleep_until};

use super::fill::Fill;
use super::{segmenting, uploader};

/// Bodies that have had their first byte, in the order of their time.
#[derive(Debug, Default)]
pub(super) struct Grace(Mutex<Queue>);

#[derive(Debug, Default)]
struct Queue {
    bodies: VecDeque<(Instant, Weak<Fill>)>,
    /// Whether the task that waits for them runs.
    waited_for: bool,
}

/// The task's turn. Dropped, the next body begins another one.
struct Turn {
    grace: Arc<Grace>,
    over: bool,
}

// === impl Grace ===

impl Grace {
    /// Starts the uploader of a body when its first segment would be cut, unless the body is complete or gone
    /// by then.
    pub(super) fn give(self: &Arc<Self>, fill: &Arc<Fill>) {
        let due = Instant::now() + segmenting::time(0, 0);
        let mut queue = self.lock();
        queue.bodies.push_back((due, Arc::downgrade(fill)));
        let begins = !std::mem::replace(&mut queue.waited_for, true);
        drop(queue);
        if begins {
            tokio::spawn(run(Turn { grace: Arc::clone(self), over: false }));
        }
    }

    /// Takes the bodies that have had their time by `now`. Returns them, and the time of the next; `None`
    /// if no body is left.
    fn due(&self, now: Instant) -> (Vec<Arc<Fill>>, Option<Instant>) {
        let mut queue = self.lock();
        let mut due = Vec::new();
        while let Some((until, fill)) = queue.bodies.front() {
            // A body that is gone is not waited for: so a crowd of small ones causes few turns.
            match fill.upgrade() {
                Some(_) if *until > now => return (due, Some(*until)),
                fill => due.extend(fill),
            }
            queue.bodies.pop_front();
        }
        queue.waited_for = false;
        (due, None)
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Nothing in here panics half way through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn run(mut turn: Turn) {
    loop {
        let (due, next) = turn.grace.due(Instant::now());
        for fill in due {
            uploader::begin_at_last(&fill);
        }
        match next {
            Some(until) => sleep_until(until).await,
            None => return turn.over = true,
        }
    }
}

// === impl Turn ===

impl Drop for Turn {
    fn drop(&mut self) {
        // The runtime may have shut down while bodies were waited for.
        if !self.over {
            self.grace.lock().waited_for = false;
        }
    }
}
