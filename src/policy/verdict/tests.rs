use http::{HeaderName, HeaderValue};

use super::*;
use crate::policy::rules::{Carried, Cookies, Ignore};
use crate::record::LifetimeBy;

const NOW: u64 = 784_111_777_000; // Sun, 06 Nov 1994 08:49:37 GMT
const LATER: &str = "Sun, 06 Nov 1994 08:50:37 GMT"; // a minute
const BEFORE: &str = "Sun, 06 Nov 1994 08:48:37 GMT";

type Fields<'a> = &'a [(&'static str, &'static str)];

fn headers(fields: Fields<'_>) -> HeaderMap {
    fields.iter().map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v))).collect()
}

fn judge(ask: &RequestFacts, status: u16, fields: Fields<'_>, framing: Framing, rules: &Rules) -> Verdict {
    let headers = headers(fields);
    let status = StatusCode::from_u16(status).unwrap();
    verdict(ask, &Answer { status, headers: &headers, requested_at: NOW, received_at: NOW, framing }, rules)
}

fn plain(status: u16, fields: Fields<'_>, rules: &Rules) -> Verdict {
    judge(&RequestFacts::default(), status, fields, Framing::Length(5), rules)
}

fn fresh(verdict: Verdict) -> Option<(u64, LifetimeBy)> {
    match verdict {
        Verdict::Store(lifetime) => Some((lifetime.fresh_ms, lifetime.by)),
        _ => None,
    }
}

#[test]
fn lifetimes_in_their_order() {
    let rules = Rules { default_ttl_ms: Some(7_000), ..Rules::default() };
    let (origin, route) = (LifetimeBy::Origin, LifetimeBy::Route);
    for (fields, want) in [
        (&[("cache-control", "max-age=5, s-maxage=9"), ("expires", LATER)][..], Some((9_000, origin))),
        (&[("cache-control", "max-age=5"), ("expires", LATER)], Some((5_000, origin))),
        (&[("expires", LATER)], Some((60_000, origin))),
        (&[("expires", LATER), ("date", BEFORE)], Some((120_000, origin))),
        (
            &[("cdn-cache-control", "max-age=3"), ("cache-control", "no-store"), ("expires", "0")],
            Some((3_000, origin)),
        ),
        (&[("cdn-cache-control", "max-age=3, &"), ("cache-control", "max-age=4")], Some((4_000, origin))),
        (&[("cdn-cache-control", "foo"), ("cache-control", "max-age=4")], Some((7_000, route))),
        (&[("expires", "0"), ("etag", "\"a\"")], Some((0, origin))),
        (&[("expires", LATER), ("expires", LATER), ("etag", "\"a\"")], Some((0, origin))),
        (&[("cache-control", "no-cache, max-age=5"), ("etag", "\"a\"")], Some((0, origin))),
        (&[("cache-control", "max-age=0"), ("last-modified", BEFORE)], Some((0, origin))),
        (&[("cache-control", "public")], Some((7_000, route))),
        (&[], Some((7_000, route))),
        (&[("cache-control", "max-age=0")], None),
        (&[("cache-control", "no-cache, max-age=5")], None),
        (&[("expires", "never")], None),
    ] {
        assert_eq!(fresh(plain(200, fields, &rules)), want, "{fields:?}");
    }
}

#[test]
fn the_origin_is_silent() {
    let none = Rules::default();
    let mut rules = Rules { default_ttl_ms: Some(7_000), ..Rules::default() };
    rules.status_ttl_ms.insert(404, 2_000);
    rules.status_ttl_ms.insert(503, 1_500);
    let old = ("last-modified", "Sun, 06 Nov 1994 08:48:37 GMT");
    let ancient = ("last-modified", "Sat, 06 Nov 1993 08:48:37 GMT");
    let heuristic = LifetimeBy::Heuristic;
    for (status, fields, rules, want) in [
        (200, &[][..], &rules, Some((7_000, LifetimeBy::Route))),
        (404, &[], &rules, Some((2_000, LifetimeBy::Route))),
        (503, &[], &rules, Some((1_500, LifetimeBy::Route))),
        (302, &[], &rules, None),
        (410, &[], &rules, None),
        (200, &[old], &none, Some((6_000, heuristic))),
        (404, &[old], &none, Some((6_000, heuristic))),
        (200, &[ancient], &none, Some((60_000, heuristic))),
        (501, &[old], &none, Some((6_000, heuristic))),
        (599, &[old, ("cache-control", "public")], &none, Some((6_000, heuristic))),
        (501, &[], &none, None),
        (503, &[old], &none, None),
        (302, &[old], &none, None),
        (302, &[old, ("cache-control", "public")], &none, Some((6_000, heuristic))),
        (200, &[], &none, None),
        (200, &[("etag", "\"a\"")], &none, Some((0, LifetimeBy::Origin))),
        (200, &[("etag", "a")], &none, Some((0, LifetimeBy::Origin))),
        (200, &[("etag", "\"a")], &none, None),
    ] {
        assert_eq!(fresh(plain(status, fields, rules)), want, "{status} {fields:?}");
    }
    let off = Rules { heuristic: None, ..Rules::default() };
    assert_eq!(fresh(plain(200, &[ancient], &off)), Some((0, LifetimeBy::Origin)));
    let capped = Rules { max_ttl_ms: Some(1_000), ..Rules::default() };
    assert_eq!(
        fresh(plain(200, &[("cache-control", "max-age=99")], &capped)),
        Some((1_000, LifetimeBy::Origin))
    );
}

#[test]
fn against_sharing() {
    let rules = Rules::default();
    for (fields, why) in [
        (&[("cache-control", "no-store")][..], PassReason::NoStore),
        (&[("cache-control", "max-age=5"), ("cache-control", "No-Store")], PassReason::NoStore),
        (&[("cache-control", "private, max-age=5")], PassReason::Private),
        (&[("cache-control", "public, max-age=5"), ("set-cookie", "a=b")], PassReason::SetCookie),
        (&[("cache-control", "max-age=5"), ("vary", "accept, *")], PassReason::VaryStar),
        (&[("cache-control", "max-age=5"), ("vary", "x-forwarded-for")], PassReason::VaryStar),
        (
            &[("cache-control", "max-age=5"), ("content-type", "Text/Event-Stream; x=y")],
            PassReason::EventStream,
        ),
    ] {
        assert_eq!(plain(200, fields, &rules), Verdict::Pass(why), "{fields:?}");
        assert!(why.shared());
    }
    let small = Rules { max_object_size: 4, ..Rules::default() };
    assert_eq!(plain(200, &[("cache-control", "max-age=5")], &small), Verdict::Pass(PassReason::TooLarge));
    assert_eq!(plain(206, &[("cache-control", "max-age=5")], &rules), Verdict::Pass(PassReason::Partial));
    assert!(fresh(plain(200, &[("cache-control", "private=\"x-a\", max-age=5")], &rules)).is_some());
}

#[test]
fn set_cookie() {
    let fields = [("set-cookie", "a=b")];
    let with_ttl = |set_cookie| Rules { set_cookie, default_ttl_ms: Some(7_000), ..Rules::default() };
    assert_eq!(plain(200, &fields, &with_ttl(SetCookie::Pass)), Verdict::Pass(PassReason::SetCookie));
    assert_eq!(fresh(plain(200, &fields, &with_ttl(SetCookie::Strip))), Some((7_000, LifetimeBy::Route)));
    assert_eq!(fresh(plain(200, &fields, &with_ttl(SetCookie::Store))), None, "not by the route's lifetime");
    let stated = [("set-cookie", "a=b"), ("cache-control", "max-age=5")];
    assert!(fresh(plain(200, &stated, &with_ttl(SetCookie::Store))).is_some());
}

#[test]
fn credentials() {
    let rules = Rules { default_ttl_ms: Some(7_000), ..Rules::default() };
    let mut ignoring = rules.clone();
    ignoring.ignore = Ignore { private: true, no_store: true, ..Ignore::default() };
    let authorization = RequestFacts { authorization: true, ..RequestFacts::default() };
    let cookie = RequestFacts { cookie: true, ..RequestFacts::default() };
    for (ask, fields, rules, want) in [
        (&authorization, &[("cache-control", "max-age=5")][..], &rules, Err(PassReason::Authorization)),
        (&authorization, &[], &rules, Err(PassReason::Authorization)),
        (&authorization, &[("cache-control", "public, max-age=5")], &rules, Ok(5_000)),
        (&authorization, &[("cache-control", "s-maxage=5")], &rules, Ok(5_000)),
        (&authorization, &[("cache-control", "must-revalidate, max-age=5")], &rules, Ok(5_000)),
        (
            &authorization,
            &[("cache-control", "max-age=5"), ("vary", "authorization")],
            &rules,
            Err(PassReason::Authorization),
        ),
        (
            &authorization,
            &[("cache-control", "public, private, max-age=5")],
            &ignoring,
            Err(PassReason::Private),
        ),
        (&cookie, &[("cache-control", "max-age=5")], &rules, Err(PassReason::Cookie)),
        (&cookie, &[("cache-control", "max-age=5"), ("vary", "Cookie")], &rules, Ok(5_000)),
        (&cookie, &[("cache-control", "public, max-age=5")], &rules, Ok(5_000)),
    ] {
        let found = judge(ask, 200, fields, Framing::Length(1), rules);
        match want {
            Err(why) => assert_eq!(found, Verdict::Pass(why), "{fields:?}"),
            Ok(ms) => assert_eq!(fresh(found).map(|found| found.0), Some(ms), "{fields:?}"),
        }
    }
    let public = judge(&authorization, 200, &[("cache-control", "public")], Framing::Length(1), &rules);
    assert!(fresh(public).is_none(), "no lifetime by the route for credentials");
    let failing = judge(&authorization, 503, &[], Framing::Length(1), &rules);
    let failed = Verdict::Failed { until_ms_from_now: None, shareable: false };
    assert_eq!(failing, failed, "one stranger's failure is known to the others, its answer is not");
}

#[test]
fn transient() {
    let rules = Rules::default();
    for (status, fields, want) in [
        (503, &[][..], Some((None, true))),
        (500, &[("cache-control", "no-cache")], Some((None, true))),
        (500, &[("cache-control", "no-cache, no-store, max-age=0, must-revalidate")], Some((None, false))),
        (502, &[("set-cookie", "a=b")], Some((None, false))),
        (429, &[("retry-after", "7")], Some((Some(7_000), true))),
        (429, &[("retry-after", "700")], Some((Some(30_000), true))),
        (429, &[("retry-after", "1")], Some((Some(1_000), true))),
        (503, &[("retry-after", "0")], Some((None, true))),
        (503, &[("retry-after", "Sat, 05 Nov 1994 08:49:47 GMT")], Some((None, true))),
        (503, &[("retry-after", "Sun, 06 Nov 1994 08:49:47 GMT")], Some((Some(10_000), true))),
        (503, &[("retry-after", "soon")], Some((None, true))),
        (408, &[], Some((None, true))),
        (425, &[], Some((None, true))),
        (503, &[("cache-control", "max-age=5")], None),
        (404, &[], None),
        (403, &[], None),
    ] {
        let found = match plain(status, fields, &rules) {
            Verdict::Failed { until_ms_from_now, shareable } => Some((until_ms_from_now, shareable)),
            _ => None,
        };
        assert_eq!(found, want, "{status} {fields:?}");
    }
}

#[test]
fn an_origin_limits_by_429_or_503_and_only_if_it_says_for_how_long() {
    for (status, after, want) in [
        (429, Some("3"), Some(3_000)),
        (503, Some("90"), Some(30_000)),
        (503, Some("Sun, 06 Nov 1994 08:49:47 GMT"), Some(10_000)),
        (429, Some("0"), None),
        (429, None, None),
        (500, Some("3"), None),
        (301, Some("3"), None),
    ] {
        let mut headers = HeaderMap::new();
        if let Some(after) = after {
            headers.insert("retry-after", HeaderValue::from_static(after));
        }
        let found = limits(StatusCode::from_u16(status).unwrap(), &headers, NOW);
        assert_eq!(found, want, "{status} {after:?}");
    }
}

#[test]
fn shared_but_not_kept() {
    let rules = Rules::default();
    let why = |verdict| match verdict {
        Verdict::Share { why, .. } => Some(why),
        _ => None,
    };
    assert_eq!(why(plain(200, &[], &rules)), Some(PassReason::NoLifetime));
    for says_so in ["max-age=0", "no-cache", "s-maxage=0, public"] {
        let said = plain(200, &[("cache-control", says_so)], &rules);
        assert_eq!(why(said), Some(PassReason::ZeroLifetime), "{says_so}");
    }
    assert_eq!(why(plain(405, &[], &rules)), Some(PassReason::NoLifetime), "an error, for this moment");
    assert_eq!(why(plain(302, &[], &rules)), Some(PassReason::NotCacheableStatus));
    assert_eq!(why(plain(403, &[], &rules)), Some(PassReason::NotCacheableStatus));
    let stated: Fields<'_> = &[("cache-control", "max-age=5")];
    let close = |rules: &Rules| judge(&RequestFacts::default(), 200, stated, Framing::Close, rules);
    assert_eq!(why(close(&rules)), Some(PassReason::Unframed));
    assert!(fresh(close(&Rules { store_unframed: true, ..Rules::default() })).is_some());
    assert!(fresh(plain(302, stated, &rules)).is_some());
    let set = Rules { if_error_set: true, ..Rules::default() };
    let none = plain(302, &[("cache-control", "max-age=0")], &set);
    assert_eq!(why(none), Some(PassReason::NotCacheableStatus), "a lifetime of 0 opens no status");
    assert!(fresh(plain(599, stated, &rules)).is_some(), "a strange status with a stated lifetime");
}

#[test]
fn must_understand() {
    let rules = Rules::default();
    let fields = [("cache-control", "max-age=5, no-store, must-understand")];
    assert!(fresh(plain(200, &fields, &rules)).is_some());
    assert_eq!(plain(299, &fields, &rules), Verdict::Pass(PassReason::NotUnderstood));
}

#[test]
fn what_is_kept_past_the_lifetime() {
    let grace = Rules { while_revalidate_ms: 30_000, ..Rules::default() };
    for (said, tagged, want) in [
        ("max-age=5", true, (30_000, 600_000, 3_600_000)),
        ("max-age=5", false, (30_000, 600_000, 0)),
        ("max-age=5, stale-while-revalidate=9, stale-if-error=900", false, (9_000, 900_000, 0)),
        ("max-age=5, stale-if-error=9", false, (30_000, 600_000, 0)),
        ("max-age=5, must-revalidate", true, (0, 0, 3_600_000)),
        // The route sets the one itself, and not the other.
        ("s-maxage=5", false, (30_000, 0, 0)),
        ("s-maxage=5, stale-while-revalidate=9", false, (9_000, 0, 0)),
        ("s-maxage=5, stale-while-revalidate=9, stale-if-error=8", false, (9_000, 8_000, 0)),
        ("s-maxage=5, stale-while-revalidate=9, proxy-revalidate", true, (0, 0, 3_600_000)),
        ("max-age=0", true, (0, 600_000, 3_600_000)),
        ("max-age=0, stale-while-revalidate=9", false, (9_000, 600_000, 0)),
        ("no-cache", true, (0, 0, 3_600_000)),
    ] {
        let tag: Fields<'_> = if tagged { &[("etag", "\"a\"")] } else { &[] };
        let mut headers = headers(tag);
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(said));
        let answer = Answer {
            status: StatusCode::OK,
            headers: &headers,
            requested_at: NOW - 2_000,
            received_at: NOW,
            framing: Framing::Framed,
        };
        let Verdict::Store(lifetime) = verdict(&RequestFacts::default(), &answer, &grace) else {
            panic!("{said}")
        };
        assert_eq!((lifetime.swr_ms, lifetime.sie_ms, lifetime.keep_ms), want, "{said}");
        assert_eq!(lifetime.age_ms, 2_000);
    }
}

/// Whatever gives it a lifetime, a response that says that the origin failed is never served past it.
#[test]
fn a_failure_has_no_life_past_its_lifetime() {
    let mut rules = Rules { while_revalidate_ms: 30_000, if_error_set: true, ..Rules::default() };
    rules.status_ttl_ms.extend([(500, 5_000), (404, 5_000)]);
    let long = ("cache-control", "max-age=5, stale-while-revalidate=9, stale-if-error=900");
    for (status, fields, want) in [
        (500, &[][..], (5_000, 0, 0)),
        (500, &[long], (5_000, 0, 0)),
        (502, &[long], (5_000, 0, 0)),
        (503, &[long], (5_000, 0, 0)),
        (504, &[long], (5_000, 0, 0)),
        (501, &[long], (5_000, 9_000, 900_000)),
        (404, &[], (5_000, 30_000, 600_000)),
    ] {
        let Verdict::Store(lifetime) = plain(status, fields, &rules) else { panic!("{status}") };
        assert_eq!((lifetime.fresh_ms, lifetime.swr_ms, lifetime.sie_ms), want, "{status}");
    }
}

#[test]
fn a_status_that_is_none_of_https_is_a_failure_and_never_stored() {
    let mut rules = Rules { default_ttl_ms: Some(7_000), ..Rules::default() };
    rules.status_ttl_ms.insert(600, 7_000);
    for status in [600, 777, 999] {
        for fields in [&[][..], &[("cache-control", "public, max-age=60"), ("etag", "\"a\"")]] {
            let failed = Verdict::Failed { until_ms_from_now: None, shareable: true };
            assert_eq!(plain(status, fields, &rules), failed, "{status} {fields:?}");
        }
    }
}

#[test]
fn overlooked() {
    let ignore = Ignore {
        no_store: true,
        private: true,
        no_cache: true,
        max_age: true,
        expires: true,
        ..Ignore::default()
    };
    let rules = Rules { ignore, default_ttl_ms: Some(7_000), ..Rules::default() };
    let fields = [("cache-control", "no-store, private, no-cache, max-age=0"), ("expires", "0")];
    assert_eq!(fresh(plain(200, &fields, &rules)), Some((7_000, LifetimeBy::Route)));
}

#[test]
fn fields_that_fills_do_not_carry() {
    let stated = ("cache-control", "max-age=5");
    let only = Rules { carried: Carried::Only(vec![header::ACCEPT]), ..Rules::default() };
    assert!(fresh(plain(200, &[stated, ("vary", "Accept")], &only)).is_some());
    assert_eq!(plain(200, &[stated, ("vary", "x-tenant")], &only), Verdict::Pass(PassReason::VaryStar));
    let strip = Rules { cookies: Cookies::Strip, ..Rules::default() };
    assert!(fresh(plain(200, &[stated, ("vary", "Cookie")], &strip)).is_some());
}
