//! Which records have to be removed for want of room. Pure.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use crate::dust::Usage;

/// A store of records is emptied when this part of its room is used,
const CROWDED: f64 = 0.9;
/// down to this part of it.
const RELIEVED: f64 = 0.8;
/// Records keep this part of the room, whatever else fills it. To remove them frees nothing of the other
/// entries (notes, verdicts, the fields that select), which no client asks for.
const KEPT: f64 = 0.5;
/// The most records that are removed at once: each costs a lease, and the next sweep comes soon.
const MOST: usize = 50_000;

/// How much has to be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Excess {
    /// Bytes of bodies.
    pub bodies: u64,
    /// Entries of the store of records, and their bytes.
    pub entries: Usage,
}

/// A record that may have to be removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// Whether memory holds it.
    pub warm: bool,
    pub received_at: u64,
    /// The hash of its key, in hexadecimal digits.
    pub hash: String,
    /// The number of its entry.
    pub number: u64,
    /// Bytes that its body takes of the body store.
    pub body: u64,
    /// Bytes of its entry.
    pub entry: u64,
}

/// Chooses among any number of records, and remembers no more than have to be removed.
#[derive(Debug)]
pub(crate) struct Coldest {
    excess: Excess,
    freed: Excess,
    chosen: BinaryHeap<Candidate>,
    offered: Usage,
}

// === impl Excess ===

impl Excess {
    /// How much the store of records holds too much; nothing unless it is crowded.
    pub(crate) fn of_entries(used: Usage, room: Usage) -> Usage {
        let over = |used: u64, room: u64| {
            if used >= part(room, CROWDED) { used.saturating_sub(part(room, RELIEVED)) } else { 0 }
        };
        Usage { count: over(used.count, room.count), bytes: over(used.bytes, room.bytes) }
    }

    /// The part of it that may be taken from records, which use `records` of the room.
    #[must_use]
    pub(crate) fn of_records(self, records: Usage, room: Usage) -> Self {
        let spare = |over: u64, records: u64, room: u64| over.min(records.saturating_sub(part(room, KEPT)));
        let count = spare(self.entries.count, records.count, room.count);
        let bytes = spare(self.entries.bytes, records.bytes, room.bytes);
        Self { entries: Usage { count, bytes }, ..self }
    }

    /// Returns whether nothing has to be removed.
    pub(crate) fn is_none(&self) -> bool {
        *self == Self::default()
    }

    fn covers(&self, other: &Self) -> bool {
        self.bodies >= other.bodies
            && self.entries.count >= other.entries.count
            && self.entries.bytes >= other.entries.bytes
    }

    fn with(self, one: &Candidate) -> Self {
        let entries =
            Usage { count: self.entries.count + 1, bytes: self.entries.bytes.saturating_add(one.entry) };
        Self { bodies: self.bodies.saturating_add(one.body), entries }
    }

    fn without(self, one: &Candidate) -> Self {
        let entries = Usage {
            count: self.entries.count.saturating_sub(1),
            bytes: self.entries.bytes.saturating_sub(one.entry),
        };
        Self { bodies: self.bodies.saturating_sub(one.body), entries }
    }
}

// A part of a room needs no more digits than a float has.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn part(room: u64, share: f64) -> u64 {
    (room as f64 * share) as u64
}

// === impl Coldest ===

impl Coldest {
    pub(crate) fn new(excess: Excess) -> Self {
        Self { excess, freed: Excess::default(), chosen: BinaryHeap::new(), offered: Usage::default() }
    }

    /// Considers one more record.
    pub(crate) fn offer(&mut self, one: Candidate) {
        self.offered.count += 1;
        self.offered.bytes += one.entry;
        self.freed = self.freed.with(&one);
        self.chosen.push(one);
        self.trim();
    }

    /// All records have been offered: limits the choice to what records may lose in a store with this room.
    pub(crate) fn keep_most(&mut self, room: Usage) {
        self.excess = self.excess.of_records(self.offered, room);
        self.trim();
    }

    fn trim(&mut self) {
        while let Some(warmest) = self.chosen.peek() {
            let rest = self.freed.without(warmest);
            if self.chosen.len() <= MOST && !rest.covers(&self.excess) {
                break;
            }
            self.freed = rest;
            self.chosen.pop();
        }
    }

    /// The records to be removed, coldest first.
    pub(crate) fn chosen(self) -> Vec<Candidate> {
        self.chosen.into_sorted_vec()
    }
}

// === impl Candidate ===

impl Candidate {
    fn order(&self) -> (bool, u64, &str) {
        (self.warm, self.received_at, &self.hash)
    }
}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> Ordering {
        self.order().cmp(&other.order())
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(name: &str, warm: bool, received_at: u64, body: u64) -> Candidate {
        Candidate { warm, received_at, hash: name.into(), number: 1, body, entry: 100 }
    }

    fn names(excess: Excess, offered: &[Candidate]) -> Vec<String> {
        let mut coldest = Coldest::new(excess);
        for one in offered {
            coldest.offer(one.clone());
        }
        coldest.chosen().into_iter().map(|one| one.hash).collect()
    }

    #[test]
    fn the_coldest_go_until_it_is_enough() {
        let offered = [
            candidate("warm", true, 1, 10),
            candidate("young", false, 9, 10),
            candidate("old", false, 3, 10),
            candidate("older", false, 2, 10),
        ];
        let bodies = |bodies| Excess { bodies, ..Excess::default() };
        for (excess, want) in [
            (bodies(0), &[][..]),
            (bodies(1), &["older"]),
            (bodies(10), &["older"]),
            (bodies(11), &["older", "old"]),
            (bodies(31), &["older", "old", "young", "warm"]),
            (bodies(1_000), &["older", "old", "young", "warm"]),
        ] {
            assert_eq!(names(excess, &offered), want, "{excess:?}");
            let mut turned = offered.clone();
            turned.reverse();
            assert_eq!(names(excess, &turned), want, "in any order");
        }
    }

    #[test]
    fn a_crowded_store_of_records_gives_up_records_without_bodies_too() {
        let room = Usage { count: 1_000, bytes: 1_000_000 };
        let over = |count, bytes| Excess::of_entries(Usage { count, bytes }, room);
        assert_eq!(over(899, 899_999), Usage::default());
        assert_eq!(over(900, 0), Usage { count: 100, bytes: 0 });
        assert_eq!(over(0, 950_000), Usage { count: 0, bytes: 150_000 });
        let offered: Vec<_> = (0..20).map(|n| candidate(&format!("{n:02}"), false, n, 0)).collect();
        let excess = Excess { bodies: 0, entries: Usage { count: 2, bytes: 250 } };
        assert_eq!(names(excess, &offered), ["00", "01", "02"]);
    }

    #[test]
    fn what_stands_beside_records_takes_no_more_than_half_of_the_room_from_them() {
        let room = Usage { count: 100, bytes: 1 << 20 };
        let over =
            |used| Excess { bodies: 0, entries: Excess::of_entries(Usage { count: used, bytes: 0 }, room) };
        for (used, records, gone) in
            [(95, 95, 15), (95, 70, 15), (95, 60, 10), (95, 50, 0), (95, 3, 0), (80, 80, 0)]
        {
            let mut coldest = Coldest::new(over(used));
            for n in 0..records {
                coldest.offer(candidate(&format!("{n:02}"), false, n, 0));
            }
            coldest.keep_most(room);
            assert_eq!(coldest.chosen().len(), gone, "{records} of {used}");
        }
    }

    #[test]
    fn bodies_are_made_room_for_whatever_part_of_the_entries_records_are() {
        let mut coldest = Coldest::new(Excess { bodies: 10, entries: Usage { count: 3, bytes: 0 } });
        (0..3).for_each(|n| coldest.offer(candidate(&n.to_string(), false, n, 10)));
        coldest.keep_most(Usage { count: 100, bytes: 1 << 20 });
        assert_eq!(coldest.chosen().len(), 1);
    }

    #[test]
    fn no_more_are_remembered_than_can_be_given_up_at_once() {
        let mut coldest = Coldest::new(Excess { bodies: u64::MAX, ..Excess::default() });
        for n in 0..MOST as u64 + 10 {
            coldest.offer(candidate("a", false, n, 1));
        }
        let chosen = coldest.chosen();
        assert_eq!((chosen.len(), chosen[0].received_at), (MOST, 0));
    }
}
