//! Where the response to a request would be stored, and what memory holds there.

use std::cell::RefCell;
use std::sync::Arc;

use http::HeaderMap;

use crate::clock::WallMs;
use crate::key::target::Target;
use crate::key::{Key, KeyHash};
use crate::policy::{self, PassReason, RequestFacts, RouteId};
use crate::proxy::lookup::candidate::{Candidate, Criteria, Strictness, Unfit, Use};
use crate::proxy::state::Proxy;
use crate::record::{Record, VaryNode};
use crate::route::Route;
use crate::tier::stamps::Named;
use crate::tier::{Doubt, Held, Stored, url_hash};

pub(crate) mod cache_status;
pub(crate) mod candidate;
pub(crate) mod completing;
pub(crate) mod decision;
pub(crate) mod languages;
pub(crate) mod noted;
pub(crate) mod reach;
pub(crate) mod store_lookup;
pub(crate) mod taking_in;

thread_local! {
    /// The texts of the primary key and of the variant's, reused so that a hit allocates neither.
    static TEXTS: RefCell<(String, String)> = const { RefCell::new((String::new(), String::new())) };
}

/// Where a response is or would be stored. It is worked out only for requests that are not hits.
#[derive(Debug, Clone)]
pub(crate) struct CacheSlot {
    /// The primary key of the request.
    pub primary: Key,
    /// The key of the response: the variant's if the key has a Vary node, else the primary key.
    pub key: Key,
    /// The hash of the URL, by which it is purged.
    pub url: KeyHash,
    /// The route, by which it is purged too.
    pub route: RouteId,
    /// The Vary node, if there is one.
    pub node: Option<Arc<VaryNode>>,
}

/// What memory holds for a request.
#[derive(Debug)]
pub(crate) enum Lookup {
    /// A fresh response that may be used.
    Fresh { stored: Arc<Stored>, ttl_ms: i64 },
    /// A stale response that the request's max-stale allows.
    MaxStale { stored: Arc<Stored>, ttl_ms: i64 },
    /// A response that is fresh unless it was purged or replaced without this instance's hearing of it. It is
    /// served, and its Cache-Status says so.
    Unsure { stored: Arc<Stored>, ttl_ms: i64 },
    /// A response in the same doubt, which must be validated first.
    Doubtful { place: CacheSlot, stored: Arc<Stored> },
    /// A stale response that may be served while it is refreshed.
    Refreshing { place: CacheSlot, stored: Arc<Stored>, ttl_ms: i64 },
    /// A response that must be validated first, or a part that lacks some of what is asked for.
    Stale { place: CacheSlot, stored: Arc<Stored> },
    /// A response that may not be used for this request.
    Refused { place: CacheSlot, reason: PassReason },
    /// Nothing usable.
    Missing { place: CacheSlot },
}

/// How a request may use a stored response: [`Lookup`] without its contents.
enum Seen {
    Fresh { ttl_ms: i64 },
    Unsure { ttl_ms: i64 },
    MaxStale { ttl_ms: i64 },
    Doubtful,
    Refreshing { ttl_ms: i64 },
    Stale,
    Refused(PassReason),
    Purged,
}

/// Judges a stored response for a request. `doubt`: this instance may not have heard of a purge. Selection is
/// not checked: the key that it was found under implies it.
#[inline]
fn seen(candidate: Candidate<'_>, criteria: Criteria<'_>, doubt: Option<Doubt>, now: WallMs) -> Seen {
    if candidate.unless_purged(Strictness::Hard).is_err() {
        return Seen::Purged;
    }
    let soft = candidate.is_softly_purged();
    match candidate.usable(criteria, now) {
        Err(Unfit::Refused(reason)) => Seen::Refused(reason),
        // A fill completes it, fresh or not.
        _ if candidate.sufficient(criteria).is_err() => Seen::Stale,
        Ok(_) if doubt == Some(Doubt::Validate) => Seen::Doubtful,
        Ok(Use::Fresh { ttl_ms }) if !soft && doubt.is_some() => Seen::Unsure { ttl_ms },
        Ok(Use::Fresh { ttl_ms }) if !soft => Seen::Fresh { ttl_ms },
        Ok(Use::Revalidating { ttl_ms }) => Seen::Refreshing { ttl_ms },
        Ok(Use::MaxStale { ttl_ms }) if !soft => Seen::MaxStale { ttl_ms },
        // A soft purge makes it stale from now on: it may be refreshed behind the response where that is
        // allowed at all.
        Ok(Use::Fresh { .. }) if candidate.may_refresh_behind() => Seen::Refreshing { ttl_ms: 0 },
        Ok(Use::Fresh { .. } | Use::MaxStale { .. }) | Err(_) => Seen::Stale,
    }
}

/// Looks into memory. No I/O, no waiting, and on a hit no allocation.
pub(crate) fn look(
    proxy: &Proxy,
    route: &Route,
    target: &Target,
    headers: &HeaderMap,
    ask: &RequestFacts,
) -> Lookup {
    TEXTS.with_borrow_mut(|(text, variant)| {
        route.key_into(text, target, headers);
        let mut at: &str = text;
        let mut node = None;
        let mut held = proxy.tier.find(at);
        if let Some(Held::Vary(found)) = held {
            variant.clear();
            variant.push_str(text);
            policy::variant_into(variant, &found.fields, headers);
            at = variant;
            held = proxy.tier.find(at);
            node = Some(found);
        }
        let place = || CacheSlot::new(text, at, node.clone(), route.rules.route);
        let Some(Held::Stored(stored)) = held else {
            let spoken = node
                .as_ref()
                .and_then(|node| languages::in_language(proxy, text, node, headers, ask, &route.rules));
            return match spoken {
                Some((stored, ttl_ms)) => Lookup::Fresh { stored, ttl_ms },
                None => Lookup::Missing { place: place() },
            };
        };
        weigh(proxy, stored, Criteria { headers, ask, rules: &route.rules }, place)
    })
}

/// Judges a response that was found in the slot of a request.
#[inline]
pub(crate) fn weigh(
    proxy: &Proxy,
    stored: Arc<Stored>,
    criteria: Criteria<'_>,
    place: impl FnOnce() -> CacheSlot,
) -> Lookup {
    let now = proxy.now_ms();
    // In this order: if the trust holds, the stamps that are read after it include all that was acknowledged.
    let doubt = if proxy.trust.holds(now) { None } else { Some(proxy.trust.doubt()) };
    let candidate = Candidate::new(&stored, stored.covered(&proxy.stamps));
    match seen(candidate, criteria, doubt, now) {
        Seen::Fresh { ttl_ms } => Lookup::Fresh { stored, ttl_ms },
        Seen::Unsure { ttl_ms } => Lookup::Unsure { stored, ttl_ms },
        Seen::MaxStale { ttl_ms } => Lookup::MaxStale { stored, ttl_ms },
        Seen::Doubtful => Lookup::Doubtful { place: place(), stored },
        Seen::Refreshing { ttl_ms } => Lookup::Refreshing { place: place(), stored, ttl_ms },
        Seen::Stale => Lookup::Stale { place: place(), stored },
        Seen::Refused(reason) => Lookup::Refused { place: place(), reason },
        Seen::Purged => Lookup::Missing { place: place() },
    }
}

/// The slot of a request, whatever memory holds there.
pub(crate) fn place(proxy: &Proxy, route: &Route, target: &Target, headers: &HeaderMap) -> CacheSlot {
    let mut text = String::new();
    route.key_into(&mut text, target, headers);
    let place = CacheSlot::new(&text, &text, None, route.rules.route);
    match proxy.tier.find(&text) {
        Some(Held::Vary(node)) => place.under(node, headers),
        Some(Held::Stored(_)) | None => place,
    }
}

/// Remembers what a key varies on, where memory does not know it yet. A known node that says as much stays,
/// for it may list variants.
pub(crate) fn keep_hint(proxy: &Proxy, node: &Arc<VaryNode>) {
    let known = matches!(
        proxy.tier.peek(&node.key),
        Some(Held::Vary(known)) if node.fields.iter().all(|field| known.fields.contains(field))
    );
    if !known {
        proxy.tier.keep_node(node.clone());
    }
}

// === impl CacheSlot ===

impl CacheSlot {
    /// A slot, from the texts of the primary key and of the key that the response is stored under.
    pub(crate) fn new(primary: &str, at: &str, node: Option<Arc<VaryNode>>, route: RouteId) -> Self {
        let url = url_hash(primary);
        let primary = Key::new(primary);
        let key = if node.is_some() { Key::new(at) } else { primary.clone() };
        Self { primary, key, url, route, node }
    }

    /// What its response is purged by, but for its tags.
    pub(crate) fn named(&self) -> Named<'_> {
        Named { url: self.url, key: self.primary.text(), route: self.route, tags: &[] }
    }

    /// What this response of it is purged by.
    pub(crate) fn named_with<'a>(&'a self, record: &'a Record) -> Named<'a> {
        Named { tags: &record.tags, ..self.named() }
    }

    /// The slot of a request with these fields under a Vary node.
    pub(crate) fn under(&self, node: Arc<VaryNode>, headers: &HeaderMap) -> Self {
        let key = policy::variant_key(&self.primary, &node.fields, headers);
        Self { primary: self.primary.clone(), key, url: self.url, route: self.route, node: Some(node) }
    }

    /// The Vary node that a response found here implies, if under it a request with these fields has another
    /// slot.
    pub(crate) fn node_by(&self, record: &Record, headers: &HeaderMap) -> Option<Arc<VaryNode>> {
        if policy::selects(record, headers) {
            return None;
        }
        let known = self.node.iter().flat_map(|node| &node.fields);
        let mut fields: Vec<_> = record.select.iter().map(|(field, _)| field).chain(known).cloned().collect();
        fields.sort_by(|a, b| a.as_str().cmp(b.as_str()));
        fields.dedup();
        let node = Arc::new(VaryNode {
            key: self.primary.text().to_owned(),
            token: record.token,
            fields,
            variants: Vec::new(),
            languages: Vec::new(),
            noted: true,
        });
        (self.under(node.clone(), headers).key != self.key).then_some(node)
    }
}
