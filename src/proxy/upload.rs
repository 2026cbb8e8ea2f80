//! The content of a request on its way up.

use std::fmt::Display;
use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use http_body::Body;
use tokio::time::{Instant, Sleep};

use crate::upstream::{self, ErrorKind};

/// The content of a request: hyper's, or that of a caller who has no connection.
pub trait Content: Body<Data = Bytes, Error: Display> + Send + Unpin + 'static {}

impl<B: Body<Data = Bytes, Error: Display> + Send + Unpin + 'static> Content for B {}

/// Bytes as the client sends them. One that pauses for longer than the server's patience, or
/// breaks off, is an error, and never a shorter content.
pub(crate) struct Upload<C> {
    content: C,
    patience: Duration,
    pause: Pin<Box<Sleep>>,
    read: Arc<AtomicU64>,
}

impl<C: Content> Upload<C> {
    /// With `patience` between two reads; zero: for ever. What was read is counted in `read`.
    pub(crate) fn new(content: C, patience: Duration, read: Arc<AtomicU64>) -> Self {
        Self { content, patience, pause: Box::pin(tokio::time::sleep(patience)), read }
    }
}

impl<C: Content> Stream for Upload<C> {
    type Item = Result<Bytes, upstream::Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            match Pin::new(&mut this.content).poll_frame(cx) {
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(broken(error.to_string())))),
                Poll::Ready(Some(Ok(frame))) => {
                    this.pause.as_mut().reset(Instant::now() + this.patience);
                    // Trailers are not passed on.
                    let Ok(bytes) = frame.into_data() else { continue };
                    this.read.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                    return Poll::Ready(Some(Ok(bytes)));
                }
                Poll::Pending if this.patience.is_zero() => return Poll::Pending,
                Poll::Pending => {
                    std::task::ready!(this.pause.as_mut().poll(cx));
                    return Poll::Ready(Some(Err(broken("the upload paused for too long".into()))));
                }
            }
        }
    }
}

fn broken(detail: String) -> upstream::Error {
    upstream::Error { kind: ErrorKind::RequestBody, detail }
}
