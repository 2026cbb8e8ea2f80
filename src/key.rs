//! Cache keys.
//!
//! A key is readable text: `scheme://host/path?query`, then a line per keyed field. The first 128 bits
//! of its SHA-256 name it in the store. The text is compared wherever a record is read, so that a
//! collision is a miss.

use std::fmt::{self, Debug, Display};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

pub use hex::Hex;

mod hex;
pub mod purge;
pub mod target;

/// The first 128 bits of a key's SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyHash(pub [u8; 16]);

/// The canonical text of a key, and its hash. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Key {
    text: Arc<str>,
    hash: KeyHash,
}

/// The beginning of the last line of a key whose target was not sent in the canonical form: the line has
/// the target as it was sent.
pub const SPELLED: &str = "\n@target ";

/// Returns whether a key's target is in the canonical form.
pub fn is_plain(text: &str) -> bool {
    !text.contains(SPELLED)
}

/// Returns whether a key follows from its URL alone: the target is in the canonical form, and no line was
/// added by a request's fields or by a route's rules, which another instance may not have.
pub fn is_of_url(text: &str) -> bool {
    text.lines().nth(1).is_none()
}

/// Returns the key of the canonical form.
pub fn plain(text: &str) -> &str {
    text.split_once(SPELLED).map_or(text, |(plain, _)| plain)
}

// === impl KeyHash ===

impl KeyHash {
    /// Hashes a text.
    pub fn of(text: &str) -> Self {
        let digest = Sha256::digest(text.as_bytes());
        let mut first = [0; 16];
        first.copy_from_slice(&digest[..16]);
        Self(first)
    }

    /// Its digits, as they name it in the store.
    pub fn hex(&self) -> Hex {
        Hex::of(&self.0)
    }

    /// Its first half, where that tells enough apart.
    pub fn short(self) -> u64 {
        (u128::from_be_bytes(self.0) >> 64) as u64
    }
}

impl Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Display::fmt(&self.hex(), f)
    }
}

impl Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Display::fmt(self, f)
    }
}

// === impl Key ===

impl Key {
    /// The key of a canonical text. It hashes the text, so it is not for the path of a hit.
    pub fn new(text: &str) -> Self {
        Self { text: Arc::from(text), hash: KeyHash::of(text) }
    }

    /// The canonical text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The canonical text, shared.
    pub fn shared_text(&self) -> Arc<str> {
        self.text.clone()
    }

    /// Its hash.
    pub fn hash(&self) -> KeyHash {
        self.hash
    }
}

impl Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({:?}, {})", self.text, self.hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_has_one_key_by_itself() {
        for (text, by_itself) in [
            ("http://h/a", true),
            ("http://h/a\n@version 2", false),
            ("http://h/a\nx-tenant: b", false),
            ("http://h/a\nx-tenant: b\n@version 2", false),
            ("http://h/a\n@version 2\n@target /%61", false),
            ("http://h/a\n+accept-language: de", false),
        ] {
            assert_eq!(is_of_url(text), by_itself, "{text:?}");
        }
    }
}
