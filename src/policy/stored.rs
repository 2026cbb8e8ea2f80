//! Which fields of a response are stored.

use http::{HeaderMap, header};

use super::age::delta_seconds;
use super::cache_control::withheld;
use super::date::http_date;
use super::forward::response_headers;
use super::rules::{Rules, SetCookie};
use super::tags::strip_tags;
use crate::record::Lines;

/// The fields of a response as a record keeps them, and as all clients but the one that led get them:
/// end-to-end ones (RFC 9111 §3.1), without those that no-cache and private withhold (§5.2.2.4, §5.2.2.7),
/// without Set-Cookie under `set_cookie = "strip"`, without the fields of tags unless the route passes them on
/// (the record has the tags themselves), without Age (it is in the record's times), and with a
/// Date.
pub fn stored_headers(headers: &HeaderMap, rules: &Rules, received_at: u64) -> HeaderMap {
    let mut kept = response_headers(headers);
    for field in withheld(headers, rules) {
        kept.remove(field);
    }
    if rules.set_cookie != SetCookie::Store {
        // Under "pass" such a response is not stored at all; this is a safeguard. Set-Cookie2 is a field like
        // any other since RFC 6265: no client takes a cookie from it.
        kept.remove(header::SET_COOKIE);
    }
    strip_tags(&mut kept, rules);
    kept.remove(header::AGE);
    kept.entry(header::DATE).or_insert_with(|| http_date(received_at));
    kept
}

/// The fields that [`stored_headers`] leaves out and the client that led still gets, since the response is
/// its own: Age, and those that no-cache and private withhold from others.
pub fn own_headers(headers: &HeaderMap, rules: &Rules) -> HeaderMap {
    let mut passed = response_headers(headers);
    strip_tags(&mut passed, rules);
    let mut own = HeaderMap::new();
    let mut fields = withheld(headers, rules);
    fields.push(header::AGE);
    fields.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
    fields.dedup();
    // A record always has a Date, and the route's `set_cookie` decides on cookies.
    for field in fields.into_iter().filter(|field| *field != header::DATE && *field != header::SET_COOKIE) {
        for value in passed.get_all(&field) {
            own.append(field.clone(), value.clone());
        }
    }
    own
}

/// The length that a head states: digits only; `None` if there is none, or several differ.
pub fn content_length(headers: &impl Lines) -> Option<u64> {
    let mut lines = headers.lines(&header::CONTENT_LENGTH);
    let first = lines.next()?;
    if lines.any(|line| line != first) {
        return None;
    }
    delta_seconds(first)?; // digits, at least one
    std::str::from_utf8(first).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn kept() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "x-hop"),
            ("x-hop", "1"),
            ("transfer-encoding", "chunked"),
            ("cache-control", "max-age=5, no-cache=\"x-a\", private=\"x-b\""),
            ("x-a", "1"),
            ("x-b", "1"),
            ("x-c", "1"),
            ("age", "7"),
            ("set-cookie", "a=b"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        let mut rules = Rules::default();
        let kept = stored_headers(&headers, &rules, 784_111_777_000);
        let mut names: Vec<_> = kept.keys().map(http::HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["cache-control", "date", "x-c"]);
        assert_eq!(kept["date"], "Sun, 06 Nov 1994 08:49:37 GMT");
        let own = own_headers(&headers, &rules);
        let mut names: Vec<_> = own.keys().map(http::HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["age", "x-a", "x-b"], "what is left out for others");
        rules.set_cookie = SetCookie::Store;
        assert!(stored_headers(&headers, &rules, 0).contains_key("set-cookie"));
    }

    #[test]
    fn lengths() {
        for (lines, want) in [
            (&["5"][..], Some(5)),
            (&["5", "5"], Some(5)),
            (&["5", "6"], None),
            (&["+5"], None),
            (&["5, 5"], None),
            (&["4294967296000"], Some(4_294_967_296_000)),
            (&["99999999999999999999999"], None),
            (&[], None),
        ] {
            let headers: HeaderMap =
                lines.iter().map(|line| (header::CONTENT_LENGTH, HeaderValue::from_static(line))).collect();
            assert_eq!(content_length(&headers), want, "{lines:?}");
        }
    }
}
