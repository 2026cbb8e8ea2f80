//! What all instances share: the store, the origin, the purges, and the book of what happened.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use dustgate::clock::{Dice, ManualClock};
use dustgate::dust::embedded::Limits;
use dustgate::dust::{Dust, Embedded, Entry, Number, Put, Written};
use dustgate::flight::{Fill, Names};
use serde_json::{Value as Json, json};
use tokio::time::{Instant, sleep};

use crate::plan::Plan;

pub struct World {
    pub plan: Plan,
    pub store: Arc<Embedded>,
    pub dice: Dice,
    start: Instant,
    book: Mutex<Book>,
}

/// What a run came to.
pub struct Report {
    pub broken: Vec<String>,
    pub history: Vec<String>,
    pub counts: Counts,
}

/// How often what happened.
#[derive(Debug, Default, Clone)]
pub struct Counts(BTreeMap<&'static str, u64>);

/// The last purge of a key: its stamp, and when it was; what was asked for before is no good.
#[derive(Debug, Default, Clone, Copy)]
pub struct Purge {
    pub stamp: Number,
    pub at: u64,
}

/// A value, as published and as told inside an instance.
#[derive(Debug, Clone, PartialEq)]
pub struct Value {
    /// The number under which it was asked for.
    pub born: Number,
    /// When the fetch was sent: the age of its content.
    pub sent: u64,
    pub fresh_until: u64,
}

/// The right to fill, where the world can look at it.
pub type Desk = Mutex<Option<Fill>>;

#[derive(Default)]
struct Book {
    broken: Vec<String>,
    history: Vec<String>,
    counts: Counts,
    purges: BTreeMap<String, Purge>,
    filling: BTreeMap<String, Vec<Weak<Desk>>>,
}

// === impl World ===

impl World {
    pub fn new(plan: Plan) -> Arc<Self> {
        let dice = Dice::seeded(plan.seed);
        let clock = Arc::new(ManualClock::at(1));
        let store = Arc::new(Embedded::memory_with(clock, Limits::default(), &dice));
        Arc::new(Self { plan, store, dice, start: Instant::now(), book: Mutex::default() })
    }

    /// Milliseconds since the world began.
    pub fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).expect("a run is short")
    }

    pub fn at(&self, ms: u64) -> Instant {
        self.start + Duration::from_millis(ms)
    }

    pub fn say(&self, what: impl Display) {
        let line = format!("{:>6} {what}", self.now());
        self.book().history.push(line);
    }

    pub fn count(&self, what: &'static str) {
        *self.book().counts.0.entry(what).or_default() += 1;
    }

    /// A promise was broken.
    pub fn broken(&self, what: impl Display) {
        self.say(format_args!("BROKEN {what}"));
        let now = self.now();
        self.book().broken.push(format!("at {now}: {what}"));
    }

    pub fn chance(&self, in_1000: u64) -> bool {
        self.dice.below(1000) < in_1000
    }

    pub fn up_to(&self, most: Duration) -> Duration {
        self.dice.up_to(most)
    }

    pub fn purge_of(&self, key: &str) -> Purge {
        self.book().purges.get(key).copied().unwrap_or_default()
    }

    /// The origin's content changes, and the key is purged: who comes from now on knows.
    pub async fn purge(&self, key: &str) -> Number {
        let at = self.now();
        let put = self.store.put(&format!("stamp/{key}"), "hard", Put::default()).await;
        let Ok(Written::At(stamp)) = put else { panic!("the bare store takes it: {put:?}") };
        self.book().purges.insert(key.to_owned(), Purge { stamp, at });
        self.say(format_args!("{key}: purged, stamp {stamp}"));
        self.count("purge");
        stamp
    }

    /// A fill was dropped: while calls are prompt, its lease does not outlive it for long.
    pub fn is_handed_on(self: &Arc<Self>, key: &str, token: Number) {
        if self.plan.calm {
            let (world, key) = (Arc::clone(self), key.to_owned());
            tokio::spawn(async move {
                sleep(world.plan.prompt()).await;
                if world.look(&key).await.lock == Some(token) {
                    world.broken(format_args!("{key}: {token} was dropped and is held still"));
                }
            });
        }
    }

    /// Notes a fill that begins, and whether it may: nobody else may believe in a lease on the
    /// key, and what is there must be of no use.
    pub async fn fill_begins(self: &Arc<Self>, key: &str, desk: &Arc<Desk>, found: impl Fn(&Looked) -> bool) {
        let token = believed(desk).unwrap_or(0);
        let looked = self.look(key).await;
        if looked.lock == Some(token) && found(&looked) {
            self.broken(format_args!("{key}: {token} fills what is there: {looked:?}"));
        }
        let others: Vec<_> = {
            let mut book = self.book();
            let filling = book.filling.entry(key.to_owned()).or_default();
            filling.retain(|desk| desk.strong_count() > 0);
            let others = filling.clone();
            filling.push(Arc::downgrade(desk));
            others
        };
        let (world, key, desk) = (Arc::clone(self), key.to_owned(), Arc::downgrade(desk));
        tokio::spawn(async move {
            // Timers are rounded up to a millisecond: who loses its lease now knows it by then.
            sleep(Duration::from_millis(2)).await;
            let void = world.purge_of(&key).stamp;
            let believes = |desk: &Weak<Desk>| {
                desk.upgrade().and_then(|desk| believed(&desk)).filter(|token| *token > void)
            };
            let Some(token) = believes(&desk) else { return };
            for other in others.iter().filter_map(believes) {
                world.broken(format_args!("{key}: {other} and {token} both believe in their lease"));
            }
        });
    }

    /// What is in the store, whatever the lines are like.
    pub async fn look(&self, key: &str) -> Looked {
        let names = Names::of(key);
        let [value, verdict, lock] = [&names.value, &names.verdict, &names.lock]
            .map(|name| async { self.store.entry(name).await.expect("the bare store answers") });
        Looked { value: value.await, verdict: verdict.await, lock: lock.await.map(|entry| entry.number) }
    }

    pub fn report(&self) -> Report {
        let book = self.book();
        Report { broken: book.broken.clone(), history: book.history.clone(), counts: book.counts.clone() }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().expect("no test panics while it writes")
    }
}

/// What is in the store.
#[derive(Debug)]
pub struct Looked {
    pub value: Option<Entry>,
    pub verdict: Option<Entry>,
    pub lock: Option<Number>,
}

/// The token of a fill that is under way and not known to be lost.
fn believed(desk: &Desk) -> Option<Number> {
    let fill = desk.lock().expect("no test panics while it holds a fill");
    fill.as_ref().filter(|fill| fill.coordinated() && !fill.lost()).map(Fill::token)
}

// === impl Value ===

impl Value {
    pub fn text(&self) -> String {
        json!({ "born": self.born, "sent": self.sent, "fresh": self.fresh_until }).to_string()
    }

    pub fn of(entry: &Entry) -> Option<Self> {
        let json: Json = serde_json::from_str(entry.text()?).ok()?;
        let number = |name: &str| json.get(name).and_then(Json::as_u64);
        Some(Self { born: number("born")?, sent: number("sent")?, fresh_until: number("fresh")? })
    }
}

// === impl Report ===

impl Report {
    pub fn hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.history.hash(&mut hasher);
        hasher.finish()
    }
}

// === impl Counts ===

/// Everything that has to happen in a run over many seeds.
const MUST: [&str; 17] = [
    "cached",
    "awaited",
    "won",
    "alone",
    "timed out",
    "computed",
    "fenced",
    "covered",
    "failed to publish",
    "offered",
    "refused",
    "abandoned",
    "purge",
    "crash",
    "panic",
    "cancel",
    "unwanted",
];

impl Counts {
    pub fn add(&mut self, other: &Self) {
        for (what, count) in &other.0 {
            *self.0.entry(what).or_default() += count;
        }
    }

    pub fn all(&self) -> impl Iterator<Item = (&'static str, u64)> {
        MUST.into_iter().map(|what| (what, self.0.get(what).copied().unwrap_or(0)))
    }
}
