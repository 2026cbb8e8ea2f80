//! Which bytes of a stored body a response carries: all, a part or several, or none.

use http::HeaderMap;

use super::{Parts, Ranged, Want, ranged};
use crate::record::Record;

/// Which bytes of a body are sent, and under which status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cut {
    /// All of it, under the record's own status.
    Whole,
    /// 206: a part of the whole.
    Part {
        /// First byte, of the whole.
        first: u64,
        /// Last byte, of the whole.
        last: u64,
        /// Length of the whole.
        total: u64,
        /// Where it lies in the body.
        at: (u64, u64),
    },
    /// 206: several parts.
    Parts {
        /// Where they lie in the whole.
        parts: Parts,
        /// Length of the whole.
        total: u64,
    },
    /// 416.
    Unsatisfiable {
        /// Length of the whole.
        total: u64,
    },
    /// What is wanted is not in the stored part.
    Lacking,
}

impl Cut {
    /// What a request gets of a record. `len`: the length of the record's body, if that is known.
    pub fn of(request: &HeaderMap, want: Want, record: &Record, len: Option<u64>) -> Self {
        let whole = if record.range.is_some() { Self::Lacking } else { Self::Whole };
        let Some(total) = record.range().map(|(_, _, total)| total).or(len) else { return whole };
        match ranged(request, want, record, total) {
            Ranged::Whole => whole,
            Ranged::Part { first, last } => match within(record, (first, last)) {
                Some(at) => Self::Part { first, last, total, at },
                None => Self::Lacking,
            },
            Ranged::Parts(parts) => {
                let all = parts.spans().iter().all(|span| within(record, *span).is_some());
                if all { Self::Parts { parts, total } } else { Self::Lacking }
            }
            Ranged::Unsatisfiable => Self::Unsatisfiable { total },
        }
    }

    /// The span of the body that is read first; `None`: all of it.
    pub fn first_bytes(&self, record: &Record) -> Option<(u64, u64)> {
        match self {
            Self::Part { at, .. } => Some(*at),
            Self::Parts { parts, .. } => within(record, *parts.spans().first()?),
            Self::Whole | Self::Unsatisfiable { .. } | Self::Lacking => None,
        }
    }
}

/// Where a span of the representation lies in a record's body; `None` if the body is a part that lacks some
/// of it.
pub(super) fn within(record: &Record, (from, to): (u64, u64)) -> Option<(u64, u64)> {
    let Some((first, last, _)) = record.range() else { return Some((from, to)) };
    (first <= from && to <= last).then(|| (from - first, to - first))
}
