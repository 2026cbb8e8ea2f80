//! The drill's origin: slow, with a script for each path. It counts its requests.
//!
//! It has one port for each instance, so that it knows which instance sends a request.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

mod answer;
pub mod script;

use super::content;
use super::observations::OriginRequest;
use script::{Script, Versions};

/// The origin. When it is dropped, it and its connections end.
#[derive(Debug)]
pub struct Origin {
    desk: Arc<Desk>,
    at: Vec<SocketAddr>,
    _tasks: JoinSet<()>,
}

/// The state of each path.
#[derive(Debug, Default)]
struct Desk {
    items: Mutex<BTreeMap<String, Item>>,
}

#[derive(Debug)]
struct Item {
    script: Script,
    gate: Arc<Gate>,
    version: u64,
    bodies: BTreeMap<u64, Bytes>,
    fetches: Vec<Fetch>,
}

/// One request that came to the origin.
#[derive(Debug, Clone, Copy)]
pub struct Fetch {
    /// The instance that sent it.
    pub instance: usize,
    /// What it requests.
    pub kind: Kind,
    /// When it came.
    pub began: Instant,
    /// When the last byte of its response was sent, or its connection ended.
    pub ended: Option<Instant>,
}

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The whole body.
    Whole,
    /// A part.
    Part,
    /// A validation of an unchanged body: answered with 304.
    Unchanged,
    /// An edit of the body (POST).
    Edit,
}

/// Holds the first fetch of a path until it is released.
#[derive(Debug)]
struct Gate {
    reached: watch::Sender<Option<usize>>,
    open: watch::Sender<bool>,
}

// === impl Origin ===

impl Origin {
    /// Starts the origin, with a port for each of this number of instances.
    ///
    /// # Errors
    /// No port can be bound.
    pub async fn start(instances: usize) -> std::io::Result<Self> {
        let desk = Arc::new(Desk::default());
        let mut at = Vec::new();
        let mut tasks = JoinSet::new();
        for instance in 0..instances {
            let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
            at.push(listener.local_addr()?);
            tasks.spawn(listen(listener, desk.clone(), instance));
        }
        Ok(Self { desk, at, _tasks: tasks })
    }

    /// The port for an instance.
    pub fn at(&self, instance: usize) -> SocketAddr {
        self.at[instance]
    }

    /// Puts a response at a path. One that is there already stays.
    pub fn put(&self, path: &str, script: Script) {
        self.desk.lock().entry(path.to_owned()).or_insert_with(|| Item::new(script));
    }

    /// Removes a path.
    pub fn forget(&self, path: &str) {
        self.desk.lock().remove(path);
    }

    /// Edits what is at a path. Fetches that come from now on get the version that this returns.
    pub fn edit(&self, path: &str) -> Option<u64> {
        Some(self.desk.lock().get_mut(path)?.edit())
    }

    /// The version that a fetch of a path would get now, for a path that only edits change.
    pub fn version(&self, path: &str) -> Option<u64> {
        self.desk.lock().get(path).map(|item| item.version.max(1))
    }

    /// The body of a version of a path, if it was sent.
    pub fn body(&self, path: &str, version: u64) -> Option<Bytes> {
        self.desk.lock().get(path)?.bodies.get(&version).cloned()
    }

    /// The number of fetches of a path, by kind.
    pub fn asked(&self, path: &str) -> OriginRequest {
        let mut asked = OriginRequest::default();
        for fetch in self.fetches(path) {
            match fetch.kind {
                Kind::Whole => asked.whole += 1,
                Kind::Part => asked.parts += 1,
                Kind::Unchanged => asked.unchanged += 1,
                // An edit is no fetch.
                Kind::Edit => {}
            }
        }
        asked
    }

    /// All requests for a path, in the order in which they came.
    pub fn fetches(&self, path: &str) -> Vec<Fetch> {
        self.desk.lock().get(path).map(|item| item.fetches.clone()).unwrap_or_default()
    }

    /// Waits until the first fetch of a path is held, and returns the instance that sent it, the leader.
    /// `None`: no fetch was held within this time.
    pub async fn reached(&self, path: &str, within: Duration) -> Option<usize> {
        let mut reached = self.desk.lock().get(path)?.gate.reached.subscribe();
        let leader = tokio::time::timeout(within, reached.wait_for(Option::is_some)).await;
        leader.ok()?.ok().and_then(|leader| *leader)
    }

    /// Releases the fetch that is held.
    pub fn release(&self, path: &str) {
        if let Some(item) = self.desk.lock().get(path) {
            item.gate.open.send_replace(true);
        }
    }
}

async fn listen(listener: TcpListener, desk: Arc<Desk>, instance: usize) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((socket, _)) = listener.accept().await else {
            // Most likely descriptors are out: some come back with time.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let _ = socket.set_nodelay(true);
        let desk = desk.clone();
        let service = service_fn(move |request| {
            let desk = desk.clone();
            async move { Ok::<_, Infallible>(answer::answer(&desk, instance, request).await) }
        });
        connections.spawn(async move {
            // A connection that breaks concerns its client only.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(socket), service).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

// === impl Desk ===

impl Desk {
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Item>> {
        self.items.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Item ===

impl Item {
    fn new(script: Script) -> Self {
        let gate = Gate { reached: watch::Sender::new(None), open: watch::Sender::new(false) };
        let gate = Arc::new(gate);
        Self { script, gate, version: 0, bodies: BTreeMap::new(), fetches: Vec::new() }
    }

    /// The version that is sent now. On a path that changes with each fetch, this makes a new one.
    fn next_version(&mut self, path: &str) -> (u64, Bytes) {
        if self.version == 0 || self.script.versions == Versions::Changing {
            self.version += 1;
        }
        self.this_version(path)
    }

    /// The version that was sent or edited last.
    fn this_version(&mut self, path: &str) -> (u64, Bytes) {
        let (version, size) = (self.version, self.script.size);
        let body = self.bodies.entry(version).or_insert_with(|| content::body(path, version, size));
        (version, body.clone())
    }

    /// Makes a new version, and returns its number. A first version that was never sent counts, too.
    fn edit(&mut self) -> u64 {
        self.version = self.version.max(1) + 1;
        self.version
    }

    /// The entity tag of the version that was sent or edited last, if the path has tags.
    fn etag(&self) -> Option<String> {
        (self.script.etag && self.version > 0).then(|| format!("\"v{}\"", self.version))
    }
}
