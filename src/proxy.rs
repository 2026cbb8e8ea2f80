//! The way of a request: target, route, policy, memory, flight, upstream.
//!
//! [`Proxy::handle`] is the whole of it. It knows no back-end: stores, bodies and upstreams are
//! handed in.
//!
//! # Rooms
//! Arrows point up: a room knows only those above it, and of them only what is named here. The state has
//! no behaviour; what is done with it is said in the rooms, which are free functions of it. A room that
//! can't answer a request says where it goes on (`respond::next`), so that none calls the one it came from.
//!
//! | room | holds | knows |
//! |---|---|---|
//! | `settings` | what the data port is set to | nothing |
//! | `cause` | one table from the cause of an answer of ours to its status, word and sentence | nothing |
//! | `observer` | what is told to log and metrics | nothing |
//! | `connection` | a client's connection: what it is doing, whether the client is there | `settings`, `cause` |
//! | `budget` | places at an upstream that a fleet shares | nothing |
//! | `request` | one request: where it came from, its line in the log, whom a verdict binds, what the hop writes into fields | `cause`, `observer`, `connection` |
//! | `outcome` | what a flight tells those who ride it | `cause` |
//! | `state` | what all rooms share, and what is kept between requests | `settings`, `cause`, `observer`, `request`, `outcome` |
//! | `lookup` | where a response would be, whether a stored one may be used, what is decided of a request | `request`, `outcome`, `state` |
//! | `respond` | from a stored or growing response to an answer: whole, parts, 304, refusals | `cause`, `connection`, `request`, `outcome`, `state`, `lookup` |
//! | `fill` | one exchange for everybody: from the lease to the publish | `cause`, `observer`, `request`, `outcome`, `state`, `lookup`, `respond` |
//! | `purge` | purges, and what unsafe methods make void | `observer`, `request`, `state`, `lookup`, `fill` |
//! | `pass` | exchanges of one request alone, HEADs that share one, uploads | `cause`, `connection`, `request`, `outcome`, `state`, `lookup`, `respond`, `fill`, `purge` |
//! | `miss` | a request that leads or follows, until it knows how that ended | `cause`, `request`, `outcome`, `state`, `lookup`, `respond`, `fill`, `pass` |
//! | `janitor` | sweeping, making room | `state`, `fill` |
//! | `explain` | what would become of a request, in words; flights under way | `request`, `outcome`, `state`, `lookup`, `respond` |
//! | `member_host` | what following the store asks of the proxy | `purge` |
//! | `handle` | the way of a request from top to bottom | `cause`, `request`, `outcome`, `state`, `lookup`, `respond`, `fill`, `pass`, `miss` |
//! | `listener` | the data port: connections in, requests to the proxy | `settings`, `cause`, `connection`, `request`, `state`, `respond`, `handle` |
//!
//! # Cancel safety
//! Dropping the future of [`Proxy::handle`], or the body of its answer, means that the client
//! has left. A fill that it started goes on in its own task (F4).

pub use janitor::NotSwept;
pub use pass::upload::Content;
pub use purge::{Purge, PurgeError, Purged};
pub use request::Client;
pub use respond::body::ReplyBody;
pub use settings::{Server, Settings};
pub use state::{Parts, Proxy};

use std::sync::Arc;

use http::{HeaderMap, Method, Request, Response};

use crate::body::{OtherLife, Swept};
use crate::drain::Guard;
use crate::route::Route;

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
pub(crate) mod purge;
pub(crate) mod request;
pub(crate) mod respond;
pub mod settings;
pub(crate) mod state;

/// What others ask of it; how it is done is said in the rooms.
impl Proxy {
    /// Answers one request.
    pub async fn handle(
        self: &Arc<Self>,
        client: &Client,
        request: Request<impl Content>,
    ) -> Response<ReplyBody> {
        handle::handle(self, client, request).await
    }

    /// Says what would become of a request, and why, without taking part.
    pub async fn explain(
        &self,
        url: &str,
        method: &Method,
        headers: &HeaderMap,
        origin: impl Fn(&Route) -> explain::Origin + Send,
    ) -> explain::Explanation {
        explain::explain(self, url, method, headers, origin).await
    }

    /// Purges what is stored. When it returns, the instances that it names as confirmed have heard.
    pub async fn purge(&self, what: &Purge, soft: bool) -> Result<Purged, PurgeError> {
        purge::purge(self, what, soft).await
    }

    /// Flights under way, oldest first, at most `limit`.
    pub fn list_flights(&self, limit: usize) -> serde_json::Value {
        explain::flights::list_flights(self, limit)
    }

    /// Writes what is owed to the store. Has no end but being dropped.
    pub async fn keep_stamps(self: Arc<Self>) {
        purge::owed::keep_stamps(&self).await;
    }

    /// Tries once more to write what is owed, before the process ends.
    pub async fn pay_at_the_end(&self) {
        purge::owed::pay_at_the_end(self).await;
    }

    /// Keeps memory and body store tidy until the drain begins.
    pub async fn keep_tidy(self: Arc<Self>, drain: Guard) {
        janitor::keep_tidy(&self, drain).await;
    }

    /// Sweeps the body store as a command does: twice, so that nothing young is taken.
    pub async fn sweep_twice(&self) -> Result<(Swept, Vec<OtherLife>), NotSwept> {
        janitor::sweep_twice(self).await
    }
}

#[cfg(test)]
mod tests;
