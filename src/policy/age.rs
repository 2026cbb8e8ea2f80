//! How old a response is (RFC 9111 §4.2.3), in milliseconds; every sum saturates.

use http::{HeaderMap, HeaderValue, header};

use super::date::parse_date;
use crate::record::{CLOCK_SLACK_MS, Record};

/// The greatest delta-seconds (RFC 9111 §1.2.2); greater ones are cut to it.
pub const MAX_DELTA: u64 = 1 << 31;

/// Parses delta-seconds: digits only, at least one; saturates at [`MAX_DELTA`].
pub(super) fn delta_seconds(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |sum, byte| {
        byte.is_ascii_digit().then(|| (sum * 10 + u64::from(byte - b'0')).min(MAX_DELTA))
    })
}

/// The Age of a response in seconds: the first member of the list; `None` if that is not a number.
pub fn age_field(headers: &HeaderMap) -> Option<u64> {
    let first = headers.get(header::AGE)?.as_bytes().split(|&byte| byte == b',').next()?;
    delta_seconds(first.trim_ascii())
}

/// Corrected initial age, in ms (RFC 9111 §4.2.3). Dates have whole seconds, so the apparent age
/// is reckoned in them: else up to a second of each lifetime would be lost.
pub fn initial_age(headers: &HeaderMap, requested_at: u64, received_at: u64) -> u64 {
    let date = headers.get(header::DATE).and_then(|date| parse_date(date.as_bytes()));
    let apparent = date.map_or(0, |date| (received_at / 1000 * 1000).saturating_sub(date));
    let delay = received_at.saturating_sub(requested_at);
    let corrected = (age_field(headers).unwrap_or(0) * 1000).saturating_add(delay);
    apparent.max(corrected)
}

/// The age of a record at `now`, in ms.
pub fn current_age(record: &Record, now: u64) -> u64 {
    record.age_ms.saturating_add(now.saturating_sub(record.received_at))
}

/// Returns whether a record was received after `now`: a clock was set back since, or was wrong then. Its
/// age is not known, so it is not fresh, however long its lifetime.
pub fn is_from_the_future(record: &Record, now: u64) -> bool {
    record.received_at > now.saturating_add(CLOCK_SLACK_MS)
}

/// The value of the Age field for an age in ms.
pub fn age_value(age_ms: u64) -> HeaderValue {
    HeaderValue::from((age_ms / 1000).min(MAX_DELTA))
}

/// Sets Age, for responses from the store or from another request's exchange.
pub fn set_age(headers: &mut HeaderMap, age_ms: u64) {
    headers.insert(header::AGE, age_value(age_ms));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::http_date;

    fn with(name: &'static str, values: &[&str]) -> HeaderMap {
        values
            .iter()
            .map(|value| (http::HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()))
            .collect()
    }

    #[test]
    fn first_member_of_age() {
        for (lines, want) in [
            (&["7200"][..], Some(7200)),
            (&["7200,0"], Some(7200)),
            (&["7200", "0"], Some(7200)),
            (&["0, 7200"], Some(0)),
            (&[" 5 "], Some(5)),
            (&["abc"], None),
            (&["-7200"], None),
            (&["7200.0"], None),
            (&[""], None),
            (&["2147483648"], Some(MAX_DELTA)),
            (&["2147483649"], Some(MAX_DELTA)),
            (&["99999999999999999999999999"], Some(MAX_DELTA)),
        ] {
            assert_eq!(age_field(&with("age", lines)), want, "{lines:?}");
        }
        assert_eq!(age_field(&HeaderMap::new()), None);
    }

    #[test]
    fn initial() {
        let now = 1_000_000_500;
        let mut headers = with("age", &["10"]);
        assert_eq!(initial_age(&headers, now - 2000, now), 12_000, "age counts from the request");
        headers.insert(header::DATE, http_date(now - 60_000));
        assert_eq!(initial_age(&headers, now, now), 60_000, "by the date");
        headers.insert(header::DATE, http_date(now + 60_000));
        assert_eq!(initial_age(&headers, now, now), 10_000, "a date to come is no age");
        assert_eq!(initial_age(&HeaderMap::new(), now + 5, now), 0, "a clock that went back");
        assert_eq!(initial_age(&with("age", &["9999999999"]), 0, u64::MAX), u64::MAX);
    }

    #[test]
    fn said() {
        assert_eq!(age_value(41_999), "41");
        assert_eq!(age_value(u64::MAX), "2147483648");
    }
}
