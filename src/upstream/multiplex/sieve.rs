//! A first look at the frames that an origin sends, before the library sees them.
//!
//! The library gives up a connection, with all its streams, after a hundred empty DATA frames in the
//! connection's life, and keeps each small one in many times its size. An origin may send both. So empty
//! frames are changed to an unknown type, which is ignored (RFC 9113 §5.5), and small ones are counted.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A frame with fewer bytes than this costs more memory than it carries.
pub(super) const SMALL: usize = 1 << 10;
/// After so many small frames it is time to put them together. Each costs the library some 300 bytes, and the
/// buffer that it was read into: at worst 16 KiB, if nothing else needs that any more.
const MANY: usize = 4 << 10;
/// A connection that showed so many empty frames gets no further streams.
const EMPTY: usize = 50;

const HEAD: usize = 9;
const DATA: u8 = 0;
const END_STREAM: u8 = 0x1;
const PADDED: u8 = 0x8;
/// An undefined frame type.
const UNKNOWN: u8 = 0xfb;

/// How many small and empty frames were seen on a connection.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Small frames since they were put together last.
    small: AtomicUsize,
    /// Empty frames that the library has seen.
    empty: AtomicUsize,
}

/// A connection's stream of bytes, whose frames are inspected as they are read.
pub(super) struct Sieve<T> {
    io: T,
    seen: Arc<Seen>,
    /// The header of the current frame, as far as it has come.
    head: [u8; HEAD],
    have: usize,
    /// How many bytes of the frame's payload are to come.
    left: usize,
}

// === impl Seen ===

impl Seen {
    /// Returns whether it is time to put small frames together; until that is done nothing more is
    /// read.
    pub(super) fn many_small(&self) -> bool {
        self.small.load(Ordering::Relaxed) >= MANY
    }

    /// Records that they were put together.
    pub(super) fn together(&self) {
        self.small.store(0, Ordering::Relaxed);
    }

    /// Returns whether the library is about to give the connection up.
    pub(super) fn many_empty(&self) -> bool {
        self.empty.load(Ordering::Relaxed) >= EMPTY
    }
}

// === impl Sieve ===

impl<T> Sieve<T> {
    pub(super) fn new(io: T) -> (Self, Arc<Seen>) {
        let seen = Arc::new(Seen::default());
        (Self { io, seen: seen.clone(), head: [0; HEAD], have: 0, left: 0 }, seen)
    }

    /// Inspects the bytes that came.
    fn look(&mut self, mut came: &mut [u8]) {
        while !came.is_empty() {
            let skipped = self.left.min(came.len());
            came = came.split_at_mut(skipped).1;
            self.left -= skipped;
            let wanted = (HEAD - self.have).min(came.len());
            let (head, rest) = came.split_at_mut(wanted);
            came = rest;
            let before = self.have;
            for (to, from) in self.head.iter_mut().skip(before).zip(head.iter()) {
                *to = *from;
            }
            self.have += wanted;
            if before < 5 && self.have >= 5 {
                self.judge(head);
            }
            if self.have == HEAD {
                self.left = self.length();
                self.have = 0;
            }
        }
    }

    /// Judges a frame whose length, type and flags are known. `head`: the part of its header that came last,
    /// which can still be changed.
    fn judge(&mut self, head: &mut [u8]) {
        let [_, _, _, kind, flags, ..] = self.head;
        if kind != DATA || flags & END_STREAM != 0 {
            return;
        }
        let length = self.length();
        if flags & PADDED != 0 && length <= 256 {
            // It may be empty. Padding counts for flow control, so the library must see it.
            self.seen.empty.fetch_add(1, Ordering::Relaxed);
        } else if length == 0 {
            // Changes the type, unless the library has read it already.
            let known = self.have - head.len();
            match 3_usize.checked_sub(known).and_then(|at| head.get_mut(at)) {
                Some(kind) => *kind = UNKNOWN,
                None => _ = self.seen.empty.fetch_add(1, Ordering::Relaxed),
            }
        }
        if length < SMALL && length > 0 {
            self.seen.small.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn length(&self) -> usize {
        let [high, middle, low, ..] = self.head;
        usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low)
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Sieve<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.seen.many_small() {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buf.filled().len();
        let read = Pin::new(&mut self.io).poll_read(cx, buf);
        if let Some(came) = buf.filled_mut().get_mut(before..) {
            self.look(came);
        }
        read
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Sieve<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, length: u8) -> Vec<u8> {
        let mut frame = vec![0, 0, length, kind, flags, 0, 0, 0, 1];
        frame.extend(std::iter::repeat_n(0, usize::from(length)));
        frame
    }

    /// What the library sees of these bytes if they come in pieces of such a size.
    fn through(sent: &[u8], size: usize) -> (Vec<u8>, Arc<Seen>) {
        let (mut sieve, seen) = Sieve::new(());
        let mut all = sent.to_vec();
        for piece in all.chunks_mut(size) {
            sieve.look(piece);
        }
        (all, seen)
    }

    #[test]
    fn empty_frames_are_of_no_known_type_and_all_else_stays_wherever_the_bytes_are_cut() {
        let kept = [frame(4, 0, 0), frame(DATA, 0, 9), frame(DATA, END_STREAM, 0), frame(DATA, PADDED, 1)];
        let mut sent = Vec::new();
        let mut seen = Vec::new();
        for kept in &kept {
            sent.extend(frame(DATA, 0, 0));
            seen.extend(frame(UNKNOWN, 0, 0));
            sent.extend(kept);
            seen.extend(kept);
        }
        for size in 5..=sent.len() {
            let (came, counts) = through(&sent, size);
            let past = came.iter().zip(&seen).filter(|(came, seen)| came != seen).count();
            // The padded one, and those that a cut right behind the type lets pass.
            assert_eq!(counts.empty.load(Ordering::Relaxed), 1 + past, "in pieces of {size}");
            assert!(past == 0 || size < sent.len(), "in pieces of {size}");
            assert_eq!(counts.small.load(Ordering::Relaxed), 2, "in pieces of {size}");
        }
    }

    #[test]
    fn nothing_is_read_while_there_are_many_small_frames() {
        let (mut sieve, seen) = Sieve::new(tokio::io::repeat(0));
        sieve.look(&mut frame(DATA, 0, 1).repeat(MANY));
        let mut room = [0; 9];
        let mut cx = Context::from_waker(std::task::Waker::noop());
        assert!(Pin::new(&mut sieve).poll_read(&mut cx, &mut ReadBuf::new(&mut room)).is_pending());
        seen.together();
        assert!(Pin::new(&mut sieve).poll_read(&mut cx, &mut ReadBuf::new(&mut room)).is_ready());
    }
}
