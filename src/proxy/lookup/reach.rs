//! Stored bodies whose bytes can't be read, as far as this instance knows.

use std::sync::Arc;

use crate::key::KeyHash;
use crate::proxy::state::Proxy;
use crate::record::Manifest;

/// Returns whether the bytes of this key's body are known to be lost.
pub(crate) fn is_lost(proxy: &Proxy, key: KeyHash, manifest: &Manifest) -> bool {
    proxy.bodies.is_gone(&key.to_string(), manifest)
}

/// Returns whether the bytes of this key's body can't be read now, as far as this instance knows. `unread`:
/// bodies that the request could not read before.
pub(crate) fn is_unread(proxy: &Proxy, key: KeyHash, manifest: &Manifest, unread: &[Arc<Manifest>]) -> bool {
    unread.iter().any(|unread| **unread == *manifest)
        || proxy.bodies.is_out_of_reach(&key.to_string(), manifest)
}
