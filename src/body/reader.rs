//! The reading end: one type for growing bodies and for stored bodies.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{Stream, TryStreamExt as _};
use sha2::{Digest as _, Sha256};

use super::ahead::Ahead;
use super::fill::{BLOCK, Fill, Next, Seat, bounds};
use super::name::{Name, first_half};
use super::waiting::Place;
use super::{Bodies, Error, check};
use crate::record::{Manifest, Segment};

/// Streams the bytes of a body, or of a range of it, in order. Ends cleanly only if every byte was passed on.
/// After an error or the end it stays ended.
pub struct Reader {
    source: Source,
    at: u64,
    /// The byte after the last; `None` where the end of the body decides.
    end: Option<u64>,
    /// The next bytes, taken from memory when the reader was made: they stay however late it is polled.
    ready: Option<Bytes>,
    fetch: Option<Fetch>,
    /// `None` as long as all bytes come from memory.
    ahead: Option<Box<Ahead>>,
    /// Whether to read even if the store is away: the client has had bytes and has no alternative.
    begun: bool,
    over: bool,
}

#[derive(Debug)]
enum Source {
    Growing { fill: Arc<Fill>, place: Place, seat: Seat },
    Stored { bodies: Arc<Bodies>, name: Name, manifest: Arc<Manifest>, index: usize, start: u64 },
    Failed(Error),
}

/// The read of a block, and where in the body the block begins. It runs in a task that all readers of the
/// block share, because this reader may not be polled for long.
type Fetch = BoxFuture<'static, (u64, Result<Bytes, Error>)>;

// === impl Reader ===

impl Reader {
    /// A reader of a growing body, which has taken this seat.
    pub(super) fn growing(fill: Arc<Fill>, range: Option<(u64, u64)>, seat: Seat) -> Self {
        let (at, end) = bounds(range);
        let source = Source::Growing { fill, place: Place::default(), seat };
        let mut reader = Self::over(source, at, end);
        reader.ready = reader.at_hand();
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
        Self::over(source, at, Some(end.unwrap_or(len)))
    }

    fn over(source: Source, at: u64, end: Option<u64>) -> Self {
        Self { source, at, end, ready: None, fetch: None, ahead: None, begun: false, over: false }
    }

    /// Makes it read even if the store is away: its client has had bytes of the body, or has no alternative.
    #[must_use]
    pub fn goes_on(mut self) -> Self {
        self.begun = true;
        self
    }

    /// Notes that it will be read later, after another reader: it is not too slow.
    pub fn stays(&self) {
        if let Source::Growing { fill, seat, .. } = &self.source {
            fill.stays(*seat);
        }
    }

    /// How many bytes are still to come, if known. For a growing body of unknown length it is not, until the
    /// body is complete.
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

    /// Reads the next `len` bytes and returns their digest.
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
            Source::Growing { fill, place, seat } => fill.next(self.at, self.end, *seat, place, waker),
            Source::Stored { .. } if self.end.is_some_and(|end| self.at >= end) => Next::End,
            Source::Stored { manifest, index, start, .. } => loop {
                let Some(segment) = manifest.segments.get(*index) else { break Next::Fail(Error::Manifest) };
                // Does not overflow: the sum was checked.
                if self.at < *start + segment.len {
                    break Next::Fetch(*segment, *start);
                }
                *start += segment.len;
                *index += 1;
            },
            Source::Failed(cause) => Next::Fail(cause.clone()),
        }
    }

    /// The block with the next byte. `segment` begins at `start`. Returns the bytes if they are in memory,
    /// else begins to read them.
    fn fetch(&mut self, segment: Segment, start: u64) -> Result<Option<Bytes>, Error> {
        let (bodies, name) = match &self.source {
            Source::Growing { fill, .. } => (Arc::clone(&fill.bodies), fill.name.clone()),
            Source::Stored { bodies, name, .. } => (Arc::clone(bodies), name.clone()),
            Source::Failed(cause) => return Err(cause.clone()),
        };
        let block = (self.at - start) / BLOCK;
        let at = start + block * BLOCK;
        let kept = self.ahead.get_or_insert_default().at(start, &segment);
        let there = match kept.and_then(|read| read.get()) {
            Some(Err(cause)) => return Err(cause.clone()),
            Some(Ok(sound)) => sound.block(block),
            None => None,
        };
        if let Some(bytes) = there.or_else(|| bodies.cached(&name, &segment, block)) {
            self.go_ahead(&bodies, &name, &segment, start);
            return Ok(Some(self.take(at, &bytes)));
        }
        let first = self.at == start || kept.is_none();
        let mut read = kept.cloned();
        if read.is_none() {
            if !self.begun
                && let Some(cause) = bodies.goes_past(&name, &segment)
            {
                return Err(cause);
            }
            // More than one block of it is needed: keeps it until all of that has been passed on.
            let wanted = self.end.map_or(segment.len, |end| end.min(start + segment.len) - self.at);
            if wanted > BLOCK {
                let ahead = self.ahead.get_or_insert_default();
                read = ahead.keep(start, &segment, || bodies.hold(&name, &segment));
            }
        }
        if first {
            self.ahead.get_or_insert_default().waits();
        }
        self.go_ahead(&bodies, &name, &segment, start);
        let read = async move {
            if let Some(read) = read
                && let Some(bytes) = read.wait().await?.block(block)
            {
                return Ok(bytes);
            }
            bodies.block(&name, &segment, block).await
        };
        self.fetch = Some(Box::pin(async move { (at, read.await) }));
        Ok(None)
    }

    /// Reads ahead as many of the next segments as [`Ahead`] wants.
    fn go_ahead(&mut self, bodies: &Arc<Bodies>, name: &Name, segment: &Segment, start: u64) {
        let (end, after) = (self.end, start.saturating_add(segment.len));
        let Some(ahead) = self.ahead.as_deref_mut().filter(|ahead| ahead.wants_more()) else { return };
        if end.is_some_and(|end| after >= end) {
            return;
        }
        let next = |at: u64, segment: &Segment| {
            if end.is_some_and(|end| at >= end) {
                return false;
            }
            ahead.send_for(at, segment, || {
                (!bodies.has_cached(name, segment)).then(|| bodies.hold(name, segment))
            })
        };
        match &self.source {
            Source::Growing { fill, .. } => fill.stored_from(after, next),
            Source::Stored { manifest, index, .. } => {
                let mut next = next;
                let mut at = after;
                for segment in manifest.segments.iter().skip(index + 1) {
                    if segment.len > 0 && !next(at, segment) {
                        return;
                    }
                    // Does not overflow: the sum was checked.
                    at += segment.len;
                }
            }
            Source::Failed(_) => {}
        }
    }

    /// The needed part of a block that begins at `at`.
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
        self.begun = true;
        if self.end == Some(self.at) && matches!(self.source, Source::Growing { .. }) {
            // It may not be polled again, and the writer must not wait for it.
            self.leave();
        }
        Poll::Ready(Some(Ok(bytes)))
    }

    fn finish(&mut self, cause: Option<Error>) -> Poll<Option<Result<Bytes, Error>>> {
        self.leave();
        Poll::Ready(cause.map(Err))
    }

    /// Ends the reader and gives up its seat.
    fn leave(&mut self) {
        if !std::mem::replace(&mut self.over, true) {
            (self.ready, self.fetch, self.ahead) = (None, None, None);
            if let Source::Growing { fill, seat, .. } = &self.source {
                fill.leave(*seat);
            }
        }
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("source", &self.source)
            .field("at", &self.at)
            .field("end", &self.end)
            .finish_non_exhaustive()
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
                let (at, done) = ready!(fetch.as_mut().poll(cx));
                this.fetch = None;
                return match done {
                    Ok(block) => {
                        let bytes = this.take(at, &block);
                        this.pass(bytes)
                    }
                    Err(cause) => this.finish(Some(cause)),
                };
            }
            match this.next(cx.waker()) {
                Next::Chunk(bytes) => return this.pass(bytes),
                Next::Fetch(segment, start) => match this.fetch(segment, start) {
                    Ok(Some(bytes)) => return this.pass(bytes),
                    Ok(None) => {}
                    Err(cause) => return this.finish(Some(cause)),
                },
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
