//! What all instances share, and the book of what happened.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use dustgate::clock::{Clock, Dice, WallMs};
use tokio::time::Instant;

use crate::judge::Ledger;
use crate::plan::Plan;

/// When the world begins, on the wall.
const BEGIN: u64 = 1_700_000_000_000;

#[derive(Debug)]
pub struct World {
    pub plan: Plan,
    pub dice: Dice,
    pub ledger: Ledger,
    start: Instant,
    moments: AtomicU64,
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

#[derive(Debug, Default)]
struct Book {
    broken: Vec<String>,
    history: Vec<String>,
    counts: Counts,
}

/// A wall clock that is so far wrong.
#[derive(Debug)]
pub struct Wall {
    start: Instant,
    ahead: AtomicI64,
}

// === impl World ===

impl World {
    pub fn new(plan: Plan) -> Arc<Self> {
        let dice = Dice::seeded(plan.seed);
        Arc::new(Self {
            plan,
            dice,
            ledger: Ledger::default(),
            start: Instant::now(),
            moments: AtomicU64::new(0),
            book: Mutex::default(),
        })
    }

    /// The next event's number.
    pub fn moment(&self) -> u64 {
        self.moments.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Milliseconds since the world began.
    pub fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).expect("a run is short")
    }

    pub fn wall(&self, ahead: i64) -> Arc<Wall> {
        Arc::new(Wall { start: self.start, ahead: AtomicI64::new(ahead) })
    }

    pub fn dice(&self) -> Dice {
        Dice::seeded(self.dice.below(u64::MAX))
    }

    pub fn say(&self, what: impl Display) {
        let line = format!("{:>6} {what}", self.now());
        self.book().history.push(line);
    }

    pub fn count(&self, what: &'static str) {
        *self.book().counts.0.entry(what).or_default() += 1;
    }

    /// How often it happened.
    pub fn counted(&self, what: &str) -> u64 {
        self.book().counts.of(what)
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

    /// Some time while clients come.
    pub fn sometime(&self) -> Instant {
        self.start + self.up_to(self.plan.span)
    }

    pub fn some_key(&self) -> usize {
        usize::try_from(self.dice.below(self.plan.keys.len() as u64)).expect("a few")
    }

    pub fn some_instance(&self) -> usize {
        usize::try_from(self.dice.below(self.plan.instances as u64)).expect("a few")
    }

    pub fn report(&self) -> Report {
        let book = self.book();
        Report { broken: book.broken.clone(), history: book.history.clone(), counts: book.counts.clone() }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().expect("no test panics while it writes")
    }
}

// === impl Wall ===

impl Wall {
    /// Sets it forward, or back.
    pub fn step(&self, by_ms: i64) {
        self.ahead.fetch_add(by_ms, Ordering::Relaxed);
    }
}

impl Clock for Wall {
    fn wall_ms(&self) -> WallMs {
        let since = u64::try_from(self.start.elapsed().as_millis()).expect("a run is short");
        (BEGIN + since).saturating_add_signed(self.ahead.load(Ordering::Relaxed))
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

impl Counts {
    pub fn add(&mut self, other: &Self) {
        for (what, count) in &other.0 {
            *self.0.entry(what).or_default() += count;
        }
    }

    pub fn of(&self, what: &str) -> u64 {
        self.0.get(what).copied().unwrap_or(0)
    }
}
