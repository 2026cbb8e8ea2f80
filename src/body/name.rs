//! Names of bodies and of their segments, and digests.

use std::sync::Arc;

use object_store::path::Path;
use sha2::{Digest as _, Sha256};

use crate::record::Life;

/// The name of a body: the hash of its key, in one life of the store. Code that holds a name stays in that
/// life, whatever the store's id becomes.
#[derive(Debug, Clone)]
pub(super) struct Name {
    life: Life,
    text: Arc<str>,
    /// The hash as a number, for tables.
    pub(super) hash: u128,
}

// === impl Name ===

impl Name {
    /// The name for a key hash of 32 hexadecimal digits. Any other text has a name too; in tables it is known
    /// by its digest.
    pub(super) fn of(life: Life, key_hash: &str) -> Self {
        let hash = u128::from_str_radix(key_hash, 16).ok().filter(|_| key_hash.len() == 32);
        let hash = hash.unwrap_or_else(|| u128::from_be_bytes(digest([key_hash.as_bytes()])));
        Self { life, text: key_hash.into(), hash }
    }

    /// The life that the body belongs to.
    pub(super) fn life(&self) -> &Life {
        &self.life
    }

    /// The hash as text.
    pub(super) fn key_hash(&self) -> &str {
        &self.text
    }

    /// The path of a segment.
    pub(super) fn path(&self, token: u64, n: u32) -> Path {
        let (token, n) = (token.to_string(), n.to_string());
        Path::from_iter([&*self.life, &*self.text, token.as_str(), n.as_str()])
    }
}

/// The first 128 bits of the SHA-256 of the concatenated chunks.
pub(super) fn digest<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> [u8; 16] {
    let mut sha = Sha256::new();
    for chunk in chunks {
        sha.update(chunk);
    }
    first_half(sha)
}

/// The first 128 bits of a SHA-256.
pub(super) fn first_half(sha: Sha256) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(&sha.finalize()[..16]);
    half
}
