//! What an unsafe method does to stored responses (RFC 9111 §4.4, RFC 9110 §9.3.3).

use http::{HeaderMap, HeaderName, Method, StatusCode, header};
use url::{Position, Url};

use super::cache_control::Directives;
use super::lifetime::stated;
use super::request::{RequestFacts, is_safe};
use super::rules::Rules;

/// Stands for the host if a request names none; a name that no host can have (RFC 6761 §6.4).
const NO_HOST: &str = "no-host.invalid";

/// The URLs that an answer to a request for `target` invalidates: the target, and Location and
/// Content-Location where they have its scheme and authority. Empty for a safe method, or an
/// answer that is neither 2xx nor 3xx.
pub fn targets(method: &Method, status: StatusCode, headers: &HeaderMap, target: &str) -> Vec<String> {
    targets_with(method, status, headers, target, |_| None)
}

/// As [`targets`]. `back` maps a URL that the upstream writes, with its own authority or path, to the one
/// that clients use, or to `None`. A URL that may be meant either way counts both ways: then more than needed
/// is invalidated, but nothing stale is served.
pub fn targets_with(
    method: &Method,
    status: StatusCode,
    headers: &HeaderMap,
    target: &str,
    back: impl Fn(&str) -> Option<String>,
) -> Vec<String> {
    if is_safe(method) || !(status.is_success() || status.is_redirection()) {
        return Vec::new();
    }
    let mut urls = vec![target.to_owned()];
    let Some(base) = parsed(target) else { return urls };
    for field in [header::LOCATION, header::CONTENT_LOCATION] {
        let Some(named) = resolved(headers, &field, &base) else { continue };
        let ours = back(named.as_str()).and_then(|url| parsed(&url));
        for url in [Some(named), ours].into_iter().flatten() {
            if url.origin() != base.origin() {
                continue;
            }
            let url = under(&base, &url);
            if !urls.contains(&url) {
                urls.push(url);
            }
        }
    }
    urls
}

/// The URL that a COPY or MOVE for `target` writes to, besides its own (RFC 4918 §10.3), as clients write
/// it: of the target's authority only. Its scheme is the target's: a client behind a TLS terminator
/// writes https where http arrives. `back` as in [`targets_with`].
pub fn destinations(
    method: &Method,
    request: &HeaderMap,
    target: &str,
    back: impl Fn(&str) -> Option<String>,
) -> Vec<String> {
    if !matches!(method.as_str(), "COPY" | "MOVE") {
        return Vec::new();
    }
    let Some(base) = parsed(target) else { return Vec::new() };
    let Some(named) = resolved(request, &HeaderName::from_static("destination"), &base) else {
        return Vec::new();
    };
    let ours = back(named.as_str()).and_then(|url| parsed(&url));
    let mut urls = Vec::new();
    for url in [Some(named), ours].into_iter().flatten() {
        if (url.host(), odd_port(&url)) == (base.host(), odd_port(&base)) {
            let url = under(&base, &url);
            if !urls.contains(&url) {
                urls.push(url);
            }
        }
    }
    urls
}

/// Returns whether the answer to a POST may be stored for GETs of `target` (RFC 9110 §9.3.3): a 2xx with a
/// lifetime that the origin states and a Content-Location that is the target itself, and no credentials.
pub fn post_fills_get(
    method: &Method,
    status: StatusCode,
    headers: &HeaderMap,
    target: &str,
    ask: &RequestFacts,
    rules: &Rules,
    received_at: u64,
) -> bool {
    if method != Method::POST || !status.is_success() || ask.credentialed() {
        return false;
    }
    let Some(base) = parsed(target) else { return false };
    let said = Directives::of(headers, rules);
    stated(headers, &said, rules, received_at).is_some_and(|ms| ms > 0)
        && resolved(headers, &header::CONTENT_LOCATION, &base).is_some_and(|named| named == base)
}

/// Parses a target as a URL. One without a host (`http:///path`, of HTTP/1.0) gets `NO_HOST`: the URL
/// standard takes the first segment of its path for the host.
pub fn parsed(target: &str) -> Option<Url> {
    match target.split_once("://") {
        Some((scheme, path)) if path.starts_with('/') => {
            Url::parse(&format!("{scheme}://{NO_HOST}{path}")).ok()
        }
        _ => Url::parse(target).ok(),
    }
}

fn resolved(headers: &HeaderMap, field: &HeaderName, base: &Url) -> Option<Url> {
    base.join(headers.get(field)?.to_str().ok()?).ok()
}

/// The path and query of `url` under the scheme and authority of `base`, as targets are written.
fn under(base: &Url, url: &Url) -> String {
    let path = &url[Position::BeforePath..Position::AfterQuery];
    if base.host_str() == Some(NO_HOST) {
        return format!("{}://{path}", base.scheme());
    }
    format!("{}{path}", &base[..Position::BeforePath])
}

/// The port, unless it is the default of HTTP or HTTPS: a client behind a TLS terminator writes the other
/// scheme than the one that arrives, and may write its port.
fn odd_port(url: &Url) -> Option<u16> {
    url.port().filter(|port| !matches!(port, 80 | 443))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const TARGET: &str = "https://api.example.com/a/b?x=1";

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields.iter().map(|(n, v)| (n.parse().unwrap(), HeaderValue::from_static(v))).collect()
    }

    #[test]
    fn what_goes() {
        for (field, value, more) in [
            ("location", "/c", Some("https://api.example.com/c")),
            ("location", "c?y#z", Some("https://api.example.com/a/c?y")),
            ("content-location", "https://API.example.com:443/c", Some("https://api.example.com/c")),
            ("content-location", TARGET, None),
            ("location", "https://other.example.com/c", None),
            ("location", "http://api.example.com/c", None),
            ("location", "https://api.example.com:8443/c", None),
            ("location", "http://[", None),
        ] {
            let mut want = vec![TARGET.to_owned()];
            want.extend(more.map(str::to_owned));
            let found = targets(&Method::POST, StatusCode::CREATED, &headers(&[(field, value)]), TARGET);
            assert_eq!(found, want, "{field}: {value}");
        }
    }

    #[test]
    fn only_unsafe_and_done() {
        let none = HeaderMap::new();
        assert!(targets(&Method::GET, StatusCode::OK, &none, TARGET).is_empty());
        assert!(targets(&Method::PUT, StatusCode::NOT_FOUND, &none, TARGET).is_empty());
        assert_eq!(targets(&Method::PUT, StatusCode::SEE_OTHER, &none, TARGET), [TARGET]);
        assert_eq!(targets(&Method::from_bytes(b"PURR").unwrap(), StatusCode::OK, &none, TARGET), [TARGET]);
    }

    #[test]
    fn mapped_back() {
        let named = headers(&[("location", "http://origin:8000/c")]);
        let back = |url: &str| {
            url.strip_prefix("http://origin:8000").map(|path| format!("https://api.example.com{path}"))
        };
        let found = targets_with(&Method::POST, StatusCode::CREATED, &named, TARGET, back);
        assert_eq!(found, [TARGET, "https://api.example.com/c"]);
        // With the client's authority, and a path that may be the upstream's.
        let named = headers(&[("content-location", "/c#d")]);
        let back = |url: &str| Some(url.replace("/c", "/v1/c"));
        let found = targets_with(&Method::POST, StatusCode::CREATED, &named, TARGET, back);
        assert_eq!(found, [TARGET, "https://api.example.com/c", "https://api.example.com/v1/c"]);
    }

    #[test]
    fn where_a_copy_or_move_goes() {
        let named = |method: &str, value: &'static str| {
            let request = headers(&[("destination", value)]);
            destinations(&method.parse().unwrap(), &request, TARGET, |url| {
                url.strip_prefix("http://origin:8000").map(|path| format!("https://api.example.com/v1{path}"))
            })
        };
        let there = "https://api.example.com/c%20d";
        for method in ["COPY", "MOVE"] {
            assert_eq!(named(method, "https://api.example.com/c%20d"), [there]);
            assert_eq!(named(method, "http://API.example.com/c%20d#e"), [there], "behind a TLS terminator");
            assert_eq!(named(method, "/c%20d"), [there]);
            assert_eq!(named(method, "http://origin:8000/c"), ["https://api.example.com/v1/c"]);
            for other in ["https://other.example.com/c", "https://api.example.com:8443/c", "http://["] {
                assert!(named(method, other).is_empty(), "{other}");
            }
        }
        for method in ["PUT", "POST", "PROPFIND", "copy", "LOCK"] {
            assert!(named(method, "/c").is_empty(), "{method}");
        }
        assert!(destinations(&"MOVE".parse().unwrap(), &HeaderMap::new(), TARGET, |_| None).is_empty());
    }

    #[test]
    fn without_a_host_only_paths_are_named() {
        const HERE: &str = "http:///victim.test/p";
        let back = |url: &str| url.strip_prefix("http://origin:8000").map(|path| format!("http:///v1{path}"));
        for (value, more) in [
            ("/c", &["http:///c"][..]),
            ("q?x#y", &["http:///victim.test/q?x"]),
            ("/.//victim.test/p", &["http:////victim.test/p"]),
            ("/victim.test/p", &[]),
            ("http://victim.test/p", &[]),
            ("http:///victim.test/q", &[]),
            ("//victim.test/p", &[]),
            ("https:/p", &[]),
            ("http://origin:8000/c", &["http:///v1/c"]),
            ("http://v1/c", &[]),
        ] {
            for field in ["location", "content-location"] {
                let named = headers(&[(field, value)]);
                let found = targets_with(&Method::POST, StatusCode::CREATED, &named, HERE, back);
                assert_eq!(found, [&[HERE][..], more].concat(), "{field}: {value}");
            }
            let to = destinations(&"MOVE".parse().unwrap(), &headers(&[("destination", value)]), HERE, back);
            let itself = if value == "/victim.test/p" { &[HERE][..] } else { more };
            assert_eq!(to, itself, "destination: {value}");
        }
        let rules = Rules::default();
        for (value, fills) in [
            ("/victim.test/p", true),
            ("p", true),
            ("http://victim.test/p", false),
            ("//victim.test/p", false),
            ("/p", false),
        ] {
            let said = headers(&[("content-location", value), ("cache-control", "max-age=5")]);
            let found = post_fills_get(
                &Method::POST,
                StatusCode::OK,
                &said,
                HERE,
                &RequestFacts::default(),
                &rules,
                0,
            );
            assert_eq!(found, fills, "{value}");
        }
        let doubled = "http:////victim.test/p";
        let said = headers(&[("content-location", "http://victim.test/p"), ("cache-control", "max-age=5")]);
        assert!(!post_fills_get(
            &Method::POST,
            StatusCode::OK,
            &said,
            doubled,
            &RequestFacts::default(),
            &rules,
            0
        ));
    }

    #[test]
    fn the_port_of_the_other_scheme_is_none_where_a_copy_or_move_goes() {
        for (target, named, found) in [
            ("http://h:443/a", "https://h/x", &["http://h:443/x"][..]),
            ("http://h/a", "https://h:443/x", &["http://h/x"]),
            ("https://h/a", "http://h:443/x", &["https://h/x"]),
            ("https://h:80/a", "http://h/x", &["https://h:80/x"]),
            ("http://h:444/a", "https://h/x", &[]),
            ("http://h/a", "https://h:8443/x", &[]),
        ] {
            let request = HeaderMap::from_iter([(
                HeaderName::from_static("destination"),
                HeaderValue::from_static(named),
            )]);
            let to = destinations(&"COPY".parse().unwrap(), &request, target, |_| None);
            assert_eq!(to, found, "{target}: {named}");
        }
    }

    #[test]
    fn posts_that_fill() {
        let rules = Rules::default();
        let fills = |fields: &[(&'static str, &'static str)], ask: RequestFacts| {
            post_fills_get(&Method::POST, StatusCode::OK, &headers(fields), TARGET, &ask, &rules, 0)
        };
        let good = [("content-location", "/a/b?x=1"), ("cache-control", "max-age=5")];
        assert!(fills(&good, RequestFacts::default()));
        assert!(!fills(&good, RequestFacts { cookie: true, ..RequestFacts::default() }));
        assert!(!fills(&good[..1], RequestFacts::default()));
        assert!(!fills(&[("content-location", "/a/c"), good[1]], RequestFacts::default()));
        assert!(!fills(&good[1..], RequestFacts::default()));
    }
}
