//! A response whose body is whole, and whose record is on its way to the store. Who neither leads
//! nor follows is answered from the store like anybody else; a moment later this would be in it.

use std::sync::Arc;

use super::Proxy;
use super::asking::Asking;
use super::place::Look;
use super::told::{Exchange, Follower, Told};
use crate::policy::{self, Reuse};
use crate::tier::Covered;

impl Proxy {
    /// Such a response, if it answers a request for which memory has nothing, or nothing fresh.
    pub(super) fn about_to_be_stored(
        &self,
        asking: &Asking,
        look: &Look,
    ) -> Option<(Arc<Exchange>, Follower)> {
        let (Look::Missing { place } | Look::Stale { place, .. }) = look else { return None };
        let follower = self.flights.peek(&place.key.hash())?;
        let Some(Told::Growing(exchange)) = follower.told() else { return None };
        let head = &exchange.head;
        let stands = exchange.kept
            && exchange.growing.len_if_done().is_some()
            && head.covered(&self.stamps) == Covered::No
            && self.trust.holds(self.now_ms())
            && policy::selects(&head.record, &asking.headers)
            && policy::answers(&asking.headers, asking.ask.head, &head.record);
        let rules = &asking.route.rules;
        let reuse = policy::reuse(&asking.ask, &head.record, &head.terms, rules, self.now_ms());
        (stands && matches!(reuse, Reuse::Fresh { .. })).then_some((exchange, follower))
    }
}
