//! The handlers of `/v1/…`.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Query, State};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{AdminState, ExplainRequest, Problem, RecordsRequest};

#[derive(Deserialize)]
pub(super) struct Limit {
    #[serde(default = "hundred")]
    limit: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Records {
    tag: Option<String>,
    prefix: Option<String>,
    #[serde(default = "hundred")]
    limit: usize,
    #[serde(default)]
    cursor: usize,
}

#[derive(Deserialize)]
pub(super) struct Url {
    url: Option<String>,
}

pub(super) async fn status(State(room): State<AdminState>) -> Json<Value> {
    Json(room.desk.status())
}

pub(super) async fn config(State(room): State<AdminState>) -> Json<Value> {
    Json(room.desk.config())
}

pub(super) async fn routes(State(room): State<AdminState>) -> Json<Value> {
    Json(room.desk.routes())
}

pub(super) async fn flights(State(room): State<AdminState>, Query(limit): Query<Limit>) -> Json<Value> {
    Json(room.desk.flights(limit.limit))
}

pub(super) async fn records(State(room): State<AdminState>, Query(wanted): Query<Records>) -> Json<Value> {
    let Records { tag, prefix, limit, cursor } = wanted;
    Json(room.desk.records(RecordsRequest { tag, prefix, limit, cursor }).await)
}

pub(super) async fn explain_url(
    State(room): State<AdminState>,
    Query(url): Query<Url>,
) -> Result<Json<Value>, Problem> {
    let url = url.url.ok_or_else(|| Problem::bad_request("add ?url=… to say which request to explain"))?;
    room.desk.explain(ExplainRequest { url, method: "GET".into(), headers: Vec::new() }).await.map(Json)
}

pub(super) async fn explain(State(room): State<AdminState>, content: Bytes) -> Result<Json<Value>, Problem> {
    let value: Value = parse(&content)?;
    room.desk.explain(question(value)?).await.map(Json)
}

pub(super) async fn drain(State(room): State<AdminState>) -> Json<Value> {
    room.desk.drain();
    Json(json!({ "draining": true }))
}

pub(super) fn parse<T: serde::de::DeserializeOwned>(content: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(content).map_err(|error| Problem::bad_request(format!("the content: {error}")))
}

/// Headers may be an object or a list of pairs.
fn question(mut value: Value) -> Result<ExplainRequest, Problem> {
    if let Some(Value::Object(fields)) = value.get("headers") {
        let pairs = fields.iter().map(|(name, value)| json!([name, value])).collect();
        value["headers"] = Value::Array(pairs);
    }
    serde_json::from_value(value).map_err(|error| Problem::bad_request(format!("the content: {error}")))
}

fn hundred() -> usize {
    100
}
