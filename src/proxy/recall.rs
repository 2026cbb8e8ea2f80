//! A look into the store for a request that neither leads nor follows: what was stored before a
//! restart, or by another instance, answers it like any other.

use std::sync::Arc;

use http::HeaderMap;

use super::Proxy;
use super::asking::Asking;
use super::binding::Party;
use super::candidate::{Candidate, Facts, Strictness, Unfit, Use};
use super::notes::Noted;
use super::past::Past;
use super::place::Place;
use crate::catalog::Reading;
use crate::key::Key;
use crate::policy::Ask;
use crate::route::Route;
use crate::tier::{Held, Stored};

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
    ) -> Option<(Arc<Stored>, Use)> {
        let Some(Held::Stored(stored)) = self.tier.find(key.text()) else { return None };
        if self.doubt(past).is_some() {
            return None;
        }
        let covered = past.covers(&self.stamps, stored.record.born, stored.record.token);
        let facts = Facts { headers, ask, rules: &route.rules };
        let checked = Candidate::new(&stored, covered).check(Strictness::HardAndSoft, facts, self.now_ms());
        checked.ok().map(|usable| (stored, usable))
    }

    /// Says what keeps a record of the store from memory, whatever request is asked for.
    pub(super) fn may_be_taken_in(&self, stored: &Stored) -> Result<(), Unfit> {
        let now = self.now_ms();
        let candidate =
            Candidate::new(stored, stored.covered(&self.stamps)).unless_purged(Strictness::Hard)?;
        let candidate = candidate.unless_ended(now)?.unless_older(self.max_life_ms(), now)?;
        candidate.unless(self.is_lost(stored.hash, &stored.manifest), Unfit::Lost).map(drop)
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
                self.may_be_taken_in(&stored).ok()?;
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
