//! Conditions that are answered from a record (RFC 9110 §13, RFC 9111 §4.3.2).

use http::{HeaderMap, StatusCode, header};

use super::date::parse_date;
use super::etag::{etag, list};
use crate::record::{Lines, Record};

/// What a conditional GET or HEAD is answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conditional {
    /// The stored response, or a part of it.
    Send,
    /// 304.
    NotModified,
}

/// Judges If-None-Match, or where there is none If-Modified-Since, against a stored 200, or a
/// stored part of one. A record without Last-Modified is judged by its Date.
pub fn conditional(request: &HeaderMap, record: &Record) -> Conditional {
    if record.status != StatusCode::OK && record.range.is_none() {
        return Conditional::Send;
    }
    if request.contains_key(header::IF_NONE_MATCH) {
        return if matches_any(request, record) { Conditional::NotModified } else { Conditional::Send };
    }
    let mut since = request.get_all(header::IF_MODIFIED_SINCE).iter();
    let (Some(since), None) = (since.next(), since.next()) else { return Conditional::Send };
    let Some(since) = parse_date(since.as_bytes()) else { return Conditional::Send };
    let dated = |field| record.headers.first(&field).and_then(parse_date);
    let modified = dated(header::LAST_MODIFIED).or_else(|| dated(header::DATE)).unwrap_or(record.received_at);
    if modified <= since { Conditional::NotModified } else { Conditional::Send }
}

/// The fields of a record that a 304 carries (RFC 9110 §15.4.5): all but those that describe the content.
/// Last-Modified only where there is no ETag.
pub fn not_modified_headers(record: &Record) -> HeaderMap {
    let mut sent = record.headers.to_map(0);
    for field in [
        header::CONTENT_LENGTH,
        header::CONTENT_TYPE,
        header::CONTENT_ENCODING,
        header::CONTENT_LANGUAGE,
        header::CONTENT_RANGE,
    ] {
        sent.remove(field);
    }
    if sent.contains_key(header::ETAG) {
        sent.remove(header::LAST_MODIFIED);
    }
    sent
}

fn matches_any(request: &HeaderMap, record: &Record) -> bool {
    let stored = etag(&record.headers);
    // A tag without quotes may have commas in it, so the line is compared as a whole, too.
    let as_stored = stored.and_then(|_| record.headers.first(&header::ETAG));
    request.get_all(header::IF_NONE_MATCH).iter().any(|line| {
        let line = line.as_bytes().trim_ascii();
        line == b"*"
            || as_stored.is_some_and(|stored| stored.trim_ascii() == line)
            || stored.is_some_and(|stored| list(line, stored).any(|tag| tag.is(stored)))
    })
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;
    use crate::policy::Rules;
    use crate::policy::reuse::tests::record;

    const EARLY: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const SAME: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const LATE: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

    fn judged(
        stored: &[(&'static str, &'static str)],
        asked: &[(&'static str, &'static str)],
    ) -> Conditional {
        let mut record = record("max-age=9", 9000, &Rules::default());
        let map = |fields: &[(&'static str, &'static str)]| -> HeaderMap {
            fields.iter().map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v))).collect()
        };
        record.headers = map(stored).into();
        conditional(&map(asked), &record)
    }

    #[test]
    fn table() {
        use Conditional::{NotModified, Send};
        let tagged = ("etag", "\"a\"");
        let weak = ("etag", "W/\"a\"");
        let bare = ("etag", "a,b");
        let dated = ("last-modified", SAME);
        for (stored, asked, want) in [
            (&[tagged][..], &[("if-none-match", "\"a\"")][..], NotModified),
            (&[tagged], &[("if-none-match", "W/\"a\"")], NotModified),
            (&[weak], &[("if-none-match", "\"a\"")], NotModified),
            (&[tagged], &[("if-none-match", "\"b\", \"a\"")], NotModified),
            (&[tagged], &[("if-none-match", "\"b\""), ("if-none-match", "\"a\"")], NotModified),
            (&[tagged], &[("if-none-match", "\"b\"")], Send),
            (&[tagged], &[("if-none-match", "a")], Send),
            (&[bare], &[("if-none-match", "\"x\", a")], Send),
            (&[bare], &[("if-none-match", "a,b")], NotModified),
            (&[bare], &[("if-none-match", "\"x\", \"a,b\"")], NotModified),
            (&[bare], &[("if-none-match", "a")], Send),
            (&[bare], &[("if-none-match", "\"b\"")], Send),
            (&[tagged], &[("if-none-match", "*")], NotModified),
            (&[], &[("if-none-match", "\"a\"")], Send),
            (&[tagged, dated], &[("if-none-match", "\"b\""), ("if-modified-since", LATE)], Send),
            (&[dated], &[("if-modified-since", SAME)], NotModified),
            (&[dated], &[("if-modified-since", LATE)], NotModified),
            (&[dated], &[("if-modified-since", EARLY)], Send),
            (&[dated], &[("if-modified-since", "Sunday, 06-Nov-94 08:49:37 GMT")], NotModified),
            (&[dated], &[("if-modified-since", "yesterday")], Send),
            (&[dated], &[("if-modified-since", SAME), ("if-modified-since", SAME)], Send),
            (&[("date", SAME)], &[("if-modified-since", EARLY)], Send),
            (&[("date", SAME)], &[("if-modified-since", SAME)], NotModified),
            (&[], &[("if-modified-since", SAME)], Send),
            (&[tagged], &[], Send),
        ] {
            assert_eq!(judged(stored, asked), want, "{stored:?} {asked:?}");
        }
    }

    #[test]
    fn only_a_stored_200() {
        let mut record = record("max-age=9", 9000, &Rules::default());
        record.headers.insert(header::ETAG, HeaderValue::from_static("\"a\""));
        record.status = StatusCode::NOT_FOUND;
        let asked = [(header::IF_NONE_MATCH, HeaderValue::from_static("\"a\""))].into_iter().collect();
        assert_eq!(conditional(&asked, &record), Conditional::Send);
    }

    #[test]
    fn fields_of_a_304() {
        let mut record = record("max-age=9", 9000, &Rules::default());
        for (name, value) in [
            ("etag", "\"a\""),
            ("last-modified", SAME),
            ("content-type", "a/b"),
            ("x-a", "1"),
            ("vary", "accept"),
        ] {
            record.headers.insert(name, HeaderValue::from_static(value));
        }
        let sent = not_modified_headers(&record);
        let mut names: Vec<_> = sent.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["cache-control", "date", "etag", "vary", "x-a"]);
    }
}
