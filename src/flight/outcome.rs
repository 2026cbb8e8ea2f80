//! The outcomes of entering a flight, publishing and writing notes.

use crate::dust::{Error, Number};

use super::Fill;

/// The outcome of entering a flight (F3).
#[derive(Debug)]
#[must_use]
pub enum Entered<T> {
    /// Found without waiting: `source = cached`.
    Cached(T),
    /// Found after waiting for another instance's fill: `source = awaited` (S9).
    Awaited(T),
    /// The right to fill, under a lease. What it publishes is `source = computed`.
    Won(Fill),
    /// The store cannot coordinate this key: fill without it, `coordinated = false` (S14).
    /// [`Fill::lone`] says why.
    Alone(Fill),
    /// The store cannot coordinate and `on_unavailable = error` (S14).
    Unavailable(Uncoordinated),
    /// The deadline passed; with the value that may be served stale, if the judge had one (S13).
    TimedOut(Option<T>),
}

/// The outcome of one attempt at a lease, without waiting.
#[derive(Debug)]
#[must_use]
pub enum Attempt {
    /// The right to fill.
    Won(Fill),
    /// Another holder has it, or the key holds a value.
    Taken,
    /// The store failed or did not answer; should the lease have landed, it is released (F11).
    Unavailable(Error),
}

/// A judge's decision about what is published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judged<T> {
    /// This answers the request.
    Found(T),
    /// The awaited result is there, but neither it nor the next one can answer this request: it fetches
    /// by itself and does not queue for the lease (F5).
    Apart,
    /// Nothing published answers the request.
    Absent,
}

/// Why a fill runs without coordination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Uncoordinated {
    /// The store failed or did not answer.
    Store(Error),
    /// The lock's key holds a value: it can never be a lease. Worth a warning (S14).
    Occupied,
    /// Another instance's exchange came to a verdict that instances can't share (F5). Nothing is wrong
    /// with the store.
    Apart,
}

/// The outcome of publishing. Whatever it is, clients that already receive the fill's bytes get all
/// of them (S5).
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Published {
    /// It landed, under this number; the lease is released: `source = computed` (S4).
    Computed(Number),
    /// The lease was lost before; a newer holder owns the result. Keep nothing (S5).
    Fenced,
    /// A purge covers it by now: nothing was written, the lease is released (F8).
    Covered,
    /// The fill was uncoordinated; its result is being offered, once, in the background (S14).
    Offered,
    /// The store failed; whether it landed is unknown, and the lease is released (S5).
    Failed(Error),
}

/// The outcome of a write beside the result: of a verdict or a Vary node.
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

/// Whether a result may still be published, according to the caller's stamps (F8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// No stamp that came after the fill began covers it.
    Live,
    /// One does; or the fill is uncoordinated and the stamps are not known for sure.
    Covered,
}

// === impl Uncoordinated ===

impl Uncoordinated {
    /// Its name in logs and metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Store(Error::Unavailable(_) | Error::NotDone(_)) => "unavailable",
            Self::Store(Error::Refused(_)) => "refused",
            Self::Store(Error::Broken(_)) => "broken",
            Self::Occupied => "occupied",
            Self::Apart => "apart",
        }
    }
}

// === impl Published ===

impl Published {
    /// Its name in logs and metrics.
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
    /// Its name in logs and metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Written(_) => "written",
            Self::Fenced => "fenced",
            Self::Unavailable => "unavailable",
        }
    }
}
