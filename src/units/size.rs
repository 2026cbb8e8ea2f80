//! A number of bytes as a setting: see [`Size`]. It may be of any type that such numbers fit into.

use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

use super::Size;

/// Writes text with a unit.
pub fn serialize<T, S>(bytes: &T, serializer: S) -> Result<S::Ok, S::Error>
where
    T: Copy + TryInto<u64>,
    S: Serializer,
{
    let bytes = (*bytes).try_into().map_err(|_| S::Error::custom("too large a number"))?;
    Size(bytes).serialize(serializer)
}

/// Reads text with a unit.
pub fn deserialize<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: TryFrom<u64>,
    D: Deserializer<'de>,
{
    let size = Size::deserialize(deserializer)?;
    T::try_from(size.0).map_err(|_| D::Error::custom("too large a number"))
}
