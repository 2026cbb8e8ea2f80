//! Dates (RFC 9110 §5.6.7), as milliseconds since the epoch.

use std::time::{Duration, UNIX_EPOCH};

use http::HeaderValue;

/// The last second that a date can say: 9999-12-31T23:59:59Z.
const LAST_SECOND: u64 = 253_402_300_799;
/// The longest of the three forms, `Wednesday, 31-Dec-99 23:59:59 GMT`, is shorter.
const LONGEST: usize = 40;

/// A date, letters in any case, in one of the three forms and in GMT; `None` if it is anything
/// else. Before the epoch is invalid.
pub fn parse_date(value: &[u8]) -> Option<u64> {
    let mut folded = [0; LONGEST];
    let folded = folded.get_mut(..value.len())?;
    let mut in_word = false;
    for (to, &byte) in folded.iter_mut().zip(value) {
        *to = if in_word { byte.to_ascii_lowercase() } else { byte.to_ascii_uppercase() };
        in_word = byte.is_ascii_alphabetic();
    }
    if folded.ends_with(b" Gmt") {
        let at = folded.len() - 3;
        folded[at..].copy_from_slice(b"GMT");
    }
    let text = std::str::from_utf8(folded).ok()?;
    let since = httpdate::parse_http_date(text).ok()?.duration_since(UNIX_EPOCH).ok()?;
    u64::try_from(since.as_millis()).ok()
}

/// The date of a wall time, in the preferred form; years past 9999 are cut to it.
pub fn http_date(wall_ms: u64) -> HeaderValue {
    let at = UNIX_EPOCH + Duration::from_secs((wall_ms / 1000).min(LAST_SECOND));
    HeaderValue::from_str(&httpdate::fmt_http_date(at)).expect("a date is plain ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_moment_many_spellings() {
        let moment = Some(784_111_777_000);
        for text in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "sun, 06 NOV 1994 08:49:37 gmt",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "SUNDAY, 06-nov-94 08:49:37 GmT",
            "Sun Nov  6 08:49:37 1994",
        ] {
            assert_eq!(parse_date(text.as_bytes()), moment, "{text}");
        }
    }

    #[test]
    fn what_is_not_a_date() {
        for text in [
            "",
            "0",
            "-1",
            "Sun, 06 Nov 1994 08:49:37 UTC",
            "Sun, 06 Nov 1994 08:49:37 AEST",
            "Sun, 06 Nov 1994 08:49:37",
            "Sun, 06 Nov 1994 8:49:37 GMT",
            "Sun, 06 Nov 94 08:49:37 GMT",
            "Sun, 06-Nov-1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08.49.37 GMT",
            "Sun,  06  Nov  1994  08:49:37  GMT",
            "Sun, 06 Nov 1994 08:49:37 GMT, Sun, 06 Nov 1994 08:49:38 GMT",
            "Thu, 01 Jan 1969 00:00:00 GMT",
        ] {
            assert_eq!(parse_date(text.as_bytes()), None, "{text}");
        }
        assert_eq!(parse_date(&[0xff; 29]), None);
    }

    #[test]
    fn written_and_read() {
        for ms in [0, 1_000, 784_111_777_000, LAST_SECOND * 1000] {
            assert_eq!(parse_date(http_date(ms).as_bytes()), Some(ms));
        }
        assert_eq!(parse_date(http_date(u64::MAX).as_bytes()), Some(LAST_SECOND * 1000));
    }
}
