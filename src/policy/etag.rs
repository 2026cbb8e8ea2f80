//! Entity tags (RFC 9110 §8.8.3).

use http::{HeaderMap, header};

/// One entity tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ETag<'a> {
    weak: bool,
    /// With its quotes.
    opaque: &'a [u8],
}

/// The tag of a response; `None` if there is none or it is not one.
pub(super) fn etag(headers: &HeaderMap) -> Option<ETag<'_>> {
    ETag::parse(headers.get(header::ETAG)?.as_bytes())
}

/// The tags of a list such as If-None-Match; stops at what is not one.
pub(super) fn list(line: &[u8]) -> impl Iterator<Item = ETag<'_>> {
    let mut rest = line;
    std::iter::from_fn(move || {
        while let [b' ' | b'\t' | b',', tail @ ..] = rest {
            rest = tail;
        }
        let (tag, tail) = ETag::take(rest)?;
        rest = tail;
        Some(tag)
    })
}

// === impl ETag ===

impl<'a> ETag<'a> {
    pub(super) fn parse(value: &'a [u8]) -> Option<Self> {
        let (tag, rest) = Self::take(value.trim_ascii())?;
        rest.is_empty().then_some(tag)
    }

    fn take(value: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (weak, quoted) = match value.strip_prefix(b"W/") {
            Some(rest) => (true, rest),
            None => (false, value),
        };
        let inside = quoted.strip_prefix(b"\"")?;
        let end = inside.iter().position(|&byte| byte == b'"')?;
        let (opaque, rest) = quoted.split_at(end + 2);
        Some((Self { weak, opaque }, rest))
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
        let tags: Vec<_> = list(b"\"a,b\", W/\"c\" ,,\"d\"").map(|tag| (tag.weak, tag.opaque)).collect();
        assert_eq!(tags, [(false, &b"\"a,b\""[..]), (true, b"\"c\""), (false, b"\"d\"")]);
        assert_eq!(list(b"\"a\", b, \"c\"").count(), 1);
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
