//! The 206 of a fill that asked for a range: whether it is what was asked for, and what is kept
//! of it (RFC 9110 §15.3.7, RFC 9111 §3.3).

use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::Spec;
use crate::policy::etag::etag;
use crate::policy::pass::PassReason;
use crate::policy::request::RequestFacts;
use crate::policy::rules::Rules;
use crate::policy::stored::content_length;
use crate::policy::verdict::{Answer, Framing, Verdict, is_transient, verdict};
use crate::record::Lines;

/// First byte, last byte and length of the whole.
pub type Part = (u64, u64, u64);

/// The part that a 206 carries, if it is the one that was asked for: a single one, with its total length, and
/// with as many bytes as it says.
pub fn part_of(asked: Spec, headers: &HeaderMap, framing: Framing) -> Option<Part> {
    let part = content_range_of(headers)?;
    let (first, last, total) = part;
    let len = last - first + 1;
    let stated = !headers.contains_key(header::CONTENT_LENGTH) || content_length(headers) == Some(len);
    let framed = match framing {
        Framing::Length(framed) => framed == len,
        Framing::Framed | Framing::Close => true,
    };
    (asked.resolve(total) == Some((first, last)) && !is_several(headers) && stated && framed).then_some(part)
}

/// Judges the answer to a fill that asked for a range. A 206 is judged as the 200 that it is a part of, and
/// stored only under a strong tag: without one it could never be joined, nor distinguished from a part of
/// another version. A refused range says nothing of the whole, so of client errors only 404 and 410 are
/// stored.
pub fn verdict_of_range(ask: &RequestFacts, answer: &Answer, asked: Spec, rules: &Rules) -> Verdict {
    let status = answer.status;
    if status == StatusCode::PARTIAL_CONTENT {
        if part_of(asked, answer.headers, answer.framing).is_none() {
            return Verdict::Pass(PassReason::Partial);
        }
        let of_whole = verdict(ask, &Answer { status: StatusCode::OK, ..*answer }, rules);
        return match of_whole {
            Verdict::Store(lifetime) if !is_strongly_tagged(answer.headers) => {
                Verdict::Share { lifetime, why: PassReason::Partial }
            }
            verdict => verdict,
        };
    }
    if refuses_the_range(status) {
        return Verdict::Pass(PassReason::NotCacheableStatus);
    }
    verdict(ask, answer, rules)
}

/// Returns whether a response may refuse the range alone: a client error, but not 404, 410 or a transient
/// one.
pub(super) fn refuses_the_range(status: StatusCode) -> bool {
    let definite = matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE);
    status.is_client_error() && !definite && !is_transient(status)
}

/// Makes the fields of a part those of its record: without Content-Range, which each response has of its own,
/// and with the part's length. Returns the record's status and range. A part that covers everything is the
/// whole.
pub fn kept_as(part: Part, headers: &mut HeaderMap) -> (StatusCode, Option<Part>) {
    let (first, last, total) = part;
    headers.remove(header::CONTENT_RANGE);
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(last - first + 1));
    if first == 0 && last + 1 == total {
        (StatusCode::OK, None)
    } else {
        (StatusCode::PARTIAL_CONTENT, Some(part))
    }
}

/// First byte, last byte and length of the whole, of a Content-Range that says all three.
pub(in super::super) fn content_range_of(headers: &HeaderMap) -> Option<Part> {
    let (first, last, total) = span_of(headers)?;
    total.map(|total| (first, last, total))
}

/// The length of a response's content by its Content-Range, if it is a 206 in one part.
pub fn len_of_part(status: StatusCode, headers: &HeaderMap) -> Option<u64> {
    if status != StatusCode::PARTIAL_CONTENT || is_several(headers) {
        return None;
    }
    let (first, last, _) = span_of(headers)?;
    (last - first).checked_add(1)
}

/// First byte, last byte and, if it is known, length of the whole, of the one Content-Range that there
/// is.
fn span_of(headers: &HeaderMap) -> Option<(u64, u64, Option<u64>)> {
    let mut lines = headers.get_all(header::CONTENT_RANGE).iter();
    let (line, None) = (lines.next()?, lines.next()) else { return None };
    let (unit, rest) = line.to_str().ok()?.trim().split_once(' ')?;
    let (span, total) = rest.trim().split_once('/')?;
    let (first, last) = span.split_once('-')?;
    let number = |digits: &str| {
        let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        plain.then(|| digits.parse::<u64>().ok()).flatten()
    };
    let (first, last) = (number(first)?, number(last)?);
    let total = if total == "*" { None } else { Some(number(total)?) };
    let adds_up = first <= last && total.is_none_or(|total| last < total);
    (unit.eq_ignore_ascii_case("bytes") && adds_up).then_some((first, last, total))
}

/// Returns whether a 206 carries several parts, whatever its other fields say (RFC 9110 §15.3.7.2).
pub(in super::super) fn is_several(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    kind.get(..10).is_some_and(|kind| kind.eq_ignore_ascii_case(b"multipart/"))
}

pub(super) fn is_strongly_tagged(headers: &impl Lines) -> bool {
    etag(headers).is_some_and(|tag| !tag.is_weak())
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    fn map(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        lines.iter().map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v))).collect()
    }

    #[test]
    fn a_part_is_what_was_asked_for_and_as_long_as_it_says() {
        let four = Spec::Between(2, 5);
        for (asked, lines, framing, want) in [
            (four, &[("content-range", "bytes 2-5/10")][..], Framing::Framed, Some((2, 5, 10))),
            (four, &[("content-range", "BYTES 2-5/10")], Framing::Length(4), Some((2, 5, 10))),
            (Spec::From(2), &[("content-range", "bytes 2-9/10")], Framing::Length(8), Some((2, 9, 10))),
            (Spec::Last(3), &[("content-range", "bytes 7-9/10")], Framing::Length(3), Some((7, 9, 10))),
            (
                Spec::Between(2, 50),
                &[("content-range", "bytes 2-9/10")],
                Framing::Length(8),
                Some((2, 9, 10)),
            ),
            // Six bytes declared, five carried.
            (Spec::Between(2, 7), &[("content-range", "bytes 2-7/10")], Framing::Length(5), None),
            (four, &[("content-range", "bytes 2-5/10"), ("content-length", "5")], Framing::Framed, None),
            (four, &[("content-range", "bytes 2-5/10"), ("content-length", "x")], Framing::Framed, None),
            // Not all of it, more of it, or something else.
            (four, &[("content-range", "bytes 2-4/10")], Framing::Length(3), None),
            (four, &[("content-range", "bytes 2-6/10")], Framing::Length(5), None),
            (Spec::Last(3), &[("content-range", "bytes 0-2/10")], Framing::Length(3), None),
            (Spec::From(2), &[("content-range", "bytes 2-5/10")], Framing::Length(4), None),
            // No total, no range, several.
            (four, &[("content-range", "bytes 2-5/*")], Framing::Length(4), None),
            (four, &[], Framing::Length(4), None),
            (four, &[("content-type", "multipart/byteranges; boundary=x")], Framing::Framed, None),
            (
                four,
                &[("content-range", "bytes 2-5/10"), ("content-type", "Multipart/ByteRanges")],
                Framing::Length(4),
                None,
            ),
            (four, &[("content-range", "items 2-5/10")], Framing::Length(4), None),
        ] {
            assert_eq!(part_of(asked, &map(lines), framing), want, "{asked:?} {lines:?}");
        }
    }

    #[test]
    fn how_long_a_part_is_by_its_range() {
        let several = ("content-type", "multipart/byteranges; boundary=x");
        for (status, lines, want) in [
            (206, &[("content-range", "bytes 2-5/10")][..], Some(4)),
            (206, &[("content-range", "bytes 2-5/*")], Some(4)),
            (206, &[("content-range", "bytes 0-18446744073709551615/*")], None),
            (206, &[("content-range", "bytes 2-5/5")], None),
            (206, &[("content-range", "bytes 2-5/x")], None),
            (206, &[("content-range", "items 2-5/10")], None),
            (206, &[("content-range", "bytes 2-5/10"), several], None),
            (206, &[], None),
            (200, &[("content-range", "bytes 2-5/10")], None),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(len_of_part(status, &map(lines)), want, "{status} {lines:?}");
        }
    }

    fn judged(status: u16, lines: &[(&'static str, &'static str)]) -> Verdict {
        let status = StatusCode::from_u16(status).unwrap();
        let answer = Answer {
            status,
            headers: &map(lines),
            requested_at: 0,
            received_at: 0,
            framing: Framing::Length(4),
        };
        verdict_of_range(&RequestFacts::default(), &answer, Spec::Between(2, 5), &Rules::default())
    }

    #[test]
    fn what_is_stored_of_the_answers_to_a_range() {
        let (range, tag, fresh) =
            (("content-range", "bytes 2-5/10"), ("etag", "\"a\""), ("cache-control", "max-age=60"));
        let stored = |verdict| matches!(verdict, Verdict::Store(_));
        let shared = |verdict| matches!(verdict, Verdict::Share { why: PassReason::Partial, .. });
        assert!(stored(judged(206, &[range, tag, fresh])));
        assert!(stored(judged(206, &[range, tag])), "to be validated, like a 200");
        assert!(shared(judged(206, &[range, fresh])));
        assert!(shared(judged(206, &[range, ("etag", "W/\"a\""), fresh])));
        assert_eq!(judged(206, &[tag, fresh]), Verdict::Pass(PassReason::Partial));
        let private = ("cache-control", "private, max-age=60");
        assert_eq!(judged(206, &[range, tag, private]), Verdict::Pass(PassReason::Private));
        assert!(stored(judged(200, &[fresh])));
        assert!(stored(judged(404, &[fresh])));
        for refused in [400, 403, 412, 416] {
            assert_eq!(judged(refused, &[fresh]), Verdict::Pass(PassReason::NotCacheableStatus), "{refused}");
        }
        assert!(matches!(judged(503, &[]), Verdict::Failed { .. }));
    }

    #[test]
    fn a_part_that_is_all_there_is_is_the_whole() {
        let mut headers = map(&[("content-range", "bytes 0-9/10")]);
        assert_eq!(kept_as((0, 9, 10), &mut headers), (StatusCode::OK, None));
        assert_eq!(headers, map(&[("content-length", "10")]));
        let mut headers = map(&[("content-range", "bytes 0-8/10")]);
        assert_eq!(kept_as((0, 8, 10), &mut headers), (StatusCode::PARTIAL_CONTENT, Some((0, 8, 10))));
        assert_eq!(headers, map(&[("content-length", "9")]));
    }
}
