//! A lifetime from Last-Modified, as a setting: `false`, `true`, or a table.

use std::fmt;

use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

use crate::policy::Heuristic;

#[expect(clippy::ref_option, reason = "serde hands a reference in")]
pub(super) fn serialize<S: Serializer>(
    written: &Option<Heuristic>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match written {
        Some(share) => share.serialize(serializer),
        None => serializer.serialize_bool(false),
    }
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Heuristic>, D::Error> {
    deserializer.deserialize_any(Read)
}

struct Read;

impl<'de> Visitor<'de> for Read {
    type Value = Option<Heuristic>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("false, true or { fraction = 0.1, max = \"60s\" }")
    }

    fn visit_bool<E: de::Error>(self, on: bool) -> Result<Self::Value, E> {
        Ok(on.then(Heuristic::default))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        Heuristic::deserialize(de::value::MapAccessDeserializer::new(map)).map(Some)
    }
}
