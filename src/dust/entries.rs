//! Where entries and bytes are kept, and what is written there.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::table::Now;
use super::{Beside, Entry, Error, Number, Result, Traits, Value};
use crate::clock::WallMs;

/// Where entries and bytes are kept. It may return expired ones: the table checks the time.
pub trait Entries: Send {
    /// Returns the row at `key`.
    fn get(&self, key: &str) -> Result<Option<Row>>;

    /// Returns the row at `key` and the body beside it. The body is left out if the row has the number
    /// `known`.
    fn get_with_body(&self, key: &str, known: Number) -> Result<Option<RowWithBody>>;

    /// Returns what is at three keys at one moment, with the body beside the value unless that has the
    /// number `known`.
    fn look(&self, names: &Names<'_>, known: Number) -> Result<View>;

    /// Returns the bytes under `name`, whether they lie beside a row or not.
    fn bytes(&self, name: &str) -> Result<Option<Carried>>;

    /// Does all `deeds` in one step: reads find them done from now on. An error means that nothing was
    /// changed; an error of the [`Receipt`] means that all of them were undone.
    fn write(&mut self, deeds: Vec<Deed>, until: Until, now: WallMs) -> Result<Receipt>;

    /// Returns all rows whose keys begin with `prefix`, in the order of their keys.
    fn range(&self, prefix: &str) -> Result<Vec<(String, Row)>>;

    /// Returns the deeds that make an empty place equal to this one.
    fn copy(&self) -> Result<Vec<Deed>>;

    /// How much is kept, what has expired but is not yet swept included.
    fn kept(&self) -> Kept;

    /// Ensures that no later start with these entries gives `number` again. `None`: that is ensured;
    /// otherwise it is when the receipt reports it.
    fn reserve(&mut self, number: Number, now: WallMs) -> Result<Option<Receipt>>;
}

/// The keys of a flight.
#[derive(Debug, Clone, Copy)]
pub struct Names<'a> {
    /// The value's.
    pub value: &'a str,
    /// The verdict's.
    pub verdict: &'a str,
    /// The lock's.
    pub lock: &'a str,
}

/// What is at the keys of a flight.
#[derive(Debug, Default)]
pub struct View {
    /// The value and the body beside it.
    pub value: Option<RowWithBody>,
    /// The verdict.
    pub verdict: Option<Row>,
    /// A row at the lock's key: it can't be a lock then.
    pub lock: Option<Row>,
}

/// One change of what is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deed {
    /// A row is written. The earlier one goes, and with it the body beside it.
    Put {
        /// Its key.
        key: Arc<str>,
        /// The row.
        row: Row,
        /// The body beside it.
        body: Option<Body>,
    },
    /// A row is removed, with the body beside it.
    Remove {
        /// Its key.
        key: Arc<str>,
    },
    /// Bytes are kept under a name of their own.
    Carry {
        /// The name.
        name: Arc<str>,
        /// The bytes.
        carried: Carried,
    },
    /// Bytes under a name of their own expire later, if there are any. None are made to expire sooner.
    Prolong {
        /// The name.
        name: Arc<str>,
        /// When they expire at the earliest.
        expires_at: Option<WallMs>,
    },
    /// Bytes under a name of their own are removed.
    Discard {
        /// The name.
        name: Arc<str>,
    },
}

/// The later of two times of expiry.
pub fn later(one: Option<WallMs>, other: Option<WallMs>) -> Option<WallMs> {
    one.zip(other).map(|(one, other)| one.max(other))
}

/// When a write is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Until {
    /// When its order is decided. If the process is killed in the next few milliseconds it may be lost.
    Ordered,
    /// When it survives the process.
    Written,
    /// When it, and every write before it, survives a power cut.
    Durable,
}

/// A kept value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The text.
    pub value: Arc<str>,
    /// The number it was written under.
    pub number: Number,
    /// When it expires.
    pub expires_at: Option<WallMs>,
}

/// A row, and the body beside it.
pub type RowWithBody = (Row, Option<Body>);

/// A body beside a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body {
    /// What its name has behind the row's key and a slash.
    pub tail: Arc<str>,
    /// The bytes.
    pub bytes: Bytes,
}

/// Bytes under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Carried {
    /// The bytes.
    pub bytes: Bytes,
    /// When they expire.
    pub expires_at: Option<WallMs>,
}

/// How many entries there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Rows.
    pub count: u64,
    /// Bytes of keys and values.
    pub bytes: u64,
}

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Kept {
    /// Entries.
    pub entries: Usage,
    /// Bytes beside rows and under names of their own, names included.
    pub carried: u64,
}

/// Reports when a write is kept.
#[derive(Debug)]
pub enum Receipt {
    /// It is kept already.
    Kept,
    /// It is kept when this reports success.
    Later(oneshot::Receiver<Result<()>>),
}

#[deny(clippy::missing_trait_methods)]
impl<E: Entries + ?Sized> Entries for Box<E> {
    fn get(&self, key: &str) -> Result<Option<Row>> {
        (**self).get(key)
    }

    fn get_with_body(&self, key: &str, known: Number) -> Result<Option<RowWithBody>> {
        (**self).get_with_body(key, known)
    }

    fn look(&self, names: &Names<'_>, known: Number) -> Result<View> {
        (**self).look(names, known)
    }

    fn bytes(&self, name: &str) -> Result<Option<Carried>> {
        (**self).bytes(name)
    }

    fn write(&mut self, deeds: Vec<Deed>, until: Until, now: WallMs) -> Result<Receipt> {
        (**self).write(deeds, until, now)
    }

    fn range(&self, prefix: &str) -> Result<Vec<(String, Row)>> {
        (**self).range(prefix)
    }

    fn copy(&self) -> Result<Vec<Deed>> {
        (**self).copy()
    }

    fn kept(&self) -> Kept {
        (**self).kept()
    }

    fn reserve(&mut self, number: Number, now: WallMs) -> Result<Option<Receipt>> {
        (**self).reserve(number, now)
    }
}

/// Splits `name` at each slash: the keys of values that bytes of this name may lie beside, and the rest.
pub fn owners(name: &str) -> impl Iterator<Item = (&str, &str)> {
    name.rmatch_indices('/').map(|(at, _)| (&name[..at], &name[at + 1..]))
}

fn lives(expires_at: Option<WallMs>, now: Now) -> bool {
    expires_at.is_none_or(|at| now.wall < at)
}

fn carriable(name: &str, bytes: &Bytes) -> Result<()> {
    if bytes.len() as u64 > Traits::HERE.carries {
        return Err(Error::Refused(format!("{name}: {} bytes are more than it carries", bytes.len())));
    }
    Ok(())
}

// === impl Row ===

impl Row {
    /// The bytes that it counts for in the limits.
    pub fn bytes(&self, key: &str) -> u64 {
        (key.len() + self.value.len()) as u64
    }

    /// A row that is written now.
    pub(super) fn new(now: Now, text: &str, number: Number, expires_in: Option<Duration>) -> Self {
        Self { value: text.into(), number, expires_at: expires_in.map(|ttl| now.after(ttl)) }
    }

    /// Returns whether it has not expired.
    pub(super) fn lives(&self, now: Now) -> bool {
        lives(self.expires_at, now)
    }

    /// The entry that it is.
    pub(super) fn entry(self) -> Entry {
        Entry { value: Value::Text(self.value), number: self.number }
    }
}

// === impl Body ===

impl Body {
    /// The body that lies beside the row at `key`.
    pub(super) fn of(key: &str, beside: Beside<'_>) -> Result<Self> {
        let Beside { name, bytes } = beside;
        carriable(name, bytes)?;
        match name.strip_prefix(key).and_then(|tail| tail.strip_prefix('/')) {
            Some(tail) => Ok(Self { tail: tail.into(), bytes: bytes.clone() }),
            None => Err(Error::Refused(format!("{name} is no name beside {key}"))),
        }
    }

    /// The bytes that it counts for in the limits.
    pub fn weight(&self) -> u64 {
        (self.tail.len() + self.bytes.len()) as u64
    }

    /// The bytes, which expire with the row.
    pub(super) fn carried(&self, row: &Row) -> Carried {
        Carried { bytes: self.bytes.clone(), expires_at: row.expires_at }
    }

    /// Returns whether `name` is its name beside the row at `key`.
    pub(super) fn is_named(&self, key: &str, name: &str) -> bool {
        name.strip_prefix(key).and_then(|tail| tail.strip_prefix('/')) == Some(&*self.tail)
    }
}

// === impl Kept ===

impl Kept {
    /// Adds a row and the body beside it.
    pub fn add_row(&mut self, key: &str, row: &Row, body: Option<&Body>) {
        self.entries.count += 1;
        self.entries.bytes += row.bytes(key);
        self.carried += body.map_or(0, Body::weight);
    }

    /// Adds what a deed writes, as if it were new.
    pub fn add(&mut self, deed: &Deed) {
        match deed {
            Deed::Put { key, row, body } => self.add_row(key, row, body.as_ref()),
            Deed::Carry { name, carried } => self.carried += carried.weight(name),
            Deed::Remove { .. } | Deed::Prolong { .. } | Deed::Discard { .. } => {}
        }
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        let count = self.entries.count + other.entries.count;
        let bytes = self.entries.bytes + other.entries.bytes;
        Self { entries: Usage { count, bytes }, carried: self.carried + other.carried }
    }

    /// What is left without `other`.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        let count = self.entries.count.saturating_sub(other.entries.count);
        let bytes = self.entries.bytes.saturating_sub(other.entries.bytes);
        Self { entries: Usage { count, bytes }, carried: self.carried.saturating_sub(other.carried) }
    }

    /// Subtracts a row and the body beside it.
    pub fn take_row(&mut self, key: &str, row: &Row, body: Option<&Body>) {
        self.entries.count -= 1;
        self.entries.bytes -= row.bytes(key);
        self.carried -= body.map_or(0, Body::weight);
    }
}

// === impl Carried ===

impl Carried {
    /// Bytes that are put now under a name of their own.
    pub(super) fn new(now: Now, name: &str, bytes: &Bytes, lives: Duration) -> Result<Self> {
        carriable(name, bytes)?;
        Ok(Self { bytes: bytes.clone(), expires_at: Some(now.after(lives)) })
    }

    /// Returns whether it has not expired.
    pub(super) fn lives(&self, now: Now) -> bool {
        lives(self.expires_at, now)
    }

    /// The bytes that it counts for in the limits.
    pub fn weight(&self, name: &str) -> u64 {
        (name.len() + self.bytes.len()) as u64
    }
}

// === impl Receipt ===

impl Receipt {
    /// Waits until the write is kept. Dropping this future does not undo the write.
    pub async fn kept(self) -> Result<()> {
        match self {
            Self::Kept => Ok(()),
            Self::Later(word) => word.await.unwrap_or_else(|_| Err(Error::Unavailable("closing".into()))),
        }
    }
}
