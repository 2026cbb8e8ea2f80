//! A stored response answers a request if its Content-Language is the single best language of the request,
//! however the request puts it (RFC 9110 §12.5.4), and if the request has no variant of its own.
//!
//! The Vary node of a key lists the languages of its variants, so all instances know them, and a restart
//! forgets nothing. A language that it does not list costs a fetch and nothing else.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use tokio::time::{Instant, timeout_at};

use crate::flight::Snapshot;
use crate::key::Key;
use crate::policy::{self, RequestFacts, Rules};
use crate::proxy::lookup::candidate::{Candidate, Criteria, Strictness, Use};
use crate::proxy::lookup::{CacheSlot, taking_in};
use crate::proxy::outcome::{FoundRecord, How};
use crate::proxy::request::CacheRequest;
use crate::proxy::state::Proxy;
use crate::record::VaryNode;
use crate::route::Route;
use crate::tier::{Held, Stored};

/// The longest wait for a variant that another instance is publishing. A node lists a variant as soon as its
/// head is in. By the end of this wait a short body is stored, and a long one is known to be long.
const SOON: Duration = Duration::from_millis(500);

/// A fresh variant in memory in the one language that a request wants most, and what is left of its lifetime,
/// in ms.
pub(crate) fn in_language(
    proxy: &Proxy,
    primary: &str,
    node: &VaryNode,
    headers: &HeaderMap,
    ask: &RequestFacts,
    rules: &Rules,
) -> Option<(Arc<Stored>, i64)> {
    policy::in_best_language(primary, node, headers).find_map(|(_, text)| {
        let Some(Held::Stored(stored)) = proxy.tier.find(&text) else { return None };
        let now = proxy.now_ms();
        let candidate = Candidate::new(&stored, stored.covered(&proxy.stamps));
        let criteria = Criteria { headers, ask, rules };
        match candidate.check(Strictness::HardAndSoft, criteria, now) {
            Ok(Use::Fresh { ttl_ms }) if proxy.trust.holds(now) => Some((stored, ttl_ms)),
            _ => None,
        }
    })
}

/// Takes such a variant from the store into memory. Returns whether there was one.
pub(crate) async fn recall_in_language(
    proxy: &Proxy,
    route: &Route,
    place: &CacheSlot,
    headers: &HeaderMap,
) -> bool {
    for key in in_store(place, headers) {
        if taking_in::take_in(proxy, route, &key).await.is_some() {
            return true;
        }
    }
    false
}

/// Finds such a variant for a request that would lead or follow, in memory or in the store. Waits for one
/// that another instance is about to publish, unless its body is long in coming.
pub(crate) async fn found_in_language(
    proxy: &Proxy,
    request: &CacheRequest,
    place: &CacheSlot,
) -> Option<FoundRecord> {
    let node = place.node.as_deref()?;
    let find = || {
        let (ask, rules) = (&request.ask, &request.route.rules);
        let found = in_language(proxy, place.primary.text(), node, &request.headers, ask, rules);
        found.map(|(stored, _)| stored)
    };
    let mut how = How::Cached;
    let mut found = find();
    for key in in_store(place, &request.headers) {
        if found.is_some() {
            break;
        }
        if taking_in::take_in(proxy, &request.route, &key).await.is_none()
            && published_soon(proxy, &key).await
        {
            taking_in::take_in(proxy, &request.route, &key).await;
            how = How::Awaited;
        }
        found = find();
    }
    found.map(|stored| FoundRecord::cached(stored, how))
}

/// Waits until a record is published under a key that is being filled, unless its body is still to come.
/// Returns whether one was published.
async fn published_soon(proxy: &Proxy, key: &Key) -> bool {
    let mut pursuit = proxy.flight.pursue(&proxy.names(key), 0);
    let until = Instant::now() + SOON;
    while let Ok(Ok(Snapshot::There { found, live, .. })) = timeout_at(until, pursuit.next()).await {
        if found.value.is_some() {
            return true;
        }
        if live.is_none() || found.verdict.is_some() {
            return false;
        }
    }
    false
}

/// The keys of variants in a request's best language that the store may have; none if it has a variant of the
/// request's own.
fn in_store(place: &CacheSlot, headers: &HeaderMap) -> Vec<Key> {
    let Some(node) = place.node.as_deref().filter(|node| !node.languages.is_empty()) else {
        return Vec::new();
    };
    if node.variants.contains(&place.key.hash().to_string()) {
        return Vec::new();
    }
    let listed = policy::in_best_language(place.primary.text(), node, headers);
    let keys = listed.map(|(spoken, text)| (spoken, Key::new(&text)));
    keys.filter(|(spoken, key)| key.hash().to_string() == spoken.variant).map(|(_, key)| key).collect()
}
