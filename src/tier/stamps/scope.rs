//! What a stamp covers.

use crate::dust::Number;
use crate::key::KeyHash;
use crate::policy::RouteId;

/// What a stamp covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// One URL, in all its variants.
    Url(KeyHash),
    /// What lies in an area.
    Area(Area),
    /// What has a tag.
    Tag(TagName),
    /// What has a tag of a bucket.
    Bucket(Bucket),
    /// Nothing as long as the stamps of its tags live: it says that a bucket's tags were purged, for instances
    /// that begin when those stamps are gone.
    Rest(Bucket),
    /// Everything.
    All,
}

/// The URLs of a route, a host, or below a prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Area {
    /// What a route takes.
    Route(RouteId),
    /// What is of a host, whose name without a port is the first: the hash of both, as keys have them.
    Host(Within, KeyHash),
    /// What begins with a prefix: its host's name without a port, the number of slashes in its path, and its hash.
    Prefix(Within, u8, KeyHash),
}

/// An area to purge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// The area.
    pub area: Area,
    /// The area of the same host that is purged instead, if there are too many: it has the other in it.
    pub coarser: Option<Area>,
}

/// Where a tag is meant: on all hosts, on one, or at one origin. The first 52 bits are of the host's name, then comes
/// the kind, and 10 bits of the port: two ports of one host may be taken for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Within(pub(super) u64);

/// The bits of a place that its host's name says nothing of.
const OF_PORT: u64 = (1 << 12) - 1;
/// The values that a port may have there; 0 stands for none.
const PORTS: u64 = (1 << 10) - 1;

/// A tag, and where it is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TagName {
    /// Where.
    pub within: Within,
    /// The tag's hash.
    pub tag: u64,
}

/// Tags whose hashes begin alike, and where they are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bucket {
    /// Where.
    pub within: Within,
    /// Which of [`BUCKETS`]; any other number stands for all of them.
    pub(super) at: u16,
}

/// How many buckets the tags of one place fall into.
const BUCKETS: u16 = 1 << 14;
/// The deepest prefix, in slashes of its path.
pub const DEEPEST: u8 = 63;

/// The force of a purge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Force {
    /// What it covers is a miss.
    Hard,
    /// What it covers is stale.
    Soft,
}

/// How the stamps cover a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Covered {
    /// Not at all.
    No,
    /// Stale: to be validated before it is used, except where stale is allowed.
    Soft,
    /// Gone: a miss.
    Hard,
}

/// The name of a host without its port.
pub(super) fn name(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => authority,
    }
}

// === impl Scope ===

impl Scope {
    /// All tags at a place.
    pub fn tags_of(within: Within) -> Self {
        Self::Bucket(Bucket::whole(within))
    }
}

// === impl Area ===

impl Area {
    /// The host that it is of. Routes are of none.
    pub(super) fn of_host(self) -> Option<Within> {
        match self {
            Self::Route(_) => None,
            Self::Host(host, _) | Self::Prefix(host, ..) => Some(host),
        }
    }
}

// === impl Within ===

impl Within {
    /// All hosts.
    pub const ANYWHERE: Self = Self(0);

    /// One host (`api.example.com`), or one origin (`https://api.example.com`), as keys write them.
    pub fn of(text: &str) -> Self {
        let (kind, authority) = match text.split_once("://") {
            None => (0, text),
            Some(("http", authority)) => (1, authority),
            Some((_, authority)) => (2, authority),
        };
        let name = name(authority);
        let port = authority[name.len()..].strip_prefix(':').and_then(|port| port.parse::<u64>().ok());
        // No host is as good as none.
        let host = (KeyHash::of(name).short() & !OF_PORT).max(OF_PORT + 1);
        Self(host | kind << 10 | port.map_or(0, |port| port % PORTS + 1))
    }

    /// The whole host, with all of its ports and schemes.
    pub(super) fn host(self) -> Self {
        Self(self.0 & !OF_PORT)
    }

    /// The first and the last of the places that lie in it.
    pub(super) fn all_in(self) -> (Self, Self) {
        match self {
            Self::ANYWHERE => (self, Self(u64::MAX)),
            Self(host) if host & OF_PORT == 0 => (self, Self(host | OF_PORT)),
            place => (place, place),
        }
    }
}

// === impl TagName ===

impl TagName {
    /// The bucket that the tag falls into.
    pub(super) fn bucket(self) -> Bucket {
        let at = u16::try_from(self.tag >> 50).unwrap_or_default();
        debug_assert!(at < BUCKETS, "the first 14 bits");
        Bucket { within: self.within, at }
    }
}

// === impl Bucket ===

impl Bucket {
    /// All tags of a place.
    pub(super) fn whole(within: Within) -> Self {
        Self { within, at: u16::MAX }
    }
}

// === impl Covered ===

impl Covered {
    /// How stamps with these numbers cover a record born under `born` and last validated under `token`.
    pub(in crate::tier) fn by([hard, soft]: [Number; 2], born: Number, token: Number) -> Self {
        if hard > born {
            Self::Hard
        } else if soft > token {
            Self::Soft
        } else {
            Self::No
        }
    }
}
