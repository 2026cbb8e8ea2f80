//! Answers of the operator's port.

use std::panic::AssertUnwindSafe;

use axum::Json;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt as _;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, StatusCode};
use serde_json::json;

use super::{AdminState, Readiness, Right, guard};

/// An error answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Status.
    pub status: StatusCode,
    /// One word for its kind.
    pub error: &'static str,
    /// One sentence on its cause.
    pub detail: String,
    /// When to try again, in seconds.
    pub retry_after: Option<u64>,
}

impl Problem {
    /// The request is wrong.
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", detail)
    }

    /// The store is unavailable: nothing was done.
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "store_unavailable", detail)
    }

    /// As many lists of URLs are warmed as may be at a time.
    pub fn too_many_warms(most: usize) -> Self {
        let detail = format!("{most} lists are being warmed already");
        let problem = Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_warms", detail);
        Self { retry_after: Some(10), ..problem }
    }

    pub(super) fn new(status: StatusCode, error: &'static str, detail: impl Into<String>) -> Self {
        Self { status, error, detail: detail.into(), retry_after: None }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = Json(json!({ "error": self.error, "detail": self.detail }));
        let mut response = (self.status, [(CACHE_CONTROL, "no-store")], body).into_response();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(RETRY_AFTER, seconds.into());
        }
        response
    }
}

/// The longest text of axum's own errors that is passed on, in bytes.
const MAX_DETAIL: usize = 4096;

/// Gives every error one form: of a handler, an extractor, or a panic.
pub(super) async fn in_one_form(request: Request, next: Next) -> Response {
    // Nothing of the request outlives it, so no half-made change is seen later.
    let Ok(response) = AssertUnwindSafe(next.run(request)).catch_unwind().await else {
        let detail = "this answer could not be made; the log of the process says why";
        return Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail).into_response();
    };
    let status = response.status();
    let is_json = |value: &http::HeaderValue| value.as_bytes().starts_with(b"application/json");
    if !(status.is_client_error() || status.is_server_error())
        || response.headers().get(CONTENT_TYPE).is_some_and(is_json)
    {
        return response;
    }
    let (parts, body) = response.into_parts();
    let mut problem = told(status, body).await.into_response();
    // `Allow` names the methods that there are (RFC 9110 §15.5.6).
    if let Some(allow) = parts.headers.get(ALLOW) {
        problem.headers_mut().insert(ALLOW, allow.clone());
    }
    problem
}

async fn told(status: StatusCode, body: Body) -> Problem {
    let text = to_bytes(body, MAX_DETAIL).await.unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let error = match status {
        StatusCode::BAD_REQUEST => "bad_request",
        StatusCode::PAYLOAD_TOO_LARGE => "too_large",
        StatusCode::UNSUPPORTED_MEDIA_TYPE => "unsupported_media_type",
        status if status.is_client_error() => "refused",
        _ => "internal",
    };
    let reason = status.canonical_reason().unwrap_or("it is refused");
    Problem::new(status, error, if text.trim().is_empty() { reason } else { text.trim() })
}

pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

pub(super) async fn readyz(State(room): State<AdminState>) -> Response {
    match room.desk.readiness() {
        Readiness::Ready(degraded) => Json(json!({ "ready": true, "degraded": degraded })).into_response(),
        Readiness::NotReady(reason) => {
            let body = Json(json!({ "ready": false, "reason": reason }));
            (StatusCode::SERVICE_UNAVAILABLE, body).into_response()
        }
    }
}

pub(super) async fn metrics(State(room): State<AdminState>, headers: HeaderMap) -> Response {
    if room.settings.metrics_token
        && let Err(problem) = guard::caller_with(&room.settings, &headers, Right::Read)
            .and_then(|caller| guard::reads_all(&room.settings, caller))
    {
        return problem.into_response();
    }
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], room.desk.metrics()).into_response()
}

pub(super) async fn not_found() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "not_found", "no such endpoint")
}

pub(super) async fn wrong_method() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "not with this method")
}
