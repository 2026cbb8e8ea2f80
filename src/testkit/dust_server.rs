//! A Dust server for tests: stores in memory, and the channel protocol as the real server was seen to
//! speak it, with all that surprises a client.
//!
//! ```no_run
//! # use dustgate::testkit::dust_server::{DustServer, Faults, Next, Setup, Token};
//! # async fn example() {
//! let server = DustServer::start(Setup::cranked(1_790_000_000_000).store("acme/cache")).await;
//! let _url = server.url("acme/cache"); // dust+ws://127.0.0.1:…/ws/sync?store=acme/cache
//! server.faults(|faults| faults.lost_replies = Next::of("lease", 1));
//! server.advance(std::time::Duration::from_secs(30)); // leases fall due
//! server.faults(|faults| *faults = Faults::default());
//! # }
//! ```
//!
//! It speaks JSON text frames (`vsn` 2.0.x). MessagePack, files and rollbacks are not part of it.
//!
//! | module | holds |
//! |---|---|
//! | `setup`, `look` | what it is started with; another client's hand, and what is there |
//! | `paths` | segments of a path and its text |
//! | `rows` | one row for each leaf: kinds, flattening, whether a lease lives |
//! | `refusal` | reasons of error replies |
//! | `store` | rows, log and snapshot; what a joining client missed |
//! | `ops` | one operation, checked in the server's order |
//! | `token` | scopes, reach, and the budget of a minute |
//! | `world` | all state under one lock; which connection is sent what |
//! | `channel` | frames: join, leave, write, status, crashes |
//! | `socket` | the task of one WebSocket |
//! | `http`, `entries` | upgrades; entries over HTTP |
//! | `faults` | what goes wrong on demand |
//! | `recording` | what was seen on the wire of the real server, and the setup that it needs |
//! | `script`, `shape` | a recording's answers for a client under test, whose writes are compared |
//! | `dates` | the text form of dates |

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::io::DuplexStream;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::clock::{Clock, Dice, ManualClock, WallMs};

mod channel;
mod dates;
mod entries;
mod faults;
mod http;
mod look;
mod ops;
mod paths;
mod recording;
mod refusal;
mod rows;
mod script;
mod setup;
mod shape;
mod socket;
mod store;
#[cfg(test)]
mod tests;
mod token;
mod world;

pub use faults::{Faults, Next, Silence};
pub use look::Backup;
pub use recording::Recording;
pub use script::Script;
pub use setup::Setup;
pub use token::{ALL_SCOPES, Token};
pub use world::Heard;

use store::Store;
use world::{Out, World};

/// The token that a setup has from the start: all scopes, all stores of `acme`, no limits.
pub const TOKEN: &str = "dust_tok_test_all";
/// The code of a server that goes away.
const GOING_AWAY: u16 = 1012;
/// The buffer of a connection in memory.
const PIPE: usize = 256 * 1024;

/// A running server. Dropped, it ends.
#[derive(Debug)]
pub struct DustServer {
    core: Arc<Core>,
    cranked: Option<Arc<ManualClock>>,
    addr: SocketAddr,
    accepting: Mutex<Option<JoinHandle<()>>>,
}

/// What the handle and all connections share.
#[derive(Debug)]
struct Core {
    world: Mutex<World>,
    clock: Arc<dyn Clock>,
    idle: Duration,
    /// Rung when the clock was moved by hand, or the faults are other ones.
    changed: Notify,
}

// === impl Core ===

impl Core {
    fn world(&self) -> MutexGuard<'_, World> {
        // What a panic left half done belongs to a test that has failed already.
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> WallMs {
        self.clock.wall_ms()
    }

    /// Returns when the server is not frozen.
    async fn thawed(&self) {
        loop {
            let changed = self.changed.notified();
            if !self.is_frozen() {
                return;
            }
            changed.await;
        }
    }

    fn is_frozen(&self) -> bool {
        self.world().faults.silence == Silence::Everything
    }
}

// === impl DustServer ===

impl DustServer {
    /// Starts a server that listens on loopback.
    ///
    /// # Panics
    /// If it cannot listen.
    pub async fn start(setup: Setup) -> Self {
        let listener = TcpListener::bind(setup.listen).await.expect("a port of loopback is free");
        let mut server = Self::in_memory(setup);
        server.addr = listener.local_addr().expect("it is bound");
        server.accepting = Mutex::new(Some(accept(server.core.clone(), listener)));
        server
    }

    /// Starts a server without a listener: [`dial`](Self::dial) connects to it. Under paused time this is
    /// the one to use, since time moves on by itself while a task waits for a real socket.
    pub fn in_memory(setup: Setup) -> Self {
        let dice = Dice::seeded(setup.seed);
        let stores = setup.stores.iter().map(|(name, id)| Store::new(name, id.clone())).collect();
        let world = World {
            stores,
            tokens: setup.tokens,
            lines: std::collections::BTreeMap::new(),
            faults: Faults::default(),
            dice,
            heard: std::collections::VecDeque::new(),
            counts: std::collections::BTreeMap::new(),
            next_line: 0,
            host: "localhost".to_owned(),
            is_down: false,
            late: Vec::new(),
            script: setup.script,
        };
        let core =
            Core { world: Mutex::new(world), clock: setup.clock, idle: setup.idle, changed: Notify::new() };
        Self { core: Arc::new(core), cranked: setup.cranked, addr: setup.listen, accepting: Mutex::new(None) }
    }

    /// A connection in memory.
    pub fn dial(&self) -> DuplexStream {
        let (ours, theirs) = tokio::io::duplex(PIPE);
        if !self.core.world().is_down {
            tokio::spawn(http::serve(self.core.clone(), ours));
        }
        theirs
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The address of one store, as the settings have it.
    pub fn url(&self, store: &str) -> String {
        format!("dust+ws://{}/ws/sync?store={store}", self.addr)
    }

    // --- time ---

    /// Moves the clock on: leases fall due, budgets are fresh, idle connections end.
    ///
    /// # Panics
    /// If the server was not started with [`Setup::cranked`].
    pub fn advance(&self, by: Duration) {
        self.cranked.as_ref().expect("a test advances only a clock that is cranked").advance(by);
        self.core.changed.notify_waiters();
    }

    /// Sets the clock, also back.
    ///
    /// # Panics
    /// If the server was not started with [`Setup::cranked`].
    pub fn set_clock(&self, wall_ms: WallMs) {
        self.cranked.as_ref().expect("a test sets only a clock that is cranked").set(wall_ms);
        self.core.changed.notify_waiters();
    }

    /// What its clock shows.
    pub fn now(&self) -> WallMs {
        self.core.now()
    }

    // --- faults ---

    /// Looks at the faults, or changes them.
    pub fn faults<T>(&self, change: impl FnOnce(&mut Faults) -> T) -> T {
        let told = change(&mut self.core.world().faults);
        self.core.changed.notify_waiters();
        told
    }

    /// Sends the events that were held back, to each connection in an order of the seed's choice.
    pub fn let_go(&self) {
        let mut world = self.core.world();
        world.faults.holds_events = false;
        let mut held: Vec<_> =
            world.lines.iter_mut().map(|(&id, line)| (id, std::mem::take(&mut line.held))).collect();
        for (id, events) in &mut held {
            while !events.is_empty() {
                let at = world.dice.below(events.len() as u64);
                world.send(*id, events.swap_remove(usize::try_from(at).unwrap_or_default()));
            }
        }
    }

    /// Closes all connections with this code.
    pub fn close_all(&self, code: u16) {
        self.core.world().end(|| Out::Close(code));
    }

    /// Breaks all connections off, without a close frame.
    pub fn drop_all(&self) {
        self.core.world().end(|| Out::Drop);
    }

    /// Kills the channel processes of all topics: `phx_error` to everybody.
    pub fn crash_all(&self) {
        let mut world = self.core.world();
        let joined = world
            .lines
            .iter()
            .flat_map(|(&id, line)| line.topics.keys().map(move |topic| (id, topic.clone())));
        for (id, topic) in joined.collect::<Vec<_>>() {
            world.crash(id, &topic);
        }
    }

    /// Folds the log of a store into a snapshot, which those get that join from before it.
    pub fn compact(&self, store: &str) {
        let now = self.core.now();
        self.with(store, |store| store.compact(now));
    }

    /// Archives a store: it cannot be joined by name, and writes are refused.
    pub fn archive(&self, store: &str) {
        self.with(store, |store| store.is_archived = true);
    }

    /// A store's time is over: it is archived. Connections that have joined it are sent a `phx_close`
    /// without a join, and their channels stay.
    pub fn expire(&self, store: &str) {
        self.archive(store);
        let topics = self.with(store, |store| store.topics());
        let world = self.core.world();
        for (&id, line) in &world.lines {
            for topic in topics.iter().filter(|topic| line.topics.contains_key(*topic)) {
                let none = &Value::Null;
                world.send(id, world::frame(none, none, topic, "phx_close", &Value::Object(Map::new())));
            }
        }
    }

    /// Takes a token back. Connections that it has opened stay.
    pub fn revoke(&self, secret: &str) {
        let mut world = self.core.world();
        if let Some(token) = world.token(secret) {
            world.tokens[token].revoke();
        }
    }

    /// Limits the rows of a store, as a plan does.
    pub fn limit_keys(&self, store: &str, most: u64) {
        self.with(store, |store| store.most_keys = Some(most));
    }

    /// Begins again: connections end with 1012. What is stored and leased survives.
    pub fn restart(&self) {
        let mut world = self.core.world();
        world.end(|| Out::Close(GOING_AWAY));
        world.stores.iter_mut().for_each(Store::restart);
    }

    /// Goes down: connections end with 1012, and none is accepted until [`come_up`](Self::come_up).
    pub async fn go_down(&self) {
        let accepting = self.accepting.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(accepting) = accepting {
            accepting.abort();
            let _ = accepting.await;
        }
        self.core.world().is_down = true;
        self.restart();
    }

    /// Listens again, at the same address.
    ///
    /// # Panics
    /// If the port is taken by then.
    pub async fn come_up(&self) {
        self.core.world().is_down = false;
        if self.addr.port() == 0 {
            return;
        }
        let listener = TcpListener::bind(self.addr).await.expect("the port is still free");
        let accepting = accept(self.core.clone(), listener);
        *self.accepting.lock().unwrap_or_else(PoisonError::into_inner) = Some(accepting);
    }
}

impl Drop for DustServer {
    fn drop(&mut self) {
        if let Some(accepting) = self.accepting.lock().unwrap_or_else(PoisonError::into_inner).take() {
            accepting.abort();
        }
        self.core.world().end(|| Out::Drop);
    }
}

fn accept(core: Arc<Core>, listener: TcpListener) -> JoinHandle<()> {
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // A test server without it still works.
            let _ = stream.set_nodelay(true);
            tokio::spawn(http::serve(core.clone(), stream));
        }
    })
}
