//! The handlers of `/v1/…`.

use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::{Extension, Json};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::guard::{self, Caller};
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
    cursor: u64,
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

pub(super) async fn records(
    State(room): State<AdminState>,
    Extension(caller): Extension<Caller>,
    Query(wanted): Query<Records>,
) -> Result<Json<Value>, Problem> {
    let Records { tag, prefix, limit, cursor } = wanted;
    let within = caller.within(&room.settings).cloned().unwrap_or_default();
    room.desk.records(RecordsRequest { tag, prefix, limit, cursor, within }).await.map(Json)
}

pub(super) async fn explain_url(
    State(room): State<AdminState>,
    Extension(caller): Extension<Caller>,
    Query(url): Query<Url>,
) -> Result<Json<Value>, Problem> {
    let url = url.url.ok_or_else(|| Problem::bad_request("add ?url=… to say which request to explain"))?;
    explained(&room, caller, ExplainRequest { url, method: "GET".into(), headers: Vec::new() }).await
}

pub(super) async fn explain(
    State(room): State<AdminState>,
    Extension(caller): Extension<Caller>,
    content: Bytes,
) -> Result<Json<Value>, Problem> {
    let value: Value = parse(&content)?;
    explained(&room, caller, question(value)?).await
}

/// Explains a request, if the caller may read of its URL.
async fn explained(
    room: &AdminState,
    caller: Caller,
    question: ExplainRequest,
) -> Result<Json<Value>, Problem> {
    if let Some(within) = caller.within(&room.settings)
        && !room.desk.place_of(&question.url).is_some_and(|place| within.has(&place))
    {
        let detail = "this URL lies outside of what the token may read";
        let problem = Problem::new(StatusCode::FORBIDDEN, "forbidden", detail);
        guard::refused(room, Some(caller), "explain", &problem);
        return Err(problem);
    }
    room.desk.explain(question).await.map(Json)
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
