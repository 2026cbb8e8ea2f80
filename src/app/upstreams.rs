//! The upstream clients, as the settings name them.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::metered::Metered;
use super::{BuildError, bad};
use crate::config::{self, Settings};
use crate::route::{Route, Table};
use crate::telemetry::Metrics;
use crate::upstream::client::Client;
use crate::upstream::settings::{HostRule, Tls};
use crate::upstream::{self, Upstream};

/// The upstream of each route, by index; routes that name the same one share it.
pub(super) fn by_route(
    settings: &Settings,
    table: &Table,
    metrics: &Arc<Metrics>,
) -> Result<Vec<Arc<dyn Upstream>>, BuildError> {
    let mut made: HashMap<Arc<str>, Arc<dyn Upstream>> = HashMap::new();
    let mut by_route = Vec::new();
    for route in table.in_order() {
        if !made.contains_key(&route.upstream) {
            made.insert(route.upstream.clone(), make_upstream(settings, route, metrics)?);
        }
        by_route.push(made[&route.upstream].clone());
    }
    Ok(by_route)
}

fn make_upstream(
    settings: &Settings,
    route: &Route,
    metrics: &Arc<Metrics>,
) -> Result<Arc<dyn Upstream>, BuildError> {
    let name = &*route.upstream;
    let origins = settings.origins();
    let origin =
        origins.get(name).ok_or_else(|| bad("routes.upstream", format!("no upstream \"{name}\"")))?;
    let client = Client::new(client_settings(origin))
        .map_err(|error| bad(format!("upstreams.{name}"), error.to_string()))?;
    let client = Arc::new(client);
    let (of, counted) = (metrics.upstream(name), client.clone());
    metrics.on_render(move |_| of.set_load(counted.limit().in_flight(), counted.limit().queued()));
    Ok(Arc::new(Metered::new(client, metrics.upstream(name))))
}

fn client_settings(origin: &config::Upstream) -> upstream::settings::Settings {
    let path = |file: &Option<String>| file.as_ref().map(PathBuf::from);
    upstream::settings::Settings {
        url: origin.url.reveal().to_owned(),
        host: match origin.host_mode() {
            config::HostMode::Upstream => HostRule::Upstream,
            config::HostMode::Client => HostRule::Client,
            config::HostMode::Name(name) => HostRule::Name(name),
        },
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
        max_concurrent: origin.max_concurrent,
        queue: origin.queue,
        queue_timeout: origin.queue_timeout.0,
    }
}
