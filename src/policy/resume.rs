//! Resuming a body that broke off: what to ask for, whether the response is the rest of it, and whether two
//! fetches are of the same representation (RFC 9110 §14, RFC 9111 §3.4).

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::etag::etag;
use super::range::{Part, content_range_of, is_several};
use super::stored::content_length;
use crate::record::{Lines, Record};

/// The fields that ask for the rest of a body: Range from the first missing byte, If-Range with the strong
/// tag of the first part. `None` if only the whole will do: no strong tag, no known length, nothing there or
/// nothing missing.
///
/// `record` describes the body as it was to be, which may be a part; the length of its manifest is that of
/// the bytes that are there.
pub fn resumption(record: &Record) -> Option<HeaderMap> {
    etag(&record.headers).filter(|tag| !tag.is_weak())?;
    let (first, last, _) = rest(record)?;
    let mut conditions = HeaderMap::new();
    let range = match record.range() {
        None => format!("bytes={first}-"),
        Some(_) => format!("bytes={first}-{last}"),
    };
    conditions.insert(header::RANGE, HeaderValue::try_from(range).ok()?);
    conditions.insert(header::IF_RANGE, record.headers.value(&header::ETAG)?);
    Some(conditions)
}

/// Returns whether a response is exactly what is missing of a body: a 206 in one part, with the same strong
/// tag, coding and total length, from the first missing byte to the last (RFC 9110 §15.3.7.3). Anything else
/// is another body, or another part of it, and is never joined.
pub fn resumes(record: &Record, status: StatusCode, headers: &HeaderMap) -> bool {
    status == StatusCode::PARTIAL_CONTENT
        && rest(record).is_some_and(|missing| is_missing_part(record, missing, headers))
}

/// Returns whether the fields of a 206 say that it is this part of the same representation: under the same
/// strong tag, of the same coding and total length, and as long as it says.
pub(super) fn is_missing_part(record: &Record, missing: Part, headers: &HeaderMap) -> bool {
    let tags = (etag(&record.headers), etag(headers));
    let same_tag = matches!(tags, (Some(ours), Some(theirs)) if ours.is_strongly(theirs));
    let stated = headers.contains_key(header::CONTENT_LENGTH).then(|| content_length(headers));
    same_tag
        && same(record, headers, &header::CONTENT_ENCODING)
        && content_range_of(headers) == Some(missing)
        && !is_several(headers)
        && stated.is_none_or(|stated| stated == Some(missing.1 + 1 - missing.0))
}

/// Returns whether two fetches say that they are of the same part of the same representation, as far as their
/// heads can tell. A response that began with one may go on with the other only if they do, and if the bytes
/// are the same, which is not checked here.
pub fn same_representation(one: &Record, other: &Record) -> bool {
    one.range == other.range && is_again(one, other.status, &other.headers)
}

/// As [`same_representation`], of a response to the same question that no record is made of.
pub fn is_again(one: &Record, status: StatusCode, headers: &impl Lines) -> bool {
    const TOLD: [HeaderName; 6] = [
        header::ETAG,
        header::LAST_MODIFIED,
        header::CONTENT_ENCODING,
        header::CONTENT_LENGTH,
        header::CONTENT_TYPE,
        header::CONTENT_LANGUAGE,
    ];
    one.status == status && TOLD.iter().all(|field| same(one, headers, field))
}

/// What is missing of a body whose first bytes are there.
fn rest(record: &Record) -> Option<Part> {
    let there = record.body.len;
    let (first, last, total) = match record.range() {
        Some(part) => part,
        None if record.status == StatusCode::OK => {
            let whole = content_length(&record.headers)?;
            (0, whole.checked_sub(1)?, whole)
        }
        None => return None,
    };
    let next = first.checked_add(there)?;
    (there > 0 && next <= last).then_some((next, last, total))
}

fn same(record: &Record, other: &impl Lines, field: &HeaderName) -> bool {
    record.headers.lines(field).eq(other.lines(field))
}

#[cfg(test)]
mod tests {
    use crate::record::Manifest;
    use crate::testkit::fixtures;

    use super::*;

    fn fields(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        lines
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    fn record(lines: &[(&'static str, &'static str)], there: u64) -> Record {
        Record {
            headers: fields(lines).into(),
            fresh_ms: 1,
            body: Manifest { len: there, ..Manifest::default() },
            ..fixtures::record("http://h/a")
        }
    }

    #[test]
    fn the_rest_is_asked_for_only_under_a_strong_tag_and_a_known_length() {
        let strong = ("etag", "\"a\"");
        for (lines, there, want) in [
            (&[strong, ("content-length", "10")][..], 4, Some("bytes=4-")),
            (&[strong, ("content-length", "10")], 0, None),
            (&[strong, ("content-length", "10")], 10, None),
            (&[strong], 4, None),
            (&[("etag", "W/\"a\""), ("content-length", "10")], 4, None),
            (&[("content-length", "10")], 4, None),
        ] {
            let asked = resumption(&record(lines, there));
            let range = asked.as_ref().map(|fields| fields[header::RANGE].to_str().expect("text"));
            assert_eq!(range, want, "{lines:?} {there}");
            assert!(asked.is_none_or(|fields| fields[header::IF_RANGE] == "\"a\""));
        }
    }

    #[test]
    fn only_the_very_rest_is_joined() {
        let stored = record(&[("etag", "\"a\""), ("content-length", "10"), ("content-encoding", "br")], 4);
        let good = [("etag", "\"a\""), ("content-range", "bytes 4-9/10"), ("content-encoding", "br")];
        assert!(resumes(&stored, StatusCode::PARTIAL_CONTENT, &fields(&good)));
        let with_length = [good[0], good[1], good[2], ("content-length", "6")];
        assert!(resumes(&stored, StatusCode::PARTIAL_CONTENT, &fields(&with_length)));
        assert!(!resumes(&stored, StatusCode::OK, &fields(&good)), "the whole");
        for (at, bad) in [
            (0, ("etag", "\"b\"")),
            (0, ("etag", "W/\"a\"")),
            (0, ("x-none", "")),
            (1, ("content-range", "bytes 3-9/10")),
            (1, ("content-range", "bytes 4-8/10")),
            (1, ("content-range", "bytes 4-9/11")),
            (1, ("content-range", "bytes 4-9/*")),
            (1, ("content-range", "items 4-9/10")),
            (1, ("content-type", "multipart/byteranges")),
            (2, ("content-encoding", "gzip")),
            (2, ("x-none", "")),
        ] {
            let mut lines = good;
            lines[at] = bad;
            assert!(!resumes(&stored, StatusCode::PARTIAL_CONTENT, &fields(&lines)), "{bad:?}");
        }
        let several = [good[0], good[1], good[2], ("content-type", "multipart/byteranges; boundary=x")];
        assert!(
            !resumes(&stored, StatusCode::PARTIAL_CONTENT, &fields(&several)),
            "its bytes are not the body's"
        );
        let wrong = [good[0], good[1], good[2], ("content-length", "7")];
        assert!(!resumes(&stored, StatusCode::PARTIAL_CONTENT, &fields(&wrong)));
    }

    #[test]
    fn heads_of_two_representations_differ() {
        let other = |lines: &[(&'static str, &'static str)]| record(lines, 0);
        let one = record(&[("etag", "\"a\""), ("content-length", "10"), ("date", "then")], 4);
        let same = other(&[("etag", "\"a\""), ("content-length", "10"), ("date", "now"), ("age", "3")]);
        assert!(same_representation(&one, &same));
        assert!(!same_representation(&one, &Record { status: StatusCode::NOT_FOUND, ..same.clone() }));
        assert!(!same_representation(&one, &Record { range: Some(Box::new((0, 9, 20))), ..same }));
        for lines in [
            &[("etag", "\"b\""), ("content-length", "10")][..],
            &[("etag", "\"a\""), ("content-length", "11")],
            &[("content-length", "10")],
        ] {
            assert!(!same_representation(&one, &other(lines)), "{lines:?}");
        }
    }

    #[test]
    fn a_part_that_broke_off_is_gone_on_with() {
        let mut part = record(&[("etag", "\"a\""), ("content-length", "10")], 4);
        (part.status, part.range) = (StatusCode::PARTIAL_CONTENT, Some(Box::new((20, 29, 100))));
        assert_eq!(resumption(&part).unwrap()["range"], "bytes=24-29");
        let answer = |range| fields(&[("etag", "\"a\""), ("content-range", range)]);
        let status = StatusCode::PARTIAL_CONTENT;
        assert!(resumes(&part, status, &answer("bytes 24-29/100")));
        for other in ["bytes 24-99/100", "bytes 4-9/10", "bytes 24-29/101", "bytes 20-29/100"] {
            assert!(!resumes(&part, status, &answer(other)), "{other}");
        }
        part.body.len = 10;
        assert_eq!(resumption(&part), None);
    }
}
