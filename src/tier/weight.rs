//! What an entry takes in memory: the allocations that it is made of, as the allocator rounds them.
//!
//! The limit of the tier is a promise about the process. So what counts is what an entry costs, and not what
//! it says.

use std::mem::size_of;
use std::sync::Arc;

use quick_cache::Weighter;

use super::Held;
use super::stored::Stored;
use crate::heap::LONG;
use crate::key::KeyHash;
use crate::record::{Segment, Segments, VaryNode};

/// The two counts before the value of an [`Arc`].
const COUNTS: usize = 2 * size_of::<usize>();
/// A place in the cache: key, value, state and two links, and its share of the table that finds it. The
/// cache remembers the hashes of some that it evicted, in places of the same size.
const PLACE: u64 = 88;
/// A line of the index, and its share of a table that is half full.
const LINE: u64 = (size_of::<(KeyHash, Arc<str>)>() as u64 + 1) * 2;

/// Weighs entries.
#[derive(Debug, Clone)]
pub(super) struct Weigh {
    /// What each entry costs beside its own allocations.
    beside: u64,
}

/// What the allocator takes for `len` bytes: steps of 16 up to 64, and above that four to each doubling. Long
/// blocks are the system's.
pub(super) fn taken(len: usize) -> u64 {
    match len {
        0 => 0,
        1..=8 => 8,
        9..=64 => len.next_multiple_of(16) as u64,
        LONG.. => by_system(len),
        _ => {
            let step = 1 << ((len - 1).ilog2() - 2);
            len.next_multiple_of(step) as u64
        }
    }
}

/// What `len` bytes take in the system's heap ([`Fields`](crate::record::Fields) lie there), and what shares
/// them: steps of 16, with 8 of its own.
pub(super) fn kept(len: usize) -> u64 {
    shared(size_of::<&[u8]>()) + by_system(len)
}

fn by_system(len: usize) -> u64 {
    ((len + 8).next_multiple_of(16)).max(32) as u64
}

/// What an [`Arc`] of `len` bytes takes.
pub(super) fn shared(len: usize) -> u64 {
    taken(COUNTS + len)
}

// === impl Weigh ===

impl Weigh {
    /// Weighs entries of a tier, whose entries are `indexed` in a fleet.
    pub(super) fn new(indexed: bool) -> Self {
        Self { beside: PLACE + if indexed { LINE } else { 0 } }
    }
}

impl Weighter<Arc<str>, Held> for Weigh {
    fn weight(&self, key: &Arc<str>, held: &Held) -> u64 {
        let inside = match held {
            Held::Stored(stored) => stored.weight(),
            Held::Vary(node) => of_node(node),
        };
        self.beside + shared(key.len()) + inside
    }
}

/// What bytes that are shared with readers take.
pub(super) fn of_bytes(len: usize) -> u64 {
    // The first reader has their count allocated.
    taken(len) + taken(3 * size_of::<usize>())
}

/// What a list of `len` elements of `size` bytes takes.
pub(super) fn of_list(len: usize, size: usize) -> u64 {
    taken(len * size)
}

/// What a [`thin_vec::ThinVec`] of `len` elements of `size` bytes takes: its two counts lie before them.
pub(super) fn of_thin(len: usize, size: usize) -> u64 {
    if len == 0 { 0 } else { taken(COUNTS + len * size) }
}

/// What the segments of a body take beside their record.
pub(super) fn of_segments(segments: &Segments) -> u64 {
    if segments.spilled() { of_list(segments.len(), size_of::<Segment>()) } else { 0 }
}

/// What a record takes, without what it points to.
pub(super) fn of_stored() -> u64 {
    shared(size_of::<Stored>())
}

fn of_node(node: &VaryNode) -> u64 {
    let text = |text: &String| taken(text.capacity());
    let languages = node.languages.iter();
    let languages = languages
        .map(|one| text(&one.variant) + text(&one.language) + one.accept.as_ref().map_or(0, text))
        .sum::<u64>();
    shared(size_of::<VaryNode>())
        + text(&node.key)
        + of_list(node.fields.capacity(), size_of::<http::HeaderName>())
        + of_list(node.variants.capacity(), size_of::<String>())
        + node.variants.iter().map(text).sum::<u64>()
        + of_list(node.languages.capacity(), size_of::<crate::record::Spoken>())
        + languages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allocation_takes_more_than_its_bytes() {
        for (len, takes) in [
            (0, 0),
            (1, 8),
            (24, 32),
            (64, 64),
            (65, 80),
            (128, 128),
            (129, 160),
            (1024, 1024),
            (1025, 1280),
            (1136, 1280),
            (30_000, 32_768),
            (40_000, 40_016),
        ] {
            assert_eq!(taken(len), takes, "{len}");
        }
    }
}
