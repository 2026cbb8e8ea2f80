//! What a flight asks of a store in one step: to read and, if nothing new is there, to take the lease; and at
//! the end to write its result and give the lease back. A store that can't do this in one step makes it of
//! its other calls, by the functions of this file.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{try_join, try_join3};

use super::{Dust, Entry, Grant, Holder, Lease, Number, Put, Result, Value, Written};

/// What is read at the names of a flight, and the lease that is asked for if nothing new is there.
#[derive(Debug, Clone, Copy)]
pub struct Inquiry<'a> {
    /// The key of the value.
    pub value: &'a str,
    /// The key of the verdict.
    pub verdict: &'a str,
    /// The key of the lease.
    pub lock: &'a str,
    /// What the caller has read and found of no use.
    pub known: Known,
    /// The lease that is asked for; `None` to read only.
    pub lease: Option<LeaseRequest<'a>>,
}

/// The numbers of entries that a caller has judged already; 0 where it has seen none.
///
/// An entry with this number, or an absent one, is nothing new. Anything else is returned to be judged, and
/// the lease is then not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Known {
    /// The number of the value.
    pub value: Number,
    /// The number of the verdict.
    pub verdict: Number,
}

/// A lease to ask for: see [`Dust::lease`].
#[derive(Debug, Clone, Copy)]
pub struct LeaseRequest<'a> {
    /// How long it is to live.
    pub ttl: Duration,
    /// A name used once.
    pub holder: &'a Holder,
    /// The highest number that the caller knows of.
    pub seen: Number,
}

/// What a store answers to an [`Inquiry`]. All of it was true at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Findings {
    /// The entry at the value's key.
    pub value: Option<Entry>,
    /// The body that was published with this value, if it is new to the caller and the store has it beside.
    pub body: Option<Bytes>,
    /// The entry at the verdict's key.
    pub verdict: Option<Entry>,
    /// The lock.
    pub lock: Lock,
}

/// The state of a lock after an [`Inquiry`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lock {
    /// No lease lives, and none was asked for.
    Free,
    /// The caller has the lease.
    Granted(Lease),
    /// Another holder has it: as in [`Grant::Held`].
    Held {
        /// Time left.
        rest: Option<Duration>,
        /// The holder's token.
        token: Option<Number>,
        /// The holder's name.
        holder: Option<Holder>,
    },
    /// The key holds a value, so it can't be a lock.
    Occupied,
}

/// What a fill leaves in the store when it ends. All of it is written under the fence of its lease, which is
/// then released.
#[derive(Debug, Clone, Copy)]
pub struct Publication<'a> {
    /// The fence.
    pub lease: &'a Lease,
    /// The result.
    pub value: Option<Publish<'a>>,
    /// The verdict.
    pub verdict: Option<Note<'a>>,
}

/// A result that is published.
#[derive(Debug, Clone, Copy)]
pub struct Publish<'a> {
    /// Its key.
    pub key: &'a str,
    /// Its text.
    pub text: &'a str,
    /// The time to live of the text and of all bytes that belong to it; without limit if `None`.
    pub expires_in: Option<Duration>,
    /// The whole body, if it lies beside the value.
    pub body: Option<Beside<'a>>,
    /// The names of bytes that the text goes on naming: they live as long as it does.
    pub keeps: &'a [String],
}

/// Bytes that lie beside a value, and go with it: they are removed when it is replaced or deleted.
#[derive(Debug, Clone, Copy)]
pub struct Beside<'a> {
    /// Their name: the value's key, a slash, and a text that is used once.
    pub name: &'a str,
    /// The bytes, at most [`Traits::carries`](super::Traits::carries).
    pub bytes: &'a Bytes,
}

/// A verdict that is written.
#[derive(Debug, Clone, Copy)]
pub struct Note<'a> {
    /// Its key.
    pub key: &'a str,
    /// Its text.
    pub text: &'a str,
    /// Its time to live; without limit if `None`.
    pub expires_in: Option<Duration>,
}

/// The answer to a [`Publication`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Landing {
    /// It landed, and the lease is released. The number is that of the value, else that of the verdict, else 0.
    At(Number),
    /// It landed, and the lease is still to be released.
    Unreleased(Number),
    /// The lease is not live: nothing was changed (S5).
    Fenced,
}

// === impl Known ===

impl Known {
    /// What is known by these entries.
    pub fn of(value: Option<&Entry>, verdict: Option<&Entry>) -> Self {
        let number = |entry: Option<&Entry>| entry.map_or(0, |entry| entry.number);
        Self { value: number(value), verdict: number(verdict) }
    }

    /// Returns whether these entries are nothing new. What is not text counts as absent (S16).
    pub fn covers(&self, value: Option<&Entry>, verdict: Option<&Entry>) -> bool {
        let known =
            |entry: Option<&Entry>, number| entry.is_none_or(|it| it.text().is_none() || it.number == number);
        known(value, self.value) && known(verdict, self.verdict)
    }
}

// === impl Lock ===

impl Lock {
    /// The state that an entry at the lock's key shows.
    pub fn of(entry: Option<&Entry>) -> Self {
        match entry {
            None => Self::Free,
            Some(Entry { value: Value::Lease { rest }, number }) => {
                Self::Held { rest: *rest, token: Some(*number), holder: None }
            }
            Some(Entry { value: Value::Text(_) | Value::Other, .. }) => Self::Occupied,
        }
    }
}

impl From<Grant> for Lock {
    fn from(grant: Grant) -> Self {
        match grant {
            Grant::Granted(lease) => Self::Granted(lease),
            Grant::Held { rest, token, holder } => Self::Held { rest, token, holder },
            Grant::Occupied => Self::Occupied,
        }
    }
}

/// [`Dust::enter`] made of other calls. Once the lease is won value and verdict are read again, for a waiter
/// may win just after a publish (F2). The body is left to the caller.
///
/// # Cancel safety
/// Dropped, a lease that was asked for may have landed (F11).
pub async fn enter(dust: &(impl Dust + ?Sized), inquiry: Inquiry<'_>) -> Result<Findings> {
    let Inquiry { value, verdict, lock, known, lease } = inquiry;
    let Some(LeaseRequest { ttl, holder, seen }) = lease else {
        let (value, verdict, lock) =
            try_join3(dust.entry(value), dust.entry(verdict), dust.entry(lock)).await?;
        return Ok(Findings { value, body: None, verdict, lock: Lock::of(lock.as_ref()) });
    };
    let (first, note) = try_join(dust.entry(value), dust.entry(verdict)).await?;
    if !known.covers(first.as_ref(), note.as_ref()) {
        let lock = Lock::of(dust.entry(lock).await?.as_ref());
        return Ok(Findings { value: first, body: None, verdict: note, lock });
    }
    let lock = Lock::from(dust.lease(lock, ttl, holder, seen).await?);
    let (value, verdict) = match lock {
        Lock::Granted(_) => try_join(dust.entry(value), dust.entry(verdict)).await?,
        _ => (first, note),
    };
    Ok(Findings { value, body: None, verdict, lock })
}

/// [`Dust::publish`] made of other calls. Bytes beside the value must have been put before.
///
/// # Cancel safety
/// Dropped, it is unknown what landed.
pub async fn publish(dust: &(impl Dust + ?Sized), publication: Publication<'_>) -> Result<Landing> {
    let Publication { lease, value, verdict } = publication;
    let value = value.map(|value| (value.key, value.text, value.expires_in));
    let verdict = verdict.map(|note| (note.key, note.text, note.expires_in));
    let mut number = None;
    for (key, text, expires_in) in value.into_iter().chain(verdict) {
        let how = Put { fence: Some(lease), expires_in, durable: false };
        match dust.put(key, text, how).await? {
            Written::At(at) => number = number.or(Some(at)),
            Written::Fenced => return Ok(Landing::Fenced),
        }
    }
    let number = number.unwrap_or(0);
    Ok(match dust.release(lease).await {
        Ok(()) => Landing::At(number),
        Err(_) => Landing::Unreleased(number),
    })
}
