use std::net::Ipv4Addr;

use super::*;

fn style(format: Format, query: bool) -> Style {
    Style { format, query, instance: "a".into() }
}

fn text(line: &Access, query: bool) -> String {
    let mut out = Vec::new();
    line.write(&mut out, &style(Format::Text, query));
    String::from_utf8(out).unwrap()
}

fn json(line: &Access, query: bool) -> serde_json::Value {
    let mut out = Vec::new();
    line.write(&mut out, &style(Format::Json, query));
    serde_json::from_slice(&out).unwrap()
}

fn follower() -> Access {
    Access {
        ts: 1_795_442_531_482,
        id: 0xab,
        client: Some(Ipv4Addr::LOCALHOST.into()),
        scheme: "https",
        host: "api.example.com".into(),
        path: "/v1/products/7".into(),
        status: 200,
        proto: Version::HTTP_11,
        bytes_out: 5312,
        duration: Duration::from_micros(503_127),
        first_byte: Some(Duration::from_millis(502)),
        route: Some("products".into()),
        cache: Cache::Follower,
        source: Some(Source::Awaited),
        why: Some(Why::Fresh),
        coordinated: Some(true),
        key: Some([0x9f; 16]),
        role: Some(Role::Follower),
        leader: Some("b".into()),
        fence: Some(42),
        wait: Some(Duration::from_millis(498)),
        ..Access::default()
    }
}

#[test]
fn text_is_as_documented() {
    assert_eq!(
        text(&follower(), false),
        "14:02:11.482 GET api.example.com/v1/products/7 200 5312B 503ms follower awaited 498ms from b#42 products\n"
    );
}

#[test]
fn text_of_other_ends() {
    let hit = Access {
        host: "h".into(),
        path: "/".into(),
        status: 200,
        cache: Cache::Hit,
        source: Some(Source::Cached),
        why: Some(Why::Fresh),
        route: Some("r".into()),
        ..Access::default()
    };
    assert_eq!(text(&hit, false), "00:00:00.000 GET h/ 200 0B 0ms hit cached r\n");
    let broken = Access {
        status: 502,
        cache: Cache::Error,
        why: Some(Why::Upstream("reset")),
        error: Some("reset"),
        aborted: true,
        ..hit
    };
    assert_eq!(
        text(&broken, false),
        "00:00:00.000 GET h/ 502 0B 0ms error cached reset r error=reset aborted\n"
    );
}

#[test]
fn json_has_the_documented_names() {
    let full = Access {
        query: Some("page=2&token=s3cret".into()),
        aborted: true,
        stale: true,
        age_s: Some(3),
        ttl_s: Some(-4),
        upstream: Some("catalog".into()),
        up_status: Some(200),
        up_connect: Some(Duration::from_millis(2)),
        up_first_byte: Some(Duration::from_millis(400)),
        up_bytes: Some(5312),
        tries: 2,
        error: Some("reset"),
        ..follower()
    };
    let line = json(&full, false);
    let names: Vec<&str> = line.as_object().unwrap().keys().map(String::as_str).collect();
    let documented = "ts id client method scheme host path query_keys status proto bytes_in bytes_out dur_ms ttfb_ms \
                      aborted route cache source why stale coordinated age_s ttl_s key role leader fence wait_ms \
                      upstream up_status up_connect_ms up_ttfb_ms up_bytes tries error instance";
    assert_eq!(names, documented.split_whitespace().collect::<Vec<_>>());
    assert_eq!(line["query_keys"], serde_json::json!(["page", "token"]));
    assert!(!line.to_string().contains("s3cret"));
    assert_eq!(line["dur_ms"], 503.127);
    assert_eq!(line["id"], "00000000000000ab");
    assert_eq!(line["key"], "9f".repeat(16));
}

#[test]
fn query_values_only_when_asked_for() {
    let line = Access { query: Some("a=1&b&&c=".into()), ..follower() };
    assert_eq!(json(&line, true)["query"], "a=1&b&&c=");
    assert_eq!(json(&line, false)["query"], serde_json::Value::Null);
    assert_eq!(json(&line, false)["query_keys"], serde_json::json!(["a", "c"]));
    assert!(text(&line, false).contains("/v1/products/7?a&…&c 200"));
    assert!(text(&line, true).contains("/v1/products/7?a=1&b&&c= 200"));
    let line = Access { query: Some("herd".into()), ..follower() };
    assert!(text(&line, false).contains("/v1/products/7?… 200"), "it is no name, and may be a secret");
    assert_eq!(json(&line, false)["query_keys"], serde_json::json!([]));
}

#[test]
fn nothing_forges_a_line() {
    let line = Access { host: "h\n12:00:00.000 GET x".into(), path: "/\u{1b}[31m".into(), ..follower() };
    assert_eq!(text(&line, false).lines().count(), 1);
    assert!(!text(&line, false).contains('\u{1b}'));
}

#[test]
fn a_fill_names_key_and_fence() {
    let fill = Fill {
        route: "products".into(),
        host: "h".into(),
        path: "/p".into(),
        key: [1; 16],
        fence: Some(42),
        coordinated: true,
        outcome: Some(FillOutcome::Stored),
        up_status: Some(200),
        up_bytes: 7,
        followers: 3,
        tries: 1,
        ..Fill::default()
    };
    let mut out = Vec::new();
    fill.write(&mut out, &style(Format::Text, false));
    assert_eq!(String::from_utf8(out).unwrap(), "00:00:00.000 fill h/p 200 7B 0ms stored a#42 +3 products\n");
    let mut out = Vec::new();
    fill.write(&mut out, &style(Format::Json, false));
    let line: serde_json::Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(line["event"], "fill");
    assert_eq!(line["fence"], 42);
    assert_eq!(line["key"], "01".repeat(16));
    assert_eq!(line["outcome"], "stored");
}
