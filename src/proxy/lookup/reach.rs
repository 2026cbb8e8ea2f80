//! Bodies that can't be had, as far as that is known here.

use std::sync::Arc;

use crate::key::KeyHash;
use crate::proxy::state::Proxy;
use crate::record::Manifest;

/// Returns whether the bytes of this key's body are known to be gone.
pub(crate) fn is_lost(proxy: &Proxy, key: KeyHash, manifest: &Manifest) -> bool {
    proxy.bodies.is_gone(&key.to_string(), manifest)
}

/// Returns whether the bytes of this key's body can't be had now, by all that is known here; `unread`:
/// bodies that could not be read before.
pub(crate) fn is_unread(proxy: &Proxy, key: KeyHash, manifest: &Manifest, unread: &[Arc<Manifest>]) -> bool {
    unread.iter().any(|unread| **unread == *manifest)
        || proxy.bodies.is_out_of_reach(&key.to_string(), manifest)
}
