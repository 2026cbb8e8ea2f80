//! `[server]`: the data port.

use std::fmt::{self, Display};
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::units::{Dur, Size};
use super::words::List;

/// The data port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// What this proxy calls itself in Cache-Status and Via.
    pub name: String,
    /// Where it listens.
    pub listen: List<Listen>,
    /// Whose X-Forwarded-* are believed.
    pub trusted_proxies: List<Net>,
    /// How long a request's head may take.
    pub header_timeout: Dur,
    /// How long an upload may pause.
    pub body_timeout: Dur,
    /// How long a connection may be idle.
    pub idle_timeout: Dur,
    /// How long a client may take nothing of its answer.
    pub send_timeout: Dur,
    /// How many bytes a second an upload brings, and a client takes, at least.
    pub min_rate: Size,
    /// How many connections there may be; the newest is refused.
    pub max_connections: usize,
    /// How large a request's head may be (431).
    pub max_header_size: Size,
    /// How many fields a request's head may have (431), and a response's from upstream (502).
    pub max_fields: usize,
    /// How long a request's target may be (414).
    pub max_target: Size,
    /// How many requests may wait for others' fetches on this instance (503).
    pub max_waiters: usize,
    /// How long `/readyz` fails before the listener closes.
    pub drain_delay: Dur,
    /// How long requests under way have to end.
    pub drain: Dur,
}

/// An address and port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listen(pub SocketAddr);

/// A network, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Net(pub IpNet);

// === impl Server ===

impl Default for Server {
    fn default() -> Self {
        Self {
            name: "dustgate".to_owned(),
            listen: List(vec![Listen(SocketAddr::from(([127, 0, 0, 1], 8080)))]),
            trusted_proxies: List::default(),
            header_timeout: Dur::secs(10),
            body_timeout: Dur::secs(30),
            idle_timeout: Dur::secs(75),
            send_timeout: Dur::secs(30),
            min_rate: Size(256),
            max_connections: 10_000,
            max_header_size: Size(32 << 10),
            max_fields: 250,
            max_target: Size(8 << 10),
            max_waiters: 10_000,
            drain_delay: Dur::default(),
            drain: Dur::secs(30),
        }
    }
}

impl Server {
    /// The addresses of `listen`.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listen.0.iter().map(|listen| listen.0).collect()
    }

    /// The networks of `trusted_proxies`.
    pub fn trusted(&self) -> Vec<IpNet> {
        self.trusted_proxies.0.iter().map(|net| net.0).collect()
    }
}

// === impl Listen, Net ===

impl FromStr for Listen {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse()
            .map(Self)
            .map_err(|_| "an address and a port are meant, such as \"127.0.0.1:8080\" or \"[::]:8080\"")
    }
}

impl Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Display::fmt(&self.0, f)
    }
}

impl Serialize for Listen {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Listen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl FromStr for Net {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let net = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        net.map(Self).map_err(|_| "a network is meant, such as \"10.0.0.0/8\" or \"::1\"")
    }
}

impl Display for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Display::fmt(&self.0, f)
    }
}
