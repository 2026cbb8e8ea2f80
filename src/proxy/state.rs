//! What all rooms of the proxy share: its parts, and what it keeps about requests and fills.

use std::sync::Arc;

use crate::body::Bodies;
use crate::catalog::Catalog;
use crate::clock::Dice;
use crate::drain::{Guard, Signal};
use crate::dust::{Dust, Number};
use crate::flight::{self, Flight};
use crate::key::Key;
use crate::key::target::Target;
use crate::proxy::observer::Observer;
use crate::proxy::outcome::{Flights, Moments};
use crate::proxy::request::hop_headers;
use crate::proxy::settings::Settings;
use crate::proxy::sheets::Sheets;
use crate::proxy::state::negative_cache::NegativeCache;
use crate::proxy::state::waiters::Waiters;
use crate::route::{Route, Table};
use crate::tier::{Member, Stamps, Tier, Trust, Walks};
use crate::units::Meter;
use crate::upstream::Upstream;

pub(crate) mod counting;
pub(crate) mod head_flight;
pub(crate) mod landings;
pub(crate) mod negative_cache;
pub(crate) mod noted_urls;
pub(crate) mod pace;
pub(crate) mod past;
pub(crate) mod pending_variants;
pub(crate) mod under_way;
pub(crate) mod unstored;
pub(crate) mod waiters;

/// The parts of a proxy, as the assembly hands them in.
pub struct Parts {
    /// The settings of the data port and of this process.
    pub settings: Settings,
    /// The fleet's id in CDN-Loop. This instance's own id if it has not joined its fleet yet
    /// ([`Proxy::joins`]).
    pub fleet: String,
    /// The routes, in matching order.
    pub routes: Arc<Table>,
    /// The upstream of each route, by [`Route::index`].
    pub upstreams: Vec<Arc<dyn Upstream>>,
    /// The responses held in memory.
    pub tier: Arc<Tier>,
    /// The purge stamps that this instance knows.
    pub stamps: Arc<Stamps>,
    /// Tells whether this instance has heard of all purges, so that memory may be served.
    pub trust: Arc<Trust>,
    /// This instance as a member of its fleet; none if it does not share its store.
    pub member: Option<Arc<Member>>,
    /// The leases of fills: single flight between instances.
    pub flight: Arc<Flight>,
    /// The store.
    pub dust: Arc<dyn Dust>,
    /// The body store.
    pub bodies: Arc<Bodies>,
    /// The source of randomness.
    pub dice: Arc<Dice>,
    /// Log and metrics.
    pub observer: Observer,
    /// Fills hold guards of it, so that a drain waits for them.
    pub drain: Arc<Signal>,
}

/// The proxy. One per process, shared by all connections.
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
    pub(crate) sheets: Arc<Sheets>,
    pub(crate) negative_cache: NegativeCache,
    pub(crate) unstored: unstored::UnstoredResponses,
    pub(crate) pending_variants: pending_variants::PendingVariants,
    pub(crate) heads: head_flight::HeadFlights,
    pub(crate) under_way: under_way::UnderWay,
    pub(crate) moments: Moments,
    pub(crate) waiters: Waiters,
    pub(crate) dice: Arc<Dice>,
    pub(crate) observer: Observer,
    pub(crate) drain: Arc<Signal>,
    pub(crate) hop_headers: hop_headers::HopHeaders,
    /// URLs whose note this instance wrote lately.
    pub(crate) noted_urls: noted_urls::NotedUrls,
    /// Records that were published a moment ago, to be checked once more against purges.
    pub(crate) landings: landings::Landings,
    /// Lists of records that operators have begun to read.
    pub(crate) walks: Walks,
    pub(crate) counting: counting::Counting,
    /// How many purges on the data port each route takes for now, by [`Route::index`].
    pub(crate) purge_meters: Box<[Meter]>,
}

impl Proxy {
    /// Puts the parts together.
    pub fn new(parts: Parts) -> Arc<Self> {
        let sheets = Arc::new(Sheets::beside(parts.settings.server.max_connections));
        let waiters = Waiters::new(parts.settings.server.max_waiters);
        let catalog = Catalog::new(&parts.settings.prefix, parts.dust.clone(), parts.flight.clone());
        let hop_headers =
            hop_headers::HopHeaders::new(&parts.settings.server.name, parts.fleet, &parts.upstreams);
        let purge_meters = parts.routes.in_order().iter().map(|_| Meter::default()).collect();
        Arc::new(Self {
            purge_meters,
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
            sheets,
            negative_cache: NegativeCache::new(),
            unstored: unstored::UnstoredResponses::new(),
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
            walks: Walks::default(),
            counting: counting::Counting::default(),
        })
    }

    /// The names of a key's entries in the store.
    pub(crate) fn names(&self, key: &Key) -> flight::Names {
        self.catalog.names(key)
    }

    /// The fleet's id in CDN-Loop.
    pub fn fleet(&self) -> &str {
        self.hop_headers.fleet()
    }

    /// Sets the fleet's id, which was not known at the start. Only the first call counts.
    pub fn joins(&self, fleet: String) {
        self.hop_headers.joins(fleet);
    }

    /// Tells when the end of the process begins, and holds it up until it is dropped.
    pub fn ends(&self) -> Guard {
        self.drain.guard()
    }

    /// The routes in matching order.
    pub fn routes(&self) -> &[Arc<Route>] {
        self.routes.in_order()
    }

    /// The route that takes a GET of this target, if one does.
    pub fn route_of(&self, target: &Target) -> Option<&Arc<Route>> {
        self.routes.route(target, &http::Method::GET).ok()
    }

    /// The name of this instance.
    pub fn instance(&self) -> &str {
        &self.settings.instance
    }

    /// The handles of a route's metrics.
    pub fn route_metrics(&self, route: &Route) -> &Arc<crate::telemetry::RouteMetrics> {
        self.observer.route(route)
    }

    /// The leases of fills. At the end of the process some may still have to be given back to the store.
    pub fn flight(&self) -> &Arc<Flight> {
        &self.flight
    }

    /// The name of the instance that led a fill, if it was another one (`elsewhere`) and its name is known.
    pub(crate) fn other_leader(&self, elsewhere: bool, fence: Number) -> Option<Arc<str>> {
        if elsewhere { self.flight.leader(fence) } else { None }
    }

    /// The upstream of a route.
    pub(crate) fn upstream(&self, route: &Route) -> &Arc<dyn Upstream> {
        &self.upstreams[route.index]
    }

    /// The longest time after its receipt that a record is served, in ms.
    pub(crate) fn max_life_ms(&self) -> u64 {
        crate::clock::millis(self.settings.max_life)
    }

    /// The time by the store's clock, in ms.
    pub(crate) fn now_ms(&self) -> u64 {
        self.dust.now_ms()
    }
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proxy").field("settings", &self.settings).finish_non_exhaustive()
    }
}
