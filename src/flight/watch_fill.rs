//! Following a fill past its verdict, for as long as its body comes: what it publishes, whether its
//! holder lives, who takes over (docs/design.md, A miss that follows).

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep_until;

use crate::dust::{Changes, Entry, Number, Put, Result, Wake};

use super::enter::Look;
use super::lease::Held;
use super::wait::LeaseDeadline;
use super::{Fill, Flight, Names, Uncoordinated};

/// What is known of a fill under way somewhere else. Dropped, its subscription ends (S17).
#[derive(Debug)]
pub struct FillWatch {
    flight: Arc<Flight>,
    names: Names,
    /// The fill that is followed, and where it tells of itself without its lease.
    token: Number,
    aside: String,
    /// Its lease is known to be gone, whatever was heard of it last.
    lost: bool,
    sign: LeaseDeadline,
    changes: Option<Changes>,
}

/// One look at it.
#[derive(Debug)]
pub enum Snapshot {
    /// Something changed, or it is the first look: what is published now.
    There {
        /// At the value key.
        value: Option<Entry>,
        /// At the verdict key.
        verdict: Option<Entry>,
        /// The token of the lease that is known to live on the lock, if one does.
        live: Option<Number>,
        /// What the followed holder tells although the lease is not its own any more.
        aside: Option<Entry>,
    },
    /// The holder's lease is due and nothing was heard of it: it may be dead (S11).
    Due,
}

// === impl Flight ===

impl Flight {
    /// Follows the fill that runs under `token`.
    pub fn pursue(self: &Arc<Self>, names: &Names, token: Number) -> FillWatch {
        let sign = self.sign(Held { token: Some(token), rest: None });
        let (names, aside) = (names.clone(), names.aside(token));
        FillWatch { flight: Arc::clone(self), names, token, aside, lost: false, sign, changes: None }
    }

    /// Tells those who ride a fill whose lease is lost: it is nobody else's word, so without a
    /// fence. Gone after `ttl`.
    pub async fn tell_aside(&self, names: &Names, token: Number, text: &str, ttl: Duration) -> Result<()> {
        let how = Put { fence: None, expires_in: Some(ttl), durable: false };
        self.bounded(self.dust.put(&names.aside(token), text, how)).await.map(|_| ())
    }

    /// Leave to fill without the lease, for one who will not stand in a line for it (F5).
    pub fn apart(self: &Arc<Self>, names: &Names) -> Fill {
        Fill::alone(self, names, Uncoordinated::Apart)
    }
}

// === impl Pursuit ===

impl FillWatch {
    /// Follows the fill that runs under `token` from now on.
    pub fn turn_to(&mut self, token: Number) {
        if token != self.token {
            (self.token, self.aside, self.changes) = (token, self.names.aside(token), None);
            self.lost = false;
        }
    }

    /// The lease of the fill that is followed is gone for good: from now on what its holder tells without
    /// it is looked at.
    pub fn lease_is_gone(&mut self) {
        self.lost = true;
    }

    /// Waits until there is something to look at. An error is a store that is gone (F6).
    ///
    /// Cancel safe, but for a look that was under way: the next one looks again.
    pub async fn next(&mut self) -> Result<Snapshot> {
        let flight = Arc::clone(&self.flight);
        let probe = flight.watch(&self.names.lock);
        loop {
            let Some(changes) = &mut self.changes else {
                let keys = [&*self.names.value, &*self.names.verdict, &*self.names.lock, &*self.aside];
                let changes = flight.bounded(flight.dust.on(&keys)).await?;
                // Confirmed: what happens from here on is heard, what happened before is read (S8).
                let glimpse = self.look(None).await?;
                self.changes = Some(changes);
                return Ok(glimpse);
            };
            let due = self.sign.falls_due(flight.settings.lease_ttl);
            let wake = tokio::select! {
                biased;
                wake = changes.next() => wake,
                error = probe.failed() => return Err(error),
                () = sleep_until(due) => {
                    // Tried now; again when another whole lease has passed without a sign.
                    self.sign = flight.sign(Held { token: self.sign.token, rest: None });
                    return Ok(Snapshot::Due);
                }
            };
            if wake.lost {
                self.changes = None;
                continue;
            }
            if let Some(wake) = self.worth_a_look(wake) {
                // Dropped in mid-look, all is read anew.
                let changes = self.changes.take();
                let glimpse = self.look(Some(wake)).await?;
                self.changes = changes;
                return Ok(glimpse);
            }
        }
    }

    /// A mere renewal is a sign of life, and nothing to look at.
    fn worth_a_look(&mut self, wake: Wake) -> Option<Wake> {
        let other = wake.lease.is_some_and(|(token, _)| Some(token) != self.sign.token);
        let worth = wake.touched || wake.deleted.is_some() || wake.released.is_some() || other;
        if !worth {
            self.flight.heard(&mut self.sign, wake);
        }
        worth.then_some(wake)
    }

    async fn look(&mut self, wake: Option<Wake>) -> Result<Snapshot> {
        let flight = Arc::clone(&self.flight);
        let ended = wake.is_none_or(|wake| flight.heard(&mut self.sign, wake));
        let (found, live) = if ended {
            let Look { found, lock } = flight.look_around(&self.names).await?;
            if let Some(held) = lock {
                self.sign = flight.sign(held);
            }
            (found, lock.and_then(|held| held.token))
        } else {
            (flight.look_again(&self.names).await?, self.sign.token)
        };
        let aside = match live {
            Some(token) if token == self.token && !self.lost => None,
            _ => flight.bounded(flight.dust.entry(&self.aside)).await?,
        };
        Ok(Snapshot::There { value: found.value, verdict: found.verdict, live, aside })
    }
}
