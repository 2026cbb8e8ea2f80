//! Ranges as they are asked for (RFC 9110 §14.1.2).

use http::HeaderValue;

/// More ranges than this are answered with the whole.
pub(super) const MOST_RANGES: usize = 16;

/// One range as it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spec {
    /// From this byte to the end.
    From(u64),
    /// From the first to the second, both included.
    Between(u64, u64),
    /// This many bytes at the end.
    Last(u64),
}

/// Parses the ranges of a line into `specs`, and returns how many they are; `None` if it is not a list of
/// byte ranges, or too long a list.
pub(super) fn parse(line: &[u8], specs: &mut [Spec; MOST_RANGES]) -> Option<usize> {
    let equals = line.iter().position(|&byte| byte == b'=')?;
    if !line[..equals].eq_ignore_ascii_case(b"bytes") {
        return None;
    }
    let mut count = 0;
    for member in line[equals + 1..].split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
        if !member.is_empty() {
            *specs.get_mut(count)? = Spec::parse(member)?;
            count += 1;
        }
    }
    (count > 0).then_some(count)
}

fn number(digits: &[u8]) -> Option<u64> {
    let all_digits = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    // A number that is too large for a u64 is beyond the end of any body.
    all_digits.then(|| std::str::from_utf8(digits).ok()?.parse().ok().or(Some(u64::MAX))).flatten()
}

// === impl Spec ===

impl Spec {
    fn parse(member: &[u8]) -> Option<Self> {
        let dash = member.iter().position(|&byte| byte == b'-')?;
        let (first, last) = (&member[..dash], &member[dash + 1..]);
        if first.is_empty() {
            return number(last).map(Self::Last);
        }
        let first = number(first)?;
        if last.is_empty() {
            return Some(Self::From(first));
        }
        let last = number(last)?;
        (first <= last).then_some(Self::Between(first, last))
    }

    /// First and last byte of a body of `len` bytes; `None` if none of it is there.
    pub(super) fn resolve(self, len: u64) -> Option<(u64, u64)> {
        let end = len.checked_sub(1)?;
        match self {
            Self::From(first) => (first < len).then_some((first, end)),
            Self::Between(first, last) => (first < len).then_some((first, last.min(end))),
            Self::Last(0) => None,
            Self::Last(count) => Some((len.saturating_sub(count), end)),
        }
    }

    /// As a field value in normal form: a client's own spelling is not forwarded.
    pub(super) fn field(self) -> HeaderValue {
        let text = match self {
            Self::From(first) => format!("bytes={first}-"),
            Self::Between(first, last) => format!("bytes={first}-{last}"),
            Self::Last(count) => format!("bytes=-{count}"),
        };
        HeaderValue::try_from(text).expect("digits and punctuation")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_forwarded_in_its_one_form() {
        for (line, want) in
            [("bytes=0-9", "bytes=0-9"), ("Bytes= 5- ,", "bytes=5-"), ("bytes=-007", "bytes=-7")]
        {
            let mut specs = [Spec::From(0); MOST_RANGES];
            assert_eq!(parse(line.as_bytes(), &mut specs), Some(1), "{line}");
            assert_eq!(specs[0].field(), want, "{line}");
        }
    }
}
