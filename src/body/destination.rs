//! Where bodies go that are not small, and where one of them goes. Pure.

use super::segmenting;

/// The largest segment that is carried, in bytes: a store that answers many callers one after another keeps
/// none of them waiting for long.
const CARRIED: u64 = 256 * 1024;
/// The longest body that is carried where longer ones have another place, and the longest that a route
/// stores by default where they have none, in bytes.
pub const LARGE: u64 = 8 * 1024 * 1024;

/// Where bodies go that are not small.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// All to the object store.
    Objects,
    /// All to the carrier.
    Carrier,
    /// Those of a known length up to [`LARGE`] to the carrier, others to the object store.
    Both,
}

/// Where the segments of a body go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Destination {
    /// To the object store.
    Objects,
    /// To the carrier, in segments of at most `most` bytes.
    Carrier {
        /// The most bytes of a segment.
        most: u64,
    },
}

// === impl Place ===

impl Place {
    /// Where a body of this length goes, if the carrier takes at most `most` bytes under one name.
    pub(super) fn of(self, len: Option<u64>, most: u64) -> Destination {
        let carried = match self {
            Self::Objects => false,
            Self::Carrier => true,
            Self::Both => len.is_some_and(|len| len <= LARGE),
        };
        // A carrier that takes nothing refuses the first segment.
        let most = if most == 0 { CARRIED } else { most.min(CARRIED) };
        if carried { Destination::Carrier { most } } else { Destination::Objects }
    }
}

// === impl Destination ===

impl Destination {
    /// The most bytes of the segment at `index`.
    pub(super) fn size(self, index: usize) -> u64 {
        match self {
            Self::Objects => segmenting::size(index),
            Self::Carrier { most } => most,
        }
    }

    /// How many bytes may be written and not yet acknowledged before the writer waits.
    pub(super) fn outstanding(self, index: usize) -> u64 {
        match self {
            Self::Objects => segmenting::outstanding(index),
            Self::Carrier { most } => 8 * most,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_body_that_is_known_to_be_short_is_carried_where_large_ones_have_a_place() {
        let carried = Destination::Carrier { most: CARRIED };
        let of = |place: Place| [None, Some(LARGE), Some(LARGE + 1)].map(|len| place.of(len, 1 << 20));
        assert_eq!(of(Place::Objects), [Destination::Objects; 3]);
        assert_eq!(of(Place::Carrier), [carried; 3]);
        assert_eq!(of(Place::Both), [Destination::Objects, carried, Destination::Objects]);
    }

    #[test]
    fn a_segment_is_no_larger_than_what_the_carrier_takes() {
        let size = |most| Place::Carrier.of(None, most).size(0);
        assert_eq!([0, 1000, 1 << 20].map(size), [CARRIED, 1000, CARRIED]);
    }
}
