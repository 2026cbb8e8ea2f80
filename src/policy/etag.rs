//! Entity tags (RFC 9110 §8.8.3).

use http::header;

use crate::record::Lines;

/// One entity tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ETag<'a> {
    weak: bool,
    /// It has no quotes.
    bare: bool,
    /// Without its quotes.
    opaque: &'a [u8],
}

/// The tag of a response; `None` if there is none or it is invalid. A text without quotes is no tag by the
/// grammar, but many origins send one and compare it as it stands. It counts as a weak tag, since such an
/// origin promises nothing about bytes.
pub(super) fn etag(headers: &impl Lines) -> Option<ETag<'_>> {
    let value = headers.first(&header::ETAG)?.trim_ascii();
    ETag::parse(value).or_else(|| ETag::bare(value))
}

/// The tags of a list such as If-None-Match, to be compared with a stored one; stops at the first invalid
/// one. Texts without quotes count only if the stored tag is such a text.
pub(super) fn list<'a>(line: &'a [u8], stored: ETag<'_>) -> impl Iterator<Item = ETag<'a>> {
    let bare = stored.bare;
    let mut rest = line;
    std::iter::from_fn(move || {
        while let [b' ' | b'\t' | b',', tail @ ..] = rest {
            rest = tail;
        }
        let (tag, tail) = ETag::take(rest).or_else(|| ETag::take_bare(rest).filter(|_| bare))?;
        rest = tail;
        Some(tag)
    })
}

// === impl ETag ===

impl<'a> ETag<'a> {
    /// Parses a tag by the grammar.
    pub(super) fn parse(value: &'a [u8]) -> Option<Self> {
        let (tag, rest) = Self::take(value.trim_ascii())?;
        rest.is_empty().then_some(tag)
    }

    /// Takes a whole text without quotes for a weak tag, with or without `W/`.
    fn bare(text: &'a [u8]) -> Option<Self> {
        let opaque = text.strip_prefix(b"W/").unwrap_or(text);
        let plain = !opaque.is_empty() && opaque != b"*" && !opaque.contains(&b'"');
        plain.then_some(Self { weak: true, bare: true, opaque })
    }

    fn take_bare(value: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let end = value.iter().position(|&byte| byte == b',').unwrap_or(value.len());
        let (text, rest) = value.split_at(end);
        Self::bare(text.trim_ascii()).map(|tag| (tag, rest))
    }

    fn take(value: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (weak, quoted) = match value.strip_prefix(b"W/") {
            Some(rest) => (true, rest),
            None => (false, value),
        };
        let inside = quoted.strip_prefix(b"\"")?;
        let end = inside.iter().position(|&byte| byte == b'"')?;
        let (opaque, rest) = inside.split_at(end);
        Some((Self { weak, bare: false, opaque }, &rest[1..]))
    }

    /// Weak comparison (RFC 9110 §8.8.3.2).
    pub(super) fn is(self, other: Self) -> bool {
        self.opaque == other.opaque
    }

    /// Strong comparison (RFC 9110 §8.8.3.2).
    pub(super) fn is_strongly(self, other: Self) -> bool {
        !self.weak && !other.weak && self.is(other)
    }

    pub(super) fn is_weak(self) -> bool {
        self.weak
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags() {
        for (text, good) in [
            ("\"a\"", true),
            ("W/\"a\"", true),
            ("\"\"", true),
            ("a", false),
            ("\"a", false),
            ("w/\"a\"", false),
            ("\"a\"b", false),
        ] {
            assert_eq!(ETag::parse(text.as_bytes()).is_some(), good, "{text}");
        }
    }

    #[test]
    fn lists() {
        let (quoted, bare) = (ETag::parse(b"\"x\"").unwrap(), ETag::bare(b"x").unwrap());
        let of = |line, stored| list(line, stored).map(|tag| (tag.weak, tag.opaque)).collect::<Vec<_>>();
        let line = b"\"a,b\", W/\"c\" ,,\"d\"";
        assert_eq!(of(line, quoted), [(false, &b"a,b"[..]), (true, b"c"), (false, b"d")]);
        let line = b"\"a\", b ,W/c, \"d\"";
        assert_eq!(of(line, bare), [(false, &b"a"[..]), (true, b"b"), (true, b"c"), (false, b"d")]);
        assert_eq!(of(line, quoted), [(false, &b"a"[..])]);
        assert_eq!(of(b"\"a\", b\"b, \"c\"", bare), [(false, &b"a"[..])]);
    }

    #[test]
    fn a_tag_without_quotes_is_a_weak_one() {
        let of = |text: &'static str| {
            [(header::ETAG, http::HeaderValue::from_static(text))].into_iter().collect::<http::HeaderMap>()
        };
        for (text, opaque) in [
            ("abc", Some("abc")),
            ("W/abc", Some("abc")),
            ("a-b:1,2", Some("a-b:1,2")),
            ("*", None),
            ("W/", None),
            ("", None),
            ("\"a", None),
            ("w/\"a\"", None),
        ] {
            let headers = of(text);
            let tag = etag(&headers);
            assert_eq!(tag.map(|tag| tag.opaque), opaque.map(str::as_bytes), "{text}");
            assert!(tag.is_none_or(|tag| tag.is_weak() && !tag.is_strongly(tag)), "{text}");
        }
        let headers = of("abc");
        assert!(etag(&headers).unwrap().is(ETag::parse(b"\"abc\"").unwrap()));
    }

    #[test]
    fn comparisons() {
        let tag = |text: &'static str| ETag::parse(text.as_bytes()).unwrap();
        assert!(tag("W/\"1\"").is(tag("\"1\"")));
        assert!(!tag("W/\"1\"").is_strongly(tag("W/\"1\"")));
        assert!(tag("\"1\"").is_strongly(tag("\"1\"")));
        assert!(!tag("\"1\"").is(tag("\"2\"")));
    }
}
