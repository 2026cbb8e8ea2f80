//! The coordination store: entries, fenced writes, leases and the changes of both.
//!
//! One trait, [`Dust`]; what an answer is (*held*, *occupied*, *fenced*, *not held*) is in its
//! return types, and [`Error`] is left for a store that did not do what it was asked. Expiry is
//! judged on the store's clock. Every store passes the same suite, `testkit::conformance`.
//!
//! # Numbers
//! Lease tokens and the numbers of writes are one rising order per store ([`Number`]). A write
//! that came after another has a higher number, whatever the keys.
//!
//! # Cancel safety
//! Dropping the future of a call leaves it unknown whether the call landed. A lease that landed
//! unheard is found again by its holder's name ([`Dust::lease`] by the same [`Holder`] gives the
//! same lease; [`Dust::release_holder`] frees it), F11.

use std::fmt::{self, Debug, Display};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::clock::WallMs;

mod bound;
pub mod embedded;
pub mod hub;
pub mod late;
pub mod memory;
mod open;
pub mod redis;
mod settings;
pub mod sqlite;
pub mod table;

pub use self::redis::Redis;
pub use bound::within;
pub use embedded::Embedded;
pub use hub::{Changes, Feed, FeedItem, Hub, Wake};
pub use late::Late;
pub use open::{Found, IN_MEMORY, Missing, Opened, check, is_shared, open};
pub use settings::Settings;
pub use table::Usage;

/// A place in the one rising order of a store: lease tokens and writes share it. Never 0.
pub type Number = u64;

/// The coordination store.
#[async_trait]
pub trait Dust: Send + Sync + Debug {
    /// What is at `key`, or `None` if nothing is, or what was has expired.
    async fn entry(&self, key: &str) -> Result<Option<Entry>>;

    /// Writes `value` at `key`, under a fence if one is given: then it lands only while that
    /// very lease (key, token, holder) lives, and the answer says so. Whatever was there is
    /// replaced, its expiry too; a lease that was there is over.
    async fn put(&self, key: &str, value: &str, how: Put<'_>) -> Result<Written>;

    /// Removes what is at `key`, a lease too, under a fence if one is given. Removing nothing is
    /// no error, takes a number and is told as a change.
    async fn delete(&self, key: &str, fence: Option<&Lease>) -> Result<Written>;

    /// Tells those who listen that something was written at `key` that lives for `lives`, under a number
    /// of its own, and keeps nothing: what is there stays as it is.
    async fn announce(&self, key: &str, lives: Duration) -> Result<Number>;

    /// Asks for the lease at `key` for `ttl`. `seen` is the highest number that the caller
    /// knows of: the token is above it. The same holder asking again while its lease lives is
    /// given that very lease, with its time set to `ttl` anew (F11); to those who listen that is
    /// a renewal. (The Dust server knows no such thing and says *held*.)
    async fn lease(&self, key: &str, ttl: Duration, holder: &Holder, seen: Number) -> Result<Grant>;

    /// Prolongs a lease to `ttl` from now. An expired lease cannot be renewed.
    async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<Renewal>;

    /// Gives a lease back. Releasing what is not held (expired, stolen, released) is no error
    /// and takes nothing from anybody. Key and token name it, whoever the holder: who came after
    /// a purge gives back the lease of a fill that the purge made void (F8). (Of a lease that
    /// expired and was not stolen the Dust server tells a release all the same.)
    async fn release(&self, lease: &Lease) -> Result<()>;

    /// Gives back whatever lease `holder` has at `key`: for a caller that never learned whether
    /// its request landed (F11).
    async fn release_holder(&self, key: &str, holder: &Holder) -> Result<()>;

    /// The changes of `keys`, committed ones only, from now on: when this returns the
    /// subscription is confirmed. Dropping the stream unsubscribes. A writer may hear of its own
    /// change before it has the answer. Nothing is told when a lease or an entry expires.
    async fn on(&self, keys: &[&str]) -> Result<Changes>;

    /// Every committed change from now on, in order, or word that some were missed.
    ///
    /// [`FeedItem::Lost`] is told when the line to the store breaks and once more when it stands
    /// again: who reads everything after the last one has missed nothing.
    async fn feed(&self) -> Result<Feed>;

    /// All that [`Dust::entry`] would give for keys that begin with `prefix`, leases too. For
    /// small sets only.
    async fn entries(&self, prefix: &str) -> Result<Vec<(String, Entry)>>;

    /// The id of this life of the store: another one after it was emptied or made anew, so that
    /// what an instance remembers of an earlier life is not taken for this one's. If it has none
    /// yet, `propose` becomes it; `None` is then the answer to a mere question.
    async fn life(&self, propose: Option<&str>) -> Result<Option<Arc<str>>>;

    /// Wall-clock milliseconds as the store's clock has them, as far as known here.
    fn now_ms(&self) -> WallMs;

    /// No number that this store gives, or gave in this life, is above this one: what claims to be was
    /// not written by it. A decorator passes the question on.
    fn ceiling(&self) -> Number {
        Number::MAX
    }

    /// How many entries and changes were taken for absent so far, because their numbers are above
    /// [`Dust::ceiling`].
    fn impossible(&self) -> u64 {
        0
    }

    /// How far the store's clock is ahead of this process's, in ms, as far as known.
    fn offset_ms(&self) -> i64 {
        0
    }

    /// Whether other instances may be using it: then there is somebody to be told of a growing
    /// body, and somebody whose changes have to be followed.
    fn shared(&self) -> bool {
        false
    }

    /// What kind of store it is, for those who decide by it.
    fn traits(&self) -> Traits;

    /// The word of status pages. Nothing is decided by it: see [`Dust::traits`].
    fn kind(&self) -> &'static str;

    /// What it keeps and what it may keep, if it has room of its own that can run out.
    fn room(&self) -> Option<Room> {
        None
    }
}

/// What kind of store it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Traits {
    /// How long one call may take.
    pub call_bound: Duration,
    /// Whether only this process ever changes what is in it, be it now or at its next start.
    pub exclusive: bool,
}

/// No store's calls may take longer.
pub const LONGEST_CALL: Duration = Duration::from_secs(2);

/// How much room a store has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// What it keeps.
    pub used: Usage,
    /// What it may keep: more is answered with [`Error::Unavailable`].
    pub limit: Usage,
}

/// What a key holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What was written.
    pub value: Value,
    /// The number of the write (or the lease's token).
    pub number: Number,
}

/// The two kinds of thing a key can hold. A lease read as a value is absent (S16).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Text that a put wrote.
    Text(Arc<str>),
    /// A live lease, with the time it has left where the store knows it.
    Lease {
        /// Time left.
        rest: Option<Duration>,
    },
    /// Something another client wrote that is not text.
    Other,
}

/// How to put.
#[derive(Debug, Clone, Copy, Default)]
pub struct Put<'a> {
    /// Land only while this lease lives.
    pub fence: Option<&'a Lease>,
    /// Gone after this long; for ever if `None`.
    pub expires_in: Option<Duration>,
    /// Answer only when a power cut can no longer undo it. (Stores whose writes are always
    /// or never so ignore this.)
    pub durable: bool,
}

/// The right to fill one key: its lock key, its token, and the name it was asked under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The lock key.
    pub key: String,
    /// The fence.
    pub token: Number,
    /// Who holds it.
    pub holder: Holder,
}

/// A name used for one lease only, so that a lost answer can be asked for again (F11). It begins
/// with the instance's, so that operators see whose the lease is: `<instance>/<random>`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Holder(pub Arc<str>);

/// The answer to a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// It landed, under this number.
    At(Number),
    /// The fence's lease is not alive: nothing was changed (S5).
    Fenced,
}

/// The answer to asking for a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grant {
    /// Yours.
    Granted(Lease),
    /// Somebody else's, with the time it has left, its token and its holder where the store knows
    /// them.
    Held {
        /// Time left.
        rest: Option<Duration>,
        /// The holder's token.
        token: Option<Number>,
        /// The holder's name: it tells which instance that is.
        holder: Option<Holder>,
    },
    /// The key holds a value: it can never be a lock.
    Occupied,
}

/// The answer to a renewal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewal {
    /// It has its whole time again.
    Renewed,
    /// It is not alive any more: the fill has no right left (S3).
    NotHeld,
}

/// A committed change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The key it happened to.
    pub key: Arc<str>,
    /// What happened.
    pub what: What,
    /// Its number; for a renewal or a release, the token of the lease.
    pub number: Number,
}

/// What happened to a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// A value was written.
    Set {
        /// For how long it stays; for ever if `None`.
        lives: Option<Duration>,
    },
    /// The entry was deleted.
    Delete,
    /// A lease was granted (a steal too), for this long.
    Lease(Duration),
    /// A lease was renewed, for this long.
    Renew(Duration),
    /// A lease was released.
    Release,
}

/// A store that did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No connection, no answer in time, busy, full, loading: try again later; work alone
    /// until then (S14).
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// The store refuses this client: no retry mends it. The operator's to mend.
    #[error("the store refuses: {0}")]
    Refused(String),
    /// The store answered something that is not its protocol, or its files are damaged.
    #[error("the store is broken: {0}")]
    Broken(String),
}

/// What a call of a store ends in.
pub type Result<T, E = Error> = std::result::Result<T, E>;

// === impl Traits ===

impl Traits {
    /// Of a store in this process. It answers from memory or from one disk: far below its bound,
    /// unless that hangs.
    pub const HERE: Self = Self { call_bound: LONGEST_CALL, exclusive: true };
    /// Of a store across a network. It answers in a millisecond, or something is wrong (F6).
    pub const REMOTE: Self = Self { call_bound: Duration::from_millis(200), exclusive: false };
}

// === impl Entry ===

impl Entry {
    /// The text, if it is text.
    pub fn text(&self) -> Option<&Arc<str>> {
        match &self.value {
            Value::Text(text) => Some(text),
            Value::Lease { .. } | Value::Other => None,
        }
    }
}

// === impl Holder ===

impl Holder {
    /// A name of this instance's, made one by something random; an instance without a name has
    /// only that.
    pub fn of(instance: &str, random: &str) -> Self {
        Self(if instance.is_empty() { random.into() } else { format!("{instance}/{random}").into() })
    }

    /// Which instance it is, if it says.
    pub fn instance(&self) -> Option<&str> {
        self.0.rsplit_once('/').map(|(instance, _)| instance).filter(|instance| !instance.is_empty())
    }
}

impl Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
