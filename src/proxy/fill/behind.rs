//! Fills that no request waits for.

use std::sync::Arc;

use crate::flight::Joined;
use crate::proxy::fill::Job;
use crate::proxy::lookup::{CacheSlot, noted};
use crate::proxy::request::CacheRequest;
use crate::proxy::state::Proxy;
use crate::proxy::state::negative_cache::NoteResult;
use crate::tier::Stored;

/// Starts a refresh that no request waits for, unless one is under way. Not for a request with credentials,
/// and not while a pass or a failure is remembered.
pub(crate) fn refresh_behind(
    proxy: &Arc<Proxy>,
    request: &CacheRequest,
    place: CacheSlot,
    stored: &Arc<Stored>,
) {
    if request.ask.credentialed()
        || matches!(noted::noted(proxy, request, &place, false), NoteResult::Pass(_) | NoteResult::Failed(_))
    {
        return;
    }
    fetch_behind(proxy, request, place, Some(stored.clone()));
}

/// Starts a fill that no request waits for, unless one is under way.
pub(crate) fn fetch_behind(
    proxy: &Arc<Proxy>,
    request: &CacheRequest,
    place: CacheSlot,
    stale: Option<Arc<Stored>>,
) {
    if let Joined::Lead(leader) = proxy.flights.join(&place.key.hash()) {
        let deadline = tokio::time::Instant::now() + request.route.wait_timeout;
        Job::new(proxy, request, place, None, stale, deadline).spawn(leader);
    }
}
