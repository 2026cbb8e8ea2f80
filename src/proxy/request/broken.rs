//! A response whose content broke off.

use crate::body;
use crate::proxy::cause::Cause;
use crate::upstream::{self, ErrorKind};

/// The source of the content that broke off.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// A stored or growing body.
    #[error("body: {0}")]
    Stored(#[from] body::Error),
    /// An exchange with the origin.
    #[error("upstream: {0}")]
    Upstream(#[from] upstream::Error),
}

impl Broken {
    /// The word of the log.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Stored(error) => error.as_str(),
            Self::Upstream(error) => error.kind.as_str(),
        }
    }

    /// The error response for a client that has received nothing yet.
    pub(crate) fn cause(&self) -> Cause {
        Cause::Upstream(match self {
            Self::Stored(_) => ErrorKind::Truncated,
            Self::Upstream(error) => error.kind,
        })
    }
}
