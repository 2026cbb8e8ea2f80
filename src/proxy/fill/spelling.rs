//! Notes of URLs that are stored under keys which can't be derived from the URL alone: keys of keyed fields,
//! of variants, of other spellings ([`Route::key_into`](crate::route::Route::key_into)), and of versions,
//! which differ between instances while settings are changed from one to the next.
//!
//! An unsafe method invalidates its URL under all of them (RFC 9110 §4.2.3), and a stamp is written only
//! where there is something to cover. So a fill of such a key leaves a note under the URL: for a moment
//! before it asks upstream, again and again while it lasts, and, if there is something to store, for as long
//! as its record lives. A response that is not stored leaves no note. (A variant whose Vary node is stored
//! needs none before it is published.) If a note can't be written nothing is stored, for an unsafe request
//! might miss it. But where the store is away altogether, or this instance is alone with it, the response is
//! kept in memory, and the missing note is remembered here.

use std::convert::Infallible;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::sleep;

use crate::clock::{WallMs, millis};
use crate::key::{self, KeyHash};
use crate::proxy::fill::Job;
use crate::proxy::state::Proxy;
use crate::proxy::state::noted_urls::Written;

/// How often the note of a fill that is under way is checked.
const LOOK: Duration = Duration::from_secs(20);
/// A note that stands for so long still need not be written again: it outlives the next check, and the time
/// until the next note lands.
const AHEAD: Duration = Duration::from_mins(1);

/// Notes that a URL is stored under a key that can't be derived from it, if that is so. Returns whether the
/// key needs no note or has one.
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

/// Returns whether a response without its note may be kept in memory all the same: where no other instance
/// can be asked to invalidate it without this one finding out.
fn keeps_unnoted(proxy: &Proxy, key: &str, url: KeyHash, ends_ms: Option<WallMs>) -> bool {
    let now = proxy.now_ms();
    let alone = proxy.member.is_none() || !proxy.trust.holds(now);
    alone && key::is_plain(key) && proxy.stamps.keep_unnoted(url, ends_ms.unwrap_or(now), now)
}

impl Job {
    /// Notes its URL, if the key needs that. Returns whether the fill's response may be kept.
    pub(crate) async fn note_spelling(&self, ends_ms: Option<u64>) -> bool {
        let (proxy, place) = (&self.proxy, &self.place);
        if !note_spelled(proxy, place.key.text(), place.url, ends_ms).await {
            self.unnoted.store(true, Ordering::Relaxed);
        }
        !self.unnoted.load(Ordering::Relaxed) || keeps_unnoted(proxy, place.key.text(), place.url, ends_ms)
    }

    /// Returns whether the store has all the notes that the fill's key needs.
    pub(crate) fn is_noted(&self) -> bool {
        !self.unnoted.load(Ordering::Relaxed)
    }

    /// Notes the URL again and again. Runs until it is dropped.
    pub(crate) async fn keep_noted(&self, ends_ms: Option<u64>) -> Infallible {
        if !key::is_of_url(self.place.key.text()) {
            loop {
                sleep(LOOK).await;
                if !self.note_spelling(ends_ms).await {
                    // The fill's response is not stored: no note is needed.
                    break;
                }
            }
        }
        std::future::pending().await
    }
}
