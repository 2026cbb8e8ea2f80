use super::*;

const HOP: Hop<'static> = Hop {
    name: "dustgate",
    fleet: "f1",
    scheme: "https",
    host: "api.example.com",
    client: None,
    trusted: false,
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
        (header::ACCEPT_ENCODING, HeaderValue::from_static("deflate")),
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
            "x-forwarded-proto: https",
        ]
    );
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
        "x-forwarded-port",
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
    let asked = |connection: &'static str| {
        let headers = [
            (header::CONNECTION, HeaderValue::from_static(connection)),
            (header::UPGRADE, HeaderValue::from_static("websocket")),
        ];
        upgrade_asked(&headers.into_iter().collect()).map(str::to_owned)
    };
    assert_eq!(asked("keep-alive, Upgrade").as_deref(), Some("websocket"));
    assert_eq!(asked("keep-alive"), None);
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
