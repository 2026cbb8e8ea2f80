//! Bodies on their way, both directions.

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
use super::probe::Probe;
use super::{Body, Error, ErrorKind, Framing};

/// The client's body: tells the probe when the client is the one who is waited for.
pub(super) struct Outgoing {
    body: Body,
    probe: Arc<Probe>,
}

/// The origin's body. Holds the place until it has ended; dropping it closes the exchange.
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
    probe: Arc<Probe>,
    permit: Permit,
}

// === impl Outgoing ===

impl Outgoing {
    pub(super) fn new(body: Body, probe: Arc<Probe>) -> Self {
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
        // Whether it ended or the origin wants no more of it: nobody waits for the client now.
        self.probe.client(false);
    }
}

// === impl Incoming ===

impl Incoming {
    pub(super) fn new(
        body: reqwest::Body,
        probe: Arc<Probe>,
        permit: Permit,
        framing: Framing,
        read_timeout: Duration,
        trailers: Arc<OnceLock<HeaderMap>>,
    ) -> Self {
        let left = match framing {
            Framing::Length(length) => Some(length),
            Framing::Framed | Framing::Close => None,
        };
        // What has ended already needs no place.
        let open = (!body.is_end_stream()).then(|| Open { body: Box::pin(body), probe, permit });
        Self { open, left, read_timeout, silence: None, trailers }
    }

    /// Polls the clock of silence; it runs only while more is wanted and nothing comes.
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
                        // They have no place in a stream of bytes: beside it.
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

/// What is to come after so many bytes more. The libraries beneath count, too; but not what stands
/// where no content may be, over HTTP/2.
fn count(left: Option<u64>, came: usize) -> Result<Option<u64>, Error> {
    let Some(left) = left else { return Ok(None) };
    let less = u64::try_from(came).ok().and_then(|came| left.checked_sub(came));
    less.map(Some).ok_or_else(|| truncated(format!("{came} bytes where {left} were to come")))
}

fn truncated(detail: String) -> Error {
    Error { kind: ErrorKind::Truncated, detail }
}
