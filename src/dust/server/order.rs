//! Puts events back into the order of their numbers.
//!
//! Events of several writers may be swapped, and come twice. Numbers have gaps, too: the server tells of no
//! write over HTTP. So an event that is ahead waits a moment for those before it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

/// How long an event waits for those before it.
pub(super) const PATIENCE: Duration = Duration::from_millis(100);
/// How long it waits while other events come in. They are read one by one, and those before it may be among
/// those that are not read yet.
const LONG_PATIENCE: Duration = Duration::from_millis(500);
/// How many events may wait, and how many bytes of them. With more none waits for those before it.
const WAITING: (usize, usize) = (4096, 16 << 20);
/// How many passed-over numbers are remembered, so that a late event is told from a repeated one.
const REMEMBERED: usize = 1024;

/// The events that wait, and where the order is.
#[derive(Debug)]
pub(super) struct Order<T> {
    next: u64,
    waiting: BTreeMap<u64, Waiting<T>>,
    bytes: usize,
    passed_over: BTreeSet<u64>,
}

#[derive(Debug)]
struct Waiting<T> {
    event: T,
    bytes: usize,
    since: Instant,
}

/// The next event in order.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Next<T> {
    pub number: u64,
    pub event: T,
    /// Whether numbers before it were passed over.
    pub is_gap: bool,
    /// When it came.
    pub since: Instant,
}

/// What came of an event.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// It is in order, or waits for those before it.
    Kept,
    /// It came before.
    Again,
    /// Later ones have been passed on already.
    Late,
}

// === impl Order ===

impl<T> Order<T> {
    /// Begins after the number `last`.
    pub(super) fn after(last: u64) -> Self {
        Self {
            next: last.saturating_add(1),
            waiting: BTreeMap::new(),
            bytes: 0,
            passed_over: BTreeSet::new(),
        }
    }

    /// Takes an event of so many bytes. A late one is returned.
    pub(super) fn hear(&mut self, number: u64, event: T, bytes: usize, now: Instant) -> (Heard, Option<T>) {
        if number < self.next {
            let is_late = self.passed_over.remove(&number);
            return if is_late { (Heard::Late, Some(event)) } else { (Heard::Again, None) };
        }
        if self.waiting.contains_key(&number) {
            return (Heard::Again, None);
        }
        self.waiting.insert(number, Waiting { event, bytes, since: now });
        self.bytes += bytes;
        (Heard::Kept, None)
    }

    /// Returns the next event in order. `idle` says that nothing more has come in.
    pub(super) fn next(&mut self, now: Instant, idle: bool) -> Option<Next<T>> {
        let (&number, first) = self.waiting.first_key_value()?;
        let is_gap = number > self.next;
        let patience = if idle { PATIENCE } else { LONG_PATIENCE };
        let is_full = self.waiting.len() > WAITING.0 || self.bytes > WAITING.1;
        if is_gap && !is_full && now < first.since + patience {
            return None;
        }
        if is_gap {
            // The newest ones: a gap may be as wide as numbers go.
            let first = self.next.max(number.saturating_sub(REMEMBERED as u64));
            self.passed_over.extend(first..number);
            while self.passed_over.len() > REMEMBERED {
                self.passed_over.pop_first();
            }
        }
        let Waiting { event, bytes, since } = self.waiting.remove(&number)?;
        self.bytes -= bytes;
        self.next = number.saturating_add(1);
        Some(Next { number, event, is_gap, since })
    }

    /// When events that wait are to be passed on.
    pub(super) fn due(&self) -> Option<Instant> {
        let (number, first) = self.waiting.first_key_value()?;
        (*number > self.next).then(|| first.since + PATIENCE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(order: &mut Order<u64>, now: Instant) -> Vec<(u64, bool)> {
        std::iter::from_fn(|| order.next(now, true).map(|next| (next.number, next.is_gap))).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn swapped_events_come_in_order_and_repeated_ones_once() {
        let (mut order, now) = (Order::after(374), Instant::now());
        let mut told = Vec::new();
        for number in [375, 377, 377, 378, 375, 376, 376, 379] {
            order.hear(number, number, 1, now);
            told.extend(all(&mut order, now));
        }
        assert_eq!(told, [375, 376, 377, 378, 379].map(|number| (number, false)));
        assert_eq!(order.due(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_told_of_by_no_event_is_waited_for_briefly() {
        let (mut order, now) = (Order::after(10), Instant::now());
        order.hear(12, 12, 1, now);
        order.hear(13, 13, 1, now);
        assert_eq!(all(&mut order, now), []);
        assert_eq!(order.due(), Some(now + PATIENCE));
        assert_eq!(all(&mut order, now + PATIENCE), [(12, true), (13, false)]);
        assert_eq!(order.due(), None);
        assert_eq!(order.hear(11, 11, 1, now), (Heard::Late, Some(11)));
        assert_eq!(order.hear(11, 11, 1, now), (Heard::Again, None));
        assert_eq!(order.hear(9, 9, 1, now), (Heard::Again, None));
    }

    #[tokio::test(start_paused = true)]
    async fn what_may_still_be_unread_is_waited_for_longer() {
        let (mut order, now) = (Order::after(0), Instant::now());
        order.hear(2, 2, 1, now);
        assert_eq!(order.next(now + PATIENCE, false), None);
        order.hear(1, 1, 1, now + PATIENCE);
        assert_eq!(all(&mut order, now + PATIENCE), [(1, false), (2, false)]);
        order.hear(4, 4, 1, now);
        let next = order.next(now + LONG_PATIENCE, false);
        assert_eq!(next, Some(Next { number: 4, event: 4, is_gap: true, since: now }));
    }

    #[tokio::test(start_paused = true)]
    async fn gaps_side_by_side_are_waited_for_once() {
        let (mut order, now) = (Order::after(0), Instant::now());
        order.hear(2, 2, 1, now);
        order.hear(4, 4, 1, now);
        order.hear(6, 6, 1, now + PATIENCE);
        assert_eq!(all(&mut order, now + PATIENCE), [(2, true), (4, true)]);
        assert_eq!(all(&mut order, now + PATIENCE * 2), [(6, true)]);
        order.hear(u64::MAX - 1, 0, 1, now);
        assert_eq!(all(&mut order, now + PATIENCE), [(u64::MAX - 1, true)]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_is_bounded() {
        let (mut order, now) = (Order::after(0), Instant::now());
        for number in 2..=WAITING.0 as u64 + 1 {
            order.hear(number, number, 1, now);
        }
        assert_eq!(all(&mut order, now), []);
        order.hear(WAITING.0 as u64 + 2, 0, 1, now);
        assert_eq!(all(&mut order, now).len(), WAITING.0 + 1);
        order.hear(10_000, 10_000, WAITING.1 + 1, now);
        assert_eq!(all(&mut order, now), [(10_000, true)]);
        assert_eq!(order.bytes, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn after_the_highest_number_there_is_none() {
        let (mut order, now) = (Order::after(u64::MAX - 1), Instant::now());
        order.hear(u64::MAX, u64::MAX, 1, now);
        assert_eq!(all(&mut order, now), [(u64::MAX, false)]);
        assert_eq!(order.hear(7, 7, 1, now), (Heard::Again, None));
    }
}
