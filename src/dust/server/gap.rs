//! Operations of which no event came. They are read from the store's log.
//!
//! A gap in the numbers is a write over HTTP by another client, of which the server tells nobody, or an event
//! that was lost. It may be a purge. So what comes after it waits until the gap is filled; if it can't be, then
//! subscribers hear of the loss first, and read everything again.
//!
//! Another client may write so all the time. So one read fills all gaps that it covers, reads have their part of
//! the token's, and losses are told with a pause between them: each costs an instance several reads and writes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::time::{Instant, sleep_until};

use super::frame::Event;
use super::http::Logged;
use super::names::{Named, parsed};
use super::state::Shared;

/// How many events may wait, and how many bytes of them. With more all gaps are given up.
const WAITING: (usize, usize) = (4096, 16 << 20);
/// How many numbers of filled gaps are remembered: their events may still come.
const REMEMBERED: usize = 1024;
/// The least time between two losses. Less than a third of `trust`: an instance that does not hear of its own
/// signs of life in time reads everything again.
const PAUSE: Duration = Duration::from_secs(5);

/// The events that wait for a gap before them to be filled.
pub(super) struct Gaps<'a> {
    shared: &'a Arc<Shared>,
    /// The index of their store.
    store: usize,
    queue: Queue,
    /// The gap before the first one is being read.
    reading: Option<BoxFuture<'a, Option<Log>>>,
    /// When the last loss was told.
    lost_at: Option<Instant>,
}

/// What waits, in the order of numbers.
struct Queue {
    /// The number of the last event that was passed on.
    passed: u64,
    waiting: VecDeque<Waiting>,
    bytes: usize,
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
    /// The same, and it is told with those of an earlier event.
    LostToo,
}

/// The latest operations of a store, each with its event if it is known what it means.
#[derive(Debug, Default)]
struct Log(BTreeMap<u64, Option<Event>>);

/// An event to pass on.
pub(super) struct Passed {
    pub count: u64,
    pub event: Event,
    /// Whether operations before it are not known.
    pub is_lost: bool,
    /// Whether subscribers have to hear of that now.
    pub is_to_tell: bool,
}

// === impl Gaps ===

impl<'a> Gaps<'a> {
    /// No gap up to this number.
    pub(super) fn after(shared: &'a Arc<Shared>, store: usize, count: u64) -> Self {
        Self { shared, store, queue: Queue::after(count), reading: None, lost_at: None }
    }

    /// Takes the next event in the order of numbers.
    pub(super) fn push(&mut self, count: u64, event: Event, is_gap: bool) {
        self.queue.push(count, event, if is_gap { Gap::Open } else { Gap::None });
        if self.queue.is_full() {
            self.queue.give_up();
            self.reading = None;
        }
    }

    /// The next event to pass on.
    pub(super) fn next(&mut self) -> Option<Passed> {
        if self.reading.is_some() {
            return None;
        }
        match self.queue.gap()? {
            Gap::Open => {
                self.reading = Some(read(self.shared.clone(), self.store).boxed());
                None
            }
            Gap::Lost => {
                let now = Instant::now();
                let due = self.lost_at.map_or(now, |at| at + PAUSE);
                if due > now && !self.queue.is_full() {
                    // Nothing is read: what comes meanwhile is lost with it.
                    self.reading = Some(sleep_until(due).map(|()| None).boxed());
                    return None;
                }
                self.lost_at = Some(now);
                self.queue.pop()
            }
            Gap::None | Gap::LostToo => self.queue.pop(),
        }
    }

    /// Waits until the gap that is being read is filled or lost; for ever if there is none. Cancel safe.
    pub(super) async fn read(&mut self) {
        let Some(reading) = &mut self.reading else { return std::future::pending().await };
        let found = reading.await;
        self.reading = None;
        match found {
            Some(log) => self.queue.fill(&log),
            None => self.queue.give_up(),
        }
    }

    /// Returns whether the event of this number was passed on from the log.
    pub(super) fn has_filled(&self, count: u64) -> bool {
        self.queue.filled.contains(&count)
    }
}

// === impl Queue ===

impl Queue {
    fn after(count: u64) -> Self {
        Self { passed: count, waiting: VecDeque::new(), bytes: 0, filled: BTreeSet::new() }
    }

    fn push(&mut self, count: u64, event: Event, gap: Gap) {
        self.bytes += event.bytes;
        self.waiting.push_back(Waiting { count, event, gap });
    }

    fn is_full(&self) -> bool {
        self.waiting.len() > WAITING.0 || self.bytes > WAITING.1
    }

    /// What is known of the numbers before the first one.
    fn gap(&self) -> Option<Gap> {
        self.waiting.front().map(|first| first.gap)
    }

    fn pop(&mut self) -> Option<Passed> {
        let Waiting { count, event, gap } = self.waiting.pop_front()?;
        self.bytes -= event.bytes;
        self.passed = count;
        let is_lost = matches!(gap, Gap::Lost | Gap::LostToo);
        Some(Passed { count, event, is_lost, is_to_tell: gap == Gap::Lost })
    }

    /// Gives up all gaps. They are one loss: what is read again after the first was written before that.
    fn give_up(&mut self) {
        let mut gaps = self.waiting.iter_mut().filter(|waiting| waiting.gap != Gap::None);
        if let Some(first) = gaps.next() {
            first.gap = Gap::Lost;
        }
        gaps.for_each(|waiting| waiting.gap = Gap::LostToo);
    }

    /// Fills all gaps that a log covers, which was read after the first one was known of.
    fn fill(&mut self, log: &Log) {
        let mut before = self.passed;
        let mut is_first = true;
        for mut waiting in std::mem::take(&mut self.waiting) {
            if waiting.gap == Gap::Open {
                let between = before + 1..=waiting.count - 1;
                let is_covered = is_first || log.reaches(*between.end());
                is_first = false;
                if let Some(events) = log.events(between.clone()) {
                    waiting.gap = Gap::None;
                    self.filled.extend(between);
                    for event in events {
                        self.push(event.store_seq, event, Gap::None);
                    }
                } else if is_covered {
                    waiting.gap = Gap::Lost;
                }
            }
            before = waiting.count;
            self.waiting.push_back(waiting);
        }
        while self.filled.len() > REMEMBERED {
            self.filled.pop_first();
        }
        if self.waiting.iter().any(|waiting| waiting.gap == Gap::Lost) {
            self.give_up();
        }
    }
}

// === impl Log ===

impl Log {
    fn reaches(&self, number: u64) -> bool {
        self.0.last_key_value().is_some_and(|(last, _)| *last >= number)
    }

    /// The events of these operations, if it is known what all of them mean. Of values that were written one after
    /// another at one path, only the last counts.
    fn events(&self, between: RangeInclusive<u64>) -> Option<Vec<Event>> {
        let wide = between.end() - between.start();
        if wide >= self.0.len() as u64 {
            return None;
        }
        let mut events: Vec<Event> = Vec::new();
        let mut written: BTreeSet<Vec<String>> = BTreeSet::new();
        for number in between.rev() {
            let event = self.0.get(&number)?.clone()?;
            let is_written = matches!(&*event.op, "set" | "delete");
            if event.op == "set" && written.contains(&event.path_segments) {
                continue;
            }
            if is_written {
                written.insert(event.path_segments.clone());
            } else {
                written.remove(&event.path_segments);
            }
            events.push(event);
        }
        events.reverse();
        Some(events)
    }
}

/// Reads the log when its turn comes; `None` if it can't be read.
async fn read(shared: Arc<Shared>, store: usize) -> Option<Log> {
    sleep_until(shared.reads.turn_of_log(Instant::now())).await;
    let logged = shared.reads.log(&shared.stores[store].entries).await.ok()?;
    Some(Log(logged.into_iter().map(|logged| (logged.store_seq, known(&shared, logged))).collect()))
}

/// The event of an operation in the log, if it is known what it means.
fn known(shared: &Shared, logged: Logged) -> Option<Event> {
    let Logged { store_seq, op, path, value } = logged;
    let path_segments = parsed(&path);
    let is_known = match shared.names.named(&path_segments) {
        Named::Foreign => true,
        // The log does not say with which name it was written, and the name has the rest.
        Named::Key(_) => shared.stores.len() == 1 || op != "delete",
        Named::Told(_) | Named::Above => false,
    };
    let value = value.get("_scalar").cloned().unwrap_or(value);
    // As long as its text, about.
    let bytes = path.len() + value.as_str().map_or(0, str::len);
    is_known.then_some(Event { store_seq, op, path_segments, value, client_op_id: None, bytes })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(store_seq: u64, op: &str, path: &str, bytes: usize) -> Event {
        let path_segments = vec![path.to_owned()];
        Event { store_seq, op: op.into(), path_segments, value: json!("v"), client_op_id: None, bytes }
    }

    fn log(events: impl IntoIterator<Item = (u64, &'static str, &'static str)>) -> Log {
        Log(events.into_iter().map(|(n, op, path)| (n, Some(event(n, op, path, 1)))).collect())
    }

    /// A queue after 10, with gaps before these.
    fn queue(gaps: impl IntoIterator<Item = u64>) -> Queue {
        let mut queue = Queue::after(10);
        gaps.into_iter().for_each(|count| queue.push(count, event(count, "set", "k", 1), Gap::Open));
        queue
    }

    /// What is passed on until a gap is open, and whether it is after a loss.
    fn passed(queue: &mut Queue) -> Vec<(u64, bool)> {
        let next = || {
            queue.gap().filter(|gap| *gap != Gap::Open)?;
            queue.pop().map(|passed| (passed.count, passed.is_to_tell))
        };
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn one_read_fills_all_gaps_that_it_covers() {
        let mut queue = queue([12, 15, 19]);
        queue.fill(&log([
            (11, "lease", "a"),
            (12, "set", "k"),
            (13, "set", "b"),
            (14, "set", "c"),
            (15, "set", "k"),
        ]));
        assert_eq!(passed(&mut queue), [11, 12, 13, 14, 15].map(|count| (count, false)));
        assert_eq!(queue.gap(), Some(Gap::Open), "it was written after the read");
        assert!(queue.filled.contains(&13) && !queue.filled.contains(&12));
        queue.fill(&log([(17, "set", "b"), (18, "set", "c"), (19, "set", "k")]));
        assert_eq!(passed(&mut queue), [(19, true)], "16 is not in the log any more");
        assert_eq!(queue.bytes, 0);
    }

    #[test]
    fn of_values_that_were_written_over_only_the_last_is_told() {
        let of = |ops: &[(u64, &'static str, &'static str)]| {
            let events = log(ops.iter().copied()).events(11..=10 + ops.len() as u64).unwrap();
            events.into_iter().map(|event| event.store_seq).collect::<Vec<_>>()
        };
        assert_eq!(of(&[(11, "set", "a"), (12, "set", "b"), (13, "set", "a"), (14, "set", "a")]), [12, 14]);
        assert_eq!(of(&[(11, "set", "a"), (12, "delete", "a")]), [12]);
        assert_eq!(
            of(&[(11, "set", "a"), (12, "lease", "a"), (13, "release", "a"), (14, "set", "a")]),
            [11, 12, 13, 14]
        );
        assert_eq!(of(&[(11, "delete", "a"), (12, "set", "a")]), [11, 12], "what was below it is gone");
        let unknown = Log([(11, None), (12, Some(event(12, "set", "a", 1)))].into());
        assert!(unknown.events(11..=12).is_none() && unknown.events(12..=12).is_some());
        assert!(log([(11, "set", "a")]).events(11..=u64::MAX - 1).is_none());
    }

    #[test]
    fn one_loss_is_told_for_all_gaps() {
        let mut queue = queue([12, 15, 19]);
        queue.push(20, event(20, "set", "k", 1), Gap::None);
        queue.give_up();
        let gaps: Vec<_> = queue.waiting.iter().map(|waiting| waiting.gap).collect();
        assert_eq!(gaps, [Gap::Lost, Gap::LostToo, Gap::LostToo, Gap::None]);
        assert_eq!(passed(&mut queue), [(12, true), (15, false), (19, false), (20, false)]);
        assert_eq!(queue.bytes, 0);
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut many = queue([12]);
        (13..13 + WAITING.0 as u64)
            .for_each(|count| many.push(count, event(count, "set", "k", 1), Gap::None));
        let mut long = queue([12]);
        long.push(13, event(13, "set", "k", WAITING.1), Gap::None);
        for mut queue in [many, long] {
            assert!(queue.is_full());
            queue.give_up();
            assert_eq!(queue.gap(), Some(Gap::Lost));
            passed(&mut queue);
            assert_eq!((queue.bytes, queue.waiting.len()), (0, 0));
        }
    }
}
