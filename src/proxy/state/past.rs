//! The purges that lie in a request's past.
//!
//! F8 speaks of requests that come after a purge. One that came before it may ride whatever it
//! might have ridden without it: else a purge would send away everybody who waits, and purges that
//! come faster than the origin answers would send them all to the origin at once. So a request is
//! judged by the stamps as they stood when it arrived, and not as they stand when its flight settles.
//!
//! An instance whose stamps may be old can't say how they stood. What it finds is then in doubt,
//! until the stamps have been read again: from then on it judges by all that are there.

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
    /// None while it can't be said for sure.
    stood: Option<Stood>,
}

/// When a request arrived, and after which purges.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrival {
    /// When (F5).
    pub at: Moment,
    /// After which purges (F8).
    pub past: Past,
}

impl Proxy {
    /// The past of what comes now.
    pub(crate) fn past(&self, url: KeyHash) -> Past {
        let mut past = Past { url, stood: None };
        self.learn(&mut past);
        past
    }

    /// Makes a past sure, if it is not and this instance is by now. It then holds all purges until now:
    /// more than it has to, and never fewer.
    pub(crate) fn learn(&self, past: &mut Past) {
        // In this order: what is read when the instance is sure has all that was acknowledged.
        if past.stood.is_none() && self.trust.holds(self.now_ms()) {
            past.stood = Some(self.stamps.stood(past.url));
        }
    }

    /// The arrival of a request now.
    pub(crate) fn arrival(&self, url: KeyHash) -> Arrival {
        let past = self.past(url);
        Arrival { at: self.moments.next(), past }
    }

    /// What to do with what was found by a past that is not sure; nothing if it is.
    pub(crate) fn doubt(&self, past: &Past) -> Option<Doubt> {
        (!past.is_sure() && !self.trust.holds(self.now_ms())).then(|| self.trust.doubt())
    }

    /// Waits until this instance is sure of its stamps, for no longer than one call of the store: they
    /// are read again as soon as the line stands. Returns whether it is.
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
    /// Whether it is known for sure.
    pub(crate) fn is_sure(&self) -> bool {
        self.stood.is_some()
    }

    /// What the purges in it say of something born under `born` and last validated under `token`.
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
