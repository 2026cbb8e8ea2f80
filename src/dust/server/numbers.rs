//! Numbers over several stores.
//!
//! Each store of a Dust server counts its own writes. With one store these counts are the numbers. With
//! several, the writes of one store must stand in an order with those of another: a purge is written into
//! the first one and concerns records in all. So a number has an epoch in its upper half. The number of a
//! write into the first store that is of no hash has its own count there. All others have the highest count of
//! the first store that their writer had heard of, and in the lower half their own count. So whatever
//! was begun with knowledge of a purge is above it, and whatever was begun without is below.
//!
//! A lease has its epoch after its holder's name, a value in its text, an event in its name.

use std::sync::atomic::{AtomicU64, Ordering};

use super::super::Number;

/// Bits of a count.
const COUNT: u32 = 32;
/// How far ahead of all that was heard a number may be, in counts.
const AHEAD: u64 = 1_000_000;

/// The counts that were heard of.
#[derive(Debug)]
pub(super) struct Numbers {
    is_several: bool,
    /// The highest count of the first store.
    first: AtomicU64,
    /// The highest number.
    highest: AtomicU64,
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
    pub(super) fn new(is_several: bool) -> Self {
        Self { is_several, first: AtomicU64::new(0), highest: AtomicU64::new(0) }
    }

    /// The number of a write with this epoch and count.
    pub(super) fn number(&self, spot: Spot, epoch: u64, count: u64) -> Number {
        match (self.is_several, spot.is_first) {
            (false, _) => count,
            (true, true) => count << COUNT,
            (true, false) => (epoch << COUNT) | (count & u64::from(u32::MAX)),
        }
    }

    /// The number of a lease. Its epoch stands after its holder's name; another client's has none.
    pub(super) fn of_lease(&self, spot: Spot, holder: Option<&str>, token: u64) -> Number {
        self.number(spot, holder.map_or(0, |holder| self.unsigned(holder).1), token)
    }

    /// The count in a number; 0, which is none, if no write can have this number.
    pub(super) fn count(&self, spot: Spot, number: Number) -> u64 {
        match (self.is_several, spot.is_first) {
            (false, _) => number,
            (true, true) if number & u64::from(u32::MAX) == 0 => number >> COUNT,
            (true, true) => 0,
            (true, false) => number & u64::from(u32::MAX),
        }
    }

    /// The epoch of a write by a caller that has seen this number.
    pub(super) fn epoch(&self, spot: Spot, seen: Number) -> u64 {
        if !self.is_several || spot.is_first {
            return 0;
        }
        self.first.load(Ordering::Acquire).max(seen >> COUNT)
    }

    /// Records a count of a store, and the number that it is part of.
    pub(super) fn heard(&self, spot: Spot, count: u64, number: Number) {
        if spot.store == 0 {
            self.first.fetch_max(count, Ordering::AcqRel);
        }
        self.highest.fetch_max(number, Ordering::AcqRel);
    }

    /// Above all that the stores can have given.
    pub(super) fn ceiling(&self) -> Number {
        let ahead = if self.is_several { AHEAD << COUNT } else { AHEAD };
        self.highest.load(Ordering::Acquire).saturating_add(ahead)
    }

    /// The name of a lease's holder with its epoch.
    pub(super) fn signed(&self, holder: &str, epoch: u64) -> String {
        if self.is_several { format!("{holder}#{epoch}") } else { holder.to_owned() }
    }

    /// The holder's name and the epoch in what stands in a lease.
    pub(super) fn unsigned<'a>(&self, signed: &'a str) -> (&'a str, u64) {
        let parts = signed.rsplit_once('#').filter(|_| self.is_several);
        let parts = parts.and_then(|(holder, epoch)| Some((holder, epoch.parse().ok()?)));
        parts.unwrap_or((signed, 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Spot = Spot { store: 0, is_first: true };
    const HASHED: Spot = Spot { store: 3, is_first: false };

    #[test]
    fn of_one_store_its_counts_are_the_numbers() {
        let numbers = Numbers::new(false);
        let spot = Spot { store: 0, is_first: false };
        assert_eq!((numbers.number(spot, 0, 7), numbers.count(spot, 7), numbers.epoch(spot, 99)), (7, 7, 0));
        assert_eq!(numbers.signed("a/b#7", 0), "a/b#7");
        assert_eq!(numbers.unsigned("a/b#7"), ("a/b#7", 0));
    }

    #[test]
    fn a_purge_is_above_what_began_without_it_and_below_what_began_with_it() {
        let numbers = Numbers::new(true);
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
    fn a_holder_is_found_again() {
        let numbers = Numbers::new(true);
        assert_eq!(numbers.unsigned(&numbers.signed("a/b#c", 7)), ("a/b#c", 7));
        assert_eq!(numbers.unsigned("another"), ("another", 0));
    }
}
