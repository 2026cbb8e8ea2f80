//! Entries over HTTP.

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};

use super::super::{DustServer, Next, Setup, TOKEN, Token};
use super::{Client, NOW, STORE, server};

async fn ask(
    server: &DustServer,
    token: &str,
    method: &str,
    below: &str,
    body: Option<Value>,
) -> (StatusCode, Value) {
    let io = TokioIo::new(server.dial());
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.expect("it is there");
    let driven = tokio::spawn(connection);
    let body = body.map_or_else(Bytes::new, |body| body.to_string().into());
    let request = Request::builder()
        .method(method)
        .uri(format!("/api/stores/{STORE}{below}"))
        .header("authorization", format!("Bearer {token}"))
        .body(Full::new(body))
        .expect("it is a request");
    let response = sender.send_request(request).await.expect("it is answered");
    let status = response.status();
    let body = response.into_body().collect().await.expect("it has an end").to_bytes();
    driven.abort();
    (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
}

fn filled() -> DustServer {
    let server = server();
    for (path, value) in [("c/a", json!("1")), ("c/b", json!("2")), ("d", json!({ "x": { "y": 1 } }))] {
        server.write(STORE, &json!({ "op": "set", "path": path, "value": value })).expect("it is set");
    }
    server
        .write(STORE, &json!({ "op": "lease", "path": "_dust:sf/c/a", "holder": "h" }))
        .expect("it is free");
    server
}

#[tokio::test(start_paused = true)]
async fn entries_are_read_one_by_one_in_batches_and_by_glob() {
    let server = filled();
    let (status, entry) = ask(&server, TOKEN, "GET", "/entries/_dust:sf%2Fc/a", None).await;
    assert_eq!(
        (status, &entry["type"], &entry["value"]["holder"]),
        (StatusCode::OK, &json!("lease"), &json!("h"))
    );
    let (_, subtree) = ask(&server, TOKEN, "GET", "/entries/d", None).await;
    assert_eq!(subtree, json!({ "path": "d", "value": { "x": { "y": 1 } }, "type": "map", "revision": 3 }));
    let paths = json!({ "paths": ["c/a", "d", "none"] });
    let (_, batch) = ask(&server, TOKEN, "POST", "/entries/batch", Some(paths)).await;
    assert_eq!(batch["entries"], json!({ "c/a": { "value": "1", "type": "string", "revision": 1 } }));
    assert_eq!(batch["missing"], json!(["d", "none"]), "a batch has rows, no subtrees");
    let (_, page) = ask(&server, TOKEN, "GET", "/entries?pattern=c/*&limit=1", None).await;
    assert_eq!((&page["items"][0]["path"], &page["next_cursor"]), (&json!("c/a"), &json!("c/a")));
    let (_, page) = ask(&server, TOKEN, "GET", "/entries?pattern=c/*&limit=1&after=c/a", None).await;
    assert_eq!((&page["items"][0]["path"], &page["next_cursor"]), (&json!("c/b"), &Value::Null));
    let (_, keys) = ask(&server, TOKEN, "GET", "/entries?from=c/&to=d&select=keys", None).await;
    assert_eq!(keys["items"], json!(["c/a", "c/b"]));
}

#[tokio::test(start_paused = true)]
async fn a_batch_of_writes_lands_as_a_whole_and_nobody_hears_of_it() {
    let server = filled();
    let mut client = Client::join(&server, "a", 9_999).await;
    client.told().await;
    let stale = json!({ "ops": [
        { "op": "set", "path": "e", "value": 1 }, { "op": "delete", "path": "c/a", "if_match": 7 },
    ] });
    let (status, told) = ask(&server, TOKEN, "POST", "/entries/batch_write", Some(stale)).await;
    assert_eq!((status, &told["op_index"]), (StatusCode::PRECONDITION_FAILED, &json!(1)));
    assert_eq!((server.row(STORE, "e"), server.seq(STORE)), (None, 4));
    let fine = json!({ "ops": [
        { "op": "set", "path": "e", "value": 1 }, { "op": "delete", "path": "c/a", "if_match": 1 },
    ] });
    assert_eq!(ask(&server, TOKEN, "POST", "/entries/batch_write", Some(fine)).await.0, StatusCode::OK);
    assert_eq!((server.row(STORE, "e"), server.row(STORE, "c/a")), (Some((json!(1), 5)), None));
    assert!(client.told().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_token_reads_and_writes_what_its_scopes_and_its_budget_let_it() {
    let poor = Token::new("dust_tok_poor", "acme").limited(1, 1);
    let reader = Token::new("dust_tok_reader", "acme").read_only();
    let other = Token::new("dust_tok_other", "acme").for_stores(&["acme/other"]);
    let server =
        DustServer::in_memory(Setup::cranked(NOW).store(STORE).token(poor).token(reader).token(other));
    let status = async |token: &str, method: &str, body: Option<Value>| {
        ask(&server, token, method, "/entries/k", body).await.0
    };
    assert_eq!(status("dust_tok_unknown", "GET", None).await, StatusCode::UNAUTHORIZED);
    assert_eq!(status("dust_tok_other", "GET", None).await, StatusCode::FORBIDDEN);
    assert_eq!(status("dust_tok_reader", "PUT", Some(json!(1))).await, StatusCode::FORBIDDEN);
    assert_eq!(status("dust_tok_reader", "GET", None).await, StatusCode::NOT_FOUND);
    assert_eq!(status("dust_tok_poor", "PUT", Some(json!(1))).await, StatusCode::OK);
    assert_eq!(status("dust_tok_poor", "PUT", Some(json!(1))).await, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(
        status("dust_tok_poor", "GET", None).await,
        StatusCode::OK,
        "reads have a budget of their own"
    );
    server.faults(|faults| faults.rate_limited = Next::all());
    assert_eq!(status(TOKEN, "PUT", Some(json!(1))).await, StatusCode::TOO_MANY_REQUESTS);
    server.faults(|faults| faults.refused_requests = Some(503));
    assert_eq!(status(TOKEN, "GET", None).await, StatusCode::SERVICE_UNAVAILABLE);
}
