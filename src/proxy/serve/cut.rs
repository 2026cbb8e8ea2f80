//! What of a body an answer carries: all of it, a part or several, or nothing.

use http::Method;

use crate::policy::{self, Parts, Ranged};
use crate::proxy::asking::Asking;
use crate::record::Record;

/// What of a body is sent, and how that is said.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// All of it, under the record's own status.
    Whole,
    /// 206: a part of the whole, and where that lies in the body.
    Part { first: u64, last: u64, total: u64, at: (u64, u64) },
    /// 206: several.
    Parts { parts: Parts, total: u64 },
    /// 416.
    Unsatisfiable { total: u64 },
    /// What is asked for is not in the stored part.
    Lacking,
}

impl Cut {
    /// What a request is given of a record whose body is `len` bytes long, if that is known.
    pub(super) fn of(asking: &Asking, record: &Record, len: Option<u64>) -> Self {
        let whole = if record.range.is_some() { Self::Lacking } else { Self::Whole };
        let total = record.range.map(|(_, _, total)| total).or(len);
        let Some(total) = total.filter(|_| asking.method == Method::GET) else { return whole };
        match policy::ranged(&asking.headers, record, total) {
            Ranged::Whole => whole,
            Ranged::Part { first, last } => match policy::within(record, (first, last)) {
                Some(at) => Self::Part { first, last, total, at },
                None => Self::Lacking,
            },
            Ranged::Parts(parts) => {
                let all = parts.spans().iter().all(|span| policy::within(record, *span).is_some());
                if all { Self::Parts { parts, total } } else { Self::Lacking }
            }
            Ranged::Unsatisfiable => Self::Unsatisfiable { total },
        }
    }

    /// What is read first of the body; `None`: from its first byte to its last.
    pub(super) fn first_bytes(&self, record: &Record) -> Option<(u64, u64)> {
        match self {
            Self::Part { at, .. } => Some(*at),
            Self::Parts { parts, .. } => policy::within(record, *parts.spans().first()?),
            Self::Whole | Self::Unsatisfiable { .. } | Self::Lacking => None,
        }
    }
}
