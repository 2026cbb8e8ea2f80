//! Something to wait at, opened by the test.

use std::sync::Arc;

use tokio::sync::watch;

use super::within;

/// A gate: whoever comes waits until it is opened, and the test can see how many have come.
#[derive(Clone)]
pub struct Gate(Arc<Inner>);

struct Inner {
    open: watch::Sender<bool>,
    come: watch::Sender<usize>,
}

impl Gate {
    /// A gate that is shut.
    pub fn shut() -> Self {
        Self(Arc::new(Inner { open: watch::Sender::new(false), come: watch::Sender::new(0) }))
    }

    /// Lets everybody through, now and later.
    pub fn open(&self) {
        self.0.open.send_replace(true);
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
        self.0.open.subscribe().wait_for(|open| *open).await.unwrap();
    }
}
