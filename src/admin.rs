//! The operator's port: health, metrics, what is going on, and purge.
//!
//! It asks and tells through a [`AdminBackend`], so it knows no part of the proxy.

use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware;
use axum::routing::{get, post};
use serde_json::Value;
use tokio::net::TcpListener;

use crate::drain;

mod answer;
mod guard;
mod listener;
mod settings;
mod v1;

pub use answer::Problem;
pub use listener::{Limits, Places};
pub use settings::Settings;

/// What the operator's port can ask and tell.
#[async_trait]
pub trait AdminBackend: Send + Sync + 'static {
    /// Whether traffic is welcome, and what is degraded.
    fn readiness(&self) -> Readiness;
    /// The metrics page.
    fn metrics(&self) -> String;
    /// What runs, how it fares.
    fn status(&self) -> Value;
    /// The settings in force, secrets masked.
    fn config(&self) -> Value;
    /// The routes in matching order.
    fn routes(&self) -> Value;
    /// Flights under way, at most `limit`.
    fn flights(&self, limit: usize) -> Value;
    /// Why a request would be answered as it would be.
    async fn explain(&self, question: ExplainRequest) -> Result<Value, Problem>;
    /// Purges.
    async fn purge(&self, order: PurgeRequest) -> Result<Value, Problem>;
    /// Begins the drain, as SIGTERM does.
    fn drain(&self);
}

/// Whether traffic is welcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// Yes; these parts are degraded.
    Ready(Vec<&'static str>),
    /// No, and why.
    NotReady(&'static str),
}

/// A request to be explained.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExplainRequest {
    /// The URL, as a client would ask for it.
    pub url: String,
    /// The method.
    #[serde(default = "get_method")]
    pub method: String,
    /// Request fields.
    #[serde(default)]
    pub headers: Vec<(String, String)>,
}

/// What to purge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PurgeRequest {
    /// What.
    pub what: Purge,
    /// Stale instead of gone.
    pub soft: bool,
}

/// The scope of a purge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Purge {
    /// One URL.
    Url(String),
    /// Everything.
    All,
}

#[derive(Clone)]
struct AdminState {
    desk: Arc<dyn AdminBackend>,
    settings: Arc<Settings>,
}

/// The longest content of a request, in bytes.
const MAX_CONTENT: usize = 256 * 1024;

/// Serves the operator's port until the drain begins; its connections hold the guard until they
/// have ended.
pub async fn serve(
    listener: Arc<TcpListener>,
    desk: Arc<dyn AdminBackend>,
    settings: Settings,
    limits: Limits,
    places: Arc<Places>,
    until: drain::Guard,
) {
    listener::serve(listener, router(desk, settings), limits, places, until).await;
}

/// All of the port.
pub fn router(desk: Arc<dyn AdminBackend>, settings: Settings) -> Router {
    let room = AdminState { desk, settings: Arc::new(settings) };
    let inner = Router::new()
        .route("/status", get(v1::status))
        .route("/config", get(v1::config))
        .route("/routes", get(v1::routes))
        .route("/flights", get(v1::flights))
        .route("/explain", get(v1::explain_url).post(v1::explain))
        .route("/purge", post(v1::purge))
        .route("/drain", post(v1::drain))
        .fallback(answer::not_found)
        .method_not_allowed_fallback(answer::wrong_method)
        .layer(middleware::from_fn_with_state(room.clone(), guard::inner));
    Router::new()
        .route("/healthz", get(answer::healthz))
        .route("/readyz", get(answer::readyz))
        .route("/metrics", get(answer::metrics))
        .nest("/v1", inner)
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
