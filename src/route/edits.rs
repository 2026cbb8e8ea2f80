//! Fields that a route sets and removes.

use std::fmt::{self, Debug, Display};

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::policy::dashed;

/// What is removed, then what is set. Applied at delivery: records hold what upstream sent.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Edits {
    /// Fields that are given one value, whatever they had.
    pub set: Vec<(HeaderName, HeaderValue)>,
    /// Fields that are removed.
    pub remove: Vec<HeaderName>,
}

/// Why a field cannot be edited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EditError {
    /// Not a field name.
    Name(String),
    /// Not a valid value, for this field.
    Value(String),
    /// A field of the connection or of framing, which is not edited.
    Reserved(HeaderName),
}

/// Fields that say how a message is framed, or where it goes.
const RESERVED: [&str; 10] = [
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
];

// === impl Edits ===

impl Edits {
    /// Adds a field to set.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), EditError> {
        let name = Self::name(name)?;
        let value = HeaderValue::from_str(value).map_err(|_| EditError::Value(name.to_string()))?;
        self.set.push((name, value));
        Ok(())
    }

    /// Adds a field to remove.
    pub fn remove(&mut self, name: &str) -> Result<(), EditError> {
        self.remove.push(Self::name(name)?);
        Ok(())
    }

    /// Returns whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.remove.is_empty()
    }

    /// Applies the edits. A field that is both removed and set is set.
    pub fn apply(&self, headers: &mut HeaderMap) {
        for name in &self.remove {
            headers.remove(name);
        }
        for (name, value) in &self.set {
            headers.insert(name.clone(), value.clone());
        }
    }

    /// Applies the edits to an upstream request. A client's field whose name differs from an edited one only
    /// by `_` for `-` is removed, too: some origins would take it for that one.
    pub fn apply_to_request(&self, headers: &mut HeaderMap) {
        if self.is_empty() {
            return;
        }
        let edited = || self.remove.iter().chain(self.set.iter().map(|(name, _)| name));
        let alike = |one: &HeaderName, other: &HeaderName| dashed(one.as_str()) == dashed(other.as_str());
        let hidden: Vec<HeaderName> =
            headers.keys().filter(|name| edited().any(|edited| alike(edited, name))).cloned().collect();
        for name in hidden {
            headers.remove(name);
        }
        self.apply(headers);
    }

    fn name(name: &str) -> Result<HeaderName, EditError> {
        let name: HeaderName = name.parse().map_err(|_| EditError::Name(name.to_owned()))?;
        if RESERVED.contains(&name.as_str()) { Err(EditError::Reserved(name)) } else { Ok(name) }
    }
}

impl Debug for Edits {
    /// Names only: values may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set: Vec<_> = self.set.iter().map(|(name, _)| name).collect();
        f.debug_struct("Edits").field("set", &set).field("remove", &self.remove).finish()
    }
}

impl Display for EditError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(f, "{name:?} is not a field name"),
            Self::Value(name) => write!(f, "the value of {name} has bytes that no field may have"),
            Self::Reserved(name) if name == "host" => {
                f.write_str("host is not edited here: it is the upstream's `host` setting")
            }
            Self::Reserved(name) => write!(f, "{name} says how a message is carried and cannot be edited"),
        }
    }
}

impl std::error::Error for EditError {}
