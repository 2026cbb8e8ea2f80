//! The body of a response.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use super::pool::Stream;
use super::upload::Rest;
use crate::upstream::{Error, length};

/// A body that ends where the origin says END_STREAM, and nowhere else: a reset with NO_ERROR, too,
/// is a break here. Dropping it resets the stream.
pub(super) struct Content {
    frames: RecvStream,
    length: Option<u64>,
    /// All data has come; trailers may.
    data_done: bool,
    /// Held until the end.
    _stream: Stream,
    _rest: Option<Rest>,
}

// === impl Content ===

impl Content {
    /// The body behind a head with these fields.
    ///
    /// # Errors
    /// [`ErrorKind::Protocol`] if they tell more than one length.
    pub(super) fn new(
        frames: RecvStream,
        fields: &HeaderMap,
        stream: Stream,
        rest: Option<Rest>,
    ) -> Result<Self, Error> {
        let length = length::stated(fields)?.or_else(|| frames.is_end_stream().then_some(0));
        Ok(Self { frames, length, data_done: false, _stream: stream, _rest: rest })
    }
}

impl Body for Content {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        if !self.data_done {
            match ready!(self.frames.poll_data(cx)) {
                Some(Ok(data)) => {
                    // Only what was given on makes room for more.
                    let _ = self.frames.flow_control().release_capacity(data.len());
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => self.data_done = true,
            }
        }
        let trailers = ready!(self.frames.poll_trailers(cx))?;
        Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.frames.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
