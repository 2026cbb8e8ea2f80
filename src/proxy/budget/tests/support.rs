use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::clock::{Dice, ManualClock};
use crate::dust::embedded::Limits;
use crate::dust::{Dust, Embedded};
use crate::flight::{self, Flight};
use crate::proxy::budget::{Budget, Terms};
use crate::tasks::Tasks;
use crate::testkit::faulty::{Faulty, Plan};
use crate::upstream::Lane;
use crate::upstream::limit::{Limit, Load, Permit};

pub(super) const TTL: Duration = Duration::from_secs(6);
pub(super) const BOUND: Duration = Duration::from_millis(200);
/// The turn of a permit.
pub(super) const TURN: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_mins(10);

pub(super) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// One instance: its connection to the store, its limit and its share of the budget.
pub(super) struct Instance {
    pub(super) line: Arc<Faulty>,
    pub(super) flight: Arc<Flight>,
    pub(super) limit: Limit,
    pub(super) budget: Budget,
    origin: Arc<Origin>,
}

/// Counts exchanges under way, of all instances.
#[derive(Debug, Default)]
pub(super) struct Origin {
    now: AtomicUsize,
    most: AtomicUsize,
    served: AtomicUsize,
}

/// An exchange under way.
pub(super) struct Exchange {
    origin: Arc<Origin>,
    _permit: Permit,
}

pub(super) struct Fleet {
    pub(super) store: Arc<Embedded>,
    pub(super) origin: Arc<Origin>,
    pub(super) instances: Vec<Instance>,
}

impl Fleet {
    /// Three instances with a budget of `permits`, and never more than `most` each.
    pub(super) fn new(seed: u64, permits: usize, most: usize, plan: &Plan) -> Self {
        let dice = Dice::seeded(seed);
        let store = Embedded::memory_with(Arc::new(ManualClock::at(0)), Limits::default(), &dice);
        let store = Arc::new(store.in_common());
        let origin = Arc::new(Origin::default());
        let instances = (0..3)
            .map(|_| {
                let line = Faulty::new(store.clone(), plan.clone(), Dice::seeded(dice.below(u64::MAX)));
                Instance::over(Arc::new(line), &origin, permits, most, dice.below(u64::MAX))
            })
            .collect();
        Self { store, origin, instances }
    }

    /// Waits until no instance holds a permit, and returns what is left in the store.
    pub(super) async fn quiet(&self) -> usize {
        for instance in &self.instances {
            instance.budget.quiet().await;
            instance.flight.idle().await;
        }
        self.taken().await
    }

    /// How many permits are taken, as the store has it.
    pub(super) async fn taken(&self) -> usize {
        self.store.entries("p/b/").await.unwrap().len()
    }
}

impl Instance {
    fn over(line: Arc<Faulty>, origin: &Arc<Origin>, permits: usize, most: usize, seed: u64) -> Self {
        let settings = flight::Settings { lease_ttl: TTL, call_bound: BOUND, ..flight::Settings::default() };
        let dice = Arc::new(Dice::seeded(seed));
        let flight = Flight::new(line.clone(), dice.clone(), settings);
        let limit = Limit::new(most, 10_000, PATIENCE);
        let terms = Terms { prefix: "p", name: "origin", permits, most };
        let budget = Budget::start(flight.clone(), dice, limit.clone(), &terms, &Tasks::null());
        Self { line, flight, limit, budget, origin: origin.clone() }
    }

    /// Begins an exchange when there is a place for it.
    pub(super) async fn begin(&self, lane: Lane) -> Exchange {
        Exchange::begin(self.origin.clone(), self.limit.clone(), lane).await
    }

    /// An exchange that takes `took`, in a task of its own.
    pub(super) fn exchange(&self, lane: Lane, took: Duration) -> tokio::task::JoinHandle<()> {
        let begun = Exchange::begin(self.origin.clone(), self.limit.clone(), lane);
        tokio::spawn(async move {
            let _exchange = begun.await;
            sleep(took).await;
        })
    }

    /// A client that has one exchange after the other, each of `took`, until `end`. Returns how many.
    pub(super) fn client(&self, took: Duration, end: Instant) -> tokio::task::JoinHandle<usize> {
        let (origin, limit) = (self.origin.clone(), self.limit.clone());
        tokio::spawn(async move {
            let mut had = 0;
            while Instant::now() < end {
                let exchange = Exchange::begin(origin.clone(), limit.clone(), Lane::Fill).await;
                sleep(took).await;
                drop(exchange);
                had += 1;
            }
            had
        })
    }

    pub(super) fn is_at_rest(&self) -> bool {
        self.limit.load() == Load::default() && self.budget.standing().held == 0
    }
}

impl Origin {
    /// The most exchanges at the same time so far.
    pub(super) fn most(&self) -> usize {
        self.most.load(Ordering::Relaxed)
    }

    pub(super) fn now(&self) -> usize {
        self.now.load(Ordering::Relaxed)
    }

    pub(super) fn served(&self) -> usize {
        self.served.load(Ordering::Relaxed)
    }
}

impl Exchange {
    async fn begin(origin: Arc<Origin>, limit: Limit, lane: Lane) -> Self {
        let permit = limit.acquire(lane).await.expect("the queue is long and patient");
        let now = origin.now.fetch_add(1, Ordering::Relaxed) + 1;
        origin.most.fetch_max(now, Ordering::Relaxed);
        Self { origin, _permit: permit }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.origin.now.fetch_sub(1, Ordering::Relaxed);
        self.origin.served.fetch_add(1, Ordering::Relaxed);
    }
}
