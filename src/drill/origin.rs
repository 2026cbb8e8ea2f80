//! The drill's origin: slow, as scripted for each path, and counting.
//!
//! It listens once for each instance, so that it knows which one asks.

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
use super::observations::Asked;
use script::{Script, Versions};

/// The origin. Dropped, it stops, and its connections with it.
#[derive(Debug)]
pub struct Origin {
    desk: Arc<Desk>,
    at: Vec<SocketAddr>,
    _tasks: JoinSet<()>,
}

/// What is known of each path.
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
    /// Who asked.
    pub instance: usize,
    /// For what.
    pub kind: Kind,
    /// When.
    pub began: Instant,
    /// When its last byte was handed over, or its connection was gone.
    pub ended: Option<Instant>,
}

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// All of it.
    Whole,
    /// A part.
    Part,
    /// Whether it has changed; it has not.
    Unchanged,
    /// That it changes (POST).
    Edit,
}

/// Where the first fetch of a path is held until it is let go.
#[derive(Debug)]
struct Gate {
    reached: watch::Sender<Option<usize>>,
    open: watch::Sender<bool>,
}

// === impl Origin ===

impl Origin {
    /// Starts it, with a port for each of so many instances.
    ///
    /// # Errors
    /// If there are no ports.
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

    /// Where an instance finds it.
    pub fn at(&self, instance: usize) -> SocketAddr {
        self.at[instance]
    }

    /// From now on there is something at that path; what is there already stays.
    pub fn put(&self, path: &str, script: Script) {
        self.desk.lock().entry(path.to_owned()).or_insert_with(|| Item::new(script));
    }

    /// Forgets a path.
    pub fn forget(&self, path: &str) {
        self.desk.lock().remove(path);
    }

    /// Changes what is at that path: fetches that come from now on get the version that this returns.
    pub fn edit(&self, path: &str) -> Option<u64> {
        Some(self.desk.lock().get_mut(path)?.edit())
    }

    /// The version that a fetch of that path would get now, if it changes by edits only.
    pub fn version(&self, path: &str) -> Option<u64> {
        self.desk.lock().get(path).map(|item| item.version.max(1))
    }

    /// The body of a version that was sent of that path.
    pub fn body(&self, path: &str, version: u64) -> Option<Bytes> {
        self.desk.lock().get(path)?.bodies.get(&version).cloned()
    }

    /// What was asked for that path.
    pub fn asked(&self, path: &str) -> Asked {
        let mut asked = Asked::default();
        for fetch in self.fetches(path) {
            match fetch.kind {
                Kind::Whole => asked.whole += 1,
                Kind::Part => asked.parts += 1,
                Kind::Unchanged => asked.unchanged += 1,
                // No fetch.
                Kind::Edit => {}
            }
        }
        asked
    }

    /// Every fetch of that path, in the order in which they came.
    pub fn fetches(&self, path: &str) -> Vec<Fetch> {
        self.desk.lock().get(path).map(|item| item.fetches.clone()).unwrap_or_default()
    }

    /// Waits until the first fetch of that path has come to where it is held: which instance led.
    /// `None`: it did not within that time.
    pub async fn reached(&self, path: &str, within: Duration) -> Option<usize> {
        let mut reached = self.desk.lock().get(path)?.gate.reached.subscribe();
        let leader = tokio::time::timeout(within, reached.wait_for(Option::is_some)).await;
        leader.ok()?.ok().and_then(|leader| *leader)
    }

    /// Lets the fetch go on that is held.
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
            // Out of descriptors: some are given back with time.
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
            // A connection that breaks is its client's affair.
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

    /// The version that is sent now; a whole fetch of what changes makes a new one.
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

    /// What is there becomes something else; the version that was never sent is the first.
    fn edit(&mut self) -> u64 {
        self.version = self.version.max(1) + 1;
        self.version
    }

    /// The entity tag of the version that was sent last, if this has one.
    fn etag(&self) -> Option<String> {
        (self.script.etag && self.version > 0).then(|| format!("\"v{}\"", self.version))
    }
}
