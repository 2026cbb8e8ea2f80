//! What is remembered of a response, and its form in the store.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, StatusCode};

pub mod codec;
mod evidence;

pub use evidence::{Bound, CarriedDigest, Evidence, Witness};

/// The longest pointer that is written or read, in bytes.
pub const MAX_POINTER: usize = 64 * 1024;
/// How far a time may be ahead of the store's clock, in ms: each instance knows that clock to well
/// within a second.
pub const CLOCK_SLACK_MS: u64 = 2_000;
/// The most segments that a body may have.
pub const MAX_SEGMENTS: usize = 512;
/// The longest id of a store's life, in bytes.
pub const MAX_LIFE: usize = 64;
/// The longest language that a Vary node lists, in bytes.
pub const MAX_LANGUAGE: usize = 64;
/// The longest Accept-Language that a Vary node lists, in bytes.
pub const MAX_ACCEPT: usize = 256;

/// A stored response, complete: what upstream sent, when, for how long it is good, and where
/// its bytes are.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// The canonical text of the key (a variant's own key for a variant), compared on read.
    pub key: String,
    /// The number under which its bytes were first asked for (F8).
    pub born: u64,
    /// The number under which it was last filled or validated (F8).
    pub token: u64,
    /// Status.
    pub status: StatusCode,
    /// End-to-end fields, as upstream sent them.
    pub headers: HeaderMap,
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
    /// Who set the lifetime.
    pub by: LifetimeBy,
    /// Its fill carried credentials: it was storable only by explicit words (RFC 9111 §3.5).
    pub credentialed: bool,
    /// The request fields that selected it (Vary), lower-case name and normal value; `None`:
    /// the field was absent. Empty for a response that does not vary.
    pub select: Vec<(HeaderName, Option<String>)>,
    /// A part only: first byte, last byte, total length.
    pub range: Option<(u64, u64, u64)>,
    /// Tags to purge by.
    pub tags: Vec<String>,
    /// Where the bytes are.
    pub body: Manifest,
}

/// The segments of a body, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Manifest {
    /// The life of the store that they were written in: in another one they are missing. One that
    /// names none is of the life that it is read in.
    pub life: Option<Arc<str>>,
    /// The length of the whole, in bytes.
    pub len: u64,
    /// The segments.
    pub segments: Vec<Segment>,
}

/// One immutable object of the body store: `<store id>/<key hash>/<token>/<n>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// The token of the lease that it was written under.
    pub token: u64,
    /// Its place in that writer's row.
    pub n: u32,
    /// Its length in bytes.
    pub len: u64,
    /// The first 128 bits of its SHA-256.
    pub digest: [u8; 16],
}

/// Who set a lifetime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LifetimeBy {
    /// Explicit words of the origin.
    Origin,
    /// A tenth of the time since Last-Modified (RFC 9111 §4.2.2).
    Heuristic,
    /// The route's settings.
    Route,
}

/// What stands at a primary key whose responses vary: the fields that select, which variants there
/// are, and in which language.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VaryNode {
    /// The canonical text of the primary key.
    pub key: String,
    /// The number under which it was written.
    pub token: u64,
    /// Names of the selecting fields, lower case, sorted.
    pub fields: Vec<HeaderName>,
    /// Hashes of the variants' keys, as 32 hexadecimal digits, oldest use first.
    pub variants: Vec<String>,
    /// Those of them that are in one language. A hint: each says for itself whom it may answer.
    pub languages: Vec<Spoken>,
    /// Each of its variants has been noted under the hash of its URL. Not of those that an earlier
    /// version has put in.
    pub noted: bool,
}

/// A variant in one language, which answers whoever wants that one most, however the request puts
/// it (RFC 9110 §12.5.4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spoken {
    /// The hash of its key, as in [`VaryNode::variants`].
    pub variant: String,
    /// Its Content-Language, lower case, at most [`MAX_LANGUAGE`] bytes.
    pub language: String,
    /// The normal value of the Accept-Language that it is filed under; `None`: the field was absent.
    /// At most [`MAX_ACCEPT`] bytes.
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
    /// A fill is under way and this much of it can be read. Counts only while the lease with
    /// this token lives.
    Growing {
        /// The fill's token.
        token: u64,
        /// The record so far, its manifest growing.
        head: Box<Record>,
        /// Which requests it binds, where it is an error without lifetime.
        binding: Option<Binding>,
    },
    /// Not shareable; until then each request goes by itself.
    Pass {
        /// The number it was judged under.
        token: u64,
        /// Why, a word of the policy.
        reason: String,
        /// Until when, on the store's clock.
        until: u64,
        /// Which requests it binds (F10).
        binding: Binding,
    },
    /// Upstream failed; until then no request that is bound tries again (F7).
    Failed {
        /// The number it was judged under.
        token: u64,
        /// The status for the requests that it binds.
        status: u16,
        /// Upstream has answered, with that status.
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
    /// When its lifetime ends, on the store's clock.
    pub fn fresh_until(&self) -> u64 {
        self.received_at.saturating_add(self.fresh_ms).saturating_sub(self.age_ms)
    }

    /// When it is of no more use to anybody: nothing but this, purge and want of room removes it.
    pub fn end(&self) -> u64 {
        let grace = self.swr_ms.max(self.sie_ms).max(self.keep_ms);
        self.received_at.saturating_add(self.fresh_ms).saturating_add(grace)
    }

    /// Bytes that it takes in memory beside its body, about.
    pub fn weight(&self) -> u64 {
        let fields: usize = self.headers.iter().map(|(n, v)| n.as_str().len() + v.len() + 64).sum();
        (self.key.len() + fields + self.body.segments.len() * 40 + 256) as u64
    }
}

// === impl Manifest ===

impl Manifest {
    /// Segments that were written without a lease are named by numbers from here on, which no lease
    /// has for its token.
    pub const WITHOUT_LEASE: u64 = 1 << 63;

    /// Whether the segments add up to the length.
    pub fn is_whole(&self) -> bool {
        self.segments.iter().try_fold(0u64, |sum, s| sum.checked_add(s.len)) == Some(self.len)
    }

    /// Returns whether its segments are of this life of the store.
    pub fn is_of(&self, life: &str) -> bool {
        self.life.as_deref().is_none_or(|own| own == life)
    }
}
