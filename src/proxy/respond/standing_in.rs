//! Stored responses that may be served instead of a failure (RFC 5861 §4).

use std::sync::Arc;

use http::HeaderMap;

use crate::policy::{ErrorCase, RequestFacts, Rules};
use crate::proxy::cause::Cause;
use crate::proxy::lookup::cache_status;
use crate::proxy::lookup::candidate::{Candidate, Criteria, Strictness, Unfit};
use crate::proxy::request::CacheRequest;
use crate::proxy::respond::next::Next;
use crate::proxy::respond::{self, refuse, ttl_ms};
use crate::proxy::state::Proxy;
use crate::record::Manifest;
use crate::telemetry::labels::Why;
use crate::tier::Stored;

/// A stale response if that is allowed, else an error response of this proxy.
pub(crate) async fn stale_or(
    proxy: &Arc<Proxy>,
    mut request: CacheRequest,
    stale: Option<Arc<Stored>>,
    case: ErrorCase,
    cause: Cause,
    retry_after: Option<u64>,
) -> Next {
    if let Some(stored) = allowed_stale(proxy, &request, stale, case) {
        let why = if case == ErrorCase::WaitDeadline { Why::WaitDeadline } else { Why::IfError };
        request.ticket.stale_hit(&stored, why);
        request.ticket.line.error = Some(cause.as_str());
        let status = cache_status::stale(ttl_ms(&stored, proxy.now_ms()), "stale-if-error");
        return respond::from_stored(proxy, request, stored, status).await;
    }
    Next::Answer(refuse(request, cause, retry_after))
}

fn allowed_stale(
    proxy: &Proxy,
    request: &CacheRequest,
    stale: Option<Arc<Stored>>,
    case: ErrorCase,
) -> Option<Arc<Stored>> {
    stale.filter(|stored| stale_allowed(proxy, request, Some(stored), case))
}

/// Returns whether a stored response may be served to this request although it is stale.
pub(crate) fn stale_allowed(
    proxy: &Proxy,
    request: &CacheRequest,
    stale: Option<&Arc<Stored>>,
    case: ErrorCase,
) -> bool {
    let unread = &request.ticket.unread;
    stale.is_some_and(|stored| stands_in(proxy, stored, Criteria::of(request), unread, case).is_ok())
}

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
