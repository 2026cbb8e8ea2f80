//! The closed sets of words that log, metrics and answers share.

use std::fmt;

/// An enum whose variants are words: `as_str`, `Display`, all of them in `ALL`.
macro_rules! words {
    ($( $(#[$meta:meta])* $name:ident { $( $(#[$inner:meta])* $variant:ident = $word:literal, )+ } )+) => { $(
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name { $( $(#[$inner])* $variant, )+ }

        impl $name {
            /// Every word, in order.
            pub const ALL: &'static [Self] = &[ $( Self::$variant, )+ ];

            /// The word.
            pub fn as_str(self) -> &'static str {
                match self { $( Self::$variant => $word, )+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    )+ };
}

words! {
    /// How a request was answered.
    #[derive(Default)]
    Cache {
        /// From the store, fresh.
        Hit = "hit",
        /// From the store, stale.
        Stale = "stale",
        /// From the store, after the origin said that it is unchanged.
        Revalidated = "revalidated",
        /// By a fill that this request led: the origin's own failure too.
        Miss = "miss",
        /// By a fill of another request.
        Follower = "follower",
        /// By an exchange of its own, because the response or the request is not shared.
        Pass = "pass",
        /// By an exchange of its own, because the route does not cache.
        Bypass = "bypass",
        /// By Dustgate itself, with no response of the origin.
        #[default]
        Error = "error",
    }

    /// Where a flight's result came from (S1, S4, S9).
    Source {
        /// Known here.
        Cached = "cached",
        /// Fetched here.
        Computed = "computed",
        /// Fetched by another instance or request.
        Awaited = "awaited",
    }

    /// What a request was in its flight.
    Role {
        /// It led.
        Leader = "leader",
        /// It rode.
        Follower = "follower",
    }

    /// How a fill ended.
    FillOutcome {
        /// A record was published.
        Stored = "stored",
        /// The origin answered 304: the record was refreshed.
        Unchanged = "unchanged",
        /// What came is not shared, or not stored.
        Pass = "pass",
        /// The origin failed, or could not be asked.
        Failed = "failed",
        /// The body broke off.
        Truncated = "truncated",
        /// The body is larger than the route takes.
        TooLarge = "too_large",
        /// The lease was lost: a newer holder owns the result (S5).
        Fenced = "fenced",
        /// No request wanted it any more, or it was handed over.
        Abandoned = "abandoned",
    }

    /// Where the leader of a follower is.
    Scope {
        /// A leader in this process.
        Instance = "instance",
        /// A leader on another instance.
        Fleet = "fleet",
    }

    /// How following ended (F3).
    FollowerEnd {
        /// It got the leader's result.
        Rode = "rode",
        /// It became the leader.
        Promoted = "promoted",
        /// It went to the origin by itself.
        Degraded = "degraded",
        /// Its deadline passed.
        Timeout = "timeout",
        /// Its client left.
        Left = "left",
    }

    /// Why a request was turned away because something is full.
    Shed {
        /// Too many wait here already.
        Waiters = "waiters",
        /// The upstream's queue is full or slow.
        Queue = "queue",
        /// Too many connections.
        Connections = "connections",
        /// The wait deadline passed with nothing to serve.
        WaitDeadline = "wait_deadline",
        /// No client was known to wait, and the upstream had few places left.
        Unwanted = "unwanted",
        /// The origin asks to be left alone.
        Limited = "limited",
    }

    /// Why a connection was closed before its time, or an upload broken off.
    Closed {
        /// No whole head in time.
        Header = "header_timeout",
        /// No next request in time.
        Idle = "idle_timeout",
        /// The client took no byte of its answer in time.
        Send = "send_timeout",
        /// The client took bytes of its answer too slowly.
        SendRate = "send_rate",
        /// No byte of an upload came in time.
        Body = "body_timeout",
        /// The bytes of an upload came too slowly.
        BodyRate = "body_rate",
    }

    /// A tier that evicts.
    Tier {
        /// This process's memory.
        Memory = "memory",
        /// The body store.
        Bodies = "bodies",
    }

    /// Why something was evicted.
    Eviction {
        /// To make room.
        Room = "room",
        /// Its time was over.
        Expired = "expired",
        /// A stamp covers it.
        Purged = "purged",
    }

    /// What did not match its own digest or shape.
    Integrity {
        /// An entry of the store.
        Pointer = "pointer",
        /// A piece of a body.
        Segment = "segment",
    }

    /// Why a lease was lost.
    LeaseLost {
        /// The store says that it is not held, or held by another.
        NotHeld = "not_held",
        /// No renewal was answered for a TTL (S3).
        Unanswered = "unanswered",
    }

    /// What a purge named.
    Purge {
        /// One URL.
        Url = "url",
        /// A tag.
        Tag = "tag",
        /// All below a path.
        Prefix = "prefix",
        /// All of a host.
        Host = "host",
        /// All that a route takes.
        Route = "route",
        /// Everything.
        All = "all",
        /// The target of an unsafe method (RFC 9111 §4.4).
        Unsafe = "unsafe",
    }
}

/// Why a request was answered as it was: one word for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Why {
    /// Fresh in the store.
    Fresh,
    /// Stale, and a refresh goes on behind it (RFC 5861 §3).
    WhileRevalidate,
    /// Stale, and the origin fails (RFC 5861 §4).
    IfError,
    /// Stale, and the wait deadline passed (S13).
    WaitDeadline,
    /// Stale, and the client allowed it (`max-stale`).
    MaxStale,
    /// Fresh, but the instance is unsure: cut off from the store.
    Unsure,
    /// Stored, and covered by a purge's stamp (F8).
    Purged,
    /// The store of leases is down (S14).
    DustDown,
    /// Not stored: the word of the policy's reason.
    Pass(&'static str),
    /// The upstream's failure: the word of its kind.
    Upstream(&'static str),
}

// === impl Why ===

impl Why {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::WhileRevalidate => "stale-while-revalidate",
            Self::IfError => "stale-if-error",
            Self::WaitDeadline => "wait-deadline",
            Self::MaxStale => "max-stale",
            Self::Unsure => "unsure",
            Self::Purged => "purged",
            Self::DustDown => "dust-down",
            Self::Pass(word) | Self::Upstream(word) => word,
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
