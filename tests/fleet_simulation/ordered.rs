//! A value that many watch, who are woken in the order in which they began to wait. (A watch
//! channel of tokio wakes them in an order that its own dice decide: then a seed is not a history.)

use std::sync::{Mutex, MutexGuard};

use tokio::sync::Notify;

#[derive(Debug)]
pub struct Ordered<T> {
    /// The value, and how often it was changed.
    at: Mutex<(T, u64)>,
    bell: Notify,
}

impl<T: Clone> Ordered<T> {
    pub fn new(value: T) -> Self {
        Self { at: Mutex::new((value, 0)), bell: Notify::new() }
    }

    pub fn get(&self) -> T {
        self.lock().0.clone()
    }

    /// How often it was changed.
    pub fn changes(&self) -> u64 {
        self.lock().1
    }

    /// Changes it, and tells everybody.
    pub fn change(&self, change: impl FnOnce(&mut T)) {
        let mut at = self.lock();
        change(&mut at.0);
        at.1 += 1;
        drop(at);
        self.bell.notify_waiters();
    }

    /// Waits until it was changed more often than that.
    pub async fn changed(&self, since: u64) {
        loop {
            let rings = self.bell.notified();
            if self.changes() > since {
                return;
            }
            rings.await;
        }
    }

    /// Waits until it is so, and answers what it is.
    pub async fn wait_for(&self, is: impl Fn(&T) -> bool) -> T {
        loop {
            let rings = self.bell.notified();
            let now = self.get();
            if is(&now) {
                return now;
            }
            rings.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, (T, u64)> {
        self.at.lock().expect("no panic under this lock")
    }
}
