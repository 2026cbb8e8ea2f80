//! `[[routes]]`: which requests, which upstream, which key; what is stored and reused is
//! [`policy::Settings`](crate::policy::Settings).

use std::collections::BTreeMap;

use serde::ser::SerializeMap as _;
use serde::{Deserialize, Serialize, Serializer};

use super::{ClientIp, Finish, Forward, Location};
use crate::policy::ForwardedFields;
use crate::secret::{Secret, is_secret};
use crate::units::{Dur, List};

mod forward;
mod made;
mod purge;

pub use purge::Purge;

/// A route's settings, as written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Its name. Required.
    pub name: String,
    /// Names, `*.name`, with or without port; none: every host.
    pub host: List<String>,
    /// Exact paths, or what is below `/…/*`.
    pub path: List<String>,
    /// Methods; not given: all.
    pub methods: Option<List<String>>,
    /// An upstream's name, or a URL. Required.
    pub upstream: String,
    /// Whether anything is stored or shared.
    pub cache: bool,
    /// Whether requests for one key wait for one fetch.
    pub coalesce: bool,
    /// Which query parameters are in the key.
    pub query: Query,
    /// Which request fields are in the key: names, or `cookie:NAME`.
    pub vary_on: List<String>,
    /// Which cookies are taken out of requests before anything judges them: names, a `*` at the end for any
    /// rest, or `analytics` for the ready list.
    pub ignore_cookies: List<String>,
    /// How many variants of a key are kept.
    pub max_variants: usize,
    /// In the key: change it to drop this route's records.
    pub version: Option<String>,
    /// Removed from the front of paths on their way upstream.
    pub strip_prefix: Option<String>,
    /// What is set and removed on the way upstream.
    pub request_headers: WrittenEdits,
    /// What is set and removed on the way to the client.
    pub response_headers: WrittenEdits,
    /// Which fields of a request a fill carries.
    pub forward: Forward<String>,
    /// Which upstream requests tell the client's address.
    pub client_ip: ClientIp,
    /// Which URLs clients get where the origin names its own address.
    pub location: Location,
    /// By which fields the origin is told what the client asked for.
    pub forwarded: ForwardedFields,
    /// Whether responses carry Cache-Status.
    pub cache_status: bool,
    /// How long a request waits for a verdict; if absent, [`ForAll::wait_timeout`].
    pub wait_timeout: Option<Dur>,
    /// Whether a fill goes on when no request wants it any more.
    pub finish: Finish,
    /// Protocols that a connection may be upgraded to.
    pub upgrade: List<String>,
    /// Which requests to the data port are purges; none by default.
    pub purge: Option<Purge>,
}

/// Settings of all routes that have none of their own.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ForAll {
    /// How long a request waits for a verdict. Default, per route: connect, first byte and 5 s.
    pub wait_timeout: Option<Dur>,
}

/// Which query parameters are in the key.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Query {
    /// Only these. A `*` at the end matches any rest.
    pub include: Option<List<String>>,
    /// All but these.
    pub exclude: Option<List<String>>,
    /// Whether they are sorted by name.
    pub sort: bool,
}

/// Fields that are set and removed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WrittenEdits {
    /// Set.
    #[serde(serialize_with = "without_secrets")]
    pub set: BTreeMap<String, Secret>,
    /// Removed.
    pub remove: List<String>,
}

// === impl Settings ===

impl Default for Settings {
    fn default() -> Self {
        Self {
            name: String::new(),
            host: List::default(),
            path: List(vec!["/*".to_owned()]),
            methods: None,
            upstream: String::new(),
            cache: true,
            coalesce: true,
            query: Query::default(),
            vary_on: List::default(),
            ignore_cookies: List::default(),
            max_variants: 32,
            version: None,
            strip_prefix: None,
            request_headers: WrittenEdits::default(),
            response_headers: WrittenEdits::default(),
            forward: Forward::default(),
            client_ip: ClientIp::default(),
            location: Location::default(),
            forwarded: ForwardedFields::default(),
            cache_status: true,
            wait_timeout: None,
            finish: Finish::default(),
            upgrade: List::default(),
            purge: None,
        }
    }
}

/// Shows a value that stands in the file, unless its field's name says that it is a secret. A value from
/// elsewhere is not shown.
fn without_secrets<S: Serializer>(set: &BTreeMap<String, Secret>, serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(set.len()))?;
    for (name, value) in set {
        if value.is_here() && !is_secret(name) {
            map.serialize_entry(name, value.reveal())?;
        } else {
            map.serialize_entry(name, value)?;
        }
    }
    map.end()
}
