//! `[log]`: one line a request.

use serde::{Deserialize, Serialize};

/// The log, on stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// For machines or for people.
    pub format: LogFormat,
    /// Whether parameters' values are logged, beside their names.
    pub query: bool,
    /// Whether requests are logged at all.
    pub requests: bool,
}

/// For machines or for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// An object a line.
    #[default]
    Json,
    /// A line that can be read.
    Text,
}

// === impl Log ===

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::default(), query: false, requests: true }
    }
}
