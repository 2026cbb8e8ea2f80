//! Several parts of a body in one response (RFC 9110 §14.6, §15.3.7.2). A body in memory gives one piece; the
//! parts of any other are read one after another. The length is known beforehand. If bytes can't be read, the
//! response breaks off.

use std::collections::VecDeque;

use bytes::{BufMut as _, Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};

use crate::body::Reader;
use crate::policy;
use crate::proxy::respond::body::{ReplyBody, Source};
use crate::proxy::respond::multipart::{From, Multipart, Piece};
use crate::proxy::respond::slice;

/// Where the bytes of the parts are.
pub(crate) enum Parted {
    /// In memory.
    Held(Bytes),
    /// To be read. The first bytes of the first part may have been read already; the rest of it comes from
    /// that reader.
    Read(From, Option<(Bytes, Box<Reader>)>),
}

/// The ranges of the parts in the whole representation, and where the body lies in it.
pub(crate) struct Spans<'a> {
    pub named: &'a [(u64, u64)],
    /// The position in the whole at which the body begins.
    pub base: u64,
    /// The length of the whole.
    pub total: u64,
}

/// A 206 with these parts. `boundary` must not occur in the body: it is a random name that is used once.
pub(crate) fn response(
    mut headers: HeaderMap,
    body: Parted,
    spans: &Spans<'_>,
    boundary: &str,
) -> Response<ReplyBody> {
    let content_type = headers.remove(CONTENT_TYPE);
    let heads = heads(spans, boundary, content_type.as_ref());
    let end = Bytes::from(format!("\r\n--{boundary}--\r\n"));
    let of_parts = |(first, last): &(u64, u64)| last - first + 1;
    let len = heads.iter().map(|head| head.len() as u64).sum::<u64>()
        + spans.named.iter().map(of_parts).sum::<u64>()
        + end.len() as u64;
    headers.remove(CONTENT_RANGE);
    headers.insert(CONTENT_LENGTH, HeaderValue::from(len));
    let kind = HeaderValue::try_from(format!("multipart/byteranges; boundary={boundary}"));
    headers.insert(CONTENT_TYPE, kind.expect("a boundary of letters and digits"));
    let at = spans.named.iter().map(|(first, last)| (first - spans.base, last - spans.base));
    let source = match body {
        Parted::Held(body) => {
            let parts = heads.iter().zip(at).map(|(head, (first, last))| (head, slice(&body, first, last)));
            Source::Whole(in_one(parts, &end))
        }
        Parted::Read(from, mut begun) => {
            let mut pieces = VecDeque::with_capacity(heads.len() * 2 + 2);
            for (head, (first, last)) in heads.into_iter().zip(at) {
                pieces.push_back(Piece::Text(head));
                match begun.take() {
                    Some((read, reader)) => {
                        pieces.extend([Piece::Text(read), Piece::Begun(reader)]);
                    }
                    None => pieces.push_back(Piece::Span(first, last)),
                }
            }
            pieces.push_back(Piece::Text(end));
            Source::Parts(Box::new(Multipart::new(pieces, from)))
        }
    };
    let mut response = Response::new(ReplyBody::new(source, Some(len)));
    *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    *response.headers_mut() = headers;
    response
}

/// The delimiter and header fields before each part.
fn heads(spans: &Spans<'_>, boundary: &str, content_type: Option<&HeaderValue>) -> Vec<Bytes> {
    let head = |&(first, last): &(u64, u64)| {
        let mut head = BytesMut::new();
        head.put_slice(format!("\r\n--{boundary}\r\n").as_bytes());
        if let Some(kind) = content_type {
            head.put_slice(b"Content-Type: ");
            head.put_slice(kind.as_bytes());
            head.put_slice(b"\r\n");
        }
        head.put_slice(b"Content-Range: ");
        head.put_slice(policy::content_range(first, last, spans.total).as_bytes());
        head.put_slice(b"\r\n\r\n");
        head.freeze()
    };
    spans.named.iter().map(head).collect()
}

fn in_one<'a>(parts: impl Iterator<Item = (&'a Bytes, Bytes)>, end: &Bytes) -> Bytes {
    let mut whole = BytesMut::new();
    for (head, bytes) in parts {
        whole.put_slice(head);
        whole.put_slice(&bytes);
    }
    whole.put_slice(end);
    whole.freeze()
}
