//! Bodies in transit: a request's content to the origin, and a response's body from it.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use http::HeaderMap;
use http_body::Body as _;
use tokio::time::{Instant, Sleep, sleep};

use super::classify;
use super::limit::Permit;
use super::probe::ConnectionProbe;
use super::{Body, Error, ErrorKind, Framing};

/// A request's content. Tells the probe while the exchange waits for the client.
pub(super) struct Outgoing {
    body: Body,
    probe: Arc<ConnectionProbe>,
}

/// A response's body. Holds the permit until it has ended; dropping it closes the exchange.
pub(super) struct Incoming {
    open: Option<Open>,
    /// How many bytes are to come, if that is known.
    left: Option<u64>,
    read_timeout: Duration,
    silence: Option<Pin<Box<Sleep>>>,
    trailers: Arc<OnceLock<HeaderMap>>,
}

struct Open {
    body: Pin<Box<reqwest::Body>>,
    probe: Arc<ConnectionProbe>,
    permit: Permit,
}

// === impl Outgoing ===

impl Outgoing {
    pub(super) fn new(body: Body, probe: Arc<ConnectionProbe>) -> Self {
        Self { body, probe }
    }
}

impl Stream for Outgoing {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let polled = self.body.as_mut().poll_next(cx);
        self.probe.client(polled.is_pending());
        if let Poll::Ready(Some(Err(error))) = &polled {
            self.probe.client_broke(error.clone());
        }
        polled
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        // It has ended, or the origin wants no more of it: the exchange no longer waits for the client.
        self.probe.client(false);
    }
}

// === impl Incoming ===

impl Incoming {
    pub(super) fn new(
        body: reqwest::Body,
        probe: Arc<ConnectionProbe>,
        permit: Permit,
        framing: Framing,
        read_timeout: Duration,
        trailers: Arc<OnceLock<HeaderMap>>,
    ) -> Self {
        let left = match framing {
            Framing::Length(length) => Some(length),
            Framing::Framed | Framing::Close => None,
        };
        // A body that has ended needs no permit.
        let open = (!body.is_end_stream()).then(|| Open { body: Box::pin(body), probe, permit });
        Self { open, left, read_timeout, silence: None, trailers }
    }

    /// Polls the read timeout. It runs only while the body is read and no bytes come.
    fn poll_silence(&mut self, on_client: bool, cx: &mut Context<'_>) -> Poll<()> {
        if self.read_timeout.is_zero() {
            return Poll::Pending;
        }
        let limit = self.read_timeout;
        let silence = self.silence.get_or_insert_with(|| Box::pin(sleep(limit)));
        while silence.as_mut().poll(cx).is_ready() {
            if !on_client {
                return Poll::Ready(());
            }
            silence.as_mut().reset(Instant::now() + limit);
        }
        Poll::Pending
    }
}

impl Stream for Incoming {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let Some(open) = &mut this.open else { return Poll::Ready(None) };
        if let Poll::Ready(unwanted) = open.permit.poll_revoked(cx) {
            this.open = None;
            return Poll::Ready(Some(Err(unwanted)));
        }
        let error = loop {
            match open.body.as_mut().poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    this.silence = None;
                    match frame.into_data() {
                        Ok(data) if !data.is_empty() => match count(this.left, data.len()) {
                            Ok(left) => {
                                this.left = left;
                                return Poll::Ready(Some(Ok(data)));
                            }
                            Err(error) => break error,
                        },
                        Ok(_) => {}
                        // Trailers are no part of the stream of bytes: they are kept beside it.
                        Err(frame) => {
                            let _ = frame.into_trailers().map(|trailers| this.trailers.set(trailers));
                        }
                    }
                }
                Poll::Ready(Some(Err(error))) => break classify::body(&error, &open.probe),
                Poll::Ready(None) => {
                    if let Some(left @ 1..) = this.left {
                        break truncated(format!("{left} bytes are missing"));
                    }
                    this.open = None;
                    return Poll::Ready(None);
                }
                Poll::Pending => {
                    let on_client = open.probe.on_client();
                    if this.poll_silence(on_client, cx).is_pending() {
                        return Poll::Pending;
                    }
                    break Error {
                        kind: ErrorKind::ReadTimeout,
                        detail: format!("nothing for {} ms", this.read_timeout.as_millis()),
                    };
                }
            }
        };
        this.open = None;
        Poll::Ready(Some(Err(error)))
    }
}

/// Returns how many bytes are to come after `came` more. The libraries below count too, but over HTTP/2 they
/// let content pass where none is allowed.
fn count(left: Option<u64>, came: usize) -> Result<Option<u64>, Error> {
    let Some(left) = left else { return Ok(None) };
    let less = u64::try_from(came).ok().and_then(|came| left.checked_sub(came));
    less.map(Some).ok_or_else(|| truncated(format!("{came} bytes where {left} were to come")))
}

fn truncated(detail: String) -> Error {
    Error { kind: ErrorKind::Truncated, detail }
}
