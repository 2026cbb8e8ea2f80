//! An upstream whose answers are watched for pauses that its origin asks for.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use crate::dust::Dust;
use crate::policy;
use crate::upstream::limit::{Gate, Limit, Pause};
use crate::upstream::{Error, OwnUrls, Request, Response, Upstream};

/// Closes the gate of an upstream's limit when its origin asks to be left alone, and opens it when a trial shows
/// that it takes requests again.
pub struct Watched {
    inner: Arc<dyn Upstream>,
    limit: Limit,
    /// For its clock: Retry-After may be a date.
    dust: Arc<dyn Dust>,
}

// === impl Watched ===

impl Watched {
    /// Watches `inner`, whose limit is `limit`.
    pub fn new(inner: Arc<dyn Upstream>, limit: Limit, dust: Arc<dyn Dust>) -> Self {
        Self { inner, limit, dust }
    }

    fn answered(&self, began: Instant, response: &Response) {
        let now = Instant::now();
        if let Some(ms) = policy::limits(response.status, &response.headers, self.dust.now_ms()) {
            let pause = Pause { status: response.status.as_u16(), until: now + Duration::from_millis(ms) };
            self.limit.close(pause);
        } else if let Gate::Trial(pause) = self.limit.gate()
            && began >= pause.until
        {
            // An exchange from before the pause shows nothing.
            self.limit.open();
        }
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Upstream for Watched {
    async fn send(&self, request: Request) -> Result<Response, Error> {
        let began = Instant::now();
        let response = self.inner.send(request).await?;
        self.answered(began, &response);
        Ok(response)
    }

    fn own_urls(&self) -> Option<&OwnUrls> {
        self.inner.own_urls()
    }
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Watched").field(&self.inner).finish()
    }
}
