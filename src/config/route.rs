//! `[[routes]]`: which requests, which upstream, which overrides.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::problem::is_secret;
use super::secret::Secret;
use super::units::{Dur, Size};
use super::words::List;

/// One `[[routes]]` entry, as written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Route {
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
    /// A lifetime where the origin is silent.
    pub default_ttl: Dur,
    /// The same by status, for any status.
    pub status_ttl: BTreeMap<String, Dur>,
    /// The longest lifetime.
    pub max_ttl: Dur,
    /// How long stale responses are served.
    pub grace: Grace,
    /// How long a record with a validator is kept past its lifetime.
    pub keep: Dur,
    /// How long a pass is remembered.
    pub pass_ttl: Dur,
    /// A lifetime from Last-Modified.
    pub heuristic: Heuristic,
    /// Response fields that speak to this cache, before Cache-Control.
    pub targeted: List<String>,
    /// Response directives to overlook.
    pub ignore: List<String>,
    /// Whether a client's Cache-Control counts.
    pub client_cache_control: ClientCacheControl,
    /// What a Cookie that is not in the key means.
    pub cookies: Cookies,
    /// Request fields that say who asks, as Authorization does, beside those that are known.
    pub secret_headers: List<String>,
    /// What Set-Cookie means.
    pub set_cookie: SetCookie,
    /// What a Range that misses does.
    pub range: Range,
    /// Whether bodies are stored of which nobody can say that they are whole.
    pub store_unframed: bool,
    /// Which parameters name a response.
    pub query: Query,
    /// Which request fields name a response: names, or `cookie:NAME`.
    pub vary_on: List<String>,
    /// The largest body that is stored.
    pub max_object_size: Size,
    /// How many variants of a key are kept.
    pub max_variants: usize,
    /// In the key: change it to drop this route's records.
    pub version: Option<String>,
    /// Taken off the front of paths on their way upstream.
    pub strip_prefix: Option<String>,
    /// What is set and removed on the way upstream.
    pub request_headers: Edits,
    /// What is set and removed on the way to the client.
    pub response_headers: Edits,
    /// Which fields of a request a fill carries.
    pub forward: Forward,
    /// Which upstream requests tell the client's address.
    pub client_ip: ClientIp,
    /// Whether responses carry Cache-Status.
    pub cache_status: bool,
    /// How long a request waits for a verdict, if not `dust.wait_timeout`.
    pub wait_timeout: Option<Dur>,
    /// Whether a fill goes on when nobody wants it any more.
    pub finish: Finish,
    /// Protocols that a connection may be upgraded to.
    pub upgrade: List<String>,
}

/// How long stale responses are served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Grace {
    /// While a fresh one is fetched.
    pub while_revalidate: Dur,
    /// While the origin cannot be reached; where it is set, while it answers 500, 502, 503 or 504 too.
    pub if_error: Dur,
}

/// Which parameters name a response.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Query {
    /// These. A `*` at the end stands for any.
    pub include: Option<List<String>>,
    /// All but these.
    pub exclude: Option<List<String>>,
    /// Whether they are sorted by name.
    pub sort: bool,
}

/// Fields that are set and removed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Edits {
    /// Set.
    #[serde(serialize_with = "without_secrets")]
    pub set: BTreeMap<String, Secret>,
    /// Removed.
    pub remove: List<String>,
}

/// `false`, `true`, or `{ fraction, max }`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Heuristic(pub Option<Share>);

/// A share of a response's age when it was sent (RFC 9111 §4.2.2).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Share {
    /// Of Date − Last-Modified.
    pub fraction: f64,
    /// At most.
    pub max: Dur,
}

/// `"all"`, `"keyed"`, or a list of field names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Forward {
    /// Every end-to-end field.
    #[default]
    All,
    /// Those that are in the key.
    Keyed,
    /// These.
    Only(Vec<String>),
}

macro_rules! word {
    ($(#[$doc:meta])* $name:ident { $($(#[$each:meta])* $variant:ident),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name { $($(#[$each])* $variant),+ }
    };
}

word! {
    /// Whether a client's Cache-Control counts.
    ClientCacheControl {
        /// Only only-if-cached does.
        #[default]
        Ignore,
        /// It does.
        Honour,
    }
}

word! {
    /// What a Cookie that is not in the key means.
    Cookies {
        /// Credentials.
        #[default]
        Guard,
        /// A request for one client: it passes.
        Pass,
        /// Nothing: it is taken off.
        Strip,
    }
}

word! {
    /// What Set-Cookie means.
    SetCookie {
        /// The response is one client's.
        #[default]
        Pass,
        /// Nothing: it is taken off what is stored.
        Strip,
        /// Nothing: it is stored.
        Store,
    }
}

word! {
    /// What a Range that misses does.
    Range {
        /// Leads a whole fill.
        #[default]
        Fill,
        /// Passes.
        Pass,
        /// Is stored as a part.
        Segment,
    }
}

word! {
    /// Which upstream requests tell the client's address.
    ClientIp {
        /// Passes.
        #[default]
        Pass,
        /// All.
        Always,
        /// None.
        Never,
    }
}

word! {
    /// Whether a fill goes on when nobody wants it any more.
    Finish {
        /// It does.
        #[default]
        Always,
        /// It ends.
        WhileWanted,
    }
}

// === impl Route ===

impl Default for Route {
    fn default() -> Self {
        Self {
            name: String::new(),
            host: List::default(),
            path: List(vec!["/*".to_owned()]),
            methods: None,
            upstream: String::new(),
            cache: true,
            coalesce: true,
            default_ttl: Dur::default(),
            status_ttl: BTreeMap::new(),
            max_ttl: Dur::default(),
            grace: Grace::default(),
            keep: Dur(Duration::from_hours(1)),
            pass_ttl: Dur::secs(10),
            heuristic: Heuristic::default(),
            targeted: List(vec!["cdn-cache-control".to_owned()]),
            ignore: List::default(),
            client_cache_control: ClientCacheControl::default(),
            cookies: Cookies::default(),
            secret_headers: List::default(),
            set_cookie: SetCookie::default(),
            range: Range::default(),
            store_unframed: false,
            query: Query::default(),
            vary_on: List::default(),
            max_object_size: Size(1 << 30),
            max_variants: 32,
            version: None,
            strip_prefix: None,
            request_headers: Edits::default(),
            response_headers: Edits::default(),
            forward: Forward::default(),
            client_ip: ClientIp::default(),
            cache_status: true,
            wait_timeout: None,
            finish: Finish::default(),
            upgrade: List::default(),
        }
    }
}

impl Default for Grace {
    fn default() -> Self {
        Self { while_revalidate: Dur::default(), if_error: Dur(Duration::from_mins(10)) }
    }
}

impl Default for Share {
    fn default() -> Self {
        Self { fraction: 0.1, max: Dur(Duration::from_mins(1)) }
    }
}

impl Default for Heuristic {
    fn default() -> Self {
        Self(Some(Share::default()))
    }
}

/// What stands in the file is shown unless its field's name says that it is a secret; what is
/// from elsewhere is not.
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

// === serde ===

impl Serialize for Heuristic {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Some(share) => share.serialize(serializer),
            None => serializer.serialize_bool(false),
        }
    }
}

impl<'de> Deserialize<'de> for Heuristic {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Heuristic;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("false, true or { fraction = 0.1, max = \"60s\" }")
            }

            fn visit_bool<E: de::Error>(self, on: bool) -> Result<Heuristic, E> {
                Ok(if on { Heuristic::default() } else { Heuristic(None) })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Heuristic, A::Error> {
                Share::deserialize(de::value::MapAccessDeserializer::new(map))
                    .map(|share| Heuristic(Some(share)))
            }
        }
        deserializer.deserialize_any(Read)
    }
}

impl Serialize for Forward {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::All => serializer.serialize_str("all"),
            Self::Keyed => serializer.serialize_str("keyed"),
            Self::Only(names) => names.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Forward {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Forward;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"all\", \"keyed\" or a list of field names")
            }

            fn visit_str<E: de::Error>(self, word: &str) -> Result<Forward, E> {
                match word {
                    "all" => Ok(Forward::All),
                    "keyed" => Ok(Forward::Keyed),
                    _ => Err(E::invalid_value(de::Unexpected::Str(word), &self)),
                }
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Forward, A::Error> {
                let mut names = Vec::new();
                while let Some(name) = seq.next_element()? {
                    names.push(name);
                }
                Ok(Forward::Only(names))
            }
        }
        deserializer.deserialize_any(Read)
    }
}
