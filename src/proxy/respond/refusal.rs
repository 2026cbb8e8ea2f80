//! The error responses of this proxy. They are JSON and show no internals.

use http::header::{CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};

use crate::proxy::cause::Cause;
use crate::proxy::request::CacheRequest;
use crate::proxy::respond::body::{ReplyBody, Source, finish};
use crate::telemetry::labels::Cache;

/// Allow of a 405 or OPTIONS without a list of the route: common methods. Others pass too, except for a few.
pub(crate) const ALLOWED: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// An error response of this proxy to a request that has a route.
pub(crate) fn refuse(
    mut request: CacheRequest,
    cause: Cause,
    retry_after: Option<u64>,
) -> Response<ReplyBody> {
    if request.ticket.line.cache != Cache::Follower {
        request.ticket.line.cache = Cache::Error;
    }
    request.ticket.line.error = Some(cause.as_str());
    finish(request.ticket, answer(cause, retry_after))
}

/// The error response. A 503 always has Retry-After, in seconds, at least 1.
pub(crate) fn answer(cause: Cause, retry_after: Option<u64>) -> Response<ReplyBody> {
    let status = cause.status();
    let retry_after = retry_after.max(cause.again_s());
    let text = cause.content();
    let length = text.len();
    let mut response = Response::new(ReplyBody::new(Source::Whole(text.into()), None));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if cause.closes() {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    if status == StatusCode::SERVICE_UNAVAILABLE || retry_after.is_some() {
        headers.insert(RETRY_AFTER, HeaderValue::from(retry_after.unwrap_or(1).max(1)));
    }
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(http::header::ALLOW, HeaderValue::from_static(ALLOWED));
    }
    response
}
