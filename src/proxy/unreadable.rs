//! Stored bytes that can't be read: where the request goes on that was to be given them.

use std::sync::Arc;

use tokio::time::Instant;

use super::asking::Asking;
use super::cause::{Cause, Refused};
use super::next::Next;
use super::notes::Noted;
use super::place::Look;
use super::{Proxy, decision, status};
use crate::body::Error as BodyError;
use crate::policy::PassReason;
use crate::tier::Stored;

/// How often a request is led to other stored bytes when some can't be read.
const REREADS: usize = 8;

impl Proxy {
    /// The bytes of a record are gone, are not what they were, or can't be had now: it is forgotten here,
    /// and fetched anew by one for all who find that out, as if it had not been there. The store keeps a
    /// record whose bytes merely can't be had.
    pub(super) async fn unreadable(
        self: &Arc<Self>,
        mut asking: Asking,
        stored: &Arc<Stored>,
        error: &BodyError,
    ) -> Next {
        self.notices.unreadable(error);
        self.tier.forget(stored);
        let before = asking.ticket.unread.len();
        asking.ticket.unread.push(stored.manifest.clone());
        if asking.ask.only_if_cached {
            return Next::Answer(Self::refuse(asking, Cause::OnlyIfCached, None));
        }
        if decision::alone_because(&asking.route, &asking.ask, None).is_some() {
            // Who leads removes what names bytes that are gone: nobody leads here.
            if error.condemns() {
                self.drop_lost(&self.catalog.names_of(stored.hash), stored.hash).await;
            }
            return Next::Pass(asking, None, PassReason::BodyStore);
        }
        if before >= REREADS || Self::waits_until(&asking) <= Instant::now() {
            return Next::Answer(Self::refuse(asking, Cause::Refused(Refused::Deadline), None));
        }
        let place = match self.look(&asking.route, &asking.target, &asking.headers, &asking.ask) {
            Look::Fresh { stored: other, ttl_ms } | Look::Unsure { stored: other, ttl_ms }
                if other.manifest != stored.manifest =>
            {
                return self.from_stored(asking, other, status::hit(ttl_ms)).await;
            }
            Look::Missing { place }
            | Look::Stale { place, .. }
            | Look::Refreshing { place, .. }
            | Look::Doubtful { place, .. }
            | Look::Refused { place, .. } => place,
            Look::Fresh { .. } | Look::MaxStale { .. } | Look::Unsure { .. } => {
                self.place(&asking.route, &asking.target, &asking.headers)
            }
        };
        match self.noted(&asking, &place, false) {
            Noted::Failed(failure) => self.failed(asking, None, &failure, 0).await,
            Noted::Pass(_) | Noted::Failing(_) | Noted::Nothing => Next::Miss(asking, place, None),
        }
    }
}
