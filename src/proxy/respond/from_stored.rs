//! Answers with stored responses: the bytes are in memory, or are read before a head goes out.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use tokio::time::timeout_at;

use crate::body::Error as BodyError;
use crate::policy::{CacheStatus, Cut, RequestFacts};
use crate::proxy::lookup::reach;
use crate::proxy::request::CacheRequest;
use crate::proxy::respond::content::BodySource;
use crate::proxy::respond::next::Next;
use crate::proxy::respond::{is_not_modified, respond};
use crate::proxy::sheets;
use crate::proxy::state::Proxy;
use crate::record::Manifest;
use crate::tier::{Held, Stored};

/// Answers with a stored response, whose bytes are in memory or are read first.
pub(crate) async fn from_stored(
    proxy: &Arc<Proxy>,
    request: CacheRequest,
    stored: Arc<Stored>,
    status: CacheStatus<'_>,
) -> Next {
    if let Some(body) = stored.body() {
        if body.len() >= sheets::LEAST {
            lay_out(proxy, &stored, &body);
        }
        return answer(proxy, request, &stored, BodySource::Held(body), status);
    }
    Box::pin(from_bodies(proxy, request, stored, status)).await
}

/// Has a large body in memory copied to where the system can send it from, for the hits after this one.
fn lay_out(proxy: &Arc<Proxy>, stored: &Arc<Stored>, body: &Bytes) {
    if !proxy.sheets.begins(body) {
        return;
    }
    let (proxy, stored, body) = (proxy.clone(), stored.clone(), body.clone());
    tokio::task::spawn_blocking(move || {
        let Some(copied) = proxy.sheets.copy(&body) else { return };
        let held = proxy.tier.peek(&stored.record.key);
        if matches!(held, Some(Held::Stored(held)) if Arc::ptr_eq(&held, &stored)) {
            proxy.tier.keep(Arc::new(stored.with_body(copied)));
        }
    });
}

/// Answers with a stored response, whose bytes are not in memory.
async fn from_bodies(
    proxy: &Arc<Proxy>,
    request: CacheRequest,
    stored: Arc<Stored>,
    status: CacheStatus<'_>,
) -> Next {
    // A 304 needs no content, as a HEAD does not.
    if stored.is_empty() || request.ask.want.is_head() || is_not_modified(&request, &stored) {
        return answer(proxy, request, &stored, BodySource::Held(Bytes::new()), status);
    }
    if stored.len() <= proxy.tier.hold() {
        let hash = stored.hash.to_string();
        return match in_time(proxy, &request, &stored, proxy.bodies.whole(&hash, &stored.manifest())).await {
            Ok(body) => {
                proxy.tier.keep(Arc::new(stored.with_body(body.clone())));
                answer(proxy, request, &stored, BodySource::Held(body), status)
            }
            Err(error) => Next::Unreadable(request, stored, error),
        };
    }
    // The first bytes are read and checked before a head goes out: if they are wrong, the request is a miss
    // and there is no truncated response.
    let first = Cut::of(&request.headers, request.ask.want, &stored.record, Some(stored.len()))
        .first_bytes(&stored.record);
    let mut reader = proxy.bodies.reader(&stored.hash.to_string(), &stored.manifest(), first);
    match in_time(proxy, &request, &stored, reader.try_next()).await {
        Ok(Some(first)) => {
            let bytes = BodySource::Primed(first, Box::new(reader));
            answer(proxy, request, &stored, bytes, status)
        }
        Err(error) => Next::Unreadable(request, stored, error),
        Ok(None) => answer(proxy, request, &stored, BodySource::Held(Bytes::new()), status),
    }
}

/// Reads the first bytes for at most half of the time that the request may wait: the other half is for
/// upstream.
async fn in_time<T>(
    proxy: &Proxy,
    asking: &CacheRequest,
    stored: &Stored,
    read: impl Future<Output = Result<T, BodyError>>,
) -> Result<T, BodyError> {
    let until = asking.ticket.began() + asking.route.wait_timeout / 2;
    timeout_at(until, read).await.unwrap_or_else(|_elapsed| {
        let (bodies, hash, manifest) = (proxy.bodies.clone(), stored.hash.to_string(), stored.manifest());
        // The read goes on, so that the next request knows its result.
        tokio::spawn(async move {
            let _ = bodies.begins(&hash, &manifest).await;
        });
        Err(BodyError::Store("no bytes in the time that the request has".into()))
    })
}

/// Returns whether the bytes of a stored response can't be read for a request, as far as this instance knows.
pub(crate) fn is_out_of_reach(proxy: &Proxy, request: &CacheRequest, stored: &Stored) -> bool {
    lacks_bytes(proxy, stored, &request.ask, &request.ticket.unread)
}

/// As [`is_out_of_reach`], for a request that could not read the bodies in `unread`.
pub(crate) fn lacks_bytes(
    proxy: &Proxy,
    stored: &Stored,
    ask: &RequestFacts,
    unread: &[Arc<Manifest>],
) -> bool {
    let needs_bytes = !stored.has_body() && !stored.is_empty() && !ask.want.is_head();
    needs_bytes && reach::is_unread(proxy, stored.hash, &stored.record.body, unread)
}

/// Answers with a stored response, and with its current Age.
fn answer(
    proxy: &Proxy,
    request: CacheRequest,
    stored: &Arc<Stored>,
    bytes: BodySource<'_>,
    status: CacheStatus<'_>,
) -> Next {
    Next::Answer(respond(proxy, request, stored, bytes, Some(stored.len()), status, false))
}
