//! Reasons in words, with the RFC section: for operators who ask what the cache did.

use std::borrow::Cow;

use http::header;

use super::cache_control::{ClientDirectives, Directives, targeted_field};
use super::date::parse_date;
use super::request::RequestFacts;
use super::reuse::ReuseTerms;
use super::rules::Rules;
use crate::record::{LifetimeBy, Lines, Record};

/// What gave a record its lifetime, in words.
pub fn lifetime_source(record: &Record, rules: &Rules) -> Cow<'static, str> {
    let said = said(record, rules);
    match record.by {
        LifetimeBy::Heuristic => {
            let percent = rules.heuristic.map_or(0.0, |heuristic| heuristic.fraction * 100.0);
            format!("a heuristic, {percent} % of the time since Last-Modified (RFC 9111 §4.2.2)").into()
        }
        LifetimeBy::Route if rules.status_ttl_ms.contains_key(&record.status.as_u16()) => {
            "the route's status_ttl".into()
        }
        LifetimeBy::Route => "the route's default_ttl".into(),
        LifetimeBy::Origin if said.no_cache => "no-cache (RFC 9111 §5.2.2.4)".into(),
        LifetimeBy::Origin => {
            let (word, seconds) = match (said.s_maxage, said.max_age) {
                (Some(seconds), _) => ("s-maxage", Some(seconds)),
                (None, Some(seconds)) => ("max-age", Some(seconds)),
                (None, None) => (expires(record, rules, &said), None),
            };
            let cut = seconds.is_some_and(|seconds| seconds.saturating_mul(1000) > record.fresh_ms);
            let cut = if cut { ", cut by the route's max_ttl" } else { "" };
            match (seconds, targeted_field(&record.headers, rules)) {
                (None, _) => word.into(),
                (_, Some(field)) => format!("{word} of {field} (RFC 9213 §2){cut}").into(),
                (_, None) => format!("{word} (RFC 9111 §4.2.1){cut}").into(),
            }
        }
    }
}

/// Why a stored record that no purge covers has to be validated before it answers; `now` on the store's
/// clock.
pub fn validates_because(
    ask: &RequestFacts,
    record: &Record,
    terms: &ReuseTerms,
    rules: &Rules,
    now: u64,
) -> String {
    let said = said(record, rules);
    if terms.no_cache() {
        return "no-cache: validated before each use (RFC 9111 §5.2.2.4)".into();
    }
    if super::age::is_from_the_future(record, now) {
        return "received in the future: a clock was set back since, or was wrong then".into();
    }
    let age = super::age::current_age(record, now);
    if record.fresh_until() > now {
        return client_refuses(&ask.wants, age);
    }
    let (age, lifetime) = (age / 1000, record.fresh_ms / 1000);
    let so = if said.must_revalidate {
        "must-revalidate forbids to serve it so (RFC 9111 §5.2.2.2)"
    } else if said.proxy_revalidate {
        "proxy-revalidate forbids to serve it so (RFC 9111 §5.2.2.8)"
    } else if terms.is_failure() {
        "what says that the origin failed is not served so (RFC 5861 §4)"
    } else if record.swr_ms > 0 {
        "its stale-while-revalidate is over (RFC 5861 §3)"
    } else if said.s_maxage.is_some() {
        "s-maxage forbids to serve it so (RFC 9111 §5.2.2.10)"
    } else {
        "nothing lets it be served so (RFC 9111 §4.2.4)"
    };
    format!("stale: age {age}, lifetime {lifetime} (RFC 9111 §4.2), and {so}")
}

fn client_refuses(wants: &ClientDirectives, age: u64) -> String {
    if wants.no_cache {
        "the client says no-cache (RFC 9111 §5.2.1.4)".into()
    } else if let Some(most) = wants.max_age.filter(|&most| age > most) {
        format!("the client takes nothing older than max-age={} (RFC 9111 §5.2.1.1)", most / 1000)
    } else {
        let least = wants.min_fresh.unwrap_or(0) / 1000;
        format!("the client wants it fresh for min-fresh={least} more (RFC 9111 §5.2.1.3)")
    }
}

fn expires(record: &Record, rules: &Rules, said: &Directives) -> &'static str {
    let mut lines = record.headers.lines(&header::EXPIRES);
    match lines.next().filter(|_| !said.targeted && !rules.ignore.expires) {
        Some(date) if lines.next().is_none() && parse_date(date).is_some() => "Expires (RFC 9111 §5.3)",
        Some(_) => "an Expires that is no date, and so is past (RFC 9111 §5.3)",
        None => "the lack of a stated lifetime: kept to be validated (RFC 9111 §4.3)",
    }
}

fn said(record: &Record, rules: &Rules) -> Directives {
    let raw = Directives::of(&record.headers, rules);
    if record.credentialed { raw } else { raw.overlooking(rules.ignore) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::reuse::tests::record;

    #[test]
    fn who_gave_the_lifetime() {
        let plain = Rules::default();
        let capped = Rules { max_ttl_ms: Some(5000), ..Rules::default() };
        for (words, fresh_ms, rules, want) in [
            ("max-age=60", 60_000, &plain, "max-age (RFC 9111 §4.2.1)"),
            ("max-age=60, s-maxage=9", 9000, &plain, "s-maxage (RFC 9111 §4.2.1)"),
            ("max-age=60", 5000, &capped, "max-age (RFC 9111 §4.2.1), cut by the route's max_ttl"),
            ("max-age=60, no-cache", 0, &plain, "no-cache (RFC 9111 §5.2.2.4)"),
            ("public", 0, &plain, "the lack of a stated lifetime: kept to be validated (RFC 9111 §4.3)"),
        ] {
            assert_eq!(lifetime_source(&record(words, fresh_ms, rules), rules), want, "{words}");
        }
        let mut record = record("public", 0, &plain);
        record.headers.insert("cdn-cache-control", "max-age=7".parse().unwrap());
        let cut = "max-age of cdn-cache-control (RFC 9213 §2), cut by the route's max_ttl";
        assert_eq!(lifetime_source(&record, &plain), cut);
        record.fresh_ms = 7000;
        assert_eq!(lifetime_source(&record, &plain), "max-age of cdn-cache-control (RFC 9213 §2)");
        record.headers.edit(|headers| headers.remove("cdn-cache-control"));
        for (date, want) in [
            ("Sun, 06 Nov 1994 08:49:37 GMT", "Expires (RFC 9111 §5.3)"),
            ("0", "an Expires that is no date, and so is past (RFC 9111 §5.3)"),
        ] {
            record.headers.insert(header::EXPIRES, date.parse().unwrap());
            assert_eq!(lifetime_source(&record, &plain), want, "{date}");
        }
        record.by = LifetimeBy::Heuristic;
        assert!(lifetime_source(&record, &plain).starts_with("a heuristic, 10 %"));
        record.by = LifetimeBy::Route;
        assert_eq!(lifetime_source(&record, &plain), "the route's default_ttl");
        let by_status = Rules { status_ttl_ms: [(200, 1)].into_iter().collect(), ..Rules::default() };
        assert_eq!(lifetime_source(&record, &by_status), "the route's status_ttl");
    }

    #[test]
    fn why_it_is_validated() {
        let rules = Rules::default();
        let because = |words: &str, fresh_ms, wants: ClientDirectives| {
            let record = record(words, fresh_ms, &rules);
            let ask = RequestFacts { wants, ..RequestFacts::default() };
            let now = record.received_at + 9000;
            validates_because(&ask, &record, &ReuseTerms::of(&record, &rules), &rules, now)
        };
        let none = ClientDirectives::default();
        for (words, want) in [
            ("max-age=3", "nothing lets it be served so (RFC 9111 §4.2.4)"),
            ("max-age=3, must-revalidate", "must-revalidate forbids"),
            ("max-age=3, proxy-revalidate", "proxy-revalidate forbids"),
            ("s-maxage=3", "s-maxage forbids"),
            ("s-maxage=3, stale-while-revalidate=1", "its stale-while-revalidate is over"),
            ("no-cache", "no-cache: validated before each use"),
        ] {
            let said = because(words, 3000, none);
            assert!(said.contains(want), "{words}: {said}");
        }
        for (wants, want) in [
            (ClientDirectives { no_cache: true, ..none }, "the client says no-cache"),
            (ClientDirectives { max_age: Some(2000), ..none }, "max-age=2"),
            (ClientDirectives { min_fresh: Some(60_000), ..none }, "min-fresh=60"),
        ] {
            let said = because("max-age=20", 20_000, wants);
            assert!(said.contains(want), "{said}");
        }
    }
}
