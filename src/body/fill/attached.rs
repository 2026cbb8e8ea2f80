//! The readers of a body that is being written, and how far each has come. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

/// The readers of one body.
#[derive(Debug, Default)]
pub(super) struct Attached {
    seats: Vec<Seated>,
    free: Vec<usize>,
    /// How many readers are at which byte. `None` before the readers are waited for.
    row: Option<BTreeMap<u64, usize>>,
}

/// A reader's entry in [`Attached`].
#[derive(Debug, Clone, Copy)]
pub(in crate::body) struct Seat(usize);

#[derive(Debug, Clone, Copy)]
enum Seated {
    /// Unused.
    Free,
    /// The reader has all bytes before `at`, since then.
    At { at: u64, since: Instant },
    /// The reader took nothing for too long and is broken off.
    Cut,
}

/// How far behind the readers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// There are no readers.
    Nobody,
    /// All readers are near the end.
    Near,
    /// Some readers are not, and the first of them is broken off at this time.
    Behind(Instant),
}

// === impl Attached ===

impl Attached {
    /// Adds a reader that begins at `at`.
    pub(super) fn enter(&mut self, at: u64, now: Instant) -> Seat {
        self.count(at, true);
        let seated = Seated::At { at, since: now };
        if let Some(index) = self.free.pop() {
            self.seats[index] = seated;
            return Seat(index);
        }
        self.seats.push(seated);
        Seat(self.seats.len() - 1)
    }

    /// Notes that a reader has all bytes before `to`. Returns whether it has moved, and was not broken off.
    pub(super) fn moved(&mut self, Seat(index): Seat, to: u64) -> bool {
        let Some(Seated::At { at, since }) = self.seats.get_mut(index) else { return false };
        let from = std::mem::replace(at, to);
        if from == to {
            return false;
        }
        if self.row.is_some() {
            // Time counts only once the readers are waited for.
            *since = Instant::now();
            self.count(from, false);
            self.count(to, true);
        }
        true
    }

    /// Restarts the time of a reader that will be read later: it is not idle although it does not move.
    pub(super) fn stays(&mut self, Seat(index): Seat, now: Instant) {
        if let Some(Seated::At { since, .. }) = self.seats.get_mut(index) {
            *since = now;
        }
    }

    /// Removes a reader.
    pub(super) fn leave(&mut self, Seat(index): Seat) {
        let Some(seated) = self.seats.get_mut(index) else { return };
        let was = std::mem::replace(seated, Seated::Free);
        self.free.push(index);
        if let Seated::At { at, .. } = was {
            self.count(at, false);
        }
    }

    /// Returns whether a reader was broken off because it took nothing.
    pub(super) fn is_cut(&self, Seat(index): Seat) -> bool {
        matches!(self.seats.get(index), Some(Seated::Cut))
    }

    /// Begins to wait for the readers.
    pub(super) fn are_waited_for(&mut self, now: Instant) {
        let mut row = BTreeMap::new();
        for seated in &mut self.seats {
            if let Seated::At { at, since } = seated {
                *since = now;
                *row.entry(*at).or_default() += 1;
            }
        }
        self.row = Some(row);
    }

    /// The first byte that a reader still needs in memory. `start` is the first byte in memory, and all bytes
    /// before `stored` are in the store too. `None` if there are no readers.
    pub(super) fn floor(&self, start: u64, stored: u64) -> Option<u64> {
        let row = self.row.as_ref()?;
        let (first, _) = row.first_key_value()?;
        if *first >= start {
            return Some(*first);
        }
        let here = row.range(start..).next().map_or(stored, |(at, _)| *at);
        Some(here.min(stored))
    }

    /// How far the readers are behind `end`; up to `backlog` bytes are near. A reader that is further behind,
    /// and has taken nothing for `patience`, is broken off. Its time counts at the earliest from `from`, when
    /// the current wait began.
    pub(super) fn pace(
        &mut self,
        end: u64,
        backlog: u64,
        patience: Duration,
        from: Instant,
        now: Instant,
    ) -> Pace {
        let Some(row) = &mut self.row else { return Pace::Near };
        let near = end.saturating_sub(backlog);
        match row.first_key_value() {
            None => return Pace::Nobody,
            Some((first, _)) if *first >= near => return Pace::Near,
            Some(_) => {}
        }
        let mut due: Option<Instant> = None;
        for seated in &mut self.seats {
            let Seated::At { at, since } = *seated else { continue };
            if at >= near {
                continue;
            }
            let until = since.max(from) + patience;
            if until > now {
                due = Some(due.map_or(until, |due| due.min(until)));
                continue;
            }
            *seated = Seated::Cut;
            less(row, at);
        }
        match due {
            Some(until) => Pace::Behind(until),
            None if row.is_empty() => Pace::Nobody,
            None => Pace::Near,
        }
    }

    fn count(&mut self, at: u64, more: bool) {
        let Some(row) = &mut self.row else { return };
        if more {
            *row.entry(at).or_default() += 1;
        } else {
            less(row, at);
        }
    }
}

/// Counts one reader fewer at this byte.
fn less(row: &mut BTreeMap<u64, usize>, at: u64) {
    if let Some(count) = row.get_mut(&at) {
        *count -= 1;
        if *count == 0 {
            row.remove(&at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    #[tokio::test(start_paused = true)]
    async fn the_slowest_says_how_much_is_kept() {
        let now = Instant::now();
        let mut readers = Attached::default();
        let (slow, fast) = (readers.enter(10, now), readers.enter(10, now));
        assert_eq!(readers.floor(0, 0), None, "nobody is waited for yet");
        readers.moved(fast, 50);
        readers.are_waited_for(now);
        assert_eq!(readers.floor(0, 20), Some(10));
        // What left memory is in the store, and read from there.
        assert_eq!(readers.floor(15, 20), Some(20));
        assert_eq!(readers.floor(15, 60), Some(50));
        readers.moved(slow, 70);
        assert_eq!(readers.floor(15, 20), Some(50));
        readers.leave(fast);
        assert_eq!(readers.floor(15, 20), Some(70));
        readers.leave(slow);
        assert_eq!(readers.floor(15, 20), None);
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_reader_that_takes_nothing_while_it_is_waited_for_is_cut() {
        let began = Instant::now();
        let mut readers = Attached::default();
        let (idle, slow, near) = (readers.enter(0, began), readers.enter(0, began), readers.enter(95, began));
        readers.are_waited_for(began);
        let pace = |readers: &mut Attached| readers.pace(100, 10, PATIENCE, began, Instant::now());
        assert_eq!(pace(&mut readers), Pace::Behind(began + PATIENCE));
        tokio::time::advance(PATIENCE / 2).await;
        readers.moved(slow, 1);
        tokio::time::advance(PATIENCE / 2).await;
        assert_eq!(pace(&mut readers), Pace::Behind(began + PATIENCE / 2 * 3));
        assert_eq!([idle, slow, near].map(|seat| readers.is_cut(seat)), [true, false, false]);
        assert!(!readers.moved(idle, 5), "it comes too late");
        readers.leave(idle);
        readers.moved(slow, 92);
        assert_eq!(pace(&mut readers), Pace::Near);
        readers.leave(slow);
        readers.leave(near);
        assert_eq!(pace(&mut readers), Pace::Nobody);
        // A seat is used again.
        let again = readers.enter(99, Instant::now());
        assert!(!readers.is_cut(again));
        assert_eq!(pace(&mut readers), Pace::Near);
    }
}
