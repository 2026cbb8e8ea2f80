//! The content of a request while it is sent.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream as _;
use h2::{Reason, SendStream};
use tokio::task::AbortHandle;

use super::super::Error;
use super::super::body::Outgoing;
use super::connection::STREAMS;
use super::pool::Stream;

/// How many sent bytes are kept, in case the origin does not process the request.
const KEPT: usize = 64 << 10;
/// Content up to this length takes next to nothing of a connection's window, which has at least 65,535 bytes:
/// as much on every stream leaves half of it.
const SMALL: usize = 65_535 / (2 * STREAMS);
/// How many bytes that the origin does not want are read all the same, so that the client's connection can be
/// reused.
const UNWANTED: usize = 64 << 10;

/// Content, and how far it has gone out.
pub(super) struct Upload {
    body: Outgoing,
    /// What has been read of it, from its beginning; nothing once that was more than [`KEPT`].
    kept: Vec<Bytes>,
    size: usize,
    /// How many of those pieces have been sent.
    gone: usize,
    /// The piece that is being sent.
    piece: Bytes,
    /// How many bytes have been sent.
    sent: u64,
    ended: bool,
}

/// A task that sends the rest of the content, until this is dropped.
pub(super) struct Rest(Option<AbortHandle>);

// === impl Upload ===

impl Upload {
    pub(super) fn new(body: Outgoing) -> Self {
        Self { body, kept: Vec::new(), size: 0, gone: 0, piece: Bytes::new(), sent: 0, ended: false }
    }

    /// The content, of which nothing was read yet.
    pub(super) fn untouched(self) -> Outgoing {
        self.body
    }

    /// Returns whether what has been read of it is too little to stop other content.
    pub(super) fn is_small(&self) -> bool {
        self.size <= SMALL
    }

    /// Goes back to the beginning. Returns whether that is still at hand.
    pub(super) fn rewind(&mut self) -> bool {
        self.gone = 0;
        self.piece = Bytes::new();
        self.size <= KEPT
    }

    /// Sends what has come, as far as the window allows. Ready when there is no more to do: all was sent, the
    /// content broke off, or the origin wants no more.
    pub(super) fn poll_pour(&mut self, to: &mut SendStream<Bytes>, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if self.piece.is_empty() {
                match ready!(self.poll_piece(cx)) {
                    Some(Ok(piece)) => self.piece = piece,
                    // The exchange fails by the reset, and the probe has the reason.
                    Some(Err(_)) => {
                        to.send_reset(Reason::CANCEL);
                        return Poll::Ready(());
                    }
                    None => {
                        let _ = to.send_data(Bytes::new(), true);
                        return Poll::Ready(());
                    }
                }
                continue;
            }
            to.reserve_capacity(self.piece.len());
            while to.capacity() == 0 {
                match ready!(to.poll_capacity(cx)) {
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return Poll::Ready(()),
                }
            }
            let part = self.piece.split_to(to.capacity().min(self.piece.len()));
            self.sent = self.sent.wrapping_add(part.len() as u64);
            if to.send_data(part, false).is_err() {
                return Poll::Ready(());
            }
        }
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Error>>> {
        if let Some(piece) = self.kept.get(self.gone) {
            self.gone += 1;
            return Poll::Ready(Some(Ok(piece.clone())));
        }
        if self.ended {
            return Poll::Ready(None);
        }
        let piece = ready!(Pin::new(&mut self.body).poll_next(cx));
        match &piece {
            Some(Ok(piece)) => self.keep(piece),
            Some(Err(_)) | None => self.ended = true,
        }
        Poll::Ready(piece)
    }

    fn keep(&mut self, piece: &Bytes) {
        self.size = self.size.saturating_add(piece.len());
        if self.size <= KEPT {
            self.kept.push(piece.clone());
        } else {
            self.kept.clear();
        }
        self.gone = self.kept.len();
    }

    /// Sends the rest in a task of its own, as long as the origin takes some within `patience` (zero: for
    /// ever). Without a stream to send on, or when that is reset, a little is read and dropped. `None` if
    /// nothing is left. `stream` is held while it is used for sending.
    pub(super) fn rest(
        mut self,
        to: Option<SendStream<Bytes>>,
        stream: Arc<Stream>,
        patience: Duration,
    ) -> Option<Rest> {
        if to.is_none() && self.ended {
            return None;
        }
        // There is no second try any more: only what is not sent yet is kept.
        self.kept.drain(..self.gone);
        self.gone = 0;
        self.size = usize::MAX;
        let task = tokio::spawn(async move {
            if let Some(to) = to {
                self.pour(to, patience).await;
            }
            drop(stream);
            self.throw_away().await;
        });
        Some(Rest(Some(task.abort_handle())))
    }

    async fn pour(&mut self, mut to: SendStream<Bytes>, patience: Duration) {
        let patience = if patience.is_zero() { Duration::MAX } else { patience };
        loop {
            let sent = self.sent;
            let pour = std::future::poll_fn(|cx| self.poll_pour(&mut to, cx));
            if tokio::time::timeout(patience, pour).await.is_ok() {
                return;
            }
            // A pause of the client has its own limit, where the content comes from.
            if self.sent == sent && !self.piece.is_empty() {
                to.send_reset(Reason::CANCEL);
                return;
            }
        }
    }

    async fn throw_away(&mut self) {
        let mut read = 0;
        while !self.ended && read < UNWANTED {
            match std::future::poll_fn(|cx| self.poll_piece(cx)).await {
                Some(Ok(piece)) => read += piece.len(),
                Some(Err(_)) | None => return,
            }
        }
    }
}

// === impl Rest ===

impl Rest {
    /// Lets the task go on after this is dropped.
    pub(super) fn goes_on(&mut self) {
        self.0 = None;
    }
}

impl Drop for Rest {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}
