//! Where a request goes on if the bytes of its stored response can't be read.

use std::sync::Arc;

use tokio::time::Instant;

use crate::body::Error as BodyError;
use crate::policy::PassReason;
use crate::proxy::cause::{Cause, Refused};
use crate::proxy::fill::lost;
use crate::proxy::lookup::{self, Lookup, cache_status, decision, noted};
use crate::proxy::request::CacheRequest;
use crate::proxy::respond::next::Next;
use crate::proxy::state::Proxy;
use crate::proxy::state::negative_cache::NoteResult;
use crate::proxy::{miss, respond};
use crate::tier::Stored;

/// How many stored responses with unreadable bytes a request may meet.
const REREADS: usize = 8;

/// The bytes of a record are lost, are corrupt, or can't be read now. Memory forgets the record, and one
/// request fetches it again for all that find that out, as if it had not been stored. The store keeps a
/// record whose bytes merely can't be read now.
pub(crate) async fn unreadable(
    proxy: &Arc<Proxy>,
    mut request: CacheRequest,
    stored: &Arc<Stored>,
    error: &BodyError,
) -> Next {
    proxy.observer.unreadable(error);
    proxy.tier.forget(stored);
    let before = request.ticket.unread.len();
    request.ticket.unread.push(stored.manifest());
    if request.ask.only_if_cached {
        return Next::Answer(respond::refuse(request, Cause::OnlyIfCached, None));
    }
    if decision::alone_because(&request.route, &request.ask, None).is_some() {
        // A leader removes a record whose bytes are lost. This request does not lead, so it removes the
        // record itself.
        if error.condemns() {
            lost::drop_lost(proxy, &proxy.catalog.names_of(stored.hash), stored.hash).await;
        }
        return Next::Pass(request, None, PassReason::BodyStore);
    }
    if before >= REREADS || respond::waits_until(&request) <= Instant::now() {
        return Next::Answer(respond::refuse(request, Cause::Refused(Refused::Deadline), None));
    }
    let place = match lookup::look(proxy, &request.route, &request.target, &request.headers, &request.ask) {
        Lookup::Fresh { stored: other, ttl_ms } | Lookup::Unsure { stored: other, ttl_ms }
            if other.record.body != stored.record.body =>
        {
            return respond::from_stored(proxy, request, other, cache_status::hit(ttl_ms)).await;
        }
        Lookup::Missing { place }
        | Lookup::Stale { place, .. }
        | Lookup::Refreshing { place, .. }
        | Lookup::Doubtful { place, .. }
        | Lookup::Refused { place, .. } => place,
        Lookup::Fresh { .. } | Lookup::MaxStale { .. } | Lookup::Unsure { .. } => {
            lookup::place(proxy, &request.route, &request.target, &request.headers)
        }
    };
    match noted::noted(proxy, &request, &place, false) {
        NoteResult::Failed(failure) => miss::failed(proxy, request, None, &failure, 0).await,
        NoteResult::Pass(_) | NoteResult::Failing(_) | NoteResult::Nothing => {
            Next::Miss(request, place, None)
        }
    }
}
