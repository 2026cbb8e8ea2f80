//! What all rooms of the proxy share: its parts, and what it keeps of requests and fills.

use crate::body::Bodies;
use crate::catalog::Catalog;
use crate::clock::Dice;
use crate::drain::Signal;
use crate::dust::{Dust, Number};
use crate::flight::Flight;
use crate::flight::{self};
use crate::key::Key;
use crate::proxy::observer::Observer;
use crate::proxy::outcome::{Flights, Moments};
use crate::proxy::request::hop_headers;
use crate::proxy::settings::Settings;
use crate::proxy::state::negative_cache::NegativeCache;
use crate::proxy::state::waiters::Waiters;
use crate::route::{Route, Table};
use crate::tier::{Member, Stamps, Tier, Trust};
use crate::upstream::Upstream;
use std::sync::Arc;

pub(crate) mod head_flight;
pub(crate) mod landings;
pub(crate) mod negative_cache;
pub(crate) mod noted_urls;
pub(crate) mod pace;
pub(crate) mod past;
pub(crate) mod pending_variants;
pub(crate) mod under_way;
pub(crate) mod waiters;

/// The parts, as the assembly room hands them in.
pub struct Parts {
    /// Settings.
    pub settings: Settings,
    /// Of the fleet, in CDN-Loop; of this instance alone, if it has yet to join its fleet
    /// ([`Proxy::joins`]).
    pub fleet: String,
    /// Routes.
    pub routes: Arc<Table>,
    /// The upstream of each route, by [`Route::index`].
    pub upstreams: Vec<Arc<dyn Upstream>>,
    /// Memory.
    pub tier: Arc<Tier>,
    /// Purges.
    pub stamps: Arc<Stamps>,
    /// Whether memory may be believed.
    pub trust: Arc<Trust>,
    /// This instance as one of a fleet; none where it is alone with its store.
    pub member: Option<Arc<Member>>,
    /// Leases.
    pub flight: Arc<Flight>,
    /// The store.
    pub dust: Arc<dyn Dust>,
    /// Bytes.
    pub bodies: Arc<Bodies>,
    /// Chance.
    pub dice: Arc<Dice>,
    /// Log and metrics.
    pub observer: Observer,
    /// Fills hold guards of it, so that a drain waits for them.
    pub drain: Arc<Signal>,
}

/// The proxy. One per process, shared by all its connections.
pub struct Proxy {
    pub(crate) settings: Settings,
    pub(crate) routes: Arc<Table>,
    pub(crate) upstreams: Vec<Arc<dyn Upstream>>,
    pub(crate) tier: Arc<Tier>,
    pub(crate) stamps: Arc<Stamps>,
    pub(crate) trust: Arc<Trust>,
    pub(crate) member: Option<Arc<Member>>,
    pub(crate) flights: Flights,
    pub(crate) flight: Arc<Flight>,
    pub(crate) dust: Arc<dyn Dust>,
    pub(crate) catalog: Catalog,
    pub(crate) bodies: Arc<Bodies>,
    pub(crate) negative_cache: NegativeCache,
    pub(crate) pending_variants: pending_variants::PendingVariants,
    pub(crate) heads: head_flight::HeadFlights,
    pub(crate) under_way: under_way::UnderWay,
    pub(crate) moments: Moments,
    pub(crate) waiters: Waiters,
    pub(crate) dice: Arc<Dice>,
    pub(crate) observer: Observer,
    pub(crate) drain: Arc<Signal>,
    pub(crate) hop_headers: hop_headers::HopHeaders,
    /// Notes of URLs that this instance wrote lately.
    pub(crate) noted_urls: noted_urls::NotedUrls,
    /// What was published a moment ago.
    pub(crate) landings: landings::Landings,
}

impl Proxy {
    /// Puts the parts together.
    pub fn new(parts: Parts) -> Arc<Self> {
        let waiters = Waiters::new(parts.settings.server.max_waiters);
        let catalog = Catalog::new(&parts.settings.prefix, parts.dust.clone(), parts.flight.clone());
        let hop_headers = hop_headers::HopHeaders::new(&parts.settings.server.name, parts.fleet);
        Arc::new(Self {
            settings: parts.settings,
            routes: parts.routes,
            upstreams: parts.upstreams,
            tier: parts.tier,
            stamps: parts.stamps,
            trust: parts.trust,
            member: parts.member,
            flights: Flights::new(),
            flight: parts.flight,
            dust: parts.dust,
            catalog,
            bodies: parts.bodies,
            negative_cache: NegativeCache::new(),
            pending_variants: pending_variants::PendingVariants::default(),
            heads: head_flight::HeadFlights::new(),
            under_way: under_way::UnderWay::default(),
            moments: Moments::default(),
            waiters,
            dice: parts.dice,
            observer: parts.observer,
            drain: parts.drain,
            hop_headers,
            noted_urls: noted_urls::NotedUrls::new(),
            landings: landings::Landings::default(),
        })
    }

    /// The names that a key has in the store.
    pub(crate) fn names(&self, key: &Key) -> flight::Names {
        self.catalog.names(key)
    }

    /// What the fleet is called in CDN-Loop.
    pub fn fleet(&self) -> &str {
        self.hop_headers.fleet()
    }

    /// This instance did not know its fleet until now. Once is all that counts.
    pub fn joins(&self, fleet: String) {
        self.hop_headers.joins(fleet);
    }

    /// The routes in matching order.
    pub fn routes(&self) -> &[Arc<Route>] {
        self.routes.in_order()
    }

    /// What this instance is called.
    pub fn instance(&self) -> &str {
        &self.settings.instance
    }

    /// The handles of a route's metrics.
    pub fn route_metrics(&self, route: &Route) -> &Arc<crate::telemetry::RouteMetrics> {
        self.observer.route(route)
    }

    /// The single flight between processes: at the end it may still owe the store something.
    pub fn flight(&self) -> &Arc<Flight> {
        &self.flight
    }

    /// The instance that led, if it was another one and is known.
    pub(crate) fn other_leader(&self, elsewhere: bool, fence: Number) -> Option<Arc<str>> {
        if elsewhere { self.flight.leader(fence) } else { None }
    }

    /// The upstream of a route.
    pub(crate) fn upstream(&self, route: &Route) -> &Arc<dyn Upstream> {
        &self.upstreams[route.index]
    }

    /// No record is served that is older, in ms.
    pub(crate) fn max_life_ms(&self) -> u64 {
        crate::clock::millis(self.settings.max_life)
    }

    /// The store's clock.
    pub(crate) fn now_ms(&self) -> u64 {
        self.dust.now_ms()
    }
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proxy").field("settings", &self.settings).finish_non_exhaustive()
    }
}
