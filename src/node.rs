//! One instance: its parts, wired in the one way there is.
//!
//! The assembly hands in what differs between a process and a test: the stores and their wrappers,
//! upstreams, randomness, log and metrics. All that serves, follows the store, writes the stamps that
//! are owed to it and keeps it tidy is wired here, so that tests run what ships.
//!
//! # An instance's life
//! 1. [`Opened::read`]: what the store says at the start is read ([`Stores`]).
//! 2. [`Node::new`]: the parts are wired. Nothing runs yet, except what keeps budgets and quotas.
//! 3. [`Node::begin`]: the instance follows the store; [`Chores`] are what runs beside requests.
//! 4. [`Node::drained`]: everything under way ends (F9).
//! 5. [`Chores::end`]: stamps that are owed are written, and leases are given back.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use crate::clock::Dice;
use crate::drain::{self, Signal};
use crate::dust::{BucketTerms, Dust};
use crate::flight::{self, Flight};
use crate::proxy::budget::{self, Budget};
use crate::proxy::member_host::MemberHost;
use crate::proxy::observer::Observer;
use crate::proxy::quota::{self, Quota, Watched};
use crate::proxy::{self, Proxy};
use crate::route::Table;
use crate::tasks::Tasks;
use crate::telemetry::{Log, Metrics};
use crate::tier::{Member, Stamps, Tier, Trust, WhenUnsure, member};
use crate::upstream::Upstream;
use crate::upstream::limit::Limit;

mod carrier;
mod chores;
mod joining;
mod shelves;
mod stores;
pub mod unmarked;

pub use carrier::DustCarrier;
pub use chores::Chores;
pub use joining::Joining;
pub use stores::{Error, Opened, Places, Seams, Stores, fleet_key};

use shelves::Shelves;

/// The settings of the parts, each value once.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Settings of the request path. Its instance's name, prefix and `max_life` hold for all parts.
    pub proxy: proxy::Settings,
    /// Settings of leases.
    pub flight: flight::Settings,
    /// Bytes that memory may hold.
    pub memory: u64,
    /// For how long memory is trusted since the store was last heard.
    pub trust: Duration,
    /// How a fresh record may be used after that.
    pub when_unsure: WhenUnsure,
}

/// What the assembly hands in.
pub struct Parts {
    /// The settings of its parts.
    pub settings: Settings,
    /// Where it keeps what it stores.
    pub stores: Stores,
    /// Which requests go where.
    pub routes: Arc<Table>,
    /// The upstreams of its routes.
    pub upstreams: Upstreams,
    /// The source of randomness.
    pub dice: Arc<Dice>,
    /// The log.
    pub log: Log,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// Supervises what runs beside requests.
    pub tasks: Arc<Tasks>,
}

/// The upstreams of an instance's routes.
pub struct Upstreams {
    /// The upstream of each route, by [`Route::index`](crate::route::Route::index).
    pub by_route: Vec<Arc<dyn Upstream>>,
    /// The upstreams for which the fleet has a budget.
    pub shares: Vec<Share>,
    /// The upstreams that may not be asked at any time.
    pub quotas: Vec<QuotaTerms>,
}

/// An upstream that may not be asked at any time.
#[derive(Debug, Clone)]
pub struct QuotaTerms {
    /// The upstream's name.
    pub name: Arc<str>,
    /// The limit of exchanges on this instance.
    pub limit: Limit,
    /// How often it may be asked, over the fleet.
    pub rate: Option<BucketTerms>,
    /// Whether a pause that its origin asks for is of all that it serves.
    pub pauses: bool,
}

/// An upstream for which the fleet has a budget.
#[derive(Debug, Clone)]
pub struct Share {
    /// The upstream's name.
    pub name: Arc<str>,
    /// The limit of exchanges on this instance.
    pub limit: Limit,
    /// The most exchanges at the same time, over the fleet.
    pub permits: usize,
    /// The most exchanges at the same time, on this instance.
    pub most: usize,
}

/// One instance.
pub struct Node {
    /// What answers requests.
    pub proxy: Arc<Proxy>,
    /// Its memory.
    pub tier: Arc<Tier>,
    /// Whether memory is trusted.
    pub trust: Arc<Trust>,
    /// This instance as a member of its fleet; none if it is alone with its store.
    pub member: Option<Arc<Member>>,
    /// Begins the drain.
    pub signal: Arc<Signal>,
    /// Supervises what runs beside requests.
    pub tasks: Arc<Tasks>,
    stores: Stores,
    budgets: Vec<(Arc<str>, Arc<Budget>)>,
    quotas: Vec<(Arc<str>, Arc<Quota>)>,
    log: Log,
}

// === impl Upstreams ===

impl Upstreams {
    /// Upstreams of which none has a budget or a quota.
    pub fn without_budgets(by_route: Vec<Arc<dyn Upstream>>) -> Self {
        Self { by_route, shares: Vec::new(), quotas: Vec::new() }
    }
}

// === impl Node ===

impl Node {
    /// Wires the parts. Needs a runtime, because the tasks that keep budgets and quotas begin.
    pub fn new(parts: Parts) -> Arc<Self> {
        let Parts { settings, stores, routes, upstreams, dice, log, metrics, tasks } = parts;
        let max_life = settings.proxy.max_life;
        let tier = match &stores.numbers {
            Some(numbers) => Tier::in_fleet(settings.memory, numbers.clone()),
            None => Tier::new(settings.memory),
        };
        let tier = Arc::new(tier.with_max_life(max_life));
        if stores.dust.traits().carries > 0 {
            let carrier = DustCarrier::new(stores.dust.clone(), &settings.proxy.prefix);
            stores.bodies.are_carried_by(Arc::new(carrier));
        }
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
        // An instance that is alone on its store is the whole fleet: its own limit is enough.
        let shares = upstreams.shares.into_iter().filter(|_| stores.numbers.is_some());
        let budgets = shares.map(|share| {
            let Share { name, limit, permits, most } = share;
            let terms = budget::Terms { prefix: &settings.proxy.prefix, name: &name, permits, most };
            let budget = Arc::new(Budget::start(flight.clone(), dice.clone(), limit, &terms, &tasks));
            (name, budget)
        });
        let budgets = budgets.collect();
        let fleet = match &member {
            Some(member) => quota::Fleet::Shared(living(member, &trust, &stores.dust)),
            None => quota::Fleet::Alone,
        };
        let of_quota = quota::Parts { flight: flight.clone(), dice: dice.clone(), fleet, log: log.clone() };
        let mut by_route = upstreams.by_route;
        for terms in upstreams.quotas.iter().filter(|terms| terms.pauses) {
            for (route, upstream) in routes.in_order().iter().zip(&mut by_route) {
                if route.upstream == terms.name {
                    let watched = Watched::new(upstream.clone(), terms.limit.clone(), stores.dust.clone());
                    *upstream = Arc::new(watched);
                }
            }
        }
        let quotas = upstreams.quotas.into_iter().map(|terms| {
            let QuotaTerms { name, limit, rate, pauses } = terms;
            let terms = quota::Terms { prefix: &settings.proxy.prefix, name: &name, rate, pauses };
            let quota = Arc::new(Quota::start(of_quota.clone(), limit, &terms, &tasks));
            (name, quota)
        });
        let quotas = quotas.collect();
        let observer = Observer::new(log.clone(), metrics, routes.in_order(), dice.below(1 << 40) << 20);
        let signal = Arc::new(drain::channel().0);
        let proxy = Proxy::new(proxy::Parts {
            settings: settings.proxy,
            fleet: stores.fleet.clone(),
            routes,
            upstreams: by_route,
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
        Arc::new(Self { proxy, tier, trust, member, signal, tasks, stores, budgets, quotas, log })
    }

    /// Where it keeps what it stores.
    pub fn stores(&self) -> &Stores {
        &self.stores
    }

    /// The stamps that it knows.
    pub fn stamps(&self) -> &Arc<Stamps> {
        &self.stores.stamps
    }

    /// This instance's share of a fleet's budget for an upstream, if there is one.
    pub fn budget(&self, upstream: &str) -> Option<&Arc<Budget>> {
        self.budgets.iter().find(|(name, _)| **name == *upstream).map(|(_, budget)| budget)
    }

    /// The quota of an upstream, if it has one.
    pub fn quota(&self, upstream: &str) -> Option<&Arc<Quota>> {
        self.quotas.iter().find(|(name, _)| **name == *upstream).map(|(_, quota)| quota)
    }

    /// Waits until everything under way has ended, no permit is held and no lease is owed (F9).
    ///
    /// # Errors
    /// The grace was over before that: the number of guards that were still held.
    ///
    /// # Cancel safety
    /// The drain has begun even if this is dropped; another call goes on waiting.
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

/// How many instances live, as long as the store is heard.
fn living(
    member: &Arc<Member>,
    trust: &Arc<Trust>,
    dust: &Arc<dyn Dust>,
) -> Arc<dyn Fn() -> Option<usize> + Send + Sync> {
    let (member, trust, dust) = (member.clone(), trust.clone(), dust.clone());
    Arc::new(move || trust.holds(dust.now_ms()).then(|| member.instances().len()))
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("proxy", &self.proxy).finish_non_exhaustive()
    }
}
