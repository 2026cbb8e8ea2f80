//! Entering a flight between processes: find, wait, or win (S1–S14, F2, F6, F8).

use std::sync::Arc;

use bytes::Bytes;
use tokio::time::{Instant, sleep_until};

use crate::dust::{Entry, Findings, Inquiry, Known, Lock, Number, Result};

use super::fill::Found;
use super::lease::{Asked, OwnLease};
use super::wait::WaitEnd;
use super::{Entered, Fill, Flight, Judged, Names, OnUnavailable, Uncoordinated};

/// Decides for one request whether what is published answers it: freshness, stamps and riding
/// (F5, F8) are the implementor's.
///
/// It is only given text: an entry that is a lease, or is not text, counts as absent (S16).
pub trait Judge: Send + Sync {
    /// What the request is answered from.
    type Found: Send;

    /// What the request has read already and can't be answered from. If nothing else is there, it is not
    /// judged again before the lease is taken.
    fn known(&self) -> Known {
        Known::default()
    }

    /// Judges the value and the verdict. Called again on every wake (S9). `live` is the token of the
    /// lease that is known to live on the lock: a growing manifest under any other token is dead.
    fn judge(&self, found: &Found, live: Option<Number>) -> Judged<Self::Found>;

    /// Judges what the holder of `token` has written aside after it lost its lease. Called only for a
    /// holder that this request has waited for (F8).
    fn aside(&self, _entry: &Entry, _token: Number) -> Judged<Self::Found> {
        Judged::Absent
    }

    /// Fills with a token below this can't answer the request: they have brought what a purge covers, which
    /// shows only when their response is there (F8).
    fn superseded(&self) -> Number {
        0
    }

    /// Returns the last known value, after the deadline, if it may be served stale (S13).
    fn stale(&self, value: Option<&Entry>) -> Option<Self::Found>;
}

/// What is published at the names of a flight, read once.
#[derive(Debug, Default)]
pub(super) struct EntryLook {
    pub(super) found: Found,
    pub(super) lock: Option<OwnLease>,
}

/// What one step has read, and what became of the lease that it asked for.
pub(super) struct Step {
    found: Found,
    asked: Option<Asked>,
}

/// One request that enters a flight.
pub(super) struct Entering<'a, J> {
    pub(super) flight: &'a Arc<Flight>,
    pub(super) names: &'a Names,
    pub(super) deadline: Instant,
    pub(super) superseded: Number,
    /// The first holders that it has waited for and that no purge supersedes: their result may answer it even
    /// if a purge took their lease.
    pub(super) waited_for: Vec<Number>,
    judge: &'a J,
    /// The last value and verdict that were read.
    pub(super) last: Found,
}

/// How often a void lease is released before it is waited for like any other (F8).
const VOIDINGS: u32 = 3;
/// How often a lock that was read as free, and was held when asked for, is tried again without a
/// pause.
const AT_ONCE: u32 = 2;
/// How many of the holders that it has waited for are remembered: the first ones, for they end first.
const WAITED_FOR: usize = 3;

// === impl Flight ===

impl Flight {
    /// Finds what `judge` accepts, waits for it until `deadline`, or wins the right to fill.
    ///
    /// `superseded` is the number of the highest stamp that covers the key, 0 if none does. A fill
    /// with a token below it can't answer this request, so its lease is released and the lock tried (F8).
    ///
    /// Ends by the deadline, or a few call bounds after it if the store is slow to answer. Cancel
    /// safe: subscriptions end (S17), and a lease that was asked for is released (F11).
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

    /// Reads value, verdict and lock, and asks for the lease if nothing is there but what is `known`. The
    /// lease is asked for under a name used once (F11). `None` as the answer: there is something new, and no
    /// lease lives.
    async fn step(self: &Arc<Self>, names: &Names, known: Known) -> Result<Step> {
        let sent = Instant::now();
        let Findings { value, body, verdict, lock } = self.inquire(names, known).await?;
        let found = self.found(value, body, verdict);
        let asked = match lock {
            Lock::Free => None,
            Lock::Granted(lease) => {
                self.saw(lease.token);
                Some(Asked::Won(Fill::under(self, names, lease, sent)))
            }
            Lock::Held { rest, token, holder } => {
                self.heard_of(&names.lock, token, holder.as_ref());
                Some(Asked::Held(OwnLease { token, rest }))
            }
            Lock::Occupied => {
                self.counters.occupied(&names.lock);
                Some(Asked::Occupied)
            }
        };
        Ok(Step { found, asked })
    }

    /// Reads value, verdict and lock in one step (S8). The body that was published with the value comes
    /// along if the value is not `known`.
    pub(super) async fn look_around(&self, names: &Names, known: Known) -> Result<EntryLook> {
        let Names { value, verdict, lock } = names;
        let inquiry = Inquiry { value, verdict, lock, known, lease: None };
        let Findings { value, body, verdict, lock } = self.bounded(self.dust.enter(inquiry)).await?;
        let found = self.found(value, body, verdict);
        let lock = match lock {
            Lock::Held { rest, token, .. } => {
                self.saw(token.unwrap_or(0));
                Some(OwnLease { token, rest })
            }
            Lock::Free | Lock::Granted(_) | Lock::Occupied => None,
        };
        Ok(EntryLook { found, lock })
    }

    /// Reads value and verdict.
    pub(super) async fn look_again(&self, names: &Names) -> Result<Found> {
        Ok(self.look_around(names, Known::default()).await?.found)
    }

    fn found(&self, value: Option<Entry>, body: Option<Bytes>, verdict: Option<Entry>) -> Found {
        let value = self.text(value);
        Found { body: body.filter(|_| value.is_some()), value, verdict: self.text(verdict) }
    }

    pub(super) fn text(&self, entry: Option<Entry>) -> Option<Entry> {
        let entry = entry?;
        self.saw(entry.number);
        entry.text().is_some().then_some(entry)
    }
}

// === impl Entering ===

impl<J: Judge> Entering<'_, J> {
    /// Runs until one of the outcomes; an error means that a call of the store failed (S14, F6).
    async fn walk(&mut self) -> Result<Entered<J::Found>> {
        let (mut waited, mut voided, mut at_once) = (false, 0, 0);
        let mut known = self.judge.known();
        loop {
            let Step { found, asked } = self.flight.step(self.names, known).await?;
            // Read in one step with the lease: what a fill that has just ended published is there (F2).
            known = found.known();
            let lock = match &asked {
                Some(Asked::Won(fill)) => Some(OwnLease { token: Some(fill.token()), rest: None }),
                Some(Asked::Held(held)) => Some(*held),
                Some(Asked::Occupied) | None => None,
            };
            match self.judge(EntryLook { found, lock }) {
                // A lease that was won is dropped, and so released in the background.
                Judged::Found(found) if waited => return Ok(Entered::Awaited(found)),
                Judged::Found(found) => return Ok(Entered::Cached(found)),
                // If it holds the lease, `Apart` saves it no wait; else the wait finds that out again.
                Judged::Apart | Judged::Absent => {}
            }
            let held = match asked {
                Some(Asked::Won(fill)) => {
                    return Ok(Entered::Won(fill.with(std::mem::take(&mut self.last))));
                }
                Some(Asked::Occupied) => return Ok(Entered::Alone(self.alone(Uncoordinated::Occupied))),
                Some(Asked::Held(held)) => held,
                None if Instant::now() >= self.deadline => return Ok(self.late().await),
                // What is there is of no use, and now it is known: asks for the lease.
                None => continue,
            };
            let turn = match self.void(held) {
                Some(token) if voided < VOIDINGS => WaitEnd::Void(token),
                _ => {
                    waited = true;
                    self.wait(held, voided < VOIDINGS).await?
                }
            };
            // The wait may have read something else.
            known = self.last.known();
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

    /// Returns the token of `held` if a purge supersedes it for this request (F8).
    pub(super) fn void(&self, held: OwnLease) -> Option<Number> {
        held.token.filter(|token| *token < self.superseded.max(self.judge.superseded()))
    }

    /// Remembers a holder that this request waits for. One that a purge supersedes, as is known by now, can't
    /// answer it: in a storm of purges such holders would leave no room for one that can.
    pub(super) fn waits_for(&mut self, held: OwnLease) {
        let superseded = self.superseded.max(self.judge.superseded());
        self.waited_for.retain(|token| *token >= superseded);
        if let Some(token) = held.token
            && self.void(held).is_none()
            && self.waited_for.len() < WAITED_FOR
            && !self.waited_for.contains(&token)
        {
            self.waited_for.push(token);
        }
    }

    /// Judges what the holders that this request has waited for, other than `live`, have written aside.
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

    /// Judges what was read, and keeps it as the last.
    pub(super) fn judge(&mut self, look: EntryLook) -> Judged<J::Found> {
        self.last = look.found;
        let live = look.lock.and_then(|held| held.token);
        self.judge.judge(&self.last, live)
    }

    /// After the deadline: reads once more, for the last events may have been lost (S13).
    async fn late(&mut self) -> Entered<J::Found> {
        if let Ok(look) = self.flight.look_around(self.names, self.last.known()).await
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
