//! Operations of which no event came. They are read from the store's log.
//!
//! A gap in the numbers is a write over HTTP by another client, of which the server tells nobody, or an event
//! that was lost. It may be a purge. So what comes after it waits until the gap is filled; if it can't be, then
//! subscribers hear of the loss first, and read everything again.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use super::frame::Event;
use super::http::Logged;
use super::names::{Named, parsed};
use super::state::Shared;

/// How many events may wait. With more the gap is given up.
const WAITING: usize = 4096;
/// How many numbers of filled gaps are remembered: their events may still come.
const REMEMBERED: usize = 1024;

/// The events that wait for a gap before them to be filled.
pub(super) struct Gaps<'a> {
    shared: &'a Arc<Shared>,
    /// The index of their store.
    store: usize,
    /// The number of the last event that was passed on.
    passed: u64,
    waiting: VecDeque<Waiting>,
    /// The gap before the first one is being read.
    reading: Option<BoxFuture<'a, Option<Vec<Event>>>>,
    filled: BTreeSet<u64>,
}

struct Waiting {
    count: u64,
    event: Event,
    gap: Gap,
}

/// What is known of the numbers before an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gap {
    /// All were passed on.
    None,
    /// Some were not, and have to be read.
    Open,
    /// They can't be read.
    Lost,
}

/// An event to pass on.
pub(super) struct Passed {
    pub count: u64,
    pub event: Event,
    /// Whether operations before it are not known.
    pub is_lost: bool,
}

// === impl Gaps ===

impl<'a> Gaps<'a> {
    /// No gap up to this number.
    pub(super) fn after(shared: &'a Arc<Shared>, store: usize, count: u64) -> Self {
        Self {
            shared,
            store,
            passed: count,
            waiting: VecDeque::new(),
            reading: None,
            filled: BTreeSet::new(),
        }
    }

    /// Takes the next event in the order of numbers.
    pub(super) fn push(&mut self, count: u64, event: Event, is_gap: bool) {
        let gap = if is_gap { Gap::Open } else { Gap::None };
        self.waiting.push_back(Waiting { count, event, gap });
        if self.waiting.len() > WAITING && self.reading.take().is_some() {
            self.end(None);
        }
    }

    /// The next event to pass on.
    pub(super) fn next(&mut self) -> Option<Passed> {
        if self.reading.is_some() {
            return None;
        }
        let first = self.waiting.front()?;
        if first.gap == Gap::Open {
            let (from, to) = (self.passed + 1, first.count - 1);
            self.reading = Some(read(self.shared.clone(), self.store, from, to).boxed());
            return None;
        }
        let Waiting { count, event, gap } = self.waiting.pop_front()?;
        self.passed = count;
        Some(Passed { count, event, is_lost: gap == Gap::Lost })
    }

    /// Waits until the gap that is being read is filled or lost; for ever if there is none. Cancel safe.
    pub(super) async fn read(&mut self) {
        let Some(reading) = &mut self.reading else { return std::future::pending().await };
        let found = reading.await;
        self.reading = None;
        self.end(found);
    }

    /// Returns whether the event of this number was passed on from the log.
    pub(super) fn has_filled(&self, count: u64) -> bool {
        self.filled.contains(&count)
    }

    fn end(&mut self, found: Option<Vec<Event>>) {
        let Some(first) = self.waiting.front_mut() else { return };
        let Some(found) = found else {
            first.gap = Gap::Lost;
            return;
        };
        first.gap = Gap::None;
        for event in found.into_iter().rev() {
            self.filled.insert(event.store_seq);
            self.waiting.push_front(Waiting { count: event.store_seq, event, gap: Gap::None });
        }
        while self.filled.len() > REMEMBERED {
            self.filled.pop_first();
        }
    }
}

/// Reads the operations from the first to the last of these numbers; `None` unless it is known what all of
/// them mean.
async fn read(shared: Arc<Shared>, store: usize, from: u64, to: u64) -> Option<Vec<Event>> {
    let logged = shared.reads.log(&shared.stores[store].entries).await.ok()?;
    let mut by_number: BTreeMap<u64, Logged> = logged.into_iter().map(|it| (it.store_seq, it)).collect();
    let is_several = shared.stores.len() > 1;
    (from..=to)
        .map(|number| {
            let Logged { store_seq, op, path, value } = by_number.remove(&number)?;
            let path_segments = parsed(&path);
            let is_known = match shared.names.named(&path_segments) {
                Named::Foreign => true,
                // The log does not say with which name it was written, and the name has the rest.
                Named::Key(_) => !is_several || op != "delete",
                Named::Told(_) | Named::Above => false,
            };
            let value = value.get("_scalar").cloned().unwrap_or(value);
            is_known.then_some(Event { store_seq, op, path_segments, value, client_op_id: None })
        })
        .collect()
}
