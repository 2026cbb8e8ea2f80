//! Which store, and whose keys they are.

use serde::{Deserialize, Serialize};

use crate::secret::SecretUrl;

/// The coordination store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Which store: see [`super::open()`].
    pub url: SecretUrl,
    /// What every key begins with: a fleet's name.
    pub prefix: String,
    /// A server that may evict is used all the same. Purges may come back then, and leases be lost.
    pub allow_eviction: bool,
}

// === impl Settings ===

impl Default for Settings {
    fn default() -> Self {
        Self {
            url: SecretUrl::here("embedded:./data/dust"),
            prefix: "dustgate".to_owned(),
            allow_eviction: false,
        }
    }
}
