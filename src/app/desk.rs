//! Answers the requests of the operator's port from the parts of the running instance.

use std::sync::Arc;

use async_trait::async_trait;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc};
use url::{Position, Url};

use super::upstreams::Load;
use super::{App, warming};
use crate::admin::{
    AdminBackend, ExplainRequest, Place, Problem, PurgeRequest, Readiness, RecordsRequest, WarmRequest,
    Warming,
};
use crate::clock::{Clock as _, SystemClock, WallMs};
use crate::config::Settings;
use crate::policy::RouteId;
use crate::proxy::explain::{Origin, describe};
use crate::proxy::{Order, Proxy, PurgeError, Purged, Wanted};
use crate::route::Route;
use crate::telemetry::Cache;
use crate::tier::stamps::Named;
use crate::upstream::{self, HostRule};

/// The [`AdminBackend`] of a running app.
pub(super) struct AdminAdapter {
    app: Arc<App>,
    knock: mpsc::Sender<()>,
    /// How many lists may be warmed at a time.
    warms: Arc<Semaphore>,
    /// The places that their requests have.
    places: Arc<warming::Places>,
}

impl AdminAdapter {
    pub(super) fn new(app: Arc<App>, knock: mpsc::Sender<()>) -> Self {
        let places = Arc::new(warming::places(&app));
        Self { app, knock, warms: Arc::new(Semaphore::new(warming::LISTS)), places }
    }
}

#[async_trait]
impl AdminBackend for AdminAdapter {
    fn readiness(&self) -> Readiness {
        self.app.health.readiness()
    }

    fn metrics(&self) -> String {
        self.app.metrics.render()
    }

    fn status(&self) -> Value {
        let app = &self.app;
        let room = app.dust.room();
        let routes: Vec<Value> =
            app.node.proxy.routes().iter().map(|route| route_status(app, route)).collect();
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "instance": app.node.proxy.instance(),
            "fleet": app.node.proxy.fleet(),
            "uptime_s": app.began.elapsed().as_secs(),
            "draining": app.health.is_draining(),
            "dust": {
                "kind": app.dust.kind(), "up": app.health.dust_up(),
                "unsure": !app.node.trust.holds(app.dust.now_ms()),
                "instances": app.node.member.as_ref().map(|member| member.instances()),
                "call_p50_ms": app.health.call_p50().map(|took| took.as_secs_f64() * 1000.0),
                "entries": room.map(|room| room.used.count), "bytes": room.map(|room| room.used.bytes),
            },
            "bodies": { "up": app.health.bodies_up(), "bytes": app.node.stores().bodies().used(), "limit": app.settings.bodies.size },
            "memory": {
                "bytes": app.node.tier.bytes(), "objects": app.node.tier.len(), "limit": app.settings.memory.size,
            },
            "connections": app.connections.open(),
            "upstreams": app.loads.iter().map(Load::status).collect::<Vec<_>>(),
            "routes": routes,
        })
    }

    fn config(&self) -> Value {
        self.app.settings.in_force()
    }

    fn routes(&self) -> Value {
        let routes = self.app.node.proxy.routes().iter();
        routes.map(|route| json!({ "name": &*route.name, "matches": describe(route), "upstream": &*route.upstream, "cache": route.cache })).collect()
    }

    fn flights(&self, limit: usize) -> Value {
        self.app.node.proxy.list_flights(limit)
    }

    async fn records(&self, wanted: RecordsRequest) -> Result<Value, Problem> {
        let RecordsRequest { tag, prefix, limit, cursor, within } = wanted;
        let routes = self.app.node.proxy.routes().iter();
        let named: Vec<RouteId> = routes
            .filter(|route| within.routes.0.iter().any(|name| **name == *route.name))
            .map(|route| route.rules.route)
            .collect();
        let shown = move |of: Named<'_>| {
            let host = of.host().unwrap_or_default().to_owned();
            within.has(&Place { host, route: None })
                || named.contains(&of.route)
                || of.tags.iter().any(|tag| within.has_tag(tag.text()))
        };
        let wanted = Wanted { tag, prefix, limit, cursor };
        self.app.node.proxy.list_records(&wanted, shown).await.ok_or_else(|| {
            let detail =
                "this list has ended, or was not read for two minutes: begin again, without a cursor";
            Problem::bad_request(detail)
        })
    }

    async fn explain(&self, question: ExplainRequest) -> Result<Value, Problem> {
        self.app.explain(question).await
    }

    fn place_of(&self, url: &str) -> Option<Place> {
        let (host, route) = self.app.node.proxy.place_of(url)?;
        Some(Place { host, route: route.map(|route| route.name.to_string()) })
    }

    fn refused(&self, by: &str, what: &str, why: &str) {
        self.app.node.proxy.refused_operator(by, what, why);
    }

    fn check_purge(&self, order: &PurgeRequest) -> Result<(), Problem> {
        self.app.node.proxy.check_order(&order_of(order.clone())).map_err(|error| problem(&error))
    }

    async fn purge(&self, order: PurgeRequest) -> Result<Value, Problem> {
        let order = order_of(order);
        let purged = self.app.node.proxy.carry_out(&order).await.map_err(|error| problem(&error))?;
        Ok(told(&order, &purged))
    }

    fn warm(&self, asked: WarmRequest) -> Result<Warming, Problem> {
        let turn = self.warms.clone().try_acquire_owned();
        let turn = turn.map_err(|_| Problem::too_many_warms(warming::LISTS))?;
        Ok(warming::warm(&self.app, &self.places, asked, turn, self.app.node.proxy.ends()))
    }

    fn drain(&self) {
        // If the channel is full, the drain has been asked for already.
        let _ = self.knock.try_send(());
    }

    fn wall_ms(&self) -> WallMs {
        SystemClock.wall_ms()
    }
}

fn order_of(asked: PurgeRequest) -> Order {
    let PurgeRequest { what, soft, dry_run, by } = asked;
    Order { what, soft, dry_run, by }
}

fn problem(error: &PurgeError) -> Problem {
    match error {
        PurgeError::Url(_) | PurgeError::Wrong(_) => Problem::bad_request(error.to_string()),
        PurgeError::Store(_) => Problem::unavailable(error.to_string()),
    }
}

/// The answer to a purge.
fn told(order: &Order, purged: &Purged) -> Value {
    let mut told = json!({
        "kind": order.kind(), "soft": order.soft, "number": purged.number,
        "confirmed": purged.confirmed, "silent": purged.silent, "ms": purged.ms,
        "matched": purged.matched.records,
    });
    if purged.matched.estimated {
        told["matched_is_estimated"] = true.into();
    }
    if purged.coarsened {
        told["coarsened"] = true.into();
    }
    if order.dry_run {
        told["dry_run"] = true.into();
    }
    told
}

fn route_status(app: &App, route: &Route) -> Value {
    let metrics = app.node.proxy.route_metrics(route);
    let count = |caches: &[Cache]| caches.iter().map(|cache| metrics.answered(*cache)).sum::<u64>();
    let total = count(Cache::ALL);
    let hits = count(&[Cache::Hit, Cache::Stale, Cache::Follower, Cache::Revalidated]);
    let ratio = if total == 0 { Value::Null } else { json!(hits as f64 / total as f64) };
    json!({ "name": &*route.name, "requests": total, "hit_ratio": ratio })
}

/// Explains a request: the single lines, the whole text, and the command's exit code.
pub(super) async fn explain(
    proxy: &Proxy,
    settings: &Settings,
    loads: &[Load],
    question: ExplainRequest,
) -> Result<Value, Problem> {
    let (url, method, headers) = read_question(question)?;
    let origins = settings.origins();
    let shown = |route: &Route| {
        let limits = loads.iter().find_map(|load| load.limits(&route.upstream));
        Origin { limits, ..origins.get(&*route.upstream).map(origin).unwrap_or_default() }
    };
    let explanation = proxy.explain(&url, &method, &headers, shown).await;
    let lines: serde_json::Map<String, Value> =
        explanation.lines.iter().map(|(name, text)| ((*name).to_owned(), text.as_str().into())).collect();
    Ok(json!({
        "outcome": explanation.outcome,
        "code": explanation.outcome.code(),
        "lines": lines,
        "text": explanation.to_string(),
    }))
}

/// The parts of an upstream's settings that may be shown.
fn origin(upstream: &upstream::Settings) -> Origin {
    let host = match &upstream.host {
        HostRule::Client => None,
        HostRule::Name(name) => Some(name.clone()),
        HostRule::Upstream => {
            let url = Url::parse(upstream.url.reveal()).ok();
            url.map(|url| url[Position::BeforeHost..Position::AfterPort].to_owned())
        }
    };
    Origin { url: upstream.url.to_string(), host, limits: None }
}

/// The method and the fields of a question, parsed for the proxy.
fn read_question(question: ExplainRequest) -> Result<(String, Method, HeaderMap), Problem> {
    let method = Method::from_bytes(question.method.as_bytes());
    let method = method.map_err(|_| Problem::bad_request("\"method\" is not a method"))?;
    let mut headers = HeaderMap::new();
    for (name, value) in question.headers {
        let name = HeaderName::from_bytes(name.as_bytes());
        let name = name.map_err(|_| Problem::bad_request("\"headers\" has a name that is none"))?;
        let value = HeaderValue::from_str(&value);
        headers
            .append(name, value.map_err(|_| Problem::bad_request("\"headers\" has a value that is none"))?);
    }
    Ok((question.url, method, headers))
}
