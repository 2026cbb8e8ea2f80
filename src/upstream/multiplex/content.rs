//! The body of a response.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use super::pool::Stream;
use super::unread::Unread;
use super::upload::Rest;
use crate::upstream::{Error, length};

/// The body of a response. Only END_STREAM ends it: a reset with NO_ERROR is a break, too. Dropping it before
/// its end resets the stream. After its end the rest of the request's content goes on.
pub(super) struct StreamContent {
    frames: Arc<Unread>,
    length: Option<u64>,
    /// How many bytes of that are to come.
    left: Option<u64>,
    /// All data has come; trailers may.
    data_done: bool,
    /// Trailers have come, too, or there are none.
    done: bool,
    rest: Option<Rest>,
    /// Held until the end.
    _stream: Arc<Stream>,
}

// === impl StreamContent ===

impl StreamContent {
    /// The body of a response with these fields.
    ///
    /// # Errors
    /// [`ErrorKind::Protocol`] if they state more than one length.
    pub(super) fn new(
        frames: RecvStream,
        fields: &HeaderMap,
        stream: Arc<Stream>,
        rest: Option<Rest>,
    ) -> Result<Self, Error> {
        let length = length::stated(fields)?.or_else(|| frames.is_end_stream().then_some(0));
        let frames = Arc::new(Unread::new(frames));
        stream.connection().bears(&frames);
        Ok(Self { frames, length, left: length, data_done: false, done: false, rest, _stream: stream })
    }
}

impl Body for StreamContent {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        if !self.data_done {
            match ready!(self.frames.poll_data(cx)) {
                Some(Ok(data)) => {
                    self.left = self.left.map(|left| left.saturating_sub(data.len() as u64));
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => self.data_done = true,
            }
        }
        let trailers = ready!(self.frames.poll_trailers(cx))?;
        self.done = true;
        Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.frames.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Drop for StreamContent {
    fn drop(&mut self) {
        // A reader that knows the length need not wait for END_STREAM.
        if let Some(rest) = &mut self.rest
            && (self.done || self.left == Some(0) || self.frames.is_end_stream())
        {
            rest.goes_on();
        }
    }
}
