//! Entering a flight between processes: find, wait, or win (S1–S14, F2, F6, F8).

use std::sync::Arc;

use futures_util::future::{try_join, try_join3};
use tokio::time::{Instant, sleep_until};

use crate::dust::{Entry, Number, Result, Value};

use super::fill::Found;
use super::lease::{Asked, Held};
use super::wait::WaitEnd;
use super::{Entered, Fill, Flight, Judged, Names, OnUnavailable, Uncoordinated};

/// What a request makes of what is published: freshness, stamps, riding (F5, F8) are its own.
///
/// Only text is shown to it: an entry that is a lease, or is not text, is absent (S16).
pub trait Judge: Send + Sync {
    /// What the request is answered from.
    type Found: Send;

    /// Judges what is there. Asked again on every wake (S9). `live` is the token of the lease
    /// that is known to live on the lock: a growing manifest under any other token is dead.
    fn judge(
        &self,
        value: Option<&Entry>,
        verdict: Option<&Entry>,
        live: Option<Number>,
    ) -> Judged<Self::Found>;

    /// Judges what the holder of `token` tells although its lease has gone to another: to those alone
    /// who have waited for it (F8).
    fn aside(&self, _entry: &Entry, _token: Number) -> Judged<Self::Found> {
        Judged::Absent
    }

    /// The last known value, once the deadline has passed, if it may be served stale (S13).
    fn stale(&self, value: Option<&Entry>) -> Option<Self::Found>;
}

/// What is published, in one look.
#[derive(Debug, Default)]
pub(super) struct Look {
    pub(super) found: Found,
    pub(super) lock: Option<Held>,
}

/// One request on its way in.
pub(super) struct Entering<'a, J> {
    pub(super) flight: &'a Arc<Flight>,
    pub(super) names: &'a Names,
    pub(super) deadline: Instant,
    pub(super) superseded: Number,
    /// Holders that it has waited for, the first ones: what they bring is good enough for it, though
    /// a purge takes their lease.
    pub(super) waited_for: Vec<Number>,
    judge: &'a J,
    /// What the last look found.
    last: Found,
}

/// A void lease is given back this often before it is waited for like any other (F8).
const VOIDINGS: u32 = 3;
/// A lock that looks free and turns out held is tried at once this often, then backed off from.
const AT_ONCE: u32 = 2;
/// So many holders are listened to after a purge took their lease: the first ends first.
const WAITED_FOR: usize = 3;

// === impl Flight ===

impl Flight {
    /// Finds what `judge` accepts, waits for it until `deadline`, or wins the right to fill.
    ///
    /// `superseded` is the number of the highest stamp that covers the key, 0 if none does:
    /// who holds a token below it fills in vain for this request, so that lease is released and
    /// the lock tried (F8).
    ///
    /// Ends by the deadline, or a few call bounds after it if the store is slow to answer. Cancel
    /// safe: subscriptions end (S17), and a lease that was asked for is given back (F11).
    pub async fn enter<J: Judge>(
        self: &Arc<Self>,
        names: &Names,
        deadline: Instant,
        superseded: Number,
        judge: &J,
    ) -> Entered<J::Found> {
        self.saw(superseded);
        let (waited_for, last) = (Vec::new(), Found::default());
        let mut entering = Entering { flight: self, names, deadline, superseded, waited_for, judge, last };
        match entering.walk().await {
            Ok(entered) => entered,
            Err(error) => entering.degrade(Uncoordinated::Store(error)),
        }
    }

    /// Value and verdict, and the lock too if there is a verdict, which its holder may have left.
    async fn look(&self, names: &Names) -> Result<Look> {
        let found = self.look_again(names).await?;
        let lock = match found.verdict {
            Some(_) => self.held(self.bounded(self.dust.entry(&names.lock)).await?),
            None => None,
        };
        Ok(Look { found, lock })
    }

    /// Value and verdict.
    pub(super) async fn look_again(&self, names: &Names) -> Result<Found> {
        let both = try_join(self.dust.entry(&names.value), self.dust.entry(&names.verdict));
        let (value, verdict) = self.bounded(both).await?;
        Ok(Found { value: self.text(value), verdict: self.text(verdict) })
    }

    /// Value, verdict and lock (S8).
    pub(super) async fn look_around(&self, names: &Names) -> Result<Look> {
        let [value, verdict, lock] =
            [&names.value, &names.verdict, &names.lock].map(|name| self.dust.entry(name));
        let (value, verdict, lock) = self.bounded(try_join3(value, verdict, lock)).await?;
        let found = Found { value: self.text(value), verdict: self.text(verdict) };
        Ok(Look { found, lock: self.held(lock) })
    }

    fn text(&self, entry: Option<Entry>) -> Option<Entry> {
        let entry = entry?;
        self.saw(entry.number);
        entry.text().is_some().then_some(entry)
    }

    fn held(&self, lock: Option<Entry>) -> Option<Held> {
        let lock = lock?;
        self.saw(lock.number);
        match lock.value {
            Value::Lease { rest } => Some(Held { token: Some(lock.number), rest }),
            Value::Text(_) | Value::Other => None,
        }
    }
}

// === impl Entering ===

impl<J: Judge> Entering<'_, J> {
    /// The whole way; an error is a store that failed somewhere on it (S14, F6).
    async fn walk(&mut self) -> Result<Entered<J::Found>> {
        let look = self.flight.look(self.names).await?;
        if let Judged::Found(found) = self.judge(look) {
            return Ok(Entered::Cached(found));
        }
        let (mut waited, mut voided, mut at_once) = (false, 0, 0);
        loop {
            let held = match self.flight.ask(self.names).await? {
                Asked::Won(fill) => return self.won(fill, waited).await,
                Asked::Occupied => return Ok(Entered::Alone(self.alone(Uncoordinated::Occupied))),
                Asked::Held(held) => held,
            };
            let turn = match self.void(held) {
                Some(token) if voided < VOIDINGS => WaitEnd::Void(token),
                _ => {
                    waited = true;
                    self.wait(held, voided < VOIDINGS).await?
                }
            };
            match turn {
                WaitEnd::Found(found) => return Ok(Entered::Awaited(found)),
                WaitEnd::Apart => return Ok(Entered::Alone(self.alone(Uncoordinated::Apart))),
                WaitEnd::Deadline => return Ok(self.late().await),
                WaitEnd::Due => {}
                WaitEnd::Void(token) => {
                    voided += 1;
                    self.flight.void(&self.names.lock, token).await?;
                }
                WaitEnd::Free if at_once < AT_ONCE => at_once += 1,
                WaitEnd::Free | WaitEnd::Released => {
                    at_once = 0;
                    self.back_off().await;
                }
            }
        }
    }

    /// The token of a holder that fills in vain for this request (F8).
    pub(super) fn void(&self, held: Held) -> Option<Number> {
        held.token.filter(|token| *token < self.superseded)
    }

    /// Remembers a holder that it waits for.
    pub(super) fn waits_for(&mut self, held: Held) {
        if let Some(token) = held.token
            && self.void(held).is_none()
            && self.waited_for.len() < WAITED_FOR
            && !self.waited_for.contains(&token)
        {
            self.waited_for.push(token);
        }
    }

    /// What those tell that it has waited for and that hold the lease no more.
    pub(super) async fn look_aside(&self, live: Option<Number>) -> Result<Judged<J::Found>> {
        for token in self.waited_for.iter().filter(|token| live != Some(**token)) {
            let aside = self.names.aside(*token);
            let told = self.flight.bounded(self.flight.dust.entry(&aside)).await?;
            if let Some(told) = self.flight.text(told) {
                match self.judge.aside(&told, *token) {
                    Judged::Absent => {}
                    judged => return Ok(judged),
                }
            }
        }
        Ok(Judged::Absent)
    }

    /// Judges a look, and keeps it as the last one.
    pub(super) fn judge(&mut self, look: Look) -> Judged<J::Found> {
        self.last = look.found;
        let live = look.lock.and_then(|held| held.token);
        self.judge.judge(self.last.value.as_ref(), self.last.verdict.as_ref(), live)
    }

    /// Looks again before filling: another may have published just before (F2).
    async fn won(&mut self, fill: Fill, waited: bool) -> Result<Entered<J::Found>> {
        let found = self.flight.look_again(self.names).await?;
        let own = Held { token: Some(fill.token()), rest: None };
        match self.judge(Look { found, lock: Some(own) }) {
            // Dropped, the lease is given back in the background: nobody waits for that.
            Judged::Found(found) if waited => Ok(Entered::Awaited(found)),
            Judged::Found(found) => Ok(Entered::Cached(found)),
            // Whose right it is now has no line to stand in.
            Judged::Apart | Judged::Absent => Ok(Entered::Won(fill.with(std::mem::take(&mut self.last)))),
        }
    }

    /// The deadline passed: one last look, for the last events may have been lost (S13).
    async fn late(&mut self) -> Entered<J::Found> {
        if let Ok(look) = self.flight.look_around(self.names).await
            && let Judged::Found(found) = self.judge(look)
        {
            return Entered::Awaited(found);
        }
        Entered::TimedOut(self.judge.stale(self.last.value.as_ref()))
    }

    /// A random pause, so that waiters do not try in lockstep (S12).
    async fn back_off(&self) {
        let pause = self.flight.dice.up_to(self.flight.settings.jitter);
        sleep_until((Instant::now() + pause).min(self.deadline)).await;
    }

    fn degrade(&mut self, why: Uncoordinated) -> Entered<J::Found> {
        match self.flight.settings.on_unavailable {
            OnUnavailable::RunLocal => Entered::Alone(self.alone(why)),
            OnUnavailable::Error => Entered::Unavailable(why),
        }
    }

    fn alone(&mut self, why: Uncoordinated) -> Fill {
        Fill::alone(self.flight, self.names, why).with(std::mem::take(&mut self.last))
    }
}
