//! One instance: its parts, wired in the one way there is.
//!
//! The assembly hands in what differs between a process and a test: the stores and what stands around
//! them, upstreams, chance, log and metrics. What serves, follows the store, pays what is owed to it
//! and keeps it tidy is put together here, so that tests run what ships.
//!
//! # An instance's life
//! 1. [`Opened::read`]: what the store says at the start is read ([`Stores`]).
//! 2. [`Node::new`]: the parts are wired. Nothing runs yet, but what keeps a fleet's budget.
//! 3. [`Node::begin`]: the instance follows the store; [`Chores`] are what runs beside requests.
//! 4. [`Node::drained`]: everything under way ends (F9).
//! 5. [`Chores::end`]: what is owed is paid, and leases are given back.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use crate::clock::Dice;
use crate::drain::{self, Signal};
use crate::flight::{self, Flight};
use crate::proxy::budget::{self, Budget};
use crate::proxy::member_host::MemberHost;
use crate::proxy::observer::Observer;
use crate::proxy::{self, Proxy};
use crate::route::Table;
use crate::tasks::Tasks;
use crate::telemetry::{Log, Metrics};
use crate::tier::{Member, Stamps, Tier, Trust, WhenUnsure, member};
use crate::upstream::Upstream;
use crate::upstream::limit::Limit;

mod chores;
mod joining;
mod shelves;
mod stores;
pub mod unmarked;

pub use chores::Chores;
pub use joining::Joining;
pub use stores::{Error, Opened, Places, Seams, Stores, fleet_key};

use shelves::Shelves;

/// What the parts are set up with, each value once.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Of the way of a request. Its instance's name, prefix and longest life are everybody's.
    pub proxy: proxy::Settings,
    /// Of leases.
    pub flight: flight::Settings,
    /// Bytes that memory may hold.
    pub memory: u64,
    /// For how long memory may be believed without a word from the store.
    pub trust: Duration,
    /// What a fresh record is worth after that.
    pub when_unsure: WhenUnsure,
}

/// What an instance is made of.
pub struct Parts {
    /// How its parts are set up.
    pub settings: Settings,
    /// Where it keeps what it stores.
    pub stores: Stores,
    /// Which requests go where.
    pub routes: Arc<Table>,
    /// Where they go to.
    pub upstreams: Upstreams,
    /// Chance.
    pub dice: Arc<Dice>,
    /// What it tells.
    pub log: Log,
    /// What it counts.
    pub metrics: Arc<Metrics>,
    /// Supervises what runs beside requests.
    pub tasks: Arc<Tasks>,
}

/// The upstreams of an instance's routes.
pub struct Upstreams {
    /// The upstream of each route, by [`Route::index`](crate::route::Route::index).
    pub by_route: Vec<Arc<dyn Upstream>>,
    /// Those for which the fleet has a budget.
    pub shares: Vec<Share>,
}

/// An upstream for which the fleet has a budget.
#[derive(Debug, Clone)]
pub struct Share {
    /// The upstream's name.
    pub name: Arc<str>,
    /// Its places on this instance.
    pub limit: Limit,
    /// Exchanges at the same time, over the fleet.
    pub permits: usize,
    /// The same, on this instance.
    pub most: usize,
}

/// One instance.
pub struct Node {
    /// What answers requests.
    pub proxy: Arc<Proxy>,
    /// Its memory.
    pub tier: Arc<Tier>,
    /// Whether memory may be believed.
    pub trust: Arc<Trust>,
    /// Its place in the fleet; none if it is alone with its store.
    pub member: Option<Arc<Member>>,
    /// Tells everything under way to end.
    pub signal: Arc<Signal>,
    /// Supervises what runs beside requests.
    pub tasks: Arc<Tasks>,
    stores: Stores,
    budgets: Vec<(Arc<str>, Arc<Budget>)>,
    log: Log,
}

// === impl Upstreams ===

impl Upstreams {
    /// Without a budget for any of them.
    pub fn without_budgets(by_route: Vec<Arc<dyn Upstream>>) -> Self {
        Self { by_route, shares: Vec::new() }
    }
}

// === impl Node ===

impl Node {
    /// Wires the parts. Needs a runtime: the keepers of budgets begin.
    pub fn new(parts: Parts) -> Arc<Self> {
        let Parts { settings, stores, routes, upstreams, dice, log, metrics, tasks } = parts;
        let max_life = settings.proxy.max_life;
        let tier = match &stores.numbers {
            Some(numbers) => Tier::in_fleet(settings.memory, numbers.clone()),
            None => Tier::new(settings.memory),
        };
        let tier = Arc::new(tier.with_max_life(max_life));
        let instance = &settings.proxy.instance;
        let flight = Flight::named(instance, stores.dust.clone(), dice.clone(), settings.flight.clone());
        flight.saw(stores.stamps.newest());
        let trust = match &stores.numbers {
            Some(_) => Trust::shared(settings.when_unsure),
            None => Trust::alone(),
        };
        let trust = Arc::new(trust);
        let member = stores.numbers.as_ref().map(|numbers| {
            let home = MemberHost {
                routes: routes.clone(),
                flight: flight.clone(),
                dust: stores.line.clone(),
                max_life_ms: u64::try_from(max_life.as_millis()).unwrap_or(u64::MAX),
                moves: Box::new(Shelves::new(&stores, &settings.proxy.prefix, &log)),
                log: log.clone(),
                metrics: metrics.clone(),
            };
            let of_member = member::Settings {
                prefix: settings.proxy.prefix.clone(),
                instance: instance.clone(),
                trust: settings.trust,
                call_bound: settings.flight.call_bound,
                life: stores.life.clone(),
            };
            let kept = member::Parts {
                dust: stores.line.clone(),
                tier: tier.clone(),
                stamps: stores.stamps.clone(),
                numbers: numbers.clone(),
                trust: trust.clone(),
                dice: dice.clone(),
            };
            Member::new(of_member, kept, Arc::new(home))
        });
        // Alone on its store, an instance is the fleet: its own limit is all there is to keep.
        let shares = upstreams.shares.into_iter().filter(|_| stores.numbers.is_some());
        let budgets = shares.map(|share| {
            let Share { name, limit, permits, most } = share;
            let terms = budget::Terms { prefix: &settings.proxy.prefix, name: &name, permits, most };
            let budget = Arc::new(Budget::start(flight.clone(), dice.clone(), limit, &terms, &tasks));
            (name, budget)
        });
        let budgets = budgets.collect();
        let observer = Observer::new(log.clone(), metrics, routes.in_order(), dice.below(1 << 40) << 20);
        let signal = Arc::new(drain::channel().0);
        let proxy = Proxy::new(proxy::Parts {
            settings: settings.proxy,
            fleet: stores.fleet.clone(),
            routes,
            upstreams: upstreams.by_route,
            tier: tier.clone(),
            stamps: stores.stamps.clone(),
            trust: trust.clone(),
            member: member.clone(),
            flight,
            dust: stores.dust.clone(),
            bodies: stores.bodies.clone(),
            dice,
            observer,
            drain: signal.clone(),
        });
        Arc::new(Self { proxy, tier, trust, member, signal, tasks, stores, budgets, log })
    }

    /// Where it keeps what it stores.
    pub fn stores(&self) -> &Stores {
        &self.stores
    }

    /// The purges that it knows of.
    pub fn stamps(&self) -> &Arc<Stamps> {
        &self.stores.stamps
    }

    /// This instance's share of a fleet's budget for an upstream, if there is one.
    pub fn budget(&self, upstream: &str) -> Option<&Arc<Budget>> {
        self.budgets.iter().find(|(name, _)| **name == *upstream).map(|(_, budget)| budget)
    }

    /// Waits until everything under way has ended, no permit is held and no lease is owed (F9).
    ///
    /// # Errors
    /// The grace was over before that: so many were still under way.
    ///
    /// # Cancel safety
    /// Having been told to end stays told; call again to go on waiting.
    pub async fn drained(&self, grace: Duration) -> Result<(), usize> {
        let ended = timeout(grace, async {
            self.signal.drain().await;
            for (_, budget) in &self.budgets {
                budget.quiet().await;
            }
            self.proxy.flight().idle().await;
        });
        ended.await.map_err(|_elapsed| self.signal.guards())
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("proxy", &self.proxy).finish_non_exhaustive()
    }
}
