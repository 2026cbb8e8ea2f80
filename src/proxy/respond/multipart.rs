//! Several parts of a body that is not in memory, read one after another.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::Stream;

use crate::body::{Bodies, Error, Growing, Reader};
use crate::record::Manifest;

/// The text between the parts, and the parts. An error in one of them ends it.
pub struct Multipart {
    pieces: VecDeque<Piece>,
    open: Option<Box<Reader>>,
    /// For a growing body: the reader of the next part, which keeps that part's bytes in memory.
    next: Option<Box<Reader>>,
    from: From,
}

pub(crate) enum Piece {
    Text(Bytes),
    /// First and last position of bytes in the body, both included.
    Span(u64, u64),
    /// A span of which some was read already.
    Begun(Box<Reader>),
}

/// The body that the parts are read from.
pub(crate) enum From {
    /// A stored body.
    Stored { bodies: Arc<Bodies>, hash: String, manifest: Arc<Manifest> },
    /// A body that is still growing.
    Growing(Growing),
}

// === impl Multipart ===

impl Multipart {
    pub(crate) fn new(pieces: VecDeque<Piece>, from: From) -> Self {
        let mut this = Self { pieces, open: None, next: None, from };
        this.make_next();
        this
    }

    fn make_next(&mut self) {
        if !matches!(self.from, From::Growing(_)) {
            return;
        }
        let span = self.pieces.iter().find_map(|piece| match piece {
            Piece::Span(first, last) => Some((*first, *last)),
            Piece::Text(_) | Piece::Begun(_) => None,
        });
        self.next = span.map(|span| Box::new(self.from.reader(span)));
    }

    fn reader(&mut self, span: (u64, u64)) -> Box<Reader> {
        let reader = self.next.take().unwrap_or_else(|| Box::new(self.from.reader(span)));
        self.make_next();
        reader
    }
}

impl Stream for Multipart {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            if let Some(reader) = &mut this.open {
                match ready!(Pin::new(&mut **reader).poll_next(cx)) {
                    Some(Ok(bytes)) => {
                        if let Some(next) = &this.next {
                            next.stays();
                        }
                        return Poll::Ready(Some(Ok(bytes)));
                    }
                    Some(Err(error)) => {
                        (this.open, this.next, this.pieces) = (None, None, VecDeque::new());
                        return Poll::Ready(Some(Err(error)));
                    }
                    None => this.open = None,
                }
            }
            this.open = match this.pieces.pop_front() {
                None => return Poll::Ready(None),
                Some(Piece::Text(text)) => return Poll::Ready(Some(Ok(text))),
                Some(Piece::Span(first, last)) => Some(this.reader((first, last))),
                Some(Piece::Begun(reader)) => Some(reader),
            };
        }
    }
}

// === impl From ===

impl From {
    fn reader(&self, span: (u64, u64)) -> Reader {
        let reader = match self {
            Self::Stored { bodies, hash, manifest } => bodies.reader(hash, manifest, Some(span)),
            Self::Growing(growing) => growing.reader(Some(span)),
        };
        // The response head has been sent.
        reader.goes_on()
    }
}
