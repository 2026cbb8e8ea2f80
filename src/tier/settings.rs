//! The settings of the memory tier: its size, and how long it is trusted.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::trust::WhenUnsure;
use crate::units;

/// `[memory]`: the size of the tier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Memory {
    /// The most bytes that it may hold.
    #[serde(with = "units::size")]
    pub size: u64,
}

/// How long what is held here is trusted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Belief {
    /// How long an instance may answer from its own tier without having heard from the store.
    #[serde(with = "units::duration")]
    pub trust: Duration,
    /// What to do with a fresh record when the instance has not heard from the store for longer.
    pub when_unsure: Unsure,
    /// How long records are served while the tier is unsure.
    #[serde(with = "units::duration")]
    pub unsure_for: Duration,
    /// The longest that a record is served; stamps that may cover it are kept as long.
    #[serde(with = "units::duration")]
    pub max_life: Duration,
}

/// What an instance that is cut off from the store does with a fresh record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unsure {
    /// Serve it, for `unsure_for`.
    #[default]
    Serve,
    /// Validate it with upstream first.
    Validate,
}

// === impl Memory ===

impl Default for Memory {
    fn default() -> Self {
        Self { size: 256 << 20 }
    }
}

// === impl Belief ===

impl Default for Belief {
    fn default() -> Self {
        Self {
            trust: Duration::from_secs(10),
            when_unsure: Unsure::default(),
            unsure_for: Duration::from_mins(5),
            max_life: Duration::from_hours(30 * 24),
        }
    }
}

impl Belief {
    /// What to do with records while the tier is unsure.
    pub fn when_unsure(&self) -> WhenUnsure {
        match self.when_unsure {
            Unsure::Serve => WhenUnsure::Serve(self.unsure_for),
            Unsure::Validate => WhenUnsure::Validate,
        }
    }
}
