//! The end of a call that the store does not answer.

use std::future::Future;
use std::time::Duration;

use tokio::time::timeout;

use super::{Error, Result};

/// A call of a store, given up after `bound`. Whether it has landed is unknown then.
pub async fn within<T>(bound: Duration, call: impl Future<Output = Result<T>>) -> Result<T> {
    timeout(bound, call).await.unwrap_or_else(|_elapsed| Err(Error::silent(bound)))
}

impl Error {
    /// The store did not answer for so long.
    pub fn silent(bound: Duration) -> Self {
        Self::Unavailable(format!("no answer within {bound:?}"))
    }
}
