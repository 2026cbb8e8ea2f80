//! Why a body could not be written or read.

use std::error::Error as StdError;
use std::sync::Arc;

/// Why a body could not be written or read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The writer went away before the body was complete.
    #[error("the body broke off")]
    Broken,
    /// The body ended at another length than upstream promised.
    #[error("the body ended early")]
    Truncated,
    /// The body is larger than the writer may take.
    #[error("the body is larger than allowed")]
    TooLarge,
    /// The body needs more segments than a manifest may have.
    #[error("the body has too many segments")]
    Full,
    /// The store is as full as it may get.
    #[error("the body store is full")]
    NoRoom,
    /// The store failed, or did not answer in time.
    #[error("the body store failed: {0}")]
    Store(Arc<str>),
    /// The store answers, and will not do what is asked: the rights, the bucket or its region are wrong.
    #[error("the body store refuses: {0}")]
    Refused(Arc<str>),
    /// Nothing can be written where the settings say.
    #[error("{0}")]
    Unwritable(String),
    /// The store failed a moment ago. It is not read until it answers again.
    #[error("the body store failed a moment ago")]
    Away,
    /// A manifest names a segment that the store does not have.
    #[error("segment {token}/{n} is missing")]
    Missing {
        /// The segment's token.
        token: u64,
        /// Its index among the segments of that writer.
        n: u32,
    },
    /// A segment is not what the manifest says.
    #[error("segment {token}/{n} is corrupt")]
    Corrupt {
        /// The segment's token.
        token: u64,
        /// Its index among the segments of that writer.
        n: u32,
    },
    /// The segments of a manifest contradict its length, or exceed a bound.
    #[error("the manifest does not add up")]
    Manifest,
    /// The requested range is outside the body.
    #[error("the range is outside the body")]
    Range,
    /// A body that is not stored has no readers left.
    #[error("the reader has gone")]
    Gone,
    /// This reader took nothing for too long while the other readers waited for it.
    #[error("the reader took nothing for too long")]
    TooSlow,
    /// The body store has no marker of this life of the store: `bodies.url` and `dust.url` do not belong
    /// together.
    #[error("the body store does not carry this store's id: bodies.url and dust.url do not belong together")]
    NotShared,
    /// The URL is invalid or not supported.
    #[error("{0}")]
    Url(String),
}

// === impl Error ===

impl Error {
    /// The error as one word, for logs and metric labels.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Broken => "broken",
            Self::Truncated => "truncated",
            Self::TooLarge => "too_large",
            Self::Full => "full",
            Self::NoRoom => "no_room",
            Self::Store(_) | Self::Refused(_) | Self::Unwritable(_) | Self::Away => "store",
            Self::Missing { .. } => "missing",
            Self::Corrupt { .. } => "corrupt",
            Self::Manifest => "manifest",
            Self::Range => "range",
            Self::Gone => "gone",
            // Named after the setting whose time ran out.
            Self::TooSlow => "send_timeout",
            Self::NotShared => "not_shared",
            Self::Url(_) => "url",
        }
    }

    /// Returns whether the stored body is unusable, so that its record should be deleted.
    pub fn condemns(&self) -> bool {
        matches!(self, Self::Missing { .. } | Self::Corrupt { .. } | Self::Manifest)
    }

    /// Includes the whole chain of causes: object stores put the useful part last.
    pub(super) fn store(cause: &(dyn StdError + 'static)) -> Self {
        let mut text = cause.to_string();
        let mut next = Some(cause);
        while let Some(cause) = next {
            if cause.downcast_ref().is_some_and(is_full) {
                return Self::NoRoom;
            }
            let more = cause.to_string();
            if !text.contains(&more) {
                text.push_str(": ");
                text.push_str(&more);
            }
            next = cause.source();
        }
        Self::Store(text.into())
    }
}

/// Returns whether a disk, a quota or a limit of this process has no room left.
fn is_full(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}
