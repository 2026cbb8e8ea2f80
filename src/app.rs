//! The assembly: makes a running proxy of settings. The only module that knows every concrete type.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::admin::{self, Readiness};
use crate::body::Bodies;
use crate::clock::{Clock, Dice, Steady, SystemClock};
use crate::config::Settings;
use crate::drain;
use crate::dust::{self, Dust, Missing};
use crate::flight::OnUnavailable;
use crate::node::{Joining, Node, Opened, Parts, Seams, fleet_key};
use crate::proxy::Proxy;
use crate::proxy::listener::{self, Connections};
use crate::tasks::{Need, Task, Tasks};
use crate::telemetry::labels::LeaseLost;
use crate::telemetry::{self, Event, Level, Log, Metrics};
use crate::units::{Dur, Socket};

/// How long connections may take to break off. Each looks at least every half second.
const CUT_BOUND: Duration = Duration::from_secs(1);
/// How long the end of the process waits for the store's last writes.
const FLUSH_BOUND: Duration = Duration::from_secs(5);

mod descriptors;
mod desk;
mod health;
mod life;
mod lookout;
mod manager;
mod memory;
mod metered;
mod room;
mod settings;
mod sockets;
mod stores;
mod upstreams;
mod warming;

pub use descriptors::raise as raise_descriptors;
pub use life::{Exit, Signals};
pub use memory::limit as memory_limit;
pub use sockets::{Handed, Sockets};
pub use upstreams::wrong as wrong_upstreams;

use health::Health;
use lookout::Lookout;
use metered::MeteredDust;
use stores::Known;

/// All parts of the process, wired, before anything listens.
pub struct App {
    settings: Settings,
    node: Arc<Node>,
    /// The store as it was opened: its calls are neither timed nor counted.
    dust: Arc<dyn Dust>,
    log: Log,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    connections: Arc<Connections>,
    admin_places: Arc<admin::Places>,
    loads: Vec<upstreams::Load>,
    clock: Arc<Steady>,
    began: Instant,
}

/// Why the process can't start.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A setting whose fault shows only when it is used.
    #[error("{setting}: {reason}")]
    Setting {
        /// Which setting.
        setting: String,
        /// Why.
        reason: String,
    },
    /// Where it can't listen.
    #[error("{setting} = \"{address}\": {cause}{}", remedy(cause))]
    Listen {
        /// Which setting.
        setting: &'static str,
        /// The address, or the name of a socket that is handed over.
        address: Socket,
        /// The system's error.
        cause: std::io::Error,
    },
}

impl App {
    /// Puts the parts together: opens the stores, reads the stamps, makes the upstream clients.
    ///
    /// A store that instances share may be `missing`: its outage does not keep an instance from starting.
    pub async fn build(
        settings: Settings,
        instance: &str,
        log: Log,
        missing: Missing,
    ) -> Result<Self, BuildError> {
        Self::build_on(settings, instance, log, missing, None).await
    }

    /// As [`App::build`], on a coordination store that is open already, if one is given: instances in one
    /// process may share one.
    ///
    /// # Errors
    /// As [`App::build`].
    pub async fn build_on(
        settings: Settings,
        instance: &str,
        log: Log,
        missing: Missing,
        given: Option<dust::Opened>,
    ) -> Result<Self, BuildError> {
        let began = Instant::now();
        let steady = Arc::new(Steady::new(Arc::new(SystemClock)));
        let clock: Arc<dyn Clock> = steady.clone();
        let dice = Arc::new(Dice::new());
        let table = settings.table().clone();
        let (dust, mut life) = match given {
            Some(opened) => stores::with_life(opened, &dice),
            None => stores::open_dust(&settings, clock.clone(), &dice, missing).await?,
        };
        let metrics = Metrics::new(env!("CARGO_PKG_VERSION"));
        let strict = settings.dust.flight.on_unavailable == OnUnavailable::Error;
        let joining = Arc::new(Joining::new(matches!(life.known, Known::Not(_))));
        let tasks = Tasks::new(log.clone(), &metrics);
        let health = Arc::new(Health::new(strict, joining.clone(), tasks.clone()));
        health.watches_thread_of(dust.clone());
        let metered = || MeteredDust::new(dust.clone(), metrics.clone(), health.clone());
        // Joining uses the store before everything else may.
        let seams = Seams { joining: Arc::new(metered()), serving: Arc::new(metered().gated()) };
        let bodies = stores::open_bodies(&settings, &*dust, &mut life, &dice, clock.clone(), missing).await?;
        joining.set(matches!(life.known, Known::Not(_)));
        health.starts(&bodies);
        if bodies.is_unmarked() {
            let (url, why) = (&settings.bodies.url, bodies.unmarked_because());
            let text = "responses are served, and not stored there until that is over";
            log.warn("bodies", format!("bodies.url: {url}: {why}: {text}"));
        }
        if dust.traits().carries == 0 && settings.bodies.small > 0 {
            let text = "bodies.small has no effect: the store at dust.url carries no bodies";
            log.info("bodies", format!("{text} ({})", dust.kind()));
        }
        if let Known::Not(why) = &life.known {
            log.warn("store_missing", stores::without(&settings, why));
        }
        let of_node = settings::node(&settings, instance, dust.traits());
        let opened = Opened {
            seams,
            bodies,
            lasting: stores::are_lasting(&settings),
            life: life.id.clone(),
            joining: joining.clone(),
            places: settings::places(&settings),
        };
        let opened = match opened.clone().read(&of_node, &dice).await {
            Err(error) if missing == Missing::Waits && dust.shared() && error.of_store().passes() => {
                let why = error.of_store().clone();
                log.warn("store_missing", stores::without(&settings, &why));
                let bodies = stores::as_if_away(&settings, &*dust, &mut life, &dice, why, clock).await?;
                health.starts(&bodies);
                joining.set(true);
                Opened { bodies, life: life.id, ..opened }.read(&of_node, &dice).await
            }
            read => read,
        };
        let opened = opened.map_err(|error| bad("dust.url", error.to_string()))?;
        health.watches(opened.stamps().clone());
        let upstreams = upstreams::make(&settings, &table, &metrics)?;
        let node = Node::new(Parts {
            settings: of_node,
            stores: opened,
            routes: table,
            upstreams: upstreams.of_node,
            dice,
            log: log.clone(),
            metrics: metrics.clone(),
            tasks,
        });
        let loads = upstreams.loads.into_iter().map(|load| load.of(&node, &metrics)).collect();
        let app = Self {
            settings,
            node,
            dust,
            log,
            metrics,
            health,
            connections: Arc::default(),
            admin_places: Arc::default(),
            loads,
            clock: steady,
            began,
        };
        app.wire_gauges();
        Ok(app)
    }

    /// The proxy itself, for commands that ask without serving.
    pub fn proxy(&self) -> &Arc<Proxy> {
        &self.node.proxy
    }

    /// Explains a request, for a command.
    pub async fn explain(
        &self,
        question: admin::ExplainRequest,
    ) -> Result<serde_json::Value, admin::Problem> {
        desk::explain(&self.node.proxy, &self.settings, &self.loads, question).await
    }

    /// Serves until told to leave, and then until everything under way has ended or the grace is
    /// over (F9).
    pub async fn run(self, sockets: Sockets, mut signals: Signals) -> Exit {
        let app = Arc::new(self);
        let Node { proxy, signal, tasks, .. } = &*app.node;
        let started = started(proxy.instance(), &sockets);
        let mut chores = app.node.begin().await;
        let mut serving = Vec::new();
        let served = sockets.places().join(", ");
        for socket in sockets.data {
            let (socket, signal) = (Arc::new(socket), signal.clone());
            let (proxy, connections) = (proxy.clone(), app.connections.clone());
            // It has the same socket: clients wait in the kernel until the task is begun again.
            let serves = move || {
                let (socket, proxy, connections) = (socket.clone(), proxy.clone(), connections.clone());
                listener::serve(socket, proxy, connections, signal.guard())
            };
            serving.push(tasks.supervise("listener", Need::Serves, serves));
        }
        let desk = Arc::new(desk::AdminAdapter::new(app.clone(), signals.knock()));
        let admin = (app.settings.admin.clone(), app.settings.purge.clone());
        let (limits, places) = (settings::admin_limits(&app.settings), app.admin_places.clone());
        let admin_end = Arc::new(drain::channel().0);
        let (socket, end) = (Arc::new(sockets.admin), admin_end.clone());
        let _operating = tasks.supervise("admin", Need::Helps, move || {
            let (socket, desk) = (socket.clone(), desk.clone());
            admin::serve(socket, desk, admin.clone(), limits, places.clone(), end.guard())
        });
        chores.join();
        let bodies = app.node.stores().bodies();
        let marks = app.clone();
        let marking = bodies
            .is_unmarked()
            .then(|| tasks.supervise("room", Need::Helps, move || room::wait(marks.clone())));
        chores.pay();
        chores.tidy();
        let (watches, looks) = (app.clone(), app.lookout());
        let watch = tasks.supervise("watch", Need::Helps, move || {
            let (stores, key) = (watches.node.stores(), fleet_key(&watches.settings.dust.store.prefix));
            watches.health.clone().watch(stores.dust().clone(), stores.bodies().clone(), key)
        });
        let lookout = tasks.supervise("lookout", Need::Helps, move || looks.clone().watch());
        let watchdog = manager::watchdog().map(|every| {
            let alive = move || manager::shows_life(every);
            tasks.supervise("watchdog", Need::Helps, alive)
        });
        app.log.event(started);
        app.tells(manager::serves(&served));
        let first = signals.first(&app.log).await;
        app.health.drains();
        let server = &app.settings.server;
        let (accepts, ends) = (Dur(server.drain_delay), Dur(server.drain));
        let text = format!(
            "on {first}: accepts for {accepts} more, then what is under way has {ends}; a second signal ends it at once"
        );
        app.log.info("draining", text);
        app.tells(manager::leaves(app.settings.server.drain_delay + app.settings.server.drain + FLUSH_BOUND));
        let exit = tokio::select! {
            biased;
            second = signals.second(&app.log) => Exit::Second(second),
            exit = app.leave(&mut serving) => exit,
        };
        if exit != Exit::Drained {
            app.cut().await;
        }
        chores.end().await;
        watch.abort();
        lookout.abort();
        if let Some(marking) = marking {
            marking.abort();
        }
        chores.clear().await;
        // The store may have answered fills whose records are not written yet, and leases may have to be given back.
        if let Err(error) = tokio::time::timeout(FLUSH_BOUND, app.node.stores().dust().flush())
            .await
            .unwrap_or_else(|_| Err(dust::Error::silent(FLUSH_BOUND)))
        {
            app.log.error("dust", format!("the store's last writes may be missing: {error}"));
        }
        admin_end.start();
        if exit == Exit::Drained {
            // Answers that are under way here may still be sent, but no client may hold the end up.
            let _ = tokio::time::timeout(Duration::from_millis(200), admin_end.drain()).await;
        }
        if let Some(watchdog) = watchdog {
            watchdog.abort();
        }
        app.log.info("stopped", exit.to_string());
        app.log.flush(Duration::from_secs(1));
        exit
    }

    /// Closes the listeners after `drain_delay`, and waits for what is under way.
    async fn leave(&self, serving: &mut [Task]) -> Exit {
        tokio::time::sleep(self.settings.server.drain_delay).await;
        self.node.signal.start();
        for task in serving {
            task.ended().await;
        }
        match self.node.drained(self.settings.server.drain).await {
            Ok(()) => Exit::Drained,
            Err(left) => Exit::GraceOver(left),
        }
    }

    /// A service manager that can't be told ends the process when its patience is over: that must be seen.
    fn tells(&self, told: std::io::Result<()>) {
        if let Err(error) = told {
            self.log.warn("manager", format!("the service manager could not be told: {error}"));
        }
    }

    /// Breaks off the requests that are under way, so that each has its line in the log.
    async fn cut(&self) {
        self.log.cuts_requests();
        self.node.signal.cut();
        let _ = tokio::time::timeout(CUT_BOUND, self.connections.none_is_open()).await;
    }

    fn lookout(&self) -> Lookout {
        Lookout {
            clock: self.clock.clone(),
            dust: self.dust.clone(),
            leases: self.node.proxy.flight().counters().clone(),
            metrics: self.metrics.clone(),
            log: self.log.clone(),
        }
    }

    /// Registers the gauges and counters whose values the parts keep, to be read at each rendering.
    fn wire_gauges(&self) {
        let node = &self.node;
        let (tier, bodies) = (node.tier.clone(), node.stores().bodies().clone());
        let connections = self.connections.clone();
        let (log, health, places) = (self.log.clone(), self.health.clone(), self.admin_places.clone());
        let (trust, dust, clock) = (node.trust.clone(), self.dust.clone(), self.clock.clone());
        // Not the proxy: it has the metrics, and each would keep the other.
        let (stamps, leases) = (node.stamps().clone(), node.proxy.flight().counters().clone());
        self.metrics.on_render(move |metrics| {
            metrics.memory.set(tier.bytes(), tier.len() as u64);
            let room =
                metrics.memory.evictions(telemetry::labels::Tier::Memory, telemetry::labels::Eviction::Room);
            room.inc_by(tier.evicted().saturating_sub(room.get()));
            metrics.bodies.set_bytes(bodies.used());
            metrics.bodies.set_others(bodies.counters().others.load(Ordering::Relaxed));
            count_body_errors(metrics, &bodies);
            let open = i64::try_from(connections.open()).unwrap_or(i64::MAX);
            metrics.process.connections("data").set(open);
            let open = i64::try_from(places.open()).unwrap_or(i64::MAX);
            metrics.process.connections("admin").set(open);
            metrics.process.set_log_dropped(log.dropped());
            metrics.process.set_draining(health.is_draining());
            metrics.process.set_ready(matches!(health.readiness(), Readiness::Ready(_)));
            metrics.dust.set_up(health.dust_up());
            metrics.dust.set_unsure(!trust.holds(dust.now_ms()));
            metrics.dust.set_clock_offset(dust.offset_ms() as f64 / 1000.0);
            metrics.dust.set_purge_number(stamps.newest());
            metrics.dust.set_stamps_owed(stamps.owed());
            let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
            metrics.dust.set_leases_lost(LeaseLost::NotHeld, of(&leases.lost_not_held));
            metrics.dust.set_leases_lost(LeaseLost::Unanswered, of(&leases.lost_unanswered));
            metrics.dust.set_leases_orphaned(of(&leases.orphaned));
            metrics.dust.set_occupied(of(&leases.occupied));
            metrics.dust.set_impossible(dust.impossible());
            metrics.dust.set_clock_steps(clock.steps());
        });
    }
}

/// The first event of an instance that serves: its name, and where it listens.
fn started(instance: &str, sockets: &Sockets) -> Event {
    let event =
        Event::new(Level::Info, "started", format!("instance {instance}")).with("listen", sockets.places());
    match sockets.admin_address() {
        Ok(admin) => event.with("admin", admin.to_string()),
        Err(_) => event,
    }
}

/// Shows the body store's own counters as metrics.
fn count_body_errors(metrics: &Metrics, bodies: &Bodies) {
    let counters = bodies.counters();
    let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
    let ops = [
        ("put", of(&counters.put_errors)),
        ("get", of(&counters.get_errors)),
        ("delete", of(&counters.delete_errors)),
        ("list", of(&counters.list_errors)),
    ];
    for (op, errors) in ops {
        metrics.bodies.set_errors(op, errors);
    }
    metrics.bodies.set_lost(of(&counters.missing), of(&counters.corrupt));
}

/// What an operator does about an address that can't be listened on.
fn remedy(cause: &std::io::Error) -> &'static str {
    use std::io::ErrorKind::{AddrInUse, AddrNotAvailable, PermissionDenied};
    match cause.kind() {
        AddrInUse => ": another process listens there; end that one, or set another port",
        AddrNotAvailable => ": this machine has no such address; 0.0.0.0 and [::] are all that it has",
        PermissionDenied => {
            ": a port this low needs CAP_NET_BIND_SERVICE, a socket unit, or set a port from 1024 on"
        }
        _ => "",
    }
}

fn bad(setting: impl Into<String>, reason: impl Into<String>) -> BuildError {
    BuildError::Setting { setting: setting.into(), reason: reason.into() }
}

/// The name of this process in logs and to its peers.
pub fn instance_name(dice: &Dice) -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = host.trim();
    let host = if host.is_empty() { "dustgate" } else { host };
    format!("{host}-{}", &dice.name()[..6])
}
