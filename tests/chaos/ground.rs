//! The ground: servers for the store, a way to them for each instance, the origin, the instances.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dustgate::drill::client;
use dustgate::drill::fleet::{Fleet, Launch};
use dustgate::drill::origin::Origin;
use dustgate::drill::relay::{Relay, State};
use fastrand::Rng;
use http::Method;
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::Instant;

use crate::history::{History, Life, Trouble, What};
use crate::judge::{TRUST, UNSURE_FOR};
use crate::keys;
use crate::nodes::cluster;
use crate::server::Server;

/// How many instances.
pub const INSTANCES: usize = 5;
/// How long a lease lives.
pub const LEASE: Duration = Duration::from_secs(2);

/// Over which store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    Server,
    Cluster,
}

/// Everything that the storm blows over.
pub struct Ground {
    pub fleet: Fleet,
    pub sky: Arc<Sky>,
    pub nodes: Vec<Server>,
    /// Which node has the fleet's keys.
    pub owner: usize,
    /// Of each instance, a way to each node.
    ways: Vec<Vec<Relay>>,
    place: TempDir,
    _shelf: TempDir,
}

/// What storm, clients and judges have in common.
pub struct Sky {
    pub origin: Origin,
    began: Instant,
    history: Mutex<History>,
    /// Where each instance is that runs, and in which life.
    running: Mutex<Vec<Option<At>>>,
}

/// An instance, to be asked.
#[derive(Debug, Clone, Copy)]
pub struct At {
    pub life: usize,
    pub data: SocketAddr,
    pub admin: SocketAddr,
}

// === impl Ground ===

impl Ground {
    pub async fn new(over: Over) -> Self {
        let (owner, nodes) = match over {
            Over::Server => (0, vec![Server::start(&[]).await]),
            // Nodes that name no address are where they were asked: each instance has one of its own.
            Over::Cluster => cluster("cluster-preferred-endpoint-type unknown-endpoint").await,
        };
        let (place, shelf) = (
            TempDir::with_prefix("dustgate-chaos-").unwrap(),
            TempDir::with_prefix("dustgate-bodies-").unwrap(),
        );
        let origin = Origin::start(INSTANCES).await.unwrap();
        keys::put(&origin);
        let (mut settings, mut ways) = (Vec::new(), Vec::new());
        for number in 0..INSTANCES {
            let near = Ipv4Addr::new(127, 0, 1, u8::try_from(number).unwrap() + 1);
            let to = |node: &Server| Relay::start((near, node.port).into(), "127.0.0.1".into(), node.port);
            ways.push(nodes.iter().map(|node| to(node).unwrap()).collect());
            let hosts: Vec<_> = nodes.iter().map(|node| format!("{near}:{}", node.port)).collect();
            let scheme = if over == Over::Cluster { "redis+cluster" } else { "redis" };
            let path = place.path().join(format!("{number}.toml"));
            let url = format!("{scheme}://{}", hosts.join(","));
            std::fs::write(&path, text(&url, &shelf, origin.at(number))).unwrap();
            settings.push(path);
        }
        let launch = Launch {
            binary: env!("CARGO_BIN_EXE_dustgate").into(),
            settings,
            variables: Vec::new(),
            log: place.path().join("instance"),
            token: None,
        };
        let sky = Arc::new(Sky {
            origin,
            began: Instant::now(),
            history: Mutex::default(),
            running: Mutex::new(vec![None; INSTANCES]),
        });
        let fleet = Fleet::start(launch).await.unwrap();
        let mut ground = Self { fleet, sky, nodes, owner, ways, place, _shelf: shelf };
        for number in 0..INSTANCES {
            ground.came(number, Duration::ZERO).await;
        }
        ground
    }

    /// Starts an instance that does not run.
    pub async fn start(&mut self, number: usize) {
        let from = self.sky.now();
        self.fleet.restart(number).await.unwrap();
        self.came(number, from).await;
    }

    async fn came(&mut self, number: usize, from: Duration) {
        let admin = self.fleet.operator(number).expect("it runs");
        let (_, data) = self.fleet.addresses().into_iter().find(|(at, _)| *at == number).expect("it runs");
        let status = operator(admin, Method::GET, "/v1/status", None).await.unwrap();
        let name = status["instance"].as_str().unwrap().to_owned();
        // The way to the store may have been cut before it came.
        let mut life = Life { number, name, from, ..Life::default() };
        self.sky.write(|history| {
            let before = history.lives.iter().rev().find(|life| life.number == number);
            let still = before.and_then(|life| life.troubles.last()).filter(|trouble| trouble.to.is_none());
            life.troubles.extend(still.map(|trouble| Trouble { from, ..*trouble }));
            history.lives.push(life);
            self.sky.running.lock().unwrap()[number] =
                Some(At { life: history.lives.len() - 1, data, admin });
        });
    }

    /// It is not to be asked any more.
    pub fn goes(&self, number: usize) {
        let now = self.sky.now();
        if let Some(at) = self.sky.running.lock().unwrap()[number].take() {
            self.sky.write(|history| history.lives[at.life].to = Some(now));
        }
    }

    /// Brings a trouble over an instance.
    pub fn trouble(&self, number: usize, what: What) {
        let from = self.sky.now();
        self.sky.of_last(number, |life| life.troubles.push(Trouble { what, from, to: None }));
        match what {
            What::Cut => self.ways[number].iter().for_each(|way| way.set(State::Down)),
            What::Silence => self.ways[number].iter().for_each(|way| way.set(State::Frozen)),
            What::Stopped => self.fleet.freeze(number),
        }
    }

    /// Takes it away again. Which keys were edited meanwhile.
    pub fn relieve(&self, number: usize, what: What) -> BTreeSet<usize> {
        match what {
            What::Cut | What::Silence => self.ways[number].iter().for_each(|way| way.set(State::Up)),
            What::Stopped => self.fleet.wake(number),
        }
        let now = self.sky.now();
        let mut since = now;
        self.sky.of_last(number, |life| {
            for trouble in life.troubles.iter_mut().filter(|trouble| trouble.what == what) {
                if trouble.to.is_none() {
                    since = since.min(trouble.from);
                    trouble.to = Some(now);
                }
            }
        });
        let history = self.sky.history.lock().unwrap();
        history.edits.iter().filter(|edit| edit.done > since).map(|edit| edit.key).collect()
    }

    /// Leaves the instances' logs where they are, and says where that is.
    pub fn keep_logs(&mut self) -> String {
        self.place.disable_cleanup(true);
        let mut text = format!("logs are in {}", self.place.path().display());
        let _ = write!(text, "\n{}", self.sky.history().summary());
        text
    }
}

fn text(dust: &str, shelf: &TempDir, origin: SocketAddr) -> String {
    let bodies: PathBuf = shelf.path().into();
    format!(
        r#"
[server]
listen = "127.0.0.1:0"
drain = "5s"
[admin]
listen = "127.0.0.1:0"
[dust]
url = "{dust}"
lease_ttl = "{}s"
trust = "{}s"
unsure_for = "{}s"
[log]
format = "json"
[memory]
size = "16MiB"
[bodies]
url = "file:{}"
linger = "10s"
[upstreams.origin]
url = "http://{origin}"
first_byte_timeout = "5s"
read_timeout = "5s"
[[routes]]
name = "all"
upstream = "origin"
"#,
        LEASE.as_secs(),
        TRUST.as_secs(),
        UNSURE_FOR.as_secs(),
        bodies.display()
    )
}

/// What an instance's operator's port answers, if that is 200.
pub async fn operator(
    at: SocketAddr,
    method: Method,
    path: &str,
    content: Option<&Value>,
) -> Result<Value, String> {
    let (status, text) = client::operator(at, None, method, path, content).await?;
    let value = serde_json::from_slice(&text).unwrap_or_else(|_| String::from_utf8_lossy(&text).into());
    if status == 200 { Ok(value) } else { Err(format!("{status} {value}")) }
}

// === impl Sky ===

impl Sky {
    pub fn now(&self) -> Duration {
        self.began.elapsed()
    }

    pub fn history(&self) -> History {
        self.history.lock().unwrap().clone()
    }

    pub fn write(&self, what: impl FnOnce(&mut History)) {
        what(&mut self.history.lock().unwrap());
    }

    /// Those that run, whatever troubles them.
    pub fn running(&self) -> Vec<At> {
        self.running.lock().unwrap().iter().flatten().copied().collect()
    }

    /// Which instance it is.
    pub fn number(&self, at: At) -> usize {
        self.history.lock().unwrap().lives[at.life].number
    }

    /// One that runs; one that is stopped only now and then.
    pub fn any(&self, rng: &mut Rng, to_stopped: usize) -> Option<At> {
        let running = self.running();
        let at = *running.get(rng.usize(..running.len().max(1)))?;
        let is_stopped = |trouble: &Trouble| trouble.what == What::Stopped && trouble.to.is_none();
        let stopped = self.history.lock().unwrap().lives[at.life].troubles.iter().any(is_stopped);
        (!stopped || rng.usize(..to_stopped) == 0).then_some(at)
    }

    fn of_last(&self, number: usize, what: impl FnOnce(&mut Life)) {
        let mut history = self.history.lock().unwrap();
        if let Some(life) = history.lives.iter_mut().rev().find(|life| life.number == number) {
            what(life);
        }
    }
}
