//! The path of a request: target, route, policy, memory, flight, upstream.
//!
//! [`Proxy::handle`] is its entry. This module knows no back-end: stores, bodies and upstreams are handed in.
//!
//! # Rooms
//! Each submodule is a room. A room uses only the rooms above it in this table, and of them only those that
//! its row names. `state` holds data; what is done with it is in the other rooms, as free functions. A room
//! that can't answer a request returns where the request goes on (`respond::next`), so that no room calls the
//! one that called it.
//!
//! | room | holds | knows |
//! |---|---|---|
//! | `settings` | the settings of the data port | nothing |
//! | `cause` | one table from the cause of an error response of this proxy to its status, word and sentence | nothing |
//! | `observer` | what is written to log and metrics | nothing |
//! | `connection` | a client's connection: what it is doing, whether the client is still there | `settings`, `cause` |
//! | `sheets` | large bodies in memory that the system sends without a copy | nothing |
//! | `budget` | a fleet's common limit of exchanges with an upstream | nothing |
//! | `quota` | how often a fleet may ask an upstream, and pauses that its origin asks for | nothing |
//! | `request` | one request: its origin, its line in the log, which verdicts bind it, which fields this hop writes | `cause`, `observer`, `connection` |
//! | `outcome` | the outcome of a flight, for the requests that ride it | `cause` |
//! | `state` | what all rooms share, and what is kept between requests | `settings`, `sheets`, `observer`, `request`, `outcome` |
//! | `lookup` | where a response would be stored, whether a stored one may be used, what is decided for a request | `request`, `outcome`, `state` |
//! | `respond` | from a stored or growing response to the response that is sent: whole, parts, 304, errors | `cause`, `connection`, `sheets`, `request`, `outcome`, `state`, `lookup` |
//! | `fill` | one exchange for all requests of a key: from the lease to the publish | `cause`, `observer`, `request`, `outcome`, `state`, `lookup`, `respond` |
//! | `purge` | purges, and invalidation by unsafe methods | `observer`, `request`, `state`, `fill` |
//! | `port_purge` | purges that come to the data port | `cause`, `request`, `state`, `respond`, `purge` |
//! | `pass` | exchanges for one request alone, HEADs that share one, uploads | `cause`, `connection`, `request`, `outcome`, `state`, `lookup`, `respond`, `fill`, `purge` |
//! | `miss` | a request that leads or follows, until its flight has an outcome | `cause`, `request`, `outcome`, `state`, `lookup`, `respond`, `fill`, `pass` |
//! | `janitor` | sweeps, and removal of records for want of room | `state` |
//! | `explain` | what would be done with a request, in words; flights under way | `request`, `outcome`, `state`, `lookup`, `respond` |
//! | `member_host` | what a fleet member asks of the proxy while it follows the store | `purge` |
//! | `handle` | the path of a request from its head to its response | `cause`, `request`, `outcome`, `state`, `lookup`, `respond`, `fill`, `port_purge`, `pass`, `miss` |
//! | `warm` | fills that no client waits for, asked for by operators | `cause`, `request`, `state`, `respond`, `miss`, `handle` |
//! | `listener` | the data port: connections in, requests to the proxy | `settings`, `cause`, `connection`, `sheets`, `request`, `state`, `respond`, `handle` |
//!
//! # Cancel safety
//! Dropping the future of [`Proxy::handle`], or the body of its response, means that the client has left. A
//! fill that it started goes on in its own task (F4).

pub use janitor::{NotSwept, Survey};
pub use pass::upload::Content;
pub use purge::{MOST, Matched, Order, Purge, PurgeError, Purged, Wanted};
pub use request::Client;
pub use respond::body::ReplyBody;
pub use settings::{Server, Settings};
pub use state::{Parts, Proxy};
pub use warm::{WarmEnd, Warmed};

use std::sync::Arc;

use http::{HeaderMap, Method, Request, Response};

use crate::body::{OtherLife, Swept};
use crate::drain::Guard;
use crate::route::Route;
use crate::tier::stamps::Named;

pub mod budget;
pub(crate) mod cause;
pub(crate) mod connection;
pub mod explain;
pub(crate) mod fill;
pub(crate) mod handle;
pub(crate) mod janitor;
pub mod listener;
pub(crate) mod lookup;
pub mod member_host;
pub(crate) mod miss;
pub mod observer;
pub(crate) mod outcome;
pub(crate) mod pass;
pub(crate) mod port_purge;
pub(crate) mod purge;
pub mod quota;
pub(crate) mod request;
pub(crate) mod respond;
pub mod settings;
pub(crate) mod sheets;
pub(crate) mod state;
pub(crate) mod warm;

/// The entry points of the proxy. Each calls into the room that implements it.
impl Proxy {
    /// Answers one request.
    pub async fn handle(
        self: &Arc<Self>,
        client: &Client,
        request: Request<impl Content>,
    ) -> Response<ReplyBody> {
        handle::handle(self, client, request).await
    }

    /// Returns what would be done with a request, and why. Takes no part in any flight and changes nothing.
    pub async fn explain(
        &self,
        url: &str,
        method: &Method,
        headers: &HeaderMap,
        origin: impl Fn(&Route) -> explain::Origin + Send,
    ) -> explain::Explanation {
        explain::explain(self, url, method, headers, origin).await
    }

    /// Purges what is stored. When it returns, every instance in `confirmed` has applied the purge.
    pub async fn purge(&self, what: &Purge, soft: bool) -> Result<Purged, PurgeError> {
        purge::purge(self, what, soft).await
    }

    /// Checks that everything that is to be purged in one go can be meant, and that it is not too much.
    pub fn check_order(&self, order: &Order) -> Result<(), PurgeError> {
        order.stampings(self).map(drop)
    }

    /// Purges several things in one go.
    pub async fn carry_out(self: &Arc<Self>, order: &Order) -> Result<Purged, PurgeError> {
        purge::to_the_end(self, order).await
    }

    /// Lists records in memory that `shown` lets through, a page at a time. `None`: no list goes on there.
    pub async fn list_records(
        &self,
        wanted: &Wanted,
        shown: impl Fn(Named<'_>) -> bool + Send + 'static,
    ) -> Option<serde_json::Value> {
        purge::listing::list(self, wanted, shown).await
    }

    /// The host of a URL as its key has it, and the route that takes a GET of it, if one does. `None`: no request
    /// could ask for it.
    pub fn place_of(&self, url: &str) -> Option<(String, Option<&Arc<Route>>)> {
        purge::order::place_of(self, url)
    }

    /// Has the log say what an operator's token was refused.
    pub fn refused_operator(&self, by: &str, what: &str, why: &str) {
        self.observer.refused_operator(by, what, why);
    }

    /// Asks for a URL, so that its response is there when a client does; gives way to clients.
    pub async fn warm(self: &Arc<Self>, url: &str, fields: &HeaderMap) -> Warmed {
        warm::warm(self, url, fields).await
    }

    /// Flights under way, oldest first, at most `limit`.
    pub fn list_flights(&self, limit: usize) -> serde_json::Value {
        explain::flights::list_flights(self, limit)
    }

    /// Writes purge stamps that the store did not take at first. Ends only by being dropped.
    pub async fn keep_stamps(self: Arc<Self>) {
        purge::owed::keep_stamps(&self).await;
    }

    /// Tries once more to write the stamps that are still owed to the store, before the process ends.
    pub async fn pay_at_the_end(&self) {
        purge::owed::pay_at_the_end(self).await;
    }

    /// Keeps memory and body store tidy until the drain begins.
    pub async fn keep_tidy(self: Arc<Self>, drain: Guard) {
        janitor::keep_tidy(&self, drain).await;
    }

    /// Says what sweeps would remove now, and removes nothing.
    pub async fn survey(&self) -> Result<Survey, NotSwept> {
        janitor::survey(self).await
    }

    /// Sweeps the body store as a command does: twice, so that nothing young is taken.
    pub async fn sweep_twice(&self) -> Result<(Swept, Vec<OtherLife>), NotSwept> {
        janitor::sweep_twice(self).await
    }
}

#[cfg(test)]
mod tests;
