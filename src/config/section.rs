//! Sections of the file that hold the settings of several parts.
//!
//! Each part defines its settings and their defaults. This module only says which parts share a
//! section.

use std::sync::LazyLock;

use figment::error::{Error, Kind};
use figment::value::{Dict, Value};
use serde::de::value::Error as NoError;
use serde::de::{DeserializeOwned, Deserializer, Error as _, Visitor};
use serde::{Serialize, forward_to_deserialize_any};

use crate::{dust, flight, policy, route, tier};

/// A section, or one entry of a list of them.
pub(super) trait Section: Sized {
    /// Reads it from a table; settings that are not there have their defaults.
    fn read(table: Dict) -> Result<Self, Box<Error>>;
}

/// A section of several parts' settings. The names of their settings must all differ.
macro_rules! of_parts {
    ($(#[$doc:meta])* $name:ident { $($(#[$each:meta])* $part:ident: $settings:ty),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Default, Serialize)]
        pub struct $name {
            $($(#[$each])* #[serde(flatten)] pub $part: $settings),+
        }

        impl Section for $name {
            fn read(mut table: Dict) -> Result<Self, Box<Error>> {
                static NAMES: LazyLock<Vec<&str>> =
                    LazyLock::new(|| [$(names::<$settings>()),+].concat());
                if let Some(name) = table.keys().find(|name| !NAMES.contains(&name.as_str())) {
                    return Err(Box::new(Kind::UnknownField(name.clone(), &NAMES).into()));
                }
                Ok(Self { $($part: part(own::<$settings>(&mut table))?),+ })
            }
        }
    };
}

of_parts! {
    /// `[dust]`: the coordination store, and what depends on it.
    Dust {
        /// Which store.
        store: dust::Settings,
        /// Leases.
        flight: flight::Settings,
        /// How far memory is trusted.
        belief: tier::Belief,
        /// Settings that hold for all routes.
        routes: route::settings::ForAll,
    }
}

of_parts! {
    /// `[[routes]]`: one route.
    Route {
        /// Which requests, which upstream, which key.
        route: route::Settings,
        /// What is stored and reused.
        policy: policy::Settings,
    }
}

/// Settings of one part that have a section for themselves.
pub(super) fn part<T: DeserializeOwned>(table: Dict) -> Result<T, Box<Error>> {
    Value::from(table).deserialize().map_err(Box::new)
}

/// Moves a part's settings out of a table.
fn own<T: DeserializeOwned>(table: &mut Dict) -> Dict {
    names::<T>().iter().filter_map(|name| table.remove_entry(*name)).collect()
}

/// The names of a part's settings.
fn names<T: DeserializeOwned>() -> &'static [&'static str] {
    let mut names = &[][..];
    // It always fails, because nothing is read.
    let _ = T::deserialize(Names(&mut names));
    names
}

/// A deserializer that only notes the names of the fields of a struct.
struct Names<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for Names<'_> {
    type Error = NoError;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        _visitor: V,
    ) -> Result<V::Value, NoError> {
        *self.0 = fields;
        Err(NoError::custom("nothing is read"))
    }

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, NoError> {
        Err(NoError::custom("not a struct"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_know_their_names_and_share_none() {
        assert_eq!(names::<dust::Settings>(), ["url", "prefix", "token", "allow_eviction"]);
        assert_eq!(names::<flight::Settings>(), ["lease_ttl", "on_unavailable"]);
        let mut of_routes = [names::<route::Settings>(), names::<policy::Settings>()].concat();
        let count = of_routes.len();
        of_routes.sort_unstable();
        of_routes.dedup();
        assert_eq!(of_routes.len(), count);
    }
}
