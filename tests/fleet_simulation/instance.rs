//! One instance, as it ships, behind a gate.

use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use dustgate::body::{self, Bodies};
use dustgate::dust::{Dust as _, Error};
use dustgate::flight::{self, OnUnavailable};
use dustgate::node::{self, Chores, Node, Opened, Seams, Upstreams};
use dustgate::proxy::{self, Proxy};
use dustgate::route::{Finish, KeyedField, PathPattern, Route, Table};
use dustgate::tasks::Tasks;
use dustgate::telemetry::{Log, Metrics};
use dustgate::testkit::Faulty;
use dustgate::tier::{Stamps, Tier};
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

/// Bytes of memory: little, so that records have to make room.
const MEMORY: u64 = 256 << 10;

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
    pub node: Arc<Node>,
    pub proxy: Arc<Proxy>,
    pub stamps: Arc<Stamps>,
    pub wall: Arc<Wall>,
    pub wire: Arc<Line>,
    pub line: Arc<Faulty>,
    pub gate: Arc<Gate>,
    pub bodies: Arc<Bodies>,
    /// Its clients' requests.
    tasks: Mutex<Vec<AbortHandle>>,
    /// What runs beside them; none once it has ended.
    chores: Mutex<Option<Chores>>,
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
        let dice = Arc::new(world.dice());
        let text = |error: Error| error.to_string();
        let bounded = async |call| tokio::time::timeout(CALL_BOUND * 5, call).await.map_err(|_| "no answer");
        let life = bounded(line.life(Some(&dice.name()))).await?.map_err(text)?.ok_or("no life")?;
        let of_bodies = body::Settings {
            linger: plan.linger,
            hold: Tier::hold_of(MEMORY),
            window: 4096,
            blocks: 64 << 10,
            call_timeout: BODY_CALL,
            // In every other run small bodies lie beside their records.
            small: if plan.seed % 2 == 0 { 0 } else { body::Settings::default().small },
            ..body::Settings::default()
        };
        let way = Arc::new(Way::new(shelf, &gate, world));
        let bodies = Bodies::open_over(way, &life, of_bodies, wall.clone())
            .await
            .map_err(|error| error.to_string())?;
        let settings = settings(plan, name);
        let opened = Opened::there(Seams::open(line.clone()), bodies.clone(), life);
        let stores = tokio::time::timeout(CALL_BOUND * 5, opened.read(&settings, &dice))
            .await
            .map_err(|_| "no answer")?
            .map_err(|error| error.to_string())?;
        let origin: Arc<dyn Upstream> = Arc::new(Origin::new(world, &gate, name));
        let node = Node::new(node::Parts {
            settings,
            stores,
            routes: routes(plan),
            upstreams: Upstreams::without_budgets(vec![origin.clone(), origin]),
            dice,
            log: Log::null(),
            metrics: METRICS.clone(),
            tasks: Tasks::null(),
        });
        let (booted, booted_ms) = (world.moment(), world.now());
        let mut chores = node.begin().await;
        chores.pay();
        chores.tidy();
        let instance = Self {
            name: name.to_owned(),
            booted,
            booted_ms,
            proxy: node.proxy.clone(),
            stamps: node.stamps().clone(),
            node,
            wall,
            wire,
            line,
            gate,
            bodies,
            tasks: Mutex::default(),
            chores: Mutex::new(Some(chores)),
        };
        world.say(format_args!("{name}: starts, its clock {ahead} ms ahead"));
        Ok(Arc::new(instance))
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
        drop(self.take_chores());
    }

    fn take_chores(&self) -> Option<Chores> {
        self.chores.lock().expect("no panic under this lock").take()
    }

    /// The graceful end (F9), once nobody new comes: whether it came in time.
    pub async fn drain(&self, grace: Duration) -> bool {
        let ended = self.node.drained(grace).await.is_ok();
        if let Some(mut chores) = self.take_chores() {
            chores.end().await;
            chores.clear().await;
        }
        ended
    }

    /// What is still going on although nobody wants anything of it.
    pub async fn is_busy(&self) -> Option<String> {
        if tokio::time::timeout(Duration::from_mins(1), self.proxy.flight().idle()).await.is_err() {
            return Some("something is owed for ever".to_owned());
        }
        if self.node.tasks.panics() > 0 {
            return Some("a task of it has panicked".to_owned());
        }
        // Two are the janitor's: its own, and the one that it waits with.
        let fills = self.node.signal.guards().saturating_sub(2);
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

fn settings(plan: &Plan, name: &str) -> node::Settings {
    node::Settings {
        proxy: proxy::Settings {
            server: proxy::Server {
                max_target: 1024,
                max_header_size: 8192,
                max_waiters: 1000,
                body_timeout: Duration::from_secs(10),
                min_rate: 0,
                ..proxy::Server::default()
            },
            instance: name.into(),
            prefix: PREFIX.to_owned(),
            max_life: Duration::from_hours(720),
        },
        flight: flight::Settings {
            lease_ttl: plan.lease_ttl,
            call_bound: CALL_BOUND,
            jitter: JITTER,
            on_unavailable: OnUnavailable::RunLocal,
        },
        memory: MEMORY,
        trust: TRUST,
        when_unsure: plan.when_unsure,
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
