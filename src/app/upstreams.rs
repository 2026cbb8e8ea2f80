//! The upstream clients, as the settings name them, and the fleet's budgets for them.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::metered::Metered;
use super::{BuildError, bad};
use crate::config::Settings;
use crate::dust::BucketTerms;
use crate::node::{self, Node, QuotaTerms, Share};
use crate::proxy::budget::Budget;
use crate::proxy::quota::Quota;
use crate::route::Table;
use crate::telemetry::labels::LeaseLost;
use crate::telemetry::{Metrics, UpstreamMetrics};
use crate::units::Rate;
use crate::upstream::client::Client;
use crate::upstream::limit::{Gate, Limit};
use crate::upstream::{self, RetryAfter, Shared, Upstream};

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
    quota: Option<Arc<Quota>>,
    /// The rate as it is written in the settings.
    rate: Option<Rate>,
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
            let client = client(name, of_client, &shared)?;
            all.note(name, origin, client.limit());
            made.insert(name.clone(), Arc::new(Metered::new(Arc::new(client), metrics.upstream(name))));
        }
        all.of_node.by_route.push(made[name].clone());
    }
    Ok(all)
}

/// The upstreams that no client can be made for, such as one whose certificates can't be read.
pub fn wrong(settings: &Settings) -> Vec<BuildError> {
    let shared = Shared::default();
    let mut origins = settings.origins();
    let named = settings.table().in_order().iter().filter_map(|route| origins.remove_entry(&*route.upstream));
    named.filter_map(|(name, origin)| client(&name, origin, &shared).err()).collect()
}

fn client(name: &str, settings: upstream::Settings, shared: &Shared) -> Result<Client, BuildError> {
    Client::sharing(settings, shared).map_err(|error| bad(format!("upstreams.{name}"), error.to_string()))
}

// === impl Upstreams ===

impl Upstreams {
    /// Notes the limits of an upstream, here and over the fleet.
    fn note(&mut self, name: &Arc<str>, origin: &upstream::Settings, limit: &Limit) {
        let (name, limit, most) = (name.clone(), limit.clone(), origin.most_here());
        if let Some(permits) = origin.max_concurrent_fleet {
            self.of_node.shares.push(Share { name: name.clone(), limit: limit.clone(), permits, most });
        }
        let pauses = origin.retry_after == RetryAfter::Upstream;
        if origin.max_rate_fleet.is_some() || pauses {
            let rate = origin.max_rate_fleet.map(|rate| terms(rate, origin.burst()));
            self.of_node.quotas.push(QuotaTerms { name: name.clone(), limit: limit.clone(), rate, pauses });
        }
        self.loads.push(Load { name, most, limit, budget: None, quota: None, rate: origin.max_rate_fleet });
    }
}

/// A rate as buckets count it.
fn terms(rate: Rate, burst: u64) -> BucketTerms {
    let period_us = u64::try_from(rate.period().as_micros()).unwrap_or(u64::MAX);
    BucketTerms { tokens: rate.count(), period_us, burst }
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
        let quota = self.quota.as_ref().map(|quota| quota.standing());
        let rate = self.rate.zip(quota).map(|(rate, stands)| {
            json!({
                "rate": rate.to_string(), "burst": stands.rate.map(|terms| terms.burst),
                "spent": stands.counts.spent, "waited": stands.counts.waited, "refused": stands.counts.refused,
                "shares": stands.shares, "fallback": stands.alone, "fallbacks": stands.fallbacks,
            })
        });
        let limited = quota.and_then(|stands| match stands.gate {
            Gate::Open => None,
            Gate::Closed(pause) => Some(json!({ "status": pause.status, "left_ms": left_ms(pause.until) })),
            Gate::Trial(pause) => Some(json!({ "status": pause.status, "left_ms": 0 })),
        });
        json!({
            "name": &*self.name, "in_flight": self.limit.in_flight(), "queue": self.limit.queued(),
            "limit": self.most, "fleet": fleet, "rate": rate, "limited": limited,
        })
    }

    /// What keeps requests from the upstream called `name` beside its places, in words. `None` if nothing does,
    /// or this is another one's load.
    pub(super) fn limits(&self, name: &str) -> Option<String> {
        let stands = self.quota.as_ref().filter(|_| *self.name == *name)?.standing();
        let mut said = Vec::new();
        if let (Some(rate), Some(terms)) = (self.rate, stands.rate) {
            said.push(format!("{rate} for all instances, {} at once", terms.burst));
            if stands.shares > 0 {
                said.push(format!("this instance has one of {} shares", stands.shares));
            }
        }
        match stands.gate {
            Gate::Open => {}
            Gate::Closed(pause) if left_ms(pause.until) > 0 => {
                let left = left_ms(pause.until).div_ceil(1000);
                said.push(format!("it answered {} and is left alone for {left} s more", pause.status));
            }
            Gate::Closed(pause) | Gate::Trial(pause) => {
                said.push(format!("it answered {}, and one request tries whether it is over", pause.status));
            }
        }
        (!said.is_empty()).then(|| said.join(" · "))
    }

    /// The same load, with the budget and the quota that the instance keeps, and shown by the metrics.
    pub(super) fn of(self, node: &Node, metrics: &Arc<Metrics>) -> Self {
        let (budget, quota) = (node.budget(&self.name).cloned(), node.quota(&self.name).cloned());
        let load = Self { budget, quota, ..self };
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
        if let Some(quota) = &self.quota {
            let stands = quota.standing();
            if stands.rate.is_some() {
                let counts = stands.counts;
                of.set_rate(counts.spent, counts.waited, counts.refused, stands.alone, stands.fallbacks);
            }
            let left_ms = match stands.gate {
                Gate::Open => 0,
                Gate::Closed(pause) | Gate::Trial(pause) => left_ms(pause.until),
            };
            of.set_limited(left_ms, stands.counts.pauses);
        }
    }
}

fn left_ms(until: Instant) -> u64 {
    crate::clock::millis(until.saturating_duration_since(Instant::now()))
}
