//! Asking for a lease in such a way that a lost answer leaves none behind (F11).

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::time::{Instant, timeout};

use crate::dust::{
    Error, Findings, Grant, Holder, Inquiry, Known, Lease, LeaseRequest, Lock, Number, Renewal, Result,
};

use super::handback::Pending;
use super::{Attempt, Fill, Flight, Names};

/// What the store answered to one attempt.
pub(super) enum Asked {
    Won(Fill),
    Held(OwnLease),
    Occupied,
}

/// Another holder's lease, as far as the store has told of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct OwnLease {
    pub(super) token: Option<Number>,
    pub(super) rest: Option<Duration>,
}

/// An answer that may bring a lease.
trait MayGrant {
    /// The lease, if it was granted.
    fn granted(self) -> Option<Lease>;
}

/// A lease that was asked for, without an answer so far. Dropped in this state, whether the caller
/// timed out or was cancelled, it is released by its holder's name, for the call may have landed. The
/// call goes on in the background, for it may still land.
struct Unheard<'a, T: MayGrant + Send + 'static> {
    flight: &'a Arc<Flight>,
    lock: &'a Arc<str>,
    asked: Option<(Holder, BoxFuture<'static, Result<T>>)>,
}

/// For how many call bounds a call that timed out goes on in the background. The limit keeps such
/// calls from piling up while the store is silent.
const LINGER: u32 = 5;

// === impl Flight ===

impl Flight {
    /// Tries the lease once, without waiting: for a second lock of the same fill (a variant's), or for
    /// a result that is stored only if the lock is free. What is published there is not read.
    ///
    /// Cancel safe: a lease whose answer was not heard is released in the background (F11).
    pub async fn attempt(self: &Arc<Self>, names: &Names) -> Attempt {
        self.attempt_after(names, 0).await
    }

    /// The same for a request that came after the purge with the number `superseded`, 0 if there was
    /// none: a lease with a token below it is released first (F8).
    pub async fn attempt_after(self: &Arc<Self>, names: &Names, superseded: Number) -> Attempt {
        let mut asked = self.ask(names).await;
        if let Ok(Asked::Held(held)) = &asked
            && let Some(token) = held.token.filter(|token| *token < superseded)
        {
            asked = match self.void(&names.lock, token).await {
                Ok(()) => self.ask(names).await,
                Err(error) => Err(error),
            };
        }
        match asked {
            Ok(Asked::Won(fill)) => Attempt::Won(fill),
            Ok(Asked::Held(_) | Asked::Occupied) => Attempt::Taken,
            Err(error) => Attempt::Unavailable(error),
        }
    }

    /// Asks once for a lease that is no fill's, such as a permit of a budget, under a name used once. The
    /// caller must keep it alive ([`keep`](Self::keep)) and release it ([`give`](Self::give)). It lives
    /// for [`Settings::lease_ttl`](super::Settings::lease_ttl).
    ///
    /// # Errors
    /// The store's error, or [`Error::Unavailable`] if it did not answer within the call bound.
    ///
    /// # Cancel safety
    /// A lease whose answer was not heard is released in the background (F11).
    pub async fn take(self: &Arc<Self>, key: &Arc<str>) -> Result<Grant> {
        let answer = Unheard::ask(self, key).answer().await?;
        match &answer {
            Grant::Granted(lease) => self.saw(lease.token),
            Grant::Held { token, holder, .. } => self.heard_of(key, *token, holder.as_ref()),
            Grant::Occupied => self.counters.occupied(key),
        }
        Ok(answer)
    }

    /// Renews a lease that was [taken](Self::take), once.
    ///
    /// # Errors
    /// As for [`take`](Self::take).
    ///
    /// # Cancel safety
    /// Dropped, it is unknown whether the lease was renewed.
    pub async fn keep(&self, lease: &Lease) -> Result<Renewal> {
        self.bounded(self.dust.renew(lease, self.settings.lease_ttl)).await
    }

    /// Releases a lease in the background, with retries until the store has answered or the lease has
    /// expired; [`Flight::idle`] waits for it. Outside a runtime it is left to expire.
    pub fn give(self: &Arc<Self>, lease: Lease) {
        self.hand_back(Pending::Lease(lease));
    }

    /// Asks for the lease, under a name used once.
    pub(super) async fn ask(self: &Arc<Self>, names: &Names) -> Result<Asked> {
        let sent = Instant::now();
        Ok(match self.take(&names.lock).await? {
            Grant::Granted(lease) => Asked::Won(Fill::under(self, names, lease, sent)),
            Grant::Held { rest, token, .. } => Asked::Held(OwnLease { token, rest }),
            Grant::Occupied => Asked::Occupied,
        })
    }

    /// Reads value, verdict and lock, and asks for the lease if nothing is there but what is `known`.
    pub(super) async fn inquire(self: &Arc<Self>, names: &Names, known: Known) -> Result<Findings> {
        Unheard::inquire(self, names, known).answer().await
    }

    /// Notes another holder of a lock.
    pub(super) fn heard_of(&self, lock: &Arc<str>, token: Option<Number>, holder: Option<&Holder>) {
        self.saw(token.unwrap_or(0));
        if let (Some(token), Some(holder)) = (token, holder) {
            self.leaders.heard(lock, token, holder);
        }
    }

    /// Releases a lease that a purge has made void, whichever instance holds it (F8).
    pub(super) async fn void(&self, lock: &str, token: Number) -> Result<()> {
        let lease = Lease { key: lock.to_owned(), token, holder: Holder("".into()) };
        self.bounded(self.dust.release(&lease)).await
    }
}

// === impl Unheard ===

impl MayGrant for Grant {
    fn granted(self) -> Option<Lease> {
        match self {
            Self::Granted(lease) => Some(lease),
            Self::Held { .. } | Self::Occupied => None,
        }
    }
}

impl MayGrant for Findings {
    fn granted(self) -> Option<Lease> {
        match self.lock {
            Lock::Granted(lease) => Some(lease),
            Lock::Free | Lock::Held { .. } | Lock::Occupied => None,
        }
    }
}

impl<'a> Unheard<'a, Findings> {
    fn inquire(flight: &'a Arc<Flight>, names: &'a Names, known: Known) -> Self {
        let holder = Holder::of(&flight.instance, &flight.dice.name());
        let call = {
            let (dust, names, holder) = (Arc::clone(&flight.dust), names.clone(), holder.clone());
            let (ttl, seen) = (flight.settings.lease_ttl, flight.seen());
            async move {
                let Names { value, verdict, lock } = &names;
                let lease = Some(LeaseRequest { ttl, holder: &holder, seen });
                dust.enter(Inquiry { value, verdict, lock, known, lease }).await
            }
        };
        Self { flight, lock: &names.lock, asked: Some((holder, call.boxed())) }
    }
}

impl<'a> Unheard<'a, Grant> {
    fn ask(flight: &'a Arc<Flight>, lock: &'a Arc<str>) -> Self {
        let holder = Holder::of(&flight.instance, &flight.dice.name());
        let call = {
            let (dust, lock, holder) = (Arc::clone(&flight.dust), Arc::clone(lock), holder.clone());
            let (ttl, seen) = (flight.settings.lease_ttl, flight.seen());
            async move { dust.lease(&lock, ttl, &holder, seen).await }
        };
        Self { flight, lock, asked: Some((holder, call.boxed())) }
    }
}

impl<T: MayGrant + Send + 'static> Unheard<'_, T> {
    /// Waits for the answer within the call bound. After an error, except [`Error::Refused`] and
    /// [`Error::NotDone`], it is unknown whether the lease landed.
    async fn answer(&mut self) -> Result<T> {
        let Some((_, call)) = &mut self.asked else { return Err(self.flight.silent()) };
        let Ok(answer) = timeout(self.flight.settings.call_bound, call).await else {
            return Err(self.flight.silent());
        };
        // The call is complete and must not be polled again.
        match answer {
            Ok(_) | Err(Error::Refused(_) | Error::NotDone(_)) => self.asked = None,
            Err(_) => drop(self.give_back()),
        }
        answer
    }

    fn give_back(&mut self) -> Option<BoxFuture<'static, Result<T>>> {
        let (holder, call) = self.asked.take()?;
        self.flight.hand_back(Pending::Unheard { key: Arc::clone(self.lock), holder });
        Some(call)
    }
}

impl<T: MayGrant + Send + 'static> Drop for Unheard<'_, T> {
    fn drop(&mut self) {
        let Some(call) = self.give_back() else { return };
        let flight = Arc::clone(self.flight);
        self.flight.background(async move {
            let linger = flight.settings.call_bound * LINGER;
            if let Ok(Ok(answer)) = timeout(linger, call).await
                && let Some(lease) = answer.granted()
            {
                flight.counters.orphaned();
                flight.hand_back(Pending::Lease(lease));
            }
        });
    }
}
