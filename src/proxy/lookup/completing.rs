//! A response whose content is complete, and whose record is about to be stored. A request that neither leads
//! nor follows may use stored responses; a moment later this would be one.

use std::sync::Arc;

use crate::proxy::lookup::Lookup;
use crate::proxy::lookup::candidate::{Candidate, Criteria, Strictness, Use};
use crate::proxy::outcome::{Exchange, FlightOutcome, Follower};
use crate::proxy::request::CacheRequest;
use crate::proxy::state::Proxy;

/// Returns such a response, if it answers a request for which memory has nothing, or nothing fresh.
pub(crate) fn about_to_be_stored(
    proxy: &Proxy,
    request: &CacheRequest,
    look: &Lookup,
) -> Option<(Arc<Exchange>, Follower)> {
    let (Lookup::Missing { place } | Lookup::Stale { place, .. }) = look else { return None };
    let follower = proxy.flights.peek(&place.key.hash())?;
    let Some(FlightOutcome::Growing(exchange)) = follower.told() else { return None };
    let head = &exchange.head;
    if exchange.unstored.is_some() || exchange.growing.len_if_done().is_none() {
        return None;
    }
    let candidate = Candidate::new(head, head.covered(&proxy.stamps));
    let now = proxy.now_ms();
    let usable = candidate.check(Strictness::HardAndSoft, Criteria::of(request), now);
    (proxy.trust.holds(now) && matches!(usable, Ok(Use::Fresh { .. }))).then_some((exchange, follower))
}
