//! Stored responses that may be served instead of a failure (RFC 5861 §4).

use std::sync::Arc;

use http::HeaderMap;

use crate::policy::{ErrorCase, RequestFacts, Rules};
use crate::proxy::lookup::candidate::{Candidate, Criteria, Strictness, Unfit};
use crate::proxy::respond;
use crate::proxy::state::Proxy;
use crate::record::Manifest;
use crate::tier::Stored;

/// Checks whether a stored response may be served instead of a failure. The error is what keeps it from that.
/// `unread`: bodies that the request could not read.
pub(crate) fn stands_in(
    proxy: &Proxy,
    stored: &Stored,
    criteria: Criteria<'_>,
    unread: &[Arc<Manifest>],
    case: ErrorCase,
) -> Result<(), Unfit> {
    let candidate = Candidate::new(stored, stored.covered(&proxy.stamps)).unless_purged(Strictness::Hard)?;
    let candidate = candidate.unless(!proxy.trust.lets_stale(proxy.now_ms()), Unfit::Unsure)?;
    let candidate = candidate.fits(criteria)?;
    let candidate =
        candidate.unless(respond::lacks_bytes(proxy, stored, criteria.ask, unread), Unfit::Unread)?;
    candidate.instead_of(criteria, proxy.now_ms(), case).map(drop)
}

/// Returns whether a stored response may be served instead of a failure to a request that selects it and asks
/// for no more than it has.
pub(crate) fn is_better_than(
    proxy: &Proxy,
    stored: &Stored,
    rules: &Rules,
    ask: &RequestFacts,
    case: ErrorCase,
) -> bool {
    let criteria = Criteria { headers: &HeaderMap::new(), ask, rules };
    let candidate = Candidate::new(stored, stored.covered(&proxy.stamps));
    let stands = candidate.unless_purged(Strictness::Hard);
    stands.and_then(|it| it.instead_of(criteria, proxy.now_ms(), case)).is_ok()
}
