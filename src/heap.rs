//! The allocator of the program.
//!
//! A miss makes and drops some 200 blocks, of up to 9 KB. The system's heap merges and splits them between
//! blocks that stay, which was a fifth of what a miss costs; mimalloc does not. But of long blocks mimalloc holds
//! some for each thread: with twenty readers of a large body that was 250 MiB. So short blocks are mimalloc's, and
//! long ones the system's, which gives them back.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr::copy_nonoverlapping;

use mimalloc::MiMalloc;

/// Short blocks from one heap, long ones from another.
#[derive(Debug)]
pub struct Heap;

/// The length from which a block is long, in bytes.
pub const LONG: usize = 32 * 1024;

fn is_long(len: usize) -> bool {
    len >= LONG
}

// SAFETY: Each call goes to one of two allocators, which keep the contract of `GlobalAlloc`. A block goes back to
// the one that it came from: which one that is depends on the length in its layout alone, and callers hand in the
// layout that the block has. `realloc` changes a block's length, so it moves a block whose length crosses the
// bound: the new block has room for the bytes that are copied, as the shorter length is copied, and the two don't
// overlap, as both are allocated at that time.
#[allow(unsafe_code, reason = "an allocator can't be written without it")]
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if is_long(layout.size()) {
            unsafe { System.alloc(layout) }
        } else {
            unsafe { MiMalloc.alloc(layout) }
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if is_long(layout.size()) {
            unsafe { System.alloc_zeroed(layout) }
        } else {
            unsafe { MiMalloc.alloc_zeroed(layout) }
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if is_long(layout.size()) {
            unsafe { System.dealloc(block, layout) }
        } else {
            unsafe { MiMalloc.dealloc(block, layout) }
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, len: usize) -> *mut u8 {
        match (is_long(layout.size()), is_long(len)) {
            (true, true) => unsafe { System.realloc(block, layout, len) },
            (false, false) => unsafe { MiMalloc.realloc(block, layout, len) },
            _ => unsafe {
                // The caller vouches for a length that, rounded up to the alignment, is a valid one.
                let moved = self.alloc(Layout::from_size_align_unchecked(len, layout.align()));
                if !moved.is_null() {
                    copy_nonoverlapping(block, moved, layout.size().min(len));
                    self.dealloc(block, layout);
                }
                moved
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Not the allocator of this test: the blocks of this one vector are.
    #[allow(unsafe_code, reason = "what is tested is called as the language calls it")]
    fn grown_and_shrunk(lengths: &[usize]) {
        let mut layout = Layout::from_size_align(1, 16).expect("a layout");
        // SAFETY: Each call has the layout that the block has, and reads and writes within it.
        unsafe {
            let mut block = Heap.alloc_zeroed(layout);
            assert_eq!(block.read(), 0);
            block.write(7);
            for len in lengths {
                block = Heap.realloc(block, layout, *len);
                layout = Layout::from_size_align(*len, 16).expect("a layout");
                assert!(!block.is_null() && block.addr().is_multiple_of(16));
                assert_eq!(block.read(), 7, "kept at {len}");
                let last = block.add(len - 1);
                last.write(7);
                assert_eq!(last.read(), 7);
            }
            Heap.dealloc(block, layout);
        }
    }

    #[test]
    fn a_block_keeps_its_bytes_when_its_length_crosses_the_bound() {
        grown_and_shrunk(&[2, LONG - 1, LONG, LONG + 1, 1 << 20, LONG, LONG - 1, 1, 1 << 20, 5]);
    }
}
