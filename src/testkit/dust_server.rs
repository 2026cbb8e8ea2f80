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
//! | `paths` | segments of a path and its text |
//! | `rows` | one row for each leaf: kinds, flattening, whether a lease lives |
//! | `refusal` | reasons of error replies |
//! | `store` | rows, log and snapshot; what a joining client missed |
//! | `ops` | one operation, checked in the server's order |
//! | `token` | scopes, reach, and the budget of a minute |
//! | `world` | all state under one lock; who is sent what |
//! | `channel` | frames: join, leave, write, status, crashes |
//! | `socket` | the task of one WebSocket |
//! | `http`, `entries` | upgrades; entries over HTTP |
//! | `faults` | what goes wrong on demand |
//! | `recording` | what was seen on the wire of the real server, and the setup that it needs |
//! | `dates` | the text form of dates |

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::io::DuplexStream;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::clock::{Clock, Dice, ManualClock, SystemClock, WallMs};

mod channel;
mod dates;
mod entries;
mod faults;
mod http;
mod ops;
mod paths;
mod recording;
mod refusal;
mod rows;
mod socket;
mod store;
#[cfg(test)]
mod tests;
mod token;
mod world;

pub use faults::{Faults, Next, Silence};
pub use recording::Recording;
pub use token::{ALL_SCOPES, Token};
pub use world::Heard;

use ops::{Done, Origin};
use store::Store;
use world::{Out, World};

/// The token that a setup has from the start: all scopes, all stores of `acme`, no limits.
pub const TOKEN: &str = "dust_tok_test_all";
/// The code of a server that goes away.
const GOING_AWAY: u16 = 1012;
/// The buffer of a connection in memory.
const PIPE: usize = 256 * 1024;

/// What a server is started with.
#[derive(Debug)]
pub struct Setup {
    /// Names of stores, as `acme/cache`, each with its id.
    pub stores: Vec<(String, String)>,
    /// Tokens that open it.
    pub tokens: Vec<Token>,
    /// Time: of leases, budgets and idle connections.
    pub clock: Arc<dyn Clock>,
    /// A clock that [`DustServer::advance`] moves.
    cranked: Option<Arc<ManualClock>>,
    /// A connection ends after this long without a frame from its client.
    pub idle: Duration,
    /// The seed of all that is random.
    pub seed: u64,
    /// Where it listens.
    pub listen: SocketAddr,
}

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
    /// Rung when the clock was moved by hand.
    cranked: Notify,
}

// === impl Setup ===

impl Setup {
    /// A server on the clock of the machine, for processes.
    pub fn real() -> Self {
        Self::on(Arc::new(SystemClock))
    }

    /// A server whose clock stands at `wall_ms` until [`DustServer::advance`] moves it.
    pub fn cranked(wall_ms: WallMs) -> Self {
        let clock = Arc::new(ManualClock::at(wall_ms));
        Self { cranked: Some(clock.clone()), ..Self::on(clock) }
    }

    /// A server on this clock.
    pub fn on(clock: Arc<dyn Clock>) -> Self {
        Self {
            stores: Vec::new(),
            tokens: vec![Token::new(TOKEN, "acme")],
            clock,
            cranked: None,
            idle: Duration::from_mins(1),
            seed: 1,
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        }
    }

    /// One more store.
    #[must_use]
    pub fn store(self, name: &str) -> Self {
        let id = format!("01a20896-0000-7000-8000-{:012x}", self.stores.len());
        self.store_of_id(name, &id)
    }

    /// One more store, of this id.
    #[must_use]
    pub fn store_of_id(mut self, name: &str, id: &str) -> Self {
        self.stores.push((name.to_owned(), id.to_owned()));
        self
    }

    /// One more token.
    #[must_use]
    pub fn token(mut self, token: Token) -> Self {
        self.tokens.push(token);
        self
    }
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
        };
        let core =
            Core { world: Mutex::new(world), clock: setup.clock, idle: setup.idle, cranked: Notify::new() };
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
        self.core.cranked.notify_waiters();
    }

    /// Sets the clock, also back.
    ///
    /// # Panics
    /// If the server was not started with [`Setup::cranked`].
    pub fn set_clock(&self, wall_ms: WallMs) {
        self.cranked.as_ref().expect("a test sets only a clock that is cranked").set(wall_ms);
        self.core.cranked.notify_waiters();
    }

    /// What its clock shows.
    pub fn now(&self) -> WallMs {
        self.core.now()
    }

    // --- faults ---

    /// Looks at the faults, or changes them.
    pub fn faults<T>(&self, change: impl FnOnce(&mut Faults) -> T) -> T {
        change(&mut self.core.world().faults)
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

    // --- another client, and what is there ---

    /// Applies an operation as another client would, with its event to those who joined by name. Returns
    /// the response, or the reason of the refusal.
    ///
    /// # Panics
    /// If there is no such store, or the request has no fields.
    pub fn write(&self, store: &str, request: &Value) -> Result<Value, String> {
        self.write_as("another", store, request)
    }

    /// Applies an operation without an event, as HTTP writes are.
    ///
    /// # Panics
    /// If there is no such store, or the request has no fields.
    pub fn write_silently(&self, store: &str, request: &Value) -> Result<Value, String> {
        self.apply("another", store, request, false)
    }

    /// Applies an operation of this device, with its event.
    ///
    /// # Panics
    /// If there is no such store, or the request has no fields.
    pub fn write_as(&self, device: &str, store: &str, request: &Value) -> Result<Value, String> {
        self.apply(device, store, request, true)
    }

    fn apply(&self, device: &str, store: &str, request: &Value, is_told: bool) -> Result<Value, String> {
        let mut fields: Map<_, _> = request.as_object().expect("an operation has fields").clone();
        fields.entry("client_op_id").or_insert_with(|| "another".into());
        let now = self.core.now();
        let mut world = self.core.world();
        let at = world.store(store).expect("a test names a store that it set up");
        let topic = format!("store:{store}");
        let told = is_told.then_some((topic.as_str(), None));
        match world.apply(at, &fields, Origin { device, now }, told) {
            Done::Committed { response, .. } | Done::Nothing { response } => Ok(response),
            Done::Refused(refusal) => Err(refusal.reason.into_owned()),
            Done::Crashed => Err("crashed".to_owned()),
        }
    }

    /// The value of a row and its revision.
    pub fn row(&self, store: &str, path: &str) -> Option<(Value, u64)> {
        self.with(store, |store| store.rows.get(path).map(|row| (row.value.clone(), row.seq)))
    }

    /// The paths of all rows of a store, in order.
    pub fn rows(&self, store: &str) -> Vec<String> {
        self.with(store, |store| store.rows.keys().cloned().collect())
    }

    /// The number of the last operation of a store.
    pub fn seq(&self, store: &str) -> u64 {
        self.with(store, |store| store.seq)
    }

    /// The id of a store.
    pub fn id(&self, store: &str) -> String {
        self.with(store, |store| store.id.clone())
    }

    /// How many frames or requests of this name were read: an operation of writes (`lease`, `set`), another
    /// event (`phx_join`, `heartbeat`), or a method of HTTP (`GET`).
    pub fn count(&self, name: &str) -> u64 {
        self.core.world().counts.get(name).copied().unwrap_or_default()
    }

    /// The last requests that were read, oldest first: ten thousand at most.
    pub fn heard(&self) -> Vec<Heard> {
        self.core.world().heard.iter().cloned().collect()
    }

    /// How many connections are open.
    pub fn connections(&self) -> usize {
        self.core.world().lines.len()
    }

    /// How many connections have joined a store, by name or id.
    pub fn joined(&self, store: &str) -> usize {
        let topics = self.with(store, |store| store.topics());
        let world = self.core.world();
        let joins =
            |topic: &String| world.lines.values().filter(|line| line.topics.contains_key(topic)).count();
        topics.iter().map(joins).sum()
    }

    fn with<T>(&self, store: &str, look: impl FnOnce(&mut Store) -> T) -> T {
        let mut world = self.core.world();
        let at = world.store(store).expect("a test names a store that it set up");
        look(&mut world.stores[at])
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
