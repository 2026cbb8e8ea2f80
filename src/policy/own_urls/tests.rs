use proptest::prelude::*;

use super::*;

/// An origin at a URL, which is sent the Host of that, this name, or the client's (`*`).
fn origin(url: &str, name: &str) -> OwnUrls {
    let (scheme, rest) = url.split_once("://").unwrap();
    let (authority, base) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let named = [name].into_iter().filter(|name| !matches!(*name, "" | "*"));
    OwnUrls::new(scheme, named.chain([authority]), base, name == "*").unwrap()
}

fn mapped_in(field: &'static str, value: &str, origin: &OwnUrls, asked: &str, prefix: &str) -> Vec<u8> {
    let target = canonical_url(asked).unwrap();
    let mut headers = HeaderMap::new();
    headers.insert(field, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    headers.insert("link", HeaderValue::from_static("<http://origin:8000/a>"));
    origin.map(&mut headers, AskedBy { target: &target, prefix, told_port: None });
    assert_eq!(headers["link"], "<http://origin:8000/a>");
    headers[field].as_bytes().to_owned()
}

fn mapped(value: &str, origin: &OwnUrls, asked: &str, prefix: &str) -> String {
    let [location, content] = ["location", "content-location"]
        .map(|field| String::from_utf8(mapped_in(field, value, origin, asked, prefix)).unwrap());
    assert_eq!(location, content, "{value}");
    location
}

#[test]
fn what_names_the_origin_names_the_client_s_host() {
    let plain = origin("http://origin:8000", "");
    let asked = "https://api.test:8443/a";
    for (url, expected) in [
        ("http://origin:8000/b?x=1#y", "https://api.test:8443/b?x=1#y"),
        ("HTTP://Origin.:8000/B", "https://api.test:8443/B"),
        ("http://origin:08000/b", "https://api.test:8443/b"),
        ("http://origin:8000", "https://api.test:8443/"),
        ("http://origin:8000?x", "https://api.test:8443/?x"),
        ("http://origin:8000#x", "https://api.test:8443/#x"),
        ("//origin:8000/b", "//api.test:8443/b"),
        // As sent: it is the client that reads the rest.
        ("http://origin:8000//b/%7e ?/../\"", "https://api.test:8443//b/%7e ?/../\""),
        ("http://origin:8000/é", "https://api.test:8443/é"),
        ("http://user:pass@origin:8000/b", "https://api.test:8443/b"),
        // The scheme that X-Forwarded-Proto tells.
        ("https://origin:8000/b", "https://api.test:8443/b"),
    ] {
        assert_eq!(mapped(url, &plain, asked, ""), expected, "{url}");
    }
}

#[test]
fn what_is_not_the_origin_s_stays_as_it_is() {
    let plain = origin("http://origin:8000", "");
    for url in [
        "/b",
        "b",
        "?x",
        "#y",
        "",
        "../b",
        "http:b",
        "http://origin/b",
        "http://origin:80/b",
        "http://origin:8001/b",
        "http://origin:/b",
        "http://other:8000/b",
        "http://origin.other:8000/b",
        "http://origin:8000@other/b",
        "http://[origin]:8000/b",
        "http:/origin/b",
        "/ /origin:8000/b",
        "\\b",
        "/\\other\\b",
        "http:\\\\other:8000\\b",
        "ht tp://origin:8000/b",
        "ftp:\\\\origin:8000\\b",
        "http://:8000/b",
        "http:///b",
        "///b",
        "//",
        "ftp://origin:8000/b",
        "javascript://origin:8000/b",
        "http://api.test/b",
        "/b?to=http://origin:8000/c",
    ] {
        assert_eq!(mapped(url, &plain, "http://api.test/a", "/v1"), url);
    }
}

/// All that browsers take for the origin's address, and what other clients do.
#[test]
fn no_other_spelling_of_the_origin_leads_past_the_cache() {
    let plain = origin("http://origin", "");
    for (url, expected) in [
        ("http:\\\\origin\\y", "http://api.test/v1/y"),
        ("http:/\\origin/y", "http://api.test/v1/y"),
        ("http:\\/origin\\y\\z?a\\b#c\\d", "http://api.test/v1/y/z?a\\b#c\\d"),
        ("http:/origin/y", "http://api.test/v1/y"),
        ("http:\\origin/y", "http://api.test/v1/y"),
        ("http:origin/y", "http://api.test/v1/y"),
        ("http:////origin/y", "http://api.test/v1/y"),
        ("HtTp://ORIGIN/y", "http://api.test/v1/y"),
        ("  http://origin/y ", "http://api.test/v1/y"),
        ("\thttp://origin/y", "http://api.test/v1/y"),
        ("ht\ttp:/\t/ori\tgin/y\tz", "http://api.test/v1/yz"),
        ("//origin/y", "//api.test/v1/y"),
        (" //origin/y", "//api.test/v1/y"),
        ("/\\origin/y", "//api.test/v1/y"),
        ("\\\\origin\\y", "//api.test/v1/y"),
        ("\\/origin/y", "//api.test/v1/y"),
        ("/\t/origin/y", "//api.test/v1/y"),
        ("///origin/y", "//api.test/v1/y"),
        ("\\\\origin", "//api.test/v1/"),
        ("http://user@origin/y", "http://api.test/v1/y"),
        ("http://a@b:c@origin/y", "http://api.test/v1/y"),
        ("http://origin\\@other/y", "http://api.test/v1/@other/y"),
        ("http://%6frigin/y", "http://api.test/v1/y"),
        ("http://origin:/y", "http://api.test/v1/y"),
        ("http://origin:0080/y", "http://api.test/v1/y"),
        ("http://origin./y", "http://api.test/v1/y"),
        ("http://\u{ff4f}rigin/y", "http://api.test/v1/y"),
    ] {
        let asked = "http://api.test/v1/a";
        assert_eq!(mapped(url, &plain, asked, "/v1"), expected, "{url:?}");
        let refresh = mapped_in("refresh", &format!("5; url=\"{url}\""), &plain, asked, "/v1");
        assert_eq!(String::from_utf8(refresh).unwrap(), format!("5; url=\"{expected}\""), "{url:?}");
    }
    let address = origin("http://127.0.0.1:8000", "");
    for url in ["http://2130706433:8000/y", "http://0x7f.1:8000/y", "http:\\\\127.1:8000\\y"] {
        assert_eq!(mapped(url, &address, "http://api.test/a", ""), "http://api.test/y", "{url}");
    }
    // Below the upstream's own path, in other words.
    let based = origin("http://origin/app", "");
    for url in ["http://origin/./app/b", "http:\\\\origin\\x\\..\\app\\b", "//origin/%2e/app/b"] {
        assert!(mapped(url, &based, "http://api.test/v1/a", "/v1").ends_with("//api.test/v1/b"), "{url}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    /// What the URL standard resolves to the origin is mapped to what it resolves to the client's host.
    #[test]
    fn what_resolves_to_the_origin_is_mapped(parts in prop::collection::vec(prop::sample::select(vec![
        "http", "https", "HTTP", ":", "/", "/", "\\", "\\", "\t", " ", "origin", "ORIGIN", "%6Frigin", "origin.", "other",
        "user", "@", ":8000", ":08000", ":80", "?", "#", "b", "..", ".", "//origin:8000", "http://origin:8000",
    ]), 0..9)) {
        let (plain, asked) = (origin("http://origin:8000", ""), Url::parse("http://api.test/a").unwrap());
        let url = parts.concat();
        prop_assume!(HeaderValue::from_str(&url).is_ok());
        let is_origin = |url: &Url| {
            matches!(url.scheme(), "http" | "https")
                && url.host_str().is_some_and(|host| host.trim_end_matches('.') == "origin")
                && url.port() == Some(8000)
        };
        let after = mapped_in("content-location", &url, &plain, asked.as_str(), "");
        let after = String::from_utf8(after).unwrap();
        if let (Ok(before), Ok(after)) = (asked.join(&url), asked.join(&after)) {
            if is_origin(&before) {
                prop_assert_eq!(after.host_str(), Some("api.test"), "{:?} became {:?}", url, after);
                prop_assert_eq!(after.path(), before.path());
            }
            prop_assert!(!is_origin(&after), "{:?}", after);
        }
    }
}

#[test]
fn a_default_port_is_no_port() {
    for (url, at, expected) in [
        ("http://origin:80/b", "http://origin", "http://api.test/b"),
        ("http://origin/b", "http://origin:80", "http://api.test/b"),
        ("https://origin:443/b", "https://origin", "http://api.test/b"),
        ("https://origin:80/b", "https://origin", "https://origin:80/b"),
        // The same port, by the wrong name.
        ("http://origin:443/b", "https://origin", "http://api.test/b"),
        ("http://[0:0::1]:80/b", "http://[::1]", "http://api.test/b"),
        ("http://127.0.0.1/b", "http://127.0.0.1", "http://api.test/b"),
    ] {
        assert_eq!(mapped(url, &origin(at, ""), "http://api.test/a", ""), expected, "{url} of {at}");
    }
}

/// An origin behind TLS that knows nothing of it, or one that is asked in the clear and wants TLS.
#[test]
fn the_origin_s_own_address_under_the_other_scheme_is_its_own() {
    for (at, url, asked, expected) in [
        ("http://origin:8000", "https://origin:8000/y", "http://api.test/a", "http://api.test/y"),
        ("http://origin", "https://origin/y", "http://api.test/a", "http://api.test/y"),
        ("http://origin", "https://origin:80/y", "http://api.test/a", "http://api.test/y"),
        ("https://origin", "http://origin/y", "https://api.test/a", "https://api.test/y"),
        ("https://origin:8443", "http://origin:8443/y", "https://api.test/a", "https://api.test/y"),
        // Another port is another server.
        ("http://origin:8000", "https://origin/y", "http://api.test/a", "https://origin/y"),
        ("https://origin:8443", "http://origin/y", "https://api.test/a", "http://origin/y"),
    ] {
        let expected = expected.to_owned();
        assert_eq!(mapped(url, &origin(at, ""), asked, ""), expected, "{url} of {at}");
    }
    // The client's host under another scheme than it asked by is not the origin's: it is a site of its own.
    let told = origin("http://10.0.0.1:8000", "*");
    let login = "https://api.test/login";
    assert_eq!(mapped(login, &told, "http://api.test/a", ""), login);
    // Also if the origin is known by that host.
    let shop = origin("http://10.0.0.1:8000", "api.test");
    for (asked, url, expected) in [
        ("http://api.test/a", login, login),
        ("http://api.test:8080/a", login, login),
        ("http://api.test/a", "https://api.test:80/b", "https://api.test:80/b"),
        ("http://api.test/a", "//api.test/b", "//api.test/b"),
        ("http://api.test/a", "https://10.0.0.1:8000/b", "http://api.test/b"),
        // The origin speaks http, and the client need not.
        ("https://api.test/a", "http://api.test/b", "https://api.test/b"),
        // The client does not know that host.
        ("http://cache.test/a", login, "http://cache.test/login"),
    ] {
        assert_eq!(mapped(url, &shop, asked, ""), expected, "{url} for {asked}");
    }
    // The very URL that was asked for leads in circles.
    let location =
        mapped_in("location", "https://origin/a", &origin("http://origin", ""), "http://api.test/a", "");
    assert_eq!(location, b"https://origin/a");
}

#[test]
fn a_path_is_what_is_left_of_it_without_dots() {
    let based = origin("http://origin/app", "");
    for (path, expected) in [
        ("/app/x/../y", Some("/v1/y")),
        ("/app/./y/..", Some("/v1/")),
        ("/app/y/%2E%2e/z?../q#/..", Some("/v1/z?../q#/..")),
        ("/y/.%2e/app/z", Some("/v1/z")),
        ("/app/..y/...", Some("/v1/..y/...")),
        // They lead out of the upstream's path, where no request on this route gets to.
        ("/app/../y", None),
        ("/app/x/../../y", None),
        ("/app/..", None),
        ("\\app\\..\\y", None),
    ] {
        let url = format!("http://origin{path}");
        let expected = expected.map_or(url.clone(), |path| format!("http://api.test{path}"));
        assert_eq!(mapped(&url, &based, "http://api.test/v1/a", "/v1"), expected, "{path}");
    }
    // They lead out of the route, and would not lead out of the origin's root.
    let plain = origin("http://origin", "");
    for (path, expected) in [("/../y", "/v1/y"), ("/a/../../y", "/v1/y"), ("/..", "/v1/")] {
        let mapped = mapped(&format!("http://origin{path}"), &plain, "http://api.test/v1/a", "/v1");
        assert_eq!(mapped, format!("http://api.test{expected}"), "{path}");
    }
    // Nor does the front of the path that clients see count if it is left again.
    let told = origin("http://10.0.0.1:8000", "*");
    let url = "http://api.test/v1/../y";
    assert_eq!(mapped(url, &told, "http://api.test/v1/a", "/v1"), "http://api.test/v1/y");
}

/// A path in Latin-1, say: its bytes are passed on as they are.
#[test]
fn a_path_that_is_no_text_is_mapped_by_its_bytes() {
    let based = origin("http://origin/app", "");
    let target = canonical_url("http://api.test/v1/a%E9").unwrap();
    let location = |line: &[u8]| {
        let mut headers = HeaderMap::new();
        headers.insert("location", HeaderValue::from_bytes(line).unwrap());
        based.map(&mut headers, AskedBy { target: &target, prefix: "/v1", told_port: None });
        headers["location"].as_bytes().to_owned()
    };
    for (line, expected) in [
        (&b"http://origin/app/\xe9"[..], &b"http://api.test/v1/\xe9"[..]),
        (b"http://origin/./app/\xe9/../\xff?\xe9", b"http://api.test/v1/\xff?\xe9"),
        (b"http://origin/x/\xe9", b"http://origin/x/\xe9"),
        // In circles.
        (b"https://origin/app/a\xe9", b"https://origin/app/a\xe9"),
        (b"http://origin/app/a\xe9", b"http://api.test/v1/a\xe9"),
    ] {
        assert_eq!(location(line), expected, "{}", line.escape_ascii());
    }
}

#[test]
fn the_origin_s_base_goes_and_the_client_s_prefix_comes() {
    let based = origin("http://origin/app", "");
    for (url, expected) in [
        ("http://origin/app/b", "http://api.test/v1/b"),
        ("http://origin/app/", "http://api.test/v1/"),
        ("//origin/app/b?x", "//api.test/v1/b?x"),
        // No request on this route gets there.
        ("http://origin/app", "http://api.test/v1/"),
        ("http://origin/app?x", "http://api.test/v1/?x"),
        ("http://origin/apple", "http://origin/apple"),
        ("http://origin/", "http://origin/"),
        ("http://origin", "http://origin"),
        ("http://origin/b", "http://origin/b"),
    ] {
        assert_eq!(mapped(url, &based, "http://api.test/v1/a", "/v1"), expected, "{url}");
    }
    // It would lead in circles.
    let redirect = |asked| mapped_in("location", "http://origin/app", &based, asked, "/v1");
    assert_eq!(redirect("http://api.test/v1/"), b"http://origin/app");
    assert_eq!(redirect("http://api.test/v1/b"), b"http://api.test/v1/");
    // Only what comes as the origin's own path gets the prefix: it may have such a path, too.
    let plain = origin("http://origin", "");
    assert_eq!(mapped("http://origin/v1/b", &plain, "http://a.test/v1/a", "/v1"), "http://a.test/v1/v1/b");
    assert_eq!(mapped("http://origin/b", &plain, "http://a.test/a", ""), "http://a.test/b");
}

#[test]
fn an_origin_calls_itself_what_it_is_told() {
    let named = origin("http://10.0.0.1:8000", "www.example.com");
    let told = origin("http://10.0.0.1:8000", "*");
    let asked = "https://api.test/v1/a";
    for (origin, url, expected) in [
        (&named, "http://www.example.com/b", "https://api.test/v1/b"),
        (&named, "https://www.example.com/b", "https://api.test/v1/b"),
        (&named, "http://10.0.0.1:8000/b", "https://api.test/v1/b"),
        (&named, "http://www.example.com:8000/b", "http://www.example.com:8000/b"),
        (&named, "https://api.test/b", "https://api.test/b"),
        (&told, "http://api.test/b", "https://api.test/v1/b"),
        (&told, "https://api.test/b", "https://api.test/v1/b"),
        (&told, "//api.test/b", "//api.test/v1/b"),
        (&told, "https://api.test/v1/b", "https://api.test/v1/b"),
        (&told, "//api.test/v1/b", "//api.test/v1/b"),
        (&told, "http://10.0.0.1:8000/b", "https://api.test/v1/b"),
        (&told, "http://other.test/b", "http://other.test/b"),
    ] {
        assert_eq!(mapped(url, origin, asked, "/v1"), expected, "{url}");
    }
}

#[test]
fn a_redirect_to_another_scheme_never_becomes_one_to_what_was_asked_for() {
    let plain = origin("http://origin", "");
    let location =
        |url: &str, asked: &str| String::from_utf8(mapped_in("location", url, &plain, asked, "")).unwrap();
    for (url, asked, expected) in [
        ("https://origin/a?x", "https://api.test/a?x", "https://origin/a?x"),
        ("https://origin/a?x#y", "https://api.test/%61?x", "https://origin/a?x#y"),
        ("https://origin/a?x", "https://api.test/a", "https://api.test/a?x"),
        // It asks the client to come again: for a cookie, say.
        ("http://origin/a", "https://api.test/a", "https://api.test/a"),
        ("//origin/a", "https://api.test/a", "//api.test/a"),
        // https is what the origin wants, and the client does not have it here.
        ("https://origin/a", "http://api.test/a", "https://origin/a"),
    ] {
        assert_eq!(location(url, asked), expected, "{url} for {asked}");
    }
    let content = mapped_in("content-location", "https://origin/a", &plain, "https://api.test/a", "");
    assert_eq!(content, b"https://api.test/a", "that is no redirect");
    let refresh = mapped_in("refresh", "5; url=https://origin/a", &plain, "https://api.test/a", "");
    assert_eq!(refresh, b"5; url=https://origin/a");
}

#[test]
fn without_a_host_only_a_path_is_left() {
    let plain = origin("http://origin", "");
    for (url, expected) in
        [("http://origin/b?x", "/v1/b?x"), ("//origin/b", "/v1/b"), ("http://other/b", "http://other/b")]
    {
        assert_eq!(mapped(url, &plain, "http:///v1/a", "/v1"), expected);
    }
    // They would name another host.
    for url in ["http://origin//evil.test/b", "http://origin/\\evil.test/b"] {
        assert_eq!(mapped(url, &plain, "http:///a", ""), url);
    }
}

#[test]
fn the_url_in_refresh() {
    let plain = origin("http://origin", "");
    for (value, expected) in [
        ("5; url=http://origin/b", "5; url=http://api.test/b"),
        ("0;URL='http://origin/b'; x", "0;URL='http://api.test/b'; x"),
        ("1.5 , Url = \"http://origin/b", "1.5 , Url = \"http://api.test/b"),
        ("5 http://origin/b ;x", "5 http://api.test/b ;x"),
        ("5;http://origin/b", "5;http://api.test/b"),
        ("5; url=//origin/b", "5; url=//api.test/b"),
        ("5", "5"),
        ("5;", "5;"),
        ("5; url=", "5; url="),
        ("5; url='", "5; url='"),
        ("5; url=/b", "5; url=/b"),
        ("url=http://origin/b", "url=http://origin/b"),
        ("", ""),
    ] {
        let found = mapped_in("refresh", value, &plain, "http://api.test/a", "");
        assert_eq!(String::from_utf8(found).unwrap(), expected, "{value}");
    }
}

#[test]
fn every_line_of_a_field_is_mapped_and_bytes_are_left_alone() {
    let target = canonical_url("http://api.test/a").unwrap();
    let mut headers = HeaderMap::new();
    for line in [&b"http://origin/\xe9"[..], b"/b", b"http://origin/c", b"http://orig\xe9/"] {
        headers.append("location", HeaderValue::from_bytes(line).unwrap());
    }
    assert!(names_urls(&headers));
    origin("http://origin", "").map(&mut headers, AskedBy { target: &target, prefix: "", told_port: None });
    let lines: Vec<_> = headers.get_all("location").iter().map(HeaderValue::as_bytes).collect();
    assert_eq!(lines, [&b"http://api.test/\xe9"[..], b"/b", b"http://api.test/c", b"http://orig\xe9/"]);
    for (field, names) in [("content-location", true), ("refresh", true), ("link", false)] {
        let headers = HeaderMap::from_iter([(HeaderName::from_static(field), HeaderValue::from_static("x"))]);
        assert_eq!(names_urls(&headers), names, "{field}");
    }
}

#[test]
fn the_client_s_host_without_its_port_is_what_an_origin_was_told() {
    let plain = origin("http://origin/app", "");
    let of = |url: &str, asked: &str, told_port: Option<u16>| {
        let target = canonical_url(asked).unwrap();
        let mut headers = HeaderMap::new();
        headers.insert("location", HeaderValue::try_from(url).unwrap());
        plain.map(&mut headers, AskedBy { target: &target, prefix: "/v1", told_port });
        headers["location"].to_str().unwrap().to_owned()
    };
    let (http, https) = ("http://api.test:8080/v1/a", "https://api.test:8443/v1/a");
    for (asked, told_port, url, expected) in [
        (http, None, "http://api.test/b?x#y", "http://api.test:8080/b?x#y"),
        (http, None, "http://API.test.:80/b", "http://api.test:8080/b"),
        (http, None, "//api.test/b", "//api.test:8080/b"),
        (http, None, "http://api.test", "http://api.test:8080"),
        (http, None, "http://api.test/v1/a", "http://api.test:8080/v1/a"),
        (https, None, "https://api.test:443/b", "https://api.test:8443/b"),
        (https, None, "http://api.test/b", "https://api.test:8443/b"),
        (https, Some(443), "http://api.test/b", "https://api.test:8443/b"),
        // It comes by http, and says so itself.
        ("https://api.test/v1/a", None, "http://api.test/b", "https://api.test/b"),
        // The very URL that was asked for, by the other scheme: in circles.
        (https, None, "http://api.test/v1/a", "http://api.test/v1/a"),
        ("https://api.test/v1/a", None, "http://api.test/v1/a", "http://api.test/v1/a"),
        // Neither the origin's scheme nor the client's.
        (http, None, "https://api.test/b", "https://api.test/b"),
        (http, None, "http://api.test:81/b", "http://api.test:81/b"),
        (http, None, "http://www.api.test/b", "http://www.api.test/b"),
        (http, None, "HTTP://api.test:8080/b", "HTTP://api.test:8080/b"),
        // It was told the port, and means another.
        (http, Some(8080), "http://api.test/b", "http://api.test/b"),
        (http, Some(8080), "http://api.test:8080/b", "http://api.test:8080/b"),
        ("http:///v1/a", None, "http://api.test/b", "http://api.test/b"),
    ] {
        assert_eq!(of(url, asked, told_port), expected, "{url} for {asked}, told {told_port:?}");
    }
}

/// What is invalidated is what clients are sent to, and what may be that besides.
#[test]
fn the_target_of_a_url_is_that_of_the_mapped_one() {
    let (plain, based) = (origin("http://origin:8000", ""), origin("http://origin/app", ""));
    let (named, told) = (origin("http://10.0.0.1:8000", "api.test"), origin("http://10.0.0.1:8000", "*"));
    let (bare, odd) = ("http://api.test/a", "http://api.test:8080/v1/a");
    for (origin, url, asked, prefix, expected) in [
        (&plain, "http://origin:8000/item?x=1", bare, "", Some("http://api.test/item?x=1")),
        (&plain, "https://origin:8000/item", bare, "", Some("http://api.test/item")),
        (&plain, "https://origin:8000", "https://api.test/a", "", Some("https://api.test/")),
        (&plain, "https://origin/item", bare, "", None),
        (&plain, "https://api.test/item", bare, "", None),
        (&plain, "http://api.test/v1/item", odd, "/v1", Some("http://api.test:8080/v1/item")),
        (&plain, "http://origin:8000//b", "http:///v1/a", "/v1", Some("http:///v1//b")),
        (&based, "https://origin/app/item", odd, "/v1", Some("http://api.test:8080/v1/item")),
        (&based, "http://origin/item", odd, "/v1", None),
        (&told, "http://api.test/v1/item", "http://api.test/v1/a", "/v1", Some("http://api.test/v1/v1/item")),
        // Clients are sent to https, and some may have it here all the same.
        (&named, "https://api.test/item", bare, "", Some("http://api.test/item")),
    ] {
        let target = canonical_url(asked).unwrap();
        let found = origin.target(url, AskedBy { target: &target, prefix, told_port: None });
        assert_eq!(found.as_deref(), expected, "{url} for {asked}");
    }
}
