//! Settings of the coordination store.

use serde::{Deserialize, Serialize};

use crate::secret::{Secret, SecretUrl};

/// The coordination store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Which store: see [`super::open()`].
    pub url: SecretUrl,
    /// The prefix of every key: the fleet's name.
    pub prefix: String,
    /// The token that a Dust server knows this fleet by.
    pub token: Option<Secret>,
    /// Use a server that may evict keys. Then leases may be lost, and purged responses may come back.
    pub allow_eviction: bool,
}

// === impl Settings ===

impl Default for Settings {
    fn default() -> Self {
        Self {
            url: SecretUrl::here("embedded:./data/dust"),
            prefix: "dustgate".to_owned(),
            token: None,
            allow_eviction: false,
        }
    }
}
