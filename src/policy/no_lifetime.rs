//! Why a stored response has no lifetime, so that the origin is asked before each use, and the setting of a route
//! that would give it one.

use http::{StatusCode, header};

use super::cache_control::Directives;
use super::rules::Rules;
use crate::record::{Lines, Record};

/// Why a record has no lifetime, where its route could give it one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoLifetime {
    /// The origin states none.
    Unstated(StatusCode),
    /// The origin states none, and the response sets a cookie: then a route's lifetime does not count.
    WithCookie,
    /// The route's `status_ttl` says 0.
    Route(StatusCode),
    /// The origin says that it is not fresh.
    Stated {
        /// What the route would have to overlook, in the words of `ignore`.
        ignore: Vec<&'static str>,
        /// Whether nothing is left then that states a lifetime.
        leaves_none: bool,
    },
}

// === impl NoLifetime ===

impl NoLifetime {
    /// Why this record has no lifetime. `None` if it has one, or if only the origin could give it one.
    pub fn of(record: &Record, rules: &Rules) -> Option<Self> {
        // What answers a request with credentials lives by the origin's words alone.
        if record.fresh_ms > 0 || record.credentialed {
            return None;
        }
        let said = Directives::of(&record.headers, rules).overlooking(rules.ignore);
        let mut ignore = Vec::new();
        if said.no_cache {
            ignore.push("no-cache");
        }
        let expires = (!said.targeted && !rules.ignore.expires && record.headers.has(&header::EXPIRES))
            .then_some(("expires", None));
        let lifetimes = [("s-maxage", said.s_maxage), ("max-age", said.max_age)];
        let mut stated = lifetimes.into_iter().filter(|(_, seconds)| seconds.is_some()).chain(expires);
        // Up to the first that would give a lifetime. Whether an Expires would is not asked: it is overlooked.
        let left = stated.by_ref().find(|(word, seconds)| {
            let gives = seconds.is_some_and(|seconds| seconds > 0);
            if !gives {
                ignore.push(word);
            }
            gives
        });
        if !ignore.is_empty() {
            return Some(Self::Stated { ignore, leaves_none: left.is_none() });
        }
        // It was stored by other settings than these.
        if left.is_some() {
            return None;
        }
        match rules.status_ttl_ms.get(&record.status.as_u16()) {
            _ if record.headers.has(&header::SET_COOKIE) => Some(Self::WithCookie),
            Some(0) => Some(Self::Route(record.status)),
            Some(_) => None,
            None if has_default(record.status) && rules.default_ttl_ms.is_some() => None,
            None => Some(Self::Unstated(record.status)),
        }
    }

    /// The setting that would give a lifetime, as `default_ttl`.
    pub fn setting(&self) -> String {
        match self {
            Self::Unstated(status) if has_default(*status) => "default_ttl".to_owned(),
            Self::Unstated(status) | Self::Route(status) => {
                format!("status_ttl = {{ {} = … }}", status.as_u16())
            }
            Self::WithCookie => "set_cookie = \"strip\" with default_ttl".to_owned(),
            Self::Stated { ignore, leaves_none } => {
                let with = if *leaves_none { " with default_ttl" } else { "" };
                format!("ignore = {ignore:?}{with}")
            }
        }
    }

    /// The same in words, to be put behind what was said of a record.
    pub fn explained(&self, route: &str) -> String {
        format!("; {} on route {route} would give it a lifetime", self.setting())
    }
}

/// Returns whether `default_ttl` is for this status.
pub(super) fn has_default(status: StatusCode) -> bool {
    matches!(status.as_u16(), 200 | 203 | 204 | 301 | 308)
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;
    use crate::policy::reuse::tests::record;
    use crate::policy::rules::Ignore;

    fn setting(status: u16, fields: &[(&'static str, &'static str)], rules: &Rules) -> Option<String> {
        let mut record = record("x-none", 0, rules);
        record.status = StatusCode::from_u16(status).unwrap();
        for &(name, value) in fields {
            record.headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        NoLifetime::of(&record, rules).map(|why| why.setting())
    }

    #[test]
    fn the_setting_that_would_give_a_lifetime() {
        let plain = Rules::default();
        let says = |value| ("cache-control", value);
        let past = ("expires", "0");
        for (status, fields, want) in [
            (200, &[][..], "default_ttl"),
            (301, &[says("public")], "default_ttl"),
            (404, &[], "status_ttl = { 404 = … }"),
            (200, &[says("no-cache")], "ignore = [\"no-cache\"] with default_ttl"),
            (200, &[says("no-cache, max-age=60")], "ignore = [\"no-cache\"]"),
            (200, &[says("max-age=0")], "ignore = [\"max-age\"] with default_ttl"),
            (200, &[says("s-maxage=0, max-age=9")], "ignore = [\"s-maxage\"]"),
            (200, &[past], "ignore = [\"expires\"] with default_ttl"),
            (
                200,
                &[says("no-cache, max-age=0"), past],
                "ignore = [\"no-cache\", \"max-age\", \"expires\"] with default_ttl",
            ),
            // Where a targeted field counts, Expires does not.
            (200, &[("cdn-cache-control", "max-age=0"), past], "ignore = [\"max-age\"] with default_ttl"),
            (200, &[("set-cookie", "a=b")], "set_cookie = \"strip\" with default_ttl"),
        ] {
            assert_eq!(setting(status, fields, &plain).as_deref(), Some(want), "{status} {fields:?}");
        }
        let rules = Rules {
            ignore: Ignore { no_cache: true, ..Ignore::default() },
            status_ttl_ms: [(404, 0), (410, 9)].into_iter().collect(),
            ..Rules::default()
        };
        assert_eq!(setting(200, &[says("no-cache")], &rules).as_deref(), Some("default_ttl"));
        assert_eq!(setting(404, &[], &rules).as_deref(), Some("status_ttl = { 404 = … }"));
        assert_eq!(setting(410, &[], &rules), None);
    }

    #[test]
    fn none_where_there_is_a_lifetime_or_only_the_origin_could_give_one() {
        let plain = Rules::default();
        assert_eq!(NoLifetime::of(&record("max-age=60", 60_000, &plain), &plain), None);
        let shared = crate::record::Record { credentialed: true, ..record("public", 0, &plain) };
        assert_eq!(NoLifetime::of(&shared, &plain), None);
        let given = Rules { default_ttl_ms: Some(1000), ..Rules::default() };
        assert_eq!(NoLifetime::of(&record("public", 0, &given), &given), None);
        let why = NoLifetime::of(&record("public", 0, &plain), &plain).unwrap();
        assert_eq!(why.explained("api"), "; default_ttl on route api would give it a lifetime");
    }
}
