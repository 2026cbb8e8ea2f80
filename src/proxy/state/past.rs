//! The purges that a request came after.
//!
//! F8 speaks of requests that come after a purge. A request that came before the purge may ride whatever it
//! might have ridden without it. Otherwise a purge would send away every request that waits, and purges that
//! come faster than the origin answers would send all of them to the origin at once. So a request is judged
//! by the stamps as they stood when it arrived, and not as they stand when its flight settles.
//!
//! An instance whose stamps may be old does not know how they stood. What a request finds there is in doubt
//! until the stamps have been read again; from then on it is judged by all stamps that are there.

use tokio::time::timeout;

use crate::dust::Number;
use crate::key::KeyHash;
use crate::proxy::outcome::Moment;
use crate::proxy::state::Proxy;
use crate::tier::stamps::Stamps;
use crate::tier::stood::Stood;
use crate::tier::{Covered, Doubt};

/// The purges over one URL that a request came after.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Past {
    url: KeyHash,
    /// The stamps as they stood; none while this instance may not have heard of all.
    stood: Option<Stood>,
}

/// When a request arrived, and after which purges.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrival {
    /// Its place in the order of requests and exchanges (F5).
    pub at: Moment,
    /// The purges that it came after (F8).
    pub past: Past,
}

impl Proxy {
    /// The past of a request that arrives now.
    pub(crate) fn past(&self, url: KeyHash) -> Past {
        let mut past = Past { url, stood: None };
        self.learn(&mut past);
        past
    }

    /// Fills in a past that is not known yet, if this instance is sure of its stamps by now. The past then
    /// holds all purges until now: maybe more than necessary, never fewer.
    pub(crate) fn learn(&self, past: &mut Past) {
        // In this order: stamps that are read while the trust holds include all that was acknowledged.
        if past.stood.is_none() && self.trust.holds(self.now_ms()) {
            past.stood = Some(self.stamps.stood(past.url));
        }
    }

    /// The arrival of a request now.
    pub(crate) fn arrival(&self, url: KeyHash) -> Arrival {
        let past = self.past(url);
        Arrival { at: self.moments.next(), past }
    }

    /// How to treat a response that was judged by a past that is not sure; none if the past is sure or the
    /// instance is sure by now.
    pub(crate) fn doubt(&self, past: &Past) -> Option<Doubt> {
        (!past.is_sure() && !self.trust.holds(self.now_ms())).then(|| self.trust.doubt())
    }

    /// Waits until this instance is sure of its stamps, at most for one store call: stamps are read again as
    /// soon as the connection to the store is up. Returns whether it is sure.
    pub(crate) async fn grows_sure(&self) -> bool {
        if !self.trust.holds(self.now_ms())
            && let Some(member) = &self.member
        {
            let _ = timeout(self.flight.settings().call_bound, member.is_sure()).await;
        }
        self.trust.holds(self.now_ms())
    }
}

// === impl Past ===

impl Past {
    /// Returns whether the purges in it are known.
    pub(crate) fn is_sure(&self) -> bool {
        self.stood.is_some()
    }

    /// How the purges in it cover a record with the number `born`, last validated under `token`.
    pub(crate) fn covers(&self, stamps: &Stamps, born: Number, token: Number) -> Covered {
        self.over(stamps).covers(born, token)
    }

    /// The number of the newest hard purge in it; 0 if there is none.
    pub(crate) fn hard(&self, stamps: &Stamps) -> Number {
        self.over(stamps).hard
    }

    fn over(&self, stamps: &Stamps) -> Stood {
        self.stood.unwrap_or_else(|| stamps.stood(self.url))
    }
}
