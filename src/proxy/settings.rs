//! The settings of the proxy.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::units::{self, List, Net, Socket};

/// `[server]`: the data port. A duration of zero is for ever.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// What this proxy calls itself in Cache-Status and Via.
    pub name: String,
    /// Where it listens.
    pub listen: List<Socket>,
    /// Networks of the proxies whose X-Forwarded-* are believed.
    pub trusted_proxies: List<Net>,
    /// The longest time from the first byte of a head to its last.
    #[serde(with = "units::duration")]
    pub header_timeout: Duration,
    /// How long an upload may pause.
    #[serde(with = "units::duration")]
    pub body_timeout: Duration,
    /// The longest pause between two requests of a connection, from when the last byte of a response was
    /// written.
    #[serde(with = "units::duration")]
    pub idle_timeout: Duration,
    /// The longest time in which a client takes nothing of a response.
    #[serde(with = "units::duration")]
    pub send_timeout: Duration,
    /// The lowest rate in bytes a second: of an upload, over `body_timeout` of waiting for it, and of a
    /// client that takes a response, over `send_timeout` of waiting for that. Zero: any rate.
    #[serde(with = "units::size")]
    pub min_rate: u64,
    /// The most connections; the newest above it is refused.
    pub max_connections: usize,
    /// The longest head of a request, in bytes (431).
    #[serde(with = "units::size")]
    pub max_header_size: usize,
    /// The most fields of a request's head (431), and of a response's from upstream (502).
    pub max_fields: usize,
    /// The longest target, in bytes (414).
    #[serde(with = "units::size")]
    pub max_target: usize,
    /// The most requests that wait for a verdict on this instance (503).
    pub max_waiters: usize,
    /// How long `/readyz` fails before the listener closes.
    #[serde(with = "units::duration")]
    pub drain_delay: Duration,
    /// How long requests under way have to end.
    #[serde(with = "units::duration")]
    pub drain: Duration,
}

/// The settings, and what is known only at the start.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The data port.
    pub server: Server,
    /// The name of this instance, in the log.
    pub instance: Arc<str>,
    /// The prefix of every key in the store.
    pub prefix: String,
    /// The longest time after its receipt that a record is served.
    pub max_life: Duration,
}

// === impl Server ===

impl Default for Server {
    fn default() -> Self {
        Self {
            name: "dustgate".to_owned(),
            listen: List(vec![Socket::At(SocketAddr::from(([127, 0, 0, 1], 8080)))]),
            trusted_proxies: List::default(),
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(75),
            send_timeout: Duration::from_secs(30),
            min_rate: 256,
            max_connections: 10_000,
            max_header_size: 32 << 10,
            max_fields: 250,
            max_target: 8 << 10,
            max_waiters: 10_000,
            drain_delay: Duration::ZERO,
            drain: Duration::from_secs(30),
        }
    }
}

impl Server {
    /// The addresses in `listen`. Those of sockets that are handed over are not known.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let at = |socket: &Socket| match socket {
            Socket::At(at) => Some(*at),
            Socket::Handed(_) => None,
        };
        self.listen.0.iter().filter_map(at).collect()
    }
}
