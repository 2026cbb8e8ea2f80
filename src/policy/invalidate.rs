//! What an unsafe method does to stored responses (RFC 9111 §4.4, RFC 9110 §9.3.3).

use http::{HeaderMap, HeaderName, Method, StatusCode, header};
use url::{Position, Url};

use super::cache_control::Directives;
use super::lifetime::stated;
use super::request::{Ask, is_safe};
use super::rules::Rules;

/// The URLs that an answer to a request for `target` invalidates: the target, and Location and
/// Content-Location where they have its scheme and authority. Empty for a safe method, or an
/// answer that is neither 2xx nor 3xx.
pub fn targets(method: &Method, status: StatusCode, headers: &HeaderMap, target: &str) -> Vec<String> {
    targets_with(method, status, headers, target, |_| None)
}

/// As [`targets`]; `back` maps a URL as the upstream writes it, of its own authority or with its
/// own path, to the one that clients use, or to nothing. One that may be meant either way counts
/// both ways: too much is fetched anew then, and nothing stale is served.
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
    let Ok(base) = Url::parse(target) else { return urls };
    for field in [header::LOCATION, header::CONTENT_LOCATION] {
        let Some(named) = resolved(headers, &field, &base) else { continue };
        let ours = back(named.as_str()).and_then(|url| Url::parse(&url).ok());
        for mut url in [Some(named), ours].into_iter().flatten() {
            if url.origin() != base.origin() {
                continue;
            }
            url.set_fragment(None);
            let url = String::from(url);
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
    let Ok(base) = Url::parse(target) else { return Vec::new() };
    let Some(named) = resolved(request, &HeaderName::from_static("destination"), &base) else {
        return Vec::new();
    };
    let ours = back(named.as_str()).and_then(|url| Url::parse(&url).ok());
    let mut urls = Vec::new();
    for url in [Some(named), ours].into_iter().flatten() {
        if (url.host(), url.port()) == (base.host(), base.port()) {
            let url = format!(
                "{}{}",
                &base[..Position::BeforePath],
                &url[Position::BeforePath..Position::AfterQuery]
            );
            if !urls.contains(&url) {
                urls.push(url);
            }
        }
    }
    urls
}

/// Whether the answer to a POST may be stored for GETs of `target` (RFC 9110 §9.3.3): a 2xx with a
/// lifetime that the origin states and a Content-Location that is the target itself, and no
/// credentials.
pub fn post_fills_get(
    method: &Method,
    status: StatusCode,
    headers: &HeaderMap,
    target: &str,
    ask: &Ask,
    rules: &Rules,
    received_at: u64,
) -> bool {
    if method != Method::POST || !status.is_success() || ask.credentialed() {
        return false;
    }
    let Ok(base) = Url::parse(target) else { return false };
    let said = Directives::of(headers, rules);
    stated(headers, &said, rules, received_at).is_some_and(|ms| ms > 0)
        && resolved(headers, &header::CONTENT_LOCATION, &base).is_some_and(|named| named == base)
}

fn resolved(headers: &HeaderMap, field: &HeaderName, base: &Url) -> Option<Url> {
    base.join(headers.get(field)?.to_str().ok()?).ok()
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
    fn posts_that_fill() {
        let rules = Rules::default();
        let fills = |fields: &[(&'static str, &'static str)], ask: Ask| {
            post_fills_get(&Method::POST, StatusCode::OK, &headers(fields), TARGET, &ask, &rules, 0)
        };
        let good = [("content-location", "/a/b?x=1"), ("cache-control", "max-age=5")];
        assert!(fills(&good, Ask::default()));
        assert!(!fills(&good, Ask { cookie: true, ..Ask::default() }));
        assert!(!fills(&good[..1], Ask::default()));
        assert!(!fills(&[("content-location", "/a/c"), good[1]], Ask::default()));
        assert!(!fills(&good[1..], Ask::default()));
    }
}
