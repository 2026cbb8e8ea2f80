//! Stale answers when upstream fails (RFC 5861 §4, RFC 9111 §4.2.4).

use http::StatusCode;

use super::request::RequestFacts;
use super::reuse::ReuseTerms;
use super::rules::Rules;
use crate::record::Record;

/// How upstream failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorCase {
    /// The origin can't be reached, or broke off before its head was in.
    Unreachable,
    /// The request has waited for as long as it may.
    WaitDeadline,
    /// The origin answered with this status.
    Status(u16),
}

/// Returns whether a status says that the origin failed, so that a stale response is better (RFC 5861 §4).
/// One of 600 or more is read as 500 (RFC 9110 §15). A stored response of such a status is never served
/// stale: the origin may have recovered long ago.
pub fn is_failure(status: StatusCode) -> bool {
    matches!(status.as_u16(), 500 | 502 | 503 | 504 | 600..)
}

/// Returns whether a record may be served, stale or not, instead of the failure. When the origin can't be
/// reached or the deadline passed: within stale-if-error or the grace for errors. For 500, 502, 503 and 504:
/// only within stale-if-error, or a grace that the route set itself; for 429 only within the latter. Other
/// statuses are no failures. Under s-maxage only what the response or the route itself allows counts, in each
/// of these cases.
pub fn stale_on_error(
    ask: &RequestFacts,
    record: &Record,
    terms: &ReuseTerms,
    rules: &Rules,
    now: u64,
    why: ErrorCase,
) -> bool {
    let never = terms.no_cache() || terms.must_revalidate() || terms.is_failure();
    if never || ask.wants.no_cache || (ask.identified() && !terms.shares()) {
        return false;
    }
    let window = match why {
        ErrorCase::Unreachable | ErrorCase::WaitDeadline if terms.implies_no_stale() => {
            terms.sie_on_status_ms.get()
        }
        ErrorCase::Unreachable | ErrorCase::WaitDeadline => {
            terms.sie_on_status_ms.get().max(rules.if_error_ms)
        }
        ErrorCase::Status(500 | 502 | 503 | 504 | 600..) => terms.sie_on_status_ms.get(),
        ErrorCase::Status(429) if rules.if_error_set => rules.if_error_ms,
        ErrorCase::Status(_) => return false,
    };
    now < record.fresh_until().saturating_add(window) && now <= record.end()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::reuse::tests::{NOW, record};
    use crate::policy::{ClientDirectives, Reuse, may_refresh_behind, reuse};

    fn allowed(cache_control: &str, late_ms: u64, rules: &Rules, why: ErrorCase) -> bool {
        let record = record(cache_control, 10_000, rules);
        let terms = ReuseTerms::of(&record, rules);
        stale_on_error(&RequestFacts::default(), &record, &terms, rules, NOW + 10_000 + late_ms, why)
    }

    #[test]
    fn cases() {
        let rules = Rules::default();
        let set = Rules { if_error_set: true, ..Rules::default() };
        let off = Rules { if_error_ms: 0, ..Rules::default() };
        let busy = ErrorCase::Status(503);
        for (said, late, rules, why, want) in [
            ("max-age=10", 0, &rules, ErrorCase::Unreachable, true),
            ("max-age=10", 599_999, &rules, ErrorCase::WaitDeadline, true),
            ("max-age=10", 600_000, &rules, ErrorCase::Unreachable, false),
            ("max-age=10", 0, &rules, busy, false),
            ("max-age=10", 0, &set, busy, true),
            ("max-age=10", 0, &off, ErrorCase::Unreachable, false),
            ("max-age=10, stale-if-error=60", 59_999, &off, ErrorCase::Unreachable, true),
            ("max-age=10, stale-if-error=60", 59_999, &rules, busy, true),
            ("max-age=10, stale-if-error=60", 60_000, &rules, busy, false),
            ("max-age=10, stale-if-error=60", 0, &rules, ErrorCase::Status(501), false),
            ("max-age=10, stale-if-error=60", 0, &rules, ErrorCase::Status(404), false),
            ("max-age=10, stale-if-error=60", 0, &rules, ErrorCase::Status(429), false),
            ("max-age=10, stale-if-error=60", 0, &set, ErrorCase::Status(429), true),
            ("max-age=10, stale-if-error=60, must-revalidate", 0, &rules, busy, false),
            ("max-age=10, proxy-revalidate", 0, &rules, ErrorCase::Unreachable, false),
            ("max-age=10, stale-if-error=60", 0, &rules, ErrorCase::Status(600), true),
            ("max-age=10, stale-if-error=60", 0, &rules, ErrorCase::Status(999), true),
            ("s-maxage=10", 0, &rules, ErrorCase::Unreachable, false),
            ("s-maxage=10", 0, &rules, busy, false),
            ("s-maxage=10", 0, &set, ErrorCase::Unreachable, true),
            ("s-maxage=10", 599_999, &set, busy, true),
            ("s-maxage=10", 600_000, &set, busy, false),
            ("s-maxage=10, stale-if-error=60", 59_999, &rules, busy, true),
            ("s-maxage=10, stale-if-error=60", 59_999, &rules, ErrorCase::Unreachable, true),
            ("s-maxage=10, stale-if-error=60", 60_000, &rules, ErrorCase::Unreachable, false),
            ("s-maxage=10, stale-while-revalidate=60", 60_000, &rules, ErrorCase::Unreachable, false),
            ("s-maxage=10, stale-if-error=60, proxy-revalidate", 0, &set, busy, false),
            ("s-maxage=10, stale-if-error=60, must-revalidate", 0, &set, busy, false),
            ("max-age=10, no-cache", 0, &rules, ErrorCase::Unreachable, false),
        ] {
            assert_eq!(allowed(said, late, rules, why), want, "{said} {late} {why:?}");
        }
    }

    #[test]
    fn a_stored_failure_is_never_served_stale() {
        let set = Rules { if_error_set: true, while_revalidate_ms: 60_000, ..Rules::default() };
        for (status, want) in
            [(500, false), (502, false), (503, false), (504, false), (501, true), (404, true)]
        {
            let mut record = record("max-age=10, stale-if-error=60, stale-while-revalidate=60", 10_000, &set);
            // Its times are those of a record that allows stale use, as older versions stored them.
            record.status = StatusCode::from_u16(status).unwrap();
            let terms = ReuseTerms::of(&record, &set);
            let now = NOW + 11_000;
            let asks = RequestFacts::default();
            for why in [ErrorCase::Unreachable, ErrorCase::WaitDeadline, ErrorCase::Status(503)] {
                assert_eq!(stale_on_error(&asks, &record, &terms, &set, now, why), want, "{status} {why:?}");
            }
            assert_eq!(may_refresh_behind(&record, &terms), want, "{status}: by a soft purge");
            let behind = reuse(&asks, &record, &terms, now);
            assert_eq!(matches!(behind, Reuse::StaleWhileRevalidate { .. }), want, "{status}");
            let wants = ClientDirectives { max_stale: Some(u64::MAX), ..ClientDirectives::default() };
            let patient = reuse(&RequestFacts { wants, ..asks }, &record, &terms, NOW + 90_000);
            assert_eq!(matches!(patient, Reuse::MaxStale { .. }), want, "{status}");
        }
    }

    #[test]
    fn not_to_credentials_without_the_words() {
        let rules = Rules::default();
        let ask = RequestFacts { authorization: true, ..RequestFacts::default() };
        for (said, want) in [("max-age=10", false), ("max-age=10, public", true)] {
            let record = record(said, 10_000, &rules);
            let terms = ReuseTerms::of(&record, &rules);
            let served = stale_on_error(&ask, &record, &terms, &rules, NOW + 11_000, ErrorCase::Unreachable);
            assert_eq!(served, want, "{said}");
        }
    }
}
