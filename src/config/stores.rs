//! `[dust]`, `[bodies]` and `[memory]`: where things are kept.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::secret::SecretUrl;
use super::units::{Dur, Size};

/// The coordination store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dust {
    /// `redis://HOST` and its other forms ([`crate::dust::redis::Target`]), `embedded:PATH`, or
    /// `embedded:` in memory.
    pub url: SecretUrl,
    /// What every key begins with: a fleet's name.
    pub prefix: String,
    /// How long a crash can stall a key.
    pub lease_ttl: Dur,
    /// What a miss does when the store is away.
    pub on_unavailable: OnUnavailable,
    /// How long an instance may answer from its own tier without having heard from the store.
    pub trust: Dur,
    /// What a fresh record is worth when the instance has not heard from the store for longer.
    pub when_unsure: WhenUnsure,
    /// How long records are served unsure.
    pub unsure_for: Dur,
    /// How long a request waits for a verdict. Default, per route: connect, first byte and 5 s.
    pub wait_timeout: Option<Dur>,
    /// A server that may evict is used all the same. Purges may come back then, and leases be lost.
    pub allow_eviction: bool,
    /// How long stamps are kept, and the longest that any record is served.
    pub max_life: Dur,
}

/// What a miss does when the store is away (S14).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnUnavailable {
    /// Fetches as if this instance were alone.
    #[default]
    RunLocal,
    /// Answers 503.
    Error,
}

/// What a fresh record is worth to an instance that is cut off from the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenUnsure {
    /// It is served, for `unsure_for`.
    #[default]
    Serve,
    /// Upstream is asked first.
    Validate,
}

/// The body store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Bodies {
    /// `file:PATH`, `s3://BUCKET/PREFIX` or `memory:`: see [`crate::body::Place`].
    pub url: SecretUrl,
    /// How much it may hold.
    pub size: Size,
    /// How long bytes that nothing names are left, twice over.
    pub linger: Dur,
}

/// The memory tier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Memory {
    /// How much it may hold.
    pub size: Size,
}

// === impl Dust ===

impl Default for Dust {
    fn default() -> Self {
        Self {
            url: SecretUrl::here("embedded:./data/dust"),
            prefix: "dustgate".to_owned(),
            lease_ttl: Dur::secs(6),
            on_unavailable: OnUnavailable::default(),
            trust: Dur::secs(10),
            when_unsure: WhenUnsure::default(),
            unsure_for: Dur(Duration::from_mins(5)),
            wait_timeout: None,
            allow_eviction: false,
            max_life: Dur(Duration::from_hours(30 * 24)),
        }
    }
}

// === impl Bodies, Memory ===

impl Default for Bodies {
    fn default() -> Self {
        Self {
            url: SecretUrl::here("file:./data/bodies"),
            size: Size(10 << 30),
            linger: Dur(Duration::from_mins(10)),
        }
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self { size: Size(256 << 20) }
    }
}
