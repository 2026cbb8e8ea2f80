//! Stored responses, what is noted of others, and their form in the store.

use std::sync::Arc;

use http::{HeaderName, StatusCode};
use smallvec::SmallVec;
use thin_vec::ThinVec;

pub mod codec;
mod evidence;
pub mod fields;
mod life;
pub mod tags;

pub use evidence::{Bound, CarriedDigest, Evidence, Witness};
pub use fields::{Fields, Lines};
pub use life::Life;
pub use tags::{MAX_TAG, MAX_TAGS, Tag, Tags};

/// The longest text of a pointer or a note, in bytes.
pub const MAX_POINTER: usize = 64 * 1024;
/// How far a time may be ahead of the store's clock, in ms. An instance's error about that clock is well
/// below a second.
pub const CLOCK_SLACK_MS: u64 = 2_000;
/// The most segments that a body may have.
pub const MAX_SEGMENTS: usize = 512;
/// The longest id of a store's life, in bytes.
pub const MAX_LIFE: usize = 64;
/// The longest language that a Vary node lists, in bytes.
pub const MAX_LANGUAGE: usize = 64;
/// The longest Accept-Language that a Vary node lists, in bytes.
pub const MAX_ACCEPT: usize = 256;

/// A stored response: what upstream sent, when, for how long it may be used, and where its bytes are.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// The canonical text of its key (of a variant, the variant's own key), compared on read.
    pub key: Arc<str>,
    /// The number under which its bytes were first asked for (F8).
    pub born: u64,
    /// The number under which it was last filled or validated (F8).
    pub token: u64,
    /// Status.
    pub status: StatusCode,
    /// End-to-end fields, as upstream sent them.
    pub headers: Fields,
    /// When the response's head was received, on the store's clock, in ms.
    pub received_at: u64,
    /// Corrected initial age (RFC 9111 §4.2.3), in ms.
    pub age_ms: u64,
    /// Freshness lifetime (RFC 9111 §4.2.1), in ms.
    pub fresh_ms: u64,
    /// Stale-while-revalidate (RFC 5861 §3), in ms after the lifetime.
    pub swr_ms: u64,
    /// Stale-if-error (RFC 5861 §4), in ms after the lifetime.
    pub sie_ms: u64,
    /// How long it is kept past its lifetime so that it can be validated, in ms.
    pub keep_ms: u64,
    /// What set the lifetime.
    pub by: LifetimeBy,
    /// The request of its fill had credentials: it was cacheable only by explicit directives (RFC 9111 §3.5).
    pub credentialed: bool,
    /// The request fields that selected it (Vary): lower-case name and normal value, `None` if the field
    /// was absent. Empty for a response that does not vary.
    pub select: Selecting,
    /// If it is a part (206): first byte, last byte, total length.
    pub range: Option<Box<(u64, u64, u64)>>,
    /// Tags to purge by.
    pub tags: Tags,
    /// The segments of its body.
    pub body: Manifest,
}

/// The segments of a body, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Manifest {
    /// The life of the store in which they were written: in another one they are missing. `None` stands
    /// for the life in which it is read.
    pub life: Option<Life>,
    /// The length of the body, in bytes.
    pub len: u64,
    /// The segments.
    pub segments: Segments,
}

/// Request fields with their values. Few records have any, and a `ThinVec` of none is one word.
pub type Selecting = ThinVec<(HeaderName, Option<String>)>;

/// The segments of a body. Most bodies have one, which then needs no allocation.
pub type Segments = SmallVec<[Segment; 1]>;

/// One immutable object of the body store: `<store id>/<key hash>/<token>/<n>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// The token of the lease that it was written under, or a number from [`Manifest::WITHOUT_LEASE`] on.
    pub token: u64,
    /// Its index among that writer's segments.
    pub n: u32,
    /// Its length in bytes.
    pub len: u64,
    /// The first 128 bits of its SHA-256.
    pub digest: [u8; 16],
    /// Whether the coordination store carries it, under [`Segment::name`], and not the body store.
    pub carried: bool,
}

/// What set a lifetime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LifetimeBy {
    /// Explicit fields of the origin.
    Origin,
    /// A tenth of the time since Last-Modified (RFC 9111 §4.2.2).
    Heuristic,
    /// The route's settings.
    Route,
}

/// What is stored at a primary key whose responses vary: the selecting fields, and the variants with their
/// languages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VaryNode {
    /// The canonical text of the primary key.
    pub key: String,
    /// The number under which it was written.
    pub token: u64,
    /// Names of the selecting fields, lower case, sorted.
    pub fields: Vec<HeaderName>,
    /// Hashes of the variants' keys, as 32 hexadecimal digits, least recently used first.
    pub variants: Vec<String>,
    /// The variants that are in one language. A hint: the variant's own record decides what it may answer.
    pub languages: Vec<Spoken>,
    /// Whether each of its variants has been noted under the hash of its URL. False for a node with variants
    /// of an earlier version.
    pub noted: bool,
}

/// A variant in one language. It answers each request that prefers this language, however its
/// Accept-Language is written (RFC 9110 §12.5.4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spoken {
    /// The hash of its key, as in [`VaryNode::variants`].
    pub variant: String,
    /// Its Content-Language, lower case, at most [`MAX_LANGUAGE`] bytes.
    pub language: String,
    /// The normal value of the Accept-Language that selected it, at most [`MAX_ACCEPT`] bytes; `None` if the
    /// field was absent.
    pub accept: Option<String>,
}

/// What a value key holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Pointer {
    /// A record.
    Record(Box<Record>),
    /// A Vary node.
    Vary(VaryNode),
}

/// What a verdict key holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Note {
    /// A fill is under way, and the segments so far can be read. Valid only while the lease with this
    /// token lives.
    Growing {
        /// The fill's token.
        token: u64,
        /// The record so far; its manifest grows.
        head: Box<Record>,
        /// Which requests it binds, if it is an error without lifetime.
        binding: Option<Binding>,
    },
    /// The responses can't be shared: until `until` each request goes upstream by itself.
    Pass {
        /// The number it was judged under.
        token: u64,
        /// The policy's reason.
        reason: String,
        /// Until when, on the store's clock.
        until: u64,
        /// Which requests it binds (F10).
        binding: Binding,
    },
    /// Upstream failed: until `until` a request that is bound does not go upstream (F7).
    Failed {
        /// The number it was judged under.
        token: u64,
        /// The status for the requests that it binds.
        status: u16,
        /// Whether upstream has answered, with this status.
        answered: bool,
        /// Until when, on the store's clock.
        until: u64,
        /// Which requests it binds.
        binding: Binding,
    },
}

/// Which requests a note binds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Binding {
    /// The exchanges that came to the verdict.
    pub evidence: Evidence,
    /// The fields that the last answer varies on, sorted.
    pub vary: Vec<HeaderName>,
}

// === impl Record ===

impl Record {
    /// If it is a part (206): first byte, last byte, total length.
    pub fn range(&self) -> Option<(u64, u64, u64)> {
        self.range.as_deref().copied()
    }

    /// When its lifetime ends, on the store's clock.
    pub fn fresh_until(&self) -> u64 {
        self.received_at.saturating_add(self.fresh_ms).saturating_sub(self.age_ms)
    }

    /// When it can't be used any more, on the store's clock. Before that only purges and want of room remove
    /// it.
    pub fn end(&self) -> u64 {
        let grace = self.swr_ms.max(self.sie_ms).max(self.keep_ms);
        self.received_at.saturating_add(self.fresh_ms).saturating_add(grace)
    }

    /// About the bytes that it takes in memory, without its body.
    pub fn weight(&self) -> u64 {
        let fields: usize = self.headers.text_len() + self.headers.len() * 64;
        (self.key.len() + fields + self.body.segments.len() * 40 + 256) as u64
    }
}

// === impl Segment ===

impl Segment {
    /// The name of a segment that the coordination store carries: `value` is the name of its record's entry.
    pub fn name(&self, value: &str) -> String {
        format!("{value}/{}/{}", self.token, self.n)
    }
}

// === impl Manifest ===

impl Manifest {
    /// The lowest number that names segments that were written without a lease. No token is that high.
    pub const WITHOUT_LEASE: u64 = 1 << 63;

    /// Returns whether the segments add up to the length.
    pub fn is_whole(&self) -> bool {
        self.segments.iter().try_fold(0u64, |sum, s| sum.checked_add(s.len)) == Some(self.len)
    }

    /// Returns whether its segments were written in this life of the store.
    pub fn is_of(&self, life: &str) -> bool {
        self.life.as_deref().is_none_or(|own| own == life)
    }
}
