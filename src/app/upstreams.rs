//! The upstream clients, as the settings name them, and the fleet's budgets for them.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value, json};

use super::metered::Metered;
use super::{BuildError, bad};
use crate::clock::Dice;
use crate::config::{self, Settings};
use crate::flight::Flight;
use crate::proxy::budget::{self, Budget};
use crate::route::{Route, Table};
use crate::telemetry::words::LeaseLost;
use crate::telemetry::{Metrics, UpstreamMetrics};
use crate::upstream::client::Client;
use crate::upstream::limit::Limit;
use crate::upstream::settings::{HostRule, Tls};
use crate::upstream::{self, Shared, Upstream};

/// All upstreams.
pub(super) struct Upstreams {
    /// The upstream of each route, by index; routes that name the same one share it.
    pub by_route: Vec<Arc<dyn Upstream>>,
    /// Each one once.
    pub loads: Vec<Load>,
}

/// What an upstream bears, for metrics and status.
#[derive(Clone)]
pub(super) struct Load {
    name: Arc<str>,
    most: usize,
    limit: Limit,
    budget: Option<Arc<Budget>>,
}

/// Makes the upstreams that routes name. A store that instances share carries the budgets.
pub(super) fn make(
    settings: &Settings,
    table: &Table,
    metrics: &Arc<Metrics>,
    flight: &Arc<Flight>,
    dice: &Arc<Dice>,
) -> Result<Upstreams, BuildError> {
    let mut made: HashMap<Arc<str>, Arc<dyn Upstream>> = HashMap::new();
    let mut all = Upstreams { by_route: Vec::new(), loads: Vec::new() };
    let shared = Shared::default();
    for route in table.in_order() {
        if !made.contains_key(&route.upstream) {
            let (upstream, load) = make_upstream(settings, route, &shared, metrics, flight, dice)?;
            made.insert(route.upstream.clone(), upstream);
            all.loads.push(load);
        }
        all.by_route.push(made[&route.upstream].clone());
    }
    Ok(all)
}

fn make_upstream(
    settings: &Settings,
    route: &Route,
    shared: &Shared,
    metrics: &Arc<Metrics>,
    flight: &Arc<Flight>,
    dice: &Arc<Dice>,
) -> Result<(Arc<dyn Upstream>, Load), BuildError> {
    let name = &*route.upstream;
    let origins = settings.origins();
    let origin =
        origins.get(name).ok_or_else(|| bad("routes.upstream", format!("no upstream \"{name}\"")))?;
    let client = Client::sharing(client_settings(origin, settings.server.max_fields), shared)
        .map_err(|error| bad(format!("upstreams.{name}"), error.to_string()))?;
    let client = Arc::new(client);
    let (limit, most) = (client.limit().clone(), origin.most_here());
    // Alone on its store, an instance is the fleet: the smaller limit is all there is to keep.
    let fleet = origin.max_concurrent_fleet.filter(|_| flight.dust().shared());
    let budget = fleet.map(|permits| {
        let terms = budget::Terms { prefix: &settings.dust.prefix, name, permits, most };
        Arc::new(Budget::start(flight.clone(), dice.clone(), limit.clone(), &terms))
    });
    let load = Load { name: route.upstream.clone(), most, limit, budget };
    let (of, shown) = (metrics.upstream(name), load.clone());
    metrics.on_render(move |_| shown.measure(&of));
    Ok((Arc::new(Metered::new(client, metrics.upstream(name))), load))
}

// === impl Load ===

impl Load {
    /// What the status page says of it.
    pub(super) fn status(&self) -> Value {
        let fleet = self.budget.as_ref().map(|budget| {
            let stands = budget.standing();
            json!({
                "permits": stands.permits, "held": stands.held, "fallback": stands.alone,
                "fallbacks": stands.fallbacks, "lost": stands.lost_not_held + stands.lost_unanswered,
            })
        });
        json!({
            "name": &*self.name, "in_flight": self.limit.in_flight(), "queue": self.limit.queued(),
            "limit": self.most, "fleet": fleet,
        })
    }

    /// Waits until no permit of a fleet's budget is held (F9).
    pub(super) async fn quiet(&self) {
        if let Some(budget) = &self.budget {
            budget.quiet().await;
        }
    }

    fn measure(&self, of: &UpstreamMetrics) {
        of.set_load(self.limit.in_flight(), self.limit.queued());
        if let Some(budget) = &self.budget {
            let stands = budget.standing();
            of.set_budget(stands.held, stands.permits, stands.alone, stands.fallbacks);
            of.set_permits_lost(LeaseLost::NotHeld, stands.lost_not_held);
            of.set_permits_lost(LeaseLost::Unanswered, stands.lost_unanswered);
        }
    }
}

fn client_settings(origin: &config::Upstream, max_fields: usize) -> upstream::settings::Settings {
    let path = |file: &Option<String>| file.as_ref().map(PathBuf::from);
    upstream::settings::Settings {
        url: origin.url.reveal().to_owned(),
        host: match origin.host_mode() {
            config::HostMode::Upstream => HostRule::Upstream,
            config::HostMode::Client => HostRule::Client,
            config::HostMode::Name(name) => HostRule::Name(name),
        },
        http: origin.http,
        tls: Tls {
            ca: path(&origin.tls.ca),
            server_name: origin.tls.server_name.clone(),
            cert: path(&origin.tls.cert),
            key: path(&origin.tls.key),
            insecure: origin.tls.insecure,
        },
        connect_timeout: origin.connect_timeout.0,
        first_byte_timeout: origin.first_byte_timeout.0,
        read_timeout: origin.read_timeout.0,
        pool_idle_timeout: origin.pool_idle_timeout.0,
        max_fields,
        max_concurrent: origin.most_here(),
        queue: origin.queue,
        queue_timeout: origin.queue_timeout.0,
    }
}
