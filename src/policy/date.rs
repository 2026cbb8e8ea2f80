//! Dates (RFC 9110 §5.6.7), as milliseconds since the epoch.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::HeaderValue;

/// The last second that a date can express: 9999-12-31T23:59:59Z.
const LAST_SECOND: u64 = 253_402_300_799;
/// The longest of the three forms, `Wednesday, 31-Dec-99 23:59:59 GMT`, is shorter.
const LONGEST: usize = 40;
/// Names of days, in two of the three forms.
const DAYS: [&[u8]; 7] = [b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun"];

/// Parses a date in one of the three forms, in GMT, with letters in any case. `None` if it is anything else,
/// or before the epoch.
pub fn parse_date(value: &[u8]) -> Option<u64> {
    let mut folded = [0; LONGEST];
    let folded: &mut [u8] = folded.get_mut(..value.len())?;
    let mut in_word = false;
    for (to, &byte) in folded.iter_mut().zip(value) {
        *to = if in_word { byte.to_ascii_lowercase() } else { byte.to_ascii_uppercase() };
        in_word = byte.is_ascii_alphabetic();
    }
    if folded.ends_with(b" Gmt") {
        let at = folded.len() - 3;
        folded[at..].copy_from_slice(b"GMT");
    }
    let named = httpdate::parse_http_date(std::str::from_utf8(folded).ok()?);
    // The name of the day adds nothing to the date: a wrong one is ignored.
    let at = named.ok().or_else(|| on_any_day(folded))?;
    u64::try_from(at.duration_since(UNIX_EPOCH).ok()?.as_millis()).ok()
}

/// Parses the date with the name of the day that fits it.
fn on_any_day(named: &mut [u8]) -> Option<SystemTime> {
    let short = named.get(3).is_some_and(|&byte| matches!(byte, b',' | b' '));
    if !short || !DAYS.contains(&&named[..3]) {
        return None;
    }
    DAYS.iter().find_map(|day| {
        named[..3].copy_from_slice(day);
        httpdate::parse_http_date(std::str::from_utf8(named).ok()?).ok()
    })
}

/// Formats a wall time in the preferred form; times past the year 9999 are cut to its end.
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
            "Mon Nov  6 08:49:37 1994",
            "Fri, 06 Nov 1994 08:49:37 GMT",
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
            "Sux, 06 Nov 1994 08:49:37 GMT",
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
