//! One response of the origin.

use std::convert::Infallible;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_NONE_MATCH, IF_RANGE,
    RANGE,
};
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty, StreamBody};
use hyper::body::Incoming;
use tokio::time::Instant;

use super::script::{Cut, Pause};
use super::{Desk, Fetch, Gate, Kind};

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// The field that tells clients the version of the body.
pub const VERSION: HeaderName = HeaderName::from_static("drill-version");

/// Names the tag that a response is purged by.
const TAG: HeaderName = HeaderName::from_static("surrogate-key");

/// What is sent in response, decided when the request comes.
struct Order {
    fails: Option<u16>,
    delay: Duration,
    gap: Duration,
    kind: Kind,
    fields: Vec<(HeaderName, String)>,
    body: Bytes,
    part: Range<usize>,
    cuts: Vec<Cut>,
    gate: Arc<Gate>,
    note: Note,
}

/// Notes the end of a fetch when it is dropped: at its last byte, or when its connection ends.
struct Note {
    desk: Arc<Desk>,
    path: String,
    nth: usize,
}

pub(super) async fn answer(desk: &Arc<Desk>, instance: usize, request: Request<Incoming>) -> Response<Body> {
    let Some(order) = order(desk, instance, &request) else {
        let mut response = Response::new(Empty::new().boxed_unsync());
        *response.status_mut() = StatusCode::NOT_FOUND;
        return response;
    };
    tokio::time::sleep(order.delay).await;
    let status = order.fails.and_then(|status| StatusCode::from_u16(status).ok());
    let status = status.unwrap_or(match order.kind {
        Kind::Whole | Kind::Edit => StatusCode::OK,
        Kind::Part => StatusCode::PARTIAL_CONTENT,
        Kind::Unchanged => StatusCode::NOT_MODIFIED,
    });
    let fields = order.fields.clone();
    let mut response = match order.kind {
        Kind::Unchanged | Kind::Edit => Response::new(Empty::new().boxed_unsync()),
        _ => Response::new(send(order)),
    };
    *response.status_mut() = status;
    for (name, value) in fields {
        if let Ok(value) = HeaderValue::try_from(value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

fn order(desk: &Arc<Desk>, instance: usize, request: &Request<Incoming>) -> Option<Order> {
    let path = request.uri().path_and_query()?.as_str().to_owned();
    let field = |name: HeaderName| request.headers().get(name).and_then(|value| value.to_str().ok());
    let mut items = desk.lock();
    let item = items.get_mut(&path)?;
    let script = item.script;
    let etag = item.etag();
    let same = |name: HeaderName| field(name).is_some_and(|tag| etag.as_deref() == Some(tag));
    let unchanged = same(IF_NONE_MATCH);
    // If the body has changed since, the part is of another one and the whole is sent (RFC 9110 §13.1.5).
    let from = field(RANGE)
        .filter(|_| etag.is_some() && (field(IF_RANGE).is_none() || same(IF_RANGE)))
        .and_then(|range| first_byte(range, script.size));
    let kind = match (unchanged, from) {
        _ if *request.method() == Method::POST => Kind::Edit,
        (true, _) => Kind::Unchanged,
        (false, Some(_)) => Kind::Part,
        (false, None) => Kind::Whole,
    };
    let (version, body) = match kind {
        Kind::Whole => item.next_version(&path),
        Kind::Edit => (item.edit(), Bytes::new()),
        // An edited body is sent as it is now.
        Kind::Part | Kind::Unchanged => item.this_version(&path),
    };
    let part = from.filter(|_| kind == Kind::Part).unwrap_or(0)..script.size;
    let mut fields = vec![
        (CACHE_CONTROL, script.cache_control.to_owned()),
        // Its tag is its path.
        (TAG, path.clone()),
        (VERSION, version.to_string()),
        (CONTENT_TYPE, "application/octet-stream".to_owned()),
    ];
    fields.extend(item.etag().map(|tag| (ETAG, tag)));
    match kind {
        // The response to an edit is not stored.
        Kind::Edit => fields.clear(),
        Kind::Unchanged => {}
        Kind::Whole => {
            fields.push((CONTENT_LENGTH, script.size.to_string()));
            if script.etag {
                fields.push((ACCEPT_RANGES, "bytes".to_owned()));
            }
        }
        Kind::Part => {
            let (first, size) = (part.start, script.size);
            fields.push((CONTENT_LENGTH, (size - first).to_string()));
            fields.push((CONTENT_RANGE, format!("bytes {first}-{}/{size}", size - 1)));
        }
    }
    let nth = item.fetches.len();
    item.fetches.push(Fetch { instance, kind, began: Instant::now(), ended: None });
    // Only the first fetch is held: that of an instance that takes over is not.
    let cuts = script.cuts(part.start, nth == 0);
    let note = Note { desk: desk.clone(), path, nth };
    Some(Order {
        fails: script.fails.filter(|_| kind != Kind::Edit),
        delay: if kind == Kind::Edit { Duration::ZERO } else { script.delay },
        gap: script.gap,
        kind,
        fields,
        body,
        part,
        cuts,
        gate: item.gate.clone(),
        note,
    })
}

/// The first byte of `bytes=N-`, or of a range that goes to the end: the only forms of a resume.
fn first_byte(range: &str, size: usize) -> Option<usize> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let first = first.parse().ok()?;
    let to_the_end = last.is_empty() || last.parse::<usize>().is_ok_and(|last| last + 1 >= size);
    (first < size && to_the_end).then_some(first)
}

/// Sends the body in pieces. A gap or hold is awaited before the next piece, so that the pieces before
/// it have been handed to the connection.
fn send(order: Order) -> Body {
    let at = order.part.start;
    let pieces = stream::unfold((order, at, 0, None), |(order, at, next, pause)| async move {
        let (mut next, mut pause) = (next, pause);
        loop {
            let cut: Cut = *order.cuts.get(next)?;
            match pause.take() {
                Some(Pause::Gap) => tokio::time::sleep(order.gap).await,
                Some(Pause::Hold) => order.gate.hold(order.note.instance()).await,
                None => {}
            }
            next += 1;
            pause = Some(cut.pause);
            if cut.end > at {
                let piece = order.body.slice(at..cut.end);
                return Some((Ok(Frame::data(piece)), (order, cut.end, next, pause)));
            }
        }
    });
    StreamBody::new(pieces).boxed_unsync()
}

// === impl Gate ===

impl Gate {
    /// Notes that the instance is held here, and waits for the release.
    async fn hold(&self, instance: usize) {
        self.reached.send_replace(Some(instance));
        let mut open = self.open.subscribe();
        // It can't fail: its sender is in `self`.
        let _ = open.wait_for(|open| *open).await;
    }
}

// === impl Note ===

impl Note {
    fn instance(&self) -> usize {
        let items = self.desk.lock();
        items.get(&self.path).and_then(|item| item.fetches.get(self.nth)).map_or(0, |fetch| fetch.instance)
    }
}

impl Drop for Note {
    fn drop(&mut self) {
        let mut items = self.desk.lock();
        if let Some(fetch) = items.get_mut(&self.path).and_then(|item| item.fetches.get_mut(self.nth)) {
            fetch.ended = Some(Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::first_byte;

    #[test]
    fn only_what_goes_to_the_end_is_a_resume() {
        assert_eq!(first_byte("bytes=5-", 10), Some(5));
        assert_eq!(first_byte("bytes=5-9", 10), Some(5));
        for other in ["bytes=10-", "bytes=5-8", "bytes=-5", "bytes=1-2,4-5", "lines=5-", "bytes=x-"] {
            assert_eq!(first_byte(other, 10), None, "{other}");
        }
    }
}
