//! Which URLs are stored under a spelling of their own ([`Route::key_into`](crate::route::Route::key_into)).
//!
//! An unsafe method invalidates its URL however that is spelled (RFC 9110 §4.2.3), and a stamp is written
//! only where there is something to cover. What odd spellings there are can't be asked, so a fill of one
//! leaves a note under the URL: before it asks upstream, and again for as long as its record lives.

use std::time::Duration;

use super::Proxy;
use super::fill::Job;
use crate::dust::Put;
use crate::key::{self, KeyHash};

/// How long the note stays for a fill that is under way; its record's own stays as long as that.
const UNDER_WAY: Duration = Duration::from_mins(10);

impl Proxy {
    /// The name of a URL's note.
    pub(super) fn spelling_name(&self, url: KeyHash) -> String {
        format!("{}~", self.names_of(&url).value)
    }
}

impl Job {
    /// Notes that its URL has a key for a spelling of its own, if it has.
    pub(super) async fn note_spelling(&self, record_ends_ms: Option<u64>) {
        let proxy = &self.proxy;
        if key::is_plain(self.place.primary.text()) {
            return;
        }
        let lives = record_ends_ms.map(|end| Duration::from_millis(end.saturating_sub(proxy.now_ms())));
        let stays = lives.map_or(UNDER_WAY, |lives| lives.max(UNDER_WAY));
        let put = Put { expires_in: Some(stays), ..Put::default() };
        let name = proxy.spelling_name(self.place.url);
        if let Err(error) = proxy.flight.bounded(proxy.dust.put(&name, "spelled", put)).await {
            proxy.notices.store_error("put", &error);
        }
    }
}
