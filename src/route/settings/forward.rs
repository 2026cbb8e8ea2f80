//! Which fields of a request a fill carries, as a setting: `"all"`, `"keyed"`, or a list of names.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::route::Forward;

impl<N: Serialize> Serialize for Forward<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::All => serializer.serialize_str("all"),
            Self::Keyed => serializer.serialize_str("keyed"),
            Self::Only(names) => names.serialize(serializer),
        }
    }
}

impl<'de, N: Deserialize<'de>> Deserialize<'de> for Forward<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read<N>(PhantomData<N>);
        impl<'de, N: Deserialize<'de>> Visitor<'de> for Read<N> {
            type Value = Forward<N>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"all\", \"keyed\" or a list of field names")
            }

            fn visit_str<E: de::Error>(self, word: &str) -> Result<Forward<N>, E> {
                match word {
                    "all" => Ok(Forward::All),
                    "keyed" => Ok(Forward::Keyed),
                    _ => Err(E::invalid_value(de::Unexpected::Str(word), &self)),
                }
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Forward<N>, A::Error> {
                let mut names = Vec::new();
                while let Some(name) = seq.next_element()? {
                    names.push(name);
                }
                Ok(Forward::Only(names))
            }
        }
        deserializer.deserialize_any(Read(PhantomData))
    }
}
