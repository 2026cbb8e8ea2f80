//! The readings of a text: as it is written, and as what reads it decodes it. Each byte of a reading knows which
//! bytes of the text it was made of.

use std::collections::BTreeSet;
use std::ops::Range;

/// One reading of a text.
pub(super) struct Reading {
    pub(super) bytes: Vec<u8>,
    /// For each byte, those of the text.
    of: Vec<Range<usize>>,
}

/// How a text may be encoded.
#[derive(Clone, Copy)]
enum Coding {
    /// As URLs are: `%2F`.
    Percent,
    /// As forms are, beside that: `+` for a space.
    Form,
    /// As strings of JSON and quoted strings of fields are: `\/`, `\u002f`.
    Backslash,
    /// As HTML is: `&amp;`, `&#47;`, `&#x2f;`.
    Entity,
}

const CODINGS: [Coding; 4] = [Coding::Percent, Coding::Form, Coding::Backslash, Coding::Entity];
/// A URL in a parameter of a URL is encoded twice, and that may be quoted once more.
const DEPTH: usize = 3;
/// The characters that HTML names.
const NAMED: [(&[u8], u8); 6] =
    [(b"amp", b'&'), (b"lt", b'<'), (b"gt", b'>'), (b"quot", b'"'), (b"apos", b'\''), (b"nbsp", b' ')];

/// All readings of a text, each once.
pub(super) fn readings(text: &str) -> Vec<Reading> {
    let written =
        Reading { bytes: text.as_bytes().to_vec(), of: (0..text.len()).map(|at| at..at + 1).collect() };
    let mut seen = BTreeSet::from([written.bytes.clone()]);
    let mut all = vec![written];
    let mut from = 0;
    for _ in 0..DEPTH {
        let upto = all.len();
        for at in from..upto {
            for coding in CODINGS {
                let read = all[at].read(coding);
                if seen.insert(read.bytes.clone()) {
                    all.push(read);
                }
            }
        }
        from = upto;
    }
    all
}

// === impl Reading ===

impl Reading {
    /// The bytes of the text that a part of this reading was made of.
    pub(super) fn place(&self, part: Range<usize>) -> Range<usize> {
        self.of[part.start].start..self.of[part.end - 1].end
    }

    fn read(&self, coding: Coding) -> Self {
        let mut read = Self { bytes: Vec::with_capacity(self.bytes.len()), of: Vec::new() };
        let mut at = 0;
        while let Some(rest) = self.bytes.get(at..).filter(|rest| !rest.is_empty()) {
            let (bytes, used) = coding.first(rest).unwrap_or_else(|| (vec![rest[0]], 1));
            let place = self.place(at..at + used);
            read.of.extend(bytes.iter().map(|_| place.clone()));
            read.bytes.extend(bytes);
            at += used;
        }
        read
    }
}

// === impl Coding ===

impl Coding {
    /// What an encoded character at the beginning stands for, and how many bytes it has.
    fn first(self, text: &[u8]) -> Option<(Vec<u8>, usize)> {
        match (self, text[0]) {
            (Self::Percent | Self::Form, b'%') => Some((vec![hex(text.get(1..3)?)?.try_into().ok()?], 3)),
            (Self::Form, b'+') => Some((vec![b' '], 1)),
            (Self::Backslash, b'\\') => match text.get(1)? {
                b'u' => Some((utf8(hex(text.get(2..6)?)?)?, 6)),
                escaped => Some((vec![*escaped], 2)),
            },
            (Self::Entity, b'&') => {
                let end = text.iter().take(12).position(|byte| *byte == b';')?;
                let named = match &text[1..end] {
                    [b'#', b'x' | b'X', digits @ ..] => utf8(hex(digits)?)?,
                    [b'#', digits @ ..] => utf8(std::str::from_utf8(digits).ok()?.parse().ok()?)?,
                    name => vec![NAMED.iter().find(|(known, _)| *known == name)?.1],
                };
                Some((named, end + 1))
            }
            _ => None,
        }
    }
}

fn hex(digits: &[u8]) -> Option<u32> {
    let digits =
        std::str::from_utf8(digits).ok().filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))?;
    u32::from_str_radix(digits, 16).ok()
}

fn utf8(code: u32) -> Option<Vec<u8>> {
    Some(char::from_u32(code)?.to_string().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_read_as_it_is_written_and_as_it_is_decoded() {
        for (text, read) in [
            ("a/b c", "a/b c"),
            ("a%2fb+c", "a/b c"),
            ("a%2Fb%20c", "a/b c"),
            ("%61/b c", "a/b c"),
            ("a%252Fb%2520c", "a/b c"),
            ("a\\/b\\u0020c", "a/b c"),
            ("a&#47;b&#x20;c", "a/b c"),
            ("a%26%2347;b&nbsp;c", "a/b c"),
            ("\\u00e9", "é"),
            ("%C3%A9", "é"),
            // What is no code stays.
            ("50%+%zz&x;&#;\\", "50% %zz&x;&#;\\"),
        ] {
            let all = readings(text);
            let found = all.iter().find(|reading| reading.bytes == read.as_bytes());
            let found = found.unwrap_or_else(|| panic!("{text}"));
            assert_eq!(found.place(0..found.bytes.len()), 0..text.len(), "{text}");
        }
        let all = readings("x%2Fy");
        let slash = all.iter().find(|reading| reading.bytes == b"x/y").unwrap();
        assert_eq!((slash.place(1..2), slash.place(2..3)), (1..4, 4..5));
    }
}
