//! What an exchange needs beside a place: a token, where a rate is kept, and an origin that has not asked to be
//! left alone. Each method is one step.

use tokio::time::Instant;

/// An origin's wish to be left alone: it answered with this status and Retry-After.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pause {
    /// The status of its answer, 429 or 503.
    pub status: u16,
    /// Until when.
    pub until: Instant,
}

/// Whether exchanges may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Gate {
    /// They may.
    #[default]
    Open,
    /// The origin is left alone.
    Closed(Pause),
    /// The pause is over, and nothing shows yet whether the origin takes requests again: they begin one after
    /// the other, each when it is let through.
    Trial(Pause),
}

/// Tokens and gate of a limit.
#[derive(Debug, Default)]
pub(super) struct Meter {
    /// The tokens at hand; `None` if no rate is kept.
    tokens: Option<u64>,
    gate: Gate,
    /// Whether the next exchange of a trial may begin.
    lets: bool,
    /// The exchange of the trial that is under way.
    tries: Option<u64>,
    pub(super) counts: Counts,
}

/// What happened at a limit's meter since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Tokens that were spent.
    pub spent: u64,
    /// Requests that waited because there was no token.
    pub waited: u64,
    /// Requests that got none: the queue was full, or they had waited for as long as they may.
    pub refused: u64,
    /// How often a pause began.
    pub pauses: u64,
}

// === impl Meter ===

impl Meter {
    /// From now on exchanges need tokens.
    pub(super) fn counts_tokens(&mut self) {
        self.tokens.get_or_insert(0);
    }

    /// From now on exchanges need none.
    pub(super) fn counts_none(&mut self) {
        self.tokens = None;
    }

    pub(super) fn give(&mut self, tokens: u64) {
        if let Some(there) = &mut self.tokens {
            *there = there.saturating_add(tokens);
        }
    }

    /// Takes the tokens back that are at hand.
    pub(super) fn lapse(&mut self) {
        if let Some(there) = &mut self.tokens {
            *there = 0;
        }
    }

    /// The tokens at hand; `None` if none are needed.
    pub(super) fn tokens(&self) -> Option<u64> {
        self.tokens
    }

    pub(super) fn lacks_token(&self) -> bool {
        self.tokens == Some(0)
    }

    pub(super) fn gate(&self) -> Gate {
        self.gate
    }

    /// Returns whether an exchange may begin that has a place.
    pub(super) fn lets_one(&self) -> bool {
        self.lets_through() > 0 && !self.lacks_token()
    }

    /// How many exchanges the gate lets through.
    pub(super) fn lets_through(&self) -> usize {
        match self.gate {
            Gate::Open => usize::MAX,
            Gate::Closed(_) => 0,
            Gate::Trial(_) => usize::from(self.lets && self.tries.is_none()),
        }
    }

    /// An exchange begins.
    pub(super) fn begins(&mut self, id: u64) {
        self.spend();
        if let Gate::Trial(_) = self.gate {
            (self.lets, self.tries) = (false, Some(id));
        }
    }

    /// An exchange is sent a second time. Returns false if there is no token for that.
    pub(super) fn again(&mut self) -> bool {
        let may = !self.lacks_token() && !matches!(self.gate, Gate::Closed(_));
        if may {
            self.spend();
        }
        may
    }

    /// The token that was taken last is not needed.
    pub(super) fn unspent(&mut self) {
        if let Some(there) = &mut self.tokens {
            *there += 1;
            self.counts.spent -= 1;
        }
    }

    /// An exchange has ended.
    pub(super) fn ended(&mut self, id: u64) {
        if self.tries == Some(id) {
            self.tries = None;
        }
    }

    fn spend(&mut self) {
        if let Some(there) = &mut self.tokens {
            *there = there.saturating_sub(1);
            self.counts.spent += 1;
        }
    }

    /// The pause that a request meets that comes now. One whose time is over becomes a trial.
    pub(super) fn meets(&mut self, now: Instant) -> Option<Pause> {
        let Gate::Closed(pause) = self.gate else { return None };
        if now < pause.until {
            return Some(pause);
        }
        (self.gate, self.lets, self.tries) = (Gate::Trial(pause), false, None);
        None
    }

    /// A pause begins, or lasts longer. One that ends earlier than that which stands changes nothing. Returns
    /// whether anything was changed.
    pub(super) fn close(&mut self, pause: Pause) -> bool {
        match self.gate {
            Gate::Closed(stands) if stands.until >= pause.until => return false,
            Gate::Closed(_) => {}
            Gate::Open | Gate::Trial(_) => self.counts.pauses += 1,
        }
        (self.gate, self.lets, self.tries) = (Gate::Closed(pause), false, None);
        true
    }

    /// A pause that is over is heard of: its trial comes first. One that is known already stands.
    pub(super) fn tries_first(&mut self, over: Pause) {
        if self.gate == Gate::Open {
            (self.gate, self.lets, self.tries) = (Gate::Trial(over), false, None);
        }
    }

    pub(super) fn open(&mut self) {
        (self.gate, self.lets, self.tries) = (Gate::Open, false, None);
    }

    /// Lets the next exchange of a trial through.
    pub(super) fn let_one(&mut self) {
        self.lets = matches!(self.gate, Gate::Trial(_));
    }

    /// The exchange of the trial that is under way.
    pub(super) fn trial(&self) -> Option<u64> {
        self.tries
    }

    /// The others no longer wait for the exchange of the trial. Its answer still counts.
    pub(super) fn passes_by_trial(&mut self) {
        self.tries = None;
    }

    /// Returns whether a trial waits to be let through.
    pub(super) fn wants_trial(&self) -> bool {
        matches!(self.gate, Gate::Trial(_)) && !self.lets && self.tries.is_none()
    }
}
