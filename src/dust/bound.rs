//! The timeout of a call.

use std::future::Future;
use std::time::Duration;

use tokio::time::timeout;

use super::{Error, Result};

/// Runs a call of a store for at most `bound`. After a timeout it is unknown whether it has landed.
pub async fn within<T>(bound: Duration, call: impl Future<Output = Result<T>>) -> Result<T> {
    timeout(bound, call).await.unwrap_or_else(|_elapsed| Err(Error::silent(bound)))
}

impl Error {
    /// The error of a call that was not answered within `bound`.
    pub fn silent(bound: Duration) -> Self {
        Self::Unavailable(format!("no answer within {bound:?}"))
    }

    /// Returns whether waiting may mend it.
    pub fn passes(&self) -> bool {
        match self {
            // A rate limit that is reached, too.
            Self::Unavailable(_) | Self::NotDone(_) => true,
            Self::Refused(_) | Self::Broken(_) => false,
        }
    }

    /// The same error, with what it is of before it.
    #[must_use]
    pub fn of(self, what: &str) -> Self {
        match self {
            Self::Unavailable(why) => Self::Unavailable(format!("{what}: {why}")),
            Self::Refused(why) => Self::Refused(format!("{what}: {why}")),
            Self::NotDone(why) => Self::NotDone(format!("{what}: {why}")),
            Self::Broken(why) => Self::Broken(format!("{what}: {why}")),
        }
    }

    /// The same error of a call that has certainly done nothing.
    #[must_use]
    pub fn not_done(self) -> Self {
        match self {
            Self::Unavailable(why) => Self::NotDone(why),
            other => other,
        }
    }

    /// The same error of a call that is not known to have done nothing.
    #[must_use]
    pub fn perhaps_done(self) -> Self {
        match self {
            Self::NotDone(why) => Self::Unavailable(why),
            other => other,
        }
    }
}
