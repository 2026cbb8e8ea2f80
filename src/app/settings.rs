//! From what the settings say to what the parts are set up with: the one place where it is translated.

use super::stores;
use crate::body;
use crate::config::{OnUnavailable, Settings, WhenUnsure};
use crate::node::{self, Places};
use crate::proxy::listener;
use crate::tier::{self, Tier};
use crate::{admin, flight, proxy};

/// Of an instance with this name, over a store of this kind.
pub(super) fn node(settings: &Settings, instance: &str, kind: &str) -> node::Settings {
    let (server, dust) = (&settings.server, &settings.dust);
    node::Settings {
        proxy: proxy::Settings {
            name: server.name.clone(),
            instance: instance.into(),
            prefix: dust.prefix.clone(),
            trusted: server.trusted(),
            max_target: usize::try_from(server.max_target.0).unwrap_or(usize::MAX),
            max_header_size: usize::try_from(server.max_header_size.0).unwrap_or(usize::MAX),
            max_waiters: server.max_waiters,
            max_life: dust.max_life.0,
            body_timeout: server.body_timeout.0,
            min_rate: server.min_rate.0,
        },
        flight: flight::Settings {
            lease_ttl: dust.lease_ttl.0,
            on_unavailable: match dust.on_unavailable {
                OnUnavailable::RunLocal => flight::OnUnavailable::RunLocal,
                OnUnavailable::Error => flight::OnUnavailable::Error,
            },
            call_bound: stores::call_bound(kind),
            ..flight::Settings::default()
        },
        memory: settings.memory.size.0,
        trust: dust.trust.0,
        when_unsure: when_unsure(settings, kind),
    }
}

/// How far memory is trusted while the store is not heard. An embedded one that is not open yet
/// nobody else changes, and purges are refused: it may be believed for as long as that takes.
fn when_unsure(settings: &Settings, kind: &str) -> tier::WhenUnsure {
    match settings.dust.when_unsure {
        _ if kind == "embedded" => tier::WhenUnsure::Serve(std::time::Duration::MAX),
        WhenUnsure::Serve => tier::WhenUnsure::Serve(settings.dust.unsure_for.0),
        WhenUnsure::Validate => tier::WhenUnsure::Validate,
    }
}

/// Of the body store.
pub(super) fn bodies(settings: &Settings) -> body::Settings {
    body::Settings {
        fleet: settings.dust.prefix.clone(),
        size: settings.bodies.size.0,
        linger: settings.bodies.linger.0,
        max_life: settings.dust.max_life.0,
        hold: Tier::hold_of(settings.memory.size.0).min(body::Settings::default().hold),
        patience: settings.server.send_timeout.0,
        ..body::Settings::default()
    }
}

/// Where the stores are, as an operator may see it.
pub(super) fn places(settings: &Settings) -> Places {
    Places { dust: settings.dust.url.to_string(), bodies: settings.bodies.url.to_string() }
}

/// Of the data port.
pub(super) fn listener(settings: &Settings) -> listener::Limits {
    let server = &settings.server;
    listener::Limits {
        header_timeout: server.header_timeout.0,
        idle_timeout: server.idle_timeout.0,
        send_timeout: server.send_timeout.0,
        min_rate: server.min_rate.0,
        max_connections: server.max_connections,
        max_header_size: usize::try_from(server.max_header_size.0).unwrap_or(usize::MAX),
        max_fields: server.max_fields,
    }
}

/// Who may ask the operator's port.
pub(super) fn admin_access(settings: &Settings) -> admin::Access {
    let admin = &settings.admin;
    admin::Access {
        token: admin.token.as_ref().map(|token| token.reveal().to_owned()),
        metrics_token: admin.metrics_token,
        hosts: admin.hosts.0.clone(),
    }
}

/// Of the operator's port.
pub(super) fn admin_limits(settings: &Settings) -> admin::Limits {
    let server = &settings.server;
    admin::Limits::new(settings.admin.max_connections, server.header_timeout.0, server.idle_timeout.0)
}
