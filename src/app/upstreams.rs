//! The upstream clients, as the settings name them, and the fleet's budgets for them.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::metered::Metered;
use super::{BuildError, bad};
use crate::config::Settings;
use crate::node::{self, Node, Share};
use crate::proxy::budget::Budget;
use crate::route::Table;
use crate::telemetry::labels::LeaseLost;
use crate::telemetry::{Metrics, UpstreamMetrics};
use crate::upstream::client::Client;
use crate::upstream::limit::Limit;
use crate::upstream::{self, Shared, Upstream};

/// The upstreams of the settings.
pub(super) struct Upstreams {
    /// For the instance, by route. Routes that name the same upstream share it.
    pub of_node: node::Upstreams,
    /// The load of each upstream, once.
    pub loads: Vec<Load>,
}

/// The load of an upstream and its limits, for metrics and status.
#[derive(Clone)]
pub(super) struct Load {
    name: Arc<str>,
    most: usize,
    limit: Limit,
    budget: Option<Arc<Budget>>,
}

/// Makes the upstreams that routes name.
pub(super) fn make(
    settings: &Settings,
    table: &Table,
    metrics: &Arc<Metrics>,
) -> Result<Upstreams, BuildError> {
    let mut made: HashMap<Arc<str>, Arc<dyn Upstream>> = HashMap::new();
    let mut all = Upstreams { of_node: node::Upstreams::without_budgets(Vec::new()), loads: Vec::new() };
    let (origins, shared) = (settings.origins(), Shared::default());
    for route in table.in_order() {
        let name = &route.upstream;
        if !made.contains_key(name) {
            let origin = origins.get(&**name);
            let origin = origin.ok_or_else(|| bad("routes.upstream", format!("no upstream \"{name}\"")))?;
            let max_fields = settings.server.max_fields;
            let of_client = upstream::Settings { max_fields, ..origin.clone() };
            let client = Client::sharing(of_client, &shared)
                .map_err(|error| bad(format!("upstreams.{name}"), error.to_string()))?;
            all.note(name, origin, client.limit());
            made.insert(name.clone(), Arc::new(Metered::new(Arc::new(client), metrics.upstream(name))));
        }
        all.of_node.by_route.push(made[name].clone());
    }
    Ok(all)
}

// === impl Upstreams ===

impl Upstreams {
    /// Notes the limits of an upstream, here and over the fleet.
    fn note(&mut self, name: &Arc<str>, origin: &upstream::Settings, limit: &Limit) {
        let (name, limit, most) = (name.clone(), limit.clone(), origin.most_here());
        if let Some(permits) = origin.max_concurrent_fleet {
            self.of_node.shares.push(Share { name: name.clone(), limit: limit.clone(), permits, most });
        }
        self.loads.push(Load { name, most, limit, budget: None });
    }
}

// === impl Load ===

impl Load {
    /// The upstream's part of the status page.
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

    /// The same load, with the budget that the instance keeps, and shown by the metrics.
    pub(super) fn of(self, node: &Node, metrics: &Arc<Metrics>) -> Self {
        let load = Self { budget: node.budget(&self.name).cloned(), ..self };
        let (of, shown) = (metrics.upstream(&load.name), load.clone());
        metrics.on_render(move |_| shown.measure(&of));
        load
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
