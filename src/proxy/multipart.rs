//! Several parts of a body in one answer (RFC 9110 §14.6, §15.3.7.2).

use bytes::{BufMut as _, Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};

use super::body::{ReplyBody, Source};
use super::serve::slice;
use crate::policy::{self, Parts};

/// A 206 with these parts. `boundary` must not occur in the body: a name that is used once.
pub(super) fn response(
    mut headers: HeaderMap,
    body: &Bytes,
    parts: &Parts,
    boundary: &str,
) -> Response<ReplyBody> {
    let content_type = headers.remove(CONTENT_TYPE);
    let whole = joined(body, parts, boundary, content_type.as_ref());
    headers.remove(CONTENT_RANGE);
    headers.insert(CONTENT_LENGTH, HeaderValue::from(whole.len()));
    let kind = HeaderValue::try_from(format!("multipart/byteranges; boundary={boundary}"));
    headers.insert(CONTENT_TYPE, kind.expect("a boundary of letters and digits"));
    let len = whole.len() as u64;
    let mut response = Response::new(ReplyBody::new(Source::Whole(whole), Some(len)));
    *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    *response.headers_mut() = headers;
    response
}

fn joined(body: &Bytes, parts: &Parts, boundary: &str, content_type: Option<&HeaderValue>) -> Bytes {
    let mut whole = BytesMut::new();
    for &(first, last) in parts.spans() {
        whole.put_slice(format!("\r\n--{boundary}\r\n").as_bytes());
        if let Some(kind) = content_type {
            whole.put_slice(b"Content-Type: ");
            whole.put_slice(kind.as_bytes());
            whole.put_slice(b"\r\n");
        }
        whole.put_slice(b"Content-Range: ");
        whole.put_slice(policy::content_range(first, last, body.len() as u64).as_bytes());
        whole.put_slice(b"\r\n\r\n");
        whole.put_slice(&slice(body, first, last));
    }
    whole.put_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    whole.freeze()
}
