//! The operator's port: health, metrics, what is going on, and purge.
//!
//! It reaches the instance through an [`AdminBackend`], so it knows no part of the proxy.

use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware;
use axum::routing::{get, post};
use serde_json::Value;
use tokio::net::TcpListener;

use crate::clock::WallMs;
use crate::drain;
use crate::units::Meter;

mod answer;
mod guard;
mod listener;
mod purge;
mod replay;
mod rights;
mod settings;
mod v1;
mod warm;
mod webhook;

pub use crate::key::purge::Purge;
pub use answer::Problem;
pub use listener::{Limits, Places};
pub use purge::PurgeRequest;
pub use rights::{Place, Right, Token, Where, needed};
pub use settings::Settings;
pub use warm::{WarmRequest, Warming};
pub use webhook::{Purges, Webhook, check as check_webhook};

use replay::Replays;

/// What the operator's port can ask of an instance, and have it do.
#[async_trait]
pub trait AdminBackend: Send + Sync + 'static {
    /// Whether this instance is ready, and which parts are degraded.
    fn readiness(&self) -> Readiness;
    /// The text of all metrics.
    fn metrics(&self) -> String;
    /// The state of the instance and its parts.
    fn status(&self) -> Value;
    /// The settings in force, secrets masked.
    fn config(&self) -> Value;
    /// The routes in matching order.
    fn routes(&self) -> Value;
    /// Flights under way, at most `limit`.
    fn flights(&self, limit: usize) -> Value;
    /// Records in memory, a page at a time.
    async fn records(&self, wanted: RecordsRequest) -> Result<Value, Problem>;
    /// Says which answer a request would get, and why.
    async fn explain(&self, question: ExplainRequest) -> Result<Value, Problem>;
    /// Where a URL lies, if a request could ask for it.
    fn place_of(&self, url: &str) -> Option<Place>;
    /// Checks that everything that is to be purged can be meant.
    fn check_purge(&self, order: &PurgeRequest) -> Result<(), Problem>;
    /// Purges, or says what would be purged.
    async fn purge(&self, order: PurgeRequest) -> Result<Value, Problem>;
    /// Has the log say what the token of this name was refused, and why.
    fn refused(&self, by: &str, what: &str, why: &str);
    /// Has URLs fetched.
    fn warm(&self, asked: WarmRequest) -> Result<Warming, Problem>;
    /// Begins the drain, as SIGTERM does.
    fn drain(&self);
    /// The time.
    fn wall_ms(&self) -> WallMs;
}

/// Whether the instance is ready for traffic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// It is ready; these parts are degraded.
    Ready(Vec<&'static str>),
    /// It is not ready, for this reason.
    NotReady(&'static str),
}

/// Which records are listed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RecordsRequest {
    /// Those that have this tag.
    pub tag: Option<String>,
    /// Those whose URL begins so.
    pub prefix: Option<String>,
    /// How many at most.
    pub limit: usize,
    /// Where the page begins; 0 at the first record.
    pub cursor: u64,
    /// Those that lie there.
    pub within: Where,
}

/// A request to be explained.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExplainRequest {
    /// The URL, as a client would request it.
    pub url: String,
    /// The method.
    #[serde(default = "get_method")]
    pub method: String,
    /// Request fields.
    #[serde(default)]
    pub headers: Vec<(String, String)>,
}

#[derive(Clone)]
struct AdminState {
    desk: Arc<dyn AdminBackend>,
    settings: Arc<Settings>,
    replays: Arc<Replays>,
    /// How many purges each of the settings' tokens has left.
    meters: Arc<[Meter]>,
}

/// The longest content of a request, in bytes.
const MAX_CONTENT: usize = 256 * 1024;

/// Serves the operator's port until the drain begins. Its connections hold the guard until they end.
pub async fn serve(
    listener: Arc<TcpListener>,
    desk: Arc<dyn AdminBackend>,
    (settings, purges): (Settings, Purges),
    limits: Limits,
    places: Arc<Places>,
    until: drain::Guard,
) {
    listener::serve(listener, router(desk, settings, &purges), limits, places, until).await;
}

/// The routes of the operator's port.
pub fn router(desk: Arc<dyn AdminBackend>, settings: Settings, purges: &Purges) -> Router {
    let meters = settings.tokens.iter().map(|_| Meter::default()).collect();
    let room = AdminState { desk, settings: Arc::new(settings), replays: Arc::default(), meters };
    let inner = Router::new()
        .route("/status", get(v1::status))
        .route("/config", get(v1::config))
        .route("/routes", get(v1::routes))
        .route("/flights", get(v1::flights))
        .route("/records", get(v1::records))
        .route("/explain", get(v1::explain_url).post(v1::explain))
        .route("/purge", post(purge::purge))
        .route("/warm", post(warm::warm))
        .route("/drain", post(v1::drain))
        .fallback(answer::not_found)
        .method_not_allowed_fallback(answer::wrong_method)
        .layer(middleware::from_fn_with_state(room.clone(), guard::inner));
    Router::new()
        .route("/healthz", get(answer::healthz))
        .route("/readyz", get(answer::readyz))
        .route("/metrics", get(answer::metrics))
        .nest("/v1", inner)
        .merge(webhook::router(purges))
        .fallback(answer::not_found)
        .method_not_allowed_fallback(answer::wrong_method)
        .layer(DefaultBodyLimit::max(MAX_CONTENT))
        .layer(middleware::from_fn(answer::in_one_form))
        .with_state(room)
}

fn get_method() -> String {
    "GET".to_owned()
}

#[cfg(test)]
mod tests;
