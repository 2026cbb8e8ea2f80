//! What entering, publishing and noting can end in: all of it.

use crate::dust::{Error, Number};

use super::Fill;

/// What entering a flight ends in, exactly one of (F3).
#[derive(Debug)]
#[must_use]
pub enum Entered<T> {
    /// Found without waiting: `source = cached`.
    Cached(T),
    /// Found after waiting for somebody else's fill: `source = awaited` (S9).
    Awaited(T),
    /// The right to fill, under a lease. What it publishes is `source = computed`.
    Won(Fill),
    /// The store cannot coordinate this key: fill without it, `coordinated = false` (S14).
    /// [`Fill::lone`] says why.
    Alone(Fill),
    /// The store cannot coordinate and `on_unavailable = error` (S14).
    Unavailable(Uncoordinated),
    /// The deadline passed; with what may be served stale, if the judge had something (S13).
    TimedOut(Option<T>),
}

/// What one attempt at a lease, without waiting, ends in.
#[derive(Debug)]
#[must_use]
pub enum Attempt {
    /// The right to fill.
    Won(Fill),
    /// Somebody else's, or the key holds a value.
    Taken,
    /// No word from the store; should the lease have landed it is given back (F11).
    Unavailable(Error),
}

/// What a judge makes of what is published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judged<T> {
    /// This answers the request.
    Found(T),
    /// What was waited for is there, and it is not for this request, nor will what comes next be:
    /// it goes on by itself instead of standing in a line for the lease (F5).
    Apart,
    /// Nothing here does.
    Absent,
}

/// Why a fill runs without coordination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Uncoordinated {
    /// The store did not answer, or not with what was asked.
    Store(Error),
    /// The lock's key holds a value: it can never be a lease. Worth a warning (S14).
    Occupied,
    /// Somebody else's exchange came to a verdict that is not for sharing between instances (F5).
    /// Nothing is wrong with the store.
    Apart,
}

/// What publishing ends in. The clients that are getting the filler's bytes get them to the end
/// whatever it is (S5).
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Published {
    /// It landed, under this number; the lease is released: `source = computed` (S4).
    Computed(Number),
    /// The lease was lost on the way; a newer holder owns the result. Keep nothing (S5).
    Fenced,
    /// A purge covers it by now: nothing was written, the lease is released (F8).
    Covered,
    /// The fill was uncoordinated; its result is being offered, once, in the background (S14).
    Offered,
    /// The store failed; whether it landed is unknown, the lease is given back (S5).
    Failed(Error),
}

/// What a write beside the result ends in: a verdict, a Vary node.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Noted {
    /// It landed, under this number.
    Written(Number),
    /// The lease is lost (S5).
    Fenced,
    /// The store did not take it, or the fill is uncoordinated and may not write it.
    Unavailable,
}

/// Whether a result may still be published, as the caller's stamps say (F8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// No stamp that came after the fill began covers it.
    Live,
    /// One does; or the fill is uncoordinated and the stamps are not known for sure.
    Covered,
}

// === impl Lone ===

impl Uncoordinated {
    /// The word of logs and metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Store(Error::Unavailable(_)) => "unavailable",
            Self::Store(Error::Refused(_)) => "refused",
            Self::Store(Error::Broken(_)) => "broken",
            Self::Occupied => "occupied",
            Self::Apart => "apart",
        }
    }
}

// === impl Published ===

impl Published {
    /// The word of logs and metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Computed(_) => "computed",
            Self::Fenced => "fenced",
            Self::Covered => "covered",
            Self::Offered => "offered",
            Self::Failed(_) => "failed",
        }
    }
}

// === impl Noted ===

impl Noted {
    /// The word of logs and metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Written(_) => "written",
            Self::Fenced => "fenced",
            Self::Unavailable => "unavailable",
        }
    }
}
