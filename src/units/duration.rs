//! A [`Duration`] as a setting: see [`Dur`].

use std::time::Duration;

use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

use super::Dur;

/// Writes text with a unit.
pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    Dur(*duration).serialize(serializer)
}

/// Reads text with a unit.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    Dur::deserialize(deserializer).map(|dur| dur.0)
}
