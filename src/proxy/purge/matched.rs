//! How many records a purge covers.

use crate::dust::Number;
use crate::proxy::state::Proxy;
use crate::tier::stamps::{Force, Scope, Stamps};
use crate::tier::{Covered, Stored};

/// How many records in an instance's memory a purge covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Matched {
    /// The count.
    pub records: u64,
    /// Whether it was estimated from a part of the memory.
    pub estimated: bool,
}

/// Counts the records in memory that stamps over these scopes would cover, whenever they were asked for. If there are more than
/// may be looked at, the rest is taken to be like those that were.
pub(super) async fn matched(proxy: &Proxy, scopes: &[Scope]) -> Matched {
    // Stamps of their own, above every number: so what they cover is what the purge covers.
    let stamps = Stamps::new("", proxy.settings.max_life);
    for scope in scopes {
        stamps.apply(*scope, Force::Hard, Number::MAX);
    }
    let covered = |stored: &Stored| stamps.covers(stored.named(), 0, 0) == Covered::Hard;
    let most = proxy.counting.take();
    let counted = proxy.tier.count(most, covered).await;
    if counted.looked_at < most {
        proxy.counting.give_back(most - counted.looked_at);
        return Matched { records: counted.found as u64, estimated: false };
    }
    let records = counted.found.saturating_mul(proxy.tier.len()) / counted.looked_at.max(1);
    Matched { records: records as u64, estimated: true }
}
