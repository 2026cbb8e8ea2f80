//! The content of a request on its way upstream.

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

use crate::proxy::connection::bytes_in;
use crate::proxy::state::Proxy;
use crate::telemetry::labels::Closed;
use crate::upstream::{self, ErrorKind};

/// The content of a request: hyper's, or that of a caller without a connection.
pub trait Content: Body<Data = Bytes, Error: Display> + Send + Unpin + 'static {}

impl<B: Body<Data = Bytes, Error: Display> + Send + Unpin + 'static> Content for B {}

/// The content as the client sends it. A pause longer than the server's patience, too few bytes while they
/// are waited for, or a break is an error, and never a shorter content.
pub(crate) struct Upload<C> {
    proxy: Arc<Proxy>,
    content: C,
    waiting: UploadPace,
    read: Arc<AtomicU64>,
}

/// How the client is waited for. Time counts only while more is wanted and nothing is there.
struct UploadPace {
    /// The longest pause, and the time in which the client has to send `enough`. Zero: no limit.
    patience: Duration,
    /// The fewest bytes to be sent in that time. Zero: any number.
    enough: u64,
    /// Since when more is wanted and nothing has come.
    since: Option<Instant>,
    /// How long the client was waited for before that, and how many bytes came meanwhile.
    waited: Duration,
    brought: u64,
    alarm: Pin<Box<Sleep>>,
}

impl<C: Content> Upload<C> {
    /// Takes the patience from this proxy's settings. The bytes that were read are counted in `read`.
    pub(crate) fn new(proxy: &Arc<Proxy>, content: C, read: Arc<AtomicU64>) -> Self {
        let server = &proxy.settings.server;
        let waiting = UploadPace::new(server.body_timeout, server.min_rate);
        Self { proxy: proxy.clone(), content, waiting, read }
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
                    // Trailers are not passed on.
                    let bytes = frame.into_data().unwrap_or_default();
                    this.waiting.brings(bytes.len() as u64);
                    if bytes.is_empty() {
                        continue;
                    }
                    this.read.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                    return Poll::Ready(Some(Ok(bytes)));
                }
                Poll::Pending => {
                    let why = std::task::ready!(this.waiting.poll_over(cx));
                    this.proxy.observer.closed(why);
                    let (kind, said) = match why {
                        Closed::BodyRate => (ErrorKind::RequestBodyRate, "the upload was too slow"),
                        _ => (ErrorKind::RequestBodyTimeout, "the upload paused for too long"),
                    };
                    return Poll::Ready(Some(Err(upstream::Error { kind, detail: said.to_owned() })));
                }
            }
        }
    }
}

fn broken(detail: String) -> upstream::Error {
    upstream::Error { kind: ErrorKind::RequestBody, detail }
}

// === impl UploadPace ===

impl UploadPace {
    fn new(patience: Duration, min_rate: u64) -> Self {
        Self {
            patience,
            enough: bytes_in(min_rate, patience),
            since: None,
            waited: Duration::ZERO,
            brought: 0,
            alarm: Box::pin(tokio::time::sleep(patience)),
        }
    }

    /// Takes in that so many bytes came.
    fn brings(&mut self, bytes: u64) {
        if let Some(since) = self.since.take() {
            self.waited += since.elapsed();
        }
        self.brought = self.brought.saturating_add(bytes);
    }

    /// Nothing is there. Resolves with the reason when the client is waited for no longer.
    fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<Closed> {
        if self.patience.is_zero() {
            return Poll::Pending;
        }
        let since = *self.since.get_or_insert_with(|| {
            // Whichever is over first: this pause, or the time for enough.
            let left = self.patience.saturating_sub(self.waited);
            self.alarm.as_mut().reset(Instant::now() + left);
            Instant::now()
        });
        loop {
            std::task::ready!(self.alarm.as_mut().poll(cx));
            if since.elapsed() >= self.patience {
                return Poll::Ready(Closed::Body);
            }
            if self.brought < self.enough {
                return Poll::Ready(Closed::BodyRate);
            }
            // Enough came; this pause goes on, and is the first of the next span.
            (self.waited, self.brought) = (Duration::ZERO, 0);
            self.alarm.as_mut().reset(since + self.patience);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    /// Waits for a client that brings so many bytes each time, so long apart.
    async fn wait_for(waiting: &mut UploadPace, pause: Duration, bytes: u64) -> Option<Closed> {
        let over = std::future::poll_fn(|cx| waiting.poll_over(cx));
        let over = tokio::time::timeout(pause, over).await.ok();
        waiting.brings(bytes);
        over
    }

    #[tokio::test(start_paused = true)]
    async fn an_upload_of_a_byte_every_29_seconds_is_over_when_its_first_30_are() {
        let began = Instant::now();
        let mut waiting = UploadPace::new(PATIENCE, 256);
        assert_eq!(wait_for(&mut waiting, Duration::from_secs(29), 1).await, None);
        assert_eq!(wait_for(&mut waiting, Duration::from_secs(29), 1).await, Some(Closed::BodyRate));
        assert_eq!(began.elapsed(), PATIENCE);
    }

    #[tokio::test(start_paused = true)]
    async fn an_upload_that_is_slow_and_fast_enough_goes_on() {
        let mut waiting = UploadPace::new(PATIENCE, 256);
        for _ in 0..100 {
            assert_eq!(wait_for(&mut waiting, Duration::from_secs(9), 2600).await, None);
        }
        // A burst is no credit beyond its own span.
        assert_eq!(wait_for(&mut waiting, Duration::from_secs(1), 1 << 30).await, None);
        let mut drips = 0;
        while wait_for(&mut waiting, Duration::from_secs(29), 1).await.is_none() {
            drips += 1;
            assert!(drips < 4, "it drips on");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn time_in_which_nobody_wants_more_is_not_the_clients() {
        let mut waiting = UploadPace::new(PATIENCE, 256);
        tokio::time::sleep(PATIENCE * 10).await;
        assert_eq!(wait_for(&mut waiting, Duration::from_secs(1), 1).await, None);
        tokio::time::sleep(PATIENCE * 10).await;
        assert_eq!(wait_for(&mut waiting, Duration::from_secs(1), 1).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn an_upload_that_stops_is_over_after_its_patience_and_off_is_for_ever() {
        let began = Instant::now();
        let mut waiting = UploadPace::new(PATIENCE, 0);
        assert_eq!(wait_for(&mut waiting, PATIENCE * 2, 0).await, Some(Closed::Body));
        assert_eq!(began.elapsed(), PATIENCE);
        let mut off = UploadPace::new(Duration::ZERO, 256);
        assert_eq!(wait_for(&mut off, PATIENCE * 100, 0).await, None);
    }
}
