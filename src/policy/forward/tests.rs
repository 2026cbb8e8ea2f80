use super::super::hop::ForwardedFields;
use super::*;

const HOP: Hop<'static> = Hop {
    name: "dustgate",
    fleet: "f1",
    scheme: "https",
    host: "api.example.com",
    is_whole: true,
    client: None,
    trusted: false,
    fields: ForwardedFields::X,
};

const CLIENT: &[(&str, &str)] = &[
    ("host", "api.example.com"),
    ("accept-encoding", "gzip, deflate, br"),
    ("accept-language", "EN, de;q=0.50"),
    ("authorization", "x"),
    ("cookie", "a=b"),
    ("connection", "close, x-hop"),
    ("x-hop", "1"),
    ("te", "trailers"),
    ("upgrade", "h2c"),
    ("expect", "100-continue"),
    ("if-none-match", "\"a\""),
    ("if-modified-since", "x"),
    ("range", "bytes=0-1"),
    ("if-range", "\"a\""),
    ("via", "1.1 other"),
    ("cdn-loop", "other"),
    ("x-forwarded-for", "6.6.6.6"),
    ("x-forwarded-proto", "http"),
    ("x-forwarded-port", "1"),
    ("forwarded", "for=6.6.6.6"),
    ("x-real-ip", "6.6.6.6"),
    ("x-original-url", "/admin"),
    ("x-forwarded-prefix", "/x"),
    ("x-tenant", "t"),
];

fn client() -> HeaderMap {
    CLIENT.iter().map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v))).collect()
}

fn lines(headers: &HeaderMap) -> Vec<String> {
    let mut lines: Vec<_> = headers.iter().map(|(n, v)| format!("{n}: {}", v.to_str().unwrap())).collect();
    lines.sort_unstable();
    lines
}

#[test]
fn a_fill() {
    let sent = fill_headers(&client(), &Rules::default(), &HOP);
    assert_eq!(
        lines(&sent),
        [
            "accept-encoding: br, gzip",
            "accept-language: en, de;q=0.5",
            "authorization: x",
            "cdn-loop: f1",
            "cdn-loop: other",
            "cookie: a=b",
            "via: 1.1 dustgate",
            "via: 1.1 other",
            "x-forwarded-host: api.example.com",
            "x-forwarded-port: 443",
            "x-forwarded-proto: https",
            "x-tenant: t",
        ]
    );
}

#[test]
fn a_fill_that_carries_little() {
    let rules = Rules {
        carried: Carried::Only(vec![header::ACCEPT_ENCODING]),
        cookies: Cookies::Strip,
        ..Rules::default()
    };
    let client = [
        (header::ACCEPT_ENCODING, HeaderValue::from_static("identity, gzip;q=0")),
        (header::COOKIE, "a".parse().unwrap()),
    ];
    let sent = fill_headers(&client.into_iter().collect(), &rules, &HOP);
    assert_eq!(
        lines(&sent),
        [
            "accept-encoding: identity",
            "cdn-loop: f1",
            "via: 1.1 dustgate",
            "x-forwarded-host: api.example.com",
            "x-forwarded-port: 443",
            "x-forwarded-proto: https",
        ]
    );
}

/// A list of languages has no `identity`.
#[test]
fn an_empty_list_is_said_as_its_own_field_says_it() {
    for (field, want) in [(header::ACCEPT_ENCODING, Some("identity")), (header::ACCEPT_LANGUAGE, None)] {
        for empty in ["", " ", ","] {
            let client = [(field.clone(), HeaderValue::from_static(empty))].into_iter().collect();
            let sent = fill_headers(&client, &Rules::default(), &HOP);
            let said = sent.get(&field).map(|value| value.to_str().unwrap());
            assert_eq!(said, want, "{field}: {empty:?}");
        }
    }
    let client = [(header::ACCEPT_LANGUAGE, HeaderValue::from_static(""))].into_iter().collect();
    let mut sent = pass_headers(&client, &Rules::default(), &HOP);
    normalise_languages(&mut sent, &client);
    assert!(!sent.contains_key(header::ACCEPT_LANGUAGE), "nor has a pass that may be shared");
}

#[test]
fn a_pass() {
    let hop = Hop { client: Some([10, 0, 0, 1].into()), ..HOP };
    let sent = pass_headers(&client(), &Rules::default(), &hop);
    assert_eq!(sent["if-none-match"], "\"a\"");
    assert_eq!(sent["range"], "bytes=0-1");
    assert_eq!(sent["accept-encoding"], "gzip, deflate, br");
    assert_eq!(sent["x-forwarded-for"], "10.0.0.1");
    assert_eq!(sent["x-forwarded-proto"], "https");
    assert_eq!(sent["x-forwarded-port"], "443");
    assert_eq!(sent["te"], "trailers");
    for gone in [
        "host",
        "x-hop",
        "upgrade",
        "expect",
        "forwarded",
        "x-real-ip",
        "x-original-url",
        "x-forwarded-prefix",
    ] {
        assert!(!sent.contains_key(gone), "{gone}");
    }
    let plain = HeaderMap::from_iter([(header::TE, HeaderValue::from_static("gzip, deflate;q=0.5"))]);
    assert!(!pass_headers(&plain, &Rules::default(), &hop).contains_key("te"), "it takes no trailers");
    let trusted = pass_headers(&client(), &Rules::default(), &Hop { trusted: true, ..hop });
    assert_eq!(trusted["x-forwarded-for"], "6.6.6.6, 10.0.0.1");
    assert_eq!(trusted["x-original-url"], "/admin");
}

#[test]
fn what_connection_names_is_gone_before_anybody_looks() {
    let mut headers = client();
    strip_connection(&mut headers);
    assert!(!headers.contains_key("x-hop") && headers.contains_key("x-tenant"));
    let mut plain: HeaderMap = [("connection", "Keep-Alive"), ("keep-alive", "x")]
        .iter()
        .map(|(n, v)| (n.parse().unwrap(), v.parse().unwrap()))
        .collect();
    strip_connection(&mut plain);
    assert_eq!(plain.len(), 2);
}

#[test]
fn what_is_for_everybody_stays_whatever_connection_names() {
    let fields = |list: &[(&str, &str)]| -> HeaderMap {
        list.iter().map(|(n, v)| (n.parse::<HeaderName>().unwrap(), v.parse().unwrap())).collect()
    };
    for field in ["host", "content-length", "transfer-encoding", "cache-control", "vary", "set-cookie"] {
        let mut request = fields(&[("connection", &format!("close, {field}")), (field, "1")]);
        strip_connection(&mut request);
        assert!(request.contains_key(field), "{field}");
        let kept = response_headers(&request).contains_key(field);
        assert_eq!(kept, field != "transfer-encoding", "{field}: hop by hop by itself");
    }
    let mut request = fields(&[("connection", "cookie"), ("cookie", "a=b")]);
    strip_connection(&mut request);
    assert!(!request.contains_key("cookie"));
}

#[test]
fn loops() {
    for (line, want) in [("f1", true), ("other, F1;x=y", true), ("f1x", false), ("other", false), ("", false)]
    {
        let headers = [(CDN_LOOP.clone(), HeaderValue::from_static(line))].into_iter().collect();
        assert_eq!(is_loop(&headers, "f1"), want, "{line}");
    }
    assert!(!is_loop(&HeaderMap::new(), "f1"));
}

#[test]
fn upgrades() {
    for (connection, upgrade, needed) in [
        (&["keep-alive, Upgrade"][..], &["websocket"][..], true),
        (&["upgrade"], &["WebSocket"], true),
        (&["close", "UPGRADE"], &["IRC/6.9"], true),
        (&["upgrade"], &["h2c, websocket"], true),
        (&["upgrade"], &["h2c", "x"], true),
        (&["upgrade"], &["h2cx"], true),
        // Offers, which a server may overlook.
        (&["Upgrade, HTTP2-Settings"], &["h2c"], false),
        (&["upgrade"], &["H2C"], false),
        (&["upgrade"], &["TLS/1.2"], false),
        (&["upgrade"], &["TLS/1.2, HTTP/2.0", "h2c,"], false),
        // Nothing is asked for.
        (&["upgrade"], &[], false),
        (&["upgrade"], &[""], false),
        (&["keep-alive"], &["websocket"], false),
        (&[], &["websocket"], false),
    ] {
        let mut headers = HeaderMap::new();
        let field = |name: HeaderName, lines: &[&'static str], headers: &mut HeaderMap| {
            for line in lines {
                headers.append(name.clone(), HeaderValue::from_static(line));
            }
        };
        field(header::CONNECTION, connection, &mut headers);
        field(header::UPGRADE, upgrade, &mut headers);
        let named = strip_connection(&mut headers);
        let needs = |version| named && needs_upgrade(version, &headers);
        assert_eq!(needs(Version::HTTP_11), needed, "{connection:?} {upgrade:?}");
        assert!(!needs(Version::HTTP_10), "HTTP/1.0 knows no upgrade");
    }
}

#[test]
fn a_response() {
    let upstream = [
        ("connection", "x-hop"),
        ("x-hop", "1"),
        ("keep-alive", "5"),
        ("proxy-authenticate", "x"),
        ("trailer", "x"),
        ("x-a", "1"),
        ("set-cookie", "a=b"),
        ("set-cookie", "c=d"),
    ];
    let upstream =
        upstream.iter().map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v))).collect();
    assert_eq!(lines(&response_headers(&upstream)), ["set-cookie: a=b", "set-cookie: c=d", "x-a: 1"]);
}

/// Every name that says who or where the client is, or that it asks for something else.
const NOT_BELIEVED: [&str; 34] = [
    "X-Forwarded-For",
    "X-Forwarded-Proto",
    "X-Forwarded-Host",
    "X-Forwarded-Scheme",
    "X-Forwarded-Ssl",
    "Forwarded",
    "X-Real-IP",
    "X-Original-URL",
    "X-Original-URI",
    "X-Original-Method",
    "X-Rewrite-URL",
    "X-Original-Host",
    "X-Host",
    "X-HTTP-Host-Override",
    "X-HTTP-Path-Override",
    "X-Forwarded",
    "X-Forwarded-Prefix",
    "X-Forwarded-Server",
    "X-Forwarded-Port",
    "X-Scheme",
    "X-Url-Scheme",
    "X-Client-IP",
    "X-Cluster-Client-IP",
    "Client-IP",
    "True-Client-IP",
    "CF-Connecting-IP",
    "Fastly-Client-IP",
    "X-Originating-IP",
    "X-Remote-IP",
    "X-Remote-Addr",
    "Front-End-Https",
    "Proxy",
    "Keep-Alive",
    "Transfer-Encoding",
];

#[test]
fn nobody_says_who_or_where_it_is_in_any_spelling() {
    let hop = Hop { host: "", ..HOP };
    for name in NOT_BELIEVED {
        for spelled in [name.to_owned(), name.replace('-', "_"), name.replacen('-', "_", 1)] {
            let field: HeaderName = spelled.parse().unwrap();
            let client = HeaderMap::from_iter([(field.clone(), HeaderValue::from_static("evil"))]);
            let says = |sent: &HeaderMap| sent.values().any(|value| value == "evil");
            assert!(!says(&fill_headers(&client, &Rules::default(), &hop)), "a fill carries {spelled}");
            assert!(!says(&pass_headers(&client, &Rules::default(), &hop)), "a pass carries {spelled}");
            let varied = HeaderMap::from_iter([(header::VARY, HeaderValue::from_name(field.clone()))]);
            let settled = is_same_for_a_key(&field);
            let star =
                super::super::vary::varies(&varied, &Rules::default()) == super::super::vary::Varies::Star;
            assert!(star || settled, "Vary: {spelled}");
        }
    }
}

#[test]
fn a_trusted_proxy_tells_passes_the_address_and_fills_only_where_they_may_know_it() {
    let client = |name: &'static str| {
        HeaderMap::from_iter([(HeaderName::from_static(name), HeaderValue::from_static("6.6.6.6"))])
    };
    let trusted = Hop { trusted: true, ..HOP };
    let tells = Hop { client: Some([10, 0, 0, 1].into()), ..trusted };
    let rules = Rules::default();
    for name in ["true-client-ip", "cf-connecting-ip", "x-client-ip"] {
        let client = client(name);
        assert!(pass_headers(&client, &rules, &trusted).contains_key(name), "{name}");
        assert!(!fill_headers(&client, &rules, &trusted).contains_key(name), "{name}");
        assert!(fill_headers(&client, &rules, &tells).contains_key(name), "{name}");
    }
    assert!(fill_headers(&client("x-original-url"), &rules, &trusted).contains_key("x-original-url"));
    // The key has no port but the host's.
    assert_eq!(fill_headers(&client("x-forwarded-port"), &rules, &trusted)["x-forwarded-port"], "443");
}

#[test]
fn a_fill_carries_no_underscore_that_its_route_does_not_name() {
    let client: HeaderMap = ["x_tenant", "accept_language", "x_api_key", "cache_control", "content_length"]
        .into_iter()
        .map(|name| (HeaderName::from_static(name), HeaderValue::from_static("1")))
        .collect();
    let names = |sent: &HeaderMap| {
        sent.keys()
            .map(HeaderName::as_str)
            .filter(|name| name.contains('_'))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let carried = names(&fill_headers(&client, &Rules::default(), &HOP));
    assert_eq!(carried, ["x_api_key"], "what says who asks goes with what is asked");
    let keyed = Rules { underscored: vec![HeaderName::from_static("x_tenant")], ..Rules::default() };
    assert_eq!(names(&fill_headers(&client, &keyed, &HOP)), ["x_tenant", "x_api_key"]);
    let passed = names(&pass_headers(&client, &Rules::default(), &HOP));
    assert_eq!(passed, ["x_tenant", "accept_language", "x_api_key", "cache_control"], "but for framing");
}

#[test]
fn a_fill_never_asks_for_another_method() {
    for name in ["x-http-method-override", "x_http_method_override", "x-http-method", "x-method_override"] {
        let client =
            HeaderMap::from_iter([(HeaderName::from_static(name), HeaderValue::from_static("DELETE"))]);
        assert!(!fill_headers(&client, &Rules::default(), &HOP).contains_key(name), "{name}");
        assert!(pass_headers(&client, &Rules::default(), &HOP).contains_key(name), "{name}");
    }
}

#[test]
fn max_forwards_counts_down() {
    for (value, most, left) in [
        ("0", Some(0), "0"),
        ("1", Some(1), "0"),
        (" 10 ", Some(10), "9"),
        ("99999999999999999999999", Some(u64::MAX), "18446744073709551614"),
        ("-1", None, "-1"),
        ("x", None, "x"),
        ("", None, ""),
    ] {
        let mut headers = HeaderMap::from_iter([(header::MAX_FORWARDS, HeaderValue::from_static(value))]);
        assert_eq!(max_forwards(&headers), most, "{value:?}");
        count_down(&mut headers);
        assert_eq!(headers[header::MAX_FORWARDS], left, "{value:?}");
    }
    assert_eq!(max_forwards(&HeaderMap::new()), None);
}
