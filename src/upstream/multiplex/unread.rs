//! What lies here of a response's body until it is read.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use h2::RecvStream;
use http::HeaderMap;

use super::sieve::SMALL;

/// How much of small frames becomes one piece.
const PIECE: usize = 16 << 10;

/// The frames of one body. However many they are, what lies here is not much more than a stream's window:
/// only what was read makes room for more.
pub(super) struct Unread(Mutex<State>);

struct State {
    frames: RecvStream,
    /// What was taken from `frames` before it was asked for.
    aside: VecDeque<Bytes>,
    /// And behind that: small frames, put together.
    small: BytesMut,
    /// Waits for more.
    reader: Waker,
}

// === impl Unread ===

impl Unread {
    pub(super) fn new(frames: RecvStream) -> Self {
        let (aside, small) = (VecDeque::new(), BytesMut::new());
        Self(Mutex::new(State { frames, aside, small, reader: Waker::noop().clone() }))
    }

    /// Reads on.
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

    /// Takes what is there out of the library's hands, and puts together what is small.
    pub(super) fn set_aside(&self) {
        let mut state = self.lock();
        let reader = state.reader.clone();
        let mut cx = Context::from_waker(&reader);
        // An end is told again whenever it is asked for.
        while let Poll::Ready(Some(Ok(data))) = state.frames.poll_data(&mut cx) {
            state.put(data);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change is one step that cannot panic half way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl State ===

impl State {
    fn take_aside(&mut self) -> Option<Bytes> {
        self.aside.pop_front().or_else(|| (!self.small.is_empty()).then(|| self.small.split().freeze()))
    }

    /// What was given on makes room for more.
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
