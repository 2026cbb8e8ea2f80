//! Hashes a segment as it is read, and cuts it into blocks. Pure, except that a file is read.

use std::fs::File;
use std::io::Read as _;

use bytes::{Bytes, BytesMut};
use sha2::{Digest as _, Sha256};

use super::fill::BLOCK;
use super::name::{digest, first_half};

/// The first half of a SHA-256.
pub(super) type Digest = [u8; 16];

/// A segment that was read.
pub(super) struct Scanned {
    pub(super) digest: Digest,
    /// The digest of each block.
    pub(super) digests: Vec<Digest>,
    /// The blocks, if they are to be kept.
    pub(super) blocks: Vec<Bytes>,
}

/// Hashes a stream, and cuts it into blocks.
pub(super) struct Scan {
    whole: Sha256,
    keep: bool,
    digests: Vec<Digest>,
    blocks: Vec<Bytes>,
    rest: BytesMut,
}

// === impl Scan ===

impl Scan {
    pub(super) fn new(keep: bool) -> Self {
        let (digests, blocks) = (Vec::new(), Vec::new());
        Self { whole: Sha256::new(), keep, digests, blocks, rest: BytesMut::new() }
    }

    pub(super) fn push(&mut self, mut chunk: Bytes) {
        const WHOLE: usize = 256 * 1024;
        self.whole.update(&chunk);
        while !chunk.is_empty() {
            let room = WHOLE - self.rest.len();
            let part = chunk.split_to(room.min(chunk.len()));
            if self.rest.is_empty() && part.len() == WHOLE {
                self.block(part);
                continue;
            }
            self.rest.extend_from_slice(&part);
            if self.rest.len() == WHOLE {
                let block = self.rest.split().freeze();
                self.block(block);
            }
        }
    }

    /// Takes a complete block.
    fn block(&mut self, block: Bytes) {
        self.digests.push(sha(&block));
        if self.keep {
            self.blocks.push(block);
        }
    }

    pub(super) fn end(mut self) -> Scanned {
        if !self.rest.is_empty() {
            // In storage of its own length: memory may keep it.
            let block = Bytes::copy_from_slice(&self.rest);
            if self.digests.is_empty() {
                // The only block: its digest is that of the segment.
                return Scanned::of_one(first_half(self.whole), block, self.keep);
            }
            self.block(block);
        }
        Scanned { digest: first_half(self.whole), digests: self.digests, blocks: self.blocks }
    }
}

// === impl Scanned ===

impl Scanned {
    /// A segment that came in one piece, which is not copied if it is one block.
    pub(super) fn of(bytes: Bytes, keep: bool) -> Self {
        if (1..=BLOCK).contains(&(bytes.len() as u64)) {
            return Self::of_one(sha(&bytes), bytes, keep);
        }
        let mut scan = Scan::new(keep);
        scan.push(bytes);
        scan.end()
    }

    /// A segment of one block.
    pub(super) fn of_one(digest: Digest, block: Bytes, keep: bool) -> Self {
        Self { digest, digests: vec![digest], blocks: if keep { vec![block] } else { Vec::new() } }
    }
}

pub(super) fn scan_file(mut file: File, keep: bool) -> std::io::Result<Scanned> {
    let mut scan = Scan::new(keep);
    loop {
        let mut block = Vec::new();
        if file.by_ref().take(BLOCK).read_to_end(&mut block)? == 0 {
            return Ok(scan.end());
        }
        block.shrink_to_fit();
        scan.push(Bytes::from(block));
    }
}

pub(super) fn sha(bytes: &Bytes) -> Digest {
    digest([&bytes[..]])
}
