//! Numbers over several stores.
//!
//! Each store of a Dust server counts its own writes. With one store these counts are the numbers. With
//! several, the writes of one store must stand in an order with those of another: a purge is written into
//! the first one and concerns records in all. So a number has an epoch in its upper half. The number of a
//! write into the first store that is of no hash has its own count there. All others have the highest count of
//! the first store that their writer had heard of, and in the lower half their own count. So whatever
//! was begun with knowledge of a purge is above it, and whatever was begun without is below.
//!
//! A lease has its epoch after its holder's name, a value in its text, an event in its name. Another client's
//! lease has none: its epoch is the one at which it was first heard of. An epoch far above all that was heard
//! is no instance's, and is ignored. A count far above all that was heard is not believed, but for that of a join.
//!
//! All this is of lifted counts (`lift`).

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::super::Number;
use super::lift::{HIGHEST, Lift};
use super::state::lock;

/// Bits of a count.
const COUNT: u32 = 32;
/// How far ahead of all that was heard a number may be, in counts.
const AHEAD: u64 = 1_000_000;
/// How many leases of other clients are remembered, of each store.
const FOREIGN: usize = 1024;

/// The counts that were heard of.
#[derive(Debug)]
pub(super) struct Numbers {
    stores: Vec<Counts>,
    /// The highest number.
    highest: AtomicU64,
    /// How many counts came that no store can have given.
    impossible: AtomicU64,
}

/// What was heard of one store.
#[derive(Debug, Default)]
struct Counts {
    /// The highest lifted count.
    highest: AtomicU64,
    /// The count at the last join; `None` before the first one.
    at_join: Mutex<Option<u64>>,
    /// The lift, and the count of the write that it is from.
    lift: Mutex<(Lift, u64)>,
    /// The epochs of other clients' leases, by their tokens.
    foreign: Mutex<BTreeMap<u64, u64>>,
}

/// Where a key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spot {
    /// The index of its store.
    pub store: usize,
    /// Whether its number is its count in the first store.
    pub is_first: bool,
}

// === impl Numbers ===

impl Numbers {
    /// Of so many stores.
    pub(super) fn new(stores: usize) -> Self {
        let stores = (0..stores).map(|_| Counts::default()).collect();
        Self { stores, highest: AtomicU64::new(0), impossible: AtomicU64::new(0) }
    }

    fn is_several(&self) -> bool {
        self.stores.len() > 1
    }

    /// The highest lifted count of the first store that was heard of.
    fn first(&self) -> u64 {
        self.known(0)
    }

    // --- counts of one store ---

    /// The highest lifted count of a store that was heard of.
    pub(super) fn known(&self, store: usize) -> u64 {
        self.stores[store].highest.load(Ordering::Acquire)
    }

    /// Records a count of a store.
    pub(super) fn counted(&self, store: usize, count: u64) {
        self.stores[store].highest.fetch_max(self.lifted(store, count), Ordering::AcqRel);
    }

    /// The highest count that a store can have, lifted or not.
    pub(super) fn most(&self) -> u64 {
        if self.is_several() { u64::from(u32::MAX) } else { HIGHEST }
    }

    /// Returns whether a store can have counted so far by now. If not, that is counted.
    pub(super) fn is_possible(&self, store: usize, count: u64) -> bool {
        let at_join = *lock(&self.stores[store].at_join);
        // Of a store that was never joined nothing is known.
        let is_near = at_join.is_none_or(|at_join| {
            let known = self.known(store).max(self.lifted(store, at_join));
            self.lifted(store, count) <= known.saturating_add(AHEAD)
        });
        let is_possible = count <= self.most() && is_near;
        if !is_possible {
            self.beyond();
        }
        is_possible
    }

    /// Records the count at which a store was joined. The server itself has said where it stands.
    pub(super) fn joined(&self, store: usize, count: u64) {
        *lock(&self.stores[store].at_join) = Some(count);
    }

    /// Counts a number that no store can have given.
    pub(super) fn beyond(&self) {
        self.impossible.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn impossible(&self) -> u64 {
        self.impossible.load(Ordering::Relaxed)
    }

    /// The lifted count.
    pub(super) fn lifted(&self, store: usize, count: u64) -> u64 {
        lock(&self.stores[store].lift).0.number(count)
    }

    /// Records the lift of a store as it was written under this count. A later one that was heard of before
    /// stays, unless the store has begun anew.
    pub(super) fn lift(&self, store: usize, count: u64, lift: Lift) {
        let mut known = lock(&self.stores[store].lift);
        if known.1 <= count {
            *known = (lift, count);
        }
    }

    /// Records that a store may have been restored: the next lift is believed whatever its count is.
    pub(super) fn begin_anew(&self, store: usize) {
        lock(&self.stores[store].lift).1 = 0;
        // Their tokens may be given again.
        lock(&self.stores[store].foreign).clear();
    }

    // --- numbers over all ---

    /// The number of a write with this epoch and count.
    pub(super) fn number(&self, spot: Spot, epoch: u64, count: u64) -> Number {
        let count = self.lifted(spot.store, count);
        match (self.is_several(), spot.is_first) {
            (false, _) => count,
            (true, true) => count << COUNT,
            (true, false) => (self.believed(epoch) << COUNT) | (count & u64::from(u32::MAX)),
        }
    }

    /// The epoch, if an instance can have written it.
    fn believed(&self, epoch: u64) -> u64 {
        if epoch > self.first().saturating_add(AHEAD) { 0 } else { epoch }
    }

    /// The number of a lease.
    pub(super) fn of_lease(&self, spot: Spot, holder: Option<&str>, token: u64) -> Number {
        let signed = holder.and_then(|holder| self.unsigned(holder).1);
        let epoch = signed.unwrap_or_else(|| self.first_heard(spot, token));
        self.number(spot, epoch, token)
    }

    /// The epoch at which another client's lease was first heard of.
    fn first_heard(&self, spot: Spot, token: u64) -> u64 {
        let now = self.epoch(spot, 0);
        if now == 0 {
            return 0;
        }
        let mut foreign = lock(&self.stores[spot.store].foreign);
        let epoch = *foreign.entry(token).or_insert(now);
        while foreign.len() > FOREIGN {
            foreign.pop_first();
        }
        epoch
    }

    /// The count in a number; 0, which is none, if no write can have this number.
    pub(super) fn count(&self, spot: Spot, number: Number) -> u64 {
        let lifted = match (self.is_several(), spot.is_first) {
            (false, _) => number,
            (true, true) if number & u64::from(u32::MAX) == 0 => number >> COUNT,
            (true, true) => 0,
            (true, false) => number & u64::from(u32::MAX),
        };
        lock(&self.stores[spot.store].lift).0.count(lifted)
    }

    /// The lifted count above which a count's number is above this number; `None` where that is not of the
    /// count alone.
    pub(super) fn lifted_of(&self, spot: Spot, number: Number) -> Option<u64> {
        match (self.is_several(), spot.is_first) {
            (false, _) => Some(number),
            (true, true) => Some(number >> COUNT),
            (true, false) => None,
        }
    }

    /// The epoch of a write by a caller that has seen this number.
    pub(super) fn epoch(&self, spot: Spot, seen: Number) -> u64 {
        if !self.is_several() || spot.is_first {
            return 0;
        }
        self.first().max(seen >> COUNT)
    }

    /// Records a count of a store, and the number that it is part of.
    pub(super) fn heard(&self, spot: Spot, count: u64, number: Number) {
        self.counted(spot.store, count);
        self.highest.fetch_max(number, Ordering::AcqRel);
    }

    /// Above all that the stores can have given.
    pub(super) fn ceiling(&self) -> Number {
        let ahead = if self.is_several() { AHEAD << COUNT } else { AHEAD };
        self.highest.load(Ordering::Acquire).saturating_add(ahead)
    }

    /// The name of a lease's holder with its epoch.
    pub(super) fn signed(&self, holder: &str, epoch: u64) -> String {
        if self.is_several() { format!("{holder}#e{epoch}") } else { holder.to_owned() }
    }

    /// The holder's name and the epoch in what stands in a lease, if an instance has signed it.
    pub(super) fn unsigned<'a>(&self, signed: &'a str) -> (&'a str, Option<u64>) {
        let parts = signed.rsplit_once("#e").filter(|_| self.is_several());
        let parts = parts.and_then(|(holder, epoch)| Some((holder, epoch.parse().ok()?)));
        parts.map_or((signed, None), |(holder, epoch)| (holder, Some(epoch)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Spot = Spot { store: 0, is_first: true };
    const HASHED: Spot = Spot { store: 3, is_first: false };

    #[test]
    fn of_one_store_its_counts_are_the_numbers() {
        let numbers = Numbers::new(1);
        let spot = Spot { store: 0, is_first: false };
        assert_eq!((numbers.number(spot, 0, 7), numbers.count(spot, 7), numbers.epoch(spot, 99)), (7, 7, 0));
        assert_eq!(numbers.signed("a/b#7", 0), "a/b#7");
        assert_eq!(numbers.unsigned("a/b#7"), ("a/b#7", None));
    }

    #[test]
    fn a_purge_is_above_what_began_without_it_and_below_what_began_with_it() {
        let numbers = Numbers::new(4);
        let before = numbers.number(HASHED, numbers.epoch(HASHED, 0), 90_000);
        let purge = numbers.number(FIRST, 0, 12);
        assert!(before < purge);
        // By another instance, which has not heard of it.
        assert!(numbers.number(HASHED, numbers.epoch(HASHED, 0), 90_001) < purge);
        // By a caller that has, and by an instance that has.
        assert!(numbers.number(HASHED, numbers.epoch(HASHED, purge), 90_002) > purge);
        numbers.heard(FIRST, 12, purge);
        let after = numbers.number(HASHED, numbers.epoch(HASHED, 0), 90_003);
        assert!(after > purge && after < numbers.ceiling());
        assert!(numbers.number(FIRST, 0, 13) > after);
        assert_eq!((numbers.count(HASHED, after), numbers.count(FIRST, purge)), (90_003, 12));
        assert_eq!(numbers.count(FIRST, purge + 1), 0, "no write has it");
    }

    #[test]
    fn a_count_far_above_all_that_was_heard_is_impossible() {
        for (stores, most) in [(1, HIGHEST), (4, u64::from(u32::MAX))] {
            let numbers = Numbers::new(stores);
            numbers.counted(0, 70);
            assert!(numbers.is_possible(0, most), "it was never joined");
            numbers.joined(0, 0);
            assert!(numbers.is_possible(0, 70 + AHEAD) && numbers.is_possible(0, 1));
            for count in [71 + AHEAD, most, most + 1, u64::MAX] {
                assert!(!numbers.is_possible(0, count), "{count}");
            }
            numbers.counted(0, most - 7);
            assert!(numbers.is_possible(0, most) && !numbers.is_possible(0, most + 1));
            assert_eq!(numbers.impossible(), 5);
        }
    }

    #[test]
    fn a_holder_is_found_again() {
        let numbers = Numbers::new(4);
        assert_eq!(numbers.unsigned(&numbers.signed("a/b#c", 7)), ("a/b#c", Some(7)));
        assert_eq!(numbers.unsigned("another"), ("another", None));
    }

    #[test]
    fn another_clients_lease_is_of_the_time_at_which_it_was_heard_of() {
        let numbers = Numbers::new(4);
        let purge = numbers.number(FIRST, 0, 12);
        numbers.heard(FIRST, 11, 0);
        let before = numbers.of_lease(HASHED, None, 70);
        numbers.heard(FIRST, 12, purge);
        assert!(before < purge && numbers.of_lease(HASHED, None, 70) == before);
        assert!(numbers.of_lease(HASHED, Some("theirs#7"), 71) > purge);
        for token in 0..2 * FOREIGN as u64 {
            numbers.of_lease(HASHED, None, token + 100);
        }
        assert_eq!(lock(&numbers.stores[3].foreign).len(), FOREIGN);
    }

    #[test]
    fn an_epoch_that_nobody_can_know_is_ignored() {
        let numbers = Numbers::new(4);
        numbers.heard(FIRST, 12, 0);
        assert_eq!(numbers.number(HASHED, 12 + AHEAD + 1, 7), 7);
        assert!(numbers.number(HASHED, 12 + AHEAD, 7) > numbers.number(FIRST, 0, 13));
        assert_eq!(numbers.of_lease(HASHED, Some("theirs#e99999999999"), 7), 7);
    }

    #[test]
    fn numbers_of_a_lifted_store_are_above_all_before() {
        for numbers in [Numbers::new(1), Numbers::new(4)] {
            for spot in [FIRST, Spot { store: 0, is_first: false }] {
                let before = numbers.number(spot, 3, 70);
                numbers.counted(0, 70);
                numbers.begin_anew(0);
                let lift = Lift::default().raised(50, numbers.known(0)).expect("it is not too high");
                numbers.lift(0, 51, lift);
                let after = numbers.number(spot, 3, 52);
                assert!(after > before && numbers.count(spot, after) == 52);
                numbers.lift(0, 40, Lift::default());
                assert_eq!(numbers.number(spot, 3, 52), after, "an older one");
                numbers.begin_anew(0);
                numbers.lift(0, 0, Lift::default());
            }
        }
    }
}
