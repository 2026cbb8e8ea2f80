//! Wall times as text. The log needs two forms and no parsing, so there is no calendar crate.

use std::io::Write as _;

/// `2026-11-23T14:02:11.482Z`.
pub(super) fn rfc3339(out: &mut Vec<u8>, wall_ms: u64) {
    let (year, month, day) = civil(wall_ms / 86_400_000);
    // Writing to a Vec cannot fail.
    let _ = write!(out, "{year:04}-{month:02}-{day:02}T");
    clock(out, wall_ms);
    out.push(b'Z');
}

/// `14:02:11.482`, UTC.
pub(super) fn clock(out: &mut Vec<u8>, wall_ms: u64) {
    let ms = wall_ms % 86_400_000;
    let (hour, minute) = (ms / 3_600_000, ms / 60_000 % 60);
    let _ = write!(out, "{hour:02}:{minute:02}:{:02}.{:03}", ms / 1000 % 60, ms % 1000);
}

/// Year, month and day of a day number since 1970-01-01: the proleptic Gregorian calendar, counted
/// in eras of 400 years that begin on the first of March, so that the leap day comes last.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(wall_ms: u64) -> String {
        let mut out = Vec::new();
        rfc3339(&mut out, wall_ms);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn days_that_calendars_get_wrong() {
        assert_eq!(text(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(text(951_782_399_999), "2000-02-28T23:59:59.999Z");
        assert_eq!(text(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(text(4_107_542_400_000), "2100-03-01T00:00:00.000Z");
        assert_eq!(text(1_795_442_531_482), "2026-11-23T14:02:11.482Z");
    }

    #[test]
    fn agrees_with_httpdate() {
        for day in (0..60_000_u64).step_by(7) {
            let at = std::time::UNIX_EPOCH + std::time::Duration::from_secs(day * 86_400);
            let http = httpdate::fmt_http_date(at);
            let ours = text(day * 86_400_000);
            assert_eq!(&http[5..7], &ours[8..10], "{http} {ours}");
            assert_eq!(&http[12..16], &ours[..4], "{http} {ours}");
        }
    }
}
