use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::*;
use crate::policy::ClientDirectives;
use crate::policy::rules::Ignore;
use crate::policy::verdict::{Answer, Framing, Verdict, verdict};
use crate::testkit::fixtures;

/// When a test's record was received.
pub(crate) const NOW: u64 = 1_700_000_000_000;

/// A record received at [`NOW`], its times those of the verdict, its lifetime `fresh_ms`.
pub(crate) fn record(cache_control: &str, fresh_ms: u64, rules: &Rules) -> Record {
    let mut headers = HeaderMap::new();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_str(cache_control).unwrap());
    headers.insert(header::DATE, crate::policy::http_date(NOW));
    let answer = Answer {
        status: StatusCode::OK,
        headers: &headers,
        requested_at: NOW,
        received_at: NOW,
        framing: Framing::Length(0),
    };
    let (swr_ms, sie_ms, keep_ms) = match verdict(&RequestFacts::default(), &answer, rules) {
        Verdict::Store(lifetime) => (lifetime.swr_ms, lifetime.sie_ms, lifetime.keep_ms),
        _ => (0, 0, 0),
    };
    Record {
        headers: headers.into(),
        received_at: NOW,
        fresh_ms,
        swr_ms,
        sie_ms,
        keep_ms,
        ..fixtures::record("http://a/")
    }
}

fn reused(said: &str, fresh_ms: u64, ask: &RequestFacts, rules: &Rules, at: u64) -> Reuse {
    let record = record(said, fresh_ms, rules);
    reuse(ask, &record, &ReuseTerms::of(&record, rules), NOW + at)
}

#[test]
fn what_was_received_in_the_future_is_validated() {
    let (rules, ask) = (Rules::default(), RequestFacts::default());
    let record = record("max-age=10, stale-while-revalidate=9999", 10_000, &rules);
    let terms = ReuseTerms::of(&record, &rules);
    let at = |now| reuse(&ask, &record, &terms, now);
    assert_eq!(at(NOW - 2_000), Reuse::Fresh { age_ms: 0, ttl_ms: 12_000 }, "clocks differ a little");
    assert_eq!(at(NOW - 2_001), Reuse::Validate);
    assert_eq!(at(NOW - 7_200_000), Reuse::Validate);
    assert_eq!(at(0), Reuse::Validate);
}

#[test]
fn fresh_then_stale() {
    let rules = Rules::default();
    let ask = RequestFacts::default();
    let at = |at| reused("max-age=10, stale-while-revalidate=5", 10_000, &ask, &rules, at);
    assert_eq!(at(0), Reuse::Fresh { age_ms: 0, ttl_ms: 10_000 });
    assert_eq!(at(9_999), Reuse::Fresh { age_ms: 9_999, ttl_ms: 1 });
    assert_eq!(at(10_000), Reuse::StaleWhileRevalidate { age_ms: 10_000, ttl_ms: 0 });
    assert_eq!(at(14_999), Reuse::StaleWhileRevalidate { age_ms: 14_999, ttl_ms: -4_999 });
    assert_eq!(at(15_000), Reuse::Validate);
    assert_eq!(at(u64::MAX - NOW), Reuse::Validate);
}

#[test]
fn words_against_stale() {
    let rules = Rules { while_revalidate_ms: 5_000, ..Rules::default() };
    for (said, want) in [
        ("max-age=10", true),
        ("max-age=10, stale-while-revalidate=0", false),
        ("max-age=10, must-revalidate", false),
        ("max-age=10, proxy-revalidate", false),
        // The route sets the grace itself.
        ("s-maxage=10", true),
        ("s-maxage=10, stale-while-revalidate=0", false),
        ("s-maxage=10, proxy-revalidate", false),
        ("max-age=10, no-cache", false),
    ] {
        let late = reused(said, 10_000, &RequestFacts::default(), &rules, 11_000);
        assert_eq!(matches!(late, Reuse::StaleWhileRevalidate { .. }), want, "{said}");
    }
    assert_eq!(reused("no-cache, max-age=10", 10_000, &RequestFacts::default(), &rules, 0), Reuse::Validate);
}

/// Next.js and Nuxt send both, and mean both.
#[test]
fn stale_while_revalidate_outweighs_what_s_maxage_implies() {
    let rules = Rules::default();
    for (said, want) in [
        ("s-maxage=1, stale-while-revalidate=30", true),
        ("s-maxage=1, max-age=9, stale-while-revalidate=30", true),
        ("s-maxage=1", false),
        ("s-maxage=1, stale-if-error=30", false),
        ("s-maxage=1, stale-while-revalidate=30, must-revalidate", false),
        ("s-maxage=1, stale-while-revalidate=30, proxy-revalidate", false),
        ("s-maxage=1, stale-while-revalidate=30, no-cache", false),
    ] {
        let at = |at| reused(said, 1_000, &RequestFacts::default(), &rules, at);
        assert_eq!(matches!(at(2_000), Reuse::StaleWhileRevalidate { .. }), want, "{said}");
        assert!(!matches!(at(31_000), Reuse::StaleWhileRevalidate { .. }), "{said}");
        // A client's max-stale does not override the origin's directives.
        let wants = ClientDirectives { max_stale: Some(u64::MAX), ..ClientDirectives::default() };
        let patient = reused(said, 1_000, &RequestFacts { wants, ..RequestFacts::default() }, &rules, 99_000);
        assert_eq!(patient, Reuse::Validate, "{said}");
    }
}

#[test]
fn authorization_needs_the_words() {
    let rules = Rules { ignore: Ignore { s_maxage: true, ..Ignore::default() }, ..Rules::default() };
    let ask = RequestFacts { authorization: true, ..RequestFacts::default() };
    for (said, want) in [
        ("max-age=10", false),
        ("public, max-age=10", true),
        ("s-maxage=10", true),
        ("must-revalidate, max-age=10", true),
    ] {
        let found = reused(said, 10_000, &ask, &rules, 0);
        let refused = found == Reuse::Refused(PassReason::Authorization);
        assert_eq!(refused, !want, "{said}: {found:?}");
    }
    let cookie = RequestFacts { cookie: true, ..RequestFacts::default() };
    assert!(matches!(reused("max-age=10", 10_000, &cookie, &rules, 0), Reuse::Fresh { .. }));
}

#[test]
fn a_clients_own_limits() {
    let rules = Rules::default();
    let with = |wants| RequestFacts { wants, ..RequestFacts::default() };
    let none = ClientDirectives::default();
    for (said, at, wants, want) in [
        ("max-age=10", 5_000, ClientDirectives { max_age: Some(4_000), ..none }, "validate"),
        ("max-age=10", 5_000, ClientDirectives { max_age: Some(5_000), ..none }, "fresh"),
        ("max-age=10, immutable", 5_000, ClientDirectives { max_age: Some(0), ..none }, "fresh"),
        ("max-age=10, immutable", 11_000, ClientDirectives { max_age: Some(0), ..none }, "validate"),
        ("max-age=10, immutable", 5_000, ClientDirectives { no_cache: true, ..none }, "validate"),
        ("max-age=10", 5_000, ClientDirectives { min_fresh: Some(5_000), ..none }, "fresh"),
        ("max-age=10", 5_000, ClientDirectives { min_fresh: Some(5_001), ..none }, "validate"),
        ("max-age=10", 15_000, ClientDirectives { max_stale: Some(5_000), ..none }, "max-stale"),
        ("max-age=10", 15_001, ClientDirectives { max_stale: Some(5_000), ..none }, "validate"),
        ("max-age=10", 99_000, ClientDirectives { max_stale: Some(u64::MAX), ..none }, "max-stale"),
        (
            "max-age=10, must-revalidate",
            11_000,
            ClientDirectives { max_stale: Some(u64::MAX), ..none },
            "validate",
        ),
    ] {
        let found = match reused(said, 10_000, &with(wants), &rules, at) {
            Reuse::Fresh { .. } => "fresh",
            Reuse::MaxStale { .. } => "max-stale",
            Reuse::Validate => "validate",
            other => panic!("{other:?}"),
        };
        assert_eq!(found, want, "{said} at {at}, {wants:?}");
    }
}

#[test]
fn riding() {
    let rules = Rules::default();
    let ask = RequestFacts::default();
    for (said, fresh_ms, sent_after, under_way) in [
        ("max-age=10", 10_000, true, true),
        ("max-age=10", 500, true, false),
        ("max-age=0", 0, true, true),
        ("x", 0, true, true),
        ("no-cache", 0, true, false),
        ("max-age=0, must-revalidate", 0, true, false),
        ("max-age=0, proxy-revalidate", 0, true, false),
        ("s-maxage=0", 0, true, false),
    ] {
        let record = record(said, fresh_ms, &rules);
        let terms = ReuseTerms::of(&record, &rules);
        let rides = |ride| may_ride(&ask, &record, &terms, NOW + 1_000, ride);
        assert_eq!((rides(Ride::SentAfterArrival), rides(Ride::UnderWay)), (sent_after, under_way), "{said}");
    }
}

#[test]
fn credentials_ride_by_the_words() {
    let rules = Rules::default();
    for (said, fresh_ms, vary, cookie, authorization) in [
        ("max-age=10", 10_000, None, true, false),
        ("x", 0, None, false, false),
        ("x", 0, Some("Cookie"), true, false),
        ("public", 0, None, true, true),
    ] {
        let mut record = record(said, fresh_ms, &rules);
        if let Some(vary) = vary {
            record.headers.insert(header::VARY, HeaderValue::from_static(vary));
        }
        let terms = ReuseTerms::of(&record, &rules);
        let rides = |ask: RequestFacts| may_ride(&ask, &record, &terms, NOW, Ride::SentAfterArrival);
        assert_eq!(
            rides(RequestFacts { cookie: true, ..RequestFacts::default() }),
            cookie,
            "{said} {vary:?}"
        );
        assert_eq!(
            rides(RequestFacts { authorization: true, ..RequestFacts::default() }),
            authorization,
            "{said} {vary:?}"
        );
    }
}

#[test]
fn what_is_overlooked_still_does_not_bind_credentials() {
    let rules = Rules {
        ignore: Ignore { no_cache: true, must_revalidate: true, ..Ignore::default() },
        ..Rules::default()
    };
    let mut record = record("no-cache, must-revalidate", 10_000, &rules);
    let terms = ReuseTerms::of(&record, &rules);
    assert!(!terms.no_cache() && !terms.must_revalidate() && terms.shares());
    record.credentialed = true;
    let terms = ReuseTerms::of(&record, &rules);
    assert!(terms.no_cache() && terms.must_revalidate(), "its fill carried credentials");
}

/// Once a record's terms are parsed, a hit does not read its fields.
#[test]
fn a_hit_reads_no_field_of_the_record() {
    let rules = Rules::default();
    for said in ["max-age=60", "max-age=60, must-revalidate", "s-maxage=60", "max-age=60, no-cache"] {
        let mut record = record(said, 60_000, &rules);
        let terms = ReuseTerms::of(&record, &rules);
        for (ask, after) in [
            (RequestFacts::default(), 1000),
            (RequestFacts::default(), 90_000),
            (RequestFacts { authorization: true, ..RequestFacts::default() }, 1000),
        ] {
            let judged = reuse(&ask, &record, &terms, NOW + after);
            let fields = std::mem::take(&mut record.headers);
            for (field, value) in
                [("cache-control", "no-store"), ("expires", "0"), ("age", "99"), ("vary", "*")]
            {
                record.headers.insert(field, HeaderValue::from_static(value));
            }
            assert_eq!(reuse(&ask, &record, &terms, NOW + after), judged, "{said}");
            record.headers = fields;
        }
    }
}

#[test]
fn a_packed_time_is_itself_or_the_most_there_is_room_for() {
    const MOST: u64 = (1 << 40) - 1;
    for (ms, packed) in
        [(0, 0), (1, 1), (86_400_000, 86_400_000), (MOST, MOST), (MOST + 1, MOST), (u64::MAX, MOST)]
    {
        assert_eq!(PackedMs::new(ms).get(), packed);
    }
}
