//! `[upstreams.NAME]`: an origin.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::ErrorKind;
use crate::secret::SecretUrl;
use crate::units::{self, Rate};

/// One upstream. A duration of zero switches that limit off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// `http` or `https`, an authority, and perhaps a path that stands before every target. Required.
    pub url: SecretUrl,
    /// Which `Host` it gets.
    pub host: HostRule,
    /// The version of HTTP that is spoken to it.
    pub http: HttpVersion,
    /// Used for `https` only.
    pub tls: Tls,
    /// Time for name resolution, TCP and TLS together, and over HTTP/2 the origin's first SETTINGS. Zero: as
    /// long as `first_byte_timeout`.
    #[serde(with = "units::duration")]
    pub connect_timeout: Duration,
    /// Time from sending the request to the response's head. Time in which the client's content stalls is not
    /// counted.
    #[serde(with = "units::duration")]
    pub first_byte_timeout: Duration,
    /// Time between two reads of a response's body, counted only while more of it is wanted.
    #[serde(with = "units::duration")]
    pub read_timeout: Duration,
    /// How long a connection is kept for the next request. Zero: connections are not kept.
    #[serde(with = "units::duration")]
    pub pool_idle_timeout: Duration,
    /// How many exchanges at a time, by this instance; at least 1.
    pub max_concurrent: usize,
    /// How many by all instances that share a store; no such bound if absent.
    pub max_concurrent_fleet: Option<usize>,
    /// How many exchanges may begin in a time, by all instances that share a store; no such bound if absent.
    pub max_rate_fleet: Option<Rate>,
    /// How many of these at once, after a rest; without it as many as come in a second, at least 1.
    pub max_rate_burst: Option<u64>,
    /// What a 429 or 503 with Retry-After is about.
    pub retry_after: RetryAfter,
    /// How many requests may wait for a place.
    pub queue: usize,
    /// How long one may wait. Zero: for ever.
    #[serde(with = "units::duration")]
    pub queue_timeout: Duration,
    /// How many fields the head of a response may have.
    #[serde(skip)]
    pub max_fields: usize,
}

/// Which `Host` a request upstream carries. In the settings: `upstream`, `client` or a name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum HostRule {
    /// The authority of the upstream's own URL.
    #[default]
    Upstream,
    /// The one in [`super::Request::headers`]; without one, as `Upstream`.
    Client,
    /// This one.
    Name(String),
}

/// The version of HTTP that is spoken to an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(expecting = "\"1.1\", \"2\" or \"auto\"")]
pub enum HttpVersion {
    /// HTTP/1.1: a connection for each exchange at a time.
    #[default]
    #[serde(rename = "1.1")]
    One,
    /// HTTP/2. An `http` URL says that the origin is known to speak it.
    #[serde(rename = "2")]
    Two,
    /// What the origin chooses in the TLS handshake; over `http`, HTTP/1.1.
    #[serde(rename = "auto")]
    Auto,
}

/// What an answer of 429 or 503 with Retry-After is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", expecting = "\"key\" or \"upstream\"")]
pub enum RetryAfter {
    /// What was asked for, and requests alike: the origin may limit clients, or have trouble with a part of what
    /// it serves.
    #[default]
    Key,
    /// All that this upstream serves: the origin takes all instances for one client.
    Upstream,
}

/// How an https upstream proves its identity, and this instance its own.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// Certificates to trust, PEM, in place of the machine's.
    pub ca: Option<PathBuf>,
    /// The name that it must prove, in place of the URL's host.
    pub server_name: Option<String>,
    /// Our own certificate, PEM; goes with `key`.
    pub cert: Option<PathBuf>,
    /// Its key, PEM.
    pub key: Option<PathBuf>,
    /// Whether verification is switched off.
    pub insecure: bool,
}

/// Why there is no client for these settings.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The URL is not one.
    #[error("url: {0}")]
    Url(String),
    /// The `Host` of [`HostRule::Name`] is not one.
    #[error("host: {0:?} cannot stand in a Host field")]
    Host(String),
    /// A file cannot be read.
    #[error("{what}: {path}: {source}", path = path.display())]
    File {
        /// Which setting named it.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A certificate or key is invalid, or one of them is missing.
    #[error("tls: {0}")]
    Tls(String),
}

// === impl Settings ===

impl Default for Settings {
    fn default() -> Self {
        Self {
            url: SecretUrl::default(),
            host: HostRule::Upstream,
            http: HttpVersion::One,
            tls: Tls::default(),
            connect_timeout: Duration::from_secs(2),
            first_byte_timeout: Duration::from_secs(30),
            read_timeout: Duration::from_secs(15),
            pool_idle_timeout: Duration::from_secs(4),
            max_concurrent: 1024,
            max_concurrent_fleet: None,
            max_rate_fleet: None,
            max_rate_burst: None,
            retry_after: RetryAfter::Key,
            queue: 1024,
            queue_timeout: Duration::from_secs(5),
            max_fields: 250,
        }
    }
}

impl Settings {
    /// The defaults, for this URL.
    pub fn new(url: impl AsRef<str>) -> Self {
        Self { url: SecretUrl::here(url.as_ref()), ..Self::default() }
    }

    /// How many exchanges this instance may have at a time, whatever others do: never more than the fleet
    /// may, or there would be no bound while the store is down.
    pub fn most_here(&self) -> usize {
        self.max_concurrent_fleet.map_or(self.max_concurrent, |fleet| fleet.min(self.max_concurrent))
    }

    /// How many exchanges may begin at once, after a rest, where there is a rate.
    pub fn burst(&self) -> u64 {
        let of_second = |rate: Rate| rate.within(Duration::from_secs(1));
        self.max_rate_burst.or(self.max_rate_fleet.map(of_second)).unwrap_or(1).max(1)
    }

    /// How long making a connection may take, and the kind of error if it takes longer. Nothing else bounds
    /// it: `first_byte_timeout` does not run while a connection is being made.
    pub(super) fn connect_limit(&self) -> Option<(Duration, ErrorKind)> {
        let limits = [
            (self.connect_timeout, ErrorKind::ConnectTimeout),
            (self.first_byte_timeout, ErrorKind::FirstByteTimeout),
        ];
        limits.into_iter().find(|(limit, _)| !limit.is_zero())
    }
}

// === impl HostRule ===

impl fmt::Display for HostRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Upstream => "upstream",
            Self::Client => "client",
            Self::Name(name) => name,
        })
    }
}

impl Serialize for HostRule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for HostRule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = String::deserialize(deserializer)?;
        Ok(match word.as_str() {
            "upstream" => Self::Upstream,
            "client" => Self::Client,
            _ => Self::Name(word),
        })
    }
}
