//! The way of a request: target, route, policy, memory, flight, upstream.
//!
//! [`Proxy::handle`] is the whole of it. It knows no back-end: stores, bodies and upstreams are
//! handed in.
//!
//! # Cancel safety
//! Dropping the future of [`Proxy::handle`], or the body of its answer, means that the client
//! has left. A fill that it started goes on in its own task (F4).

use std::sync::Arc;

use http::{Request, Response, StatusCode};
use tokio::time::Instant;

use crate::body::Bodies;
use crate::catalog::Catalog;
use crate::clock::Dice;
use crate::drain::Signal;
use crate::dust::{Dust, Number};
use crate::flight::Flight;
use crate::flight::{self, Joined};
use crate::key::Key;
use crate::key::target::{self, Asked, Refusal};
use crate::policy::{self, Ask, CacheStatus, Entrance, PassReason};
use crate::record::Binding;
use crate::route::{Route, Table};
use crate::telemetry::words::{self, Why};
use crate::tier::{Member, Stamps, Stored, Tier, Trust};
use crate::upstream::Upstream;

pub(crate) mod asking;
mod binding;
pub mod body;
mod broken;
pub mod budget;
mod candidate;
mod cause;
mod connection;
mod decision;
mod deliver;
pub mod explain;
pub(crate) mod fill;
mod flights;
pub mod follow;
mod freshen;
mod head_flight;
mod heads;
mod invalidate;
mod janitor;
mod judge;
mod landed;
mod landings;
mod languages;
mod last_hop;
mod late;
pub mod listener;
mod lost;
mod measured;
mod miss;
mod multipart;
mod next;
mod noted_urls;
mod notes;
pub mod notices;
mod owed;
mod pace;
mod pass;
mod past;
mod place;
mod purge;
mod recall;
mod reply;
mod rolls;
mod serve;
pub mod settings;
mod spelling;
mod standing_in;
mod status;
pub mod ticket;
mod told;
mod under_way;
mod unreadable;
mod upload;
mod waiters;
mod writing;

pub use asking::Client;
pub use body::ReplyBody;
pub use janitor::NotSwept;
pub use purge::{Purge, PurgeError, Purged};
pub use settings::{Server, Settings};
pub use upload::Content;

use asking::{Asking, Forwarded};
use binding::Party;
use candidate::Facts;
use cause::Cause;
use decision::{Decision, Onward, Served};
use fill::Job;
use next::Next;
use notes::{Noted, Notes};
use notices::Notices;
use place::{Look, Place};
use ticket::Ticket;
use told::{Failure, Flights, Moments};
use waiters::Waiters;

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
    pub notices: Notices,
    /// Fills hold guards of it, so that a drain waits for them.
    pub drain: Arc<Signal>,
}

/// The proxy. One per process, shared by all its connections.
pub struct Proxy {
    pub(crate) settings: Settings,
    pub(crate) routes: Arc<Table>,
    upstreams: Vec<Arc<dyn Upstream>>,
    pub(crate) tier: Arc<Tier>,
    pub(crate) stamps: Arc<Stamps>,
    pub(crate) trust: Arc<Trust>,
    member: Option<Arc<Member>>,
    pub(crate) flights: Flights,
    pub(crate) flight: Arc<Flight>,
    pub(crate) dust: Arc<dyn Dust>,
    pub(crate) catalog: Catalog,
    pub(crate) bodies: Arc<Bodies>,
    pub(crate) notes: Notes,
    pub(crate) rolls: rolls::Rolls,
    pub(crate) heads: head_flight::HeadFlights,
    under_way: under_way::UnderWay,
    pub(crate) moments: Moments,
    pub(crate) waiters: Waiters,
    pub(crate) dice: Arc<Dice>,
    pub(crate) notices: Notices,
    pub(crate) drain: Arc<Signal>,
    pub(crate) marks: deliver::Marks,
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
        let marks = deliver::Marks::new(&parts.settings.server.name, parts.fleet);
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
            notes: Notes::new(),
            rolls: rolls::Rolls::default(),
            heads: head_flight::HeadFlights::new(),
            under_way: under_way::UnderWay::default(),
            moments: Moments::default(),
            waiters,
            dice: parts.dice,
            notices: parts.notices,
            drain: parts.drain,
            marks,
            noted_urls: noted_urls::NotedUrls::new(),
            landings: landings::Landings::default(),
        })
    }

    /// Answers one request.
    pub async fn handle(
        self: &Arc<Self>,
        client: &Client,
        request: Request<impl Content>,
    ) -> Response<ReplyBody> {
        let (mut parts, content) = request.into_parts();
        let head = head_len(&parts);
        policy::strip_connection(&mut parts.headers);
        let mut forwarded =
            Forwarded::read(client.peer, &self.settings.server.trusted_proxies.0, &parts.headers);
        let mut ticket = Ticket::open(&self.notices, self.now_ms(), &parts, &forwarded);
        if target_len(&parts.uri) > self.settings.server.max_target {
            return self.turn_away(ticket, Cause::Target(Refusal::TooLong));
        }
        if head > self.settings.server.max_header_size {
            return self.turn_away(ticket, Cause::HeadTooLarge);
        }
        let asked =
            target::canonical(&parts.method, &parts.uri, parts.version, &parts.headers, forwarded.scheme);
        let believed = forwarded.host.take();
        let asked = match (asked, &believed) {
            // Route, key and origin see the one host: what a fill said of another would be
            // everybody's.
            (Ok(Asked::Target(target)), Some(host)) => target.under(host).map(Asked::Target),
            (asked, _) => asked,
        };
        let target = match asked {
            Ok(Asked::Target(target)) => target,
            Ok(Asked::OptionsStar) => {
                let mut response = Response::new(ReplyBody::empty());
                *response.status_mut() = StatusCode::NO_CONTENT;
                return Self::finish(ticket, response);
            }
            Err(refusal) => return self.turn_away(ticket, Cause::Target(refusal)),
        };
        ticket.asks(&target);
        if believed.is_some() {
            deliver::set_host(&mut parts.headers, &target.authority());
        }
        if self.marks.is_loop(&parts.headers) {
            return self.turn_away(ticket, Cause::Loop);
        }
        let route = match self.routes.route(&target, &parts.method) {
            Ok(route) => route.clone(),
            Err(none) => return self.turn_away(ticket, Cause::NoRoute(none)),
        };
        ticket.routed(&route, self.notices.route(&route).clone());
        policy::mark_secrets(&mut parts.headers, &route.rules);
        if last_hop::is_asked(&parts.method, &parts.headers) {
            return Self::finish(ticket, last_hop::answer(&route));
        }
        let entrance = if route.cache {
            policy::entrance(&parts.method, &parts.headers, &route.rules)
        } else {
            Entrance::Pass(PassReason::RouteSays)
        };
        let (ask, passes) = match entrance {
            Entrance::Lookup(ask) => (ask, None),
            Entrance::Pass(reason) => (Ask::default(), Some(reason)),
        };
        let (method, headers) = (parts.method, parts.headers);
        let asking =
            Asking { method, headers, target, route, ask, forwarded, forward: None, ticket, seat: None };
        match passes {
            Some(reason) => self.pass_with_body(asking.of(client), content, reason).await,
            None => match self.look_up(client, asking).await {
                Next::Answer(response) => response,
                next => self.go_on(next).await,
            },
        }
    }

    /// Takes a request from room to room until it has its answer.
    async fn go_on(self: &Arc<Self>, mut next: Next) -> Response<ReplyBody> {
        loop {
            next = match next {
                Next::Answer(response) => return response,
                Next::Miss(asking, place, stale) => self.miss(asking, place, stale).await,
                Next::Pass(asking, place, reason) => return self.pass_get(asking, place, reason).await,
                Next::Unreadable(asking, stored, error) => self.unreadable(asking, &stored, &error).await,
            };
        }
    }

    /// A GET or HEAD that may be answered from the store.
    async fn look_up(self: &Arc<Self>, client: &Client, mut asking: Asking) -> Next {
        let mut look = self.look(&asking.route, &asking.target, &asking.headers, &asking.ask);
        let recalls = decision::recalls(&asking.route, &asking.ask);
        if let Look::Missing { place } = &look
            && recalls
            && self.recall(&asking, place).await
        {
            look = self.look(&asking.route, &asking.target, &asking.headers, &asking.ask);
        }
        let wait = asking.route.wait_timeout;
        if recalls
            && let Some((exchange, follower)) = self.about_to_be_stored(&asking, &look)
            && self.begins_in(&mut asking, &exchange, Instant::now() + wait).await
        {
            asking.ticket.late = true;
            return Next::Answer(self.ride(asking, &exchange, follower, self.moments.next()));
        }
        let (route, facts, unread) = (&asking.route, Facts::of(&asking), &asking.ticket.unread);
        let noted = |place: &Place| self.noted(&asking, place, false);
        let stands_in = |stale: &Stored, facts: Facts<'_>, failure: &Failure| {
            self.stands_in(stale, facts, unread, failure.case()).is_ok()
        };
        match decision::decide(route, facts, look, noted, stands_in) {
            Decision::Serve { stored, ttl_ms, served } => {
                let status = self.served(&mut asking, &stored, ttl_ms, served);
                self.from_stored(asking, stored, status).await
            }
            Decision::OnlyIfCached => Next::Answer(Self::refuse(asking, Cause::OnlyIfCached, None)),
            Decision::Alone { onward, reason, .. } => {
                let asking = self.goes_on(client, asking, &onward);
                Next::Pass(asking, Some(onward.place), reason)
            }
            Decision::Failed { onward, failure, probes } => {
                let asking = self.goes_on(client, asking, &onward);
                if probes {
                    self.fetch_behind(&asking, onward.place, onward.stale.clone());
                }
                self.failed(asking, onward.stale, &failure, 0).await
            }
            Decision::Join(onward) => {
                let asking = self.goes_on(client, asking, &onward);
                Next::Miss(asking, onward.place, onward.stale)
            }
        }
    }

    /// What Cache-Status says of an answer from what is stored, which is noted for the log; a refresh behind
    /// it begins.
    fn served(
        self: &Arc<Self>,
        asking: &mut Asking,
        stored: &Arc<Stored>,
        ttl_ms: i64,
        served: Served,
    ) -> CacheStatus<'static> {
        match served {
            Served::Fresh | Served::Unsure => {
                asking.ticket.hit(stored);
                asking.ticket.why = Some(Why::Fresh);
                if matches!(served, Served::Fresh) { status::hit(ttl_ms) } else { status::unsure(ttl_ms) }
            }
            Served::MaxStale => {
                asking.ticket.stale_hit(stored, Why::MaxStale);
                status::stale(ttl_ms, "max-stale")
            }
            Served::Revalidating(place) => {
                self.refresh_behind(asking, place, stored);
                asking.ticket.stale_hit(stored, Why::WhileRevalidate);
                status::stale(ttl_ms, "stale-while-revalidate")
            }
        }
    }

    /// A request that memory does not answer: from here on it may wait for upstream, as long as this client
    /// is there.
    fn goes_on(&self, client: &Client, asking: Asking, onward: &Onward) -> Asking {
        let mut asking = asking.of(client);
        asking.ask = onward.ask(&asking.ask);
        asking.forward = Some(self.forward(&asking, &onward.place, onward.stale.as_ref()));
        asking
    }

    /// Starts a refresh that no request waits for, unless one is under way.
    fn refresh_behind(self: &Arc<Self>, asking: &Asking, place: Place, stored: &Arc<Stored>) {
        if asking.ask.credentialed()
            || matches!(self.noted(asking, &place, false), Noted::Pass(_) | Noted::Failed(_))
        {
            return;
        }
        self.fetch_behind(asking, place, Some(stored.clone()));
    }

    fn fetch_behind(self: &Arc<Self>, asking: &Asking, place: Place, stale: Option<Arc<Stored>>) {
        if let Joined::Lead(leader) = self.flights.join(&place.key.hash()) {
            let deadline = tokio::time::Instant::now() + asking.route.wait_timeout;
            Job::new(self, asking, place, None, stale, deadline).spawn(leader);
        }
    }

    /// What is remembered of a key and binds this request; `waited`: it was there before that.
    fn noted(&self, asking: &Asking, place: &Place, waited: bool) -> Noted {
        let hash = place.key.hash();
        let binds = |binding: &Binding| {
            binding::binds(&self.marks, binding, &Party::of(asking, place.primary.hash()), waited)
        };
        self.notes.find(hash, place.url, &self.stamps, || self.flights.peek(&hash).is_some(), binds)
    }

    /// The same, asked without taking part.
    pub(crate) fn peek_noted(&self, party: &Party<'_>, place: &Place) -> Noted {
        let hash = place.key.hash();
        let tried = || self.flights.peek(&hash).is_some();
        self.notes.peek(hash, place.url, &self.stamps, tried, |binding| {
            binding::binds(&self.marks, binding, party, false)
        })
    }

    /// The names that a key has in the store.
    pub(crate) fn names(&self, key: &Key) -> flight::Names {
        self.catalog.names(key)
    }

    /// What the fleet is called in CDN-Loop.
    pub fn fleet(&self) -> &str {
        self.marks.fleet()
    }

    /// This instance did not know its fleet until now. Once is all that counts.
    pub fn joins(&self, fleet: String) {
        self.marks.joins(fleet);
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
        self.notices.route(route)
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

    /// The store's clock.
    pub(crate) fn now_ms(&self) -> u64 {
        self.dust.now_ms()
    }

    /// Our own answer to a request that has no route.
    fn turn_away(&self, mut ticket: Box<Ticket>, cause: Cause) -> Response<ReplyBody> {
        self.notices.refused(cause.as_str());
        ticket.cache = words::Cache::Error;
        ticket.error = Some(cause.as_str());
        Self::finish(ticket, reply::answer(cause, None))
    }

    /// Notes the head, and hands the ticket to the body: the line is written when that has gone.
    pub(crate) fn finish(mut ticket: Box<Ticket>, response: Response<ReplyBody>) -> Response<ReplyBody> {
        ticket.answered(response.status());
        response.map(|body| body.with_ticket(ticket))
    }
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proxy").field("settings", &self.settings).finish_non_exhaustive()
    }
}

fn target_len(uri: &http::Uri) -> usize {
    uri.path_and_query().map_or(0, |target| target.as_str().len())
        + uri.authority().map_or(0, |authority| authority.as_str().len())
}

/// The length of a head as it came, but for what its lines were padded with.
fn head_len(parts: &http::request::Parts) -> usize {
    // Method, target and version, with two spaces and the line's end; the empty line.
    let line = parts.method.as_str().len() + target_len(&parts.uri) + 14;
    parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum::<usize>() + line
}

#[cfg(test)]
mod tests;
