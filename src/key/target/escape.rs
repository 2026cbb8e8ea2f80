//! Percent escapes: decoded for unreserved characters, capitalised otherwise, and added for the bytes
//! that the upstream client's URL parser would escape.

use super::Refusal;
use super::dots;

/// Which part of a target: a parser escapes different bytes in each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Path,
    Query,
}

/// How a byte is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// As it is.
    Plain,
    /// It begins an escape.
    Percent,
    /// As an escape.
    Encode,
    Control,
    Backslash,
    /// Not allowed in a URL, and servers differ in how they read it.
    Unescaped,
}

static PATH: [Class; 256] = classes(b" #?`{}");
static QUERY: [Class; 256] = classes(b" #'");
const HEX: &[u8; 16] = b"0123456789ABCDEF";

/// The canonical form of a path alone, for settings that are compared with paths.
pub fn canonical_path(path: &str) -> Result<String, Refusal> {
    let mut out = String::with_capacity(path.len());
    write(&mut out, path, Part::Path)?;
    dots::remove(&mut out, 0);
    dots::judge(&out)?;
    Ok(out)
}

/// Appends the canonical form of `text` to `out`. Returns whether [`write_as_sent`] would append
/// another form.
pub(super) fn write(out: &mut String, text: &str, part: Part) -> Result<bool, Refusal> {
    let bytes = text.as_bytes();
    let mut kept = 0;
    let mut at = 0;
    let mut differs = false;
    while let Some(&byte) = bytes.get(at) {
        let class = part.class(byte);
        if class == Class::Plain {
            at += 1;
            continue;
        }
        // Plain bytes are ASCII, so a run of them begins and ends at a character boundary.
        if kept < at {
            out.push_str(&text[kept..at]);
        }
        match class {
            Class::Plain | Class::Encode => {
                push_escape(out, byte);
                at += 1;
            }
            Class::Percent => match (digit(bytes, at + 1), digit(bytes, at + 2)) {
                (Some(high), Some(low)) => {
                    match high << 4 | low {
                        0 => return Err(Refusal::Nul),
                        meant if is_unreserved(meant) => {
                            out.push(char::from(meant));
                            differs = true;
                        }
                        meant => {
                            push_escape(out, meant);
                            differs |= bytes[at + 1..at + 3].iter().any(u8::is_ascii_lowercase);
                        }
                    }
                    at += 3;
                }
                _ if part == Part::Path => return Err(Refusal::BrokenEscape),
                // `50%off`: a percent sign that was not escaped. Forms and scripts send it.
                _ => {
                    push_escape(out, b'%');
                    differs = true;
                    at += 1;
                }
            },
            Class::Control => return Err(Refusal::Control),
            Class::Backslash => return Err(Refusal::Backslash),
            Class::Unescaped => return Err(Refusal::Unescaped),
        }
        kept = at;
    }
    if kept < at {
        out.push_str(&text[kept..at]);
    }
    Ok(differs)
}

/// Appends `text`, which [`write`] has accepted, as it goes upstream: as it was written, except for the
/// bytes that the upstream client's parser would escape.
pub(super) fn write_as_sent(out: &mut String, text: &str, part: Part) {
    let mut kept = 0;
    for (at, byte) in text.bytes().enumerate() {
        if part.class(byte) == Class::Encode {
            // The text between two such bytes ends at a character boundary, or is empty.
            if kept < at {
                out.push_str(&text[kept..at]);
            }
            push_escape(out, byte);
            kept = at + 1;
        }
    }
    out.push_str(&text[kept..]);
}

/// Returns how many bytes of `sent` stand for the first `len` bytes of the canonical form.
pub(super) fn sent_len(sent: &str, len: usize) -> usize {
    let bytes = sent.as_bytes();
    let (mut at, mut canonical) = (0, 0);
    while canonical < len && at < bytes.len() {
        let meant = (bytes[at] == b'%').then(|| Some(digit(bytes, at + 1)? << 4 | digit(bytes, at + 2)?));
        let (step, means) = match meant {
            None => (1, 1),
            Some(None) => (1, 3),
            Some(Some(byte)) if is_unreserved(byte) => (3, 1),
            Some(Some(_)) => (3, 3),
        };
        at += step;
        canonical += means;
    }
    at
}

fn push_escape(out: &mut String, byte: u8) {
    out.push('%');
    out.push(char::from(HEX[usize::from(byte >> 4)]));
    out.push(char::from(HEX[usize::from(byte & 15)]));
}

/// The value of the hexadecimal digit at `at`.
pub(super) fn digit(bytes: &[u8], at: usize) -> Option<u8> {
    match *bytes.get(at)? {
        byte @ b'0'..=b'9' => Some(byte - b'0'),
        byte @ b'a'..=b'f' => Some(byte - b'a' + 10),
        byte @ b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

/// RFC 3986 §2.3.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

const fn classes(encode: &[u8]) -> [Class; 256] {
    let mut table = [Class::Plain; 256];
    let mut byte = 0;
    while byte < 256 {
        if byte < 0x20 || byte == 0x7f {
            table[byte] = Class::Control;
        } else if byte >= 0x80 {
            table[byte] = Class::Encode;
        }
        byte += 1;
    }
    let mut at = 0;
    while at < encode.len() {
        table[encode[at] as usize] = Class::Encode;
        at += 1;
    }
    // The parser beneath takes some of these in paths and others in queries; browsers escape them.
    let unescaped = b"\"<>";
    let mut at = 0;
    while at < unescaped.len() {
        table[unescaped[at] as usize] = Class::Unescaped;
        at += 1;
    }
    table[b'%' as usize] = Class::Percent;
    table[b'\\' as usize] = Class::Backslash;
    table
}

// === impl Part ===

impl Part {
    fn class(self, byte: u8) -> Class {
        let classes = match self {
            Self::Path => &PATH,
            Self::Query => &QUERY,
        };
        classes[usize::from(byte)]
    }
}
