//! A slow origin that counts its fetches.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _};
use http::header::{ACCEPT_LANGUAGE, CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY};
use http::{HeaderName, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;
use tokio::time::sleep;

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// The number of parts of `/drip`.
const DRIPS: usize = 10;
/// The largest `/large`, in MiB.
const MAX_LARGE: usize = 4096;
/// The most connections at one time.
const MAX_CONNECTIONS: usize = 1024;
/// How long a head may take, and how long a connection may be idle.
const PATIENCE: Duration = Duration::from_secs(30);
/// The pause after an accept that failed.
const PAUSE: Duration = Duration::from_millis(10);

/// The origin. Dropped, it stops.
#[derive(Debug)]
pub struct Handle {
    task: AbortHandle,
    counts: Arc<Counts>,
}

/// Fetches by path and query.
#[derive(Debug, Default)]
struct Counts(Mutex<BTreeMap<String, u64>>);

/// Starts the origin; every answer but `/count` takes `delay`.
pub fn spawn(listener: TcpListener, delay: Duration) -> Handle {
    let counts = Arc::new(Counts::default());
    let shared = counts.clone();
    let task = tokio::spawn(async move {
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        // The semaphore is never closed. Connections over the limit wait in the kernel.
        while let Ok(place) = places.clone().acquire_owned().await {
            let Ok((socket, _)) = listener.accept().await else {
                // Most likely descriptors are out: some come back with time.
                sleep(PAUSE).await;
                continue;
            };
            let counts = shared.clone();
            let service = service_fn(move |request| answer(request, counts.clone(), delay));
            tokio::spawn(async move {
                let mut builder = http1::Builder::new();
                builder.timer(TokioTimer::new()).header_read_timeout(PATIENCE);
                // A connection that breaks concerns its client only.
                let _ = builder.serve_connection(TokioIo::new(socket), service).await;
                drop(place);
            });
        }
    });
    Handle { task: task.abort_handle(), counts }
}

impl Handle {
    /// How often a path with its query was fetched.
    pub fn fetches(&self, target: &str) -> u64 {
        self.counts.0.lock().unwrap_or_else(PoisonError::into_inner).get(target).copied().unwrap_or(0)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Counts {
    fn count(&self, target: &str) -> u64 {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(target.to_owned()).or_default();
        *count += 1;
        *count
    }

    fn list(&self) -> String {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        serde_json::to_string_pretty(&*counts).unwrap_or_default() + "\n"
    }
}

async fn answer(
    request: Request<Incoming>,
    counts: Arc<Counts>,
    delay: Duration,
) -> Result<Response<Body>, Infallible> {
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str()).to_owned();
    if request.uri().path() == "/count" {
        return Ok(text(StatusCode::OK, &[(CACHE_CONTROL, "no-store")], counts.list()));
    }
    let nth = counts.count(&target);
    tokio::time::sleep(delay).await;
    let fresh = (CACHE_CONTROL, "public, max-age=60");
    let field = |name: HeaderName| request.headers().get(name).and_then(|value| value.to_str().ok());
    Ok(match request.uri().path() {
        "/slow" => text(StatusCode::OK, &[fresh], format!("fetch {nth} of {target}\n")),
        "/private" => {
            text(StatusCode::OK, &[(CACHE_CONTROL, "private")], format!("yours alone, fetch {nth}\n"))
        }
        "/plain" => text(StatusCode::OK, &[], "nothing says for how long\n".to_owned()),
        "/no-store" => {
            text(StatusCode::OK, &[(CACHE_CONTROL, "no-store")], format!("never kept, fetch {nth}\n"))
        }
        "/etag" if field(IF_NONE_MATCH).is_some_and(|tags| tags.contains("\"one\"")) => {
            text(StatusCode::NOT_MODIFIED, &[(ETAG, "\"one\""), (CACHE_CONTROL, "no-cache")], String::new())
        }
        "/etag" => text(
            StatusCode::OK,
            &[(ETAG, "\"one\""), (CACHE_CONTROL, "no-cache")],
            format!("kept, and validated every time; sent whole {nth} times\n"),
        ),
        "/vary" => {
            let language = field(ACCEPT_LANGUAGE).unwrap_or("none").to_owned();
            text(
                StatusCode::OK,
                &[fresh, (VARY, "accept-language")],
                format!("language {language}, fetch {nth}\n"),
            )
        }
        "/fail" => text(StatusCode::INTERNAL_SERVER_ERROR, &[], format!("failed, fetch {nth}\n")),
        "/flaky" if nth % 2 == 1 => text(
            StatusCode::OK,
            &[(CACHE_CONTROL, "max-age=2, stale-if-error=60")],
            format!("good until it fails, fetch {nth}\n"),
        ),
        "/flaky" => text(StatusCode::SERVICE_UNAVAILABLE, &[], format!("failed, fetch {nth}\n")),
        "/drip" => drip(),
        "/large" => large(request.uri().query().unwrap_or_default()),
        _ => text(StatusCode::NOT_FOUND, &[fresh], "no such path at the origin\n".to_owned()),
    })
}

fn text(status: StatusCode, fields: &[(HeaderName, &'static str)], content: String) -> Response<Body> {
    let mut response = Response::new(Full::new(Bytes::from(content)).boxed_unsync());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, http::HeaderValue::from_static("text/plain"));
    for (name, value) in fields {
        headers.insert(name, http::HeaderValue::from_static(value));
    }
    response
}

/// Ten parts, 200 ms apart.
fn drip() -> Response<Body> {
    let parts = stream::iter(1..=DRIPS).then(|part| async move {
        if part > 1 {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        Ok(Frame::data(Bytes::from(format!("part {part} of {DRIPS}\n"))))
    });
    streamed(StreamBody::new(parts).boxed_unsync(), None)
}

/// As many MiB as `mb=` says.
fn large(query: &str) -> Response<Body> {
    let wanted = query.split('&').find_map(|pair| pair.strip_prefix("mb=")?.parse::<usize>().ok());
    let megabytes = wanted.unwrap_or(16).min(MAX_LARGE);
    let block = Bytes::from(vec![b'.'; 1 << 20]);
    let blocks = stream::iter((0..megabytes).map(move |_| Ok(Frame::data(block.clone()))));
    streamed(StreamBody::new(blocks).boxed_unsync(), Some(megabytes << 20))
}

fn streamed(body: Body, length: Option<usize>) -> Response<Body> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, http::HeaderValue::from_static("public, max-age=60"));
    if let Some(length) = length {
        headers.insert(http::header::CONTENT_LENGTH, http::HeaderValue::from(length));
    }
    response
}
