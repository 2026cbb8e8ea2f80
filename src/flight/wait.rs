//! Waiting for another instance's fill (S8–S11).

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::dust::{Number, Result, Wake};

use super::enter::Entering;
use super::lease::OwnLease;
use super::{Flight, Judge, Judged};

/// Why a wait is over.
pub(super) enum WaitEnd<T> {
    /// The awaited result is there (S9).
    Found(T),
    /// The awaited result is there and can't answer this request (F5).
    Apart,
    /// The re-read after subscribing found no live lease: it ended in between (S8).
    Free,
    /// The lock was released or deleted, and no result is there (S10).
    Released,
    /// The holder's lease is due: the holder may be dead (S11).
    Due,
    /// The holder's token is below the stamp that the request came after (F8).
    Void(Number),
    /// The request's own deadline has passed.
    Deadline,
}

/// The last sign of life of a holder, and when its lease is due.
#[derive(Debug, Clone, Copy)]
pub(super) struct LeaseDeadline {
    pub(super) token: Option<Number>,
    at: Instant,
    /// How long its lease lives from `at` on.
    rest: Duration,
    jitter: Duration,
}

// === impl Entering ===

impl<J: Judge> Entering<'_, J> {
    /// Waits while `held` lives. With `void`, a holder that a purge supersedes ends the wait (F8).
    ///
    /// An error means that the store does not answer or its connection was lost (F6).
    pub(super) async fn wait(&mut self, held: OwnLease, void: bool) -> Result<WaitEnd<J::Found>> {
        if Instant::now() >= self.deadline {
            return Ok(WaitEnd::Deadline);
        }
        let probe = self.flight.watch(&self.names.lock);
        let mut sign = self.flight.sign(held);
        self.waits_for(held);
        'subscribed: loop {
            let holders = self.waited_for.clone();
            let asides: Vec<String> = holders.iter().map(|token| self.names.aside(*token)).collect();
            let mut keys = vec![&*self.names.value, &*self.names.verdict, &*self.names.lock];
            keys.extend(asides.iter().map(String::as_str));
            let mut changes = self.flight.bounded(self.flight.dust.on(&keys)).await?;
            // The subscription is confirmed: later changes are heard, earlier ones are read.
            let mut turn = self.look(&mut sign, None, void).await?;
            while turn.is_none() {
                if self.waited_for != holders {
                    // Another holder may lose its lease as well, and write aside what answers this request.
                    continue 'subscribed;
                }
                let due = sign.due(self.flight.settings.lease_ttl, self.deadline);
                let wake = tokio::select! {
                    // Time first: a stream of events must not carry a request past its end.
                    biased;
                    () = sleep_until(due.min(self.deadline)) => {
                        return Ok(if due <= self.deadline { WaitEnd::Due } else { WaitEnd::Deadline });
                    }
                    error = probe.failed() => return Err(error),
                    wake = changes.next() => wake,
                };
                if wake.lost {
                    // Subscribe and read again: that fails if the store is gone.
                    continue 'subscribed;
                }
                turn = self.look(&mut sign, Some(wake), void).await?;
            }
            return Ok(turn.unwrap_or(WaitEnd::Free));
        }
    }

    /// Reads again and judges: everything after subscribing, and after a wake what the wake calls for.
    /// Returns `None` if the wait goes on.
    async fn look(
        &mut self,
        sign: &mut LeaseDeadline,
        wake: Option<Wake>,
        void: bool,
    ) -> Result<Option<WaitEnd<J::Found>>> {
        let ended = wake.is_none_or(|wake| self.flight.heard(sign, wake));
        let mut look = self.flight.look_around(self.names, self.last.known()).await?;
        if !ended {
            look.lock = Some(OwnLease { token: sign.token, rest: None });
        }
        let lock = look.lock;
        match self.judge(look) {
            Judged::Found(found) => return Ok(Some(WaitEnd::Found(found))),
            Judged::Apart => return Ok(Some(WaitEnd::Apart)),
            Judged::Absent => {}
        }
        match self.look_aside(lock.and_then(|held| held.token)).await? {
            Judged::Found(found) => return Ok(Some(WaitEnd::Found(found))),
            Judged::Apart => return Ok(Some(WaitEnd::Apart)),
            Judged::Absent => {}
        }
        if !ended {
            // What it has just been told may show that a purge covers what it waits for.
            let known = lock.filter(|_| void);
            if let Some(held) = lock {
                self.waits_for(held);
            }
            return Ok(known.and_then(|held| self.void(held)).map(WaitEnd::Void));
        }
        let Some(held) = lock else {
            return Ok(Some(if wake.is_some() { WaitEnd::Released } else { WaitEnd::Free }));
        };
        if void && let Some(token) = self.void(held) {
            return Ok(Some(WaitEnd::Void(token)));
        }
        // A lease that was read is a sign of life only with the time it has left, or if its holder is
        // another than the last known one.
        if held.rest.is_some() || held.token != sign.token {
            *sign = self.flight.sign(held);
        }
        self.waits_for(held);
        Ok(None)
    }
}

// === impl Flight ===

impl Flight {
    /// Records the lease in a wake. Returns whether the wake means that the known holder is gone.
    pub(super) fn heard(&self, sign: &mut LeaseDeadline, wake: Wake) -> bool {
        if let Some((token, ttl)) = wake.lease
            && sign.token <= Some(token)
        {
            self.saw(token);
            *sign = self.sign(OwnLease { token: Some(token), rest: Some(ttl) });
        }
        // A release below the lease known here is an old one (S10).
        wake.deleted.is_some() || (wake.released.is_some() && wake.released >= sign.token)
    }

    pub(super) fn sign(&self, held: OwnLease) -> LeaseDeadline {
        LeaseDeadline {
            token: held.token,
            at: Instant::now(),
            rest: held.rest.unwrap_or(self.settings.lease_ttl).min(self.settings.lease_ttl),
            jitter: self.dice.up_to(self.settings.jitter),
        }
    }
}

// === impl LeaseDeadline ===

impl LeaseDeadline {
    /// When to try the lock: after what is left of the lease and some jitter, at most a whole lease
    /// after the sign; at the deadline if only the jitter would go beyond it (S11).
    fn due(&self, lease_ttl: Duration, deadline: Instant) -> Instant {
        let due = self.falls_due(lease_ttl);
        if self.at + self.rest <= deadline { due.min(deadline) } else { due }
    }

    /// The same for a caller that has no deadline.
    pub(super) fn falls_due(&self, lease_ttl: Duration) -> Instant {
        (self.at + self.rest + self.jitter).min(self.at + lease_ttl)
    }
}
