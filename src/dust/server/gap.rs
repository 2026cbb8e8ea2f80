//! Operations of which no event came. They are read from the store's log.
//!
//! A gap in the numbers is a write over HTTP by another client, of which the server tells nobody, or an event
//! that was lost. It may be a purge. So what comes after it waits until the gap is filled, for less time than a
//! caller waits for an answer. If it can't be filled, subscribers hear of the loss first, and read again.
//!
//! Another client may write so all the time. So one read fills all gaps that it covers, and reads have their part
//! of the token's. A loss in the first store is told to feeds at once: purges are in it, and those
//! who follow their numbers must not pass over one. In any other store it is of records alone. Waiters, and those
//! who keep records, are told of all losses of a while together, in whichever stores: they lose no more than time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::frame::Event;
use super::http::Logged;
use super::names::{Named, parsed};
use super::order::Next;
use super::state::{Shared, lock};

/// How many events may wait, and how many bytes of them. With more all gaps are given up.
const WAITING: (usize, usize) = (4096, 16 << 20);
/// How many numbers of filled gaps are remembered: their events may still come.
const REMEMBERED: usize = 1024;
/// How long an event waits, from when it came in. An instance that has written waits for its own event for a call
/// bound.
const HOLD: Duration = Duration::from_millis(700);
/// The least time between two times at which losses are told to all: each costs every waiter a few reads.
const PAUSE: Duration = Duration::from_secs(5);

/// The events that wait for a gap before them to be filled.
pub(super) struct Gaps<'a> {
    shared: &'a Arc<Shared>,
    /// The index of their store.
    store: usize,
    queue: Queue,
    /// The gap before the first one is being read.
    reading: Option<BoxFuture<'a, Option<Log>>>,
}

/// When all subscribers are told of losses, of all stores.
#[derive(Debug, Default)]
pub(super) struct Alarm {
    rung_at: Option<Instant>,
    /// The stores whose losses were not told yet.
    owed: BTreeSet<usize>,
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
    /// When it came.
    since: Instant,
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
    /// Whether feeds have to hear of that first.
    pub is_to_tell: bool,
}

// === impl Gaps ===

impl<'a> Gaps<'a> {
    /// No gap up to this number.
    pub(super) fn after(shared: &'a Arc<Shared>, store: usize, count: u64) -> Self {
        Self { shared, store, queue: Queue::after(count), reading: None }
    }

    /// Takes the next event in the order of numbers.
    pub(super) fn push(&mut self, next: Next<Event>) {
        let Next { number, event, is_gap, since } = next;
        self.queue.push(number, event, if is_gap { Gap::Open } else { Gap::None }, since);
        if self.queue.is_full() {
            self.queue.give_up();
        }
    }

    /// Takes an event that comes after later ones. It is returned if it is to be passed on by itself, for those
    /// have been passed on, and the loss was told before.
    pub(super) fn late(&mut self, event: Event) -> Option<Event> {
        self.queue.late(event)
    }

    /// The next event to pass on.
    pub(super) fn next(&mut self) -> Option<Passed> {
        match self.queue.gap()? {
            Gap::Open => {
                if self.reading.is_none() {
                    let due = self.queue.due()?;
                    self.reading = Some(read(self.shared.clone(), self.store, due).boxed());
                }
                return None;
            }
            Gap::Lost | Gap::LostToo => {
                lock(&self.shared.alarm).owed.insert(self.store);
            }
            Gap::None => {}
        }
        // What was to be read is filled or lost.
        self.reading = None;
        let guards_purges = self.store == 0;
        self.queue.pop().map(|passed| Passed { is_to_tell: passed.is_to_tell && guards_purges, ..passed })
    }

    /// Waits until there may be something to pass on, or to tell. Cancel safe.
    pub(super) async fn turn(&mut self) {
        let alarm = lock(&self.shared.alarm).due(self.store);
        let rings = async {
            if let Some(due) = alarm { sleep_until(due).await } else { std::future::pending().await }
        };
        let Some(reading) = &mut self.reading else { return rings.await };
        let found = tokio::select! {
            found = reading => found,
            () = rings => return,
        };
        self.reading = None;
        match found {
            Some(log) => self.queue.fill(&log),
            None => self.queue.give_up(),
        }
    }

    /// The stores of whose losses subscribers are to be told now. They count as told then.
    pub(super) fn rings(&mut self) -> BTreeSet<usize> {
        lock(&self.shared.alarm).rings(Instant::now())
    }
}

// === impl Alarm ===

impl Alarm {
    /// When it is to ring for this store, if it could not before.
    fn due(&self, store: usize) -> Option<Instant> {
        self.rung_at.filter(|_| self.owed.contains(&store)).map(|at| at + PAUSE)
    }

    fn rings(&mut self, now: Instant) -> BTreeSet<usize> {
        if self.owed.is_empty() || self.rung_at.is_some_and(|at| now < at + PAUSE) {
            return BTreeSet::new();
        }
        self.rung_at = Some(now);
        std::mem::take(&mut self.owed)
    }
}

// === impl Queue ===

impl Queue {
    fn after(count: u64) -> Self {
        Self { passed: count, waiting: VecDeque::new(), bytes: 0, filled: BTreeSet::new() }
    }

    fn push(&mut self, count: u64, event: Event, gap: Gap, since: Instant) {
        self.bytes += event.weight();
        self.waiting.push_back(Waiting { count, event, gap, since });
    }

    /// Takes an event into the gap that it was missing from. Without such a gap it is returned, unless it was filled.
    fn late(&mut self, event: Event) -> Option<Event> {
        let count = event.store_seq;
        let at = self.waiting.partition_point(|waiting| waiting.count < count);
        let before = at.checked_sub(1).map_or(self.passed, |at| self.waiting[at].count);
        let is_known = |waiting: &Waiting| waiting.count == count;
        if self.filled.contains(&count) || self.waiting.get(at).is_some_and(is_known) {
            return None;
        }
        let next = self.waiting.get_mut(at).filter(|next| next.gap == Gap::Open && before < count);
        let Some(next) = next else { return Some(event) };
        let gap = |before: u64, after: u64| if before + 1 == after { Gap::None } else { Gap::Open };
        (next.gap, self.bytes) = (gap(count, next.count), self.bytes + event.weight());
        let since = next.since;
        self.waiting.insert(at, Waiting { count, event, gap: gap(before, count), since });
        None
    }

    fn is_full(&self) -> bool {
        self.waiting.len() > WAITING.0 || self.bytes > WAITING.1
    }

    /// When the first one has waited for long enough.
    fn due(&self) -> Option<Instant> {
        self.waiting.front().map(|first| first.since + HOLD)
    }

    /// What is known of the numbers before the first one.
    fn gap(&self) -> Option<Gap> {
        self.waiting.front().map(|first| first.gap)
    }

    fn pop(&mut self) -> Option<Passed> {
        let Waiting { count, event, gap, .. } = self.waiting.pop_front()?;
        self.bytes -= event.weight();
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
                        self.push(event.store_seq, event, Gap::None, waiting.since);
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

/// Reads the log when its turn comes; `None` if it can't be read by `due`. In the first store that is said at `due`
/// and not before: what is lost until then is one loss.
async fn read(shared: Arc<Shared>, store: usize, due: Instant) -> Option<Log> {
    let log = async {
        sleep_until(shared.reads.turn_of_log(store, due)?).await;
        timeout_at(due, shared.reads.log(store, &shared.stores[store].entries)).await.ok()?.ok()
    };
    let Some(logged) = log.await else {
        if store == 0 {
            sleep_until(due).await;
        }
        return None;
    };
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
    is_known.then_some(Event { store_seq, op, path_segments, value, client_op_id: None })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(store_seq: u64, op: &str, path: &str, long: usize) -> Event {
        let (path_segments, value) = (vec![path.to_owned()], json!("v".repeat(long)));
        Event { store_seq, op: op.into(), path_segments, value, client_op_id: None }
    }

    fn log(events: impl IntoIterator<Item = (u64, &'static str, &'static str)>) -> Log {
        Log(events.into_iter().map(|(n, op, path)| (n, Some(event(n, op, path, 1)))).collect())
    }

    /// A queue after 10, with gaps before these.
    fn queue(gaps: impl IntoIterator<Item = u64>) -> Queue {
        let mut queue = Queue::after(10);
        gaps.into_iter()
            .for_each(|count| queue.push(count, event(count, "set", "k", 1), Gap::Open, Instant::now()));
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
        queue.push(20, event(20, "set", "k", 1), Gap::None, Instant::now());
        queue.give_up();
        let gaps: Vec<_> = queue.waiting.iter().map(|waiting| waiting.gap).collect();
        assert_eq!(gaps, [Gap::Lost, Gap::LostToo, Gap::LostToo, Gap::None]);
        assert_eq!(passed(&mut queue), [(12, true), (15, false), (19, false), (20, false)]);
        assert_eq!(queue.bytes, 0);
    }

    #[test]
    fn a_late_event_goes_into_the_gap_that_it_was_missing_from() {
        let mut queue = queue([12, 16]);
        let late =
            |queue: &mut Queue, count| queue.late(event(count, "set", "l", 1)).map(|event| event.store_seq);
        assert_eq!((late(&mut queue, 11), late(&mut queue, 14)), (None, None));
        assert_eq!(passed(&mut queue), [(11, false), (12, false)]);
        assert_eq!((late(&mut queue, 15), late(&mut queue, 14)), (None, None), "once each");
        assert_eq!((queue.gap(), late(&mut queue, 13)), (Some(Gap::Open), None));
        assert_eq!(passed(&mut queue), [13, 14, 15, 16].map(|count| (count, false)));
        assert_eq!((late(&mut queue, 9), queue.bytes), (Some(9), 0), "later ones were passed on");
    }

    #[tokio::test(start_paused = true)]
    async fn all_are_told_of_losses_at_once_and_then_with_a_pause() {
        let (mut alarm, now) = (Alarm::default(), Instant::now());
        assert!(alarm.rings(now).is_empty() && alarm.due(1).is_none());
        alarm.owed.insert(1);
        assert_eq!(alarm.rings(now), [1].into());
        assert!(alarm.rings(now + PAUSE).is_empty());
        // The pause is one for all stores.
        alarm.owed.extend([1, 2]);
        assert!(alarm.rings(now + PAUSE / 2).is_empty());
        assert_eq!([0, 1, 2].map(|store| alarm.due(store)), [None, Some(now + PAUSE), Some(now + PAUSE)]);
        assert_eq!(alarm.rings(now + PAUSE), [1, 2].into());
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut many = queue([12]);
        (13..13 + WAITING.0 as u64)
            .for_each(|count| many.push(count, event(count, "set", "k", 1), Gap::None, Instant::now()));
        let mut long = queue([12]);
        long.push(13, event(13, "set", "k", WAITING.1), Gap::None, Instant::now());
        for mut queue in [many, long] {
            assert!(queue.is_full());
            queue.give_up();
            assert_eq!(queue.gap(), Some(Gap::Lost));
            passed(&mut queue);
            assert_eq!((queue.bytes, queue.waiting.len()), (0, 0));
        }
    }
}
