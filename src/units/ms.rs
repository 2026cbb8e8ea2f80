//! Milliseconds as a setting: see [`Dur`].

use std::time::Duration;

use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

use super::Dur;

/// Writes text with a unit.
pub fn serialize<S: Serializer>(ms: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    Dur(Duration::from_millis(*ms)).serialize(serializer)
}

/// Reads text with a unit.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    Dur::deserialize(deserializer).map(Dur::ms)
}
