//! A response whose body is whole, and whose record is on its way to the store. Who neither leads
//! nor follows is answered from the store like anybody else; a moment later this would be in it.

use std::sync::Arc;

use super::Proxy;
use super::asking::Asking;
use super::candidate::{Candidate, Facts, Strictness, Use};
use super::place::Look;
use super::told::{Exchange, Follower, Told};

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
        if !exchange.kept || exchange.growing.len_if_done().is_none() {
            return None;
        }
        let candidate = Candidate::new(head, head.covered(&self.stamps));
        let now = self.now_ms();
        let usable = candidate.check(Strictness::HardAndSoft, Facts::of(asking), now);
        (self.trust.holds(now) && matches!(usable, Ok(Use::Fresh { .. }))).then_some((exchange, follower))
    }
}
