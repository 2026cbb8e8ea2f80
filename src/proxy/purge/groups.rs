//! Invalidation of groups: the answer to an unsafe request may name groups of its origin that are purged
//! with it (RFC 9875 §3).

use std::sync::Arc;

use futures_util::future::join_all;
use http::{HeaderMap, HeaderName};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::policy;
use crate::proxy::purge::numbers::made_up_number;
use crate::proxy::state::Proxy;
use crate::tier::stamps::{Scope, TagName, Within};

/// Names the groups.
const CACHE_GROUP_INVALIDATION: HeaderName = HeaderName::from_static("cache-group-invalidation");
/// The most groups of a response that are purged one by one. Above that, all tags of its origin are.
const MOST: usize = 256;
/// How many stamps are written at a time.
const AT_A_TIME: usize = 16;

/// Groups that are being purged.
pub(super) struct Groups {
    /// What is stamped for them.
    scopes: Vec<Scope>,
    /// Writes the stamps. It goes on when the client leaves.
    pub(super) task: JoinHandle<()>,
}

/// Purges the groups that the answer to an unsafe request names, of the origin of that key alone. A stamp that the
/// store does not take is owed.
pub(super) fn invalidate_groups(proxy: &Arc<Proxy>, key: &str, headers: &HeaderMap) -> Option<Groups> {
    if !headers.contains_key(CACHE_GROUP_INVALIDATION) {
        return None;
    }
    let within = Within::origin_of(key)?;
    let groups = policy::invalidated_groups(headers);
    let scopes = if groups.len() > MOST {
        vec![Scope::tags_of(within)]
    } else {
        groups.into_iter().map(|tag| Scope::Tag(TagName { within, tag: tag.hash() })).collect()
    };
    let guard = proxy.drain.guard();
    let (here, all) = (proxy.clone(), scopes.clone());
    let task = tokio::spawn(async move {
        purge_groups(&here, &all).await;
        drop(guard);
    });
    Some(Groups { scopes, task })
}

async fn purge_groups(proxy: &Proxy, scopes: &[Scope]) {
    let (began, mut fails) = (Instant::now(), false);
    for scopes in scopes.chunks(AT_A_TIME) {
        if fails {
            // The store is not asked again for each of them.
            for scope in scopes {
                owe(proxy, *scope);
            }
            continue;
        }
        let write = |scope| proxy.flight.bounded(proxy.stamps.write_tags(&*proxy.dust, scope));
        let written = join_all(scopes.iter().copied().map(write)).await;
        for (scope, written) in scopes.iter().zip(written) {
            match written {
                Ok(number) => {
                    proxy.flight.saw(number);
                    proxy.observer.invalidated(number, began.elapsed());
                }
                Err(error) => {
                    proxy.observer.store_error("purge", &error);
                    owe(proxy, *scope);
                    fails = true;
                }
            }
        }
    }
}

fn owe(proxy: &Proxy, scope: Scope) {
    proxy.stamps.owe_tags(scope, made_up_number(proxy), proxy.now_ms());
}

// === impl Groups ===

impl Groups {
    /// Covers the groups here, because the client waits no longer for the store.
    pub(super) fn cover_here(&self, proxy: &Proxy) {
        for scope in &self.scopes {
            proxy.stamps.cover_tags_here(*scope, made_up_number(proxy), proxy.now_ms());
        }
    }
}
