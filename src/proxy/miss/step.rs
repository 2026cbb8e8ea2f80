//! What the verdict of a flight means for one request that joined it: its end, or a move to another flight.

use std::sync::Arc;

use crate::dust::Number;
use crate::policy::{PassReason, Ride};
use crate::proxy::Proxy;
use crate::proxy::cause::Refused;
use crate::proxy::lookup::CacheSlot;
use crate::proxy::lookup::candidate::{Candidate, Criteria, Strictness, Unfit};
use crate::proxy::outcome::{Exchange, Failure, FlightOutcome, Follower, FoundRecord, Moment};
use crate::proxy::request::CacheRequest;
use crate::proxy::request::binding::{Kind, Party, binds};
use crate::proxy::state::past::{Arrival, Past};
use crate::record::{Binding, Record};
use crate::telemetry::labels::FollowerEnd;
use crate::tier::{Covered, Doubt, Stored};

/// What a verdict means for one request.
pub(crate) enum FollowerAction {
    /// The request has its end.
    End(End),
    /// The request goes on to another flight.
    Move(Move),
}

/// How a request ends (F3).
pub(crate) enum End {
    /// It rides a body that is on its way.
    Ride(Arc<Exchange>, Follower),
    /// It is answered from a complete record.
    Take(FoundRecord),
    /// It goes upstream by itself.
    Alone(PassReason),
    /// It is given the response to its own exchange, which is not shared.
    Own(Box<crate::upstream::Response>, PassReason),
    /// Upstream failed for it.
    Failed(Arc<Failure>),
    /// It is refused, or given a stale response.
    Refused(Refused),
}

/// Where a request goes on, and why.
pub(crate) enum Move {
    /// The next exchange of this key, with all other requests that can't use this one.
    Next,
    /// The same: a purge that the request came after covers what the fill with this number brings.
    Void(Number),
    /// The same, once, because this exchange is of a part that lacks what is asked for. Carries its number,
    /// if it is under way.
    Lacks(Option<Number>),
    /// The key of its own variant.
    At(CacheSlot),
    /// The next exchange, led by a request that this verdict does not bind either: its own may confirm this
    /// one.
    Unbound(Kind, Binding),
}

/// Judges a verdict once more for one request, by its own fields (docs/design.md, Promises). `first`: no part
/// has lacked yet what it asks for.
pub(crate) fn step(
    proxy: &Proxy,
    request: &CacheRequest,
    place: &CacheSlot,
    told: FlightOutcome,
    arrival: &Arrival,
    follower: &Follower,
    first: bool,
) -> FollowerAction {
    let (arrived, past, criteria) = (arrival.at, &arrival.past, Criteria::of(request));
    match told {
        FlightOutcome::Growing(exchange) => step_growing(proxy, request, place, exchange, arrival, follower),
        FlightOutcome::Stored(found) => {
            let stored = &found.stored;
            let candidate = candidate(proxy, stored, past);
            // What was validated for this request is good enough, whatever made it stale before.
            let by = if found.exchange.is_some() { Strictness::Hard } else { Strictness::HardAndSoft };
            if let Err(unfit) = candidate.unless_purged(by).and_then(|it| it.fits(criteria)) {
                return step_past(unfit, request, place, &stored.record, None);
            }
            if request.ticket.unread.iter().any(|unread| **unread == stored.record.body) {
                // It could not be read. A flight that this request leads ignores it.
                return FollowerAction::NEXT;
            }
            if let Some((sent, owner)) = found.exchange {
                let ride = rides(arrived, sent, owner);
                if ride == Ride::UnderWay && request.ticket.late && stored.record.fresh_ms == 0 {
                    // The request came when the exchange was over, and nothing of that is for later.
                    return FollowerAction::NEXT;
                }
                if candidate.ridden(criteria, proxy.now_ms(), ride).is_err() {
                    return FollowerAction::NEXT;
                }
                return FollowerAction::End(End::Take(found));
            }
            match candidate.usable(criteria, proxy.now_ms()) {
                Ok(_) => FollowerAction::End(End::Take(found)),
                Err(Unfit::Refused(reason)) => FollowerAction::End(End::Alone(reason)),
                Err(_) => FollowerAction::NEXT,
            }
        }
        FlightOutcome::Varies(node) => FollowerAction::Move(Move::At(place.under(node, &request.headers))),
        FlightOutcome::Pass(reason, own) => {
            if own.owner == Some(arrived)
                && (own.ranged || !request.ask.want.is_ranged())
                && let Some(response) = own.take()
            {
                return FollowerAction::End(End::Own(Box::new(response), reason));
            }
            if own.ranged && !request.ask.want.is_ranged() {
                // Another request's part is not to be shared: that says nothing of the whole.
                return FollowerAction::Move(Move::Lacks(None));
            }
            FollowerAction::End(End::Alone(reason))
        }
        FlightOutcome::Failed(failure) => {
            let named = failure.named(place.named());
            if past.covers(&proxy.stamps, named, failure.token, failure.token) == Covered::Hard {
                FollowerAction::NEXT
            } else if failure.ranged && first && !request.ask.want.is_ranged() {
                // That another request's range failed says nothing of the whole.
                FollowerAction::Move(Move::Lacks(None))
            } else if failure.owner != Some(arrived) && !is_bound(proxy, &failure.binding, request, place) {
                FollowerAction::Move(Move::Unbound(failure.judged(), failure.binding.clone()))
            } else {
                FollowerAction::End(End::Failed(failure))
            }
        }
        FlightOutcome::Refused(why) => FollowerAction::End(End::Refused(why)),
    }
}

/// Where a request goes on that can't be given what a flight has brought. `fence`: the number of its fill, if
/// that is under way.
fn step_past(
    unfit: Unfit,
    request: &CacheRequest,
    place: &CacheSlot,
    record: &Record,
    fence: Option<Number>,
) -> FollowerAction {
    match unfit {
        Unfit::NotSelected => step_aside(request, place, record),
        Unfit::Lacking => FollowerAction::Move(Move::Lacks(fence)),
        Unfit::Purged => FollowerAction::Move(fence.map_or(Move::Next, Move::Void)),
        _ => FollowerAction::NEXT,
    }
}

/// The record is another variant's. The request goes to its own, as far as the record says what selects it.
fn step_aside(request: &CacheRequest, place: &CacheSlot, record: &Record) -> FollowerAction {
    match place.node_by(record, &request.headers) {
        Some(node) => FollowerAction::Move(Move::At(place.under(node, &request.headers))),
        None => FollowerAction::NEXT,
    }
}

fn step_growing(
    proxy: &Proxy,
    request: &CacheRequest,
    place: &CacheSlot,
    exchange: Arc<Exchange>,
    arrival: &Arrival,
    follower: &Follower,
) -> FollowerAction {
    if exchange.owner == Some(arrival.at) {
        return FollowerAction::End(End::Ride(exchange, follower.clone()));
    }
    let head = &exchange.head;
    let (candidate, criteria) = (candidate(proxy, head, &arrival.past), Criteria::of(request));
    if let Err(unfit) = candidate.unless_purged(Strictness::Hard).and_then(|it| it.fits(criteria)) {
        return step_past(unfit, request, place, &head.record, Some(exchange.fence));
    }
    if let Some(binding) = &exchange.binding
        && !is_bound(proxy, binding, request, place)
    {
        let kind = Kind::Refused(head.record.status.as_u16());
        return FollowerAction::Move(Move::Unbound(kind, binding.clone()));
    }
    let ride = rides(arrival.at, exchange.sent, exchange.owner);
    // Over once its last byte is there: other readers may have that before its end is told.
    let growing = &exchange.growing;
    let all_there = exchange.len.is_some_and(|len| growing.written() >= len);
    let over = request.ticket.late && (all_there || growing.len_if_done().is_some());
    if ride == Ride::UnderWay && over && head.record.fresh_ms == 0 {
        // The request came when the exchange was over, and nothing of that is for later.
        return FollowerAction::NEXT;
    }
    if candidate.ridden(criteria, proxy.now_ms(), ride).is_err() {
        return FollowerAction::NEXT;
    }
    FollowerAction::End(End::Ride(exchange, follower.clone()))
}

/// What an instance whose stamps may be old makes of a step: a purge may have come before the request, so
/// only what was asked for after the request arrived is sure.
pub(crate) fn in_doubt(
    proxy: &Proxy,
    request: &mut CacheRequest,
    step: FollowerAction,
    arrival: &Arrival,
) -> FollowerAction {
    let exchange = match &step {
        FollowerAction::End(End::Take(found)) => found.exchange,
        FollowerAction::End(End::Ride(exchange, _)) => Some((exchange.sent, exchange.owner)),
        FollowerAction::End(_) | FollowerAction::Move(_) => return step,
    };
    let rides = exchange.map(|(sent, owner)| rides(arrival.at, sent, owner));
    if rides == Some(Ride::SentAfterArrival) {
        return step;
    }
    match proxy.doubt(&arrival.past) {
        None => step,
        Some(Doubt::Serve) => {
            request.ticket.unsure = true;
            step
        }
        Some(Doubt::Validate) => {
            // As if the client itself had asked for it to be validated.
            request.ask.wants.no_cache = true;
            FollowerAction::NEXT
        }
    }
}

/// How a request that arrived at `arrived` rides an exchange that was sent at `sent` for `owner` (F5).
fn rides(arrived: Moment, sent: Moment, owner: Option<Moment>) -> Ride {
    let after = owner == Some(arrived) || arrived < sent;
    if after { Ride::SentAfterArrival } else { Ride::UnderWay }
}

/// Returns whether a verdict that a request has waited for binds it.
fn is_bound(proxy: &Proxy, binding: &Binding, request: &CacheRequest, place: &CacheSlot) -> bool {
    binds(&proxy.hop_headers, binding, &Party::of(request, place.primary.hash()), true).is_some()
}

/// What a flight has brought, under the purges that a request came after.
fn candidate<'a>(proxy: &Proxy, stored: &'a Stored, past: &Past) -> Candidate<'a> {
    Candidate::new(
        stored,
        past.covers(&proxy.stamps, stored.named(), stored.record.born, stored.record.token),
    )
}

// === impl FollowerAction ===

impl FollowerAction {
    const NEXT: Self = Self::Move(Move::Next);
}

// === impl End ===

impl End {
    pub(crate) fn word(&self) -> FollowerEnd {
        match self {
            Self::Ride(..) | Self::Take(_) | Self::Failed(_) => FollowerEnd::Rode,
            Self::Refused(_) => FollowerEnd::Timeout,
            Self::Alone(_) | Self::Own(..) => FollowerEnd::Degraded,
        }
    }
}
