//! Which of the instances keeps a store tidy: the one that holds the janitor's lease. It keeps the lease
//! from one sweep to the next, for a sweep removes only what an earlier one has suspected; the others
//! learn from it how much is stored.

use std::sync::Arc;
use std::time::Duration;

use crate::catalog::{EntryText, Report};
use crate::flight::{Attempt, Fill, Flight, Names};

/// The janitor's lease, as far as this instance has it.
#[derive(Debug)]
pub(crate) struct Post {
    names: Names,
    held: Option<Fill>,
}

/// Whose turn it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// This instance's, as it was.
    Ours,
    /// This instance's from now on: whoever had it before has told it nothing.
    New,
    /// Another's.
    Others,
    /// The store does not say.
    Unknown,
}

// === impl Post ===

impl Post {
    /// By these names.
    pub(crate) fn new(names: Names) -> Self {
        Self { names, held: None }
    }

    /// Which instance was heard to hold it.
    pub(crate) fn holder(&self, flight: &Flight) -> Option<Arc<str>> {
        flight.leader_at(&self.names.lock).map(|(_, instance)| instance)
    }

    /// Keeps the lease, or tries for it once.
    pub(crate) async fn take(&mut self, flight: &Arc<Flight>) -> Turn {
        if self.is_held() {
            return Turn::Ours;
        }
        self.held = None;
        match flight.attempt(&self.names).await {
            Attempt::Won(fill) => {
                self.held = Some(fill);
                Turn::New
            }
            Attempt::Taken => Turn::Others,
            Attempt::Unavailable(_) => Turn::Unknown,
        }
    }

    pub(crate) fn is_held(&self) -> bool {
        self.held.as_ref().is_some_and(|fill| !fill.lost())
    }

    /// Waits until the lease is lost; for ever without one. Cancel safe.
    pub(crate) async fn until_lost(&self) {
        match &self.held {
            Some(fill) => fill.until_lost().await,
            None => std::future::pending().await,
        }
    }

    /// Leaves a report for the others, for so long.
    pub(crate) async fn tell(&self, report: &Report, lasts: Duration) {
        if let Some(fill) = &self.held
            && let Some(text) = EntryText::report(report)
        {
            // Whether it lands: the next one may.
            let _ = fill.note(text.as_str(), Some(lasts)).await;
        }
    }

    /// Gives the lease back.
    pub(crate) async fn leave(&mut self) {
        if let Some(fill) = self.held.take() {
            fill.release().await;
        }
    }
}
