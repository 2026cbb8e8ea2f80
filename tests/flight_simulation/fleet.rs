//! Instances and their requests, as the proxy would have them, with numbers in place of bytes.

use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use dustgate::clock::Dice;
use dustgate::dust::{Entry, Number};
use dustgate::flight::{
    Entered, Fill, Flight, Flights, Found, Joined, Judge, Judged, Leader, Names, OnUnavailable, Product,
    Published, Settings, Settled, Standing,
};
use dustgate::testkit::faulty::{Fault, Faulty, Op};
use serde_json::{Value as Json, json};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use crate::plan::{CALL_BOUND, JITTER, Plan};
use crate::watch::{self, Waits};
use crate::world::{Desk, Purge, Report, Value, World};

/// What a leader tells its instance.
#[derive(Debug, Clone, PartialEq)]
enum Told {
    Value(Value),
    /// The origin failed: shared with those who wait.
    Failed,
    /// No result in time.
    Nothing,
}

struct Instance {
    name: String,
    flight: Arc<Flight>,
    line: Arc<Faulty>,
    local: Flights<String, Told>,
    tasks: Mutex<Vec<AbortHandle>>,
}

struct Fleet {
    world: Arc<World>,
    waits: Arc<Waits>,
    instances: Vec<Mutex<Arc<Instance>>>,
}

/// One request.
struct Call {
    n: u64,
    world: Arc<World>,
    waits: Arc<Waits>,
    instance: Arc<Instance>,
    key: String,
    /// When it came, what was purged by then, and how long it waits.
    arrived: u64,
    purge: Purge,
    deadline: Instant,
}

/// Lets a fleet live by its plan, and tells what came of it.
pub async fn live(plan: Plan) -> Report {
    let world = World::new(plan);
    let waits = Arc::new(Waits::default());
    let watch = watch::the_store(&world, &waits).await;
    let plan = &world.plan;
    let instances = (0..plan.instances).map(|n| Mutex::new(Instance::new(&world, n.to_string()))).collect();
    let fleet = Arc::new(Fleet { world: world.clone(), waits, instances });
    let mut events = Vec::new();
    for n in 0..plan.requests {
        let leaves = n < plan.cancels;
        events.push(tokio::spawn(fleet.clone().request(n, leaves)));
    }
    for _ in 0..plan.purges {
        events.push(tokio::spawn(fleet.clone().purge()));
    }
    for n in 0..plan.crashes {
        events.push(tokio::spawn(fleet.clone().crash(n)));
    }
    for event in events {
        event.await.expect("what happens does not panic");
    }
    // Nothing is under way any more: whatever is held or watched now is so for ever.
    sleep(plan.lease_ttl * 3 + plan.fetch + Duration::from_secs(5)).await;
    fleet.is_quiet().await;
    watch.abort();
    world.report()
}

// === impl Fleet ===

impl Fleet {
    async fn request(self: Arc<Self>, n: u64, leaves: bool) {
        let (at, key, to) = (self.sometime(), self.some_key(), self.some_instance());
        let leaves = leaves.then(|| self.world.up_to(Duration::from_secs(2)));
        sleep_until(at).await;
        let instance = self.instance(to).clone();
        let call = Arc::new(Call::new(n, &self, &instance, key));
        let ends = call.deadline + Duration::from_millis(5);
        let task = tokio::spawn(call.answer());
        instance.owns(task.abort_handle());
        if let Some(after) = leaves {
            sleep(after).await;
            if !task.is_finished() {
                self.world.count("cancel");
                task.abort();
            }
        }
        sleep_until(ends).await;
        if !task.is_finished() {
            self.world.broken(format_args!("request {n} goes on after its deadline"));
        }
    }

    async fn purge(self: Arc<Self>) {
        let (at, key) = (self.sometime(), self.some_key());
        sleep_until(at).await;
        let stamp = self.world.purge(&key).await;
        for n in 0..self.instances.len() {
            self.instance(n).flight.saw(stamp);
        }
    }

    async fn crash(self: Arc<Self>, n: u64) {
        let (at, to) = (self.sometime(), self.some_instance());
        sleep_until(at).await;
        let next = Instance::new(&self.world, format!("{to}'{n}"));
        let gone = std::mem::replace(&mut *self.instance(to), next);
        gone.crash();
        self.world.say(format_args!("{}: crashed", gone.name));
        self.world.count("crash");
    }

    async fn is_quiet(&self) {
        let world = &self.world;
        for n in 0..self.instances.len() {
            let instance = self.instance(n).clone();
            if instance.line.subscriptions() + instance.local.len() > 0 {
                world.broken(format_args!("{}: something is watched or led for ever", instance.name));
            }
            if timeout_at(Instant::now(), instance.flight.idle()).await.is_err() {
                world.broken(format_args!("{}: something is owed for ever", instance.name));
            }
        }
        for n in 0..world.plan.keys {
            if let Some(token) = world.look(&format!("k{n}")).await.lock {
                world.broken(format_args!("k{n}: {token} is held by nobody"));
            }
        }
    }

    fn instance(&self, n: usize) -> MutexGuard<'_, Arc<Instance>> {
        self.instances[n].lock().expect("no panic under this lock")
    }

    fn some_instance(&self) -> usize {
        usize::try_from(self.world.dice.below(self.world.plan.instances as u64)).expect("a few")
    }

    fn some_key(&self) -> String {
        format!("k{}", self.world.dice.below(self.world.plan.keys))
    }

    fn sometime(&self) -> Instant {
        self.world.at(0) + self.world.up_to(self.world.plan.span)
    }
}

// === impl Instance ===

impl Instance {
    fn new(world: &World, name: String) -> Arc<Self> {
        let plan = &world.plan;
        let dice = || Dice::seeded(world.dice.below(u64::MAX));
        // Each line is down by itself: others go on, and take over.
        let mut bad = plan.line.clone();
        bad.down.retain(|_| world.chance(500));
        let line = Arc::new(Faulty::new(world.store.clone(), bad, dice()));
        let settings = Settings {
            lease_ttl: plan.lease_ttl,
            call_bound: CALL_BOUND,
            jitter: JITTER,
            on_unavailable: OnUnavailable::RunLocal,
        };
        let flight = Flight::new(line.clone(), Arc::new(dice()), settings);
        Arc::new(Self { name, flight, line, local: Flights::new(), tasks: Mutex::default() })
    }

    fn owns(&self, task: AbortHandle) {
        self.tasks.lock().expect("no panic under this lock").push(task);
    }

    /// Nothing of it is ever heard of again.
    fn crash(&self) {
        self.line.down();
        for task in self.tasks.lock().expect("no panic under this lock").drain(..) {
            task.abort();
        }
    }
}

// === impl Call ===

impl Call {
    fn new(n: u64, fleet: &Fleet, instance: &Arc<Instance>, key: String) -> Self {
        let world = fleet.world.clone();
        let wait = world.plan.lease_ttl + world.up_to(Duration::from_secs(5));
        Self {
            n,
            waits: fleet.waits.clone(),
            instance: instance.clone(),
            arrived: world.now(),
            purge: world.purge_of(&key),
            deadline: Instant::now() + wait,
            key,
            world,
        }
    }

    async fn answer(self: Arc<Self>) {
        self.say("comes");
        let local = &self.instance.local;
        let mut joined = local.join(&self.key);
        for _ in 0..100 {
            let led = matches!(joined, Joined::Lead(_));
            let follower = match joined {
                Joined::Follow(follower) => follower,
                Joined::Lead(leader) => {
                    let follower = leader.follower();
                    self.instance.owns(tokio::spawn(self.clone().lead(leader)).abort_handle());
                    follower
                }
            };
            let Ok(settled) = timeout_at(self.deadline, follower.settled()).await else {
                return self.say("times out");
            };
            joined = match settled {
                Settled::Abandoned => {
                    self.world.count("abandoned");
                    local.join(&self.key)
                }
                Settled::Told(Told::Value(value)) if !self.may_use(&value) => {
                    self.world.count("refused");
                    if led && value.sent >= self.arrived {
                        let n = self.n;
                        self.world.broken(format_args!("request {n} refuses what it led to: {value:?}"));
                    }
                    local.join_after(&self.key, &follower)
                }
                Settled::Told(told) => return self.is_answered(&told),
            };
        }
        self.world.broken(format_args!("request {} goes round in circles", self.n));
    }

    fn is_answered(&self, told: &Told) {
        self.say(format_args!("ends: {told:?}"));
        if let Told::Value(value) = told
            && value.sent < self.purge.at
        {
            let (n, at) = (self.n, self.purge.at);
            self.world.broken(format_args!("request {n} came after the purge at {at} and gets {value:?}"));
        }
    }

    /// Leads: outlives the request that it belongs to.
    async fn lead(self: Arc<Self>, mut leader: Leader<String, Told>) {
        let wait = self.waits.enter(&self.world, &self.key);
        let names = Names::of(&self.key);
        let entered = self.instance.flight.enter(&names, self.deadline, self.purge.stamp, &*self).await;
        if Instant::now() > self.deadline + 5 * CALL_BOUND {
            self.world.broken(format_args!("request {} entered far past its deadline", self.n));
        }
        wait.over(&self.world, &self.key, |value| self.may_use(value));
        match entered {
            Entered::Cached(told) => self.found("cached", told, &mut leader),
            Entered::Awaited(told) => self.found("awaited", told, &mut leader),
            Entered::TimedOut(told) => {
                if Instant::now() < self.deadline {
                    self.world.broken(format_args!("request {} was timed out early", self.n));
                }
                self.found("timed out", told.unwrap_or(Told::Nothing), &mut leader);
            }
            Entered::Won(fill) => {
                self.world.count("won");
                self.fill(fill, leader).await;
            }
            Entered::Alone(fill) => {
                self.world.count("alone");
                if self.world.plan.calm {
                    self.world.broken(format_args!("request {} runs alone, and nothing is wrong", self.n));
                }
                self.fill(fill, leader).await;
            }
            Entered::Unavailable(why) => {
                self.world.broken(format_args!("it is not to say so: {why:?}"));
            }
        }
    }

    fn found(&self, how: &'static str, told: Told, leader: &mut Leader<String, Told>) {
        self.say(format_args!("{how}: {told:?}"));
        self.world.count(how);
        leader.settle(told);
    }

    async fn fill(&self, fill: Fill, mut leader: Leader<String, Told>) {
        let (world, born) = (&self.world, fill.token());
        self.say(format_args!("fills, coordinated: {}, born {born}", fill.coordinated()));
        let desk: Arc<Desk> = Arc::new(Mutex::new(Some(fill)));
        world
            .fill_begins(&self.key, &desk, |looked| {
                let found =
                    Found { value: looked.value.clone(), body: None, verdict: looked.verdict.clone() };
                matches!(self.judge(&found, None), Judged::Found(_))
            })
            .await;
        let sent = world.now();
        let wanted = tokio::select! {
            biased;
            () = leader.unwanted(), if world.plan.while_wanted => false,
            () = sleep(world.up_to(world.plan.fetch)) => true,
        };
        if world.chance(world.plan.drops) {
            self.say("is dropped");
            return world.is_handed_on(&self.key, born);
        }
        if world.chance(world.plan.panics) {
            self.say("panics");
            world.count("panic");
            // A panic that says nothing.
            resume_unwind(Box::new("as planned"));
        }
        let fill = desk.lock().expect("no panic under this lock").take().expect("it is here until now");
        if !wanted {
            self.say("is unwanted");
            world.count("unwanted");
            return fill.abort(None).await;
        }
        if world.chance(world.plan.failures) {
            self.say("fails");
            let failed = json!({ "failed": born, "until": world.now() + 1000 }).to_string();
            leader.settle(Told::Failed);
            return fill.abort(Some((&failed, None))).await;
        }
        if world.chance(world.plan.late_puts) {
            // On its way for so long that somebody else may have come and gone.
            self.instance.line.next(Some(Op::Publish), Fault::Delay(world.up_to(Duration::from_secs(10))));
        }
        let fresh_until = world.now() + u64::try_from(world.plan.fresh.as_millis()).unwrap_or(0);
        let value = Value { born, sent, fresh_until };
        leader.settle(Told::Value(value.clone()));
        let (of, key) = (world.clone(), self.key.clone());
        let standing =
            move || if of.purge_of(&key).stamp > born { Standing::Covered } else { Standing::Live };
        let published = fill.publish(Product::new(value.text(), None), standing).await;
        self.say(format_args!("published: {published:?}"));
        world.count(match published {
            Published::Failed(_) => "failed to publish",
            other => other.as_str(),
        });
    }

    /// F5 and F8: no purge in between, and fresh, or asked for since this one came.
    fn may_use(&self, value: &Value) -> bool {
        value.born >= self.purge.stamp && (value.sent >= self.arrived || self.world.now() < value.fresh_until)
    }

    fn say(&self, what: impl std::fmt::Display) {
        self.world.say(format_args!("{}: {}: request {} {what}", self.key, self.instance.name, self.n));
    }
}

impl Judge for Call {
    type Found = Told;

    fn judge(&self, found: &Found, _: Option<Number>) -> Judged<Told> {
        let (value, verdict) = (found.value.as_ref(), found.verdict.as_ref());
        if let Some(value) = value.and_then(Value::of)
            && self.may_use(&value)
        {
            return Judged::Found(Told::Value(value));
        }
        let verdict: Option<Json> =
            verdict.and_then(Entry::text).and_then(|text| serde_json::from_str(text).ok());
        let number = |name| verdict.as_ref().and_then(|verdict| verdict[name].as_u64()).unwrap_or(0);
        if number("failed") > self.purge.stamp && self.world.now() < number("until") {
            return Judged::Found(Told::Failed);
        }
        Judged::Absent
    }

    fn stale(&self, value: Option<&Entry>) -> Option<Told> {
        value.and_then(Value::of).filter(|value| value.born >= self.purge.stamp).map(Told::Value)
    }
}
