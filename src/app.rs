//! The assembly room: settings in, a running proxy out. The only place that knows every
//! concrete type.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::admin::{self, Readiness};
use crate::body::Bodies;
use crate::clock::{Clock, Dice, Steady, SystemClock};
use crate::config::{self, Settings};
use crate::drain;
use crate::dust::Dust;
use crate::flight::{self, Flight};
use crate::proxy::listener::{self, Connections};
use crate::proxy::notices::Notices;
use crate::proxy::{self, Proxy};
use crate::telemetry::words::LeaseLost;
use crate::telemetry::{self, Log, Metrics};
use crate::tier::{Member, Numbers, Own, Stamps, Tier, Trust};

mod descriptors;
mod desk;
mod fleet;
mod health;
mod join;
mod life;
mod lookout;
mod metered;
mod room;
mod stores;
mod upstreams;

pub use descriptors::raise as raise_descriptors;
pub use life::{Exit, Signals};
pub use stores::Missing;

use health::Health;
use lookout::Lookout;
use metered::MeteredDust;
use stores::Known;

/// The longest that a start waits for the tier to be believed; who serves before that is unsure.
const BRIEFLY: Duration = Duration::from_millis(800);

/// Everything that was put together, before anything listens.
pub struct App {
    settings: Settings,
    proxy: Arc<Proxy>,
    tier: Arc<Tier>,
    trust: Arc<Trust>,
    member: Option<Arc<Member>>,
    bodies: Arc<Bodies>,
    dust: Arc<dyn Dust>,
    log: Log,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    signal: Arc<drain::Signal>,
    connections: Arc<Connections>,
    admin_places: Arc<admin::Places>,
    loads: Vec<upstreams::Load>,
    /// What is to be done once the store is there; none if it was at the start.
    join: Option<join::Join>,
    clock: Arc<Steady>,
    began: Instant,
}

/// Sockets, bound: so that a port that is taken is known before anything else happens.
pub struct Sockets {
    data: Vec<TcpListener>,
    admin: TcpListener,
}

/// Why nothing runs.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A setting that only shows to be wrong when it is used.
    #[error("{setting}: {reason}")]
    Setting {
        /// Which.
        setting: String,
        /// Why.
        reason: String,
    },
    /// An address that can't be listened on.
    #[error("{setting} = \"{address}\": {cause}")]
    Listen {
        /// Which setting.
        setting: &'static str,
        /// The address.
        address: SocketAddr,
        /// The system's word.
        cause: std::io::Error,
    },
}

impl Sockets {
    /// Binds what the settings name.
    pub fn bind(settings: &Settings) -> Result<Self, BuildError> {
        let mut data = Vec::new();
        for address in settings.server.addresses() {
            data.push(listen("server.listen", address)?);
        }
        let admin = listen("admin.listen", settings.admin.listen.0)?;
        Ok(Self { data, admin })
    }

    /// Where the data port is: the first of them.
    pub fn data_address(&self) -> std::io::Result<SocketAddr> {
        self.data.first().map_or_else(|| Err(std::io::ErrorKind::NotFound.into()), TcpListener::local_addr)
    }

    /// Where the data port is, all of it.
    pub fn data_addresses(&self) -> Vec<SocketAddr> {
        self.data.iter().filter_map(|socket| socket.local_addr().ok()).collect()
    }

    /// Where the operator's port is.
    pub fn admin_address(&self) -> std::io::Result<SocketAddr> {
        self.admin.local_addr()
    }
}

impl App {
    /// Puts the parts together: opens the stores, reads the stamps, makes the upstream clients.
    ///
    /// A store that instances share may be `missing`: then an outage of it is none of what they
    /// serve, even if they are started meanwhile.
    pub async fn build(
        settings: Settings,
        instance: &str,
        log: Log,
        missing: Missing,
    ) -> Result<Self, BuildError> {
        let began = Instant::now();
        let steady = Arc::new(Steady::new(Arc::new(SystemClock)));
        let clock: Arc<dyn Clock> = steady.clone();
        let dice = Arc::new(Dice::new());
        let table = settings.table().clone();
        let (dust, mut life) = stores::open_dust(&settings, clock.clone(), &dice, missing).await?;
        let metrics = Metrics::new(env!("CARGO_PKG_VERSION"));
        let strict = settings.dust.on_unavailable == config::OnUnavailable::Error;
        let health = Arc::new(Health::new(strict, matches!(life.known, Known::Not(_))));
        // Alone with its store an instance follows nobody, and pays nothing for it.
        let numbers = dust.shared().then(|| Numbers::new(&settings.dust.prefix));
        let metered = || MeteredDust::new(dust.clone(), metrics.clone(), health.clone());
        let own = |dust: MeteredDust| -> Arc<dyn Dust> {
            match &numbers {
                Some(numbers) => Arc::new(Own::new(Arc::new(dust), numbers.clone())),
                None => Arc::new(dust),
            }
        };
        // Whoever joins uses the store before the others may.
        let (line, seam) = (own(metered()), own(metered().gated()));
        let max_life = settings.dust.max_life.0;
        let tier = match &numbers {
            Some(numbers) => Tier::in_fleet(settings.memory.size.0, numbers.clone()),
            None => Tier::new(settings.memory.size.0),
        };
        let tier = Arc::new(tier.with_max_life(max_life));
        let parts = (&*tier, &*dice, clock);
        let bodies = stores::open_bodies(&settings, &*dust, &mut life, parts, missing).await?;
        let waits = matches!(life.known, Known::Not(_));
        health.starts(waits, &bodies);
        if bodies.is_unmarked() {
            let text = "there is no room: responses are served and not stored until there is";
            log.warn("bodies", format!("bodies.url: {}: {text}", settings.bodies.url));
        }
        let stamps = Arc::new(Stamps::new(&settings.dust.prefix, max_life));
        health.watches(stamps.clone());
        let fleet_id = if let Known::Not(why) = &life.known {
            log.warn("store_missing", join::without(&settings, why));
            // Until then it is called by a name of its own.
            stores::new_fleet_id(&dice.name())
        } else {
            let loaded = stamps.load(&*line).await;
            loaded.map_err(|error| bad("dust.url", format!("the purges can't be read: {error}")))?;
            let id = stores::fleet_id(&*line, &settings.dust.prefix, &bodies.life()).await;
            id.map_err(|error| bad("dust.url", format!("the fleet's id can't be kept: {error}")))?
        };
        let flight_settings = flight::Settings {
            lease_ttl: settings.dust.lease_ttl.0,
            on_unavailable: match settings.dust.on_unavailable {
                config::OnUnavailable::RunLocal => flight::OnUnavailable::RunLocal,
                config::OnUnavailable::Error => flight::OnUnavailable::Error,
            },
            call_bound: stores::call_bound(dust.kind()),
            ..flight::Settings::default()
        };
        let flight = Flight::named(instance, seam.clone(), dice.clone(), flight_settings);
        flight.saw(stamps.newest());
        let trust = numbers
            .as_ref()
            .map_or_else(|| Arc::new(Trust::alone()), |_| fleet::trust(&settings, dust.kind()));
        let member = numbers.as_ref().map(|numbers| {
            let parts = fleet::Parts {
                settings: &settings,
                instance,
                life: &life.id,
                dust: &line,
                tier: &tier,
                stamps: &stamps,
                numbers,
                flight: &flight,
                bodies: &bodies,
                health: &health,
                dice: &dice,
                log: &log,
                metrics: &metrics,
            };
            fleet::member(&parts, &trust)
        });
        let upstreams = upstreams::make(&settings, &table, &metrics, &flight, &dice)?;
        let loads = upstreams.loads;
        let notices = Notices::new(log.clone(), metrics.clone(), table.in_order(), dice.below(1 << 40) << 20);
        let signal = Arc::new(drain::channel().0);
        let proxy = Proxy::new(proxy::Parts {
            settings: proxy::Settings {
                name: settings.server.name.clone(),
                instance: instance.into(),
                fleet: fleet_id,
                prefix: settings.dust.prefix.clone(),
                trusted: settings.server.trusted(),
                max_target: usize::try_from(settings.server.max_target.0).unwrap_or(usize::MAX),
                max_header_size: usize::try_from(settings.server.max_header_size.0).unwrap_or(usize::MAX),
                max_waiters: settings.server.max_waiters,
                max_life,
                body_timeout: settings.server.body_timeout.0,
                min_rate: settings.server.min_rate.0,
            },
            routes: table,
            upstreams: upstreams.by_route,
            tier: tier.clone(),
            stamps,
            trust: trust.clone(),
            member: member.clone(),
            flight,
            dust: seam,
            bodies: bodies.clone(),
            dice,
            notices,
            drain: signal.clone(),
        });
        let join = waits.then(|| join::Join { line, alone: life.id });
        let app = Self {
            join,
            settings,
            proxy,
            tier,
            trust,
            member,
            bodies,
            dust,
            log,
            metrics,
            health,
            signal,
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
        &self.proxy
    }

    /// Explains a request, for a command.
    pub async fn explain(&self, question: admin::Question) -> Result<serde_json::Value, admin::Problem> {
        desk::explain(&self.proxy, &self.settings, question).await
    }

    /// Serves until told to leave, and then until everything under way has ended or the grace is
    /// over (F9).
    pub async fn run(self, sockets: Sockets, mut signals: Signals) -> Exit {
        let app = Arc::new(self);
        let moment = (app.proxy.flight().settings().call_bound * 4).min(BRIEFLY);
        let following = fleet::begin(app.member.as_ref(), moment).await;
        let mut serving = JoinSet::new();
        let limits = app.limits();
        for socket in sockets.data {
            let (proxy, connections) = (app.proxy.clone(), app.connections.clone());
            serving.spawn(listener::serve(socket, proxy, limits, connections, app.signal.guard()));
        }
        let desk = Arc::new(desk::Counter::new(app.clone(), signals.knock()));
        let (access, limits, places) = (app.admin_access(), app.admin_limits(), app.admin_places.clone());
        let admin_end = Arc::new(drain::channel().0);
        tokio::spawn(admin::serve(sockets.admin, desk, access, limits, places, admin_end.guard()));
        let joining = app.join.is_some().then(|| tokio::spawn(join::join(app.clone())));
        let marking = app.bodies.is_unmarked().then(|| tokio::spawn(room::wait(app.clone())));
        let paying = tokio::spawn(app.proxy.clone().keep_stamps());
        let tidy = tokio::spawn(app.proxy.clone().keep_tidy(app.signal.guard()));
        let watch = tokio::spawn(app.health.clone().watch(
            app.proxy.flight().dust().clone(),
            app.bodies.clone(),
            stores::fleet_key(&app.settings.dust.prefix),
        ));
        let lookout = tokio::spawn(app.lookout().watch());
        app.log.info("started", format!("instance {}", app.proxy.instance()));
        let first = signals.first(&app.log).await;
        app.health.drains();
        app.log.info("draining", format!("on {first}"));
        let exit = tokio::select! {
            biased;
            second = signals.second(&app.log) => Exit::Second(second),
            exit = app.leave(&mut serving) => exit,
        };
        paying.abort();
        app.proxy.pay_at_the_end().await;
        fleet::end(app.member.as_ref(), following).await;
        tidy.abort();
        watch.abort();
        lookout.abort();
        if let Some(marking) = marking {
            marking.abort();
        }
        if let Some(joining) = joining {
            joining.abort();
            join::tidy(&app).await;
        }
        admin_end.start();
        if exit == Exit::Drained {
            // Answers about the end are still welcome, but nobody may hold it up.
            let _ = tokio::time::timeout(Duration::from_millis(200), admin_end.drain()).await;
        }
        app.log.info("stopped", exit.to_string());
        app.log.flush(Duration::from_secs(1));
        exit
    }

    /// Closes the listeners after `drain_delay`, and waits for what is under way.
    async fn leave(&self, serving: &mut JoinSet<()>) -> Exit {
        tokio::time::sleep(self.settings.server.drain_delay.0).await;
        self.signal.start();
        while serving.join_next().await.is_some() {}
        let grace = self.settings.server.drain.0;
        let ended = tokio::time::timeout(grace, async {
            self.signal.drain().await;
            for load in &self.loads {
                load.quiet().await;
            }
            self.proxy.flight().idle().await;
        });
        match ended.await {
            Ok(()) => Exit::Drained,
            Err(_) => Exit::GraceOver(self.signal.guards()),
        }
    }

    fn limits(&self) -> listener::Limits {
        let server = &self.settings.server;
        listener::Limits {
            header_timeout: server.header_timeout.0,
            idle_timeout: server.idle_timeout.0,
            send_timeout: server.send_timeout.0,
            min_rate: server.min_rate.0,
            max_connections: server.max_connections,
            max_header_size: usize::try_from(server.max_header_size.0).unwrap_or(usize::MAX),
            max_fields: server.max_fields,
        }
    }

    fn admin_access(&self) -> admin::Access {
        let admin = &self.settings.admin;
        admin::Access {
            token: admin.token.as_ref().map(|token| token.reveal().to_owned()),
            metrics_token: admin.metrics_token,
            hosts: admin.hosts.0.clone(),
        }
    }

    fn admin_limits(&self) -> admin::Limits {
        let server = &self.settings.server;
        let most = self.settings.admin.max_connections;
        admin::Limits::new(most, server.header_timeout.0, server.idle_timeout.0)
    }

    fn lookout(&self) -> Lookout {
        Lookout {
            clock: self.clock.clone(),
            dust: self.dust.clone(),
            leases: self.proxy.flight().counters().clone(),
            log: self.log.clone(),
        }
    }

    /// Gauges whose truth lies in the parts.
    fn wire_gauges(&self) {
        let (tier, bodies, connections) = (self.tier.clone(), self.bodies.clone(), self.connections.clone());
        let (log, health, places) = (self.log.clone(), self.health.clone(), self.admin_places.clone());
        let (trust, dust, clock) = (self.trust.clone(), self.dust.clone(), self.clock.clone());
        // Not the proxy: it has the metrics, and each would keep the other.
        let (stamps, leases) = (self.proxy.stamps.clone(), self.proxy.flight().counters().clone());
        self.metrics.on_render(move |metrics| {
            metrics.memory.set(tier.bytes(), tier.len() as u64);
            let room =
                metrics.memory.evictions(telemetry::words::Tier::Memory, telemetry::words::Eviction::Room);
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

/// What the body store counts by itself, as metrics.
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

fn bad(setting: impl Into<String>, reason: impl Into<String>) -> BuildError {
    BuildError::Setting { setting: setting.into(), reason: reason.into() }
}

fn listen(setting: &'static str, address: SocketAddr) -> Result<TcpListener, BuildError> {
    let socket =
        if address.is_ipv4() { tokio::net::TcpSocket::new_v4() } else { tokio::net::TcpSocket::new_v6() };
    let bound = socket.and_then(|socket| {
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        // A herd arrives faster than one loop accepts: it waits in the kernel and is not reset.
        socket.listen(4096)
    });
    bound.map_err(|cause| BuildError::Listen { setting, address, cause })
}

/// What this process is called in logs and to its peers.
pub fn instance_name(dice: &Dice) -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = host.trim();
    let host = if host.is_empty() { "dustgate" } else { host };
    format!("{host}-{}", &dice.name()[..6])
}
