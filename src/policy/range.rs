//! Ranges of a stored 200 (RFC 9110 §14).

use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::date::parse_date;
use super::etag::{ETag, etag};
use crate::record::Record;

/// More ranges than this are answered with the whole.
const MOST_RANGES: usize = 16;

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

/// One range as it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spec {
    From(u64),
    Between(u64, u64),
    Last(u64),
}

/// Judges the Range of a GET against a whole body of `len` bytes. Conditions come before it.
pub fn ranged(request: &HeaderMap, record: &Record, len: u64) -> Ranged {
    let mut lines = request.get_all(header::RANGE).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else { return Ranged::Whole };
    if record.status != StatusCode::OK || record.range.is_some() || !if_range_holds(request, record) {
        return Ranged::Whole;
    }
    let mut specs = [Spec::From(0); MOST_RANGES];
    let Some(count) = parse(line.as_bytes(), &mut specs) else { return Ranged::Whole };
    let (mut spans, mut satisfied) = ([(0, 0); MOST_RANGES], 0);
    for span in specs[..count].iter().filter_map(|spec| spec.resolve(len)) {
        spans[satisfied] = span;
        satisfied += 1;
    }
    match &spans[..satisfied] {
        // Zero bytes have no part to name, and nothing is missing from the whole.
        [] if len == 0 && specs[..count].iter().any(|spec| matches!(spec, Spec::Last(1..))) => Ranged::Whole,
        [] => Ranged::Unsatisfiable,
        &[(first, last)] => Ranged::Part { first, last },
        spans if spans.is_sorted_by(|(_, last), (first, _)| last < first) => {
            Ranged::Parts(Parts(spans.into()))
        }
        _ => Ranged::Whole,
    }
}

/// Content-Range of a part.
pub fn content_range(first: u64, last: u64, len: u64) -> HeaderValue {
    HeaderValue::try_from(format!("bytes {first}-{last}/{len}")).expect("digits and punctuation")
}

/// Content-Range of a 416.
pub fn unsatisfied_range(len: u64) -> HeaderValue {
    HeaderValue::try_from(format!("bytes */{len}")).expect("digits and punctuation")
}

/// If-Range (RFC 9110 §13.1.5): the same strong tag, or exactly the Last-Modified, if that is
/// strong: at least a second before Date (§8.8.2.2).
fn if_range_holds(request: &HeaderMap, record: &Record) -> bool {
    let mut lines = request.get_all(header::IF_RANGE).iter();
    let Some(asked) = lines.next() else { return true };
    if lines.next().is_some() {
        return false;
    }
    if let Some(asked) = ETag::parse(asked.as_bytes()) {
        return etag(&record.headers).is_some_and(|stored| stored.is_strongly(asked));
    }
    let dated = |field| record.headers.get(field).and_then(|date: &HeaderValue| parse_date(date.as_bytes()));
    let (Some(asked), Some(modified)) = (parse_date(asked.as_bytes()), dated(header::LAST_MODIFIED)) else {
        return false;
    };
    asked == modified && dated(header::DATE).is_some_and(|date| modified.saturating_add(1000) <= date)
}

/// The ranges of a line, how many; `None` if it is not a list of byte ranges, or too long a one.
fn parse(line: &[u8], specs: &mut [Spec; MOST_RANGES]) -> Option<usize> {
    let equals = line.iter().position(|&byte| byte == b'=')?;
    if !line[..equals].eq_ignore_ascii_case(b"bytes") {
        return None;
    }
    let mut count = 0;
    for member in line[equals + 1..].split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
        if !member.is_empty() {
            *specs.get_mut(count)? = Spec::parse(member)?;
            count += 1;
        }
    }
    (count > 0).then_some(count)
}

fn number(digits: &[u8]) -> Option<u64> {
    let all_digits = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    // More digits than a u64 holds: further than any body goes.
    all_digits.then(|| std::str::from_utf8(digits).ok()?.parse().ok().or(Some(u64::MAX))).flatten()
}

// === impl Parts ===

impl Parts {
    /// First and last byte of each, in order.
    pub fn spans(&self) -> &[(u64, u64)] {
        &self.0
    }
}

// === impl Spec ===

impl Spec {
    fn parse(member: &[u8]) -> Option<Self> {
        let dash = member.iter().position(|&byte| byte == b'-')?;
        let (first, last) = (&member[..dash], &member[dash + 1..]);
        if first.is_empty() {
            return number(last).map(Self::Last);
        }
        let first = number(first)?;
        if last.is_empty() {
            return Some(Self::From(first));
        }
        let last = number(last)?;
        (first <= last).then_some(Self::Between(first, last))
    }

    /// First and last byte of a body of `len` bytes; `None` if none of it is there.
    fn resolve(self, len: u64) -> Option<(u64, u64)> {
        let end = len.checked_sub(1)?;
        match self {
            Self::From(first) => (first < len).then_some((first, end)),
            Self::Between(first, last) => (first < len).then_some((first, last.min(end))),
            Self::Last(0) => None,
            Self::Last(count) => Some((len.saturating_sub(count), end)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Rules;
    use crate::policy::reuse::tests::record;

    fn asked(range: &str, len: u64) -> Ranged {
        let request = [(header::RANGE, HeaderValue::from_str(range).unwrap())].into_iter().collect();
        ranged(&request, &record("max-age=9", 9000, &Rules::default()), len)
    }

    #[test]
    fn one_range() {
        let part = |first, last| Ranged::Part { first, last };
        for (range, want) in [
            ("bytes=0-0", part(0, 0)),
            ("bytes=2-5", part(2, 5)),
            ("Bytes= 2-5 ", part(2, 5)),
            ("bytes=,2-5,", part(2, 5)),
            ("bytes=2-", part(2, 9)),
            ("bytes=2-99999999999999999999999", part(2, 9)),
            ("bytes=-3", part(7, 9)),
            ("bytes=-30", part(0, 9)),
            ("bytes=10-", Ranged::Unsatisfiable),
            ("bytes=10-12", Ranged::Unsatisfiable),
            ("bytes=-0", Ranged::Unsatisfiable),
            ("bytes=10-11, 20-", Ranged::Unsatisfiable),
            ("bytes=5-2", Ranged::Whole),
            ("bytes=a-b", Ranged::Whole),
            ("bytes=", Ranged::Whole),
            ("bytes=-", Ranged::Whole),
            ("bytes", Ranged::Whole),
            ("lines=1-2", Ranged::Whole),
            ("bytes=4-5, 20-", part(4, 5)),
            ("bytes=4-5, 0-1", Ranged::Whole),
            ("bytes=0-4, 4-5", Ranged::Whole),
            ("bytes=+1-2", Ranged::Whole),
            ("bytes=0-0,1-1,2-2,3-3,4-4,5-5,6-6,7-7,8-8,9-9,0-0,0-0,0-0,0-0,0-0,0-0,0-0", Ranged::Whole),
        ] {
            assert_eq!(asked(range, 10), want, "{range}");
        }
    }

    #[test]
    fn several_ranges() {
        for (range, want) in [
            ("bytes=0-1, 4-5", &[(0, 1), (4, 5)][..]),
            ("bytes=0-0,2-3, 30-, -1", &[(0, 0), (2, 3), (9, 9)]),
            ("bytes=0-4,5-", &[(0, 4), (5, 9)]),
        ] {
            let Ranged::Parts(parts) = asked(range, 10) else { panic!("{range}") };
            assert_eq!(parts.spans(), want, "{range}");
        }
    }

    #[test]
    fn of_nothing() {
        assert_eq!(asked("bytes=0-", 0), Ranged::Unsatisfiable);
        assert_eq!(asked("bytes=-5", 0), Ranged::Whole);
    }

    #[test]
    fn if_range() {
        let (early, late) = ("Sun, 06 Nov 1994 08:49:36 GMT", "Sun, 06 Nov 1994 08:49:37 GMT");
        let mut record = record("max-age=9", 9000, &Rules::default());
        for (stored, asked, want) in [
            (&[("etag", "\"a\"")][..], "\"a\"", true),
            (&[("etag", "\"a\"")], "\"b\"", false),
            (&[("etag", "W/\"a\"")], "W/\"a\"", false),
            (&[("etag", "\"a\"")], "nonsense", false),
            (&[("last-modified", early), ("date", late)], early, true),
            (&[("last-modified", early), ("date", late)], late, false),
            (&[("last-modified", early), ("date", early)], early, false),
            (&[("last-modified", early)], early, false),
        ] {
            record.headers =
                stored.iter().map(|(n, v)| (n.parse().unwrap(), HeaderValue::from_static(v))).collect();
            let mut request = HeaderMap::new();
            request.insert(header::RANGE, HeaderValue::from_static("bytes=0-1"));
            request.insert(header::IF_RANGE, HeaderValue::from_static(asked));
            let part = ranged(&request, &record, 10) == Ranged::Part { first: 0, last: 1 };
            assert_eq!(part, want, "{stored:?} {asked}");
        }
    }

    #[test]
    fn lines() {
        assert_eq!(content_range(0, 4, 10), "bytes 0-4/10");
        assert_eq!(unsatisfied_range(10), "bytes */10");
    }
}
