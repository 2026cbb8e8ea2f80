//! The graceful end: one signal, and a guard for each piece of work that is under way.
//!
//! Connections, requests and fills each hold a [`Guard`]. When the process is told to leave, the
//! [`Signal`] tells all of them at once and then waits until the last is dropped (F9). How long it
//! may wait is up to the caller: put a timeout around [`Signal::drain`]. What is left after that breaks off
//! when it finds [`Signal::is_cut`].

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;

/// Tells all guards that the end has begun, and learns when the last is dropped.
#[derive(Debug)]
pub struct Signal {
    told: watch::Sender<bool>,
    cut: AtomicBool,
}

/// Work that the end waits for. Cheap to clone (two atomic adds); dropping it is the report.
#[derive(Debug, Clone)]
pub struct Guard {
    told: watch::Receiver<bool>,
}

/// A signal, and the guard that all others are cloned from.
///
/// As long as that first guard is kept, the end waits: hand it to the accept loop, which drops it
/// when it stops.
pub fn channel() -> (Signal, Guard) {
    let (sender, receiver) = watch::channel(false);
    (Signal { told: sender, cut: AtomicBool::new(false) }, Guard { told: receiver })
}

// === impl Signal ===

impl Signal {
    /// One more guard, for work that begins where no other guard is at hand.
    pub fn guard(&self) -> Guard {
        Guard { told: self.told.subscribe() }
    }

    /// Tells all guards, and does not wait. A second call changes nothing.
    pub fn start(&self) {
        self.told.send_replace(true);
    }

    /// Tells all guards and waits until none is left.
    ///
    /// # Cancel safety
    /// The end has begun even if this is dropped; another call goes on waiting.
    pub async fn drain(&self) {
        self.start();
        self.told.closed().await;
    }

    /// Returns whether the end has begun.
    pub fn is_draining(&self) -> bool {
        *self.told.borrow()
    }

    /// What is under way shall break off: the wait is over. Begins the end, if that has not begun.
    pub fn cut(&self) {
        self.start();
        self.cut.store(true, Ordering::Release);
    }

    /// Returns whether what is under way shall break off.
    pub fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Acquire)
    }

    /// The number of guards that are held now.
    pub fn guards(&self) -> usize {
        self.told.receiver_count()
    }
}

// === impl Guard ===

impl Guard {
    /// Resolves when the end has begun; at once if it has.
    ///
    /// A signal that was dropped counts as the end: nothing is left that could announce it.
    ///
    /// # Cancel safety
    /// Nothing is lost; call again.
    pub async fn draining(&self) {
        // The clone is a second guard only for as long as this future lives, and the future
        // borrows the first.
        let mut told = self.told.clone();
        let _gone = told.wait_for(|told| *told).await;
    }

    /// Returns whether the end has begun.
    pub fn is_draining(&self) -> bool {
        *self.told.borrow() || self.told.has_changed().is_err()
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Duration, timeout};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn drain_waits_for_the_last_guard() {
        let (signal, guard) = channel();
        let request = guard.clone();
        assert!(!guard.is_draining());
        assert_eq!(signal.guards(), 2);
        assert!(timeout(Duration::from_secs(9), signal.drain()).await.is_err());
        assert!(guard.is_draining());
        drop(guard);
        assert!(timeout(Duration::from_secs(9), signal.drain()).await.is_err());
        drop(request);
        signal.drain().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_guard_hears_the_signal() {
        let (signal, guard) = channel();
        assert!(timeout(Duration::from_secs(1), guard.draining()).await.is_err());
        signal.start();
        guard.draining().await;
        let late = signal.guard();
        assert!(late.is_draining());
        late.draining().await;
    }

    #[test]
    fn what_breaks_off_is_leaving() {
        let (signal, guard) = channel();
        signal.start();
        assert!(!signal.is_cut());
        let (hurried, other) = channel();
        hurried.cut();
        assert!(hurried.is_cut() && other.is_draining() && guard.is_draining());
    }

    #[tokio::test(start_paused = true)]
    async fn a_lost_signal_is_an_end() {
        let (signal, guard) = channel();
        drop(signal);
        guard.draining().await;
        assert!(guard.is_draining());
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_there_is_done_at_once() {
        let (signal, guard) = channel();
        drop(guard);
        signal.drain().await;
        assert!(signal.is_draining());
    }
}
