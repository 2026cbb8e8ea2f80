//! The bytes of a fill that are in memory: the recent end of the body.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// Shorter chunks are copied: a few bytes must not keep a whole network buffer alive.
const SMALL: usize = 4 * 1024;
/// Small chunks are joined up to this length, so that a dripping body is not a long list.
const JOINED: usize = 16 * 1024;

/// A contiguous stretch of the body, `start..end`, in chunks. Pure.
#[derive(Debug, Default)]
pub(super) struct Window {
    chunks: VecDeque<Chunk>,
    start: u64,
    end: u64,
}

#[derive(Debug)]
struct Chunk {
    at: u64,
    bytes: Bytes,
    /// Whether it is in storage of its size, which nothing else is in.
    owned: bool,
}

// === impl Window ===

impl Window {
    /// An empty window at `start`.
    pub(super) fn at(start: u64) -> Self {
        Self { chunks: VecDeque::new(), start, end: start }
    }

    /// The offset of the first byte that is held.
    pub(super) fn start(&self) -> u64 {
        self.start
    }

    /// The offset after the last byte that is held.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// How many bytes are held.
    pub(super) fn len(&self) -> u64 {
        self.end - self.start
    }

    /// Adds `bytes` at the end. Small chunks are joined: each byte is copied a logarithmic number of times at
    /// most.
    pub(super) fn push(&mut self, mut bytes: Bytes) {
        if bytes.is_empty() {
            return;
        }
        let (mut at, owned) = (self.end, bytes.len() < SMALL);
        self.end += bytes.len() as u64;
        if owned {
            bytes = Bytes::copy_from_slice(&bytes);
            while let Some(last) = self.chunks.back() {
                let sum = last.bytes.len() + bytes.len();
                if last.bytes.len() > bytes.len() || sum > JOINED {
                    break;
                }
                let mut both = BytesMut::with_capacity(sum);
                both.extend_from_slice(&last.bytes);
                both.extend_from_slice(&bytes);
                at = last.at;
                bytes = both.freeze();
                self.chunks.pop_back();
            }
        }
        self.chunks.push_back(Chunk { at, bytes, owned });
    }

    /// The bytes from `at` to the end of their chunk; `None` if `at` is not held.
    pub(super) fn from(&self, at: u64) -> Option<Bytes> {
        if at < self.start || at >= self.end {
            return None;
        }
        let index = self.chunks.partition_point(|chunk| chunk.at <= at).checked_sub(1)?;
        let chunk = self.chunks.get(index)?;
        Some(chunk.bytes.slice(usize::try_from(at - chunk.at).ok()?..))
    }

    /// The bytes of `first..end` in chunks. All of them must be held.
    pub(super) fn slice(&self, first: u64, end: u64) -> Vec<Bytes> {
        let mut out = Vec::new();
        let mut at = first;
        while at < end {
            let Some(bytes) = self.from(at) else { break };
            let left = usize::try_from(end - at).unwrap_or(usize::MAX);
            let bytes = if bytes.len() > left { bytes.slice(..left) } else { bytes };
            at += bytes.len() as u64;
            out.push(bytes);
        }
        out
    }

    /// Drops whole chunks from the front that end at or before `until`, while more than `budget` bytes are
    /// held.
    pub(super) fn trim(&mut self, until: u64, budget: u64) {
        while self.len() > budget {
            match self.chunks.front() {
                Some(chunk) if chunk.at + chunk.bytes.len() as u64 <= until => {
                    self.start = chunk.at + chunk.bytes.len() as u64;
                    self.chunks.pop_front();
                }
                _ => break,
            }
        }
    }

    /// All bytes in one allocation of their size, which replaces the chunks. They are copied once at most.
    pub(super) fn join(&mut self) -> Bytes {
        if let [only] = self.chunks.make_contiguous()
            && only.owned
        {
            return only.bytes.clone();
        }
        let mut whole = BytesMut::with_capacity(usize::try_from(self.len()).unwrap_or(0));
        for chunk in &self.chunks {
            whole.extend_from_slice(&chunk.bytes);
        }
        let whole = whole.freeze();
        self.chunks.clear();
        if !whole.is_empty() {
            self.chunks.push_back(Chunk { at: self.start, bytes: whole.clone(), owned: true });
        }
        whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crumbs_are_joined_and_read_back_from_anywhere() {
        let mut window = Window::default();
        let body: Vec<u8> = (0..40_000u32).map(|i| u8::try_from(i % 251).unwrap()).collect();
        for byte in &body {
            window.push(Bytes::copy_from_slice(&[*byte]));
        }
        assert!(window.chunks.len() < 40, "{} chunks", window.chunks.len());
        for at in [0usize, 1, 4095, 4096, 16_384, 39_999] {
            assert_eq!(window.from(at as u64).unwrap()[0], body[at]);
        }
        assert_eq!(window.slice(3, 39_000).concat(), &body[3..39_000]);
        assert_eq!(window.from(40_000), None);
        assert_eq!(window.join(), body);
    }

    #[test]
    fn large_chunks_are_not_copied() {
        let mut window = Window::default();
        let chunk = Bytes::from(vec![7; SMALL]);
        window.push(chunk.clone());
        assert_eq!(window.from(0).unwrap().as_ptr(), chunk.as_ptr());
    }

    #[test]
    fn the_whole_is_copied_once() {
        for len in [10, 10 * SMALL] {
            let mut window = Window::default();
            let chunk = Bytes::from(vec![7; len]);
            window.push(chunk.clone());
            let whole = window.join();
            assert_eq!(whole, chunk);
            assert_ne!(whole.as_ptr(), chunk.as_ptr(), "it keeps no buffer of others");
            assert_eq!(window.join().as_ptr(), whole.as_ptr());
            window.push(Bytes::from(vec![8; SMALL]));
            assert_eq!(window.join().len(), len + SMALL);
        }
    }

    #[test]
    fn trimming_stops_at_the_budget_and_at_the_limit() {
        let mut window = Window::default();
        for _ in 0..10 {
            window.push(Bytes::from(vec![0; SMALL]));
        }
        let step = SMALL as u64;
        window.trim(3 * step, 0);
        assert_eq!((window.start(), window.end()), (3 * step, 10 * step));
        window.trim(10 * step, 5 * step);
        assert_eq!(window.start(), 5 * step);
        assert_eq!(window.from(0), None);
    }
}
