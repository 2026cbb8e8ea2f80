//! The reading end: one type for bodies that grow and bodies that are stored.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use futures_util::{Stream, TryStreamExt as _};
use sha2::{Digest as _, Sha256};
use tokio::task::JoinHandle;

use super::fill::{BLOCK, Fill, Next, bounds};
use super::store::{Name, first_half};
use super::waiting::Place;
use super::{Bodies, Error, check};
use crate::record::{Manifest, Segment};

/// The bytes of a body, or of a range of it, in order. After an error or the end it stays
/// ended. Ends cleanly only if every byte was passed on.
#[derive(Debug)]
pub struct Reader {
    source: Source,
    at: u64,
    /// The byte after the last; `None` where the end of the body decides.
    end: Option<u64>,
    /// The next bytes, taken while they were there: they stay however late the reader is polled.
    ready: Option<Bytes>,
    fetch: Option<Fetch>,
    over: bool,
}

#[derive(Debug)]
enum Source {
    Growing { fill: Arc<Fill>, place: Place, owner: bool },
    Stored { bodies: Arc<Bodies>, name: Name, manifest: Arc<Manifest>, index: usize, start: u64 },
    Failed(Error),
}

/// A block on its way, in a task of its own: others may wait for the same one, and this reader
/// may not be polled for long.
#[derive(Debug)]
struct Fetch {
    /// Where in the body the block begins.
    at: u64,
    task: JoinHandle<Result<Bytes, Error>>,
}

// === impl Reader ===

impl Reader {
    pub(super) fn growing(fill: Arc<Fill>, range: Option<(u64, u64)>, owner: bool) -> Self {
        let (at, end) = bounds(range);
        let source = Source::Growing { fill, place: Place::default(), owner };
        let mut reader = Self { source, at, end, ready: None, fetch: None, over: false };
        if !owner {
            reader.ready = reader.at_hand();
        }
        reader
    }

    pub(super) fn stored(
        bodies: Arc<Bodies>,
        name: Name,
        manifest: Arc<Manifest>,
        range: Option<(u64, u64)>,
    ) -> Self {
        let (at, end) = bounds(range);
        let len = manifest.len;
        let source = if let Err(cause) = check(&manifest).and_then(|()| bodies.knows(&name, &manifest)) {
            Source::Failed(cause)
        } else if range.is_some() && (at >= len || end.is_some_and(|end| end > len)) {
            Source::Failed(Error::Range)
        } else {
            Source::Stored { bodies, name, manifest, index: 0, start: 0 }
        };
        Self { source, at, end: Some(end.unwrap_or(len)), ready: None, fetch: None, over: false }
    }

    /// How many bytes are still to come, if that is known. For a growing body of unknown length
    /// it is not, until it is complete.
    pub fn remaining(&self) -> Option<u64> {
        if self.over {
            return Some(0);
        }
        let end = match (&self.source, self.end) {
            (_, Some(end)) => Some(end),
            (Source::Growing { fill, .. }, None) => fill.len_hint.or_else(|| fill.len_if_complete()),
            _ => None,
        };
        end.map(|end| end.saturating_sub(self.at))
    }

    /// Reads so many bytes, which are there, and gives their digest.
    pub(super) async fn digest(&mut self, len: u64) -> Result<[u8; 16], Error> {
        let (mut sha, end) = (Sha256::new(), self.at + len);
        let whole = self.end.replace(end);
        while self.at < end {
            match self.try_next().await? {
                Some(bytes) => sha.update(&bytes),
                None => return Err(Error::Truncated),
            }
        }
        self.end = whole;
        Ok(first_half(sha))
    }

    /// The next bytes, if they are in memory.
    fn at_hand(&mut self) -> Option<Bytes> {
        match self.next(Waker::noop()) {
            Next::Chunk(bytes) => Some(bytes),
            Next::Fetch(segment, start) => {
                let Source::Growing { fill, .. } = &self.source else { return None };
                let block = (self.at - start) / BLOCK;
                let bytes = fill.bodies.cached(&fill.name, &segment, block)?;
                Some(self.take(start + block * BLOCK, &bytes))
            }
            Next::End | Next::Fail(_) | Next::Wait => None,
        }
    }

    fn next(&mut self, waker: &Waker) -> Next {
        match &mut self.source {
            Source::Growing { fill, place, owner } => fill.next(self.at, self.end, *owner, place, waker),
            Source::Stored { .. } if self.end.is_some_and(|end| self.at >= end) => Next::End,
            Source::Stored { manifest, index, start, .. } => loop {
                let Some(segment) = manifest.segments.get(*index) else { break Next::Fail(Error::Manifest) };
                // Sums were checked: they do not overflow.
                if self.at < *start + segment.len {
                    break Next::Fetch(*segment, *start);
                }
                *start += segment.len;
                *index += 1;
            },
            Source::Failed(cause) => Next::Fail(cause.clone()),
        }
    }

    /// The block of `segment`, which begins at `start`, that has the next byte: passed on if it
    /// is in memory, else sent for.
    fn fetch(&mut self, segment: Segment, start: u64) -> Option<Bytes> {
        let (bodies, name) = match &self.source {
            Source::Growing { fill, .. } => (&fill.bodies, &fill.name),
            Source::Stored { bodies, name, .. } => (bodies, name),
            Source::Failed(_) => return None,
        };
        let block = (self.at - start) / BLOCK;
        let at = start + block * BLOCK;
        if let Some(bytes) = bodies.cached(name, &segment, block) {
            self.ahead(&segment, start, block);
            return Some(self.take(at, &bytes));
        }
        let (bodies, name) = (Arc::clone(bodies), name.clone());
        let task = tokio::spawn(async move { bodies.block(&name, &segment, block).await });
        self.ahead(&segment, start, block);
        self.fetch = Some(Fetch { at, task });
        None
    }

    /// Sends for the block after this one.
    fn ahead(&self, segment: &Segment, start: u64, block: u64) {
        let (bodies, name) = match &self.source {
            Source::Growing { fill, .. } => (&fill.bodies, &fill.name),
            Source::Stored { bodies, name, .. } => (bodies, name),
            Source::Failed(_) => return,
        };
        // A hostile manifest's lengths go up to the largest number.
        let next = (block + 1).saturating_mul(BLOCK);
        if self.end.is_some_and(|end| start.saturating_add(next) >= end) {
            return;
        }
        if next < segment.len {
            bodies.read_ahead(name, segment, block + 1);
        } else if let Source::Stored { manifest, index, .. } = &self.source {
            // The next one may be empty: then this was for nothing, and that is all.
            if let Some(after) = manifest.segments.get(index + 1).filter(|after| after.len > 0) {
                bodies.read_ahead(name, after, 0);
            }
        }
    }

    /// What is wanted of a block that begins at `at`.
    fn take(&self, at: u64, block: &Bytes) -> Bytes {
        let len = block.len() as u64;
        let first = (self.at - at).min(len);
        let end = self.end.map_or(len, |end| (end - at).min(len)).max(first);
        // Both are within the block, whose length is a usize.
        let index = |at: u64| usize::try_from(at).unwrap_or(block.len());
        block.slice(index(first)..index(end))
    }

    fn pass(&mut self, bytes: Bytes) -> Poll<Option<Result<Bytes, Error>>> {
        if bytes.is_empty() {
            return self.finish(Some(Error::Manifest));
        }
        self.at += bytes.len() as u64;
        Poll::Ready(Some(Ok(bytes)))
    }

    fn finish(&mut self, cause: Option<Error>) -> Poll<Option<Result<Bytes, Error>>> {
        self.leave();
        Poll::Ready(cause.map(Err))
    }

    /// Wants no more.
    fn leave(&mut self) {
        if !std::mem::replace(&mut self.over, true) {
            (self.ready, self.fetch) = (None, None);
            if let Source::Growing { fill, owner: true, .. } = &self.source {
                fill.owner_gone();
            }
        }
    }
}

impl Stream for Reader {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if this.over {
            return Poll::Ready(None);
        }
        if let Some(bytes) = this.ready.take() {
            return this.pass(bytes);
        }
        loop {
            if let Some(fetch) = &mut this.fetch {
                let done = ready!(Pin::new(&mut fetch.task).poll(cx));
                let at = fetch.at;
                this.fetch = None;
                return match done {
                    Ok(Ok(block)) => {
                        let bytes = this.take(at, &block);
                        this.pass(bytes)
                    }
                    Ok(Err(cause)) => this.finish(Some(cause)),
                    // The runtime is going down, or the task panicked.
                    Err(cause) => this.finish(Some(Error::store(&cause))),
                };
            }
            match this.next(cx.waker()) {
                Next::Chunk(bytes) => return this.pass(bytes),
                Next::Fetch(segment, start) => {
                    if let Some(bytes) = this.fetch(segment, start) {
                        return this.pass(bytes);
                    }
                }
                Next::End => return this.finish(None),
                Next::Fail(cause) => return this.finish(Some(cause)),
                Next::Wait => return Poll::Pending,
            }
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.leave();
    }
}
