use http::HeaderValue;

use super::*;

fn said(lines: &[&str]) -> Directives {
    let headers: http::HeaderMap =
        lines.iter().map(|line| (header::CACHE_CONTROL, HeaderValue::from_str(line).unwrap())).collect();
    Directives::of(&headers, &Rules::default())
}

fn cdn(targeted: &str, plain: &str) -> Directives {
    let mut headers = HeaderMap::new();
    headers.append("cdn-cache-control", HeaderValue::from_str(targeted).unwrap());
    headers.append(header::CACHE_CONTROL, HeaderValue::from_str(plain).unwrap());
    Directives::of(&headers, &Rules::default())
}

#[test]
fn max_age_in_all_spellings() {
    for (lines, want) in [
        (&["max-age=3600"][..], Some(3600)),
        (&["MaX-aGe=3600"], Some(3600)),
        (&["max-age=\"3600\""], Some(3600)),
        (&["max-age=003600"], Some(3600)),
        (&[" , ,foo ,\tmax-age=3600 ,"], Some(3600)),
        (&["extension=\"max-age=3600\", max-age=1"], Some(1)),
        (&["max-age=1, extension=\"max-age=3600, x\\\", max-age=7\""], Some(1)),
        (&["max-age=1800, max-age=1"], Some(1)),
        (&["max-age=1", "max-age=1800"], Some(1)),
        (&["max-age=2147483648"], Some(1 << 31)),
        (&["max-age=99999999999999999999"], Some(1 << 31)),
        (&["max-age"], Some(0)),
        (&["max-age="], Some(0)),
        (&["max-age=-5"], Some(0)),
        (&["max-age='3600'"], Some(0)),
        (&["max-age=3600.5"], Some(0)),
        (&["max-age=3600a"], Some(0)),
        (&["max-age =3600"], Some(0)),
        (&["max-age= 3600"], Some(0)),
        (&["xmax-age=3600"], None),
        (&[], None),
    ] {
        assert_eq!(said(lines).max_age, want, "{lines:?}");
    }
}

#[test]
fn flags() {
    let all = said(&[
        "No-Store, PRIVATE",
        "no-cache,public,must-revalidate,proxy-revalidate,immutable,must-understand",
    ]);
    assert!(all.no_store && all.private && all.no_cache && all.public && all.must_revalidate);
    assert!(all.proxy_revalidate && all.immutable && all.must_understand && !all.targeted);
    assert!(said(&["no-store=yes"]).no_store);
    assert!(!said(&["x=\"no-store\""]).no_store);
    assert!(said(&["x=\"open, no-store"]).no_store, "a quote that does not close hides nothing");
    assert!(said(&["x=\\\", no-store"]).no_store);
}

#[test]
fn lists_of_fields() {
    for (line, bare, withheld_fields) in [
        ("no-cache=\"a, B\"", false, &["a", "b"][..]),
        ("private=x-user", false, &["x-user"]),
        ("no-cache=\"\"", true, &[]),
        ("no-cache=\"a b\"", true, &[]),
        ("private=\"a, vary\"", true, &["a", "vary"]),
        ("private=\"Content-Type\"", true, &["content-type"]),
        ("private=\"a\", private", true, &["a"]),
    ] {
        let found = said(&[line]);
        assert_eq!(found.no_cache || found.private, bare, "{line}");
        let headers = [(header::CACHE_CONTROL, HeaderValue::from_static(line))].into_iter().collect();
        assert_eq!(withheld(&headers, &Rules::default()), withheld_fields, "{line}");
    }
}

#[test]
fn stale_words() {
    let found = said(&["stale-while-revalidate=30, stale-if-error=60, stale-if-error=x"]);
    assert_eq!((found.while_revalidate, found.if_error), (Some(30), Some(0)));
}

#[test]
fn targeted_fields_rule_alone() {
    let found = cdn("max-age=100", "no-store, max-age=1");
    assert_eq!((found.max_age, found.no_store, found.targeted), (Some(100), false, true));
    assert!(cdn("no-store", "max-age=9").no_store);
    assert!(cdn("private", "max-age=9").private);
    assert_eq!(cdn("max-age=99999999999", "").max_age, Some(1 << 31));
    assert_eq!(cdn("foobar, max-age=3600;x=y", "").max_age, Some(3600));
    assert!(!cdn("no-store=?0, max-age=5", "").no_store);
    let listed = cdn("no-cache=\"a\", max-age=5", "");
    assert!(!listed.no_cache && listed.withholds);
}

#[test]
fn a_targeted_field_that_does_not_parse_is_ignored_whole() {
    for broken in ["max-age=10000, &&&&&", "", "max-age =100", "MaX-aGe=100", "max-age= 100", "max-age=100,"]
    {
        let found = cdn(broken, "max-age=1");
        assert_eq!((found.max_age, found.targeted), (Some(1), false), "{broken}");
    }
    for strange in ["max-age=\"10000\"", "max-age=1.5", "max-age=-5", "max-age=(1 2)", "max-age"] {
        assert_eq!(cdn(strange, "max-age=1").max_age, Some(0), "{strange}");
    }
}

#[test]
fn overlooked() {
    let all = said(&["no-store, private, no-cache, must-revalidate, max-age=1, s-maxage=2"]);
    let ignore = Ignore { no_store: true, private: true, s_maxage: true, ..Ignore::default() };
    let left = all.overlooking(ignore);
    assert!(!left.no_store && !left.private && left.no_cache && left.must_revalidate);
    assert_eq!((left.max_age, left.s_maxage), (Some(1), None));
}

#[test]
fn sharing_words() {
    for (line, granted) in [
        ("public", true),
        ("s-maxage=1", true),
        ("must-revalidate", true),
        ("proxy-revalidate", false),
        ("max-age=5", false),
    ] {
        assert_eq!(said(&[line]).grant_sharing(), granted, "{line}");
    }
}
