//! The ground: servers for the store, a way to them for each instance, the origin, the instances.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;
use tempfile::TempDir;
use tokio::time::Instant;

use crate::clients::operator;
use crate::history::{History, Life, Trouble, What};
use crate::judge::{TRUST, UNSURE_FOR};
use crate::origin::Source;
use crate::support::Proxy;
use crate::support::cluster::cluster;
use crate::support::instances::Instances;
use crate::support::proxy::Setup;
use crate::support::relay::{Mode, Relay};
use crate::support::server::Server;

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
    pub instances: Instances,
    pub sky: Arc<Sky>,
    pub nodes: Vec<Server>,
    /// Which node has the fleet's keys.
    pub owner: usize,
    /// Of each instance, a way to each node.
    ways: Vec<Vec<Relay>>,
    _shelf: TempDir,
}

/// What storm, clients and judges have in common.
pub struct Sky {
    pub origin: Source,
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
        let shelf = TempDir::with_prefix("dustgate-bodies-").unwrap();
        let origin = Source::start(INSTANCES).await;
        let (mut setups, mut ways) = (Vec::new(), Vec::new());
        for number in 0..INSTANCES {
            let near = Ipv4Addr::new(127, 0, 1, u8::try_from(number).unwrap() + 1);
            let to = |node: &Server| Relay::at((near, node.port).into(), ([127, 0, 0, 1], node.port).into());
            ways.push(nodes.iter().map(to).collect());
            let hosts: Vec<_> = nodes.iter().map(|node| format!("{near}:{}", node.port)).collect();
            let scheme = if over == Over::Cluster { "redis+cluster" } else { "redis" };
            let url = format!("{scheme}://{}", hosts.join(","));
            setups.push(setup(&url, &shelf, origin.at(number)));
        }
        let sky = Arc::new(Sky {
            origin,
            began: Instant::now(),
            history: Mutex::default(),
            running: Mutex::new(vec![None; INSTANCES]),
        });
        let instances = Instances::start(setups).await;
        let mut ground = Self { instances, sky, nodes, owner, ways, _shelf: shelf };
        for number in 0..INSTANCES {
            ground.came(number, Duration::ZERO).await;
        }
        ground
    }

    /// Starts an instance again that has ended, or was killed.
    pub async fn start(&mut self, number: usize) {
        self.instances.of[number].ended().await;
        let from = self.sky.now();
        self.instances.restart(number).await;
        self.came(number, from).await;
    }

    async fn came(&mut self, number: usize, from: Duration) {
        let instance = &self.instances.of[number];
        let (data, admin) = (instance.at, instance.admin);
        let status = operator(instance.admin_get("/v1/status")).await.unwrap();
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
            What::Cut => self.ways[number].iter().for_each(|way| way.set(Mode::Down)),
            What::Silence => self.ways[number].iter().for_each(|way| way.set(Mode::Freeze)),
            What::Stopped => self.instances.of[number].signal("STOP"),
        }
    }

    /// Takes it away again. Which keys were edited meanwhile.
    pub fn relieve(&self, number: usize, what: What) -> BTreeSet<usize> {
        match what {
            What::Cut | What::Silence => self.ways[number].iter().for_each(|way| way.set(Mode::Pass)),
            What::Stopped => self.instances.of[number].signal("CONT"),
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

    /// Writes the instances' logs down, and says where.
    pub fn keep_logs(&self) -> String {
        format!("{}\n{}", self.instances.keep_logs(), self.sky.history().summary())
    }
}

fn setup(dust: &str, shelf: &TempDir, origin: SocketAddr) -> Setup {
    Proxy::before_address(&origin.to_string())
        .server("drain = \"5s\"")
        .dust(&format!("url = \"{dust}\""))
        .dust(&format!("lease_ttl = \"{}s\"", LEASE.as_secs()))
        .dust(&format!("trust = \"{}s\"", TRUST.as_secs()))
        .dust(&format!("unsure_for = \"{}s\"", UNSURE_FOR.as_secs()))
        .bodies(&format!("url = \"file:{}\"", shelf.path().display()))
        .bodies("linger = \"10s\"")
        .upstream("first_byte_timeout = \"5s\"")
        .upstream("read_timeout = \"5s\"")
        .more("[memory]\nsize = \"16MiB\"")
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
