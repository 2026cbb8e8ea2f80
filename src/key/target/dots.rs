//! Dot segments (RFC 3986 §3.3): `.` is removed, `..` refused in any spelling.

use super::Refusal;
use super::escape::digit;

/// Removes `.` segments from the path that begins at `from`: `/apt/./Release` is `/apt/Release`. Its
/// dots may be escaped.
pub(super) fn remove(out: &mut String, from: usize) {
    if !out[from..].split('/').any(is_dot) {
        return;
    }
    let path = out.split_off(from);
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        if !is_dot(segment) {
            out.push('/');
            out.push_str(segment);
        } else if last {
            out.push('/');
        }
    }
}

/// Refuses a canonical path that still has dot segments, as any origin might read it. An escaped slash
/// or backslash ends a segment, a `;` begins its parameters, spaces and control bytes are ignored, and
/// double escapes are decoded. `/v1/..%2Fadmin`, `/v1/..;/admin`, `/v1/..%20/admin` and
/// `/v1/%252e%252e/admin` must not be answered by the rules for `/v1/*`.
pub(super) fn judge(path: &str) -> Result<(), Refusal> {
    let bytes = path.as_bytes();
    if !bytes.contains(&b'.') && !path.contains("%25") {
        return Ok(());
    }
    let mut segment = Segment::default();
    let mut at = 0;
    while at < bytes.len() {
        let (byte, next) = meant(bytes, at);
        at = next;
        match byte {
            b'/' | b'\\' => {
                segment.judge()?;
                segment = Segment::default();
            }
            b';' => segment.over = true,
            _ if segment.over => {}
            b'.' => segment.dots += 1,
            0..=b' ' | 0x7f => {}
            _ => segment.more = true,
        }
    }
    segment.judge()
}

/// What has been read of a segment.
#[derive(Default)]
struct Segment {
    dots: usize,
    /// It has other characters than dots.
    more: bool,
    /// Its name is over: parameters follow.
    over: bool,
}

impl Segment {
    fn judge(&self) -> Result<(), Refusal> {
        if !self.more && matches!(self.dots, 1 | 2) { Err(Refusal::DotSegment) } else { Ok(()) }
    }
}

fn is_dot(segment: &str) -> bool {
    segment == "." || segment.eq_ignore_ascii_case("%2e")
}

/// Decodes the byte at `at`, however often it is escaped. Returns it and where the next one begins.
fn meant(bytes: &[u8], at: usize) -> (u8, usize) {
    if bytes[at] != b'%' {
        return (bytes[at], at + 1);
    }
    let mut escaped = at + 1;
    while bytes[escaped..].starts_with(b"25") {
        escaped += 2;
    }
    match (digit(bytes, escaped), digit(bytes, escaped + 1)) {
        (Some(high), Some(low)) => (high << 4 | low, escaped + 2),
        _ => (b'%', escaped),
    }
}
