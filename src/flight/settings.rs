//! Settings of the single flight.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::units;

/// Settings of the single flight.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The lease's time to live: how long a crash stalls a key (S2, S7).
    #[serde(with = "units::duration")]
    pub lease_ttl: Duration,
    /// What to do when the store cannot coordinate (S14).
    pub on_unavailable: OnUnavailable,
    /// The bound of every call of the store, and the period of probes while a task waits (F6).
    #[serde(skip)]
    pub call_bound: Duration,
    /// The longest random delay of a takeover or a re-election (S11, S12).
    #[serde(skip)]
    pub jitter: Duration,
}

/// What to do when the store cannot coordinate (S14).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnUnavailable {
    /// Fill without coordination.
    #[default]
    RunLocal,
    /// Fail the request: 503.
    Error,
}

// === impl Settings ===

impl Default for Settings {
    fn default() -> Self {
        Self {
            lease_ttl: Duration::from_secs(6),
            on_unavailable: OnUnavailable::RunLocal,
            call_bound: Duration::from_millis(200),
            jitter: Duration::from_millis(250),
        }
    }
}

// === impl OnUnavailable ===

impl OnUnavailable {
    /// Its name in settings and on status pages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RunLocal => "run_local",
            Self::Error => "error",
        }
    }
}
