//! A lookup in the store for a request that neither leads nor follows: a response that was stored before a
//! restart, or by another instance, answers it like any other.

use std::sync::Arc;

use http::HeaderMap;

use crate::policy::RequestFacts;
use crate::proxy::lookup::candidate::{Candidate, Criteria, Strictness, Use};
use crate::proxy::lookup::{CacheSlot, languages, noted, taking_in};
use crate::proxy::request::CacheRequest;
use crate::proxy::request::binding::Party;
use crate::proxy::state::Proxy;
use crate::proxy::state::negative_cache::NoteResult;
use crate::proxy::state::past::Past;
use crate::route::Route;
use crate::tier::{Held, Stored};

/// What the store had for a slot.
#[derive(Debug)]
pub(crate) enum Recalled {
    /// Nothing.
    Nothing,
    /// The response of that very slot.
    Here(Arc<Stored>),
    /// A response of another slot, or what the key varies on: it is in memory now.
    InMemory,
}

/// Takes what the store has for a slot into memory: a record, or a Vary node and then the record of the
/// variant, or a record in the language that the request wants most. A store that is down has none.
pub(crate) async fn recall(proxy: &Proxy, request: &CacheRequest, place: &CacheSlot) -> Recalled {
    let (route, headers) = (&request.route, &request.headers);
    let party = Party::of(request, place.primary.hash());
    if matches!(noted::peek_noted(proxy, &party, place), NoteResult::Pass(_)) {
        // The response was judged a moment ago, and not stored.
        return Recalled::Nothing;
    }
    let found = match taking_in::take_in(proxy, route, &place.key).await {
        Some(Held::Stored(stored)) => return Recalled::Here(stored),
        Some(Held::Vary(node)) if place.node.is_none() => {
            let variant = place.under(node, headers);
            proxy.tier.find(variant.key.text()).is_some()
                || taking_in::take_in(proxy, route, &variant.key).await.is_some()
                || languages::recall_in_language(proxy, route, &variant, headers).await
        }
        found => found.is_some() || languages::recall_in_language(proxy, route, place, headers).await,
    };
    if found { Recalled::InMemory } else { Recalled::Nothing }
}

/// The response that memory has by now for a request which found none when it came, and how it may be used.
pub(crate) fn kept_since(
    proxy: &Proxy,
    place: &CacheSlot,
    route: &Route,
    ask: &RequestFacts,
    headers: &HeaderMap,
    past: &Past,
) -> Option<(Arc<Stored>, Use)> {
    let Some(Held::Stored(stored)) = proxy.tier.find(place.key.text()) else { return None };
    if proxy.doubt(past).is_some() {
        return None;
    }
    let covered = past.covers(&proxy.stamps, stored.named(), stored.record.born, stored.record.token);
    let criteria = Criteria { headers, ask, rules: &route.rules };
    let checked = Candidate::new(&stored, covered).check(Strictness::HardAndSoft, criteria, proxy.now_ms());
    checked.ok().map(|usable| (stored, usable))
}
