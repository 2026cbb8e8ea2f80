//! Follows another instance's fill after its verdict, while its body grows: what it publishes, whether
//! its holder lives, which holder takes over (docs/design.md, A miss that follows).

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep_until;

use crate::dust::{Changes, Entry, Known, Number, Put, Result, Wake};

use super::enter::EntryLook;
use super::fill::Found;
use super::lease::OwnLease;
use super::wait::LeaseDeadline;
use super::{Fill, Flight, Names, Uncoordinated};

/// What is known of a fill under way on another instance. Dropped, its subscription ends (S17).
#[derive(Debug)]
pub struct FillWatch {
    flight: Arc<Flight>,
    names: Names,
    /// The token of the followed fill.
    token: Number,
    /// The key at which it writes after it has lost its lease.
    aside: String,
    /// Its lease is known to be gone, whatever the store reports.
    lost: bool,
    sign: LeaseDeadline,
    changes: Option<Changes>,
    /// What was read last.
    known: Known,
}

/// What [`FillWatch::next`] returns.
#[derive(Debug)]
pub enum Snapshot {
    /// Something changed, or this is the first read: what is published now.
    There {
        /// What is at the value and the verdict. The body of a value comes with it once.
        found: Found,
        /// The token of the lease that is known to live on the lock, if one does.
        live: Option<Number>,
        /// What the followed holder has written aside since it lost its lease.
        aside: Option<Entry>,
    },
    /// The holder's lease is due and no sign of life came: the holder may be dead (S11).
    Due,
}

// === impl Flight ===

impl Flight {
    /// Follows the fill that runs under `token`.
    pub fn pursue(self: &Arc<Self>, names: &Names, token: Number) -> FillWatch {
        let sign = self.sign(OwnLease { token: Some(token), rest: None });
        let (names, aside) = (names.clone(), names.aside(token));
        FillWatch {
            flight: Arc::clone(self),
            names,
            token,
            aside,
            lost: false,
            sign,
            changes: None,
            known: Known::default(),
        }
    }

    /// Informs the requests that ride a fill whose lease is lost. The key is this fill's alone, so the
    /// write has no fence. It expires after `ttl`.
    pub async fn tell_aside(&self, names: &Names, token: Number, text: &str, ttl: Duration) -> Result<()> {
        let how = Put { fence: None, expires_in: Some(ttl), durable: false };
        self.bounded(self.dust.put(&names.aside(token), text, how)).await.map(|_| ())
    }

    /// Returns a fill without the lease, for a request that does not wait for it (F5).
    pub fn apart(self: &Arc<Self>, names: &Names) -> Fill {
        Fill::alone(self, names, Uncoordinated::Apart)
    }
}

// === impl FillWatch ===

impl FillWatch {
    /// Follows the fill that runs under `token` from now on.
    pub fn turn_to(&mut self, token: Number) {
        if token != self.token {
            (self.token, self.aside, self.changes) = (token, self.names.aside(token), None);
            self.lost = false;
        }
    }

    /// Records that the lease of the followed fill is gone for good: from now on what its holder writes
    /// aside is read.
    pub fn lease_is_gone(&mut self) {
        self.lost = true;
    }

    /// Waits for the next snapshot. An error means that the store is gone (F6).
    ///
    /// Cancel safe: if a read was under way, the next call reads everything again.
    pub async fn next(&mut self) -> Result<Snapshot> {
        let flight = Arc::clone(&self.flight);
        let probe = flight.watch(&self.names.lock);
        loop {
            let Some(changes) = &mut self.changes else {
                let keys = [&*self.names.value, &*self.names.verdict, &*self.names.lock, &*self.aside];
                let changes = flight.bounded(flight.dust.on(&keys)).await?;
                // The subscription is confirmed: later changes are heard, earlier ones are read (S8).
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
                    // Due again when another whole lease has passed without a sign.
                    self.sign = flight.sign(OwnLease { token: self.sign.token, rest: None });
                    return Ok(Snapshot::Due);
                }
            };
            if wake.lost {
                self.changes = None;
                continue;
            }
            if let Some(wake) = self.worth_a_look(wake) {
                // Dropped during the read, the next call subscribes and reads everything.
                let changes = self.changes.take();
                let glimpse = self.look(Some(wake)).await?;
                self.changes = changes;
                return Ok(glimpse);
            }
        }
    }

    /// Returns the wake if it is a reason to read. A renewal alone is only a sign of life.
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
        let EntryLook { found, lock } = flight.look_around(&self.names, self.known).await?;
        let live = if ended {
            if let Some(held) = lock {
                self.sign = flight.sign(held);
            }
            lock.and_then(|held| held.token)
        } else {
            self.sign.token
        };
        self.known = found.known();
        let aside = match live {
            Some(token) if token == self.token && !self.lost => None,
            _ => flight.bounded(flight.dust.entry(&self.aside)).await?,
        };
        Ok(Snapshot::There { found, live, aside })
    }
}
