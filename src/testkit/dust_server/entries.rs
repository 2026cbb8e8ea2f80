//! Requests to entries over HTTP. Their writes are silent: no client that has joined hears of them.

use bytes::Bytes;
use http::header::{ETAG, HeaderValue, IF_MATCH, IF_NONE_MATCH};
use http::request::Parts;
use http::{Method, Response, StatusCode};
use http_body_util::Full;
use serde_json::{Map, Value, json};

use super::http::{parameter, said};
use super::ops::{Done, Origin};
use super::paths;
use super::rows::{self, Row};
use super::store::Store;
use super::world::World;
use crate::clock::WallMs;

type Answer = Response<Full<Bytes>>;

const MOST_ITEMS: usize = 1000;

pub(super) fn invalid(detail: &str) -> Answer {
    said(StatusCode::BAD_REQUEST, &json!({ "error": "invalid_params", "detail": detail }))
}

fn missing() -> Answer {
    said(StatusCode::NOT_FOUND, &json!({ "error": "not_found" }))
}

/// The client that asks, and when.
struct Asker {
    device: String,
    request_id: String,
    now: WallMs,
}

/// Answers a request below `/api/stores`.
pub(super) fn answer(world: &mut World, token: usize, head: &Parts, body: &Value, now: WallMs) -> Answer {
    let below = head.uri.path().strip_prefix("/api/stores").unwrap_or_default().trim_start_matches('/');
    if below.is_empty() {
        return listed(world, token);
    }
    let mut parts = below.splitn(4, '/');
    let (org, name, what) = (parts.next(), parts.next(), parts.next());
    let (Some(org), Some(name), Some(what)) = (org, name, what) else { return missing() };
    let Some(store) = world.store(&format!("{org}/{name}")) else { return missing() };
    let is_read = matches!(head.method, Method::GET | Method::HEAD) || parts.clone().next() == Some("batch");
    let scope = match what {
        "log" => "audit:read",
        _ if is_read => "entries:read",
        _ => "entries:write",
    };
    if world.tokens[token].may(scope, &world.stores[store].name).is_err() {
        return said(StatusCode::FORBIDDEN, &json!({ "error": "forbidden" }));
    }
    let given = head.headers.get("x-request-id").and_then(|id| id.to_str().ok()).map(str::to_owned);
    let request_id = given.unwrap_or_else(|| world.dice.name());
    let asker = Asker { device: format!("http:{token}"), request_id, now };
    let query = head.uri.query().unwrap_or_default();
    let rest = parts.next().map(decoded);
    let store = &mut world.stores[store];
    match (head.method.as_str(), what, rest.as_deref()) {
        ("GET" | "HEAD", "entries", None) => list(store, query),
        ("GET" | "HEAD", "entries", Some(path)) => read(store, path),
        ("GET", "log", None) => log(store),
        ("GET", "subscribe" | "watch", _) => {
            said(StatusCode::UPGRADE_REQUIRED, &json!({ "error": "upgrade_required" }))
        }
        ("POST", "entries", Some("batch")) => batch(store, body),
        ("POST", "entries", Some("batch_write")) => batch_write(store, body, &asker),
        ("POST", "entries", None) => match body.get("path").and_then(Value::as_str) {
            Some(path) => put(store, path, body.get("value"), body, &asker),
            None => invalid("path"),
        },
        ("PUT", "entries", Some(path)) => match conditions(head) {
            Some(conditions) => put(store, path, Some(body), &conditions, &asker),
            None => invalid("If-Match"),
        },
        ("DELETE", "entries", Some(path)) => match conditions(head) {
            Some(conditions) => written(store, "delete", path, Value::Null, &conditions, &asker),
            None => invalid("If-Match"),
        },
        ("DELETE", "entries", None) => match body.get("path").and_then(Value::as_str) {
            Some(path) => written(store, "delete", path, Value::Null, body, &asker),
            None => invalid("path"),
        },
        _ => missing(),
    }
}

fn decoded(path: &str) -> String {
    // A path is no form: a plus is a plus.
    let guarded = format!("p={}", path.replace('+', "%2B").replace('&', "%26"));
    parameter(&guarded, "p").unwrap_or_default()
}

/// The conditions of a request's headers. The server takes numbers without quotes, and nothing else.
fn conditions(head: &Parts) -> Option<Value> {
    let mut conditions = json!({});
    if let Some(revision) = head.headers.get(IF_MATCH) {
        conditions["if_match"] = revision.to_str().ok()?.parse::<u64>().ok()?.into();
    }
    if head.headers.get(IF_NONE_MATCH).is_some_and(|value| value == "*") {
        conditions["if_absent"] = true.into();
    }
    Some(conditions)
}

fn listed(world: &World, token: usize) -> Answer {
    let seen = world.stores.iter().filter(|store| world.tokens[token].reaches(&store.name));
    let shown: Vec<_> = seen
        .map(|store| {
            let name = store.name.split_once('/').map_or("", |(_, name)| name);
            let status = if store.is_archived { "archived" } else { "active" };
            json!({
                "id": store.id, "name": name, "full_name": store.name, "status": status,
                "expires_at": null,
            })
        })
        .collect();
    let org = world.stores.first().and_then(|store| store.name.split_once('/')).map(|(org, _)| org);
    said(StatusCode::OK, &json!({ "org": org, "stores": shown }))
}

/// The row as an HTTP read shows it: typed values as their text.
fn shown(row: &Row) -> Value {
    let typed = row.value.get("_typed").filter(|_| row.kind == "map");
    json!({ "value": typed.unwrap_or(&row.value), "type": row.kind, "revision": row.seq })
}

fn read(store: &Store, path: &str) -> Answer {
    let found = match store.rows.get(path) {
        Some(row) => Some(shown(row)),
        None => rows::assembled(path, store.rows.iter())
            .map(|(value, revision)| json!({ "value": value, "type": "map", "revision": revision })),
    };
    let Some(mut found) = found else { return missing() };
    found["path"] = path.into();
    let etag = format!("\"{}\"", found["revision"]);
    let mut response = said(StatusCode::OK, &found);
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        response.headers_mut().insert(ETAG, etag);
    }
    response
}

fn list(store: &Store, query: &str) -> Answer {
    let asked = |name: &str| parameter(query, name);
    let glob = asked("pattern").unwrap_or_else(|| "**".to_owned());
    let limit =
        asked("limit").map_or(Some(50), |limit| limit.parse().ok()).filter(|n| (1..=MOST_ITEMS).contains(n));
    let Some(limit) = limit else { return invalid("limit") };
    let (from, to, after) = (asked("from"), asked("to"), asked("after"));
    let in_range = |path: &String| {
        from.as_ref().is_none_or(|from| path >= from)
            && to.as_ref().is_none_or(|to| path < to)
            && paths::matches(&glob, path)
    };
    let is_descending = asked("order").as_deref() == Some("desc");
    let beyond = |path: &String| {
        after.as_ref().is_none_or(|after| if is_descending { path < after } else { path > after })
    };
    let mut rows: Vec<_> = store.rows.iter().filter(|(path, _)| in_range(path) && beyond(path)).collect();
    if is_descending {
        rows.reverse();
    }
    let has_more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| has_more).map(|(path, _)| (*path).clone());
    let only_keys = asked("select").as_deref() == Some("keys");
    let items = rows.into_iter().map(|(path, row)| {
        if only_keys {
            return Value::from(path.as_str());
        }
        let mut item = shown(row);
        item["path"] = path.as_str().into();
        item
    });
    let items: Vec<_> = items.collect();
    said(StatusCode::OK, &json!({ "items": items, "next_cursor": next }))
}

fn batch(store: &Store, body: &Value) -> Answer {
    let Some(paths) = body.get("paths").and_then(Value::as_array).filter(|paths| paths.len() <= MOST_ITEMS)
    else {
        return invalid("paths");
    };
    let (mut entries, mut missing) = (Map::new(), Vec::new());
    for path in paths.iter().filter_map(Value::as_str) {
        match store.rows.get(path) {
            Some(row) => {
                entries.insert(path.to_owned(), shown(row));
            }
            None => missing.push(path),
        }
    }
    said(StatusCode::OK, &json!({ "entries": entries, "missing": missing }))
}

fn put(store: &mut Store, path: &str, value: Option<&Value>, conditions: &Value, asker: &Asker) -> Answer {
    let Some(value) = value.filter(|value| value.as_object().is_none_or(|fields| !fields.is_empty())) else {
        return invalid("value");
    };
    written(store, "set", path, value.clone(), conditions, asker)
}

fn request(op: &str, path: &str, value: Value, conditions: &Value, asker: &Asker) -> Map<String, Value> {
    let mut request = Map::new();
    request.insert("op".to_owned(), op.into());
    request.insert("path".to_owned(), path.into());
    request.insert("value".to_owned(), value);
    request.insert("client_op_id".to_owned(), asker.request_id.as_str().into());
    for name in ["if_match", "if_absent"] {
        if let Some(condition) = conditions.get(name) {
            request.insert(name.to_owned(), condition.clone());
        }
    }
    request
}

/// Writes beside the plan's limit, which HTTP writes do not know.
fn unlimited(store: &mut Store, request: &Map<String, Value>, asker: &Asker) -> Done {
    let limit = store.most_keys.take();
    let done = super::ops::apply(store, request, Origin { device: &asker.device, now: asker.now });
    store.most_keys = limit;
    done
}

fn written(
    store: &mut Store,
    op: &str,
    path: &str,
    value: Value,
    conditions: &Value,
    asker: &Asker,
) -> Answer {
    let request = request(op, path, value, conditions, asker);
    match unlimited(store, &request, asker) {
        Done::Committed { response, .. } | Done::Nothing { response } => {
            let seq = &response["store_seq"];
            said(StatusCode::OK, &json!({ "revision": seq, "store_seq": seq }))
        }
        Done::Refused(refusal) if matches!(&*refusal.reason, "conflict" | "exists") => {
            let current = store.rows.get(path).map(|row| row.seq);
            let body = json!({ "error": refusal.reason, "current_revision": current });
            said(StatusCode::PRECONDITION_FAILED, &body)
        }
        Done::Refused(refusal) => invalid(&refusal.reason),
        Done::Crashed => said(StatusCode::INTERNAL_SERVER_ERROR, &json!({})),
    }
}

/// All of the operations or none, each under a number of its own.
fn batch_write(store: &mut Store, body: &Value, asker: &Asker) -> Answer {
    let ops = body.get("ops").and_then(Value::as_array).filter(|ops| ops.len() <= MOST_ITEMS);
    let Some(ops) = ops else { return invalid("ops") };
    let before = (store.rows.clone(), store.seq, store.log.len());
    let mut seqs = Vec::new();
    for (index, op) in ops.iter().enumerate() {
        let text = |name: &str| op.get(name).and_then(Value::as_str).unwrap_or_default();
        let value = op.get("value").cloned().unwrap_or(Value::Null);
        let conditions = json!({ "if_match": op.get("if_match") });
        let request = request(text("op"), text("path"), value, &conditions, asker);
        let done = match text("op") {
            "set" | "delete" => unlimited(store, &request, asker),
            _ => Done::Crashed,
        };
        let refusal = match done {
            Done::Committed { response, .. } => {
                seqs.push(response["store_seq"].clone());
                continue;
            }
            Done::Refused(refusal) => refusal.reason,
            Done::Nothing { .. } | Done::Crashed => "invalid_params".into(),
        };
        let log = before.2;
        (store.rows, store.seq) = (before.0, before.1);
        store.log.truncate(log);
        let current = store.rows.get(text("path")).map(|row| row.seq);
        let body = json!({
            "error": refusal, "op_index": index, "path": text("path"), "current_revision": current,
        });
        let status =
            if refusal == "conflict" { StatusCode::PRECONDITION_FAILED } else { StatusCode::BAD_REQUEST };
        return said(status, &body);
    }
    said(StatusCode::OK, &json!({ "store_seq": store.seq, "revisions": seqs }))
}

fn log(store: &Store) -> Answer {
    let ops: Vec<_> = store
        .log
        .iter()
        .rev()
        .take(50)
        .map(|op| {
            let value = if op.value.is_null() { Value::Null } else { rows::wrapped(&op.value) };
            json!({
                "store_seq": op.seq, "op": op.name, "path": op.path, "value": value,
                "device_id": op.device, "inserted_at": super::dates::iso(op.at),
            })
        })
        .collect();
    let total = store.log.len();
    let pages = json!({ "limit": 50, "page": 1, "total": total, "total_pages": total.div_ceil(50) });
    said(StatusCode::OK, &json!({ "ops": ops, "pagination": pages }))
}
