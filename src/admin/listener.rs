//! Connections of the operator's port.
//!
//! Each takes a descriptor that the data port may need, so there are few of them. When all places are
//! taken, the connection that has been without a whole request for the longest gives way: clients that
//! connect and send nothing, or whose content does not come, do not keep a health check out.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT};
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};
use tower_service::Service as _;

use super::{MAX_CONTENT, Problem};
use crate::drain;

/// The limits of the port's connections.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The most connections.
    pub max_connections: usize,
    /// How long the first head of a connection may take, and the content of any request.
    pub header_timeout: Duration,
    /// The longest time from one answer to the end of the next head.
    pub idle_timeout: Duration,
}

/// The places of the port, and the connections that have them.
#[derive(Debug, Default)]
pub struct Places(Mutex<Seats>);

#[derive(Debug, Default)]
struct Seats {
    next: u64,
    taken: BTreeMap<u64, Seat>,
}

#[derive(Debug)]
struct Seat {
    standing: SlotState,
    /// Since when it is in this state.
    since: Instant,
    gives_way: Arc<Notify>,
}

/// The state of a connection. Only one whose request is being answered does not give way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SlotState {
    /// It has not sent a request yet.
    New,
    /// A head has come, and its content has not.
    Sending,
    /// A whole request is being answered.
    Answered,
    /// It is between an answer and the next head.
    Idle,
}

/// One place, held for as long as this lives.
struct ConnectionSlot {
    places: Arc<Places>,
    id: u64,
    gives_way: Arc<Notify>,
}

/// An answer that is made as it goes. Dropped, its connection is idle.
struct BusySlot {
    places: Arc<Places>,
    id: u64,
}

/// The longest head, in bytes.
const MAX_HEAD: usize = 64 * 1024;
/// Content over the limit is read up to this many bytes: many clients read the answer only when they
/// have sent all of it.
const DISCARDED: usize = 16 * MAX_CONTENT;
/// The pause after an accept that failed: most likely descriptors are out, and spinning would not help.
const PAUSE: Duration = Duration::from_millis(50);

/// Serves a listener until the drain begins, and its connections until they have ended.
pub(super) async fn serve(
    listener: Arc<TcpListener>,
    router: Router,
    limits: Limits,
    places: Arc<Places>,
    until: drain::Guard,
) {
    let mut stopping = pin!(until.draining());
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut stopping => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((socket, _)) = accepted else {
            sleep(PAUSE).await;
            continue;
        };
        // Small answers are written whole: waiting for more only delays them.
        let _ = socket.set_nodelay(true);
        if let Some(place) = places.take(limits.max_connections) {
            tokio::spawn(connection(socket, router.clone(), place, limits, until.clone()));
        }
    }
}

async fn connection<S>(socket: S, router: Router, place: ConnectionSlot, limits: Limits, until: drain::Guard)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let place = &place;
    let service = service_fn(|request| {
        place.set(SlotState::Sending);
        let router = router.clone();
        async move {
            let response = answer(router, request, limits.header_timeout, place).await;
            let response = if response.body().size_hint().exact().is_some() {
                place.set(SlotState::Idle);
                response
            } else {
                // It is made as it goes: until its end the connection does not give way.
                let until = place.busy();
                response.map(|body| Body::new(body.map_frame(move |frame| until.passes(frame))))
            };
            Ok::<_, Infallible>(response)
        }
    });
    let mut builder = http1::Builder::new();
    // hyper's own timer knows no difference between an idle connection and a slow head.
    builder.timer(TokioTimer::new()).header_read_timeout(None);
    // A client that has sent its request and closed its side waits for the answer.
    builder.max_buf_size(MAX_HEAD).half_close(true);
    let mut conn = pin!(builder.serve_connection(TokioIo::new(socket), service));
    let mut stopping = pin!(until.draining());
    let mut gives_way = pin!(place.gives_way.notified());
    let mut leaving = false;
    let mut timer = pin!(sleep(limits.header_timeout));
    loop {
        tokio::select! {
            biased;
            // How the connection ended concerns the client only.
            _ = conn.as_mut() => return,
            () = &mut gives_way => return,
            () = &mut stopping, if !leaving => {
                leaving = true;
                conn.as_mut().graceful_shutdown();
            }
            () = timer.as_mut() => match place.ends_at(limits) {
                Some(end) if Instant::now() >= end => return,
                Some(end) => timer.as_mut().reset(end),
                None => timer.as_mut().reset(Instant::now() + limits.header_timeout),
            },
        }
    }
}

/// Reads a request to its end, and answers it.
async fn answer(
    mut router: Router,
    request: Request<Incoming>,
    patience: Duration,
    place: &ConnectionSlot,
) -> Response {
    let (parts, body) = request.into_parts();
    match content(&parts.headers, body, patience).await {
        Ok(content) => {
            place.set(SlotState::Answered);
            let asked = Request::from_parts(parts, Body::from(content));
            router.call(asked).await.unwrap_or_else(|never| match never {})
        }
        Err(problem) => {
            let mut response = problem.into_response();
            // Content that was not read would stand before the next head.
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            response
        }
    }
}

async fn content(headers: &HeaderMap, body: Incoming, patience: Duration) -> Result<Bytes, Problem> {
    let too_large = || {
        let detail = format!("at most {MAX_CONTENT} bytes are taken");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail)
    };
    let declared = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if headers.contains_key(EXPECT) && declared.is_some_and(|length| length > MAX_CONTENT as u64) {
        // The client waits for a 100 before it sends the content (RFC 9110 §10.1.1).
        return Err(too_large());
    }
    match timeout(patience, read(body)).await {
        Ok(Some(content)) if content.len() <= MAX_CONTENT => Ok(content),
        Ok(Some(_)) => Err(too_large()),
        Ok(None) => Err(Problem::bad_request("the content broke off")),
        Err(_) => {
            let detail = "the content took too long";
            Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "timeout", detail))
        }
    }
}

/// Reads the content; of one that is too long, a little more than the limit. `None`: it broke off.
async fn read(mut body: Incoming) -> Option<Bytes> {
    let (mut content, mut length) = (BytesMut::new(), 0_usize);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.ok()?.into_data() else { continue };
        length = length.saturating_add(data.len());
        if content.len() <= MAX_CONTENT {
            content.extend_from_slice(&data);
        }
        if length > DISCARDED {
            break;
        }
    }
    Some(content.freeze())
}

// === impl Limits ===

impl Limits {
    /// Limits with these values. A timeout that is off becomes a long one: otherwise dead connections would
    /// keep their places.
    pub fn new(max_connections: usize, header_timeout: Duration, idle_timeout: Duration) -> Self {
        let or = |set: Duration, long| if set.is_zero() { Duration::from_secs(long) } else { set };
        Self { max_connections, header_timeout: or(header_timeout, 60), idle_timeout: or(idle_timeout, 600) }
    }
}

// === impl Places ===

impl Places {
    /// The number of places that are taken.
    pub fn open(&self) -> usize {
        self.lock().taken.len()
    }

    /// Takes a place that is free, or that of a connection that gives way.
    fn take(self: &Arc<Self>, most: usize) -> Option<ConnectionSlot> {
        let mut seats = self.lock();
        if seats.taken.len() >= most {
            let others = seats.taken.iter().filter(|(_, seat)| seat.standing != SlotState::Answered);
            let (_, longest) = others.map(|(id, seat)| (seat.since, *id)).min()?;
            seats.taken.remove(&longest)?.gives_way.notify_one();
        }
        let id = seats.next;
        seats.next += 1;
        let gives_way = Arc::new(Notify::new());
        let seat = Seat { standing: SlotState::New, since: Instant::now(), gives_way: gives_way.clone() };
        seats.taken.insert(id, seat);
        drop(seats);
        Some(ConnectionSlot { places: self.clone(), id, gives_way })
    }

    fn set(&self, id: u64, standing: SlotState) {
        if let Some(seat) = self.lock().taken.get_mut(&id) {
            (seat.standing, seat.since) = (standing, Instant::now());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Seats> {
        // No code under this lock panics in the middle of a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl ConnectionSlot ===

impl ConnectionSlot {
    fn set(&self, standing: SlotState) {
        self.places.set(self.id, standing);
    }

    fn busy(&self) -> BusySlot {
        BusySlot { places: self.places.clone(), id: self.id }
    }

    /// When the connection has been silent for too long; none while its request is read or answered, which
    /// have bounds of their own.
    fn ends_at(&self, limits: Limits) -> Option<Instant> {
        let seats = self.places.lock();
        let seat = seats.taken.get(&self.id)?;
        match seat.standing {
            SlotState::New => Some(seat.since + limits.header_timeout),
            SlotState::Idle => Some(seat.since + limits.idle_timeout),
            SlotState::Sending | SlotState::Answered => None,
        }
    }
}

impl BusySlot {
    /// Holds on to this while frames pass.
    #[allow(clippy::unused_self, reason = "what passes frames owns it")]
    fn passes<T>(&self, frame: T) -> T {
        frame
    }
}

impl Drop for BusySlot {
    fn drop(&mut self) {
        self.places.set(self.id, SlotState::Idle);
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.places.lock().taken.remove(&self.id);
    }
}

#[cfg(test)]
mod tests;
