//! Which URLs are stored under keys that can't be asked for: of keyed fields, variants, spellings of
//! their own ([`Route::key_into`](crate::route::Route::key_into)), and versions, which another instance
//! may have others of while settings are changed from one to the next.
//!
//! An unsafe method invalidates its URL under all of them (RFC 9110 §4.2.3), and a stamp is written only
//! where there is something to cover. So a fill of such a key leaves a note under the URL: for a moment
//! before it asks upstream, again and again while it lasts, and, if there is something to store, for as
//! long as its record lives. So of what is not stored nothing stays. (A variant whose Vary
//! node stands needs none before it is published.) Where one of these could not be written nothing is
//! stored, for an unsafe request might have missed it; but where the store is away altogether, or this
//! instance is alone with it, what was fetched is kept in memory, and that it is is remembered here.

use std::convert::Infallible;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::sleep;

use crate::clock::{WallMs, millis};
use crate::key::{self, KeyHash};
use crate::proxy::fill::Job;
use crate::proxy::state::Proxy;
use crate::proxy::state::noted_urls::Written;

/// How often the note of a fill that is under way is looked after.
const LOOK: Duration = Duration::from_secs(20);
/// A note of a fill that stands so long still need not be written again: it outlives the next look by
/// what may come between that and the next note.
const AHEAD: Duration = Duration::from_mins(1);

/// Notes that a URL is stored under a key of its own, if it is one that can't be asked for. Returns
/// whether that is known now.
pub(crate) async fn note_spelled(proxy: &Proxy, key: &str, url: KeyHash, ends_ms: Option<WallMs>) -> bool {
    if key::is_of_url(key) {
        return true;
    }
    let (now, gaps) = (proxy.now_ms(), proxy.stamps.gaps());
    let latest = now.saturating_add(millis(proxy.settings.max_life));
    let end = ends_ms.unwrap_or(now).min(latest).max(now + millis(AHEAD));
    if proxy.noted_urls.get(url).is_some_and(|last| last.gaps == gaps && last.until >= end) {
        return true;
    }
    let rest = Duration::from_millis(ends_ms.unwrap_or(now).saturating_sub(now));
    let note = proxy.stamps.note(&*proxy.dust, url, rest, proxy.settings.max_life, now);
    match proxy.flight.bounded(note).await {
        Ok(until) => {
            proxy.noted_urls.insert(url, Written { until, gaps });
            true
        }
        Err(error) => {
            proxy.observer.store_error("put", &error);
            false
        }
    }
}

/// Returns whether what could not be noted may be kept in memory all the same, where nobody else
/// can be asked to make it void that would not be found out here.
fn keeps_unnoted(proxy: &Proxy, key: &str, url: KeyHash, ends_ms: Option<WallMs>) -> bool {
    let now = proxy.now_ms();
    let alone = proxy.member.is_none() || !proxy.trust.holds(now);
    alone && key::is_plain(key) && proxy.stamps.keep_unnoted(url, ends_ms.unwrap_or(now), now)
}

impl Job {
    /// Notes that its URL has a key that can't be asked for, if it has. Returns whether what comes of the
    /// fill may be kept.
    pub(crate) async fn note_spelling(&self, ends_ms: Option<u64>) -> bool {
        let (proxy, place) = (&self.proxy, &self.place);
        if !note_spelled(proxy, place.key.text(), place.url, ends_ms).await {
            self.unnoted.store(true, Ordering::Relaxed);
        }
        !self.unnoted.load(Ordering::Relaxed) || keeps_unnoted(proxy, place.key.text(), place.url, ends_ms)
    }

    /// Returns whether all that is stored of it under its URL is noted in the store.
    pub(crate) fn is_noted(&self) -> bool {
        !self.unnoted.load(Ordering::Relaxed)
    }

    /// Notes it again and again. Has no end but being dropped.
    pub(crate) async fn keep_noted(&self, ends_ms: Option<u64>) -> Infallible {
        if !key::is_of_url(self.place.key.text()) {
            loop {
                sleep(LOOK).await;
                if !self.note_spelling(ends_ms).await {
                    // What comes of the fill is not stored: no note is needed.
                    break;
                }
            }
        }
        std::future::pending().await
    }
}
