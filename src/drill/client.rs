//! Clients: each sends one request, on a connection of its own, and checks every byte of the response.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, USER_AGENT};
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

use super::observations::{End, Sample};
use super::origin::Origin;

/// The host in the clients' requests. It is never resolved.
pub const ASKED_HOST: &str = "drill.invalid";

/// The longest time that a client waits for a response.
const PATIENCE: Duration = Duration::from_mins(2);

/// Why there was no answer.
enum Unanswered {
    /// There was no connection, for this reason.
    Unreached(String),
    /// There was a connection, and no answer on it, for this reason.
    Lost(String),
}

/// What an answer's fields say, and when its content began.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    /// The version of its body, if the response is the origin's.
    pub version: Option<u64>,
    /// Its `Cache-Status`.
    pub cache_status: String,
    /// When the first byte of its body came.
    pub first: Option<Instant>,
}

/// Clients that were all started at one moment.
#[derive(Debug)]
pub struct Herd {
    /// The moment at which they were started.
    pub began: Instant,
    clients: JoinSet<Sample>,
    assigned: Vec<usize>,
    home: Vec<Sample>,
}

/// A connection. It ends when this is dropped.
struct Connection(AbortHandle);

// === impl Unanswered ===

impl Unanswered {
    fn into_reason(self) -> String {
        match self {
            Self::Unreached(reason) | Self::Lost(reason) => reason,
        }
    }
}

// === impl Herd ===

impl Herd {
    /// Starts this number of clients, over these instances in turn.
    pub fn loose(
        clients: usize,
        instances: &[(usize, SocketAddr)],
        origin: &Arc<Origin>,
        path: &str,
    ) -> Self {
        let began = Instant::now();
        let (mut herd, mut assigned) = (JoinSet::new(), Vec::new());
        for (n, (instance, at)) in instances.iter().copied().cycle().take(clients).enumerate() {
            let (origin, path, name) = (origin.clone(), path.to_owned(), format!("drill/{n}"));
            herd.spawn(async move { get(instance, at, &path, &name, began, &origin).await });
            assigned.push(instance);
        }
        Self { began, clients: herd, assigned, home: Vec::new() }
    }

    /// Waits for all clients of the other instances.
    pub async fn others(&mut self, than: usize) {
        let expected = self.assigned.iter().filter(|instance| **instance != than).count();
        while self.home.iter().filter(|sample| sample.instance != than).count() < expected {
            if !self.next().await {
                return;
            }
        }
    }

    /// Waits for all clients, and returns how each fared.
    pub async fn home(mut self) -> Vec<Sample> {
        while self.next().await {}
        self.home
    }

    async fn next(&mut self) -> bool {
        let Some(sample) = self.clients.join_next().await else { return false };
        // A client does not panic, and is not aborted while it is waited for.
        self.home.extend(sample.ok());
        true
    }
}

/// One client, with its name in its request: sends one request to an instance, and checks the response.
pub async fn get(
    instance: usize,
    at: SocketAddr,
    path: &str,
    name: &str,
    began: Instant,
    origin: &Origin,
) -> Sample {
    let (end, told) = hear(at, path, name, origin).await;
    let first = told.first.map(|first| first.saturating_duration_since(began));
    Sample { instance, end, first, done: began.elapsed() }
}

/// The same, with the fields of the answer.
pub async fn hear(at: SocketAddr, path: &str, name: &str, origin: &Origin) -> (End, Told) {
    let mut told = Told::default();
    let asked = tokio::time::timeout(PATIENCE, read(at, path, name, origin, &mut told)).await;
    let end = match asked {
        Ok(Ok(end)) => end,
        Ok(Err(Unanswered::Lost(reason))) => End::Broken(reason),
        Ok(Err(Unanswered::Unreached(reason))) => End::Unreached(reason),
        Err(_) => End::Broken(format!("nothing within {} s", PATIENCE.as_secs())),
    };
    (end, told)
}

/// Edits what is at a path by a POST to an instance, and returns the status of the answer.
///
/// # Errors
/// In words, if there is no answer.
pub async fn post(at: SocketAddr, path: &str) -> Result<u16, String> {
    let request = Request::post(path).header(HOST, ASKED_HOST).body(Full::default());
    let request = request.map_err(|error| error.to_string())?;
    let asked = async {
        let (response, _connection) = send(at, request).await.map_err(Unanswered::into_reason)?;
        Ok(response.status().as_u16())
    };
    tokio::time::timeout(PATIENCE / 4, asked).await.map_err(|_| "no answer in time".to_owned())?
}

async fn read(
    at: SocketAddr,
    path: &str,
    name: &str,
    origin: &Origin,
    told: &mut Told,
) -> Result<End, Unanswered> {
    let request = Request::get(path).header(HOST, ASKED_HOST).header(USER_AGENT, name).body(Full::default());
    let request = request.map_err(|error| Unanswered::Lost(error.to_string()))?;
    let (response, _connection) = send(at, request).await?;
    let field = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
    field("cache-status").unwrap_or_default().clone_into(&mut told.cache_status);
    told.version = field("drill-version").and_then(|text| text.parse().ok());
    if response.status().as_u16() != 200 {
        return Ok(End::Refused(response.status().as_u16()));
    }
    let Some(version) = told.version else {
        return Ok(End::Wrong("an answer that the origin never gave".to_owned()));
    };
    let Some(whole) = origin.body(path, version) else {
        return Ok(End::Wrong(format!("version {version}, which the origin never sent")));
    };
    let mut body = response.into_body();
    let mut at = 0;
    while let Some(frame) = body.frame().await {
        let frame = match frame {
            Ok(frame) => frame,
            Err(error) => return Ok(End::Broken(format!("after {at} B: {error}"))),
        };
        let Ok(piece) = frame.into_data() else { continue };
        if !piece.is_empty() {
            told.first.get_or_insert_with(Instant::now);
        }
        if whole.get(at..at + piece.len()) != Some(&*piece) {
            return Ok(End::Wrong(format!(
                "not version {version} at byte {}",
                at + differ(&whole, at, &piece)
            )));
        }
        at += piece.len();
    }
    if at < whole.len() {
        return Ok(End::Wrong(format!("a clean end after {at} of {} B", whole.len())));
    }
    Ok(End::Whole(version))
}

/// The number of bytes at the beginning of a piece that are right.
fn differ(whole: &[u8], at: usize, piece: &[u8]) -> usize {
    whole[at..].iter().zip(piece).take_while(|(is, was)| is == was).count()
}

/// Sends a request to the operator's port of an instance, and returns the status and the content.
///
/// # Errors
/// In words, if there is no answer.
pub async fn operator(
    at: SocketAddr,
    token: Option<&str>,
    method: Method,
    path: &str,
    content: Option<&serde_json::Value>,
) -> Result<(u16, Bytes), String> {
    let mut request = Request::builder().method(method).uri(path).header(HOST, at.to_string());
    if let Some(token) = token {
        request = request.header(AUTHORIZATION, format!("Bearer {token}"));
    }
    if content.is_some() {
        request = request.header(CONTENT_TYPE, "application/json");
    }
    let content = content.map(ToString::to_string).unwrap_or_default();
    let request = request.body(Full::from(content)).map_err(|error| error.to_string())?;
    let asked = async {
        let (response, _connection) = send(at, request).await.map_err(Unanswered::into_reason)?;
        let status = response.status().as_u16();
        let content = response.into_body().collect().await.map_err(|error| error.to_string())?;
        Ok((status, content.to_bytes()))
    };
    tokio::time::timeout(PATIENCE / 4, asked).await.map_err(|_| "no answer in time".to_owned())?
}

async fn send(
    at: SocketAddr,
    request: Request<Full<Bytes>>,
) -> Result<(Response<Incoming>, Connection), Unanswered> {
    let socket = TcpStream::connect(at).await;
    let socket = socket.map_err(|error| Unanswered::Unreached(format!("connecting: {error}")))?;
    let _ = socket.set_nodelay(true);
    let lost = |error: hyper::Error| Unanswered::Lost(format!("no answer: {error}"));
    let (mut sender, connection) = http1::handshake(TokioIo::new(socket)).await.map_err(lost)?;
    let connection = Connection(
        tokio::spawn(async move {
            // An error here also shows where the response is read.
            let _ = connection.await;
        })
        .abort_handle(),
    );
    let response = sender.send_request(request).await.map_err(lost)?;
    Ok((response, connection))
}

// === impl Connection ===

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}
