//! Lets a fleet live by its plan: requests, and what befalls it meanwhile.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use dustgate::dust::{Dust as _, Embedded, Value};
use dustgate::proxy;
use dustgate::testkit::faulty::{Fault, Op};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::client::{Visit, Wish};
use crate::gate::State;
use crate::instance::{Instance, Parts};
use crate::judge::{self, Purge};
use crate::line::Switchboard;
use crate::plan::Plan;
use crate::scene::Scene;
use crate::shelf::Shelf;
use crate::world::{Report, World};

pub struct Fleet {
    pub world: Arc<World>,
    pub parts: Arc<Parts>,
    /// None: stopped, and not started again yet.
    slots: Vec<Mutex<Option<Arc<Instance>>>>,
}

/// Lets a fleet live by its plan, and tells what came of it.
pub async fn live(plan: Plan) -> Report {
    let world = World::new(plan);
    let shelf = Arc::new(Shelf::default());
    let board = Switchboard::new(&world, &shelf);
    let parts = Arc::new(Parts { world: world.clone(), board, shelf, lines: Mutex::default() });
    let mut slots = Vec::new();
    for n in 0..world.plan.instances {
        slots.push(Mutex::new(Some(Instance::boot(&parts, n.to_string()).await)));
    }
    let fleet = Arc::new(Fleet { world: world.clone(), parts, slots });
    fleet.clone().events().await;
    fleet.comes_to_rest().await;
    world.report()
}

// === impl Fleet ===

impl Fleet {
    async fn events(self: Arc<Self>) {
        let plan = &self.world.plan;
        let mut events = Vec::new();
        for n in 0..plan.requests {
            events.push(tokio::spawn(self.clone().request(n)));
        }
        for n in 0..plan.posts {
            events.push(tokio::spawn(self.clone().post(plan.requests + n)));
        }
        for _ in 0..plan.purges {
            events.push(tokio::spawn(self.clone().purge()));
        }
        for n in 0..plan.crashes {
            events.push(tokio::spawn(self.clone().crash(n)));
        }
        for _ in 0..plan.freezes {
            events.push(tokio::spawn(self.clone().freeze()));
        }
        for n in 0..plan.drains {
            events.push(tokio::spawn(self.clone().drain(n)));
        }
        for _ in 0..plan.outages {
            events.push(tokio::spawn(self.clone().outage()));
        }
        for _ in 0..plan.failovers {
            events.push(tokio::spawn(self.clone().fail_over()));
        }
        for _ in 0..plan.body_outages {
            events.push(tokio::spawn(self.clone().body_outage()));
        }
        for _ in 0..plan.late_puts {
            events.push(tokio::spawn(self.clone().late_put()));
        }
        if let Some(scene) = plan.scene {
            self.world.count(scene.as_str());
            events.push(tokio::spawn(scene.plays(self.clone())));
        }
        for event in events {
            event.await.expect("what happens does not panic");
        }
    }

    pub async fn request(self: Arc<Self>, n: u64) {
        let (at, wish, to) = (self.world.sometime(), Wish::some(&self.world, n), self.world.some_instance());
        let leaves = self.world.chance(self.world.plan.cancels);
        let leaves = leaves.then(|| self.world.up_to(Duration::from_secs(1)));
        sleep_until(at).await;
        let Some(instance) = self.instance(to).clone() else { return };
        self.world.count("request");
        self.world.count(if wish.credentials { "with credentials" } else { "without credentials" });
        let visit = Visit::new(&self.world, &instance, wish);
        let limit = self.limit();
        let task = tokio::spawn(async move { visit.goes().await });
        instance.owns(task.abort_handle());
        if let Some(after) = leaves {
            sleep(after).await;
            if !task.is_finished() {
                self.world.count("cancel");
                task.abort();
            }
        }
        let handle = task.abort_handle();
        match timeout(limit, task).await {
            Err(_) => {
                handle.abort();
                self.world.broken(format_args!("request {n} has no end"));
            }
            Ok(Err(error)) if error.is_panic() => {
                self.world.broken(format_args!("request {n} panics: {error}"));
            }
            Ok(_) => {}
        }
    }

    /// As long as a request may take, with all freezes on top.
    fn limit(&self) -> Duration {
        let plan = &self.world.plan;
        let freezes = u32::try_from(plan.freezes).expect("a few");
        // A slow reader has at most so many pieces to read.
        Visit::limit(plan) + plan.lease_ttl * 3 * freezes + Duration::from_secs(30)
    }

    async fn post(self: Arc<Self>, n: u64) {
        let (at, key, to) = (self.world.sometime(), self.world.some_key(), self.world.some_instance());
        sleep_until(at).await;
        self.posts(n, key, to).await;
    }

    /// Sends an unsafe request.
    pub async fn posts(self: &Arc<Self>, n: u64, key: usize, to: usize) {
        let Some(instance) = self.instance(to).clone() else { return };
        self.world.count("post");
        let purge = Purge {
            key: Some(key),
            soft: false,
            begun: self.world.moment(),
            answered: None,
            unsafe_request: true,
            since: BTreeMap::new(),
            answered_ms: 0,
            number: 0,
            by_url: true,
        };
        let place = self.world.ledger.purges(purge);
        let wish = Wish::post(n, key);
        let visit = Visit::new(&self.world, &instance, wish);
        let task = tokio::spawn(async move { visit.goes().await });
        instance.owns(task.abort_handle());
        let done = timeout(self.limit(), task).await;
        match done {
            // With a line that is sound the stamp is written, and known here.
            Ok(Ok(Some(status)))
                if status.is_success() && (self.world.plan.calm || self.world.plan.sound) =>
            {
                self.world.ledger.post_answered(&self.world, place, n, &instance.name);
            }
            Ok(_) => {}
            Err(_) => self.world.broken(format_args!("request {n} has no end")),
        }
    }

    async fn purge(self: Arc<Self>) {
        let (at, key, to) = (self.world.sometime(), self.world.some_key(), self.world.some_instance());
        let (soft, all) = (self.world.chance(300), self.world.chance(150));
        sleep_until(at).await;
        self.purges(key, to, soft, all).await;
    }

    /// Purges.
    pub async fn purges(&self, key: usize, to: usize, soft: bool, all: bool) {
        let Some(instance) = self.instance(to).clone() else { return };
        self.world.count(if soft { "soft purge" } else { "purge" });
        self.world.ledger.changes(key);
        let begun = self.world.moment();
        let mut since = self.world.ledger.versions(&self.world.plan);
        since.retain(|of, _| all || *of == key);
        let key_or_all = (!all).then_some(key);
        // Not of the dice: so the rest of a history stays as it is.
        let way = begun % 4;
        if way > 0 {
            self.world.count("purge by tag or area");
        }
        let purge = Purge {
            key: key_or_all,
            soft,
            begun,
            answered: None,
            unsafe_request: false,
            since,
            answered_ms: 0,
            number: 0,
            by_url: way == 0,
        };
        let place = self.world.ledger.purges(purge);
        let what = named(key, all, way);
        self.world.say(format_args!("{}: purge of {what:?}, soft: {soft}, begun {begun}", instance.name));
        let of = instance.clone();
        let task = tokio::spawn(async move { of.proxy.purge(&what, soft).await });
        instance.owns(task.abort_handle());
        // The operator's patience is the admin port's affair.
        let handle = task.abort_handle();
        match timeout(Duration::from_secs(20), task).await {
            Ok(Ok(Ok(purged))) => {
                if instance.gate.pass().await.is_err() {
                    return;
                }
                let moment = self.world.moment();
                self.world.say(format_args!("{}: purged at {moment}: {purged:?}", instance.name));
                self.world.ledger.purged(&self.world, place, moment, purged.number, purged.confirmed);
                self.world.count("purged");
            }
            Ok(_) => self.world.count("not purged"),
            Err(_) => {
                handle.abort();
                self.world.count("purge without an answer");
            }
        }
    }

    async fn crash(self: Arc<Self>, n: u64) {
        let (at, to) = (self.world.sometime(), self.world.some_instance());
        sleep_until(at).await;
        self.crashes(to, &format!("{to}'{n}"), self.world.up_to(Duration::from_secs(2))).await;
    }

    /// One is killed, and another one begins in its place.
    pub async fn crashes(&self, to: usize, name: &str, after: Duration) {
        let Some(gone) = self.instance(to).take() else { return };
        gone.crash();
        self.world.say(format_args!("{}: crashed", gone.name));
        self.world.count("crash");
        drop(gone);
        sleep(after).await;
        let next = Instance::boot(&self.parts, name.to_owned()).await;
        *self.instance(to) = Some(next);
    }

    /// It stands still for longer than its leases last, and goes on.
    async fn freeze(self: Arc<Self>) {
        let (at, to) = (self.world.sometime(), self.world.some_instance());
        sleep_until(at).await;
        let Some(instance) = self.instance(to).clone() else { return };
        self.world.say(format_args!("{}: stands still", instance.name));
        self.world.count("freeze");
        instance.gate.set(State::Frozen);
        sleep(self.world.plan.lease_ttl / 2 + self.world.up_to(self.world.plan.lease_ttl * 2)).await;
        self.world.say(format_args!("{}: goes on", instance.name));
        instance.gate.set(State::Open);
    }

    async fn drain(self: Arc<Self>, n: u64) {
        let (at, to) = (self.world.sometime(), self.world.some_instance());
        sleep_until(at).await;
        let Some(leaves) = self.instance(to).take() else { return };
        self.world.say(format_args!("{}: is told to leave", leaves.name));
        self.world.count("drain");
        let within = self.limit();
        if !leaves.drain(within).await && leaves.gate.is() != State::Shut {
            self.world.broken(format_args!("{}: does not come to its end", leaves.name));
        }
        // Its clients have had their answers by now, or soon have.
        sleep(Duration::from_secs(5)).await;
        leaves.crash();
        drop(leaves);
        let next = Instance::boot(&self.parts, format!("{to}\"{n}")).await;
        *self.instance(to) = Some(next);
    }

    async fn outage(self: Arc<Self>) {
        sleep_until(self.world.sometime()).await;
        self.world.say("the store is down");
        self.world.count("outage");
        self.parts.board.set_up(false);
        sleep(self.world.up_to(Duration::from_secs(4))).await;
        self.world.say("the store is up");
        self.parts.board.set_up(true);
    }

    /// To an empty store, or to one that is a while behind.
    async fn fail_over(self: Arc<Self>) {
        let empty = self.world.chance(300);
        sleep_until(self.world.sometime()).await;
        let replica = (!empty).then(|| self.parts.board.replica());
        sleep(self.world.up_to(Duration::from_secs(2))).await;
        self.world.say(format_args!("the store fails over, empty: {empty}"));
        self.world.count(if empty { "failover to an empty store" } else { "failover to a replica" });
        self.world.ledger.failed_over(&self.world);
        self.parts.board.fail_over(replica).await;
    }

    async fn body_outage(self: Arc<Self>) {
        sleep_until(self.world.sometime()).await;
        self.world.say("the body store is down");
        self.world.count("body outage");
        self.parts.shelf.set_down(true);
        sleep(self.world.up_to(Duration::from_secs(3))).await;
        self.world.say("the body store is up");
        self.parts.shelf.set_down(false);
    }

    /// The next result is on its way for so long that somebody else may have come and gone.
    async fn late_put(self: Arc<Self>) {
        let (at, to) = (self.world.sometime(), self.world.some_instance());
        sleep_until(at).await;
        let Some(instance) = self.instance(to).clone() else { return };
        self.world.count("late put");
        instance.line.next(Some(Op::Publish), Fault::Delay(self.world.up_to(self.world.plan.lease_ttl * 3)));
    }

    /// Nothing is under way any more: whatever is held, watched or run now is so for ever.
    async fn comes_to_rest(&self) {
        let world = &self.world;
        sleep(world.plan.lease_ttl * 3 + Duration::from_secs(8)).await;
        let mut last = Vec::new();
        for slot in &self.slots {
            last.extend(slot.lock().expect("no panic under this lock").take());
        }
        for instance in &last {
            if let Some(why) = instance.is_busy().await {
                world.broken(format_args!("{}: {why}", instance.name));
            }
        }
        let store = self.parts.board.store();
        let locks = async || store.entries("_dust:sf/").await.expect("the bare store answers");
        let before = locks().await;
        // What tidies up may hold one for a moment.
        sleep(Duration::from_secs(1)).await;
        for (key, entry) in locks().await {
            let same = before.iter().any(|(was, held)| *was == key && held.number == entry.number);
            if same && matches!(entry.value, Value::Lease { .. }) {
                world.broken(format_args!("{key} is held by nobody"));
            }
        }
        self.stamps_hold(&store, &last).await;
        if world.plan.calm {
            world.ledger.fetched_once(world, &world.plan);
        }
        // Taken, for they have tasks of their own.
        let lines = std::mem::take(&mut *self.parts.lines.lock().expect("no panic under this lock"));
        if !world.plan.calm && world.plan.scene.is_none() && world.plan.body_outages == 0 {
            let struck = lines.iter().map(|line| line.struck()).sum();
            world.ledger.fetched_seldom(world, &world.plan, struck);
        }
        for key in 0..world.plan.keys.len() {
            let fills = world.ledger.fills(key);
            world.say(format_args!("k{key}: {fills} fills"));
        }
        for instance in &last {
            if !instance.drain(Duration::from_secs(30)).await {
                world.broken(format_args!("{}: does not come to its end", instance.name));
            }
            instance.crash();
        }
        drop((last, lines));
        if world.plan.sound {
            // Past the lifetime of everything, and past what comes on top for an operator's purge, by a
            // clock that may have been two hours ahead.
            sleep(Duration::from_hours(28)).await;
            judge::stamps::have_run_out(world, &store).await;
        }
        let until = Instant::now() + Duration::from_secs(30);
        let alive = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
        while alive() > 0 && Instant::now() < until {
            sleep(Duration::from_secs(1)).await;
        }
        // A line that swallows a call for ever is not for every caller to bound: stores do so.
        let line = &world.plan.line;
        if alive() > 0 && line.hang == 0 && line.silence.is_some() {
            world.broken(format_args!("{} tasks run for ever", alive()));
        }
    }

    /// What is asked of stamps where no line is bad.
    async fn stamps_hold(&self, store: &Embedded, last: &[Arc<Instance>]) {
        let world = &self.world;
        if world.plan.scene == Some(Scene::Storm) && world.plan.sound {
            world.ledger.fetched_by_purges(world);
        }
        if world.plan.sound {
            judge::stamps::are_the_same(world, store, last).await;
            judge::stamps::are_of_something(world, store).await;
        }
    }

    /// Sends a GET to an instance, and waits for its end.
    pub async fn gets(self: &Arc<Self>, wish: Wish, to: usize) {
        let Some(instance) = self.instance(to).clone() else { return };
        let n = wish.n;
        let visit = Visit::new(&self.world, &instance, wish);
        self.has_an_end(n, &instance, visit).await;
    }

    async fn has_an_end(&self, n: u64, instance: &Instance, visit: Visit) -> Option<http::StatusCode> {
        let task = tokio::spawn(async move { visit.goes().await });
        instance.owns(task.abort_handle());
        let handle = task.abort_handle();
        match timeout(self.limit(), task).await {
            Err(_) => {
                handle.abort();
                self.world.broken(format_args!("request {n} has no end"));
                None
            }
            Ok(Err(error)) => {
                if error.is_panic() {
                    self.world.broken(format_args!("request {n} panics: {error}"));
                }
                None
            }
            Ok(Ok(status)) => status,
        }
    }

    pub fn instance(&self, n: usize) -> MutexGuard<'_, Option<Arc<Instance>>> {
        self.slots[n].lock().expect("no panic under this lock")
    }
}

/// One of the ways to say what is to be purged: a URL, or everything.
fn named(key: usize, all: bool, way: u64) -> proxy::Purge {
    let tag = if all { "all".to_owned() } else { format!("k{key}") };
    match (way, all) {
        (0, true) => proxy::Purge::All,
        (0, false) => proxy::Purge::Url(format!("http://h.test/k{key}")),
        (1, true) => proxy::Purge::Prefix("http://h.test/".to_owned()),
        (2, true) => proxy::Purge::Host("h.test".to_owned()),
        (1, false) => proxy::Purge::Tag { tag, host: Some("h.test".to_owned()) },
        _ => proxy::Purge::Tag { tag, host: None },
    }
}
