//! Invalidation of groups: the answer to an unsafe request may name groups of its origin that are purged
//! with it (RFC 9875 §3).

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::dust::{Error, Number};
use crate::policy;
use crate::proxy::state::Proxy;
use crate::tier::stamps::{Force, TagName, Within};

/// Names the groups.
pub(super) const CACHE_GROUP_INVALIDATION: HeaderName = HeaderName::from_static("cache-group-invalidation");
/// How often a stamp is tried for that the store does not take.
const TRIES: u32 = 6;
/// The pause after the first try; it doubles.
const PAUSE: Duration = Duration::from_millis(200);

/// Purges the groups that the answer to an unsafe request for this key names, of the key's origin alone.
/// Each in a task of its own, which goes on when the client leaves. They hold here under `number` meanwhile.
pub(super) fn invalidate_groups(
    proxy: &Arc<Proxy>,
    key: &str,
    headers: &HeaderMap,
    number: Number,
) -> Vec<JoinHandle<()>> {
    let Some(within) = Within::origin_of(key) else { return Vec::new() };
    let groups = policy::invalidated_groups(headers);
    let each = groups.into_iter().map(|tag| TagName { within, tag: tag.hash() });
    each.map(|name| {
        proxy.stamps.cover_tag_here(name, number, proxy.now_ms());
        tokio::spawn(purge_group(proxy.clone(), name))
    })
    .collect()
}

/// Until the store has taken the stamp, it holds here. An operator is told if it never does.
async fn purge_group(proxy: Arc<Proxy>, name: TagName) {
    let (began, _guard) = (Instant::now(), proxy.drain.guard());
    for tries in 1..=TRIES {
        let write = proxy.stamps.write_tag(&*proxy.dust, name, Force::Hard);
        match proxy.flight.bounded(write).await {
            Ok(number) => {
                proxy.flight.saw(number);
                return proxy.observer.invalidated(number, began.elapsed());
            }
            Err(error) if tries == TRIES => lost(&proxy, &error),
            Err(error) => {
                proxy.observer.store_error("purge", &error);
                sleep(proxy.dice.up_to(PAUSE * 2u32.pow(tries))).await;
            }
        }
    }
}

fn lost(proxy: &Proxy, error: &Error) {
    let text =
        "a group that an origin invalidated is purged on this instance alone: the store has not taken it";
    proxy.observer.log.error("group_lost", format!("{text}: {error}"));
}
