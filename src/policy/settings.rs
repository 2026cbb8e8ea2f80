//! A route's settings for storing and reusing, as written; [`Rules`] are made from them.

use std::collections::BTreeMap;

use http::HeaderName;
use serde::{Deserialize, Serialize};

use super::rules::{ClientCacheControl, Cookies, Heuristic, Ignore, RangeMode, RouteId, Rules, SetCookie};
use super::tags::TagFields;
use super::{Carried, dashed};
use crate::units::{self, Dur, List, Size};

mod heuristic;

/// A route's settings for storing and reusing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The lifetime where the origin states none.
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
    #[serde(with = "heuristic")]
    pub heuristic: Option<Heuristic>,
    /// Targeted fields (RFC 9213): response fields for this cache, which count before Cache-Control.
    pub targeted: List<String>,
    /// Response directives to ignore.
    pub ignore: List<String>,
    /// Whether a client's Cache-Control counts.
    pub client_cache_control: ClientCacheControl,
    /// What a Cookie that is not in the key means.
    pub cookies: Cookies,
    /// Request fields with credentials, like Authorization, beside the known ones.
    pub secret_headers: List<String>,
    /// What Set-Cookie means.
    pub set_cookie: SetCookie,
    /// Response fields that name a response's tags.
    pub tag_headers: List<String>,
    /// Whether clients get those fields.
    pub tags: TagFields,
    /// What a Range that misses leads to.
    pub range: RangeMode,
    /// Whether bodies are stored that end with the connection, so that truncation cannot be detected.
    pub store_unframed: bool,
    /// The largest body that is stored.
    pub max_object_size: Size,
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

/// Which settings were written, of those that mean more than their value if they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Written {
    /// `grace.if_error`.
    pub if_error: bool,
    /// `keep`.
    pub keep: bool,
}

/// Called for each invalid setting: with its name, such as `ignore.0`, and the reason.
pub type Wrong<'a> = dyn FnMut(&str, String) + 'a;

/// The fields that name tags, unless a route says otherwise.
const TAG_HEADERS: [&str; 4] = ["surrogate-key", "cache-tag", "xkey", "cache-groups"];

/// Response directives that a route may ignore.
pub const DIRECTIVES: [&str; 7] =
    ["max-age", "s-maxage", "expires", "no-cache", "must-revalidate", "private", "no-store"];

// === impl Settings ===

impl Default for Settings {
    fn default() -> Self {
        Self {
            default_ttl: Dur::default(),
            status_ttl: BTreeMap::new(),
            max_ttl: Dur::default(),
            grace: Grace::default(),
            keep: Dur::secs(3600),
            pass_ttl: Dur::secs(10),
            heuristic: Some(Heuristic::default()),
            targeted: List(vec!["cdn-cache-control".to_owned()]),
            ignore: List::default(),
            client_cache_control: ClientCacheControl::default(),
            cookies: Cookies::default(),
            secret_headers: List::default(),
            set_cookie: SetCookie::default(),
            tag_headers: List(TAG_HEADERS.map(str::to_owned).into()),
            tags: TagFields::default(),
            range: RangeMode::default(),
            store_unframed: false,
            max_object_size: Size(1 << 30),
        }
    }
}

impl Default for Grace {
    fn default() -> Self {
        Self { while_revalidate: Dur::default(), if_error: Dur::secs(600) }
    }
}

impl Settings {
    /// Makes the rules. Invalid settings are left out and reported to `wrong`. The route adds what follows
    /// from its key and its fills.
    pub fn rules(&self, written: Written, wrong: &mut Wrong<'_>) -> Rules {
        let on = |dur: Dur| dur.on().map(|_| dur.ms());
        let secrets = self.secrets(wrong);
        let mut status_ttl_ms = BTreeMap::new();
        for (status, ttl) in &self.status_ttl {
            match status.parse() {
                Ok(status @ 200..600) => _ = status_ttl_ms.insert(status, ttl.ms()),
                _ => wrong(&format!("status_ttl.{status}"), "a status from 200 to 599 is meant".to_owned()),
            }
        }
        if self.heuristic.is_some_and(|share| !(0.0..=1.0).contains(&share.fraction)) {
            wrong("heuristic.fraction", "a share from 0 to 1 is meant".to_owned());
        }
        Rules {
            route: RouteId::default(),
            default_ttl_ms: on(self.default_ttl),
            status_ttl_ms,
            max_ttl_ms: on(self.max_ttl),
            heuristic: self.heuristic.filter(|share| share.fraction > 0.0 && share.max_ms > 0),
            targeted: fields("targeted", &self.targeted.0, wrong),
            ignore: self.ignore(wrong),
            while_revalidate_ms: self.grace.while_revalidate.ms(),
            if_error_ms: self.grace.if_error.ms(),
            if_error_set: written.if_error,
            keep_ms: written.keep.then(|| self.keep.ms()),
            pass_ttl_ms: self.pass_ttl.ms(),
            cookies: self.cookies,
            set_cookie: self.set_cookie,
            client_cache_control: self.client_cache_control,
            range: self.range,
            max_object_size: self.max_object_size.0,
            store_unframed: self.store_unframed,
            secrets,
            tag_headers: fields("tag_headers", &self.tag_headers.0, wrong),
            tag_fields: self.tags,
            keys_authorization: false,
            keys_cookie: false,
            keyed_secrets: Vec::new(),
            carried: Carried::All,
            underscored: Vec::new(),
        }
    }

    fn ignore(&self, wrong: &mut Wrong<'_>) -> Ignore {
        let mut ignore = Ignore::default();
        for (at, directive) in self.ignore.0.iter().enumerate() {
            match directive.as_str() {
                "max-age" => ignore.max_age = true,
                "s-maxage" => ignore.s_maxage = true,
                "expires" => ignore.expires = true,
                "no-cache" => ignore.no_cache = true,
                "must-revalidate" => ignore.must_revalidate = true,
                "private" => ignore.private = true,
                "no-store" => ignore.no_store = true,
                _ => wrong(&format!("ignore.{at}"), units::one_of(&DIRECTIVES)),
            }
        }
        ignore
    }

    /// The names of `secret_headers`, each once, with `-` for `_`.
    fn secrets(&self, wrong: &mut Wrong<'_>) -> Vec<String> {
        let names = fields("secret_headers", &self.secret_headers.0, wrong);
        let mut secrets: Vec<String> = names.iter().map(|name| dashed(name.as_str()).into_owned()).collect();
        secrets.sort_unstable();
        secrets.dedup();
        secrets
    }
}

/// Parses the names of fields in a list. Invalid ones are left out and reported to `wrong`.
pub fn fields(key: &str, names: &[String], wrong: &mut Wrong<'_>) -> Vec<HeaderName> {
    let mut fields = Vec::with_capacity(names.len());
    for (at, name) in names.iter().enumerate() {
        match name.parse() {
            Ok(field) => fields.push(field),
            Err(_) => wrong(&format!("{key}.{at}"), "not a field name".to_owned()),
        }
    }
    fields
}
