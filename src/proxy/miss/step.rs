//! What the verdict of a flight means for one of those who joined it.

use std::sync::Arc;

use crate::dust::Number;
use crate::policy::{self, PassReason, Reuse, Ride};
use crate::proxy::Proxy;
use crate::proxy::asking::Asking;
use crate::proxy::binding::{Kind, Party};
use crate::proxy::place::Place;
use crate::proxy::told::{Exchange, Failure, Follower, Found, Moment, Refused, Told};
use crate::record::Binding;
use crate::telemetry::words::FollowerEnd;
use crate::tier::{Covered, Stored};

/// What a verdict means for one request.
pub(super) enum Step {
    Ride(Arc<Exchange>, Follower),
    Take(Found),
    Alone(PassReason),
    Own(Box<crate::upstream::Response>, PassReason),
    Failed(Arc<Failure>),
    Refused(Refused),
    /// The next exchange of this key, with all others that can't use this one.
    Next,
    /// The same, once, because this one is of a part that has not what is asked for; its number, if
    /// it is under way.
    Lacks(Option<Number>),
    /// Another variant.
    At(Place),
    /// The next exchange, led by a request that this verdict does not bind either: it may confirm it.
    Unbound(Kind, Binding),
}

impl Proxy {
    /// Judges a verdict for one request: again, and by its own fields (DESIGN: every follower is
    /// judged at the verdict against its own request). `first`: nothing has lacked what it asks for.
    pub(super) fn step(
        &self,
        asking: &Asking,
        place: &Place,
        told: Told,
        arrived: Moment,
        follower: &Follower,
        first: bool,
    ) -> Step {
        match told {
            Told::Growing(exchange) => self.step_growing(asking, place, exchange, arrived, follower),
            Told::Stored(found) => {
                let stored = &found.stored;
                match stored.covered(&self.stamps) {
                    Covered::Hard => return Step::Next,
                    // A purge came since it was found.
                    Covered::Soft if found.exchange.is_none() => return Step::Next,
                    Covered::Soft | Covered::No => {}
                }
                if !policy::selects(&stored.record, &asking.headers) {
                    return Step::Next;
                }
                if !policy::answers(&asking.headers, asking.ask.head, &stored.record) {
                    return Step::Lacks(None);
                }
                if let Some((sent, owner)) = found.exchange {
                    let ride = if owner == Some(arrived) || arrived < sent {
                        Ride::SentAfterArrival
                    } else {
                        Ride::UnderWay
                    };
                    if ride == Ride::UnderWay && asking.ticket.late && stored.record.fresh_ms == 0 {
                        // It came when the exchange was over, and nothing of that is for later.
                        return Step::Next;
                    }
                    return if self.may_ride(asking, stored, ride) { Step::Take(found) } else { Step::Next };
                }
                match policy::reuse(
                    &asking.ask,
                    &stored.record,
                    &stored.terms,
                    &asking.route.rules,
                    self.now_ms(),
                ) {
                    Reuse::Refused(reason) => Step::Alone(reason),
                    Reuse::Fresh { .. } | Reuse::StaleWhileRevalidate { .. } | Reuse::MaxStale { .. } => {
                        Step::Take(found)
                    }
                    Reuse::Validate => Step::Next,
                }
            }
            Told::Varies(node) => Step::At(place.under(node, &asking.headers)),
            Told::Pass(reason, own) => {
                if own.owner == Some(arrived)
                    && (own.ranged || !asking.ask.range)
                    && let Some(response) = own.take()
                {
                    return Step::Own(Box::new(response), reason);
                }
                if own.ranged && !asking.ask.range {
                    // Somebody's part is not to be shared: that says nothing of the whole.
                    return Step::Lacks(None);
                }
                Step::Alone(reason)
            }
            Told::Failed(failure) => {
                if self.stamps.covers(place.url, failure.token, failure.token) == Covered::Hard {
                    Step::Next
                } else if failure.ranged && first && !asking.ask.range {
                    // That somebody's range was failed says nothing of the whole.
                    Step::Lacks(None)
                } else if failure.owner != Some(arrived) && !self.is_bound(&failure.binding, asking, place) {
                    Step::Unbound(failure.judged(), failure.binding.clone())
                } else {
                    Step::Failed(failure)
                }
            }
            Told::Refused(why) => Step::Refused(why),
        }
    }

    fn step_growing(
        &self,
        asking: &Asking,
        place: &Place,
        exchange: Arc<Exchange>,
        arrived: Moment,
        follower: &Follower,
    ) -> Step {
        if exchange.owner == Some(arrived) {
            return Step::Ride(exchange, follower.clone());
        }
        let head = &exchange.head;
        if head.covered(&self.stamps) == Covered::Hard {
            return Step::Next;
        }
        if !policy::selects(&head.record, &asking.headers) {
            let fields = head.record.select.iter().map(|(name, _)| name.clone()).collect();
            let node = crate::record::VaryNode {
                key: place.primary.text().to_owned(),
                token: head.record.token,
                fields,
                variants: Vec::new(),
                languages: Vec::new(),
            };
            return Step::At(place.under(Arc::new(node), &asking.headers));
        }
        if !policy::answers(&asking.headers, asking.ask.head, &head.record) {
            return Step::Lacks(Some(exchange.fence));
        }
        if let Some(binding) = &exchange.binding
            && !self.is_bound(binding, asking, place)
        {
            return Step::Unbound(Kind::Refused(head.record.status.as_u16()), binding.clone());
        }
        let ride = if arrived < exchange.sent { Ride::SentAfterArrival } else { Ride::UnderWay };
        // With its last byte, which others may have had before its end was told.
        let growing = &exchange.growing;
        let all_there = exchange.len.is_some_and(|len| growing.written() >= len);
        let over = asking.ticket.late && (all_there || growing.len_if_done().is_some());
        if ride == Ride::UnderWay && over && head.record.fresh_ms == 0 {
            // It came when the exchange was over, and nothing of that is for later.
            return Step::Next;
        }
        if self.may_ride(asking, head, ride) { Step::Ride(exchange, follower.clone()) } else { Step::Next }
    }

    /// Whether a request is bound by a verdict that it has waited for.
    fn is_bound(&self, binding: &Binding, asking: &Asking, place: &Place) -> bool {
        self.binds(binding, &Party::of(asking, place.primary.hash()), true).is_some()
    }

    fn may_ride(&self, asking: &Asking, stored: &Stored, ride: Ride) -> bool {
        if ride == Ride::UnderWay && stored.covered(&self.stamps) == Covered::Soft {
            // A purge came between: by now it is stale, as it would be if it was stored already.
            return false;
        }
        let rules = &asking.route.rules;
        policy::may_ride(&asking.ask, &stored.record, &stored.terms, rules, self.now_ms(), ride)
    }
}

// === impl Step ===

impl Step {
    pub(super) fn end(&self) -> FollowerEnd {
        match self {
            Self::Ride(..) | Self::Take(_) | Self::Failed(_) => FollowerEnd::Rode,
            Self::Refused(_) => FollowerEnd::Timeout,
            Self::Alone(_)
            | Self::Own(..)
            | Self::Next
            | Self::Lacks(_)
            | Self::At(_)
            | Self::Unbound(..) => FollowerEnd::Degraded,
        }
    }
}
