//! Which URLs are stored under a spelling of their own ([`Route::key_into`](crate::route::Route::key_into)).
//!
//! An unsafe method invalidates its URL however that is spelled (RFC 9110 §4.2.3), and a stamp is written
//! only where there is something to cover. What odd spellings there are can't be asked, so a fill of one
//! leaves a note under the URL: before it asks upstream, again and again while it lasts, and for as long
//! as its record lives. Where one of these could not be written nothing is stored, for an unsafe request
//! might have missed it.

use std::convert::Infallible;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::sleep;

use super::Proxy;
use super::fill::Job;
use crate::dust::Put;
use crate::key::{self, KeyHash};

/// How long the note stays for a fill that is under way, which writes it again in half of that; its
/// record's own stays as long as that.
const UNDER_WAY: Duration = Duration::from_mins(10);

impl Proxy {
    /// The name of a URL's note.
    pub(super) fn spelling_name(&self, url: KeyHash) -> String {
        format!("{}~", self.names_of(&url).value)
    }

    /// Notes that a key is for a spelling of its own, if it is. Returns whether that is known now.
    pub(super) async fn note_spelled(&self, key: &str, url: KeyHash, ends_ms: Option<u64>) -> bool {
        if key::is_plain(key) {
            return true;
        }
        let lives = ends_ms.map(|end| Duration::from_millis(end.saturating_sub(self.now_ms())));
        let stays = lives.map_or(UNDER_WAY, |lives| lives.max(UNDER_WAY));
        let put = Put { expires_in: Some(stays), ..Put::default() };
        let written = self.flight.bounded(self.dust.put(&self.spelling_name(url), "spelled", put)).await;
        if let Err(error) = &written {
            self.notices.store_error("put", error);
        }
        written.is_ok()
    }
}

impl Job {
    /// Notes that its URL has a key for a spelling of its own, if it has. Returns whether what comes of
    /// the fill may be stored.
    pub(super) async fn note_spelling(&self, ends_ms: Option<u64>) -> bool {
        let place = &self.place;
        if !self.proxy.note_spelled(place.primary.text(), place.url, ends_ms).await {
            self.unnoted.store(true, Ordering::Relaxed);
        }
        !self.unnoted.load(Ordering::Relaxed)
    }

    /// Notes it again and again. Has no end but being dropped.
    pub(super) async fn keep_noted(&self, ends_ms: Option<u64>) -> Infallible {
        if !key::is_plain(self.place.primary.text()) {
            loop {
                sleep(UNDER_WAY / 2).await;
                if !self.note_spelling(ends_ms).await {
                    // What comes of the fill is not stored: no note is needed.
                    break;
                }
            }
        }
        std::future::pending().await
    }
}
