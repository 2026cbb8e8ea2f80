//! The two steps of a flight, made of reads and writes.

use futures_util::future::{join3, try_join};

use super::super::entrance::{Findings, Inquiry, Landing, LeaseRequest, Lock, Publication};
use super::super::{Entry, Error, Grant, Number, Put, Result, Written};
use super::Server;
use super::state::lock;

/// How often a lease is asked for again whose token is below what was found beside it.
const AGAIN: usize = 3;

// === impl Server ===

impl Server {
    /// Reads value and verdict, and asks for the lease if nothing new is there.
    ///
    /// Once the lease is won both are read again, for a waiter may win just after a publish (F2). That read
    /// is left out if the events say that nothing happened to them in between.
    pub(super) async fn inquire(&self, inquiry: Inquiry<'_>) -> Result<Findings> {
        let Inquiry { value, verdict, lock: key, known, lease } = inquiry;
        let Some(LeaseRequest { ttl, holder, mut seen }) = lease else {
            // The lock first: a fill that ends in between has left its result.
            let lock = self.heard_or_read(key).await?;
            let (value, verdict) = try_join(self.heard_or_read(value), self.heard_or_read(verdict)).await?;
            return Ok(Findings { value, body: None, verdict, lock: Lock::of(lock.as_ref()) });
        };
        let mut tries = 0;
        loop {
            let spot = self.shared.spot(key);
            let since = lock(&self.shared.stores[spot.store].recent).latest();
            let both = try_join(self.heard_or_read(value), self.heard_or_read(verdict)).await;
            // No lease has been asked for, or the last one is given back.
            let (first, note) = both.map_err(Error::not_done)?;
            if !known.covers(first.as_ref(), note.as_ref()) {
                let held = self.heard_or_read(key).await.map_err(Error::not_done)?;
                let lock = Lock::of(held.as_ref());
                return Ok(Findings { value: first, body: None, verdict: note, lock });
            }
            let lease = match self.ask(key, ttl, holder, seen).await? {
                Grant::Granted(lease) => lease,
                other => {
                    return Ok(Findings { value: first, body: None, verdict: note, lock: other.into() });
                }
            };
            let count = self.shared.numbers.count(spot, lease.token);
            let is_untouched =
                lock(&self.shared.stores[spot.store].recent).is_untouched([value, verdict], since, count);
            let again = if is_untouched {
                Ok((first, note))
            } else {
                let store = &self.shared.stores[spot.store];
                store.while_up(try_join(self.read(value), self.read(verdict))).await
            };
            let (value, verdict) = match again {
                Ok(found) => found,
                Err(error) => {
                    // The caller hears of no lease.
                    let _ = self.give_back_or_owe(&lease, ttl).await;
                    return Err(error.perhaps_done());
                }
            };
            let highest = number(value.as_ref()).max(number(verdict.as_ref()));
            tries += 1;
            if highest < lease.token || tries >= AGAIN {
                return Ok(Findings { value, body: None, verdict, lock: Lock::Granted(lease) });
            }
            // What was written lately knew of a purge that this instance has not heard of.
            self.give_back_or_owe(&lease, ttl).await.map_err(Error::perhaps_done)?;
            seen = seen.max(highest);
        }
    }

    /// Writes the result and its verdict and releases the lease. The three go out together, and the server
    /// takes one after the other; while the rate limit may be reached, each waits for the one before.
    pub(super) async fn conclude(&self, publication: Publication<'_>) -> Result<Landing> {
        let Publication { lease, value, verdict } = publication;
        let value = value.map(|value| (value.key, value.text, value.expires_in));
        let verdict = verdict.map(|note| (note.key, note.text, note.expires_in));
        let put = |part: Option<(_, _, _)>| async move {
            let Some((key, text, expires_in)) = part else { return Ok(None) };
            self.set(key, text, Put { fence: Some(lease), expires_in, durable: false }).await.map(Some)
        };
        let (value, verdict, released) = if self.shared.is_open() {
            join3(put(value), put(verdict), self.give_back(lease)).await
        } else {
            // The first one finds out whether the limit is over, and must not be the release.
            let (value, verdict) = (put(value).await?, put(verdict).await?);
            (Ok(value), Ok(verdict), self.give_back(lease).await)
        };
        let mut landed = None;
        for written in [value?, verdict?].into_iter().flatten() {
            match written {
                Written::At(number) => landed = landed.or(Some(number)),
                Written::Fenced => return Ok(Landing::Fenced),
            }
        }
        let number = landed.unwrap_or(0);
        Ok(if released.is_ok() { Landing::At(number) } else { Landing::Unreleased(number) })
    }
}

/// The number of what is there, if it is text.
fn number(entry: Option<&Entry>) -> Number {
    entry.filter(|entry| entry.text().is_some()).map_or(0, |entry| entry.number)
}
