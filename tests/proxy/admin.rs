//! The operator's port.

use serde_json::json;

use crate::support::client::RequestFacts;
use crate::support::{Answer, Conn, Gate, Origin, Proxy, all};

#[tokio::test]
async fn health_and_readiness() {
    let origin = Origin::start().await;
    let proxy = Proxy::before(&origin).await;
    assert_eq!(proxy.admin_get("/healthz").await.status, 200);
    let ready = proxy.admin_get("/readyz").await;
    assert_eq!((ready.status, ready.json()), (200, json!({"ready": true, "degraded": []})));
    assert_eq!(proxy.metrics().await.sum("dustgate_ready", &[]), 1.0);
}

/// Families that are there whatever has happened.
const FAMILIES: &[(&str, &str)] = &[
    ("dustgate_build_info", "gauge"),
    ("dustgate_ready", "gauge"),
    ("dustgate_draining", "gauge"),
    ("dustgate_connections", "gauge"),
    ("dustgate_task_panics_total", "counter"),
    ("dustgate_requests_total", "counter"),
    ("dustgate_request_duration_seconds", "histogram"),
    ("dustgate_first_byte_seconds", "histogram"),
    ("dustgate_response_bytes_total", "counter"),
    ("dustgate_fills_total", "counter"),
    ("dustgate_fill_duration_seconds", "histogram"),
    ("dustgate_fills", "gauge"),
    ("dustgate_fill_fetches_total", "counter"),
    ("dustgate_filled_keys_total", "counter"),
    ("dustgate_followers", "gauge"),
    ("dustgate_followers_total", "counter"),
    ("dustgate_follower_wait_seconds", "histogram"),
    ("dustgate_passes_total", "counter"),
    ("dustgate_unstored_total", "counter"),
    ("dustgate_shed_total", "counter"),
    ("dustgate_upstream_requests_total", "counter"),
    ("dustgate_upstream_errors_total", "counter"),
    ("dustgate_upstream_duration_seconds", "histogram"),
    ("dustgate_upstream_in_flight", "gauge"),
    ("dustgate_upstream_queue", "gauge"),
    ("dustgate_dust_up", "gauge"),
    ("dustgate_tier_unsure", "gauge"),
    ("dustgate_dust_call_seconds", "histogram"),
    ("dustgate_dust_errors_total", "counter"),
    ("dustgate_uncoordinated_fills_total", "counter"),
    ("dustgate_leases_lost_total", "counter"),
    ("dustgate_leases_orphaned_total", "counter"),
    ("dustgate_fenced_total", "counter"),
    ("dustgate_store_went_back_total", "counter"),
    ("dustgate_dust_impossible_total", "counter"),
    ("dustgate_dust_occupied_total", "counter"),
    ("dustgate_clock_steps_total", "counter"),
    ("dustgate_clock_offset_seconds", "gauge"),
    ("dustgate_purge_last_number", "gauge"),
    ("dustgate_stamps_owed", "gauge"),
    ("dustgate_memory_bytes", "gauge"),
    ("dustgate_memory_objects", "gauge"),
    ("dustgate_evictions_total", "counter"),
    ("dustgate_bodies_bytes", "gauge"),
    ("dustgate_bodies_other_lives_bytes", "gauge"),
    ("dustgate_bodies_errors_total", "counter"),
    ("dustgate_integrity_failures_total", "counter"),
    ("dustgate_segments_missing_total", "counter"),
    ("dustgate_orphans_swept_total", "counter"),
    ("dustgate_purges_total", "counter"),
    ("dustgate_purge_seconds", "histogram"),
];

#[tokio::test]
async fn every_family_is_there_and_says_what_it_is() {
    let origin = Origin::answering(Answer::cacheable("hello")).await;
    let proxy = Proxy::before(&origin).await;
    proxy.fill("/a").await;
    proxy.get("/a").await;
    proxy.ask("POST", "/a").content("x").await;
    proxy.logged(3, "/a").await;
    let page = proxy.admin_get("/metrics").await;
    assert!(page.field("content-type").starts_with("text/plain; version=0.0.4"), "{:?}", page.fields);
    let metrics = proxy.metrics().await;
    let missing: Vec<_> = FAMILIES
        .iter()
        .filter(|(name, kind)| metrics.families.get(*name).is_none_or(|family| family.kind != *kind))
        .collect();
    assert!(missing.is_empty(), "missing or of another kind: {missing:?}");
    let strange: Vec<_> =
        metrics.families.keys().filter(|name| !FAMILIES.iter().any(|(known, _)| known == name)).collect();
    assert!(
        strange.iter().all(|name| name.starts_with("dustgate_") || name.starts_with("process_")),
        "{strange:?}"
    );
    assert!(metrics.families.values().all(|family| family.help.ends_with('.')), "a help that is no sentence");
    let sum = |name, labels: &[(&str, &str)]| metrics.sum(name, labels);
    assert_eq!(sum("dustgate_requests_total", &[("route", "all"), ("cache", "miss"), ("code", "2xx")]), 1.0);
    assert_eq!(sum("dustgate_requests_total", &[("route", "all"), ("cache", "hit"), ("code", "2xx")]), 1.0);
    assert_eq!(sum("dustgate_fills_total", &[("route", "all"), ("outcome", "stored")]), 1.0);
    assert_eq!(sum("dustgate_upstream_requests_total", &[("upstream", "origin"), ("code", "2xx")]), 2.0);
    assert_eq!(sum("dustgate_upstream_in_flight", &[]), 0.0);
    assert_eq!(sum("dustgate_passes_total", &[("reason", "method")]), 1.0);
    assert_eq!(sum("dustgate_dust_up", &[]), 1.0);
    assert_eq!(sum("dustgate_request_duration_seconds_count", &[("cache", "hit")]), 1.0);
    assert!(sum("dustgate_memory_bytes", &[]) > 0.0 && sum("dustgate_bodies_bytes", &[]) >= 5.0);
}

#[tokio::test]
async fn ten_thousand_urls_make_no_series() {
    const URLS: usize = 10_000;
    const CONNECTIONS: usize = 8;
    let origin = Origin::answering(Answer::cacheable("hello")).await;
    let proxy = Proxy::before(&origin).dust("url = \"embedded:\"").bodies("url = \"memory:\"").await;
    let before = proxy.metrics().await;
    let client = async |first: usize| {
        let mut conn = proxy.connect().await;
        for n in (first..URLS).step_by(CONNECTIONS) {
            // Whatever a stranger can make up: hosts, paths, queries, fields, methods.
            let method = if n % 50 == 0 { format!("M{n}") } else { "GET".to_owned() };
            let ask = proxy.ask(&method, &format!("/unique/{n}?q={n}")).host(&format!("h{n}.test"));
            conn.send(ask.field("X-Unique", &format!("v{n}")).bytes()).await;
            let (reply, next) = conn.reply().await.expect("an answer");
            assert_eq!(reply.status, 200, "{reply:?}");
            conn = next;
        }
    };
    all((0..CONNECTIONS).map(client)).await;
    let text = proxy.admin_get("/metrics").await;
    let after = proxy.metrics().await;
    assert_eq!(
        after.sum("dustgate_requests_total", &[]) - before.sum("dustgate_requests_total", &[]),
        URLS as f64
    );
    for (name, family) in &after.families {
        let (was, is) = (before.families.get(name).map_or(0, |f| f.samples.len()), family.samples.len());
        assert!(is < 1000, "{name} has {is} series");
        assert!(is < was + 100, "{name} had {was} series and has {is}");
    }
    for never in ["unique", "h42.test", "v42", "M50"] {
        assert!(!text.text().contains(never), "{never} in a label");
    }
}

#[tokio::test]
async fn with_a_token_nothing_is_told_without_it() {
    let origin = Origin::answering(Answer::cacheable("hello")).await;
    let proxy = Proxy::before(&origin).admin("token = \"hunter2\"").await;
    proxy.fill("/a").await;
    for page in ["/v1/status", "/v1/config", "/v1/routes", "/v1/flights", "/v1/explain?url=http://api.test/a"]
    {
        for wrong in
            [None, Some("Bearer hunter"), Some("Bearer hunter22"), Some("Basic hunter2"), Some("Bearer ")]
        {
            let ask = proxy.admin_get(page);
            let ask = if let Some(wrong) = wrong { ask.field("Authorization", wrong) } else { ask };
            let reply = ask.await;
            assert_eq!(reply.status, 401, "{page} with {wrong:?}");
            assert!(reply.json()["error"].is_string());
        }
        let reply = proxy.admin_get(page).field("Authorization", "Bearer hunter2").await;
        assert_eq!(reply.status, 200, "{page}");
        assert!(!reply.text().contains("hunter2"), "{page}");
    }
    assert_eq!(proxy.admin_post("/v1/purge", &json!({"all": true})).await.status, 401);
    assert!(proxy.get("/a").await.is_hit());
    // These are open, and with a token no Host is asked for.
    for page in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(proxy.admin_get(page).host("elsewhere.test").await.status, 200, "{page}");
    }
    let proxy = Proxy::before(&origin).admin("token = \"hunter2\"").admin("metrics_token = true").await;
    assert_eq!(proxy.admin_get("/metrics").await.status, 401);
    assert_eq!(proxy.admin_get("/metrics").field("Authorization", "Bearer hunter2").await.status, 200);
    assert_eq!(proxy.admin_get("/healthz").await.status, 200);
}

#[tokio::test]
async fn no_web_page_can_purge() {
    let origin = Origin::answering(Answer::cacheable("hello")).await;
    let proxy = Proxy::before(&origin).admin("hosts = [\"ops.test\"]").await;
    proxy.fill("/a").await;
    let purge = || RequestFacts::new(proxy.admin, "POST", "/v1/purge").content("{\"all\":true}");
    for kind in
        [None, Some("text/plain"), Some("application/x-www-form-urlencoded"), Some("multipart/form-data")]
    {
        let ask = purge().host("localhost");
        let ask = if let Some(kind) = kind { ask.field("Content-Type", kind) } else { ask };
        let reply = ask.await;
        assert_eq!(reply.status, 415, "{kind:?}");
        assert!(reply.json()["detail"].is_string());
    }
    let of = |host: &str| purge().field("Content-Type", "application/json").host(host);
    for host in ["evil.test", "localhost.evil.test", "127.0.0.1.evil.test", "10.0.0.1"] {
        assert_eq!(of(host).await.status, 421, "{host}");
    }
    assert!(proxy.get("/a").await.is_hit());
    let port = proxy.admin.port();
    for host in ["localhost", "127.0.0.1", "[::1]", "ops.test", &format!("localhost:{port}")] {
        assert_eq!(of(host).await.status, 200, "{host}");
    }
    let charset = purge().field("Content-Type", "application/json; charset=utf-8").host("localhost").await;
    assert_eq!(charset.status, 200);
    assert!(!proxy.get("/a").await.is_hit());
}

#[tokio::test]
async fn what_is_not_there() {
    let origin = Origin::start().await;
    let proxy = Proxy::before(&origin).await;
    for (reply, status) in [
        (proxy.admin_get("/").await, 404),
        (proxy.admin_get("/v1/nothing").await, 404),
        (proxy.admin_get("/v1/purge").await, 405),
        (proxy.admin_post("/v1/status", &json!({})).await, 405),
        (proxy.admin_post("/v1/purge", &json!({"all": true, "soft": "yes"})).await, 400),
        (proxy.admin_get("/v1/explain").await, 400),
    ] {
        assert_eq!(reply.status, status, "{reply:?}");
        let told = reply.json();
        assert!(told["error"].is_string() && told["detail"].is_string(), "{told}");
    }
    let ask = RequestFacts::new(proxy.admin, "POST", "/v1/purge").host("localhost");
    assert_eq!(ask.field("Content-Type", "application/json").content("{\"all\":").await.status, 400);
}

#[tokio::test]
async fn status_tells_how_it_fares() {
    let origin = Origin::answering(Answer::cacheable("hello")).await;
    let proxy = Proxy::before(&origin).await;
    proxy.fill("/a").await;
    for _ in 1..4 {
        proxy.get("/a").await;
    }
    proxy.logged(4, "/a").await;
    let status = proxy.admin_get("/v1/status").await.json();
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"), "{status}");
    for name in ["instance", "fleet", "dust", "bodies", "memory", "routes"] {
        assert!(!status[name].is_null(), "no {name} in {status}");
    }
    assert!(status.as_object().unwrap().keys().any(|name| name.starts_with("uptime")), "{status}");
    assert_eq!(
        (&status["dust"]["kind"], &status["dust"]["up"]),
        (&"embedded".into(), &true.into()),
        "{status}"
    );
    assert_eq!(status["dust"]["unsure"], false, "{status}");
    let text = status["routes"].to_string();
    assert!(text.contains("\"all\"") && text.contains("0.75"), "no hit ratio in {text}");
}

#[tokio::test]
async fn config_is_what_is_in_force() {
    let origin = Origin::start().await;
    let proxy = Proxy::before(&origin)
        .server("max_target = \"4KiB\"")
        .route("default_ttl = \"90s\"")
        .more(
            "[[routes]]\nname = \"keyed\"\npath = \"/keyed\"\nupstream = \"https://other.test\"\n\
             request_headers = { set = { authorization = \"hunter2\" } }\n",
        )
        .await;
    let config = proxy.admin_get("/v1/config").await;
    let json = config.json();
    assert_eq!(json["server"]["max_target"], "4KiB");
    assert_eq!(json["server"]["idle_timeout"], "75s", "defaults too");
    assert_eq!(json["routes"][0]["default_ttl"], "90s");
    assert!(!config.text().contains("hunter2") && config.text().contains("***"), "{}", config.text());
}

#[tokio::test]
async fn routes_are_told_in_matching_order() {
    let origin = Origin::start().await;
    let route =
        |name: &str, rest: &str| format!("[[routes]]\nname = \"{name}\"\nupstream = \"origin\"\n{rest}\n");
    let proxy = Proxy::before(&origin)
        .no_route()
        .more(&route("everything", "path = \"/*\""))
        .more(&route("prefix", "host = \"api.test\"\npath = \"/v1/*\""))
        .more(&route("wild", "host = \"*.test\"\npath = \"/v1/x\""))
        .more(&route("exact", "host = \"api.test\"\npath = \"/v1/x\""))
        .more(&route("writes", "host = \"api.test\"\npath = \"/v1/x\"\nmethods = [\"POST\"]"))
        .await;
    let routes = proxy.admin_get("/v1/routes").await.json();
    let list = routes.as_array().or_else(|| routes["routes"].as_array()).expect("a list");
    let names: Vec<_> = list.iter().map(|route| route["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["writes", "exact", "prefix", "wild", "everything"]);
}

#[tokio::test]
async fn flights_are_told_while_they_last() {
    let gate = Gate::shut();
    let origin = Origin::answering(Answer::cacheable("hello").held_by(&gate)).await;
    let proxy = Proxy::before(&origin).await;
    let asked = all((0..3).map(|_| proxy.get("/a").asked())).await;
    proxy.until_followers(2).await;
    let flights = proxy.admin_get("/v1/flights").await.json();
    let list = flights.as_array().or_else(|| flights["flights"].as_array()).expect("a list");
    assert_eq!(list.len(), 1, "{flights}");
    let flight = &list[0];
    assert_eq!((&flight["route"], &flight["role"]), (&"all".into(), &"leader".into()), "{flight}");
    assert_eq!((&flight["phase"], &flight["followers"]), (&"headers".into(), &2.into()), "{flight}");
    for name in ["key", "fence", "holder", "bytes"] {
        assert!(!flight[name].is_null(), "no {name} in {flight}");
    }
    gate.open();
    for asked in asked {
        asked.head().await.expect("an answer").rest().await;
    }
    crate::support::until("the flight to end", async || {
        let flights = proxy.admin_get("/v1/flights").await.json();
        let list = flights.as_array().or_else(|| flights["flights"].as_array()).expect("a list");
        list.is_empty().then_some(())
    })
    .await;
}

#[tokio::test]
async fn explain_asks_nobody_and_changes_nothing() {
    let origin = Origin::answering(Answer::cacheable("hello")).await;
    let proxy = Proxy::before(&origin).await;
    let explain = async || proxy.admin_get("/v1/explain?url=http%3A%2F%2Fapi.test%2Fa%3Fb").await;
    let before = explain().await;
    assert_eq!(before.status, 200, "{before:?}");
    assert_eq!(origin.total(), 0);
    proxy.fill("/a?b").await;
    let (one, two) = (explain().await, explain().await);
    assert_ne!(before.json(), one.json());
    assert!(one.text().contains("http://api.test/a?b"), "{}", one.text());
    assert_eq!(one.json()["outcome"], two.json()["outcome"]);
    let question =
        json!({"url": "http://api.test/a?b", "method": "GET", "headers": [["Authorization", "x"]]});
    let asked = proxy.admin_post("/v1/explain", &question).await;
    assert_eq!(asked.status, 200, "{asked:?}");
    assert!(asked.text().contains("authorization"), "{}", asked.text());
    assert_eq!(origin.total(), 1);
}

#[tokio::test]
async fn the_ports_are_two_rooms() {
    let origin = Origin::answering(Answer::cacheable("the origin's")).await;
    let proxy = Proxy::before(&origin).await;
    // What is asked on the data port is the origin's to answer.
    for path in ["/metrics", "/healthz", "/v1/config"] {
        proxy.get(path).await.assert(200, "the origin's");
    }
    let mut conn = Conn::open(proxy.admin).await;
    conn.send("GET /a HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert_eq!(conn.last_reply().await.expect("an answer").status, 404);
}
