use http::{HeaderMap, HeaderValue, Method, header};
use proptest::prelude::*;

use super::*;
use crate::key::target::{Target, canonical_url};

mod upstream;

fn route(name: &str, hosts: &[&str], paths: &[&str], methods: Option<&[&str]>) -> Route {
    Route {
        hosts: hosts.iter().map(|host| HostPattern::parse(host).unwrap()).collect(),
        paths: paths.iter().map(|path| PathPattern::parse(path).unwrap()).collect(),
        methods: methods.map(|list| list.iter().map(|m| Method::from_bytes(m.as_bytes()).unwrap()).collect()),
        ..Route::new(name, "u")
    }
}

fn target(url: &str) -> Target {
    canonical_url(url).unwrap()
}

fn table() -> Table {
    Table::new(vec![
        route("everything", &[], &["/*"], None),
        route("anyhost-exact", &[], &["/v1/x"], None),
        route("wild", &["*.example.com"], &["/*"], None),
        route("wilder", &["*.eu.example.com"], &["/v1/*"], None),
        route("api", &["api.example.com"], &["/v1/*", "/v1"], None),
        route("products", &["api.example.com"], &["/v1/products", "/v1/products/*"], None),
        route("writes", &["api.example.com"], &["/v1/products/*"], Some(&["POST", "PUT"])),
        route("port", &["api.example.com:8443"], &["/v1/*"], None),
        route("two", &["a.test", "b.test"], &["/a/*"], None),
    ])
    .unwrap()
}

#[test]
fn the_most_specific_route_answers() {
    let table = table();
    for (method, url, name) in [
        ("GET", "http://api.example.com/v1/products", "products"),
        ("GET", "http://api.example.com/v1/products/", "products"),
        ("GET", "http://api.example.com/v1/products/7", "products"),
        ("POST", "http://api.example.com/v1/products/7", "writes"),
        ("POST", "http://api.example.com/v1/products", "products"),
        ("GET", "http://api.example.com/v1/productsx", "api"),
        ("GET", "http://api.example.com/v1", "api"),
        ("GET", "http://api.example.com/v1/", "api"),
        // An exact host beats others only where its paths match too.
        ("GET", "http://api.example.com/v2", "wild"),
        ("GET", "http://api.example.com/V1/x", "wild"),
        ("GET", "http://api.example.com/v1/x", "api"),
        ("GET", "http://api.example.com:81/v1/x", "api"),
        ("GET", "http://api.example.com:8443/v1/x", "port"),
        ("GET", "http://api.example.com:8443/v1", "api"),
        ("GET", "http://www.example.com/v1/x", "wild"),
        ("GET", "http://a.eu.example.com/v1/x", "wilder"),
        ("GET", "http://a.b.eu.example.com/v1/x", "wilder"),
        ("GET", "http://eu.example.com/v1/x", "wild"),
        ("GET", "http://a.eu.example.com/v2/x", "wild"),
        ("GET", "http://example.com/v1/x", "anyhost-exact"),
        ("GET", "http://xexample.com/", "everything"),
        ("GET", "http://b.test/a/", "two"),
        ("GET", "http://b.test/a", "everything"),
        ("GET", "http://[::1]:9/", "everything"),
    ] {
        let target = target(url);
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        assert_eq!(table.route(&target, &method).map(|route| &*route.name), Ok(name), "{method} {url}");
        let all = table.all(&target, &method);
        assert_eq!(&*all[0].name, name, "the first of all: {method} {url}");
        assert_eq!(&*all.last().unwrap().name, "everything");
    }
}

#[test]
fn ports_count_only_if_written() {
    let table = Table::new(vec![
        route("plain", &["h:80"], &["/*"], None),
        route("tls", &["h:443"], &["/*"], None),
        route("v6", &["[::1]:80"], &["/*"], None),
    ])
    .unwrap();
    for (url, name) in [
        ("http://h/", Some("plain")),
        ("http://h:80/", Some("plain")),
        ("https://h/", Some("tls")),
        ("http://h:443/", Some("tls")),
        ("http://[0::1]/", Some("v6")),
        ("http://h:81/", None),
    ] {
        let found = table.route(&target(url), &Method::GET).map(|route| &*route.name);
        assert_eq!(found, name.ok_or(NoRoute::NoHost), "{url}");
    }
}

#[test]
fn no_host_is_another_miss_than_no_path() {
    let table = Table::new(vec![
        route("a", &["a.test"], &["/x"], None),
        route("b", &["*.b.test"], &["/x"], Some(&["GET"])),
    ])
    .unwrap();
    for (method, url, miss) in [
        (Method::GET, "http://a.test/y", NoRoute::NoPath),
        (Method::GET, "http://c.b.test/y", NoRoute::NoPath),
        (Method::POST, "http://c.b.test/x", NoRoute::NoPath),
        (Method::GET, "http://b.test/x", NoRoute::NoHost),
        (Method::GET, "http://c.test/x", NoRoute::NoHost),
    ] {
        assert_eq!(table.route(&target(url), &method).err(), Some(miss), "{method} {url}");
    }
}

#[test]
fn the_order_is_that_of_answering() {
    let table = table();
    let names: Vec<_> = table.in_order().iter().map(|route| &*route.name).collect();
    assert_eq!(
        names,
        ["port", "two", "api", "products", "writes", "wilder", "wild", "anyhost-exact", "everything"]
    );
    for (at, route) in table.in_order().iter().enumerate() {
        assert_eq!(route.index, at);
    }
}

#[test]
fn two_that_are_equal_in_all_three_are_refused() {
    for (one, other, place) in [
        (route("a", &["h"], &["/x"], None), route("b", &["h"], &["/x"], None), Some("h/x")),
        (route("a", &["h", "i"], &["/x", "/y"], None), route("b", &["j", "i"], &["/y"], None), Some("i/y")),
        (route("a", &[], &["/*"], None), route("b", &[], &["/*"], None), Some("/*")),
        (route("a", &["H."], &["/%7ex"], None), route("b", &["h"], &["/~x"], None), Some("h/~x")),
        (
            route("a", &["h"], &["/x"], Some(&["GET", "HEAD"])),
            route("b", &["h"], &["/x"], Some(&["HEAD"])),
            Some("h/x HEAD"),
        ),
        (route("a", &["h"], &["/x"], Some(&["GET"])), route("b", &["h"], &["/x"], Some(&["POST"])), None),
        (route("a", &["h"], &["/x"], Some(&["GET"])), route("b", &["h"], &["/x"], None), None),
        (route("a", &["h"], &["/x"], None), route("b", &["h"], &["/x/*"], None), None),
        (route("a", &["h:80"], &["/x"], None), route("b", &["h"], &["/x"], None), None),
        (route("a", &["*.h"], &["/x"], None), route("b", &["h"], &["/x"], None), None),
    ] {
        let refused = Table::new(vec![one, other]).err().map(|conflicts| {
            assert_eq!((conflicts.len(), conflicts[0].first, conflicts[0].second), (1, 0, 1));
            conflicts[0].place.clone()
        });
        assert_eq!(refused.as_deref(), place);
    }
}

#[test]
fn routes_that_no_request_can_have_are_named() {
    let table = Table::new(vec![
        route("fine", &["h"], &["/*"], None),
        route("no-methods", &["h"], &["/x"], Some(&[])),
        route("refused", &["h"], &["/x"], Some(&["PURGE", "TRACE"])),
        route("partly", &["h"], &["/y"], Some(&["PURGE", "GET"])),
        route("no-path", &["h"], &[], None),
    ])
    .unwrap();
    let mut names: Vec<_> = table.unreachable().into_iter().map(|gone| gone.name.to_string()).collect();
    names.sort();
    assert_eq!(names, ["no-methods", "no-path", "refused"]);
}

#[test]
fn patterns_that_cannot_be() {
    for (text, why) in [
        ("*", BadPattern::EveryHost),
        ("", BadPattern::Host),
        ("*.", BadPattern::Host),
        ("a.*", BadPattern::Host),
        ("http://h", BadPattern::Host),
        ("h/x", BadPattern::Host),
        ("h:x", BadPattern::Host),
    ] {
        assert_eq!(HostPattern::parse(text), Err(why), "{text:?}");
    }
    for (text, why) in [
        ("", BadPattern::NoSlash),
        ("*", BadPattern::NoSlash),
        ("v1/*", BadPattern::NoSlash),
        ("/v1?x", BadPattern::NoPath),
    ] {
        assert_eq!(PathPattern::parse(text), Err(why), "{text:?}");
    }
    for text in ["/a/../b", "/a/..", "/a\\b", "/%"] {
        assert!(matches!(PathPattern::parse(text), Err(BadPattern::Path(_))), "{text:?}");
    }
    for (text, form) in [
        ("/v1/*", "/v1/*"),
        ("/*", "/*"),
        ("/v1*", "/v1*"),
        ("/caf\u{e9}/*", "/caf%C3%A9/*"),
        ("/%7e", "/~"),
        ("/a/./*", "/a/*"),
    ] {
        assert_eq!(PathPattern::parse(text).unwrap().to_string(), form);
    }
    for (text, form) in
        [("*.H.Test:81", "*.h.test:81"), ("h.", "h"), ("[::1]:80", "[::1]:80"), ("h:80", "h:80")]
    {
        assert_eq!(HostPattern::parse(text).unwrap().to_string(), form);
    }
}

#[test]
fn queries_by_rule() {
    let names = |list: &[&str]| list.iter().map(|name| NamePattern::new(name)).collect();
    let exclude = |list: &[&str]| Which::Exclude(names(list));
    let include = |list: &[&str]| Which::Include(names(list));
    for (which, sort, query, kept) in [
        (Which::All, false, Some("b=2&a=1"), "?b=2&a=1"),
        (Which::All, false, Some(""), "?"),
        (Which::All, false, None, ""),
        (Which::All, true, None, ""),
        (Which::All, true, Some("b=2&a=1"), "?a=1&b=2"),
        (Which::All, true, Some("b=2&a=9&b=1&a=1"), "?a=9&a=1&b=2&b=1"),
        (Which::All, true, Some("a=1&a-b=2"), "?a=1&a-b=2"),
        (Which::All, true, Some("a&a=1&A"), "?A&a&a=1"),
        (exclude(&["utm_*"]), false, Some("utm_source=x&page=2&utm_=1&utm"), "?page=2&utm"),
        (exclude(&["utm_*"]), false, Some("utm_source=x"), ""),
        (exclude(&["%"]), false, Some("%25=1&%25%25=2&%2525"), "?%25%25=2&%2525"),
        (exclude(&["a[b]"]), false, Some("a%5Bb%5D=1&a[b]=2&a%5Bb%5Dc=3"), "?a%5Bb%5Dc=3"),
        (exclude(&["caf\u{e9}*"]), false, Some("caf%C3%A9s=1&caf%C3%A8=2"), "?caf%C3%A8=2"),
        (exclude(&["*"]), false, Some("a=1&b"), ""),
        (exclude(&["x"]), false, Some("a&&b"), "?a&&b"),
        (include(&["page", "q*"]), false, Some("q=1&x=2&page=3&qq=4&pages=5"), "?q=1&page=3&qq=4"),
        (include(&["page"]), true, Some("z=1"), ""),
        (include(&[]), false, Some("a=1"), ""),
        (include(&["b", "a"]), true, Some("b=1&c=1&a=2&b=0"), "?a=2&b=1&b=0"),
    ] {
        let rule = QueryRule { which, sort };
        let mut out = String::new();
        rule.write(&mut out, query);
        assert_eq!(out, kept, "{rule:?} {query:?}");
    }
}

#[test]
fn a_long_query_sorts_like_a_short_one() {
    let rule = QueryRule { which: Which::All, sort: true };
    let pieces: Vec<_> = (0..200).map(|n| format!("p{}={n}", (n * 7) % 50)).collect();
    let mut sorted = pieces.clone();
    sorted.sort_by_key(|piece| piece.split_once('=').map(|(name, _)| name.to_owned()));
    let mut out = String::new();
    rule.write(&mut out, Some(&pieces.join("&")));
    assert_eq!(out, format!("?{}", sorted.join("&")));
}

fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    headers
}

fn key(route: &Route, url: &str, headers: &HeaderMap) -> String {
    let mut out = "what was there before".to_owned();
    route.key_into(&mut out, &target(url), headers);
    out
}

#[test]
fn keys_are_readable() {
    let none = HeaderMap::new();
    let mut plain = route("r", &["h", "p:8080", "*.w:80"], &["/*"], None);
    for (url, text) in [
        ("http://H/a?b=1", "http://h/a?b=1"),
        ("https://h:444/a", "https://h/a"),
        ("http://p:8080/a?b", "http://p:8080/a?b"),
        ("http://x.w/a", "http://x.w:80/a"),
        ("http://x.w:81/a", "http://x.w/a"),
    ] {
        assert_eq!(key(&plain, url, &none), text, "{url}");
    }
    plain.query = QueryRule { which: Which::Exclude(vec![NamePattern::new("utm_*")]), sort: true };
    plain.version = Some("2".to_owned());
    plain.vary_on = vec![KeyedField::parse("X-Tenant").unwrap()];
    assert_eq!(key(&plain, "http://h/a?b=1&utm_x=1&a=1", &none), "http://h/a?a=1&b=1\nx-tenant\n@version 2");
    assert_eq!(
        key(&plain, "http://h/a?utm_x=1", &headers(&[("x-tenant", "  blue , green"), ("x-tenant", "red")])),
        "http://h/a\nx-tenant: blue, green, red\n@version 2"
    );
}

#[test]
fn values_never_look_alike() {
    let tenant = Route { vary_on: vec![KeyedField::parse("x-t").unwrap()], ..route("r", &[], &["/*"], None) };
    let line = |value: &str| key(&tenant, "http://h/", &headers(&[("x-t", value)]));
    assert_eq!(line(""), "http://h/\nx-t: ");
    assert_ne!(line("\u{e9}"), line("%C3%A9"));
    assert_ne!(line("\u{e9}"), line("e"));
    assert_ne!(line("\"a,  b\""), line("\"a, b\""));
    let encoding =
        Route { vary_on: vec![KeyedField::parse("accept-encoding").unwrap()], ..Route::new("r", "u") };
    let line = |value: &str| key(&encoding, "http://h/", &headers(&[("accept-encoding", value)]));
    assert_eq!(line("gzip;q=0.5, deflate, br;q=0.5"), line("br,gzip"));
}

#[test]
fn credentials_enter_keys_as_digests_only() {
    let vary_on = |list: &[&str]| list.iter().map(|text| KeyedField::parse(text).unwrap()).collect();
    let keyed = Route {
        vary_on: vary_on(&["authorization", "cookie:session", "x-api-key", "cookie"]),
        ..route("r", &[], &["/*"], None)
    };
    let secret = headers(&[("authorization", "Bearer opensesame"), ("cookie", "a=1; session=opensesame")]);
    let text = key(&keyed, "http://h/", &secret);
    assert!(!text.contains("sesame"), "{text}");
    let lines: Vec<_> = text.lines().collect();
    // sha256("Bearer opensesame")
    assert!(lines[1].starts_with("authorization: ") && lines[1].len() == "authorization: ".len() + 64);
    assert!(lines[2].starts_with("cookie:session: "));
    assert_eq!(lines[3], "x-api-key");
    assert!(lines[4].starts_with("cookie: "));

    let one = Route { vary_on: vary_on(&["cookie:s"]), ..route("r", &[], &["/*"], None) };
    let of = |lines: &[&str]| {
        key(&one, "http://h/", &headers(&lines.iter().map(|line| ("cookie", *line)).collect::<Vec<_>>()))
    };
    assert_eq!(of(&["a=1"]), "http://h/\ncookie:s");
    assert_eq!(of(&["as=1; S=1; ss=1"]), "http://h/\ncookie:s");
    assert_eq!(of(&["s=1"]), of(&["x=2; s=1;y=3"]));
    assert_eq!(of(&["s=1"]), of(&["x=2", " s = 1 "]));
    assert_ne!(of(&["s=1"]), of(&["s=2"]));
    assert_ne!(of(&["s=1"]), of(&["s=1; s=2"]));
    assert_ne!(of(&["s="]), of(&["a=1"]));
    assert!(one.covers(&header::COOKIE) && !one.covers(&header::AUTHORIZATION));
}

#[test]
fn a_fill_carries_the_cookies_of_its_key() {
    let kept = |vary_on: &[&str], lines: &[&str]| {
        let vary_on = vary_on.iter().map(|text| KeyedField::parse(text).unwrap()).collect();
        let mut headers: HeaderMap =
            lines.iter().map(|line| (header::COOKIE, HeaderValue::from_str(line).unwrap())).collect();
        Route { vary_on, ..Route::new("r", "u") }.keep_keyed_cookies(&mut headers);
        let left: Vec<_> =
            headers.get_all(header::COOKIE).iter().map(|line| line.to_str().unwrap().to_owned()).collect();
        left.join(" | ")
    };
    for (vary_on, lines, want) in [
        (&["cookie:s"][..], &["a=1; s=2;b=3"][..], "s=2"),
        (&["cookie:s", "cookie:b"], &["a=1; s=2;b=3"], "s=2; b=3"),
        (&["cookie:s"], &["s=1; a=2", "s = 3"], "s=1; s = 3"),
        (&["cookie:s"], &["ss=1; S=2"], ""),
        (&["cookie:s", "cookie"], &["a=1; s=2"], "a=1; s=2"),
        (&["x-a"], &["a=1"], "a=1"),
        (&[], &["a=1"], "a=1"),
    ] {
        assert_eq!(kept(vary_on, lines), want, "{vary_on:?} {lines:?}");
    }
}

#[test]
fn what_vary_on_may_be() {
    for text in ["x-tenant", "Accept-Language", "cookie:session", "Cookie:a.b", "cookie"] {
        assert!(KeyedField::parse(text).is_some(), "{text}");
    }
    for text in ["", "a b", "cookie:", "cookie:a=b", "cookie:a;b", "header:x", ":x"] {
        assert!(KeyedField::parse(text).is_none(), "{text}");
    }
    let both = Route {
        vary_on: ["x-a", "cookie:s", "cookie:t", "X-A"].iter().filter_map(|t| KeyedField::parse(t)).collect(),
        ..Route::new("r", "u")
    };
    let fields: Vec<_> = both.vary_fields().map(HeaderName::as_str).collect();
    assert_eq!(fields, ["x-a", "cookie"]);
}

#[test]
fn a_prefix_is_stripped_at_the_edge_of_a_segment() {
    let mut stripping = route("r", &[], &["/*"], None);
    stripping.strip_prefix = Some("/v1".to_owned());
    stripping.query = QueryRule { which: Which::Exclude(vec![NamePattern::new("u*")]), sort: true };
    for (url, fill, pass) in [
        ("http://h/v1/x?b&a&u", "/x?a&b", "/x?b&a&u"),
        ("http://h/v1", "/", "/"),
        ("http://h/v1/", "/", "/"),
        ("http://h/v1?u", "/", "/?u"),
        ("http://h/v10/x", "/v10/x", "/v10/x"),
        ("http://h/a/v1/x", "/a/v1/x", "/a/v1/x"),
        ("http://h/v1//x", "//x", "//x"),
    ] {
        let target = target(url);
        assert_eq!(stripping.upstream_target(&target, true), fill, "{url}");
        assert_eq!(stripping.upstream_target(&target, false), pass, "{url}");
    }
    assert_eq!(stripping.client_path("/x"), "/v1/x");
}

#[test]
fn edits_remove_and_then_set() {
    let mut edits = Edits::default();
    assert!(edits.is_empty());
    edits.set("X-Add", "1").unwrap();
    edits.set("x-both", "new").unwrap();
    edits.remove("X-Both").unwrap();
    edits.remove("x-gone").unwrap();
    let mut fields = headers(&[("x-both", "a"), ("x-both", "b"), ("x-gone", "1"), ("x-stays", "1")]);
    edits.apply(&mut fields);
    assert_eq!(fields, headers(&[("x-both", "new"), ("x-stays", "1"), ("x-add", "1")]));
    assert!(matches!(edits.set("x y", ""), Err(EditError::Name(_))));
    assert!(matches!(edits.set("x-y", "a\nb"), Err(EditError::Value(_))));
    for name in ["Connection", "transfer-encoding", "Host"] {
        assert!(matches!(edits.remove(name), Err(EditError::Reserved(_))), "{name}");
    }
}

#[test]
fn what_a_fill_carries_by_route() {
    let names = ["host", "accept-language", "x-tenant", "user-agent"];
    let carried = |forward: Forward| {
        let route =
            Route { forward, vary_on: vec![KeyedField::parse("x-tenant").unwrap()], ..Route::new("r", "u") };
        names.map(|name| route.forwards(&HeaderName::from_static(name)))
    };
    assert_eq!(carried(Forward::All), [true; 4]);
    assert_eq!(carried(Forward::Keyed), [true, true, true, false]);
    assert_eq!(carried(Forward::Only(vec![header::USER_AGENT])), [false, false, true, true]);
}

proptest! {
    /// The table finds what a look at every route finds.
    #[test]
    fn the_table_is_no_shortcut(
        routes in proptest::collection::vec((host(), path(), method()), 0..12),
        asked in proptest::collection::vec((asked_host(), asked_path()), 1..20),
    ) {
        let routes = routes.iter().enumerate().map(|(n, (host, path, methods))| {
            route(&n.to_string(), &host.iter().map(String::as_str).collect::<Vec<_>>(), &[path], methods.as_deref())
        });
        // Of those that are equal the first stays.
        let mut kept: Vec<Route> = Vec::new();
        for route in routes {
            let mut with = kept.clone();
            with.push(route);
            if Table::new(with.clone()).is_ok() {
                kept = with;
            }
        }
        let table = Table::new(kept.clone()).unwrap();
        for (host, path) in asked {
            let target = target(&format!("http://{host}{path}"));
            let best = table.all(&target, &Method::GET).first().map(|route| route.name.clone());
            let found = table.route(&target, &Method::GET).ok().map(|route| route.name.clone());
            prop_assert_eq!(found, best);
        }
    }
}

fn host() -> impl Strategy<Value = Option<String>> {
    let names = vec!["a", "b.a", "c.b.a", "*.a", "*.b.a", "a:80", "*.a:81", "b.a:81"];
    proptest::option::of(proptest::sample::select(names).prop_map(str::to_owned))
}

fn path() -> impl Strategy<Value = String> {
    proptest::sample::select(vec!["/", "/*", "/x", "/x/", "/x/*", "/x/y", "/x/y/*"]).prop_map(str::to_owned)
}

fn method() -> impl Strategy<Value = Option<Vec<&'static str>>> {
    proptest::option::of(proptest::sample::subsequence(vec!["GET", "POST"], 0..=2))
}

fn asked_host() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(vec!["a", "b.a", "c.b.a", "d.c.b.a", "xa", "b.a:81", "a:81", "q"])
}

fn asked_path() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(vec!["/", "/x", "/x/", "/x/y", "/x/y/z", "/xy", "//x"])
}
