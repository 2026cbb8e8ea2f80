//! Leases: asks for them, and gives them back.

use std::time::Duration;

use super::super::{Dust as _, Error, Grant, Holder, Lease, Number, Renewal, Result};
use super::events::ms;
use super::fault::Reason;
use super::holders::{Asking, Landed};
use super::op::{Tag, Write};
use super::recent::Held;
use super::state::lock;
use super::{DUE_MS, Server, held_by, raise};
use crate::clock::WallMs;

// === impl Server ===

impl Server {
    /// Asks for a lease. *Held* by the same holder means that an earlier answer was lost (F11).
    ///
    /// A lease of another holder that is known to live is *held* without a write.
    pub(super) async fn ask(&self, key: &str, ttl: Duration, holder: &Holder, seen: Number) -> Result<Grant> {
        if let Some(held) = self.held_by_another(key, holder).await {
            return Ok(held);
        }
        let asking = Asking::begin(&self.shared, key, &holder.0);
        let mut is_first = true;
        loop {
            let spot = self.shared.spot(key);
            let epoch = self.shared.numbers.epoch(spot, seen);
            let signed = self.shared.numbers.signed(&holder.0, epoch);
            let mut write = Write::lease(key.into(), &self.shared.names.path(key), ms(ttl), &signed);
            write.tag.epoch = epoch;
            let outcome = self.write(key, write).await;
            // A later one says nothing of the lease that the first one found.
            match if is_first { outcome? } else { outcome.map_err(Error::perhaps_done)? } {
                Ok(done) => {
                    let until = done.expires_at.unwrap_or_else(|| self.until(ttl));
                    let token = self.landed(key, epoch, done)?;
                    let lease = Lease { key: key.into(), token, holder: holder.clone() };
                    if is_first && token <= seen {
                        let raised = raise::raise(&self.shared, spot, token, seen).await;
                        if raised != Ok(false) {
                            // It is asked for anew, or the caller hears of no lease.
                            let given = self.give_back_or_owe(&lease, ttl).await;
                            given.map_err(Error::perhaps_done)?;
                            raised?;
                            is_first = false;
                            continue;
                        }
                    }
                    asking.has(self.in_server(&lease, until));
                    return Ok(Grant::Granted(lease));
                }
                Err(Reason::Held) => {
                    let Ok(held) = self.holder(key).await else {
                        return Ok(Grant::Held { rest: None, token: None, holder: None });
                    };
                    if let Some((lease, rest)) = held {
                        if lease.holder != *holder {
                            return Ok(held_by(lease, rest));
                        }
                        let landed = self.in_server(&lease, self.until(ttl.max(rest)));
                        if lock(&self.shared.debts).has(key, landed.token) {
                            // Its release may be on its way.
                            let given = self.give_back_or_owe(&lease, ttl).await;
                            given.map_err(Error::perhaps_done)?;
                        } else {
                            asking.finds(landed);
                            let renewal = self.renew(&lease, ttl).await;
                            if renewal.map_err(Error::perhaps_done)? == Renewal::Renewed {
                                asking.has(landed);
                                return Ok(Grant::Granted(lease));
                            }
                        }
                    }
                    if !is_first {
                        return Ok(Grant::Held { rest: None, token: None, holder: None });
                    }
                }
                Err(Reason::Occupied) => {
                    if !is_first || !self.clear(key).await? {
                        return Ok(Grant::Occupied);
                    }
                }
                Err(reason) if is_first => return Err(reason.error()),
                Err(reason) => return Err(reason.error().perhaps_done()),
            }
            is_first = false;
        }
    }

    /// Returns the lease of another holder at `key`, if events have told of one and it certainly lives: a read
    /// is cheaper than a write. One that is about to fall due is tried for (S11).
    async fn held_by_another(&self, key: &str, holder: &Holder) -> Option<Grant> {
        let heard = lock(&self.shared.stores[self.shared.spot(key).store].recent).last_of(key).cloned();
        let Some(Held::Lease { expires_at, .. }) = heard else { return None };
        if expires_at <= self.shared.server_ms() + DUE_MS {
            return None;
        }
        let store = &self.shared.stores[self.shared.spot(key).store];
        let (lease, rest) = store.while_up(self.holder(key)).await.ok()??;
        let lives = lease.holder != *holder && rest > Duration::from_millis(DUE_MS);
        lives.then(|| held_by(lease, rest))
    }

    /// Deletes an expired value at the key of a lease. Returns whether it may be free now.
    async fn clear(&self, key: &str) -> Result<bool> {
        let Some(row) = self.row(key).await? else { return Ok(true) };
        if self.entry_of(key, &row).is_some() {
            return Ok(false);
        }
        let tag = Tag { number: None, epoch: self.epoch(key, None) };
        let write = Write::delete_if(key.into(), &self.shared.names.path(key), row.revision, tag);
        match self.write(key, write).await? {
            Ok(_) | Err(Reason::Conflict) => Ok(true),
            Err(reason) => Err(reason.error()),
        }
    }

    pub(super) async fn give_back(&self, lease: &Lease) -> Result<()> {
        let key = &*lease.key;
        let count = self.shared.numbers.count(self.shared.spot(key), lease.token);
        let write = Write::release(key.into(), &self.shared.names.path(key), count, lease.token);
        match self.write(key, write).await? {
            Ok(_) | Err(Reason::NotHeld) => Ok(()),
            Err(reason) => Err(reason.error()),
        }
    }

    /// Gives back a lease of which the caller does not hear. If that fails, it is owed.
    pub(super) async fn give_back_or_owe(&self, lease: &Lease, ttl: Duration) -> Result<()> {
        let given = self.give_back(lease).await;
        if let Err(error) = &given {
            self.shared.takes_back(lease, self.until(ttl), error);
        }
        given
    }

    /// The end of a lease that is taken or renewed now.
    fn until(&self, ttl: Duration) -> WallMs {
        self.shared.server_ms().saturating_add(ms(ttl))
    }

    fn in_server(&self, lease: &Lease, until: WallMs) -> Landed {
        let token = self.shared.numbers.count(self.shared.spot(&lease.key), lease.token);
        Landed { token, number: lease.token, until }
    }
}
