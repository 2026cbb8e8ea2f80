//! Something to wait at, opened by the test.

use std::sync::Arc;

use tokio::sync::{Semaphore, watch};

use super::within;

/// A gate: whoever comes waits until it is opened, and the test can see how many have come.
#[derive(Clone)]
pub struct Gate(Arc<Inner>);

struct Inner {
    open: watch::Sender<bool>,
    come: watch::Sender<usize>,
    /// For so many it is open.
    places: Semaphore,
}

impl Gate {
    /// A gate that is shut.
    pub fn shut() -> Self {
        let (open, come) = (watch::Sender::new(false), watch::Sender::new(0));
        Self(Arc::new(Inner { open, come, places: Semaphore::new(0) }))
    }

    /// Lets everybody through, now and later.
    pub fn open(&self) {
        self.0.open.send_replace(true);
    }

    /// Lets one through.
    pub fn let_one_in(&self) {
        self.0.places.add_permits(1);
    }

    /// Waits until so many have come to it.
    pub async fn reached_by(&self, many: usize) {
        let mut come = self.0.come.subscribe();
        within(&format!("{many} to come to the gate"), come.wait_for(|come| *come >= many)).await.unwrap();
    }

    /// How many have come to it.
    pub fn reached(&self) -> usize {
        *self.0.come.borrow()
    }

    /// Waits at the gate.
    pub async fn pass(&self) {
        self.0.come.send_modify(|come| *come += 1);
        let mut open = self.0.open.subscribe();
        tokio::select! {
            open = open.wait_for(|open| *open) => drop(open.unwrap()),
            place = self.0.places.acquire() => place.unwrap().forget(),
        }
    }
}
