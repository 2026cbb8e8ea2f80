//! `[admin]`: the port for operators.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::rights::{Right, Token};
use crate::secret::Secret;
use crate::units::{List, Listen};

/// The port for operators.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Where it listens.
    pub listen: Listen,
    /// The token that `Authorization: Bearer` must bear for anything under `/v1/`; required off loopback.
    pub token: Option<Secret>,
    /// Further tokens, each with what it may do.
    pub tokens: Vec<Token>,
    /// Names that Host may have when there is no token, beside loopback ones.
    pub hosts: List<String>,
    /// Whether `/metrics` needs the token too.
    pub metrics_token: bool,
    /// The most connections. Over it, the one that has been idle for the longest gives way.
    pub max_connections: usize,
}

// === impl Settings ===

impl Settings {
    /// Returns whether any token is set.
    pub fn has_tokens(&self) -> bool {
        self.token.is_some() || !self.tokens.is_empty()
    }

    /// A token that has a right: the one for everything, or the first that has it.
    pub fn token_for(&self, right: Right) -> Option<&Secret> {
        let of_others = || self.tokens.iter().find(|token| token.has(right)).map(|token| &token.token);
        self.token.as_ref().or_else(of_others)
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: Listen(SocketAddr::from(([127, 0, 0, 1], 8081))),
            token: None,
            tokens: Vec::new(),
            hosts: List::default(),
            metrics_token: false,
            max_connections: 64,
        }
    }
}
