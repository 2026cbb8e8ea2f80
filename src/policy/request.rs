//! What a request asks for: passed as it is, or looked up.

use http::{HeaderMap, Method};

use super::cache_control::{ClientDirectives, only_if_cached};
use super::pass::PassReason;
use super::rules::{ClientCacheControl, Cookies, Rules};

/// Where a request goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entrance {
    /// To the origin, as it is.
    Pass(PassReason),
    /// To the store.
    Lookup(Ask),
}

/// What matters of a request that may be answered from the store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ask {
    /// HEAD: answered from a stored GET, never leads.
    pub head: bool,
    /// Authorization that the key does not cover.
    pub authorization: bool,
    /// Cookie that the key does not cover, under `cookies = "guard"`.
    pub cookie: bool,
    /// A Range.
    pub range: bool,
    /// Wants no upstream request made: 504 on a miss.
    pub only_if_cached: bool,
    /// Its own limits; empty unless the route honours them.
    pub wants: ClientDirectives,
}

/// Judges a request. On the way of every hit: one walk over the names, and no field is parsed
/// but Cache-Control. Range passes under `range = "pass"` only when it misses, so that is the
/// caller's; whether there is content is told by its fields, so h2 content without a length is
/// the caller's too.
pub fn entrance(method: &Method, headers: &HeaderMap, rules: &Rules) -> Entrance {
    if method != Method::GET && method != Method::HEAD {
        return Entrance::Pass(PassReason::Method);
    }
    let mut ask = Ask { head: method == Method::HEAD, ..Ask::default() };
    let mut controlled = false;
    for (name, value) in headers {
        match name.as_str() {
            "authorization" => ask.authorization = !rules.keys_authorization,
            "cookie" if rules.keys_cookie => {}
            "cookie" => match rules.cookies {
                Cookies::Guard => ask.cookie = true,
                Cookies::Pass => return Entrance::Pass(PassReason::Cookie),
                Cookies::Strip => {}
            },
            "range" => ask.range = true,
            "cache-control" | "pragma" => controlled = true,
            "if-match" | "if-unmodified-since" => return Entrance::Pass(PassReason::Precondition),
            "x-http-method-override" | "x-http-method" | "x-method-override" => {
                return Entrance::Pass(PassReason::MethodOverride);
            }
            "transfer-encoding" => return Entrance::Pass(PassReason::Content),
            "content-length" if value != "0" => return Entrance::Pass(PassReason::Content),
            _ => {}
        }
    }
    if controlled {
        ask.only_if_cached = only_if_cached(headers);
        if rules.client_cache_control == ClientCacheControl::Honour {
            ask.wants = ClientDirectives::of(headers);
            if ask.wants.no_store {
                return Entrance::Pass(PassReason::RequestNoStore);
            }
        }
    }
    Entrance::Lookup(ask)
}

/// Whether a method is safe (RFC 9110 §9.2.1); unknown ones are not.
pub fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE)
}

// === impl Ask ===

impl Ask {
    /// Whether it carries credentials that its key does not cover.
    pub fn credentialed(&self) -> bool {
        self.authorization || self.cookie
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        fields
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()))
            .collect()
    }

    fn enter(fields: &[(&'static str, &str)], rules: &Rules) -> Entrance {
        entrance(&Method::GET, &headers(fields), rules)
    }

    #[test]
    fn passes() {
        let rules = Rules::default();
        for (fields, why) in [
            (("if-match", "\"a\""), PassReason::Precondition),
            (("if-unmodified-since", "x"), PassReason::Precondition),
            (("x-http-method-override", "DELETE"), PassReason::MethodOverride),
            (("content-length", "3"), PassReason::Content),
            (("transfer-encoding", "chunked"), PassReason::Content),
        ] {
            assert_eq!(enter(&[fields], &rules), Entrance::Pass(why), "{fields:?}");
        }
        assert_eq!(entrance(&Method::POST, &HeaderMap::new(), &rules), Entrance::Pass(PassReason::Method));
        assert_eq!(
            enter(&[("content-length", "0"), ("if-none-match", "\"a\"")], &rules),
            Entrance::Lookup(Ask::default())
        );
    }

    #[test]
    fn credentials() {
        let mut rules = Rules::default();
        let fields = [("authorization", "x"), ("cookie", "a=b")];
        let Entrance::Lookup(ask) = enter(&fields, &rules) else { panic!("looked up") };
        assert!(ask.authorization && ask.cookie && ask.credentialed());
        (rules.keys_authorization, rules.keys_cookie) = (true, true);
        assert_eq!(enter(&fields, &rules), Entrance::Lookup(Ask::default()), "the key covers them");
        rules.cookies = Cookies::Pass;
        assert_eq!(enter(&fields, &rules), Entrance::Lookup(Ask::default()), "the key covers them");
        rules.keys_cookie = false;
        assert_eq!(enter(&fields, &rules), Entrance::Pass(PassReason::Cookie));
        rules.cookies = Cookies::Strip;
        assert_eq!(enter(&fields, &rules), Entrance::Lookup(Ask::default()));
    }

    #[test]
    fn a_clients_cache_control() {
        let mut rules = Rules::default();
        let fields = [("cache-control", "Only-If-Cached, max-age=5, no-cache, max-stale")];
        let Entrance::Lookup(ask) = enter(&fields, &rules) else { panic!("looked up") };
        assert!(ask.only_if_cached);
        assert_eq!(ask.wants, ClientDirectives::default(), "ignored");
        rules.client_cache_control = ClientCacheControl::Honour;
        let Entrance::Lookup(ask) = enter(&fields, &rules) else { panic!("looked up") };
        assert_eq!(
            (ask.wants.max_age, ask.wants.max_stale, ask.wants.no_cache),
            (Some(5000), Some(u64::MAX), true)
        );
        let Entrance::Lookup(ask) = enter(&[("pragma", "no-cache")], &rules) else { panic!("looked up") };
        assert!(ask.wants.no_cache);
        assert_eq!(
            enter(&[("cache-control", "no-store")], &rules),
            Entrance::Pass(PassReason::RequestNoStore)
        );
    }

    #[test]
    fn safety() {
        for (method, safe) in
            [("GET", true), ("OPTIONS", true), ("POST", false), ("DELETE", false), ("PURR", false)]
        {
            assert_eq!(is_safe(&Method::from_bytes(method.as_bytes()).unwrap()), safe, "{method}");
        }
    }
}
