//! Removal of entries that name bytes that are gone: value and note, under the key's lease.

use crate::flight::{Attempt, Fill, Names};
use crate::key::KeyHash;
use crate::proxy::lookup::reach;
use crate::proxy::state::Proxy;
use crate::record::Manifest;

/// Removes the entries that a fill with the lease has found at its key, if they name bytes that are gone.
pub(crate) async fn remove_lost(proxy: &Proxy, fill: &Fill, key: KeyHash) {
    if !fill.coordinated() {
        return;
    }
    let is_lost = |manifest: Manifest| reach::is_lost(proxy, key, &manifest);
    if fill.value().and_then(|entry| proxy.catalog.body_of_value(entry)).is_some_and(is_lost) {
        proxy.observer.removed(proxy.catalog.remove_value(fill).await);
    }
    if fill.verdict().and_then(|entry| proxy.catalog.body_of_verdict(entry)).is_some_and(is_lost) {
        proxy.observer.removed(proxy.catalog.remove_verdict(fill).await);
    }
}

/// The same, for a request that will not lead. If the lease is taken, its holder fills the key and removes
/// them.
pub(crate) async fn drop_lost(proxy: &Proxy, names: &Names, key: KeyHash) {
    let Attempt::Won(fill) = proxy.flight.attempt(names).await else { return };
    if let Ok(fill) = fill.looked().await {
        remove_lost(proxy, &fill, key).await;
        fill.release().await;
    }
}
