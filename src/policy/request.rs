//! Judges a request: it is passed as it is, or looked up.

use http::{HeaderMap, HeaderName, Method};

use super::bound::binds_connection;
use super::cache_control::{ClientDirectives, only_if_cached};
use super::forward::{dashed, is_method_override};
use super::pass::PassReason;
use super::range::{RangeRequest, Want};
use super::rules::{ClientCacheControl, Cookies, Rules};

/// Where a request goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestClass {
    /// To the origin, as it is.
    Pass(PassReason),
    /// To the store.
    Lookup(RequestFacts),
}

/// The facts of a request that decide whether and how it is answered from the store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RequestFacts {
    /// What it wants of the response. A HEAD is answered from a stored GET, and never leads.
    pub want: Want,
    /// Authorization that the key does not cover.
    pub authorization: bool,
    /// Another field with credentials ([`Rules::is_secret`]) that the key does not cover.
    pub secret: bool,
    /// Cookie that the key does not cover, under `cookies = "guard"`.
    pub cookie: bool,
    /// only-if-cached: on a miss 504, and no upstream request.
    pub only_if_cached: bool,
    /// Its own directives; empty unless the route honours them.
    pub wants: ClientDirectives,
}

/// Judges a request. This is on the path of every hit: one walk over the names, and only Cache-Control and
/// Range are parsed. Two cases are left to the caller. Under `range = "pass"` a Range passes only when it
/// misses. And content is recognised by its fields, so HTTP/2 content without a length is not seen here.
pub fn entrance(method: &Method, headers: &HeaderMap, rules: &Rules) -> RequestClass {
    if method != Method::GET && method != Method::HEAD {
        return RequestClass::Pass(PassReason::Method);
    }
    let mut ask = RequestFacts::default();
    let (mut controlled, mut ranged) = (false, false);
    for (name, value) in headers {
        let spelled = name.as_str();
        let name = dashed(spelled);
        match &*name {
            "authorization" if binds_connection(value) => {
                return RequestClass::Pass(PassReason::ConnectionAuth);
            }
            "authorization" => ask.authorization = !rules.keys_authorization,
            "cookie" if rules.keys_cookie => {}
            "cookie" => match rules.cookies {
                Cookies::Guard => ask.cookie = true,
                Cookies::Pass => return RequestClass::Pass(PassReason::Cookie),
                Cookies::Strip => {}
            },
            "range" => ranged = true,
            "cache-control" | "pragma" => controlled = true,
            "if-match" | "if-unmodified-since" => return RequestClass::Pass(PassReason::Precondition),
            "transfer-encoding" => return RequestClass::Pass(PassReason::Content),
            "content-length" if value != "0" => return RequestClass::Pass(PassReason::Content),
            name if is_method_override(name) => return RequestClass::Pass(PassReason::MethodOverride),
            name => ask.secret |= rules.is_secret(name) && !rules.keys_secret(spelled),
        }
    }
    let range = if ranged { RangeRequest::of(headers, rules) } else { None };
    ask.want = Want::of(method, range);
    if controlled {
        ask.only_if_cached = only_if_cached(headers);
        if rules.client_cache_control == ClientCacheControl::Honour {
            ask.wants = ClientDirectives::of(headers);
            if ask.wants.no_store {
                return RequestClass::Pass(PassReason::RequestNoStore);
            }
        }
    }
    RequestClass::Lookup(ask)
}

/// Returns whether a method is safe (RFC 9110 §9.2.1); unknown ones are not. PROPFIND (RFC 4918 §9.1), REPORT
/// (RFC 3253 §3.6), SEARCH (RFC 5323 §2) and QUERY are safe, too.
pub fn is_safe(method: &Method) -> bool {
    matches!(
        method.as_str(),
        "GET" | "HEAD" | "OPTIONS" | "TRACE" | "PROPFIND" | "REPORT" | "SEARCH" | "QUERY"
    )
}

// === impl RequestFacts ===

impl RequestFacts {
    /// The credentials in these fields that the key does not cover: for any method, and under any setting for
    /// cookies.
    pub fn of_credentials(headers: &HeaderMap, rules: &Rules) -> Self {
        let mut ask = Self::default();
        for name in headers.keys().map(HeaderName::as_str) {
            match name {
                "authorization" => ask.authorization = !rules.keys_authorization,
                "cookie" => ask.cookie = !rules.keys_cookie,
                name => ask.secret |= rules.is_secret(name) && !rules.keys_secret(name),
            }
        }
        ask
    }

    /// Returns whether it carries credentials that its key does not cover.
    pub fn credentialed(&self) -> bool {
        self.identified() || self.cookie
    }

    /// Returns whether it identifies its user by Authorization or a secret field: then it is answered only
    /// with responses that explicit directives share (RFC 9111 §3.5).
    pub fn identified(&self) -> bool {
        self.authorization || self.secret
    }

    /// The kind of field by which it identifies its user.
    pub fn identity(&self) -> Option<PassReason> {
        if self.authorization {
            Some(PassReason::Authorization)
        } else if self.secret {
            Some(PassReason::SecretHeader)
        } else {
            None
        }
    }

    /// Why a request with credentials does not share an exchange; `None` if it carries none.
    pub fn apart(&self) -> Option<PassReason> {
        self.identity().or(self.cookie.then_some(PassReason::Cookie))
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        fields
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()))
            .collect()
    }

    fn enter(fields: &[(&'static str, &str)], rules: &Rules) -> RequestClass {
        entrance(&Method::GET, &headers(fields), rules)
    }

    #[test]
    fn passes() {
        let rules = Rules::default();
        for (fields, why) in [
            (("if-match", "\"a\""), PassReason::Precondition),
            (("if-unmodified-since", "x"), PassReason::Precondition),
            (("if_match", "\"a\""), PassReason::Precondition),
            (("x-http-method-override", "DELETE"), PassReason::MethodOverride),
            (("x_http_method_override", "DELETE"), PassReason::MethodOverride),
            (("x-http_method", "DELETE"), PassReason::MethodOverride),
            (("x_method-override", "DELETE"), PassReason::MethodOverride),
            (("content_length", "3"), PassReason::Content),
            (("authorization", "Negotiate YII="), PassReason::ConnectionAuth),
            (("content-length", "3"), PassReason::Content),
            (("transfer-encoding", "chunked"), PassReason::Content),
        ] {
            assert_eq!(enter(&[fields], &rules), RequestClass::Pass(why), "{fields:?}");
        }
        assert_eq!(
            entrance(&Method::POST, &HeaderMap::new(), &rules),
            RequestClass::Pass(PassReason::Method)
        );
        assert_eq!(
            enter(&[("content-length", "0"), ("if-none-match", "\"a\"")], &rules),
            RequestClass::Lookup(RequestFacts::default())
        );
    }

    #[test]
    fn credentials() {
        let mut rules = Rules::default();
        let fields = [("authorization", "x"), ("cookie", "a=b")];
        let RequestClass::Lookup(ask) = enter(&fields, &rules) else { panic!("looked up") };
        assert!(ask.authorization && ask.cookie && ask.credentialed());
        (rules.keys_authorization, rules.keys_cookie) = (true, true);
        assert_eq!(
            enter(&fields, &rules),
            RequestClass::Lookup(RequestFacts::default()),
            "the key covers them"
        );
        rules.cookies = Cookies::Pass;
        assert_eq!(
            enter(&fields, &rules),
            RequestClass::Lookup(RequestFacts::default()),
            "the key covers them"
        );
        rules.keys_cookie = false;
        assert_eq!(enter(&fields, &rules), RequestClass::Pass(PassReason::Cookie));
        rules.cookies = Cookies::Strip;
        assert_eq!(enter(&fields, &rules), RequestClass::Lookup(RequestFacts::default()));
    }

    #[test]
    fn keys_and_tokens_of_apis_are_credentials_in_any_spelling() {
        let rules = Rules { secrets: vec!["x-session-key".into()], ..Rules::default() };
        let secret = |name: &'static str, rules: &Rules| match enter(&[(name, "x")], rules) {
            RequestClass::Lookup(ask) => {
                assert_eq!(
                    ask.secret,
                    RequestFacts::of_credentials(&headers(&[(name, "x")]), rules).secret,
                    "{name}"
                );
                ask.secret && ask.credentialed() && ask.apart() == Some(PassReason::SecretHeader)
            }
            RequestClass::Pass(_) => false,
        };
        for name in ["x-api-key", "api-key", "x-auth-token", "x-access-token", "x_api_key", "x-auth_token"] {
            assert!(secret(name, &Rules::default()) && secret(name, &rules), "{name}");
        }
        for name in ["x-session-key", "x_session_key"] {
            assert!(secret(name, &rules) && !secret(name, &Rules::default()), "{name}");
        }
        assert!(!secret("x-api-keys", &rules) && !secret("x-request-id", &rules));
        let keyed = vec!["x-api-key".parse().unwrap()];
        let keyed = Rules { keyed_secrets: keyed, ..rules };
        assert!(!secret("x-api-key", &keyed), "the key covers it");
        assert!(secret("x_api_key", &keyed), "and not what an origin may take for it");
        assert!(secret("x-auth-token", &keyed));
    }

    #[test]
    fn a_clients_cache_control() {
        let mut rules = Rules::default();
        let fields = [("cache-control", "Only-If-Cached, max-age=5, no-cache, max-stale")];
        let RequestClass::Lookup(ask) = enter(&fields, &rules) else { panic!("looked up") };
        assert!(ask.only_if_cached);
        assert_eq!(ask.wants, ClientDirectives::default(), "ignored");
        rules.client_cache_control = ClientCacheControl::Honour;
        let RequestClass::Lookup(ask) = enter(&fields, &rules) else { panic!("looked up") };
        assert_eq!(
            (ask.wants.max_age, ask.wants.max_stale, ask.wants.no_cache),
            (Some(5000), Some(u64::MAX), true)
        );
        let RequestClass::Lookup(ask) = enter(&[("pragma", "no-cache")], &rules) else { panic!("looked up") };
        assert!(ask.wants.no_cache);
        assert_eq!(
            enter(&[("cache-control", "no-store")], &rules),
            RequestClass::Pass(PassReason::RequestNoStore)
        );
    }

    #[test]
    fn safety() {
        for (method, safe) in [
            ("GET", true),
            ("OPTIONS", true),
            ("PROPFIND", true),
            ("REPORT", true),
            ("SEARCH", true),
            ("QUERY", true),
            ("POST", false),
            ("DELETE", false),
            ("PROPPATCH", false),
            ("LOCK", false),
            ("MOVE", false),
            ("query", false),
            ("PURR", false),
        ] {
            assert_eq!(is_safe(&Method::from_bytes(method.as_bytes()).unwrap()), safe, "{method}");
        }
    }
}
