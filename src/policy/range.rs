//! Ranges of stored responses, which may be parts themselves, and of upstream requests (RFC 9110 §14, RFC
//! 9111 §3.3, §3.4).
//!
//! A stored part is a record with a range: a 206 that was asked for, under a strong tag. It answers the
//! ranges that lie in it, and is completed by the missing part ([`plan_query`], [`joined`]).

use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::conditional::{Conditional, conditional};
use super::date::parse_date;
use super::etag::{ETag, etag};
use crate::record::{Lines, Record};

mod cut;
mod join;
mod part;
mod spec;
mod upstream_query;
mod want;

pub use cut::Cut;
pub use join::joined;
pub use part::{Part, kept_as, len_of_part, part_of, verdict_of_range};
pub use spec::Spec;
pub use upstream_query::{Returned, SentRange, Side, UpstreamQuery, plan_query};
pub use want::{RangeRequest, Ranges, Want};

pub(super) use part::{content_range_of, is_several};
use spec::MOST_RANGES;

/// What a Range is answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ranged {
    /// 200, the whole: no Range, one that is not understood, one whose If-Range does not hold, or
    /// too many ranges, or overlapping or descending ones (RFC 9110 §14.2).
    Whole,
    /// 206, from the first byte to the last, both included.
    Part {
        /// First byte.
        first: u64,
        /// Last byte.
        last: u64,
    },
    /// 206, several parts (RFC 9110 §14.6): ascending, apart from each other.
    Parts(Parts),
    /// 416.
    Unsatisfiable,
}

/// Several parts of a body, each from its first byte to its last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parts(Box<[(u64, u64)]>);

/// Judges what a request wants of a representation of `len` bytes. For a stored part, `len` is the length of
/// the whole. Conditions are judged before.
pub fn ranged(request: &HeaderMap, want: Want, record: &Record, len: u64) -> Ranged {
    let Want::Ranges(RangeRequest { ranges, .. }) = want else { return Ranged::Whole };
    let of_ok = record.status == StatusCode::OK || record.range.is_some();
    if !of_ok || !if_range_holds(request, record) {
        return Ranged::Whole;
    }
    let mut specs = [Spec::From(0); MOST_RANGES];
    let Some(count) = ranges.specs(request, &mut specs) else { return Ranged::Whole };
    let (mut spans, mut satisfied) = ([(0, 0); MOST_RANGES], 0);
    for span in specs[..count].iter().filter_map(|spec| spec.resolve(len)) {
        spans[satisfied] = span;
        satisfied += 1;
    }
    match &spans[..satisfied] {
        // An empty representation has no part to name, and the whole lacks nothing: a server may ignore any
        // Range (RFC 9110 §14.2).
        [] if len == 0 => Ranged::Whole,
        [] => Ranged::Unsatisfiable,
        &[(first, last)] => Ranged::Part { first, last },
        spans if spans.is_sorted_by(|(_, last), (first, _)| last < first) => {
            Ranged::Parts(Parts(spans.into()))
        }
        _ => Ranged::Whole,
    }
}

/// Returns whether a record has what a GET or HEAD wants. A whole record has. A stored part has it if the
/// answer is 304, which needs no content (RFC 9111 §4.3.2), or for a GET whose ranges lie in it or outside of
/// the whole. It never has it for a HEAD, whose response describes the whole.
pub fn answers(request: &HeaderMap, want: Want, record: &Record) -> bool {
    record.range.is_none()
        || conditional(request, record) == Conditional::NotModified
        || Cut::of(request, want, record, None) != Cut::Lacking
}

/// Content-Range of a part.
pub fn content_range(first: u64, last: u64, len: u64) -> HeaderValue {
    HeaderValue::try_from(format!("bytes {first}-{last}/{len}")).expect("digits and punctuation")
}

/// Content-Range of a 416.
pub fn unsatisfied_range(len: u64) -> HeaderValue {
    HeaderValue::try_from(format!("bytes */{len}")).expect("digits and punctuation")
}

/// Returns whether If-Range holds (RFC 9110 §13.1.5), or is absent: the same strong tag, or exactly the
/// Last-Modified, if that is strong: at least a second before Date (§8.8.2.2).
fn if_range_holds(request: &HeaderMap, record: &Record) -> bool {
    let mut lines = request.get_all(header::IF_RANGE).iter();
    let Some(asked) = lines.next() else { return true };
    if lines.next().is_some() {
        return false;
    }
    if let Some(asked) = ETag::parse(asked.as_bytes()) {
        return etag(&record.headers).is_some_and(|stored| stored.is_strongly(asked));
    }
    let dated = |field| record.headers.first(&field).and_then(parse_date);
    let (Some(asked), Some(modified)) = (parse_date(asked.as_bytes()), dated(header::LAST_MODIFIED)) else {
        return false;
    };
    asked == modified && dated(header::DATE).is_some_and(|date| modified.saturating_add(1000) <= date)
}

// === impl Parts ===

impl Parts {
    /// First and last byte of each, in order.
    pub fn spans(&self) -> &[(u64, u64)] {
        &self.0
    }
}

#[cfg(test)]
mod tests;
