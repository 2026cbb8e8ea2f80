//! OPTIONS that goes no further (RFC 9110 §7.6.2).

use http::header::{ALLOW, MAX_FORWARDS};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};

use crate::policy;
use crate::proxy::respond::body::ReplyBody;
use crate::route::Route;

/// Returns whether a request asks about this hop and not about the origin.
pub(crate) fn is_asked(method: &Method, headers: &HeaderMap) -> bool {
    *method == Method::OPTIONS
        && headers.contains_key(MAX_FORWARDS)
        && policy::max_forwards(headers) == Some(0)
}

/// The methods that the route lets through.
pub(crate) fn answer(route: &Route) -> Response<ReplyBody> {
    let mut response = Response::new(ReplyBody::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let named = route.methods.as_ref().map(|methods| {
        let names: Vec<&str> = methods.iter().map(Method::as_str).collect();
        HeaderValue::try_from(names.join(", "))
    });
    let allowed = match named {
        Some(Ok(methods)) => methods,
        _ => HeaderValue::from_static(crate::proxy::respond::refusal::ALLOWED),
    };
    response.headers_mut().insert(ALLOW, allowed);
    response
}
