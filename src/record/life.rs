//! Lives of body stores.

use std::fmt::{self, Display};
use std::ops::Deref;
use std::sync::Arc;

/// The life of a body store, by its id: a store that lost what it held begins another one. Cheap to clone, and
/// one word long, as each record in memory has one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Life(Arc<Box<str>>);

impl Deref for Life {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Life {
    fn from(id: &str) -> Self {
        Self(Arc::new(id.into()))
    }
}

impl From<String> for Life {
    fn from(id: String) -> Self {
        Self(Arc::new(id.into()))
    }
}

impl PartialEq<str> for Life {
    fn eq(&self, id: &str) -> bool {
        **self == *id
    }
}

impl Display for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}
