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
use crate::proxy::outcome::Moment;
use crate::proxy::state::Proxy;
use crate::tier::stamps::{Named, Stamps};
use crate::tier::stood::Stood;
use crate::tier::{Covered, Doubt};

/// The purges that a request came after, as far as they may be over what it asks for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Past {
    /// The stamps over the URL and its areas as they stood; none while this instance may not have heard of
    /// all.
    stood: Option<Stood>,
    /// The number of the newest stamp then, whatever it was over.
    newest: Number,
    /// Fills below this number have brought what one of the purges covers.
    void: Number,
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
    /// The past of a request for that which arrives now.
    pub(crate) fn past(&self, of: Named<'_>) -> Past {
        let mut past = Past { stood: None, newest: Number::MAX, void: 0 };
        self.learn(&mut past, of);
        past
    }

    /// Fills in a past that is not known yet, if this instance is sure of its stamps by now. The past then
    /// holds all purges until now: maybe more than necessary, never fewer.
    pub(crate) fn learn(&self, past: &mut Past, of: Named<'_>) {
        // In this order: stamps that are read while the trust holds include all that was acknowledged.
        if past.stood.is_none() && self.trust.holds(self.now_ms()) {
            past.stood = Some(self.stamps.stood(of));
            past.newest = self.stamps.newest();
        }
    }

    /// The arrival of a request now.
    pub(crate) fn arrival(&self, of: Named<'_>) -> Arrival {
        let past = self.past(of);
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
    pub(crate) fn covers(&self, stamps: &Stamps, of: Named<'_>, born: Number, token: Number) -> Covered {
        let covered = self.over(stamps, of).covers(born, token);
        // How the stamps of its tags stood is not known: they are taken as they stand now. What was asked for
        // after all stamps that stood is covered by none of them. So a purge sends a request away no more
        // often than from the exchanges that were under way when it came.
        if covered == Covered::Hard || of.tags.is_empty() || born.min(token) >= self.newest {
            return covered;
        }
        covered.max(stamps.covers(of, born, token))
    }

    /// The number below which a fill brings nothing for this request: that of the newest hard purge in it, or
    /// of a fill that has brought what a purge covers; 0 if there is none.
    pub(crate) fn hard(&self, stamps: &Stamps, of: Named<'_>) -> Number {
        self.over(stamps, of).hard.max(self.void)
    }

    /// Notes a fill that has brought what a purge covers: by a tag, which is only known now.
    pub(crate) fn voids(&mut self, fill: Number) {
        self.void = self.void.max(fill.saturating_add(1));
    }

    fn over(&self, stamps: &Stamps, of: Named<'_>) -> Stood {
        self.stood.unwrap_or_else(|| stamps.stood(of))
    }
}
