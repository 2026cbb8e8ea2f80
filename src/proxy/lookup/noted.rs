//! Remembered verdicts of a key that has no record, as far as they bind a request.

use crate::proxy::lookup::CacheSlot;
use crate::proxy::request::CacheRequest;
use crate::proxy::request::binding::{self, Party};
use crate::proxy::state::Proxy;
use crate::proxy::state::negative_cache::NoteResult;
use crate::record::Binding;

/// The remembered verdict of a key, if it binds this request. `waited`: the request was there before the
/// verdict.
pub(crate) fn noted(proxy: &Proxy, request: &CacheRequest, place: &CacheSlot, waited: bool) -> NoteResult {
    let hash = place.key.hash();
    let binds = |binding: &Binding| {
        binding::binds(&proxy.hop_headers, binding, &Party::of(request, place.primary.hash()), waited)
    };
    proxy.negative_cache.find(
        hash,
        place.named(),
        &proxy.stamps,
        || proxy.flights.peek(&hash).is_some(),
        binds,
    )
}

/// The same, without changing anything: for explanations.
pub(crate) fn peek_noted(proxy: &Proxy, party: &Party<'_>, place: &CacheSlot) -> NoteResult {
    let hash = place.key.hash();
    let tried = || proxy.flights.peek(&hash).is_some();
    proxy.negative_cache.peek(hash, place.named(), &proxy.stamps, tried, |binding| {
        binding::binds(&proxy.hop_headers, binding, party, false)
    })
}
