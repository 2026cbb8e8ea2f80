//! The HTTP surface: upgrades, and requests to entries.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{
    AUTHORIZATION, HeaderValue, ORIGIN, RETRY_AFTER, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, UPGRADE,
};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::socket::{self, MOST_BYTES};
use super::token::Spent;
use super::world::Heard;
use super::{Core, entries};

type Answer = Response<Full<Bytes>>;

/// The longest device name that its column takes.
const MOST_DEVICE: usize = 255;

/// The server went down: connections that are open end without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the server is down")]
struct Down;

/// Serves the requests of one connection, and its WebSocket once it is upgraded.
pub(super) async fn serve<S>(core: Arc<Core>, stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| {
        let core = core.clone();
        async move { if core.world().is_down { Err(Down) } else { Ok(answer(core, request).await) } }
    });
    let http = hyper::server::conn::http1::Builder::new();
    // A client that breaks off is no concern of the server.
    let _ = http.serve_connection(TokioIo::new(stream), service).with_upgrades().await;
}

async fn answer(core: Arc<Core>, request: Request<Incoming>) -> Answer {
    core.thawed().await;
    match request.uri().path() {
        "/ws/sync/websocket" => upgrade(core, request),
        "/healthz" | "/readyz" => said(StatusCode::OK, &json!({ "status": "ok" })),
        path if path.starts_with("/api/stores") => api(&core, request).await,
        _ => said(StatusCode::NOT_FOUND, &json!({ "errors": { "detail": "Not Found" } })),
    }
}

/// A JSON answer.
pub(super) fn said(status: StatusCode, body: &Value) -> Answer {
    let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert("content-type", HeaderValue::from_static("application/json; charset=utf-8"));
    headers.insert("cache-control", HeaderValue::from_static("max-age=0, private, must-revalidate"));
    response
}

fn bare(status: StatusCode) -> Answer {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}

/// The value of a parameter of a query.
pub(super) fn parameter(query: &str, name: &str) -> Option<String> {
    let mut pairs = url::form_urlencoded::parse(query.as_bytes());
    pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

fn upgrade(core: Arc<Core>, mut request: Request<Incoming>) -> Answer {
    let (token, device) = match admitted(&core, &request) {
        Ok(admitted) => admitted,
        Err(status) if status == StatusCode::INTERNAL_SERVER_ERROR => {
            return said(status, &json!({ "errors": { "detail": "Internal Server Error" } }));
        }
        Err(status) => return bare(status),
    };
    let key = request.headers().get(SEC_WEBSOCKET_KEY).map(|key| derive_accept_key(key.as_bytes()));
    let Some(accept) = key.and_then(|key| HeaderValue::from_str(&key).ok()) else {
        return bare(StatusCode::BAD_REQUEST);
    };
    let upgrading = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let Ok(stream) = upgrading.await else { return };
        let config = Some(socket::config());
        let socket = WebSocketStream::from_raw_socket(TokioIo::new(stream), Role::Server, config).await;
        socket::serve(core, socket, token, device).await;
    });
    let mut response = bare(StatusCode::SWITCHING_PROTOCOLS);
    let headers = response.headers_mut();
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert("connection", HeaderValue::from_static("Upgrade"));
    headers.insert("sec-websocket-accept", accept);
    response
}

/// The token and the device of an upgrade. All that is wrong with one looks the same from outside.
fn admitted(core: &Core, request: &Request<Incoming>) -> Result<(usize, String), StatusCode> {
    let mut world = core.world();
    let of_no_client =
        [ORIGIN, SEC_WEBSOCKET_PROTOCOL].into_iter().find(|name| request.headers().contains_key(name));
    if let (Some(script), Some(name)) = (&mut world.script, of_no_client) {
        script.complain(format!("the upgrade has a {name}"));
    }
    if let Some(status) = world.faults.refused_upgrades {
        return Err(StatusCode::from_u16(status).unwrap_or(StatusCode::FORBIDDEN));
    }
    let refused = StatusCode::FORBIDDEN;
    if let Some(origin) = request.headers().get(ORIGIN) {
        let origin = origin.to_str().ok().and_then(|origin| url::Url::parse(origin).ok());
        if origin.and_then(|origin| origin.host_str().map(str::to_owned)).as_ref() != Some(&world.host) {
            return Err(refused);
        }
    }
    let query = request.uri().query().unwrap_or_default();
    let device = parameter(query, "device_id").filter(|device| !device.is_empty()).ok_or(refused)?;
    let token = parameter(query, "token").and_then(|secret| world.token(&secret)).ok_or(refused)?;
    let capver = parameter(query, "capver").and_then(|capver| capver.parse().ok()).unwrap_or(1_i64);
    let speaks = parameter(query, "vsn").is_some_and(|vsn| vsn.starts_with("2.0."));
    if capver < 3 || !speaks {
        return Err(refused);
    }
    if device.chars().count() > MOST_DEVICE {
        return Err(StatusCode::INTERNAL_SERVER_ERROR);
    }
    Ok((token, device))
}

async fn api(core: &Core, request: Request<Incoming>) -> Answer {
    let (head, body) = request.into_parts();
    let Ok(body) = Limited::new(body, MOST_BYTES).collect().await.map(http_body_util::Collected::to_bytes)
    else {
        let detail = json!({ "errors": { "detail": "Request Entity Too Large" } });
        return said(StatusCode::PAYLOAD_TOO_LARGE, &detail);
    };
    let now = core.now();
    let mut world = core.world();
    world.catch_up_late(now);
    let json = if body.is_empty() { Some(Value::Null) } else { serde_json::from_slice(&body).ok() };
    let heard = Heard {
        device: "http".to_owned(),
        topic: head.uri.to_string(),
        event: head.method.to_string(),
        payload: json.clone().unwrap_or(Value::Null),
        at: now,
    };
    world.note(heard, head.method.as_str());
    if let Some(status) = world.faults.refused_requests {
        return bare(StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE));
    }
    let bearer = head.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = bearer.and_then(|text| text.strip_prefix("Bearer ")).and_then(|secret| world.token(secret));
    let Some(token) = token else {
        return said(StatusCode::UNAUTHORIZED, &json!({ "error": "unauthorized" }));
    };
    // The method names the budget: a batch of reads is sent with POST, and spends writes.
    let is_read = matches!(head.method, Method::GET | Method::HEAD);
    let spent = if is_read { world.tokens[token].read(now) } else { world.tokens[token].write(now) };
    let is_limited = !spent.is_allowed || (!is_read && world.faults.rate_limited.takes("http"));
    let mut response = if is_limited {
        let mut response = said(StatusCode::TOO_MANY_REQUESTS, &json!({ "error": "rate_limited" }));
        response.headers_mut().insert(RETRY_AFTER, spent.reset.into());
        response
    } else if let Some(json) = json {
        entries::answer(&mut world, token, &head, &json, now)
    } else {
        entries::invalid("body is not JSON")
    };
    budget(&mut response, spent);
    if head.method == Method::HEAD {
        *response.body_mut() = Full::default();
    }
    response
}

fn budget(response: &mut Answer, spent: Spent) {
    let headers = response.headers_mut();
    headers.insert("x-ratelimit-limit", spent.limit.into());
    headers.insert("x-ratelimit-remaining", spent.remaining.into());
    headers.insert("x-ratelimit-reset", spent.reset.into());
}
