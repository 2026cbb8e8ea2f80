//! What a route says about storing and reusing.

use std::collections::BTreeMap;

use http::HeaderName;
use serde::{Deserialize, Serialize};

use super::settings::{Settings, Written};
use super::tags::TagFields;
use crate::key::KeyHash;
use crate::units;

/// A route, by the hash of its name: the same on every instance that has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct RouteId(pub u32);

/// A route's rules, resolved: every setting has its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    /// The route.
    pub route: RouteId,
    /// Lifetime where the origin states none, in ms; only for 200, 203, 204, 301 and 308.
    pub default_ttl_ms: Option<u64>,
    /// The same for other statuses.
    pub status_ttl_ms: BTreeMap<u16, u64>,
    /// No lifetime is longer than this, in ms.
    pub max_ttl_ms: Option<u64>,
    /// Lifetime from Last-Modified; `None`: off.
    pub heuristic: Option<Heuristic>,
    /// Targeted fields (RFC 9213); the first valid one counts.
    pub targeted: Vec<HeaderName>,
    /// Response directives to ignore.
    pub ignore: Ignore,
    /// Grace while a stale record is refreshed in the background, in ms.
    pub while_revalidate_ms: u64,
    /// Grace when the origin can't be reached, in ms.
    pub if_error_ms: u64,
    /// The route itself set `if_error_ms`: then it holds for 5xx answers too.
    pub if_error_set: bool,
    /// How long a record with a validator is kept past its lifetime, in ms; `None`: an hour.
    pub keep_ms: Option<u64>,
    /// How long a pass is remembered, in ms.
    pub pass_ttl_ms: u64,
    /// What to do with a request's cookies.
    pub cookies: Cookies,
    /// What to do with a response that sets cookies.
    pub set_cookie: SetCookie,
    /// Whether a client's Cache-Control counts.
    pub client_cache_control: ClientCacheControl,
    /// What a Range that misses leads to.
    pub range: RangeMode,
    /// Longer bodies are passed, in bytes.
    pub max_object_size: u64,
    /// Store bodies that end with the connection.
    pub store_unframed: bool,
    /// The key covers Authorization.
    pub keys_authorization: bool,
    /// The key covers Cookie, whole or one of its names.
    pub keys_cookie: bool,
    /// Request fields with credentials, beside the known ones ([`Rules::is_secret`]): lower case, with `-`
    /// for `_`.
    pub secrets: Vec<String>,
    /// Fields with credentials, known or added, that the key covers, as the key names them.
    pub keyed_secrets: Vec<HeaderName>,
    /// The response fields that tags are read from.
    pub tag_headers: Vec<HeaderName>,
    /// Whether clients get those fields.
    pub tag_fields: TagFields,
    /// Which request fields a fill carries.
    pub carried: Carried,
    /// Fields with a `_` in their name that fills carry, since the key has them. Fills leave out all other
    /// such fields.
    pub underscored: Vec<HeaderName>,
}

/// A fraction of the time since Last-Modified (RFC 9111 §4.2.2).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Heuristic {
    /// The share of Date − Last-Modified, from 0 to 1.
    pub fraction: f64,
    /// The longest such lifetime, in ms.
    #[serde(rename = "max", with = "units::ms")]
    pub max_ms: u64,
}

/// Response directives that a route ignores. Never for a credentialed request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the directives' own names")]
pub struct Ignore {
    pub max_age: bool,
    pub s_maxage: bool,
    pub expires: bool,
    pub no_cache: bool,
    pub must_revalidate: bool,
    pub private: bool,
    pub no_store: bool,
}

/// What a request's Cookie means, unless the key covers it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cookies {
    /// A credential: answered from the store, but neither leads nor follows.
    #[default]
    Guard,
    /// The request is passed.
    Pass,
    /// Removed before the request is judged: the origin never sees one.
    Strip,
}

/// What a response's Set-Cookie means.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SetCookie {
    /// Neither shared nor stored.
    #[default]
    Pass,
    /// Removed; then the response is like any other.
    Strip,
    /// Stored with it, where the origin gives a lifetime.
    Store,
}

/// Whether a request's Cache-Control and Pragma count. `only-if-cached` always does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientCacheControl {
    /// No: a client must not make work for the origin.
    #[default]
    Ignore,
    /// As RFC 9111 §5.2.1 has it.
    Honour,
}

/// What a Range that misses leads to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RangeMode {
    /// A fill of the whole.
    #[default]
    Fill,
    /// A pass.
    Pass,
    /// Forwarded, its 206 stored.
    Segment,
}

/// Which request fields a fill carries, apart from credentials.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Carried {
    /// Every end-to-end field but those that are written or answered here.
    #[default]
    All,
    /// Host and these.
    Only(Vec<HeaderName>),
}

// === impl RouteId ===

impl RouteId {
    /// The route with this name. Never the default, which is no route.
    pub fn of(name: &str) -> Self {
        let hash = KeyHash::of(name).short();
        Self(u32::try_from(hash >> 32).unwrap_or_default().max(1))
    }
}

// === impl Rules ===

impl Default for Rules {
    /// The rules of a route that sets nothing.
    fn default() -> Self {
        Settings::default().rules(Written::default(), &mut |_, _| {})
    }
}

// === impl Heuristic ===

impl Default for Heuristic {
    fn default() -> Self {
        Self { fraction: 0.1, max_ms: 60_000 }
    }
}
