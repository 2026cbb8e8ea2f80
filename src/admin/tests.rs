use std::sync::Mutex;

use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::json;

use futures_util::StreamExt as _;

use super::*;
use crate::secret::Secret;

#[derive(Default)]
struct Fake {
    purged: Mutex<Vec<PurgeRequest>>,
    refused: Mutex<Vec<String>>,
    /// Whether a purge waits to go on.
    slow: bool,
    go_on: tokio::sync::Notify,
}

#[async_trait]
impl AdminBackend for Fake {
    fn readiness(&self) -> Readiness {
        Readiness::Ready(vec!["dust"])
    }
    fn metrics(&self) -> String {
        "m 1\n".into()
    }
    fn status(&self) -> Value {
        json!({})
    }
    fn config(&self) -> Value {
        json!({})
    }
    fn routes(&self) -> Value {
        json!([])
    }
    fn flights(&self, limit: usize) -> Value {
        json!(limit)
    }
    async fn records(&self, wanted: RecordsRequest) -> Result<Value, Problem> {
        Ok(json!([wanted.tag, wanted.limit, wanted.cursor, wanted.within.hosts]))
    }
    async fn explain(&self, question: ExplainRequest) -> Result<Value, Problem> {
        assert_ne!(question.url, "http://h/panic", "a mistake of the desk's");
        Ok(json!(question.headers))
    }
    fn place_of(&self, url: &str) -> Option<Place> {
        let host = url.strip_prefix("http://")?.split('/').next()?.to_owned();
        Some(Place { host, route: None })
    }
    fn refused(&self, by: &str, what: &str, _: &str) {
        self.refused.lock().expect("no panic holds it").push(format!("{by}: {what}"));
    }
    fn check_purge(&self, order: &PurgeRequest) -> Result<(), Problem> {
        let wrong = |one: &Purge| matches!(one, Purge::Tag { tag, .. } if tag.is_empty());
        if order.what.iter().any(wrong) { Err(Problem::bad_request("no tag")) } else { Ok(()) }
    }
    async fn purge(&self, order: PurgeRequest) -> Result<Value, Problem> {
        if self.slow {
            self.go_on.notified().await;
        }
        self.purged.lock().expect("no panic holds it").push(order);
        Ok(json!({}))
    }
    fn warm(&self, asked: WarmRequest) -> Result<Warming, Problem> {
        Ok(futures_util::stream::iter(asked.urls).map(Value::from).boxed())
    }
    fn drain(&self) {}
    fn wall_ms(&self) -> WallMs {
        0
    }
}

async fn ask(
    settings: Settings,
    method: &str,
    path: &str,
    fields: &[(&str, &str)],
    content: &str,
) -> (StatusCode, String) {
    use tower_service::Service as _;
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let request = request.body(axum::body::Body::from(content.to_owned())).expect("a request");
    let mut router = router(Arc::new(Fake::default()), settings, &Purges::default());
    let response = router.call(request).await.expect("a router never fails");
    let status = response.status();
    let content = response.into_body().collect().await.expect("a body in memory").to_bytes();
    (status, String::from_utf8_lossy(&content).into_owned())
}

const LOCAL: (&str, &str) = ("host", "127.0.0.1:8081");
const JSON: (&str, &str) = ("content-type", "application/json; charset=utf-8");

#[tokio::test]
async fn a_post_that_a_web_page_could_send_is_refused() {
    let open = Settings::default;
    let (status, _) = ask(open(), "POST", "/v1/purge", &[LOCAL], r#"{"all":true}"#).await;
    assert_eq!(status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let (status, _) =
        ask(open(), "POST", "/v1/purge", &[("host", "evil.example"), JSON], r#"{"all":true}"#).await;
    assert_eq!(status, StatusCode::MISDIRECTED_REQUEST);
    let (status, _) = ask(open(), "POST", "/v1/purge", &[LOCAL, JSON], r#"{"all":true}"#).await;
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test]
async fn with_a_token_everything_under_v1_asks_for_it_and_health_stays_open() {
    let locked = || Settings { token: Some(Secret::here("s3cret")), ..Settings::default() };
    let (status, body) = ask(locked(), "GET", "/v1/status", &[LOCAL], "").await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert!(body.contains("\"error\":\"unauthorized\""), "{body}");
    let bearer = ("authorization", "Bearer s3cret");
    let (status, _) = ask(locked(), "GET", "/v1/status", &[("host", "any.example"), bearer], "").await;
    assert_eq!(status, StatusCode::OK);
    for (path, wanted) in [("/healthz", 200), ("/readyz", 200), ("/metrics", 200), ("/v1/nothing", 401)] {
        assert_eq!(ask(locked(), "GET", path, &[LOCAL], "").await.0, wanted, "{path}");
    }
    let both = Settings { metrics_token: true, ..locked() };
    assert_eq!(ask(both, "GET", "/metrics", &[LOCAL], "").await.0, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_purge_names_what_is_to_go() {
    for (content, wanted) in [
        (r#"{"url":"http://h/a"}"#, 200),
        (r#"{"all":true,"soft":true}"#, 200),
        (r#"{"all":false}"#, 400),
        (r"{}", 400),
        (r#"{"url":"http://h/a","all":true}"#, 400),
        (r#"{"tag":"x"}"#, 200),
        (
            r#"{"tag":["x","y"],"within":"h","prefix":"http://h/a/","host":"h","route":["r"],"dry_run":true}"#,
            200,
        ),
        (r#"{"within":"h"}"#, 400),
        (r#"{"tag":[]}"#, 400),
        (r#"{"tag":7}"#, 400),
        (r#"{"surprise":1}"#, 400),
        ("not json", 400),
    ] {
        assert_eq!(
            ask(Settings::default(), "POST", "/v1/purge", &[LOCAL, JSON], content).await.0,
            wanted,
            "{content}"
        );
    }
}

#[tokio::test]
async fn what_is_asked_is_passed_on() {
    let (_, body) = ask(Settings::default(), "GET", "/v1/flights?limit=7", &[LOCAL], "").await;
    assert_eq!(body, "7");
    let (_, body) = ask(Settings::default(), "GET", "/v1/records?tag=a&cursor=7", &[LOCAL], "").await;
    assert_eq!(body, r#"["a",100,7,[]]"#);
    let content = r#"{"url":"http://h/a","headers":{"accept":"x"}}"#;
    let (_, body) = ask(Settings::default(), "POST", "/v1/explain", &[LOCAL, JSON], content).await;
    assert_eq!(body, r#"[["accept","x"]]"#);
    let (status, body) = ask(Settings::default(), "GET", "/readyz", &[LOCAL], "").await;
    assert_eq!((status, body.as_str()), (StatusCode::OK, r#"{"ready":true,"degraded":["dust"]}"#));
}

#[tokio::test]
async fn every_error_is_told_in_one_form() {
    let long = format!("{{\"url\":\"{}\"}}", "x".repeat(MAX_CONTENT));
    let locked =
        || Settings { token: Some(Secret::here("s3cret")), metrics_token: true, ..Settings::default() };
    for (settings, method, path, fields, content, wanted) in [
        (locked(), "GET", "/metrics", &[LOCAL][..], "", (401, "unauthorized")),
        (locked(), "GET", "/v1/status", &[LOCAL], "", (401, "unauthorized")),
        (Settings::default(), "GET", "/nothing", &[LOCAL], "", (404, "not_found")),
        (Settings::default(), "GET", "/v1/nothing", &[LOCAL], "", (404, "not_found")),
        (Settings::default(), "GET", "/v1/status", &[("host", "evil.example")], "", (421, "misdirected")),
        (Settings::default(), "POST", "/healthz", &[LOCAL], "", (405, "method_not_allowed")),
        (Settings::default(), "GET", "/v1/purge", &[LOCAL], "", (405, "method_not_allowed")),
        (Settings::default(), "GET", "/v1/flights?limit=ten", &[LOCAL], "", (400, "bad_request")),
        (Settings::default(), "GET", "/v1/flights?limit=-1", &[LOCAL], "", (400, "bad_request")),
        (Settings::default(), "GET", "/v1/explain?url=a&url=b", &[LOCAL], "", (400, "bad_request")),
        (Settings::default(), "GET", "/v1/explain", &[LOCAL], "", (400, "bad_request")),
        (Settings::default(), "GET", "/v1/explain?url=http://h/panic", &[LOCAL], "", (500, "internal")),
        (Settings::default(), "POST", "/v1/purge", &[LOCAL], "{}", (415, "unsupported_media_type")),
        (Settings::default(), "POST", "/v1/purge", &[LOCAL, JSON], "{\"all\":", (400, "bad_request")),
        (Settings::default(), "POST", "/v1/purge", &[LOCAL, JSON], "[1]", (400, "bad_request")),
        (Settings::default(), "POST", "/v1/explain", &[LOCAL, JSON], "{\"url\":1}", (400, "bad_request")),
        (Settings::default(), "POST", "/v1/purge", &[LOCAL, JSON], &long, (413, "too_large")),
    ] {
        let (status, body) = ask(settings, method, path, fields, content).await;
        let told: Value = serde_json::from_str(&body).unwrap_or_else(|_| panic!("{method} {path}: {body}"));
        assert_eq!((status.as_u16(), told["error"].as_str().expect("a word")), wanted, "{method} {path}");
        assert!(told["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{method} {path}: {body}");
    }
}

#[tokio::test]
async fn which_methods_there_are_is_said_with_the_refusal() {
    use tower_service::Service as _;
    let mut router = router(Arc::new(Fake::default()), Settings::default(), &Purges::default());
    let request = Request::post("/readyz").body(axum::body::Body::empty()).expect("a request");
    let response = router.call(request).await.expect("a router never fails");
    assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(response.headers()["allow"], "GET,HEAD");
    assert_eq!(response.headers()["cache-control"], "no-store");
}

fn with_tokens() -> Settings {
    let token = |name: &str, may: &[Right], within: Where, rate: Option<&str>| Token {
        name: name.into(),
        token: Secret::here(name),
        may: may.to_vec(),
        within,
        purge_rate: rate.map(|rate| rate.parse().expect("a rate")),
    };
    let hosts = crate::units::List(vec!["a.test".to_owned()]);
    let at = Where { hosts, ..Where::default() };
    Settings {
        token: Some(Secret::here("root")),
        tokens: vec![
            token("reader", &[Right::Read], Where::default(), None),
            token("cms", &[Right::Purge], at.clone(), Some("2/m")),
            token("tenant", &[Right::Read, Right::Purge], at.clone(), None),
            token("ops", &[Right::Read, Right::Drain], Where::default(), None),
        ],
        metrics_token: true,
        ..Settings::default()
    }
}

#[tokio::test]
async fn a_token_does_what_it_may_and_nothing_else() {
    let host = r#"{"host":"a.test"}"#;
    for (token, method, path, content, wanted) in [
        ("root", "POST", "/v1/purge", r#"{"all":true}"#, 200),
        ("root", "POST", "/v1/drain", "", 200),
        ("reader", "GET", "/v1/status", "", 200),
        ("reader", "GET", "/metrics", "", 200),
        ("reader", "POST", "/v1/purge", host, 403),
        ("reader", "POST", "/v1/drain", "", 403),
        ("cms", "GET", "/v1/status", "", 403),
        ("cms", "GET", "/metrics", "", 403),
        ("cms", "POST", "/v1/purge", host, 200),
        ("cms", "POST", "/v1/purge", r#"{"tag":"menu"}"#, 200),
        ("cms", "POST", "/v1/purge", r#"{"all":true}"#, 403),
        ("cms", "POST", "/v1/purge", r#"{"host":["a.test","b.test"]}"#, 403),
        ("tenant", "GET", "/v1/records", "", 200),
        ("tenant", "GET", "/v1/explain?url=http://a.test/x", "", 200),
        ("tenant", "POST", "/v1/explain", r#"{"url":"http://a.test/x"}"#, 200),
        ("tenant", "GET", "/v1/explain?url=http://b.test/x", "", 403),
        ("tenant", "POST", "/v1/explain", r#"{"url":"http://b.test/x"}"#, 403),
        ("tenant", "GET", "/v1/explain?url=nonsense", "", 403),
        ("tenant", "GET", "/v1/status", "", 403),
        ("tenant", "GET", "/v1/config", "", 403),
        ("tenant", "GET", "/v1/routes", "", 403),
        ("tenant", "GET", "/v1/flights", "", 403),
        ("tenant", "GET", "/metrics", "", 403),
        ("ops", "POST", "/v1/drain", "", 200),
        ("ops", "POST", "/v1/purge", host, 403),
        ("nobody", "GET", "/v1/status", "", 401),
    ] {
        let bearer = format!("Bearer {token}");
        let fields = [LOCAL, JSON, ("authorization", bearer.as_str())];
        let (status, body) = ask(with_tokens(), method, path, &fields, content).await;
        assert_eq!(status.as_u16(), wanted, "{token} {method} {path} {content}: {body}");
    }
}

#[tokio::test]
async fn a_token_is_told_only_of_records_where_it_may_read() {
    for (token, wanted) in [("tenant", r#"[null,100,0,["a.test"]]"#), ("reader", "[null,100,0,[]]")] {
        let bearer = format!("Bearer {token}");
        let (_, body) =
            ask(with_tokens(), "GET", "/v1/records", &[LOCAL, ("authorization", &bearer)], "").await;
        assert_eq!(body, wanted);
    }
}

#[tokio::test]
async fn the_log_says_what_a_token_was_refused() {
    use tower_service::Service as _;
    let desk = Arc::new(Fake::default());
    let mut router = router(desk.clone(), with_tokens(), &Purges::default());
    for (token, method, path, content) in [
        ("cms", "GET", "/v1/status", ""),
        ("cms", "POST", "/v1/purge", r#"{"url":["http://a.test/x","http://b.test/x?secret"]}"#),
        ("tenant", "GET", "/v1/explain?url=http://b.test/x", ""),
        ("nobody", "GET", "/v1/status", ""),
        ("cms", "POST", "/v1/purge", r#"{"url":"http://a.test/x"}"#),
    ] {
        let request = Request::builder().method(method).uri(path).header(JSON.0, JSON.1);
        let request = request.header("authorization", format!("Bearer {token}"));
        let request = request.body(axum::body::Body::from(content)).expect("a request");
        router.call(request).await.expect("a router never fails");
    }
    let refused = desk.refused.lock().expect("no panic holds it");
    assert_eq!(*refused, ["cms: GET /v1/status", "cms: http://a.test/x http://b.test/x", "tenant: explain"]);
}

#[tokio::test]
async fn a_purge_goes_on_when_its_client_leaves() {
    use tower_service::Service as _;
    let desk = Arc::new(Fake { slow: true, ..Fake::default() });
    let mut router = router(desk.clone(), Settings::default(), &Purges::default());
    let request = Request::post("/v1/purge").header(JSON.0, JSON.1).header(LOCAL.0, LOCAL.1);
    let request = request.body(axum::body::Body::from(r#"{"all":true}"#)).expect("a request");
    let mut answer = Box::pin(router.call(request));
    // Begun, and left.
    for _ in 0..8 {
        assert!(futures_util::poll!(&mut answer).is_pending());
        tokio::task::yield_now().await;
    }
    drop(answer);
    desk.go_on.notify_one();
    for _ in 0..8 {
        tokio::task::yield_now().await;
    }
    assert_eq!(desk.purged.lock().expect("no panic holds it").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_takes_nothing_of_the_rate_and_what_is_named_twice_counts_once() {
    use tower_service::Service as _;
    let desk = Arc::new(Fake::default());
    let mut router = router(desk.clone(), with_tokens(), &Purges::default());
    let many: Vec<String> = (0..1001).map(|n| n.to_string()).collect();
    let mut statuses = Vec::new();
    for tags in [json!(many), json!(["a", ""]), json!([""]), json!(["a", "a", "b", "a"]), json!("c")] {
        let request = Request::post("/v1/purge").header(JSON.0, JSON.1).header("authorization", "Bearer cms");
        let body = axum::body::Body::from(json!({ "tag": tags }).to_string());
        let response =
            router.call(request.body(body).expect("a request")).await.expect("a router never fails");
        statuses.push(response.status().as_u16());
    }
    assert_eq!(statuses, [400, 400, 400, 200, 429], "two a minute");
    assert_eq!(desk.purged.lock().expect("no panic holds it")[0].what.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_token_purges_no_faster_than_it_may() {
    use tower_service::Service as _;
    let mut router = router(Arc::new(Fake::default()), with_tokens(), &Purges::default());
    let mut statuses = Vec::new();
    for key in ["", "", "", "again", "again"] {
        let mut request =
            Request::post("/v1/purge").header(JSON.0, JSON.1).header("authorization", "Bearer cms");
        if !key.is_empty() {
            tokio::time::advance(std::time::Duration::from_secs(31)).await;
            request = request.header("idempotency-key", key);
        }
        let body = axum::body::Body::from(r#"{"tag":"menu"}"#);
        let response =
            router.call(request.body(body).expect("a request")).await.expect("a router never fails");
        statuses.push((response.status().as_u16(), response.headers().contains_key("retry-after")));
    }
    assert_eq!(statuses, [(200, false), (200, false), (429, true), (200, false), (200, false)]);
}
