//! Responses that do not fit their request, such as a 304 without a condition: they mean nothing to the
//! client.

use http::{HeaderMap, StatusCode, header};

use super::range::is_several;

/// What in a request makes a 304 or 206 a fitting response.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Asks {
    /// A condition that 304 answers: If-None-Match or If-Modified-Since (RFC 9110 §15.4.5).
    pub conditional: bool,
    /// A Range (RFC 9110 §15.3.7).
    pub ranged: bool,
}

/// How a response does not fit its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unasked {
    /// 304, without a condition.
    NotModified,
    /// 206 with a part of bytes, without a Range.
    Part,
}

/// Returns how the response to a GET or HEAD does not fit it; `None` if it does. A 206 in another unit than
/// bytes fits: some APIs page by it, without a Range. So does 416, an error like any other.
pub fn unasked(asks: Asks, status: StatusCode, headers: &HeaderMap) -> Option<Unasked> {
    match status {
        StatusCode::NOT_MODIFIED if !asks.conditional => Some(Unasked::NotModified),
        StatusCode::PARTIAL_CONTENT if !asks.ranged && is_of_bytes(headers) => Some(Unasked::Part),
        _ => None,
    }
}

fn is_of_bytes(headers: &HeaderMap) -> bool {
    let unit = |range: &http::HeaderValue| {
        range.as_bytes().trim_ascii().get(..6).is_some_and(|unit| unit.eq_ignore_ascii_case(b"bytes "))
    };
    is_several(headers) || headers.get_all(header::CONTENT_RANGE).iter().any(unit)
}

// === impl Asks ===

impl Asks {
    /// Reads a request's fields.
    pub fn of(headers: &HeaderMap) -> Self {
        let has = |field| headers.contains_key(field);
        Self {
            conditional: has(header::IF_NONE_MATCH) || has(header::IF_MODIFIED_SINCE),
            ranged: has(header::RANGE),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    fn map(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        lines.iter().map(|(n, v)| (HeaderName::from_static(n), http::HeaderValue::from_static(v))).collect()
    }

    #[test]
    fn what_means_nothing_to_who_did_not_ask() {
        let (range, bytes) = (("range", "bytes=0-1"), ("content-range", "bytes 0-1/9"));
        let several = ("content-type", "multipart/byteranges; boundary=x");
        for (asked, status, told, want) in [
            (&[][..], 304, &[][..], Some(Unasked::NotModified)),
            (&[range], 304, &[], Some(Unasked::NotModified)),
            (&[("if-match", "\"a\"")], 304, &[], Some(Unasked::NotModified)),
            (&[("if-none-match", "\"a\"")], 304, &[], None),
            (&[("if-modified-since", "x")], 304, &[], None),
            (&[], 206, &[bytes], Some(Unasked::Part)),
            (&[], 206, &[several], Some(Unasked::Part)),
            (&[("if-none-match", "\"a\"")], 206, &[bytes], Some(Unasked::Part)),
            (&[range], 206, &[bytes], None),
            (&[], 206, &[("content-range", "0-14/3573")], None),
            (&[], 206, &[("content-range", "items 0-14/3573")], None),
            (&[], 206, &[], None),
            (&[], 416, &[], None),
            (&[], 200, &[bytes], None),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(
                unasked(Asks::of(&map(asked)), status, &map(told)),
                want,
                "{asked:?} {status} {told:?}"
            );
        }
    }
}
