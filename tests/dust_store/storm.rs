//! A storm over a fleet and its server: events that come late, swapped, twice or never, answers and requests that
//! are lost, writers that give up, channels that crash, lines that break, silence, compaction, an older copy, an empty
//! store, a full one, a server that goes down; instances that are killed, frozen or drained, and clients that leave.
//!
//! These are the misfortunes of the fleet simulation, with this server in the place of its store:
//!
//! | in the simulation | here |
//! |---|---|
//! | a slow line | `scatter`, `event_delay`, `fan_out_delay`, `reply_delay` |
//! | lost requests, answers, events | `lost_requests`, `lost_replies`, `swallowed_events` |
//! | repeated and late calls | `repeats`, `unavailable_committed` |
//! | refused calls | `unavailable`, `refused_requests`, `refused_upgrades`, `crashed` |
//! | calls that hang, silence | `Silence::Frames`, `Silence::Everything` |
//! | outages, lines that are cut | `go_down`, `drop_all`, `restart` |
//! | failover to a replica, an older store | `restore` of a copy, `compact` |
//! | failover to an empty store | `restore` of the copy from before everything |
//! | stamps that find no room | `limit_keys` |
//! | crashes, freezes and zombies, drains | `Befalls` |
//! | clients that leave | one in eight |
//! | wrong clocks | the server's is ahead, behind or right, by the seed |
//!
//! The rate limit is in `limited`: a storm that ran into it would wait for the minute to end. The rest of the
//! simulation's has no part in the store: failing, lost and spoilt objects, an origin that fails, drips and breaks off.
//!
//! The seed decides what happens in which order; when exactly, the machine decides, for instances are processes. What
//! is judged is every answer, and the fleet after the storm. `DUSTGATE_STORM_SEEDS=50` runs more of them,
//! `DUSTGATE_STORM_SEED=7` that one alone.

use std::collections::BTreeMap;
use std::env;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dustgate::clock::{Clock, Dice, SystemClock, WallMs};
use dustgate::testkit::dust_server::{DustServer, Faults, Next, Setup, Silence};
use serde_json::json;
use tokio::sync::RwLock;
use tokio::time::{sleep, timeout};

use crate::kit::{self, STORE};
use crate::support::fleet::name;
use crate::support::{Answer, End, Origin, Proxy, all};

const INSTANCES: usize = 3;
const KEYS: usize = 4;
/// How many gusts a storm has.
const GUSTS: u64 = 14;
/// How many storms there are in an ordinary run.
const SEEDS: u64 = 2;
/// How long the fleet may take to find itself again.
const SOON: Duration = Duration::from_secs(30);

/// A server's clock that is wrong by so many ms.
#[derive(Debug)]
struct Wrong(i64);

impl Clock for Wrong {
    fn wall_ms(&self) -> WallMs {
        SystemClock.wall_ms().saturating_add_signed(self.0)
    }
}

/// An instance, and those that take its place.
struct Instance {
    proxy: Proxy,
    name: String,
    /// It was told to end: what fails from now on is forgiven.
    ends: AtomicBool,
}

/// What befalls an instance.
#[derive(Debug, Clone, Copy)]
enum Befalls {
    /// It is killed, and another takes its place.
    Crash,
    /// It is told to end, and another takes its place.
    Drain,
    /// It stands still for a while.
    Freeze,
}

/// The instances before one origin.
struct Fleet {
    origin: Origin,
    of: Vec<RwLock<Instance>>,
    /// Gone with the fleet.
    #[expect(dead_code, reason = "it is there to be dropped")]
    bodies: tempfile::TempDir,
}

// === impl Instance ===

impl Instance {
    async fn of(proxy: Proxy) -> Self {
        proxy.ready().await;
        let name = name(&proxy).await;
        Self { proxy, name, ends: AtomicBool::new(false) }
    }
}

// === impl Fleet ===

impl Fleet {
    async fn befall(&self, at: usize, what: Befalls, dice: &Dice) {
        let instance = self.of[at].read().await;
        if let Befalls::Freeze = what {
            instance.proxy.signal("STOP");
            sleep(ms(300) + dice.up_to(ms(2_500))).await;
            instance.proxy.signal("CONT");
            return;
        }
        instance.ends.store(true, Ordering::SeqCst);
        instance.proxy.signal(if let Befalls::Crash = what { "KILL" } else { "TERM" });
        instance.proxy.ended().await;
        drop(instance);
        // Requests that are under way end with it.
        let mut instance = self.of[at].write().await;
        let next = instance.proxy.start_again().await;
        *instance = Instance::of(next).await;
    }
}

/// What the keys are, and what was promised of them.
struct Ledger {
    /// The origin's version of each key.
    versions: Vec<AtomicU64>,
    /// The least version that an instance may still serve, by key and instance.
    floors: Mutex<BTreeMap<(usize, String), u64>>,
    wrong: Mutex<Vec<String>>,
    served: AtomicU64,
    purged: AtomicU64,
    is_over: AtomicBool,
}

// === impl Ledger ===

impl Ledger {
    fn wrong(&self, what: String) {
        self.wrong.lock().unwrap().push(what);
    }

    fn floor(&self, key: usize, instance: &str) -> u64 {
        self.floors.lock().unwrap().get(&(key, instance.to_owned())).copied().unwrap_or(0)
    }

    /// Reads, and judges what comes.
    async fn read(&self, fleet: &Fleet, key: usize, instance: usize) {
        let instance = fleet.of[instance].read().await;
        let (name, floor) = (&instance.name, self.floor(key, &instance.name));
        match instance.proxy.get(&format!("/{key}")).attempt().await {
            Ok(reply) if reply.status == 200 && reply.end == End::Clean => {
                self.served.fetch_add(1, Ordering::Relaxed);
                let version: u64 = reply.text().trim_start_matches('v').parse().unwrap();
                if version < floor {
                    self.wrong(format!(
                        "{name} serves v{version} of /{key}, and confirmed the purge of what is below v{floor}"
                    ));
                }
            }
            _ if instance.ends.load(Ordering::SeqCst) => {}
            other => self.wrong(format!("/{key} of {name}: {other:?}")),
        }
    }

    /// Changes what the origin has and purges it. Returns who confirmed, if that was answered.
    async fn purge(&self, fleet: &Fleet, key: usize, instance: usize) -> Option<usize> {
        let instance = fleet.of[instance].read().await;
        let version = self.versions[key].fetch_add(1, Ordering::SeqCst) + 1;
        let what = json!({ "url": format!("http://api.test/{key}") });
        let reply = instance.proxy.admin_post("/v1/purge", &what).attempt().await;
        let said = reply.ok().filter(|reply| reply.status == 200)?.json();
        let confirmed = said["confirmed"].as_array()?;
        let mut floors = self.floors.lock().unwrap();
        for name in confirmed {
            let floor = floors.entry((key, name.as_str().unwrap().to_owned())).or_default();
            *floor = version.max(*floor);
        }
        self.purged.fetch_add(1, Ordering::Relaxed);
        Some(confirmed.len())
    }
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn one_of(dice: &Dice, many: usize) -> usize {
    usize::try_from(dice.below(many as u64)).unwrap()
}

/// One thing that goes wrong, or several.
fn blow(server: &DustServer, dice: &Dice) {
    let some = || Next::writes(dice.below(4) + 1);
    let set = |change: &dyn Fn(&mut Faults)| server.faults(|faults| change(faults));
    match dice.below(20) {
        0 => set(&|it| it.scatter = ms(60)),
        1 => set(&|it| it.repeats = 2),
        2 => set(&|it| it.event_delay = ms(150)),
        3 => set(&|it| it.fan_out_delay = ms(300)),
        4 => set(&|it| it.reply_delay = ms(300)),
        5 => set(&|it| (it.swallowed_events, it.scatter) = (some(), ms(30))),
        6 => set(&|it| it.lost_replies = some()),
        7 => set(&|it| (it.lost_replies, it.swallowed_events) = (some(), some())),
        8 => set(&|it| it.lost_requests = some()),
        9 => set(&|it| it.unavailable_committed = some()),
        10 => set(&|it| it.unavailable = some()),
        11 => set(&|it| it.crashed = Next::writes(1)),
        12 => set(&|it| it.silence = Silence::Frames),
        13 => set(&|it| it.silence = Silence::Everything),
        14 => set(&|it| it.refused_requests = Some(503)),
        15 => server.drop_all(),
        16 => server.restart(),
        17 => server.limit_keys(STORE, 1),
        18 => set(&|it| it.refused_upgrades = Some(503)),
        _ => server.compact(STORE),
    }
}

/// Ends what went wrong.
fn mend(server: &DustServer) {
    server.faults(|faults| *faults = Faults::default());
    server.limit_keys(STORE, u64::MAX);
}

async fn storm(seed: u64) {
    let dice = Dice::seeded(seed);
    let wrong = [0, 300_000, -300_000][one_of(&dice, 3)];
    let mut setup = Setup::on(Arc::new(Wrong(wrong))).store(STORE);
    setup.seed = seed;
    let server = Arc::new(DustServer::start(setup).await);
    let nothing = server.back_up(STORE);
    let kit::Fleet { origin, of, bodies } =
        kit::Fleet::of(INSTANCES, &server, |setup| setup.dust("trust = \"2s\"")).await;
    let of = all(of.into_iter().map(Instance::of)).await.into_iter().map(RwLock::new).collect();
    let fleet = Arc::new(Fleet { origin, of, bodies });
    let ledger = Arc::new(Ledger {
        versions: (0..KEYS).map(|_| AtomicU64::new(1)).collect(),
        floors: Mutex::default(),
        wrong: Mutex::default(),
        served: AtomicU64::default(),
        purged: AtomicU64::default(),
        is_over: AtomicBool::default(),
    });
    for key in 0..KEYS {
        let of = ledger.clone();
        fleet.origin.on_each(&format!("/{key}"), move |_| {
            Answer::cacheable(format!("v{}", of.versions[key].load(Ordering::SeqCst))).after(ms(20))
        });
    }
    let mut tasks = Vec::new();
    for client in 0..6 {
        let (fleet, ledger, dice) = (fleet.clone(), ledger.clone(), Dice::seeded(seed ^ (client << 32) ^ 1));
        tasks.push(tokio::spawn(async move {
            while !ledger.is_over.load(Ordering::Relaxed) {
                let (key, to) = (one_of(&dice, KEYS), one_of(&dice, INSTANCES));
                // One in eight leaves early.
                let patience = if dice.below(8) == 0 { dice.up_to(ms(30)) } else { SOON * 2 };
                let _ = timeout(patience, ledger.read(&fleet, key, to)).await;
                sleep(dice.up_to(ms(60))).await;
            }
        }));
    }
    for operator in 0..2 {
        let (fleet, ledger, dice) =
            (fleet.clone(), ledger.clone(), Dice::seeded(seed ^ (operator << 32) ^ 2));
        tasks.push(tokio::spawn(async move {
            while !ledger.is_over.load(Ordering::Relaxed) {
                sleep(dice.up_to(ms(500))).await;
                let (key, to) = (one_of(&dice, KEYS), one_of(&dice, INSTANCES));
                ledger.purge(&fleet, key, to).await;
            }
        }));
    }
    let (of, over, unlucky) = (fleet.clone(), ledger.clone(), Dice::seeded(seed ^ 3));
    tasks.push(tokio::spawn(async move {
        while !over.is_over.load(Ordering::Relaxed) {
            sleep(ms(500) + unlucky.up_to(ms(4_000))).await;
            let what = [Befalls::Crash, Befalls::Drain, Befalls::Freeze][one_of(&unlucky, 3)];
            of.befall(one_of(&unlucky, INSTANCES), what, &unlucky).await;
        }
    }));
    let mut copy = server.back_up(STORE);
    for gust in 0..GUSTS {
        sleep(ms(200) + dice.up_to(ms(400))).await;
        if gust == GUSTS / 2 {
            copy = server.back_up(STORE);
        }
        if gust + 3 == GUSTS {
            server.restore(&copy);
        }
        if gust == GUSTS / 4 && dice.below(2) == 0 {
            server.restore(&nothing);
        }
        if dice.below(8) == 0 {
            server.go_down().await;
            sleep(dice.up_to(ms(1_500))).await;
            server.come_up().await;
        }
        blow(&server, &dice);
        sleep(ms(100) + dice.up_to(ms(700))).await;
        if dice.below(3) > 0 {
            mend(&server);
        }
    }
    mend(&server);
    ledger.is_over.store(true, Ordering::Relaxed);
    for task in tasks {
        timeout(SOON * 2, task).await.expect("every request has an end").unwrap();
    }
    calm(&fleet, &ledger).await;
    println!(
        "seed {seed}: {} answers, {} purges and {} leases in {GUSTS} gusts",
        ledger.served.load(Ordering::Relaxed),
        ledger.purged.load(Ordering::Relaxed),
        server.count("lease"),
    );
    let wrong = ledger.wrong.lock().unwrap();
    assert!(wrong.is_empty(), "seed {seed}: {:#?}", &wrong[..wrong.len().min(10)]);
}

/// Everybody confirms again, and one fetch is enough for all.
async fn calm(fleet: &Fleet, ledger: &Ledger) {
    for key in 0..KEYS {
        let path = format!("/{key}");
        let again = async {
            while ledger.purge(fleet, key, key % INSTANCES).await != Some(INSTANCES) {
                sleep(ms(100)).await;
            }
        };
        timeout(SOON, again).await.expect("a purge is confirmed by all again");
        let before = fleet.origin.count(&path);
        all((0..INSTANCES * 4).map(|n| ledger.read(fleet, key, n % INSTANCES))).await;
        assert_eq!(fleet.origin.count(&path), before + 1, "{path}");
    }
}

fn number(name: &str) -> Option<u64> {
    env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

#[tokio::test(flavor = "multi_thread")]
async fn no_storm_breaks_a_promise() {
    if let Some(seed) = number("DUSTGATE_STORM_SEED") {
        return storm(seed).await;
    }
    for seed in 0..number("DUSTGATE_STORM_SEEDS").unwrap_or(SEEDS) {
        storm(seed).await;
    }
}
