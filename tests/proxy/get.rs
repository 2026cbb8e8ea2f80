//! A GET, stored and answered again: what the client is told, what the origin sees, what the
//! log says.

use serde_json::Value;

use crate::support::{Answer, Origin, Proxy, Reply};

#[tokio::test]
async fn the_first_is_a_miss_and_the_next_a_hit() {
    let origin = Origin::answering(Answer::cacheable("hello").field("X-Own", "kept")).await;
    let proxy = Proxy::before(&origin).await;

    let miss = proxy.fill("/a").await;
    miss.assert(200, "hello");
    assert_eq!(miss.field("cache-status"), "dustgate; fwd=uri-miss; stored");
    assert!(!miss.fields.has("age"), "one's own exchange has no Age of ours");

    let hit = proxy.get("/a").await;
    hit.assert(200, "hello");
    hit.assert_hit_for(60);
    assert!(hit.age() < 10);
    assert_eq!(hit.field("x-own"), "kept");
    assert_eq!(hit.field("content-length"), "5");
    assert_eq!(origin.count("/a"), 1);
}

#[tokio::test]
async fn what_is_withheld_from_others_is_its_own_clients() {
    let cache = "max-age=60, private=\"x-own\", no-cache=\"x-once\"";
    let answer =
        Answer::ok("hello").cache(cache).field("X-Own", "a").field("X-Once", "b").field("X-All", "c");
    let origin = Origin::answering(answer).await;
    let proxy = Proxy::before(&origin).await;
    let told = |reply: &Reply| ["x-own", "x-once", "x-all"].map(|name| reply.field(name).to_owned());
    assert_eq!(told(&proxy.fill("/a").await), ["a", "b", "c"]);
    let hit = proxy.get("/a").await;
    hit.assert_hit_for(60);
    assert_eq!(told(&hit), ["", "", "c"]);
}

#[tokio::test]
async fn other_kinds_of_framing_are_stored_too() {
    let origin = Origin::start().await;
    origin.on("/chunked", Answer::cacheable("one,").part("two").chunked());
    origin.on("/empty", Answer::cacheable(""));
    origin.on("/no-content", Answer::status(204).cache("max-age=60"));
    origin.on("/large", Answer::status(200).cache("max-age=60").pattern(3 << 20));
    let proxy = Proxy::before(&origin).await;
    for path in ["/chunked", "/empty", "/no-content", "/large"] {
        let first = proxy.fill(path).await;
        let second = proxy.get(path).await;
        assert!(second.is_hit(), "{path}: {:?}", second.fields);
        assert_eq!(
            (first.status, &first.body, first.end),
            (second.status, &second.body, second.end),
            "{path}"
        );
        assert_eq!(origin.count(path), 1);
    }
    proxy.get("/chunked").await.assert(200, "one,two");
}

#[tokio::test]
async fn what_ends_with_the_connection_is_shared_and_not_stored() {
    let origin = Origin::answering(Answer::cacheable("hello").until_close()).await;
    let proxy = Proxy::before(&origin).await;
    for _ in 0..2 {
        let reply = proxy.fill("/a").await;
        assert_eq!((reply.status, reply.text(), reply.is_hit()), (200, "hello", false));
    }
    assert_eq!(origin.count("/a"), 2);
}

#[tokio::test]
async fn age_begins_where_the_origin_left_it() {
    let origin = Origin::answering(Answer::ok("hello").cache("max-age=600").field("Age", "100")).await;
    let proxy = Proxy::before(&origin).await;
    assert_eq!(proxy.fill("/a").await.field("age"), "100", "the origin's own");
    let hit = proxy.get("/a").await;
    assert!((100..110).contains(&hit.age()));
    assert_eq!(hit.fields.all("age").len(), 1);
    hit.assert_hit_for(600);
}

#[tokio::test]
async fn cache_status_stands_behind_members_already_there() {
    let origin = Origin::answering(Answer::cacheable("hello").field("Cache-Status", "edge; hit")).await;
    let proxy = Proxy::before(&origin).await;
    let lines = proxy.fill("/a").await.fields.all("cache-status").join(", ");
    assert_eq!(lines, "edge; hit, dustgate; fwd=uri-miss; stored");
    let lines = proxy.get("/a").await.fields.all("cache-status").join(", ");
    assert!(lines.starts_with("edge; hit, dustgate; hit; ttl="), "{lines}");
}

#[tokio::test]
async fn a_route_can_hide_cache_status_and_a_server_has_a_name() {
    let origin = Origin::answering(Answer::cacheable("hello")).await;
    let proxy = Proxy::before(&origin).server("name = \"front\"").await;
    assert_eq!(proxy.get("/a").await.field("cache-status"), "front; fwd=uri-miss; stored");
    assert_eq!(origin.last("/a").field("via"), "1.1 front");
    let proxy = Proxy::before(&origin).route("cache_status = false").await;
    assert!(!proxy.get("/a").await.fields.has("cache-status"));
    assert!(!proxy.get("/a").await.fields.has("cache-status"));
}

#[tokio::test]
async fn a_lifetime_is_the_origins_and_then_the_routes() {
    let origin = Origin::start().await;
    origin.on("/silent", Answer::ok("a"));
    origin.on("/short", Answer::ok("a").cache("max-age=20"));
    origin.on("/long", Answer::ok("a").cache("max-age=90000"));
    origin.on("/shared", Answer::ok("a").cache("max-age=1, s-maxage=50"));
    origin.on("/targeted", Answer::ok("a").cache("no-store").field("CDN-Cache-Control", "max-age=40"));
    origin.on("/gone", Answer::status(404).part("a"));
    origin.on("/teapot", Answer::status(418).part("a"));
    let proxy = Proxy::before(&origin)
        .route("default_ttl = \"30s\"")
        .route("status_ttl = { 404 = \"10s\" }")
        .route("max_ttl = \"1h\"")
        .await;
    for (path, lifetime) in
        [("/silent", 30), ("/short", 20), ("/long", 3600), ("/shared", 50), ("/targeted", 40), ("/gone", 10)]
    {
        proxy.fill(path).await;
        proxy.get(path).await.assert_hit_for(lifetime);
    }
    for _ in 0..2 {
        assert!(!proxy.fill("/teapot").await.is_hit());
    }
}

#[tokio::test]
async fn what_the_origin_forbids_is_not_stored() {
    let origin = Origin::start().await;
    origin.on("/no-store", Answer::ok("a").cache("no-store"));
    origin.on("/private", Answer::ok("a").cache("private, max-age=60"));
    origin.on("/cookie", Answer::cacheable("a").field("Set-Cookie", "a=b"));
    origin.on("/star", Answer::cacheable("a").field("Vary", "*"));
    origin.on("/error", Answer::status(500).part("a"));
    origin.on("/silent", Answer::ok("a"));
    let proxy = Proxy::before(&origin).await;
    for path in ["/no-store", "/private", "/cookie", "/star", "/silent"] {
        for n in 1..=3 {
            // What is said in so many words is remembered, and passes without a fill.
            let remembered = n > 1 && path != "/silent";
            let reply = if remembered { proxy.get(path).await } else { proxy.fill(path).await };
            assert_eq!(reply.text(), "a");
            assert!(reply.cache_status().starts_with("dustgate; fwd="), "{path}: {:?}", reply.fields);
            assert!(!reply.cache_status().contains("stored"), "{path}: {:?}", reply.fields);
            assert_eq!(origin.count(path), n, "{path}");
        }
    }
    assert_eq!(proxy.get("/error").await.status, 500);
}

#[tokio::test]
async fn the_way_to_the_origin_is_marked_and_nobody_else_marks_it() {
    let origin = Origin::answering(Answer::cacheable("hello")).await;
    let proxy = Proxy::before(&origin).await;
    let forged = [
        ("X-Forwarded-For", "6.6.6.6"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "evil.test"),
        ("Forwarded", "for=6.6.6.6"),
        ("X-Real-IP", "6.6.6.6"),
        ("X-Original-URL", "/admin"),
        ("X-Rewrite-URL", "/admin"),
        ("X-Original-Host", "evil.test"),
        ("X-Host", "evil.test"),
        ("X-Forwarded-Prefix", "/evil"),
        ("X-Forwarded-Server", "evil"),
        ("Front-End-Https", "on"),
        ("X-Own", "carried"),
        ("X-Hop", "dropped"),
        ("Connection", "x-hop"),
        ("Proxy-Connection", "keep-alive"),
        ("Keep-Alive", "timeout=5"),
        ("TE", "gzip"),
    ];
    for method in ["GET", "POST"] {
        let ask = forged.iter().fold(proxy.ask(method, "/a"), |ask, (name, value)| ask.field(name, value));
        ask.await.assert(200, "hello");
        let seen = origin.last("/a");
        assert_eq!(seen.field("x-own"), "carried");
        assert_eq!((seen.field("x-forwarded-proto"), seen.field("x-forwarded-host")), ("http", "api.test"));
        assert_eq!(seen.field("via"), "1.1 dustgate");
        assert!(!seen.field("cdn-loop").is_empty());
        assert_eq!(seen.field("host"), origin.at.to_string());
        // No Accept means as much as this one, which the client library cannot leave out.
        assert_eq!(seen.field("accept"), "*/*", "{seen:?}");
        let all = format!("{:?}", seen.fields).to_lowercase();
        for never in ["6.6.6.6", "evil", "/admin", "front-end-https", "x-hop", "keep-alive", "gzip"] {
            assert!(!all.contains(never), "{method}: {never} in {all}");
        }
        // A fill is made for everybody; a pass for one.
        let address = if method == "POST" { "127.0.0.1" } else { "" };
        assert_eq!(seen.field("x-forwarded-for"), address, "{method}");
    }
}

#[tokio::test]
async fn a_trusted_proxy_is_believed() {
    let origin = Origin::answering(Answer::cacheable("hello")).await;
    let proxy = Proxy::before(&origin).server("trusted_proxies = [\"127.0.0.0/8\"]").await;
    let ask =
        |scheme: &str| proxy.get("/a").field("X-Forwarded-Proto", scheme).field("X-Forwarded-For", "9.9.9.9");
    ask("https").await.assert(200, "hello");
    assert_eq!(origin.last("/a").field("x-forwarded-proto"), "https");
    assert!(!ask("http").await.is_hit(), "the scheme is in the key");
    proxy.until_stored(2).await;
    assert!(ask("https").await.is_hit());
    proxy.ask("POST", "/b").field("X-Forwarded-For", "9.9.9.9").await;
    assert_eq!(origin.last("/b").field("x-forwarded-for"), "9.9.9.9, 127.0.0.1");
    assert_eq!(proxy.logged(1, "/b").await[0]["client"], "9.9.9.9");
}

#[tokio::test]
async fn hop_by_hop_fields_of_the_origin_stay_there() {
    let answer = Answer::cacheable("hello")
        .field("Connection", "X-Hop")
        .field("X-Hop", "1")
        .field("Keep-Alive", "timeout=5")
        .field("Proxy-Authenticate", "Basic")
        .field("X-Own", "kept");
    let origin = Origin::answering(answer).await;
    let proxy = Proxy::before(&origin).await;
    for _ in 0..2 {
        let reply = proxy.get("/a").await;
        for name in ["x-hop", "keep-alive", "proxy-authenticate"] {
            assert!(!reply.fields.has(name), "{name}");
        }
        assert_eq!(reply.field("x-own"), "kept");
    }
}

#[tokio::test]
async fn a_route_edits_what_goes_and_comes() {
    let origin = Origin::answering(Answer::cacheable("hello").field("Server", "secret/1.0")).await;
    let proxy = Proxy::before(&origin)
        .route("strip_prefix = \"/v1\"")
        .route("request_headers = { set = { x-api-key = \"k\" }, remove = [\"x-tracking\"] }")
        .route("response_headers = { set = { x-served-by = \"us\" }, remove = [\"server\"] }")
        .await;
    for _ in 0..2 {
        let reply = proxy.get("/v1/a?b").field("X-Tracking", "t").await;
        assert_eq!(reply.field("x-served-by"), "us");
        assert!(!reply.fields.has("server"));
    }
    assert_eq!(origin.total(), 1);
    let seen = origin.last("/a");
    assert_eq!((seen.target.as_str(), seen.field("x-api-key")), ("/a?b", "k"));
    assert!(!seen.fields.has("x-tracking"));
}

#[tokio::test]
async fn no_route_for_the_host_or_for_the_path() {
    let origin = Origin::answering(Answer::cacheable("hello")).await;
    let proxy = Proxy::before(&origin).route("host = \"api.test\"").route("path = \"/v1/*\"").await;
    proxy.get("/v1/a").await.assert(200, "hello");
    proxy.get("/v1/a").host("other.test").await.assert_error(421);
    proxy.get("/v1").await.assert_error(404);
    assert_eq!(origin.total(), 1);
}

#[tokio::test]
async fn a_route_that_does_not_cache_passes() {
    let origin = Origin::answering(Answer::cacheable("hello")).await;
    let proxy = Proxy::before(&origin).route("cache = false").await;
    for n in 1..=2 {
        assert!(proxy.get("/a").await.cache_status().starts_with("dustgate; fwd=bypass"));
        assert_eq!(origin.count("/a"), n);
    }
}

#[tokio::test]
async fn what_comes_back_to_the_fleet_is_a_loop() {
    let origin = Origin::answering(Answer::cacheable("hello")).await;
    let proxy = Proxy::before(&origin).await;
    proxy.get("/a").field("CDN-Loop", "somebody-else").await.assert(200, "hello");
    let marks = origin.last("/a").fields.all("cdn-loop").join(", ");
    assert!(marks.starts_with("somebody-else, "), "{marks}");
    for method in ["GET", "POST"] {
        proxy.ask(method, "/b").field("CDN-Loop", &marks).await.assert_error(508);
    }
    assert_eq!(origin.count("/b"), 0);
}

#[tokio::test]
async fn only_if_cached_never_asks_the_origin() {
    let origin = Origin::answering(Answer::cacheable("hello")).await;
    let proxy = Proxy::before(&origin).await;
    let ask = || proxy.get("/a").field("Cache-Control", "only-if-cached");
    ask().await.assert_error(504);
    assert_eq!(origin.total(), 0);
    proxy.fill("/a").await.assert(200, "hello");
    ask().await.assert(200, "hello");
}

#[tokio::test]
async fn a_client_cannot_force_a_fetch_unless_the_route_honours_it() {
    let origin = Origin::answering(Answer::cacheable("hello")).await;
    let proxy = Proxy::before(&origin).await;
    proxy.fill("/a").await;
    for (name, value) in
        [("Cache-Control", "no-cache"), ("Cache-Control", "max-age=0"), ("Pragma", "no-cache")]
    {
        assert!(proxy.get("/a").field(name, value).await.is_hit(), "{name}: {value}");
    }
    let proxy = Proxy::before(&origin).route("client_cache_control = \"honour\"").await;
    proxy.fill("/b").await;
    assert!(proxy.get("/b").await.is_hit());
    let fresh = proxy.get("/b").field("Cache-Control", "no-cache").await;
    assert!(fresh.cache_status().starts_with("dustgate; fwd=request"), "{:?}", fresh.fields);
    assert_eq!(origin.count("/b"), 2);
}

/// Every name that a request's line has; which of them have a value depends on the request.
const LOG_FIELDS: &[&str] = &[
    "ts",
    "id",
    "client",
    "method",
    "scheme",
    "host",
    "path",
    "status",
    "proto",
    "bytes_in",
    "bytes_out",
    "dur_ms",
    "ttfb_ms",
    "route",
    "cache",
    "instance",
];

#[tokio::test]
async fn every_request_has_its_line() {
    let origin = Origin::answering(Answer::cacheable("hello")).await;
    let proxy = Proxy::before(&origin).await;
    proxy.fill("/a?token=secret&b").await;
    let miss = proxy.logged(1, "/a").await.remove(0);
    for name in LOG_FIELDS {
        assert!(!miss[*name].is_null(), "no {name} in {miss}");
    }
    let expected: [(&str, Value); 15] = [
        ("method", "GET".into()),
        ("scheme", "http".into()),
        ("host", "api.test".into()),
        ("status", 200.into()),
        ("proto", "1.1".into()),
        ("client", "127.0.0.1".into()),
        ("route", "all".into()),
        ("cache", "miss".into()),
        ("source", "computed".into()),
        ("coordinated", true.into()),
        ("role", "leader".into()),
        ("upstream", "origin".into()),
        ("up_status", 200.into()),
        ("up_bytes", 5.into()),
        ("tries", 1.into()),
    ];
    for (name, value) in expected {
        assert_eq!(miss[name], value, "{name} in {miss}");
    }
    assert!(!miss.to_string().contains("secret"), "{miss}");
    assert!(miss["query_keys"].to_string().contains("token"), "{miss}");
    let key = miss["key"].as_str().expect("a key");
    assert!(key.len() == 32 && key.bytes().all(|b| b.is_ascii_hexdigit()), "{key}");
    assert!(miss["fence"].is_number(), "{miss}");

    proxy.get("/a?token=secret&b").await;
    let hit = proxy.logged(2, "/a").await.remove(1);
    for (name, value) in [("cache", "hit"), ("source", "cached"), ("key", key)] {
        assert_eq!(hit[name], value, "{name} in {hit}");
    }
    assert!(hit["ttl_s"].as_i64().is_some_and(|ttl| (50..=60).contains(&ttl)), "{hit}");
    assert!(hit["age_s"].is_number() && hit["up_status"].is_null(), "{hit}");
    assert_ne!(hit["id"], miss["id"]);

    // The fill has one of its own, with the same key and fence.
    let is_fill =
        |line: &Value| line["key"] == key && line["fence"] == miss["fence"] && line["method"].is_null();
    let fill = proxy.log.json_lines(1, "the fill's line", is_fill).await.remove(0);
    for (name, value) in [("event", "fill"), ("outcome", "stored")] {
        assert_eq!(fill[name], value, "{name} in {fill}");
    }
    for (name, value) in [("followers", 0), ("up_status", 200), ("up_bytes", 5), ("tries", 1)] {
        assert_eq!(fill[name], value, "{name} in {fill}");
    }
}

#[tokio::test]
async fn the_text_log_is_one_short_line() {
    let origin = Origin::answering(Answer::cacheable("hello")).await;
    let proxy = Proxy::before(&origin).log("text").await;
    proxy.get("/a?b=c").await;
    let line = proxy
        .log
        .find("the line of /a", |line| line.contains(" GET api.test/a").then(|| line.to_owned()))
        .await;
    assert!(line.contains(" 200 ") && line.contains(" miss ") && line.ends_with(" all"), "{line}");
    assert!(!line.contains("b=c"), "{line}");
}

#[tokio::test]
async fn the_origin_is_asked_for_the_host_that_is_set() {
    let origin = Origin::answering(Answer::cacheable("hello")).await;
    for (setting, host) in [
        ("upstream", origin.at.to_string()),
        ("client", "api.test".to_owned()),
        ("named.test", "named.test".to_owned()),
    ] {
        let proxy = Proxy::before(&origin).upstream(&format!("host = \"{setting}\"")).await;
        for method in ["GET", "POST"] {
            proxy.ask(method, &format!("/{setting}")).await.assert(200, "hello");
            let seen = origin.last(&format!("/{setting}"));
            assert_eq!(seen.fields.all("host"), [host.as_str()], "{setting} {method}");
        }
    }
}

#[tokio::test]
async fn interim_answers_are_not_the_answer() {
    let early = "HTTP/1.1 103 Early Hints\r\nLink: </s.css>; rel=preload\r\n\r\n";
    let last = "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 5\r\n\r\nhello";
    let origin = Origin::answering(Answer::raw(format!("{early}{last}"))).await;
    let proxy = Proxy::before(&origin).await;
    proxy.fill("/a").await.assert(200, "hello");
    let hit = proxy.get("/a").await;
    hit.assert(200, "hello");
    assert!(hit.is_hit() && !hit.fields.has("link"));
}

#[tokio::test]
async fn a_route_may_overlook_what_the_origin_says() {
    let origin = Origin::answering(Answer::ok("hello").cache("private, no-cache, max-age=5")).await;
    let proxy = Proxy::before(&origin)
        .route("ignore = [\"private\", \"no-cache\", \"max-age\"]")
        .route("default_ttl = \"90s\"")
        .await;
    // Never for who shows credentials.
    proxy.get("/a").field("Authorization", "x").await.assert(200, "hello");
    assert!(!proxy.fill("/a").await.is_hit());
    proxy.get("/a").await.assert_hit_for(90);
}

#[tokio::test]
async fn values_of_a_query_are_logged_only_when_that_is_set() {
    let origin = Origin::answering(Answer::cacheable("hello")).await;
    let proxy = Proxy::before(&origin).log_also("query = true").await;
    proxy.get("/a?b=c").await;
    assert_eq!(proxy.logged(1, "/a").await[0]["query"], "b=c");
    let proxy = Proxy::before(&origin).log_also("requests = false").await;
    proxy.get("/a").await;
    proxy.purge_url("/a").await;
    proxy.log.json_lines(1, "the purge's line", |line| line["event"] == "purge").await;
    assert!(proxy.log.json(|line| line["method"].is_string()).is_empty());
}
