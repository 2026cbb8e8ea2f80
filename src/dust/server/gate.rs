//! The gate before a token's rate limit.
//!
//! The server counts writes by the minute of its clock, failed ones too. A fill's lease brings at least two
//! more writes: its result and its release. So a lease is asked for only while there is room for those of all
//! leases that this instance has open; what is owed goes out until the server refuses.
//!
//! After a refusal no call goes out until that minute is over; then one goes first, and the others follow if
//! it is let through.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use super::http::Allowance;
use super::state::lock;
use crate::clock::WallMs;

/// How long the first call after a refusal may take before another one is sent.
const PROBE: Duration = Duration::from_secs(2);
/// For how long after the limit is over what is owed goes before a new lease.
const FIRST: Duration = Duration::from_secs(1);
/// How many writes a minute a server as it comes allows a token.
const STOCK: u64 = 100;
/// How many writes an instance at rest makes in a minute: they are kept free for it.
const AT_REST: u64 = 10;
/// How many are kept free until the end of the minute: for purges.
const KEPT: u64 = 2;
/// The least that a refusal shows: others may have written before this instance did.
const LEAST: u64 = 25;
/// The writes that end a fill: its result, and its release.
const END: u64 = 2;
/// The least part of what is left for which the server is asked again: asking is a write.
const WORTH: u64 = 8;
/// The length of the server's window.
const WINDOW_MS: u64 = 60_000;
/// What is known of the server's clock is that near: a refusal so soon in a minute is one of the minute before.
const EDGE_MS: u64 = 250;
/// More writes a minute than any server takes.
const MOST: u64 = 10_000_000;

/// What a write is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// It can't wait: it ends what was begun, or shows that this instance lives, or is a purge.
    Owed,
    /// It begins something that more writes have to end.
    Lease,
    /// All goes on without it.
    Spare,
}

/// The gate of a token, and what this instance has written in this minute.
#[derive(Debug)]
pub(super) struct Gate {
    passage: Passage,
    /// The minute of the server's clock that is counted.
    minute: u64,
    count: Count,
    /// Leases that are asked for.
    asked: u64,
    /// Writes that are not answered yet.
    under_way: u64,
    /// The open leases of fills.
    open: BTreeMap<Arc<str>, Term>,
    /// The leases of the instances.
    members: BTreeMap<Arc<str>, Term>,
    limit: Limit,
    /// What may be written in a minute, as far as a refusal has shown.
    shown: Option<u64>,
}

/// A lease: its token in the server, and when it expires by the server's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Term {
    pub token: u64,
    pub until: WallMs,
}

/// What has happened in a minute.
#[derive(Debug, Clone, Copy, Default)]
struct Count {
    /// The writes of this instance.
    spent: u64,
    /// What the server has told in it.
    told: Option<Told>,
    /// Whether the server refused one.
    is_refused: bool,
    /// Whether a write was held back here.
    is_held_back: bool,
}

/// What the server has told of a minute that was under way.
#[derive(Debug, Clone, Copy)]
struct Told {
    /// What was left for all instances.
    remaining: u64,
    /// The writes that this instance had made.
    spent: u64,
}

/// How many writes a minute the token has.
#[derive(Debug, Clone, Copy)]
enum Limit {
    Guessed(u64),
    Told(u64),
}

/// Whether calls may go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Passage {
    /// They may.
    Open,
    /// Not before then.
    Shut(Instant),
    /// One was sent then, and is not answered yet.
    Probing(Instant),
}

/// The time here and on the server's clock.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    pub at: Instant,
    pub server_ms: WallMs,
}

/// The writes of a minute that were answered at some moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answered {
    minute: u64,
    writes: u64,
}

/// Why a write does not go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Denied {
    /// The server has refused one in this minute.
    Limited,
    /// What is left of the minute is for what is owed.
    Kept,
}

/// The place of a write in the gate's count, until it is answered or given up.
#[derive(Debug)]
pub(super) struct Ticket {
    gate: Arc<Mutex<Gate>>,
    class: Class,
    is_sent: bool,
}

// === impl Gate ===

impl Default for Gate {
    fn default() -> Self {
        Self {
            passage: Passage::Open,
            minute: 0,
            count: Count::default(),
            asked: 0,
            under_way: 0,
            open: BTreeMap::new(),
            members: BTreeMap::new(),
            limit: Limit::Guessed(STOCK),
            shown: None,
        }
    }
}

impl Gate {
    /// Counts a write that goes out now, unless it may not.
    pub(super) fn admit(&mut self, class: Class, now: Moment) -> Result<(), Denied> {
        self.turn(now.server_ms);
        let passes = match self.passage {
            Passage::Open => true,
            Passage::Shut(until) => now.at >= until && self.may_be_first(class, until, now.at),
            Passage::Probing(sent) => {
                now.at >= sent + PROBE && self.may_be_first(class, sent + PROBE, now.at)
            }
        };
        if !passes {
            return Err(Denied::Limited);
        }
        let more = match class {
            Class::Owed => 0,
            Class::Lease => 1 + END,
            Class::Spare => 1,
        };
        if more > 0 && self.bound(now.server_ms) + more > self.budget() {
            self.count.is_held_back = true;
            return Err(Denied::Kept);
        }
        if self.passage != Passage::Open {
            self.passage = Passage::Probing(now.at);
        }
        self.count.spent += 1;
        self.under_way += 1;
        self.asked += u64::from(class == Class::Lease);
        Ok(())
    }

    /// Counts a write that goes out whatever the gate says.
    pub(super) fn counts(&mut self, now: Moment) {
        self.turn(now.server_ms);
        self.count.spent += 1;
        self.under_way += 1;
    }

    /// How many writes of this minute the server has certainly counted: those that were answered.
    pub(super) fn answered(&mut self, now: Moment) -> Answered {
        self.turn(now.server_ms);
        // The question is a write itself, and counted by its answer.
        let writes = (self.count.spent + 1).saturating_sub(self.under_way);
        Answered { minute: self.minute, writes }
    }

    /// Returns whether leases are asked for.
    pub(super) fn asks(&self) -> bool {
        self.asked > 0
    }

    /// Returns whether all that is owed goes out at once.
    pub(super) fn is_open(&self) -> bool {
        self.passage == Passage::Open
    }

    /// Records that a call was refused for the limit; the next minute begins at `until`. One that `is_over` was
    /// refused in a minute that has passed.
    pub(super) fn refused(&mut self, until: Instant, is_over: bool, now: Moment) {
        self.turn(now.server_ms);
        self.count.spent = self.count.spent.saturating_sub(1);
        if !self.count.is_refused && !is_over {
            (self.count.is_refused, self.shown) = (true, Some(self.count.spent.max(LEAST)));
        }
        self.passage = match self.passage {
            Passage::Shut(already) => Passage::Shut(already.max(until)),
            Passage::Open | Passage::Probing(_) => Passage::Shut(until),
        };
    }

    /// Records that a call sent at `sent` was let through.
    pub(super) fn passed(&mut self, sent: Instant) {
        // An answer from before the refusal says nothing.
        if matches!(self.passage, Passage::Probing(since) if sent >= since) {
            self.passage = Passage::Open;
        }
    }

    /// Records what the server says of the token. What is left is for all instances. Of the writes that were
    /// under way when it was asked, which had been `answered` by then, it may not have counted any.
    pub(super) fn told(&mut self, allowance: Allowance, answered: Answered, now: Moment) {
        self.turn(now.server_ms);
        self.limit = Limit::Told(allowance.limit);
        if answered.minute == self.minute {
            self.count.told = Some(Told { remaining: allowance.remaining, spent: answered.writes });
        }
    }

    /// Returns whether the server may have room for more than this instance has, so that it should be asked.
    pub(super) fn may_be_told_more(&self) -> bool {
        let may_rise = match self.limit {
            Limit::Guessed(_) => true,
            Limit::Told(limit) => {
                self.budget() < self.count.told.map_or(limit, |told| told.spent + told.remaining)
            }
        };
        may_rise
            && self.is_open()
            && self.count.told.is_none_or(|told| told.remaining / self.instances() >= WORTH)
    }

    /// Records that the lease of a fill was granted to this instance, or renewed.
    pub(super) fn opened(&mut self, key: &Arc<str>, term: Term) {
        self.open.insert(key.clone(), term);
    }

    /// Records that the leases at a key up to this token are over. One may be of this instance.
    pub(super) fn closed(&mut self, key: &str, token: u64) {
        for leases in [&mut self.open, &mut self.members] {
            // What is heard of may be of an earlier lease than what was answered.
            if leases.get(key).is_some_and(|term| term.token <= token) {
                leases.remove(key);
            }
        }
    }

    /// Records that a lease of this instance was renewed.
    pub(super) fn prolonged(&mut self, key: &str, term: Term) {
        if let Some(open) = self.open.get_mut(key).filter(|open| open.token == term.token) {
            *open = term;
        }
    }

    /// Records the lease by which an instance shows that it lives.
    pub(super) fn lives(&mut self, key: &Arc<str>, term: Term) {
        if self.members.get(key).is_none_or(|known| known.token <= term.token) {
            self.members.insert(key.clone(), term);
        }
    }

    /// Returns whether this write may be the first one after the limit.
    fn may_be_first(&self, class: Class, due: Instant, now: Instant) -> bool {
        class == Class::Owed || self.open.is_empty() || now >= due + FIRST
    }

    /// The writes of this minute, those that are still to come of what was begun, and those at rest.
    fn bound(&mut self, server_ms: WallMs) -> u64 {
        self.open.retain(|_, term| term.until > server_ms);
        let rest = WINDOW_MS - server_ms % WINDOW_MS;
        let kept = (AT_REST * rest).div_ceil(WINDOW_MS).max(KEPT);
        self.count.spent + END * (self.asked + self.open.len() as u64) + kept
    }

    /// How many writes this instance may make in this minute.
    fn budget(&self) -> u64 {
        let (Limit::Guessed(limit) | Limit::Told(limit)) = self.limit;
        let share = (limit / self.instances()).min(self.shown.unwrap_or(u64::MAX));
        // Others may have shown life since.
        match self.count.told {
            None => share,
            Some(told) => {
                let part = told.spent + told.remaining / self.instances();
                part.max(share).min(told.spent + told.remaining)
            }
        }
    }

    /// How many instances may share the token.
    fn instances(&self) -> u64 {
        (self.members.len() as u64).max(1)
    }

    /// Begins to count anew if a minute of the server's clock has begun.
    fn turn(&mut self, server_ms: WallMs) {
        let minute = server_ms / WINDOW_MS;
        // The estimate of the server's clock may go back a little.
        if minute == self.minute || minute + 1 == self.minute {
            return;
        }
        let is_set_back = minute < self.minute;
        self.minute = minute;
        if is_set_back {
            // What was counted may be of this minute: the clock is known better now, or was set.
            return;
        }
        self.members.retain(|_, term| term.until > server_ms);
        let before = std::mem::take(&mut self.count);
        if before.is_refused || !before.is_held_back {
            return;
        }
        // More may be allowed than was thought.
        self.shown = self.shown.map(|shown| (shown + shown / 2 + END).min(MOST));
        if let Limit::Guessed(limit) = &mut self.limit
            && self.shown.is_none_or(|shown| shown > *limit)
        {
            *limit = (*limit + *limit / 2).min(MOST);
        }
    }
}

// === impl Ticket ===

impl Ticket {
    /// Admits a write, and counts it until this is dropped.
    pub(super) fn admit(gate: &Arc<Mutex<Gate>>, class: Class, now: Moment) -> Result<Self, Denied> {
        lock(gate).admit(class, now)?;
        Ok(Self { gate: gate.clone(), class, is_sent: false })
    }

    /// Counts a write that goes out whatever the gate says.
    pub(super) fn of_debt(gate: &Arc<Mutex<Gate>>, now: Moment) -> Self {
        lock(gate).counts(now);
        Self { gate: gate.clone(), class: Class::Owed, is_sent: false }
    }

    /// Records that it is on its way to the server.
    pub(super) fn sent(&mut self) {
        self.is_sent = true;
    }

    pub(super) fn class(&self) -> Class {
        self.class
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut gate = lock(&self.gate);
        gate.asked -= u64::from(self.class == Class::Lease);
        gate.under_way -= 1;
        if !self.is_sent {
            gate.count.spent = gate.count.spent.saturating_sub(1);
            if let Passage::Probing(since) = gate.passage {
                // Perhaps it was the first one: another one is.
                gate.passage = Passage::Shut(since);
            }
        }
    }
}

/// How long after a write was sent the limit lasts for which it was refused, and whether that is over. It was sent
/// at `sent_ms` of the server's clock, which shows `now_ms`.
pub(super) fn rest_of_refusal(sent_ms: u64, now_ms: u64) -> (Duration, bool) {
    let into = sent_ms % WINDOW_MS;
    let rest = if into < EDGE_MS { EDGE_MS - into } else { WINDOW_MS - into };
    (Duration::from_millis(rest), into < EDGE_MS || now_ms / WINDOW_MS > sent_ms / WINDOW_MS)
}

#[cfg(test)]
mod tests;
