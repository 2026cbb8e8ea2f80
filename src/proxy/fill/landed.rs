//! A published record is checked once more a moment later: a stamp may have landed beside it.
//!
//! A fill asks for stamps right before its record is written. A stamp that lands between is older than the
//! record, and covers it for as long as that stamp lives; but it was written without knowing when the record
//! ends ([`life`](crate::tier::stamps::life)). So once this instance has heard of it, the record is removed
//! under its key's lease, or the soft stamp is written again to live as long as the record.

use std::time::Duration;

use tokio::time::Instant;

use crate::catalog::{FoundEntry, Reading};
use crate::dust::Number;
use crate::proxy::state::Proxy;
use crate::proxy::state::landings::Landing;
use crate::tier::stamps::life::{Ends, SLACK, stamp_life};
use crate::tier::stamps::{Force, Scope};
use crate::tier::{Covered, Stored};

/// How long a stamp that was written beside a record may take until it is applied here.
const SETTLING: Duration = Duration::from_secs(2);

/// Plans the check of a record that was published.
pub(crate) fn landed(proxy: &Proxy, stored: &Stored) {
    // An instance that has not heard of a stamp by then does not trust its memory.
    let settling = SETTLING + proxy.member.as_ref().map_or(Duration::ZERO, |member| member.trust());
    let record = &stored.record;
    proxy.landings.add(Landing {
        due: Instant::now() + settling,
        key: stored.hash,
        names: stored.names(),
        born: record.born,
        token: record.token,
        end: record.end(),
    });
}

/// When the next check is due.
pub(crate) fn landing_due(proxy: &Proxy) -> Option<Instant> {
    proxy.landings.due()
}

/// Makes the checks that are due.
pub(crate) async fn look_at_landed(proxy: &Proxy) {
    while let Some(landing) = proxy.landings.take(Instant::now()) {
        if !proxy.trust.holds(proxy.now_ms()) {
            // The stamps are read again meanwhile.
            proxy.landings.add(Landing { due: Instant::now() + SETTLING, ..landing });
            return;
        }
        let (url, end) = (landing.names.url, landing.end);
        if proxy.stamps.covers(landing.names.named(), landing.born, landing.token) == Covered::Hard {
            remove_covered(proxy, &landing).await;
            continue;
        }
        // Other stamps than those of a URL live as long as any record may.
        match proxy.stamps.covers(url, landing.born, landing.token) {
            Covered::No | Covered::Hard => {}
            Covered::Soft if proxy.stamps.soft_until(url) >= end.saturating_add(SLACK_MS) => {}
            Covered::Soft => {
                let lives = stamp_life(Ends::at(end), proxy.now_ms(), proxy.settings.max_life);
                let write = proxy.stamps.write(&*proxy.dust, Scope::Url(url), Force::Soft, lives, false);
                if let Err(error) = proxy.flight.bounded(write).await {
                    proxy.observer.store_error("put", &error);
                }
            }
        }
    }
}

/// Removes a record that a stamp covers, if it is still there.
async fn remove_covered(proxy: &Proxy, landing: &Landing) {
    let covered = |found: &FoundEntry| match &found.reading {
        Reading::Record(record) => {
            proxy.stamps.covers(landing.names.named(), record.born, Number::MAX) == Covered::Hard
        }
        Reading::Vary(_) | Reading::Foreign | Reading::Bad(_) => false,
    };
    let names = proxy.catalog.names_of(landing.key);
    let gone = |found: FoundEntry| {
        if let Some(record) = found.reading.record() {
            proxy.bodies.leave(&landing.key.to_string(), &record.body);
        }
    };
    proxy.observer.removed(proxy.catalog.remove_value_if(&names, covered, gone).await);
}

const SLACK_MS: u64 = SLACK.as_secs() * 1_000;
