//! One instance: the parts of a proxy, put together as the assembly room does it, behind a gate.

use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use dustgate::body::{self, Bodies};
use dustgate::drain;
use dustgate::dust::{Dust, Error, Faulty};
use dustgate::flight::{self, Flight, OnUnavailable};
use dustgate::proxy::follow::{Home, Moves};
use dustgate::proxy::notices::Notices;
use dustgate::proxy::{self, Proxy};
use dustgate::route::{Finish, KeyedField, PathPattern, Route, Table};
use dustgate::telemetry::{Log, Metrics};
use dustgate::tier::member::{self, Member};
use dustgate::tier::{Numbers, Own, Stamps, Tier, Trust};
use dustgate::upstream::Upstream;
use tokio::task::AbortHandle;
use tokio::time::sleep;

use crate::gate::{Gate, State};
use crate::judge::PREFIX;
use crate::line::{Line, Switchboard};
use crate::origin::Origin;
use crate::plan::{BODY_CALL, CALL_BOUND, JITTER, Plan, TRUST};
use crate::shelf::{Shelf, Way};
use crate::world::{Wall, World};

/// Nobody reads them, and to make them takes longer than all the rest.
static METRICS: LazyLock<Arc<Metrics>> = LazyLock::new(|| Metrics::new("simulated"));

/// What all instances are made from.
#[derive(Debug)]
pub struct Parts {
    pub world: Arc<World>,
    pub board: Arc<Switchboard>,
    pub shelf: Arc<Shelf>,
    /// Of all instances that there ever were.
    pub lines: Mutex<Vec<Arc<Faulty>>>,
}

pub struct Instance {
    pub name: String,
    /// When it began to serve.
    pub booted: u64,
    pub booted_ms: u64,
    pub proxy: Arc<Proxy>,
    member: Arc<Member>,
    pub stamps: Arc<Stamps>,
    pub wall: Arc<Wall>,
    pub wire: Arc<Line>,
    pub line: Arc<Faulty>,
    pub gate: Arc<Gate>,
    pub signal: Arc<drain::Signal>,
    pub bodies: Arc<Bodies>,
    /// What runs in it: its clients' requests, and its own chores.
    tasks: Mutex<Vec<AbortHandle>>,
    /// Ends its chores: apart from the other, whose guards are counted.
    chores: drain::Signal,
}

// === impl Instance ===

impl Instance {
    /// Starts one; while the stores can't be reached it tries again, as a supervisor would.
    pub async fn boot(parts: &Arc<Parts>, name: String) -> Arc<Self> {
        loop {
            match Self::try_boot(parts, &name).await {
                Ok(instance) => return instance,
                Err(why) => parts.world.say(format_args!("{name}: does not start: {why}")),
            }
            sleep(Duration::from_millis(300)).await;
        }
    }

    async fn try_boot(parts: &Arc<Parts>, name: &str) -> Result<Arc<Self>, String> {
        let Parts { world, board, shelf, lines } = &**parts;
        let plan = &world.plan;
        let ahead = i64::try_from(world.dice.below(plan.skew * 2 + 1)).unwrap_or(0)
            - i64::try_from(plan.skew).unwrap_or(0);
        let gate = Arc::new(Gate::new());
        let wall = world.wall(ahead);
        let wire = Arc::new(Line::new(board, &gate, ahead));
        let line = Arc::new(Faulty::new(wire.clone(), plan.line.clone(), world.dice()));
        lines.lock().expect("no panic under this lock").push(line.clone());
        let numbers = Numbers::new(PREFIX);
        let dust: Arc<dyn Dust> = Arc::new(Own::new(line.clone(), numbers.clone()));
        let dice = Arc::new(world.dice());
        let text = |error: Error| error.to_string();
        let bounded = async |call| tokio::time::timeout(CALL_BOUND * 5, call).await.map_err(|_| "no answer");
        let life = bounded(dust.life(Some(&dice.name()))).await?.map_err(text)?.ok_or("no life")?;
        let max_life = Duration::from_hours(720);
        let tier = Arc::new(Tier::in_fleet(256 << 10, numbers.clone()).with_max_life(max_life));
        let of_bodies = body::Settings {
            linger: plan.linger,
            hold: tier.hold(),
            window: 4096,
            blocks: 64 << 10,
            call_timeout: BODY_CALL,
            ..body::Settings::default()
        };
        let way = Arc::new(Way::new(shelf, &gate, world));
        let bodies = Bodies::open_over(way, &life, of_bodies, wall.clone())
            .await
            .map_err(|error| error.to_string())?;
        let stamps = Arc::new(Stamps::new(PREFIX, max_life));
        let purges = stamps.clone();
        tokio::time::timeout(CALL_BOUND * 5, stamps.load(&*dust))
            .await
            .map_err(|_| "no answer")?
            .map_err(text)?;
        let flight = Flight::named(
            name,
            dust.clone(),
            dice.clone(),
            flight::Settings {
                lease_ttl: plan.lease_ttl,
                call_bound: CALL_BOUND,
                jitter: JITTER,
                on_unavailable: OnUnavailable::RunLocal,
            },
        );
        flight.saw(stamps.newest());
        let routes = routes(plan);
        let origin: Arc<dyn Upstream> = Arc::new(Origin::new(world, &gate, name));
        let trust = Arc::new(Trust::shared(plan.when_unsure));
        let home = Home {
            routes: routes.clone(),
            flight: flight.clone(),
            dust: dust.clone(),
            max_life_ms: u64::try_from(max_life.as_millis()).expect("a month"),
            moves: Box::new(Shelves(bodies.clone())),
            log: Log::null(),
            metrics: METRICS.clone(),
        };
        let member = Member::new(
            member::Settings {
                prefix: PREFIX.to_owned(),
                instance: name.into(),
                trust: TRUST,
                call_bound: CALL_BOUND,
                life,
            },
            member::Parts {
                dust: dust.clone(),
                tier: tier.clone(),
                stamps: stamps.clone(),
                numbers,
                trust: trust.clone(),
                dice: dice.clone(),
            },
            Arc::new(home),
        );
        let notices = Notices::new(Log::null(), METRICS.clone(), routes.in_order(), 0);
        let signal = Arc::new(drain::channel().0);
        let proxy = Proxy::new(proxy::Parts {
            settings: proxy::Settings {
                name: "dustgate".to_owned(),
                instance: name.into(),
                fleet: "simulated".to_owned(),
                prefix: PREFIX.to_owned(),
                trusted: Vec::new(),
                max_target: 1024,
                max_header_size: 8192,
                max_waiters: 1000,
                max_life,
                body_timeout: Duration::from_secs(10),
                min_rate: 0,
            },
            routes,
            upstreams: vec![origin.clone(), origin],
            tier,
            stamps,
            trust,
            member: Some(member.clone()),
            flight,
            dust,
            bodies: bodies.clone(),
            dice,
            notices,
            drain: signal.clone(),
        });
        let instance = Self {
            name: name.to_owned(),
            booted: world.moment(),
            booted_ms: world.now(),
            proxy,
            member,
            stamps: purges,
            wall,
            wire,
            line,
            gate,
            signal,
            bodies,
            tasks: Mutex::default(),
            chores: drain::channel().0,
        };
        instance.begin_chores().await;
        world.say(format_args!("{name}: starts, its clock {ahead} ms ahead"));
        Ok(Arc::new(instance))
    }

    /// What the assembly room starts beside the listeners.
    async fn begin_chores(&self) {
        self.owns(tokio::spawn(self.proxy.clone().keep_stamps()).abort_handle());
        let tidy = tokio::spawn(self.proxy.clone().keep_tidy(self.chores.guard()));
        self.owns(tidy.abort_handle());
        self.owns(tokio::spawn(self.member.clone().follow()).abort_handle());
        self.owns(tokio::spawn(self.member.clone().keep_trust()).abort_handle());
        let _ = tokio::time::timeout(CALL_BOUND * 4, self.member.is_sure()).await;
    }

    /// Ends with the instance.
    pub fn owns(&self, task: AbortHandle) {
        let mut tasks = self.tasks.lock().expect("no panic under this lock");
        tasks.retain(|task| !task.is_finished());
        tasks.push(task);
    }

    /// Nothing of it is ever heard of again.
    pub fn crash(&self) {
        self.gate.set(State::Shut);
        self.line.down();
        for task in self.tasks.lock().expect("no panic under this lock").drain(..) {
            task.abort();
        }
    }

    /// The graceful end (F9), once nobody new comes: whether it came in time.
    pub async fn drain(&self, grace: Duration) -> bool {
        self.signal.start();
        self.chores.start();
        let ended = tokio::time::timeout(grace, async {
            self.signal.drain().await;
            self.proxy.flight().idle().await;
        });
        let ended = ended.await.is_ok();
        self.member.leave().await;
        ended
    }

    /// What is still going on although nobody wants anything of it.
    pub async fn is_busy(&self) -> Option<String> {
        if tokio::time::timeout(Duration::from_mins(1), self.proxy.flight().idle()).await.is_err() {
            return Some("something is owed for ever".to_owned());
        }
        let fills = self.signal.guards();
        if fills > 0 {
            return Some(format!("{fills} fills go on for ever"));
        }
        let flights = self.proxy.list_flights(10);
        if flights.as_array().is_none_or(|flights| !flights.is_empty()) {
            return Some(format!("flights go on for ever: {flights}"));
        }
        let window = self.bodies.counters().window.load(std::sync::atomic::Ordering::Relaxed);
        if window > 0 {
            return Some(format!("{window} bytes of growing bodies are held for ever"));
        }
        // One is the standing one, which fills its tier.
        let listens = self.line.subscriptions().saturating_sub(1);
        (listens > 0).then(|| format!("{listens} subscriptions stay for ever"))
    }
}

/// Bodies follow the store from life to life.
struct Shelves(Arc<Bodies>);

#[async_trait]
impl Moves for Shelves {
    async fn moves(&self, id: &str, _: bool) -> Result<(), String> {
        self.0.rebind(id).await.map_err(|error| error.to_string())
    }
}

fn routes(plan: &Plan) -> Arc<Table> {
    let mut keyed = Route::new("keyed", "origin");
    keyed.paths = vec![PathPattern::parse("/v/*").expect("it is a pattern")];
    keyed.vary_on = vec![KeyedField::parse("x-lang").expect("it is a field")];
    let mut route = Route::new("all", "origin");
    route.wait_timeout = plan.wait_timeout;
    route.finish = if plan.while_wanted { Finish::WhileWanted } else { Finish::Always };
    Arc::new(Table::new(vec![keyed, route]).expect("there is one"))
}
