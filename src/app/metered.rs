//! An upstream, and what is counted of it.

use std::sync::Arc;

use async_trait::async_trait;

use crate::telemetry::UpstreamMetrics;
use crate::upstream::{Error, Request, Response, Upstream};

/// Counts what an upstream answers.
#[derive(Debug)]
pub(super) struct Metered<U> {
    inner: Arc<U>,
    metrics: UpstreamMetrics,
}

impl<U> Metered<U> {
    pub(super) fn new(inner: Arc<U>, metrics: UpstreamMetrics) -> Self {
        Self { inner, metrics }
    }
}

#[async_trait]
impl<U: Upstream> Upstream for Metered<U> {
    async fn send(&self, request: Request) -> Result<Response, Error> {
        match self.inner.send(request).await {
            Ok(response) => {
                self.metrics.response(response.status.as_u16(), response.timing.first_byte);
                Ok(response)
            }
            Err(error) => {
                self.metrics.error(error.kind.as_str());
                Err(error)
            }
        }
    }
}
