//! Takes a record or Vary node from the store into memory, if it may be served to any request at all.

use std::sync::Arc;

use bytes::Bytes;

use crate::catalog::Reading;
use crate::key::{Key, KeyHash};
use crate::proxy::lookup::candidate::{Candidate, Strictness, Unfit};
use crate::proxy::lookup::reach;
use crate::proxy::state::Proxy;
use crate::record::Record;
use crate::route::Route;
use crate::tier::{Held, Stored};

/// Checks a record of the store for use in memory, whatever request it is for. The error is what keeps it
/// out.
pub(crate) fn may_be_taken_in(proxy: &Proxy, stored: &Stored) -> Result<(), Unfit> {
    let now = proxy.now_ms();
    let candidate = Candidate::new(stored, stored.covered(&proxy.stamps)).unless_purged(Strictness::Hard)?;
    let candidate = candidate.unless_ended(now)?.unless_older(proxy.max_life_ms(), now)?;
    candidate.unless(reach::is_lost(proxy, stored.hash, &stored.record.body), Unfit::Lost).map(drop)
}

/// The body that came along with a record, if it is the one that the record names.
pub(crate) fn along(proxy: &Proxy, record: &Record, body: Option<&Bytes>) -> Option<Bytes> {
    let body = body?.clone();
    let hash = KeyHash::of(&record.key).to_string();
    // If it is not, its readers find out.
    proxy.bodies.accept(&hash, &record.body, body).ok()
}

/// Takes the record or Vary node that the store has under a key into memory. None if there is none that may
/// be served.
pub(crate) async fn take_in(proxy: &Proxy, route: &Route, key: &Key) -> Option<Held> {
    let found = proxy.catalog.value(key).await.ok()??;
    match found.reading {
        Reading::Vary(node) => {
            let node = Arc::new(node);
            proxy.tier.keep_node_at(node.clone(), found.number);
            Some(Held::Vary(node))
        }
        Reading::Record(record) => {
            let body = along(proxy, &record, found.body.as_ref());
            let stored = Arc::new(Stored::new(*record, &route.rules, body).at(found.number));
            may_be_taken_in(proxy, &stored).ok()?;
            proxy.tier.keep(stored.clone());
            Some(Held::Stored(stored))
        }
        Reading::Foreign => None,
        Reading::Bad(error) => {
            proxy.observer.bad_pointer(&error);
            None
        }
    }
}
