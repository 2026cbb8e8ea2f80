//! Settings of parts that come from several sections of the file.

use std::time::Duration;

use crate::config::Settings;
use crate::dust::Traits;
use crate::node::{self, Places};
use crate::tier::{self, Tier};
use crate::{admin, body, flight, proxy};

/// The settings of an instance with this name, over a store of this kind.
pub(super) fn node(settings: &Settings, instance: &str, store: Traits) -> node::Settings {
    let dust = &settings.dust;
    node::Settings {
        proxy: proxy::Settings {
            server: settings.server.clone(),
            instance: instance.into(),
            prefix: dust.store.prefix.clone(),
            max_life: dust.belief.max_life,
        },
        flight: flight::Settings { call_bound: store.call_bound, ..dust.flight.clone() },
        memory: settings.memory.size,
        trust: dust.belief.trust,
        when_unsure: when_unsure(&dust.belief, store),
    }
}

/// What a fresh record in memory is worth while the store is not heard. No other process changes a store
/// of this process's own, and purges are refused while it is not open: memory stays valid all that time.
fn when_unsure(belief: &tier::Belief, store: Traits) -> tier::WhenUnsure {
    if store.exclusive { tier::WhenUnsure::Serve(Duration::MAX) } else { belief.when_unsure() }
}

/// The settings of the body store.
pub(super) fn bodies(settings: &Settings) -> body::Settings {
    body::Settings {
        fleet: settings.dust.store.prefix.clone(),
        max_life: settings.dust.belief.max_life,
        hold: Tier::hold_of(settings.memory.size).min(settings.bodies.hold),
        patience: settings.server.send_timeout,
        ..settings.bodies.clone()
    }
}

/// The URLs of the stores, without secrets.
pub(super) fn places(settings: &Settings) -> Places {
    Places { dust: settings.dust.store.url.to_string(), bodies: settings.bodies.url.to_string() }
}

/// The limits of the operator's port.
pub(super) fn admin_limits(settings: &Settings) -> admin::Limits {
    let server = &settings.server;
    admin::Limits::new(settings.admin.max_connections, server.header_timeout, server.idle_timeout)
}
