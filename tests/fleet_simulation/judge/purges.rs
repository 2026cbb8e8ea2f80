//! Nobody gets a version from before a purge, or from before an unsafe request, that was answered
//! before the request came: not from an instance either that was silent, once it says that it is
//! sure.

use super::{Ledger, Purge, stamps};
use crate::instance::Instance;
use crate::scene::Scene;
use crate::world::World;
use dustgate::dust::Number;
use dustgate::tier::WhenUnsure;

/// How soon an instance that is sure has heard of a stamp that somebody else wrote, in ms.
const HEARD_MS: u64 = 1_000;
/// How soon what is owed to a store is paid, in ms; and what a failover lost is written back.
const PAID_MS: u64 = 5_000;

/// What a request got.
pub struct Answer<'a> {
    pub request: u64,
    pub key: usize,
    pub version: u64,
    pub arrived: u64,
    pub arrived_ms: u64,
    pub instance: &'a Instance,
    /// Whether it says that the instance is not sure.
    pub unsure: bool,
}

/// How long a write may be under way, in ms.
const UNDER_WAY_MS: u64 = 500;

impl Ledger {
    /// Judges a record that was written: none lands that is from before a hard purge which was answered
    /// before. Stamps run out, and then it would be served.
    pub fn lands_after_purges(&self, world: &World, key: usize, exchange: u64) {
        if !world.plan.sound || world.plan.scene == Some(Scene::Lives) {
            return;
        }
        let now = world.now();
        let covers = |purge: &&Purge| {
            !purge.soft
                && !purge.unsafe_request
                && purge.key.is_none_or(|of| of == key)
                && exchange < purge.begun
                && purge.answered.is_some()
                && purge.answered_ms + UNDER_WAY_MS < now
        };
        let found = self.inner().purges.iter().find(covers).map(|purge| purge.begun);
        if let Some(begun) = found {
            world.broken(format_args!("k{key}: exchange {exchange} lands, and a purge at {begun} covers it"));
        }
    }

    /// Returns whether a store whose newest hard stamp over a URL is that one has all that were promised.
    /// (An instance may have one of its own beside, over what it kept while it could not ask.)
    ///
    /// `here` is the newest that an instance knows. The stamp of an unsafe request is only announced, and in
    /// no store, if nothing is stored that it could cover: a purge by tag may have seen to that before.
    pub fn is_all(&self, key: usize, here: Number, hard: Number) -> bool {
        let inner = self.inner();
        let announced = inner.announced.contains(&(stamps::hard_name(key), here));
        let mut of_it = inner
            .purges
            .iter()
            .filter(|purge| !purge.soft && purge.by_url && purge.key.is_none_or(|of| of == key));
        of_it.all(|purge| if purge.unsafe_request { announced } else { purge.number <= hard })
    }

    /// Returns whether an operator's purge of a URL may have found nobody to ask for what it covers. Then
    /// its stamp lives as long as any record may.
    pub fn may_live_longest(&self, key: usize) -> bool {
        let inner = self.inner();
        let asks_in_vain = |purge: &Purge| {
            let until = purge.answered.as_ref().map_or(u64::MAX, |(at, _)| *at);
            inner.line_changes.iter().any(|at| (purge.begun..=until).contains(at))
        };
        let mut of_it = inner.purges.iter().filter(|purge| !purge.unsafe_request && purge.key == Some(key));
        of_it.any(asks_in_vain)
    }

    pub fn is_current(&self, world: &World, answer: &Answer<'_>) {
        if !world.plan.sound {
            return;
        }
        let inner = self.inner();
        let older =
            |purge: &&Purge| purge.since.get(&answer.key).is_some_and(|since| answer.version < *since);
        let holds = |purge: &&Purge| {
            let Some((answered, confirmed)) = &purge.answered else { return false };
            if *answered >= answer.arrived || purge.soft {
                return false;
            }
            if confirmed.contains(&answer.instance.name) {
                return true;
            }
            // Operators who let their store evict stamps are told that purges may come back.
            if world.plan.scene == Some(Scene::Evict) {
                return false;
            }
            let kept = inner.failed_over_ms.is_none_or(|at| {
                at < purge.answered_ms || at + PAID_MS < answer.instance.booted_ms.max(answer.arrived_ms)
            });
            if purge.unsafe_request {
                let paid = inner.takes_stamps_ms.saturating_add(PAID_MS).max(purge.answered_ms + HEARD_MS);
                return kept
                    && !answer.unsure
                    && inner.takes_stamps_ms != u64::MAX
                    && paid < answer.arrived_ms;
            }
            kept && (!answer.unsure || world.plan.when_unsure == WhenUnsure::Validate)
        };
        let found = inner.purges.iter().filter(older).find(holds).cloned();
        drop(inner);
        if let Some(purge) = found {
            world.broken(format_args!(
                "request {} gets version {} of k{}, unsure: {}, though {purge:?} was answered before it came",
                answer.request, answer.version, answer.key, answer.unsure
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::plan::Plan;

    fn purge(unsafe_request: bool, number: Number) -> Purge {
        Purge {
            key: Some(0),
            soft: false,
            begun: 0,
            answered: None,
            unsafe_request,
            since: BTreeMap::new(),
            answered_ms: 0,
            number,
            by_url: true,
        }
    }

    #[test]
    fn a_store_may_lack_what_was_announced_and_nothing_else() {
        let world = World::new(Plan::of(0));
        let ledger = &world.ledger;
        ledger.purges(purge(true, 0));
        ledger.announced(&world, &stamps::hard_name(0), 7);
        ledger.announced(&world, &stamps::hard_name(1), 8);
        let n = ledger.asked(&world, (0, 0), true, true, false);
        ledger.inner().published.insert("its value".to_owned(), (1, 1, n));
        ledger.announced(&world, &stamps::hard_name(0), 9);
        assert!(ledger.is_all(0, 7, 0), "it was announced");
        assert!(!ledger.is_all(0, 6, 0), "an unsafe request wrote another one");
        assert!(!ledger.is_all(0, 8, 0), "that is of another URL");
        assert!(!ledger.is_all(0, 9, 0), "there was something to cover");
        ledger.purges(purge(false, 5));
        assert!(!ledger.is_all(0, 7, 0), "an operator's is stored");
        assert!(ledger.is_all(0, 7, 5), "it is there");
    }
}
