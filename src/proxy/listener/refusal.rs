//! Heads that hyper does not accept. hyper's own response to them has no content and is not logged, so they
//! are answered and logged here like every other refusal.

use bytes::{Bytes, BytesMut};
use http::Method;

use crate::key::target::Refusal;
use crate::proxy::cause::Cause;

/// What is done with a head that hyper did not accept.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Judged {
    /// These bytes are read in its place. Its minor version is higher than hyper knows, so it is processed as
    /// the highest known one (RFC 9112 §2.3, RFC 9110 §2.5).
    Again(Bytes),
    /// It has more fields than the parser has room for.
    ManyFields,
    /// It is refused.
    Refused(Cause),
}

/// Method and path of a request line, as far as there is one.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct RequestLine {
    pub(crate) method: Option<Method>,
    pub(crate) path: String,
}

/// hyper's text for an unknown version. Only this error leaves the head in its buffer, so that it can be read
/// again.
const VERSION: &str = "invalid HTTP version parsed";

/// Judges a parse error. `rest`: the bytes that hyper has not consumed; `fields`: how many fields its parser
/// takes.
pub(crate) fn judge(error: &hyper::Error, rest: &Bytes, max_target: usize, fields: usize) -> Judged {
    if error.is_parse_too_large() {
        if has_lines(rest, fields) {
            return Judged::ManyFields;
        }
        // `rest` has all of it that was read: a request line alone may exceed the limit of the head.
        let too_long = request_line(rest).len() > max_target.saturating_add(64);
        return Judged::Refused(if too_long { Cause::Target(Refusal::TooLong) } else { Cause::HeadTooLarge });
    }
    let said = error.to_string();
    if said.starts_with(VERSION) {
        return of_version(rest);
    }
    Judged::Refused(if said.contains("URI too long") {
        Cause::Target(Refusal::TooLong)
    } else {
        Cause::Malformed
    })
}

fn of_version(rest: &Bytes) -> Judged {
    let line = request_line(rest);
    let mut words = line.split(|byte| *byte == b' ');
    let (method, target, version) = (words.next(), words.next(), words.next());
    let well_formed =
        method.zip(target).is_some_and(|(method, target)| !method.is_empty() && !target.is_empty());
    let Some(version) = version.filter(|_| well_formed && words.next().is_none()) else {
        return Judged::Refused(Cause::Malformed);
    };
    match version {
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', minor @ b'2'..=b'9'] => {
            let (skipped, len) = (rest.len() - skip_empty_lines(rest).len(), line.len());
            let mut again = BytesMut::from(&rest[skipped..]);
            debug_assert_eq!(again[len - 1], *minor);
            again[len - 1] = b'1';
            Judged::Again(again.freeze())
        }
        [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9', ..] => Judged::Refused(Cause::Version),
        _ => Judged::Refused(Cause::Malformed),
    }
}

/// Method and path from the first bytes of a head. Only a target in origin form has a path.
pub(crate) fn line(opening: &[u8]) -> RequestLine {
    let line = request_line(opening);
    let mut words = line.splitn(2, |byte| *byte == b' ');
    let method = words.next().filter(|word| word.len() <= 32).and_then(|word| Method::from_bytes(word).ok());
    let target = words.next().filter(|_| method.is_some()).unwrap_or_default();
    let end = target.iter().position(|byte| matches!(byte, b'?' | b'#' | b' ')).unwrap_or(target.len());
    let path = if target.starts_with(b"/") {
        String::from_utf8_lossy(&target[..end]).into_owned()
    } else {
        String::new()
    };
    RequestLine { method, path }
}

/// Returns whether there are more than `many` lines.
fn has_lines(bytes: &[u8], many: usize) -> bool {
    skip_empty_lines(bytes).iter().filter(|byte| **byte == b'\n').nth(many).is_some()
}

/// The first line that is not empty, as far as it was read, without its end.
fn request_line(bytes: &[u8]) -> &[u8] {
    let bytes = skip_empty_lines(bytes);
    let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    bytes[..end].strip_suffix(b"\r").unwrap_or(&bytes[..end])
}

fn skip_empty_lines(bytes: &[u8]) -> &[u8] {
    let begin = bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).unwrap_or(bytes.len());
    &bytes[begin..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_higher_minor_version_is_read_again_as_1_1() {
        for (head, read) in [
            ("GET /a HTTP/1.2\r\nHost: a\r\n\r\nGET", "GET /a HTTP/1.1\r\nHost: a\r\n\r\nGET"),
            ("\r\n\r\nGET /HTTP/1.9 HTTP/1.9\n", "GET /HTTP/1.9 HTTP/1.1\n"),
            ("GET / HTTP/1.3", "GET / HTTP/1.1"),
        ] {
            assert_eq!(
                of_version(&Bytes::from_static(head.as_bytes())),
                Judged::Again(Bytes::from(read)),
                "{head}"
            );
        }
    }

    #[test]
    fn any_other_version_is_refused_for_what_it_is() {
        for (head, cause) in [
            ("GET / HTTP/2.0\r\n", Cause::Version),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Cause::Version),
            ("GET / HTTP/0.9\r\n", Cause::Version),
            ("GET / HTTP/1.25\r\n", Cause::Version),
            ("GET / http/1.1\r\n", Cause::Malformed),
            ("GET /a b HTTP/1.1\r\n", Cause::Malformed),
            ("GET /a HTTP/1.2 HTTP/1.2\r\n", Cause::Malformed),
            ("GET  HTTP/1.2\r\n", Cause::Malformed),
            ("", Cause::Malformed),
        ] {
            let judged = of_version(&Bytes::from_static(head.as_bytes()));
            assert_eq!(judged, Judged::Refused(cause), "{head}");
        }
    }

    #[test]
    fn what_can_be_read_of_a_head_is_read_and_no_more() {
        let get = |path: &str| RequestLine { method: Some(Method::GET), path: path.to_owned() };
        for (opening, read) in [
            ("GET /a`b?c=d HTTP/1.1\r\nHost: x\r\n", get("/a`b")),
            ("\r\nGET /a b HTTP/1.1\r\n", get("/a")),
            ("GET http://user:password@host/ HTTP/1.1\r\n", get("")),
            ("GET /half", get("/half")),
            ("\u{16}\u{3}\u{1} /secret", RequestLine::default()),
            ("", RequestLine::default()),
        ] {
            assert_eq!(line(opening.as_bytes()), read, "{opening:?}");
        }
    }
}
