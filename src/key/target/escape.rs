//! Escapes: decoded where they stand for unreserved characters, capitalised elsewhere, added
//! where the upstream client's URL parser would add them.

use super::Refusal;

/// Which part of a target: a parser escapes different bytes in each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Path,
    Query,
}

/// What becomes of a byte.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Stays.
    Plain,
    /// Begins an escape.
    Percent,
    /// Is written as an escape.
    Encode,
    Control,
    Backslash,
}

static PATH: [Class; 256] = classes(b" \"#<>?`{}");
static QUERY: [Class; 256] = classes(b" \"#'<>");
const HEX: &[u8; 16] = b"0123456789ABCDEF";

/// The canonical form of a path alone, for what settings compare with paths.
pub fn canonical_path(path: &str) -> Result<String, Refusal> {
    let mut out = String::with_capacity(path.len());
    write(&mut out, path, Part::Path)?;
    judge_segments(&out)?;
    Ok(out)
}

/// Appends the canonical form of `text`, which is what was written, to `out`.
pub(super) fn write(out: &mut String, text: &str, part: Part) -> Result<(), Refusal> {
    let classes = match part {
        Part::Path => &PATH,
        Part::Query => &QUERY,
    };
    let bytes = text.as_bytes();
    let mut kept = 0;
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let class = classes[usize::from(byte)];
        if class == Class::Plain {
            at += 1;
            continue;
        }
        // Plain bytes are ASCII, so a run of them begins and ends at a character's edge.
        if kept < at {
            out.push_str(&text[kept..at]);
        }
        match class {
            Class::Plain | Class::Encode => {
                push_escape(out, byte);
                at += 1;
            }
            Class::Percent => {
                let (Some(high), Some(low)) = (digit(bytes, at + 1), digit(bytes, at + 2)) else {
                    return Err(Refusal::BrokenEscape);
                };
                match high << 4 | low {
                    0 => return Err(Refusal::Nul),
                    meant if is_unreserved(meant) => out.push(char::from(meant)),
                    meant => push_escape(out, meant),
                }
                at += 3;
            }
            Class::Control => return Err(Refusal::Control),
            Class::Backslash => return Err(Refusal::Backslash),
        }
        kept = at;
    }
    if kept < at {
        out.push_str(&text[kept..at]);
    }
    Ok(())
}

/// Refuses `.` and `..` as segments of a canonical path. An escaped slash or backslash ends a
/// segment here and a `;` begins its parameters, because that is how some origins read them:
/// `/v1/..%2Fadmin` and `/v1/..;/admin` must not be answered by the rules for `/v1/*`.
pub(super) fn judge_segments(path: &str) -> Result<(), Refusal> {
    let bytes = path.as_bytes();
    let mut from = 0;
    // A segment that matters begins with a dot; look only at dots.
    while let Some(found) = bytes[from..].iter().position(|&byte| byte == b'.') {
        let dot = from + found;
        let first = ends_separator(&bytes[..dot]);
        let mut end = dot + 1;
        if first {
            if bytes.get(end) == Some(&b'.') {
                end += 1;
            }
            let rest = &bytes[end..];
            let over = rest.is_empty()
                || matches!(rest[0], b'/' | b';')
                || rest.starts_with(b"%2F")
                || rest.starts_with(b"%5C")
                || rest.starts_with(b"%3B");
            if over {
                return Err(Refusal::DotSegment);
            }
        }
        from = end;
    }
    Ok(())
}

fn ends_separator(before: &[u8]) -> bool {
    before.ends_with(b"/") || before.ends_with(b"%2F") || before.ends_with(b"%5C")
}

fn push_escape(out: &mut String, byte: u8) {
    out.push('%');
    out.push(char::from(HEX[usize::from(byte >> 4)]));
    out.push(char::from(HEX[usize::from(byte & 15)]));
}

/// The value of the hexadecimal digit at a place.
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
    table[b'%' as usize] = Class::Percent;
    table[b'\\' as usize] = Class::Backslash;
    table
}
