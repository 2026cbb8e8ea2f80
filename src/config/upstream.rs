//! `[upstreams.NAME]`: an origin.

use serde::{Deserialize, Serialize};

use super::secret::SecretUrl;
use super::units::Dur;
use crate::upstream::HttpVersion;

/// An origin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Upstream {
    /// Where it is. Required.
    pub url: SecretUrl,
    /// Which Host it is asked for: `upstream` (the URL's), `client` (the client's), or a name.
    pub host: String,
    /// Which version of HTTP it is spoken to in: `1.1`, `2`, or `auto` (as it chooses in the TLS
    /// handshake).
    pub http: HttpVersion,
    /// How it is known.
    pub tls: Tls,
    /// How long connecting may take, TLS included.
    pub connect_timeout: Dur,
    /// How long the head of a response may take.
    pub first_byte_timeout: Dur,
    /// How long a body may pause.
    pub read_timeout: Dur,
    /// How long a connection is kept for the next request; below the origin's own keep-alive.
    pub pool_idle_timeout: Dur,
    /// How many requests it is sent at once, by this instance.
    pub max_concurrent: usize,
    /// How many by all instances that share a store; no such bound if absent.
    pub max_concurrent_fleet: Option<usize>,
    /// How many more may wait.
    pub queue: usize,
    /// How long they wait (then 503).
    pub queue_timeout: Dur,
}

/// How an https origin is known, and we to it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// A PEM file of the authorities to believe, instead of the system's.
    pub ca: Option<String>,
    /// The name that its certificate must have, if not the URL's.
    pub server_name: Option<String>,
    /// A PEM file with our certificate.
    pub cert: Option<String>,
    /// A PEM file with our certificate's key.
    pub key: Option<String>,
    /// Whether any certificate will do.
    pub insecure: bool,
}

/// Which Host an upstream is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostMode {
    /// Its URL's.
    Upstream,
    /// The client's.
    Client,
    /// This one.
    Name(String),
}

// === impl Upstream ===

impl Default for Upstream {
    fn default() -> Self {
        Self {
            url: SecretUrl::default(),
            host: "upstream".to_owned(),
            http: HttpVersion::One,
            tls: Tls::default(),
            connect_timeout: Dur::secs(2),
            first_byte_timeout: Dur::secs(30),
            read_timeout: Dur::secs(15),
            pool_idle_timeout: Dur::secs(4),
            max_concurrent: 1024,
            max_concurrent_fleet: None,
            queue: 1024,
            queue_timeout: Dur::secs(5),
        }
    }
}

impl Upstream {
    /// The origin at that URL, with every default.
    pub fn at(url: &str) -> Self {
        Self { url: SecretUrl::here(url), ..Self::default() }
    }

    /// How many requests this instance may send it at once, whatever others do: never more than
    /// the fleet may, or a store that is down would be no bound at all.
    pub fn most_here(&self) -> usize {
        self.max_concurrent_fleet.map_or(self.max_concurrent, |fleet| fleet.min(self.max_concurrent))
    }

    /// What `host` says.
    pub fn host_mode(&self) -> HostMode {
        match self.host.as_str() {
            "upstream" => HostMode::Upstream,
            "client" => HostMode::Client,
            name => HostMode::Name(name.to_owned()),
        }
    }
}
