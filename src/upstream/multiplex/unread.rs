//! The part of a response's body that has come and is not read yet.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use h2::RecvStream;
use http::HeaderMap;

use super::sieve::SMALL;

/// How many bytes of small frames become one piece.
const PIECE: usize = 16 << 10;

/// The frames of one body. However many they are, they take not much more than a stream's window: only bytes
/// that were read make room for more.
pub(super) struct Unread(Mutex<UnreadState>);

struct UnreadState {
    frames: RecvStream,
    /// Data taken from `frames` before it was read.
    aside: VecDeque<Bytes>,
    /// Data after `aside`: small frames, put together.
    small: BytesMut,
    /// The task that waits for more.
    reader: Waker,
}

// === impl Unread ===

impl Unread {
    pub(super) fn new(frames: RecvStream) -> Self {
        let (aside, small) = (VecDeque::new(), BytesMut::new());
        Self(Mutex::new(UnreadState { frames, aside, small, reader: Waker::noop().clone() }))
    }

    /// Returns the next data.
    pub(super) fn poll_data(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, h2::Error>>> {
        let mut state = self.lock();
        if let Some(data) = state.take_aside() {
            return Poll::Ready(Some(Ok(state.given(data))));
        }
        match state.frames.poll_data(cx) {
            Poll::Ready(Some(Ok(data))) => Poll::Ready(Some(Ok(state.given(data)))),
            Poll::Ready(ended) => Poll::Ready(ended),
            Poll::Pending => {
                state.reader.clone_from(cx.waker());
                Poll::Pending
            }
        }
    }

    pub(super) fn poll_trailers(&self, cx: &mut Context<'_>) -> Poll<Result<Option<HeaderMap>, h2::Error>> {
        let mut state = self.lock();
        let polled = state.frames.poll_trailers(cx);
        if polled.is_pending() {
            state.reader.clone_from(cx.waker());
        }
        polled
    }

    /// Returns whether END_STREAM has come and all before it was read.
    pub(super) fn is_end_stream(&self) -> bool {
        let state = self.lock();
        state.aside.is_empty() && state.small.is_empty() && state.frames.is_end_stream()
    }

    /// Takes the data that is there from the library, and puts small frames together.
    pub(super) fn set_aside(&self) {
        let mut state = self.lock();
        let reader = state.reader.clone();
        let mut cx = Context::from_waker(&reader);
        // An end is reported again at the next poll.
        while let Poll::Ready(Some(Ok(data))) = state.frames.poll_data(&mut cx) {
            state.put(data);
        }
    }

    fn lock(&self) -> MutexGuard<'_, UnreadState> {
        // Each change is one step that cannot panic half way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl UnreadState ===

impl UnreadState {
    fn take_aside(&mut self) -> Option<Bytes> {
        self.aside.pop_front().or_else(|| (!self.small.is_empty()).then(|| self.small.split().freeze()))
    }

    /// Data that the reader gets makes room for more in the window.
    fn given(&mut self, data: Bytes) -> Bytes {
        let _ = self.frames.flow_control().release_capacity(data.len());
        data
    }

    fn put(&mut self, data: Bytes) {
        let small = data.len() < SMALL;
        if small {
            self.small.extend_from_slice(&data);
        }
        if self.small.len() >= PIECE || !small && !self.small.is_empty() {
            self.aside.push_back(self.small.split().freeze());
        }
        if !small {
            self.aside.push_back(data);
        }
    }
}
