//! The coordination store: entries, fenced writes, leases and the changes of both.
//!
//! One trait, [`Dust`]. Answers (*held*, *occupied*, *fenced*, *not held*) are in its return types;
//! [`Error`] means that the store did not do what it was asked. Expiry is judged on the store's
//! clock. Every store passes the same suite, `testkit::conformance`.
//!
//! # Numbers
//! Lease tokens and the numbers of writes are one rising sequence per store ([`Number`]). A later
//! write has a higher number, whatever the keys.
//!
//! # Cancel safety
//! Dropping the future of a call leaves it unknown whether the call landed. A lease whose answer was
//! not heard is found again by its holder's name (F11): [`Dust::lease`] by the same [`Holder`]
//! returns the same lease, and [`Dust::release_holder`] releases it.

use std::fmt::{self, Debug, Display};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::clock::WallMs;

mod bound;
pub mod bucket;
pub mod embedded;
pub mod entrance;
pub mod entries;
pub mod hub;
pub mod late;
pub mod memory;
mod open;
pub mod redis;
pub mod server;
mod settings;
mod skew;
pub mod sqlite;
pub mod table;
mod thread;

pub use self::redis::Redis;
pub use self::server::Server;
pub use bound::within;
pub use bucket::{Bucket, BucketTerms, Draw, Drawn};
pub use embedded::Embedded;
pub use entrance::{
    Beside, Findings, Inquiry, Known, Landing, LeaseRequest, Lock, Note, Publication, Publish,
};
pub use entries::Usage;
pub use hub::{Changes, Feed, FeedItem, Hub, Wake};
pub use late::Late;
pub use open::{Found, IN_MEMORY, Missing, Opened, check, is_server, is_shared, open};
pub use settings::Settings;
pub use thread::Panics;

/// The number of a write, or the token of a lease, in a store's one rising sequence. Never 0.
pub type Number = u64;

/// The coordination store.
#[async_trait]
pub trait Dust: Send + Sync + Debug {
    /// Returns the entry at `key`, or `None` if there is none or it has expired.
    async fn entry(&self, key: &str) -> Result<Option<Entry>>;

    /// Writes `value` at `key`. With a fence it lands only while that very lease (key, token, holder)
    /// lives; otherwise the answer is [`Written::Fenced`]. The earlier entry is replaced with its expiry;
    /// a lease at `key` ends.
    async fn put(&self, key: &str, value: &str, how: Put<'_>) -> Result<Written>;

    /// Removes the entry or the lease at `key`, under a fence if one is given. Removing nothing is no
    /// error: it takes a number and is reported as a change.
    async fn delete(&self, key: &str, fence: Option<&Lease>) -> Result<Written>;

    /// Reports a write at `key` to subscribers, with its own number and the time to live `lives`, but
    /// writes nothing: the entry at `key` stays as it is.
    async fn announce(&self, key: &str, lives: Duration) -> Result<Number>;

    /// Asks for the lease at `key` for `ttl`. `seen` is the highest number that the caller knows of: the
    /// token is above it. If the same holder asks again while its lease lives, it gets that very lease
    /// with its time set to `ttl` anew (F11); subscribers see a renewal. (The Dust server answers *held*
    /// instead.)
    async fn lease(&self, key: &str, ttl: Duration, holder: &Holder, seen: Number) -> Result<Grant>;

    /// Prolongs a lease to `ttl` from now. An expired lease cannot be renewed.
    async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<Renewal>;

    /// Releases a lease. Releasing one that is not held (expired, stolen, released) is no error and
    /// affects no other lease. Key and token name the lease, the holder is ignored: a request that came
    /// after a purge releases the lease of a fill that the purge made void (F8). (The Dust server reports
    /// a release also for a lease that expired and was not stolen.)
    async fn release(&self, lease: &Lease) -> Result<()>;

    /// Releases the lease that `holder` has at `key`, if it has one: for a caller that never learned
    /// whether its request landed (F11).
    async fn release_holder(&self, key: &str, holder: &Holder) -> Result<()>;

    /// Reads value, verdict and lock, and takes the lease if one is asked for, nothing else than what the
    /// caller knows is there, and nobody holds it.
    ///
    /// # Cancel safety
    /// As [`Dust::lease`]: dropped, the lease may have landed (F11).
    async fn enter(&self, inquiry: Inquiry<'_>) -> Result<Findings> {
        entrance::enter(self, inquiry).await
    }

    /// Writes a fill's result and its verdict under its fence, and releases its lease.
    ///
    /// # Cancel safety
    /// Dropped, it is unknown whether it landed.
    async fn publish(&self, publication: Publication<'_>) -> Result<Landing> {
        entrance::publish(self, publication).await
    }

    /// Returns the entry at `key`, and the body that was published with it, if the store has it beside.
    async fn entry_with_body(&self, key: &str) -> Result<Option<(Entry, Option<Bytes>)>> {
        Ok(self.entry(key).await?.map(|entry| (entry, None)))
    }

    /// Returns bytes by their name: those beside a value ([`Beside`]), or put by [`Dust::put_bytes`]. They have
    /// no number, are in no listing, and no change of them is reported.
    async fn bytes(&self, name: &str) -> Result<Option<Bytes>> {
        let _ = name;
        Ok(None)
    }

    /// Keeps bytes under a name that is used once, for the time `lives`.
    ///
    /// # Errors
    /// [`Error::Refused`] for more than [`Traits::carries`].
    async fn put_bytes(&self, name: &str, bytes: &Bytes, lives: Duration) -> Result<()> {
        let _ = (bytes, lives);
        Err(Error::Refused(format!("{name}: this store carries no bytes")))
    }

    /// Removes bytes by their names. Removing nothing is no error.
    async fn remove_bytes(&self, names: &[String]) -> Result<()> {
        let _ = names;
        Ok(())
    }

    /// Takes tokens of the bucket called `name`, which fills by these terms on the store's clock. `None`: this
    /// store has no buckets. A bucket has no number, is in no listing, and no change of it is reported. One
    /// that is not there is full.
    ///
    /// # Cancel safety
    /// Dropped, tokens may have been taken: they are lost.
    async fn draw(&self, name: &str, terms: BucketTerms, draw: Draw) -> Result<Option<Drawn>> {
        let _ = (name, terms, draw);
        Ok(None)
    }

    /// Returns when all that was answered so far outlives this process: for its end (F9). A store that keeps
    /// nothing in this process returns at once.
    async fn flush(&self) -> Result<()> {
        Ok(())
    }

    /// Subscribes to the committed changes of `keys`. When this returns, the subscription is confirmed.
    /// Dropping the stream unsubscribes. A writer may hear of its own change before it has the answer.
    /// Expiry of a lease or an entry is not reported.
    async fn on(&self, keys: &[&str]) -> Result<Changes>;

    /// Subscribes to every committed change, in order, and to [`FeedItem::Lost`] when some were missed.
    ///
    /// [`FeedItem::Lost`] comes when the connection to the store breaks and once more when it is made
    /// again: a reader that reads everything after the last one has missed nothing.
    async fn feed(&self) -> Result<Feed>;

    /// Returns all entries whose keys begin with `prefix`, leases too. For small sets only.
    async fn entries(&self, prefix: &str) -> Result<Vec<(String, Entry)>>;

    /// Returns a part of the same, and where the next part begins: for housekeeping, which may have to wait.
    /// Without `from` it is the first part. A store that answers a call cheaply has one part.
    async fn part(&self, prefix: &str, from: Option<&str>) -> Result<Part> {
        let _ = from;
        Ok(Part { entries: self.entries(prefix).await?, next: None })
    }

    /// Returns the id of this life of the store. A store that was emptied or made anew has another id,
    /// so that what an instance remembers of an earlier life is not taken for this one's. If the store
    /// has none yet, `propose` becomes it; without `propose` the answer is `None`.
    async fn life(&self, propose: Option<&str>) -> Result<Option<Arc<str>>>;

    /// The time on the store's clock in ms, as far as known here.
    fn now_ms(&self) -> WallMs;

    /// The highest number that this store can have given in this life: an entry with a higher one was not
    /// written by it. A decorator passes the call on.
    fn ceiling(&self) -> Number {
        Number::MAX
    }

    /// How many entries and changes were ignored so far, because their numbers are above
    /// [`Dust::ceiling`].
    fn impossible(&self) -> u64 {
        0
    }

    /// What the store refuses that this instance can do without, and what that costs: for the operator.
    fn lacks(&self) -> Option<Arc<str>> {
        None
    }

    /// The panics of the thread that keeps the line to this store, if it has one.
    fn panics(&self) -> Panics {
        Panics::default()
    }

    /// How far the store's clock is ahead of this process's, in ms, as far as known.
    fn offset_ms(&self) -> i64 {
        0
    }

    /// Returns whether other instances may use it: then growing bodies are announced to them, and their
    /// changes are followed.
    fn shared(&self) -> bool {
        false
    }

    /// The properties of this kind of store that callers decide by.
    fn traits(&self) -> Traits;

    /// The name of the kind of store on status pages. Nothing is decided by it: see [`Dust::traits`].
    fn kind(&self) -> &'static str;

    /// What it keeps and what it may keep, if it has a limit of its own.
    fn room(&self) -> Option<Room> {
        None
    }
}

/// The properties of a kind of store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Traits {
    /// How long one call may take.
    pub call_bound: Duration,
    /// Whether only this process ever changes its contents, now and after a restart.
    pub exclusive: bool,
    /// The most bytes that it keeps under one name ([`Dust::put_bytes`]); 0 if it carries none.
    pub carries: u64,
    /// Whether every change is told, or at least that some were missed. If not, purges are also read from
    /// time to time.
    pub tells_all: bool,
    /// Whether it allows a client so few calls that housekeeping lists what is there ([`Dust::part`]) in the
    /// place of reading key by key.
    pub counts_calls: bool,
}

/// A part of a listing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Part {
    /// The keys and their entries.
    pub entries: Vec<(String, Entry)>,
    /// Where the next part begins; `None` after the last.
    pub next: Option<String>,
}

/// The longest [`Traits::call_bound`] of any store.
pub const LONGEST_CALL: Duration = Duration::from_secs(2);

/// How much room a store has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// What it keeps.
    pub used: Usage,
    /// What it may keep: a write beyond it fails with [`Error::Unavailable`].
    pub limit: Usage,
    /// The bytes that it carries, names included: those beside values and those put by
    /// [`Dust::put_bytes`]. They do not count in `used`.
    pub carried: u64,
    /// The bytes that it may carry.
    pub may_carry: u64,
}

/// What a key holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What was written.
    pub value: Value,
    /// The number of the write (or the lease's token).
    pub number: Number,
}

/// The content of an entry. A lease read as a value counts as absent (S16).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Text, written by [`Dust::put`].
    Text(Arc<str>),
    /// A live lease, with the time it has left where the store knows it.
    Lease {
        /// Time left.
        rest: Option<Duration>,
    },
    /// Not text: written by another client.
    Other,
}

/// Options of [`Dust::put`].
#[derive(Debug, Clone, Copy, Default)]
pub struct Put<'a> {
    /// Land only while this lease lives.
    pub fence: Option<&'a Lease>,
    /// The time to live; without limit if `None`.
    pub expires_in: Option<Duration>,
    /// Answer only when a power cut can no longer undo the write. (Stores whose writes are always
    /// durable, or never, ignore this.)
    pub durable: bool,
}

/// The right to fill one key: its lock key, its token, and the name it was asked under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The lock key.
    pub key: String,
    /// The fence.
    pub token: Number,
    /// The name it was asked for under.
    pub holder: Holder,
}

/// A name used for one lease only, so that a lost answer can be asked for again (F11). It begins
/// with the instance's name, so that operators see which instance holds the lease:
/// `<instance>/<random>`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Holder(pub Arc<str>);

/// The answer to a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// It landed, under this number.
    At(Number),
    /// The fence's lease is not live: nothing was changed (S5).
    Fenced,
}

/// The answer to asking for a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grant {
    /// The caller has the lease.
    Granted(Lease),
    /// Another holder has it; with the time it has left, its token and its holder where the store knows
    /// them.
    Held {
        /// Time left.
        rest: Option<Duration>,
        /// The holder's token.
        token: Option<Number>,
        /// The holder's name, which names the instance.
        holder: Option<Holder>,
    },
    /// The key holds a value, so it can't be a lock.
    Occupied,
}

/// The answer to a renewal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewal {
    /// It has its whole time to live again.
    Renewed,
    /// It is not live any more: the fill may not write under it (S3).
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
        /// Its time to live; without limit if `None`.
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

/// Why a store did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No connection, no answer in time, busy, full, loading: try again later, and fill without
    /// coordination until then (S14).
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// As [`Error::Unavailable`], and it is certain that this call changed nothing and never will: what it
    /// asked for need not be given back.
    #[error("the store is unavailable: {0}")]
    NotDone(String),
    /// The store refuses this client. No retry helps; the operator must act.
    #[error("the store refuses: {0}")]
    Refused(String),
    /// The store answered something that is not its protocol, or its files are damaged.
    #[error("the store is broken: {0}")]
    Broken(String),
}

/// The result of a call of a store.
pub type Result<T, E = Error> = std::result::Result<T, E>;

// === impl Traits ===

impl Traits {
    /// A store in this process. It answers from memory or from one disk: far below its bound, unless the
    /// disk hangs.
    pub const HERE: Self = Self {
        call_bound: LONGEST_CALL,
        exclusive: true,
        carries: 1 << 20,
        tells_all: true,
        counts_calls: false,
    };
    /// A store across a network. It answers in a millisecond, or something is wrong (F6).
    pub const REMOTE: Self = Self {
        call_bound: Duration::from_millis(200),
        exclusive: false,
        carries: 0,
        tells_all: true,
        counts_calls: false,
    };
}

// === impl Entry ===

impl Entry {
    /// The text, if the entry is one.
    pub fn text(&self) -> Option<&Arc<str>> {
        match &self.value {
            Value::Text(text) => Some(text),
            Value::Lease { .. } | Value::Other => None,
        }
    }
}

// === impl Holder ===

impl Holder {
    /// The instance's name, made unique by `random`; an instance without a name has only `random`.
    pub fn of(instance: &str, random: &str) -> Self {
        Self(if instance.is_empty() { random.into() } else { format!("{instance}/{random}").into() })
    }

    /// The name of the instance, if it has one.
    pub fn instance(&self) -> Option<&str> {
        self.0.rsplit_once('/').map(|(instance, _)| instance).filter(|instance| !instance.is_empty())
    }
}

impl Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
