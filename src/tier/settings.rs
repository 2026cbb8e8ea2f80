//! How large this instance's memory is, and how far it may be believed.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::trust::WhenUnsure;
use crate::units;

/// `[memory]`: what is held here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Memory {
    /// How much it may hold, in bytes.
    #[serde(with = "units::size")]
    pub size: u64,
}

/// How far what is held here may be believed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Belief {
    /// How long an instance may answer from its own tier without having heard from the store.
    #[serde(with = "units::duration")]
    pub trust: Duration,
    /// What a fresh record is worth when the instance has not heard from the store for longer.
    pub when_unsure: Unsure,
    /// How long records are served unsure.
    #[serde(with = "units::duration")]
    pub unsure_for: Duration,
    /// How long stamps are kept, and the longest that any record is served.
    #[serde(with = "units::duration")]
    pub max_life: Duration,
}

/// What a fresh record is worth to an instance that is cut off from the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unsure {
    /// It is served, for `unsure_for`.
    #[default]
    Serve,
    /// Upstream is asked first.
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
    /// What becomes of records while the tier is unsure.
    pub fn when_unsure(&self) -> WhenUnsure {
        match self.when_unsure {
            Unsure::Serve => WhenUnsure::Serve(self.unsure_for),
            Unsure::Validate => WhenUnsure::Validate,
        }
    }
}
