//! The janitor's lease: the instance that holds it keeps the stores tidy. It keeps the lease from one sweep
//! to the next, because a sweep removes only what an earlier one has suspected. The other instances learn
//! from its report how much is stored.

use std::sync::Arc;
use std::time::Duration;

use crate::catalog::{EntryText, Report};
use crate::flight::{Attempt, Fill, Flight, Names};

/// The janitor's lease, if this instance holds it.
#[derive(Debug)]
pub(crate) struct Post {
    names: Names,
    held: Option<Fill>,
}

/// Which instance has this turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// This instance, as before.
    Ours,
    /// This instance from now on. It knows nothing of what the last holder suspected.
    New,
    /// Another instance.
    Others,
    /// Unknown: the store does not answer.
    Unknown,
}

// === impl Post ===

impl Post {
    /// A post with the lease of these names.
    pub(crate) fn new(names: Names) -> Self {
        Self { names, held: None }
    }

    /// The instance that was heard to hold it.
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

    /// Waits until the lease is lost; without one, for ever. Cancel safe.
    pub(crate) async fn until_lost(&self) {
        match &self.held {
            Some(fill) => fill.until_lost().await,
            None => std::future::pending().await,
        }
    }

    /// Writes a report for the other instances, which is kept for `lasts`.
    pub(crate) async fn tell(&self, report: &Report, lasts: Duration) {
        if let Some(fill) = &self.held
            && let Some(text) = EntryText::report(report)
        {
            // If it fails, the next report may be written.
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
