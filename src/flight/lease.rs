//! Asking for a lease, so that none is ever lost on the way (F11).

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::dust::{Error, Grant, Holder, Lease, Number, Result};

use super::handback::Debt;
use super::{Attempt, Fill, Flight, Names};

/// What one attempt heard.
pub(super) enum Asked {
    Won(Fill),
    Held(Held),
    Occupied,
}

/// Somebody else's lease, as *held* told of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Held {
    pub(super) token: Option<Number>,
    pub(super) rest: Option<Duration>,
}

/// A lease asked for and not heard of yet. Dropped like that, whether the asker gave up or was
/// cancelled, it is given back by its holder's name.
struct Unheard<'a> {
    flight: &'a Arc<Flight>,
    lock: &'a Arc<str>,
    holder: Option<Holder>,
}

// === impl Flight ===

impl Flight {
    /// Tries the lease once, without waiting: for a second lock of the same fill (a variant's),
    /// or a result that is only stored if the way is free. What is published there is not read.
    ///
    /// Cancel safe: a lease that landed unheard is given back in the background (F11).
    pub async fn attempt(self: &Arc<Self>, names: &Names) -> Attempt {
        match self.ask(names).await {
            Ok(Asked::Won(fill)) => Attempt::Won(fill),
            Ok(Asked::Held(_) | Asked::Occupied) => Attempt::Taken,
            Err(error) => Attempt::Unavailable(error),
        }
    }

    /// Asks for the lease, under a name used once.
    pub(super) async fn ask(self: &Arc<Self>, names: &Names) -> Result<Asked> {
        let holder = Holder(self.dice.name().into());
        let mut unheard = Unheard { flight: self, lock: &names.lock, holder: Some(holder.clone()) };
        let sent = Instant::now();
        let ttl = self.settings.lease_ttl;
        let answer = self.bounded(self.dust.lease(&names.lock, ttl, &holder, self.seen())).await;
        if matches!(answer, Ok(_) | Err(Error::Refused(_))) {
            unheard.heard();
        }
        Ok(match answer? {
            Grant::Granted(lease) => {
                self.saw(lease.token);
                Asked::Won(Fill::under(self, names, lease, sent))
            }
            Grant::Held { rest, token } => {
                self.saw(token.unwrap_or(0));
                Asked::Held(Held { token, rest })
            }
            Grant::Occupied => Asked::Occupied,
        })
    }

    /// Releases a lease that a purge has made void, whoever holds it (F8).
    pub(super) async fn void(&self, lock: &str, token: Number) -> Result<()> {
        let lease = Lease { key: lock.to_owned(), token, holder: Holder("".into()) };
        self.bounded(self.dust.release(&lease)).await
    }
}

// === impl Unheard ===

impl Unheard<'_> {
    fn heard(&mut self) {
        self.holder = None;
    }
}

impl Drop for Unheard<'_> {
    fn drop(&mut self) {
        if let Some(holder) = self.holder.take() {
            self.flight.hand_back(Debt::Unheard { key: Arc::clone(self.lock), holder });
        }
    }
}
