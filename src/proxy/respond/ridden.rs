//! Responses that come from an exchange under way.

use std::sync::Arc;

use http::Response;

use crate::policy::CacheStatus;
use crate::proxy::lookup::cache_status;
use crate::proxy::outcome::{Exchange, Follower, Moment};
use crate::proxy::request::CacheRequest;
use crate::proxy::respond::body::ReplyBody;
use crate::proxy::respond::content::BodySource;
use crate::proxy::respond::{respond, ttl_ms};
use crate::proxy::state::Proxy;
use crate::telemetry::labels::{Cache, Role, Source as From, Why};

/// Rides an exchange, as the leader's own client or as a follower.
pub(crate) fn ride(
    proxy: &Arc<Proxy>,
    mut request: CacheRequest,
    exchange: &Arc<Exchange>,
    follower: Follower,
    arrived: Moment,
) -> Response<ReplyBody> {
    let mine = exchange.owner == Some(arrived);
    // The content is complete and the record about to be published: a request that comes now counts as a hit.
    let late = !mine && request.ticket.late && exchange.growing.len_if_done().is_some();
    let ticket = &mut request.ticket;
    ticket.line.cache = match (mine, late) {
        (true, _) => Cache::Miss,
        (false, true) => Cache::Hit,
        (false, false) => Cache::Follower,
    };
    ticket.line.source = Some(match (mine, late) {
        (true, _) => From::Computed,
        (false, true) => From::Cached,
        (false, false) => From::Awaited,
    });
    ticket.line.fence = Some(exchange.fence);
    ticket.line.role = Some(if mine { Role::Leader } else { Role::Follower });
    let other = proxy.other_leader(exchange.elsewhere, exchange.fence);
    ticket.line.leader =
        if exchange.elsewhere { other.clone() } else { Some(proxy.settings.instance.clone()) };
    ticket.line.coordinated = Some(exchange.coordinated);
    if mine {
        ticket.upstream_answered(&request.route, exchange.head.record.status, &exchange.timing);
    }
    if let Some(reason) = cache_status::announced(exchange).1.filter(|_| !late) {
        ticket.line.why = Some(Why::Pass(reason.as_str()));
    }
    let status = if late {
        cache_status::hit(ttl_ms(&exchange.head, proxy.now_ms()))
    } else {
        CacheStatus { from: other.as_deref(), ..cache_status::ridden(exchange, mine, &request.route.rules) }
    };
    let status = if request.ticket.unsure { cache_status::in_doubt(status) } else { status };
    // Both readers keep the first bytes in memory until they are read.
    let kept = request.seat.take();
    let seat = if mine { exchange.take_seat() } else { None };
    let len = exchange.len.or_else(|| exchange.growing.len_if_done());
    let stored = exchange.head.clone();
    let mut response =
        respond(proxy, request, &stored, BodySource::Growing(exchange, seat), len, status, mine);
    drop(kept);
    // The follower counts as waiting for the fill for as long as the body is read.
    let body = std::mem::replace(response.body_mut(), ReplyBody::empty());
    *response.body_mut() = body.riding(follower);
    response
}
