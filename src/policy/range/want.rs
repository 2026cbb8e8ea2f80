//! What a request wants of a representation: determined once, and used wherever ranges matter.

use http::{HeaderMap, Method, header};

use super::Spec;
use super::spec::{MOST_RANGES, parse};
use crate::policy::pass::PassReason;
use crate::policy::rules::{RangeMode, Rules};

/// What a request wants of the representation that its key names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Want {
    /// All of it. A request that is not looked up wants this, too, whatever its fields say.
    #[default]
    Whole,
    /// What its Range names.
    Ranges(RangeRequest),
    /// Its fields alone: HEAD. Its Range, if it has one, selects nothing (RFC 9110 §14.2).
    Head(Option<RangeRequest>),
}

/// The Range of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RangeRequest {
    /// What it names.
    pub ranges: Ranges,
    /// What it leads to if nothing stored answers it. [`RangeMode::Segment`] only for one range without
    /// If-Range: nothing else is forwarded, so the whole is fetched.
    pub mode: RangeMode,
}

/// What a Range names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ranges {
    /// One range.
    One(Spec),
    /// More than one, and no more than are answered: they are parsed from the field again.
    Several,
    /// No valid ranges of bytes, too many, or not one field line: the Range is ignored (RFC 9110 §14.2).
    Ignored,
}

// === impl Want ===

impl Want {
    /// What a GET or HEAD wants.
    pub fn of(method: &Method, range: Option<RangeRequest>) -> Self {
        match range {
            range if method == Method::HEAD => Self::Head(range),
            Some(range) => Self::Ranges(range),
            None => Self::Whole,
        }
    }

    /// Returns whether it is a HEAD's.
    pub fn is_head(self) -> bool {
        matches!(self, Self::Head(_))
    }

    /// Returns whether the request has a Range, even one that selects nothing.
    pub fn is_ranged(self) -> bool {
        self.range().is_some()
    }

    /// The one range that a fill forwards, if any.
    pub fn forwarded(self) -> Option<Spec> {
        match self.range()? {
            RangeRequest { ranges: Ranges::One(spec), mode: RangeMode::Segment } => Some(spec),
            RangeRequest { .. } => None,
        }
    }

    /// Returns whether a remembered pass holds for the request. A whole that was too large says nothing of a
    /// part that is fetched and stored by itself.
    pub fn is_bound_by(self, pass: PassReason) -> bool {
        pass != PassReason::TooLarge || self.forwarded().is_none()
    }

    /// What a fill for the request wants: fills are GETs, and a HEAD's Range goes out with the refresh that
    /// the HEAD begins.
    #[must_use]
    pub fn of_fill(self) -> Self {
        match self {
            Self::Head(range) => Self::of(&Method::GET, range),
            Self::Whole | Self::Ranges(_) => self,
        }
    }

    fn range(self) -> Option<RangeRequest> {
        match self {
            Self::Whole => None,
            Self::Ranges(range) => Some(range),
            Self::Head(range) => range,
        }
    }
}

// === impl RangeRequest ===

impl RangeRequest {
    /// The Range of a request with these fields, if it has one.
    pub fn of(request: &HeaderMap, rules: &Rules) -> Option<Self> {
        let mut lines = request.get_all(header::RANGE).iter();
        let line = lines.next()?;
        let ranges = if lines.next().is_some() { Ranges::Ignored } else { Ranges::parse(line.as_bytes()) };
        let forwarded = matches!(ranges, Ranges::One(_)) && !request.contains_key(header::IF_RANGE);
        let mode = match rules.range {
            RangeMode::Segment if !forwarded => RangeMode::Fill,
            mode => mode,
        };
        Some(Self { ranges, mode })
    }
}

// === impl Ranges ===

impl Ranges {
    fn parse(line: &[u8]) -> Self {
        let mut specs = [Spec::From(0); MOST_RANGES];
        match parse(line, &mut specs) {
            None => Self::Ignored,
            Some(1) => Self::One(specs[0]),
            Some(_) => Self::Several,
        }
    }

    /// The ranges and how many they are; `None` if the Range is ignored. Several are too long to be
    /// carried along, so they are read again.
    pub(super) fn specs(self, request: &HeaderMap, specs: &mut [Spec; MOST_RANGES]) -> Option<usize> {
        match self {
            Self::One(spec) => {
                specs[0] = spec;
                Some(1)
            }
            Self::Several => parse(request.get(header::RANGE)?.as_bytes(), specs),
            Self::Ignored => None,
        }
    }
}

#[cfg(test)]
pub(in crate::policy) mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::policy::{RequestClass, entrance};

    /// What a request with these fields wants, as its entrance tells.
    pub(in crate::policy) fn want_of(method: &Method, headers: &HeaderMap, mode: RangeMode) -> Want {
        let rules = Rules { range: mode, ..Rules::default() };
        let RequestClass::Lookup(ask) = entrance(method, headers, &rules) else { panic!("looked up") };
        ask.want
    }

    fn fields(range: &[&'static str], if_range: Option<&'static str>) -> HeaderMap {
        let range = range.iter().map(|line| (header::RANGE, HeaderValue::from_static(line)));
        let if_range = if_range.map(|tag| (header::IF_RANGE, HeaderValue::from_static(tag)));
        range.chain(if_range).collect()
    }

    const TAG: Option<&str> = Some("\"a\"");

    #[test]
    fn what_a_request_wants_by_its_range_and_its_routes_mode() {
        use RangeMode::{Fill, Pass, Segment};
        let (one, several) = (Ranges::One(Spec::Between(0, 9)), Ranges::Several);
        for (range, if_range, ranges, modes) in [
            (&["bytes=0-9"][..], None, one, [Fill, Pass, Segment]),
            (&["bytes=0-9"], TAG, one, [Fill, Pass, Fill]),
            (&["bytes=0-9"], Some("nonsense"), one, [Fill, Pass, Fill]),
            (&["Bytes= 5- ,"], None, Ranges::One(Spec::From(5)), [Fill, Pass, Segment]),
            (&["bytes=-007"], None, Ranges::One(Spec::Last(7)), [Fill, Pass, Segment]),
            (&["bytes=-0"], None, Ranges::One(Spec::Last(0)), [Fill, Pass, Segment]),
            (&["bytes=0-0,2-3"], None, several, [Fill, Pass, Fill]),
            (&["bytes=0-0,2-3"], TAG, several, [Fill, Pass, Fill]),
            (&["bytes=4-5,0-1"], None, several, [Fill, Pass, Fill]),
            (&["bytes=0-0", "bytes=0-0"], None, Ranges::Ignored, [Fill, Pass, Fill]),
            (&["lines=0-0"], None, Ranges::Ignored, [Fill, Pass, Fill]),
            (&["bytes=5-2"], None, Ranges::Ignored, [Fill, Pass, Fill]),
            (&["bytes="], TAG, Ranges::Ignored, [Fill, Pass, Fill]),
            (&[""], None, Ranges::Ignored, [Fill, Pass, Fill]),
            (
                &["bytes=0-0,1-1,2-2,3-3,4-4,5-5,6-6,7-7,8-8,9-9,0-0,0-0,0-0,0-0,0-0,0-0,0-0"],
                None,
                Ranges::Ignored,
                [Fill, Pass, Fill],
            ),
        ] {
            let headers = fields(range, if_range);
            for (mode, of_request) in [Fill, Pass, Segment].into_iter().zip(modes) {
                let asked = RangeRequest { ranges, mode: of_request };
                let said = format!("{range:?} {if_range:?} {mode:?}");
                assert_eq!(want_of(&Method::GET, &headers, mode), Want::Ranges(asked), "{said}");
                assert_eq!(want_of(&Method::HEAD, &headers, mode), Want::Head(Some(asked)), "{said}");
            }
        }
        for mode in [Fill, Pass, Segment] {
            assert_eq!(want_of(&Method::GET, &fields(&[], None), mode), Want::Whole);
            assert_eq!(want_of(&Method::GET, &fields(&[], TAG), mode), Want::Whole);
            assert_eq!(want_of(&Method::HEAD, &fields(&[], TAG), mode), Want::Head(None));
        }
    }

    #[test]
    fn only_one_range_is_forwarded_and_only_where_the_route_says_so() {
        for (range, if_range, mode, forwarded) in [
            (&["bytes=0-9"][..], None, RangeMode::Segment, Some(Spec::Between(0, 9))),
            (&["bytes=0-9"], None, RangeMode::Fill, None),
            (&["bytes=0-9"], None, RangeMode::Pass, None),
            (&["bytes=0-9"], TAG, RangeMode::Segment, None),
            (&["bytes=0-0,2-3"], None, RangeMode::Segment, None),
            (&["lines=0-0"], None, RangeMode::Segment, None),
            (&[], None, RangeMode::Segment, None),
        ] {
            for method in [Method::GET, Method::HEAD] {
                let want = want_of(&method, &fields(range, if_range), mode);
                assert_eq!(want.forwarded(), forwarded, "{method} {range:?} {if_range:?} {mode:?}");
                assert_eq!(want.is_bound_by(PassReason::TooLarge), forwarded.is_none());
                assert!(want.is_bound_by(PassReason::Private));
                assert_eq!((want.is_ranged(), want.is_head()), (!range.is_empty(), method == Method::HEAD));
            }
        }
    }

    #[test]
    fn a_fill_for_a_head_asks_as_a_get_would() {
        for range in [&["bytes=0-9"][..], &["lines=0-0"], &[]] {
            let headers = fields(range, None);
            let of = |method| want_of(method, &headers, RangeMode::Segment);
            assert_eq!(of(&Method::HEAD).of_fill(), of(&Method::GET), "{range:?}");
            assert_eq!(of(&Method::GET).of_fill(), of(&Method::GET), "{range:?}");
        }
    }
}
