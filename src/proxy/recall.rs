//! A look into the store for a request that neither leads nor follows: what was stored before a
//! restart, or by another instance, answers it like any other.

use std::sync::Arc;

use http::HeaderMap;

use super::Proxy;
use super::asking::Asking;
use super::binding::Party;
use super::notes::Noted;
use super::past::Past;
use super::place::Place;
use crate::catalog::Reading;
use crate::key::Key;
use crate::policy::{self, Ask, Reuse};
use crate::route::Route;
use crate::tier::{Covered, Held, Stored};

impl Proxy {
    /// Takes what the store has at a place into memory: a record, or a Vary node and then the
    /// record of the variant, or of one in the language that the request wants most. Whether there
    /// was anything. A store that is down has nothing.
    pub(crate) async fn recall(&self, asking: &Asking, place: &Place) -> bool {
        let (route, headers) = (&asking.route, &asking.headers);
        let party = Party::of(asking, place.primary.hash());
        if matches!(self.peek_noted(&party, place), Noted::Pass(_)) {
            // It was judged a moment ago, and nothing was stored.
            return false;
        }
        match self.take_in(route, &place.key).await {
            Some(Held::Vary(node)) if place.node.is_none() => {
                let variant = place.under(node, headers);
                self.tier.find(variant.key.text()).is_some()
                    || self.take_in(route, &variant.key).await.is_some()
                    || self.recall_in_language(route, &variant, headers).await
            }
            found => found.is_some() || self.recall_in_language(route, place, headers).await,
        }
    }

    /// What memory has by now that answers a request which found nothing there when it came.
    pub(super) fn kept_since(
        &self,
        key: &Key,
        route: &Route,
        ask: &Ask,
        headers: &HeaderMap,
        past: &Past,
    ) -> Option<(Arc<Stored>, Reuse)> {
        let Some(Held::Stored(stored)) = self.tier.find(key.text()) else { return None };
        let (record, now) = (&stored.record, self.now_ms());
        let answers = self.doubt(past).is_none()
            && past.covers(&self.stamps, record.born, record.token) == Covered::No
            && policy::selects(record, headers)
            && policy::answers(headers, ask.head, record);
        let reuse = policy::reuse(ask, record, &stored.terms, &route.rules, now);
        match reuse {
            Reuse::Validate | Reuse::Refused(_) => None,
            Reuse::Fresh { .. } | Reuse::StaleWhileRevalidate { .. } | Reuse::MaxStale { .. } => {
                answers.then_some((stored, reuse))
            }
        }
    }

    /// Takes what the store has under a key into memory.
    pub(super) async fn take_in(&self, route: &Route, key: &Key) -> Option<Held> {
        let found = self.catalog.value(key).await.ok()??;
        match found.reading {
            Reading::Vary(node) => {
                let node = Arc::new(node);
                self.tier.keep_node_at(node.clone(), found.number);
                Some(Held::Vary(node))
            }
            Reading::Record(record) => {
                let stored = Arc::new(Stored::new(*record, &route.rules, None).at(found.number));
                let now = self.now_ms();
                let over = stored.record.end() <= now || self.too_old(&stored, now);
                let lost = self.is_lost(key.hash(), &stored.manifest);
                if over || lost || stored.covered(&self.stamps) == Covered::Hard {
                    return None;
                }
                self.tier.keep(stored.clone());
                Some(Held::Stored(stored))
            }
            Reading::Foreign => None,
            Reading::Bad(error) => {
                self.notices.bad_pointer(&error);
                None
            }
        }
    }
}
