//! What the response to a HEAD says of the stored GET (RFC 9111 §4.3.5): its fields now, or that it is not
//! what the origin has.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, StatusCode};

use crate::catalog::{self, EntryText};
use crate::dust::Number;

use crate::flight::{Attempt, Fill, Product, Published, Standing};
use crate::key::Key;
use crate::key::target::Target;
use crate::policy::{self, HeadUpdate, RequestFacts};
use crate::proxy::fill::{landed, spelling};
use crate::proxy::lookup::taking_in;
use crate::proxy::request::CacheRequest;
use crate::proxy::state::Proxy;
use crate::record::Record;
use crate::route::Route;
use crate::tier::stamps::Named;
use crate::tier::{Covered, Held, Stored, url_hash};

/// The HEAD that was sent.
pub(crate) struct Of {
    pub(crate) route: Arc<Route>,
    target: Target,
    headers: HeaderMap,
}

/// Updates the stored GET by a HEAD that went by itself with its own fields, if those ask as a fill's do.
pub(crate) async fn own_head_update(
    proxy: &Proxy,
    request: &CacheRequest,
    status: StatusCode,
    headers: &HeaderMap,
    born: Number,
) {
    let own = RequestFacts::of_credentials(&request.headers, &request.route.rules).credentialed();
    if !own
        && proxy.hop_headers.asks_as_a_fill(request)
        && policy::is_coded_for_all(&request.headers, headers)
    {
        head_update(proxy, &Of::from(request), status, headers, born).await;
    }
}

/// Updates the stored GET by a 200 to a HEAD that was sent with the fields of a fill when `born` was the
/// highest number known. When this returns, all instances have heard.
pub(crate) async fn head_update(
    proxy: &Proxy,
    of: &Of,
    status: StatusCode,
    headers: &HeaderMap,
    born: Number,
) {
    if status != StatusCode::OK || !of.route.cache || policy::challenges_connection(headers) {
        return;
    }
    let Some(key) = stored_under(proxy, of).await else { return };
    // Another fill of this key brings something newer.
    let Attempt::Won(fill) = proxy.flight.attempt(&proxy.names(&key)).await else { return };
    match updated(proxy, of, &key, headers, born).await {
        Some(record) => publish_update(proxy, of, fill, record).await,
        None => fill.release().await,
    }
}

/// The key that a GET of the same request is stored under, if it is stored.
async fn stored_under(proxy: &Proxy, of: &Of) -> Option<Key> {
    let mut text = String::new();
    of.route.key_into(&mut text, &of.target, &of.headers);
    let primary = Key::new(&text);
    let held = match proxy.tier.find(&text) {
        None => taking_in::take_in(proxy, &of.route, &primary).await?,
        Some(held) => held,
    };
    match held {
        Held::Stored(_) => Some(primary),
        Held::Vary(node) => Some(policy::variant_key(&primary, &node.fields, &of.headers)),
    }
}

/// The record in the store, updated. None if it stays as it is, or is newer than the HEAD.
async fn updated(proxy: &Proxy, of: &Of, key: &Key, headers: &HeaderMap, born: Number) -> Option<Record> {
    let record = proxy.catalog.value(key).await.ok()??.reading.record()?;
    if record.token >= born {
        return None;
    }
    let now = proxy.now_ms();
    let updated = match policy::head_update(&record, StatusCode::OK, headers, now, now, &of.route.rules) {
        HeadUpdate::Nothing => return None,
        HeadUpdate::Refreshed(updated) => *updated,
        HeadUpdate::Stale => Record { fresh_ms: 0, ..record },
    };
    // Its token is from when the HEAD was sent: what was purged since then stays so (F8).
    Some(Record { token: born, ..updated })
}

async fn publish_update(proxy: &Proxy, of: &Of, fill: Fill, record: Record) {
    let left = record.end().saturating_sub(proxy.now_ms());
    let Ok(text) = EntryText::record(&record) else { return fill.release().await };
    let (stamps, url, born) = (proxy.stamps.clone(), url_hash(&record.key), record.born);
    let named = Named { url, key: &record.key, route: of.route.rules.route, tags: &record.tags };
    let names = named.owned(&record.key, &record.tags);
    if !spelling::note_spelled(proxy, &record.key, url, Some(record.end())).await {
        return fill.release().await;
    }
    let (trust, dust) = (proxy.trust.clone(), proxy.dust.clone());
    let standing = move || match stamps.covers(names.named(), born, u64::MAX) {
        Covered::Hard => Standing::Covered,
        // Stamps may be old here: it can't be said what a purge covers.
        Covered::Soft | Covered::No if !trust.holds(dust.now_ms()) => Standing::Covered,
        Covered::Soft | Covered::No => Standing::Live,
    };
    // A record past its end expires at once.
    let ttl = Duration::from_millis(left.max(1));
    let mut product = Product::new(text.as_str(), Some(ttl));
    product.keeps = catalog::carried(fill.names(), &record.body);
    if let Published::Computed(_) = fill.publish(product, standing).await {
        let body = match proxy.tier.peek(&record.key) {
            Some(Held::Stored(here)) if here.record.body == record.body => here.body(),
            _ => None,
        };
        let stored = Arc::new(Stored::new(record, &of.route.rules, body));
        landed::landed(proxy, &stored);
        proxy.tier.keep(stored);
    }
}

// === impl Of ===

impl From<&CacheRequest> for Of {
    fn from(request: &CacheRequest) -> Self {
        Self {
            route: request.route.clone(),
            target: request.target.clone(),
            headers: request.headers.clone(),
        }
    }
}
