//! What a fill asks upstream for, given what is stored.

use http::{HeaderMap, StatusCode, header};

use super::part::{is_strongly_tagged, refuses_the_range};
use super::{Part, Ranged, Spec, Want, answers, ranged};
use crate::policy::etag::etag;
use crate::policy::resume::is_missing_part;
use crate::policy::revalidate::validators;
use crate::policy::rules::{RangeMode, Rules};
use crate::record::{MAX_SEGMENTS, Record};

/// A stored part of more segments than this is not continued behind its end: the missing part would not fit.
const MOST_JOINED: usize = MAX_SEGMENTS / 4 * 3;
/// The same in front of it, where the missing part is cut into segments as if it stood alone.
const MOST_BEHIND: usize = MAX_SEGMENTS / 4;

/// What a fill asks upstream for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamQuery {
    /// The request's own range, on a route that forwards it.
    own: Option<Spec>,
    with: With,
}

/// What becomes of the stored record.
#[derive(Debug, Clone, PartialEq, Eq)]
enum With {
    /// The response replaces it.
    Nothing,
    /// It has what the request wants, and is validated under these conditions.
    Validated(HeaderMap),
    /// The missing part is joined to it, on this side. `whole`: only that part or the whole is of use, so it
    /// is asked for under If-Range.
    Joined { side: Side, missing: Part, whole: bool },
}

/// The range that a fill's request carries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SentRange {
    /// None: the whole is asked for.
    #[default]
    None,
    /// The client's own.
    Own(Spec),
    /// What is missing of a body.
    Missing,
}

/// On which side of a stored part the missing part lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// In front of it.
    Before,
    /// Behind it.
    Behind,
}

/// What the response to an [`UpstreamQuery`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Returned {
    /// A response to be judged by itself.
    Answer,
    /// 304, which says that the stored record is still valid.
    Validated,
    /// Exactly the missing part, of the same representation.
    Joins(Side, Part),
    /// Neither the missing part nor of use by itself: the fill asks again as if nothing was stored.
    Useless,
    /// As `Useless`, and of another version: the stored record is of no more use.
    Outdated,
}

/// Plans what to ask for. `stored` is the record under the key, whole or a part, its manifest included. The
/// caller has checked that no purge covers it and that the request selects it.
///
/// For several ranges, or an If-Range that the stored record does not meet, the whole is asked for: the
/// request is answered from it as it comes. Only one span of a representation is kept, so parts are joined if
/// they touch or overlap; else the new part replaces the stored one.
pub fn plan_query(request: &HeaderMap, want: Want, stored: Option<&Record>, rules: &Rules) -> UpstreamQuery {
    let want = want.of_fill();
    let own = want.forwarded();
    let nothing = UpstreamQuery { own, with: With::Nothing };
    let Some(record) = stored else { return nothing };
    if answers(request, want, record) {
        let with = validators(record).map_or(With::Nothing, With::Validated);
        return UpstreamQuery { own, with };
    }
    let Some(part @ (_, _, total)) = record.range().filter(|_| rules.range == RangeMode::Segment) else {
        return nothing;
    };
    let wanted = match ranged(request, want, record, total) {
        Ranged::Part { first, last } => (first, last),
        Ranged::Whole | Ranged::Parts(_) => (0, total - 1),
        Ranged::Unsatisfiable => return nothing,
    };
    match missing(part, wanted) {
        Some((side, missing)) if may_join(record, side, missing, rules) => {
            UpstreamQuery { own, with: With::Joined { side, missing, whole: own.is_none() } }
        }
        _ => nothing,
    }
}

/// The missing part of `wanted`, if it makes one span with the stored part.
fn missing((first, last, total): Part, (from, to): (u64, u64)) -> Option<(Side, Part)> {
    if first <= from && from <= last + 1 && last < to {
        Some((Side::Behind, (last + 1, to, total)))
    } else if from < first && first <= to + 1 && to <= last {
        Some((Side::Before, (from, first - 1, total)))
    } else {
        None
    }
}

/// Returns whether a response has the tag of another version than the stored one.
fn is_other_version(record: &Record, headers: &HeaderMap) -> bool {
    let (ours, theirs) = (etag(&record.headers), etag(headers));
    theirs.is_some_and(|theirs| ours.is_some_and(|ours| !ours.is_strongly(theirs)))
}

fn may_join(record: &Record, side: Side, (from, to, _): Part, rules: &Rules) -> bool {
    let len = record.body.len.saturating_add(to - from + 1);
    let most = match side {
        Side::Before => MOST_BEHIND,
        Side::Behind => MOST_JOINED,
    };
    is_strongly_tagged(&record.headers) && record.body.segments.len() <= most && len <= rules.max_object_size
}

// === impl UpstreamQuery ===

impl UpstreamQuery {
    /// The same query, as if nothing was stored.
    #[must_use]
    pub fn plain(self) -> Self {
        Self { with: With::Nothing, ..self }
    }

    /// The range that is sent.
    pub fn range(&self) -> SentRange {
        match (&self.with, self.own) {
            (With::Joined { .. }, _) => SentRange::Missing,
            (With::Nothing | With::Validated(_), Some(own)) => SentRange::Own(own),
            (With::Nothing | With::Validated(_), None) => SentRange::None,
        }
    }

    /// The conditions and the range that are sent.
    pub fn fields(&self, stored: Option<&Record>) -> HeaderMap {
        let mut fields = match &self.with {
            With::Validated(conditions) => conditions.clone(),
            With::Nothing | With::Joined { .. } => HeaderMap::new(),
        };
        if let SentRange::Own(own) = self.range() {
            fields.insert(header::RANGE, own.field());
        }
        if let With::Joined { missing: (first, last, total), whole, .. } = self.with {
            let spec = if last + 1 == total { Spec::From(first) } else { Spec::Between(first, last) };
            fields.insert(header::RANGE, spec.field());
            // Without If-Range, another version answers with that part of its own, and not with the whole,
            // which may be large: then the request's own range is asked for.
            if whole && let Some(tag) = stored.and_then(|record| record.headers.value(&header::ETAG)) {
                fields.insert(header::IF_RANGE, tag);
            }
        }
        fields
    }

    /// Judges the response. `stored` is the record that the query was planned for.
    pub fn returned(&self, stored: Option<&Record>, status: StatusCode, headers: &HeaderMap) -> Returned {
        match &self.with {
            With::Validated(_) if status == StatusCode::NOT_MODIFIED => Returned::Validated,
            With::Nothing | With::Validated(_) => Returned::Answer,
            With::Joined { side, missing, .. } => match status {
                StatusCode::PARTIAL_CONTENT
                    if stored.is_some_and(|record| is_missing_part(record, *missing, headers)) =>
                {
                    Returned::Joins(*side, *missing)
                }
                StatusCode::PARTIAL_CONTENT
                    if stored.is_some_and(|record| is_other_version(record, headers)) =>
                {
                    Returned::Outdated
                }
                StatusCode::PARTIAL_CONTENT | StatusCode::NOT_MODIFIED => Returned::Useless,
                status if refuses_the_range(status) => Returned::Useless,
                _ => Returned::Answer,
            },
        }
    }
}

// === impl SentRange ===

impl SentRange {
    /// The client's own range, if that is what goes out.
    pub fn own(self) -> Option<Spec> {
        match self {
            Self::Own(spec) => Some(spec),
            Self::None | Self::Missing => None,
        }
    }

    /// Returns whether the whole is asked for.
    pub fn is_none(self) -> bool {
        self == Self::None
    }
}

#[cfg(test)]
mod tests;
