//! Bytes that are kept.

use std::alloc::System;
use std::ops::Deref;
use std::sync::Arc;

use allocator_api2::boxed::Box;
use allocator_api2::vec::Vec;

/// Bytes in an allocation of the system's own heap. Cheap to clone: clones share them.
///
/// The program's allocator is made for blocks that come and go, and rounds each up by as much as a quarter.
/// What a memory tier holds is most of the memory of a process, and stays: the system's heap rounds it up by 16
/// bytes at most, and has no gaps between what is kept, as nothing else lies there.
#[derive(Clone, Default)]
pub(super) struct Block(Option<Arc<Box<[u8], System>>>);

// === impl Block ===

impl Block {
    /// A copy of these bytes.
    pub(super) fn of(bytes: &[u8]) -> Self {
        let mut block = Vec::with_capacity_in(bytes.len(), System);
        // Zeros first: `extend_from_slice` of this crate copies byte by byte.
        block.resize(bytes.len(), 0);
        block.copy_from_slice(bytes);
        Self(Some(Arc::new(block.into_boxed_slice())))
    }
}

impl Deref for Block {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0.as_ref().map_or(&[], |block| block)
    }
}

impl AsRef<[u8]> for Block {
    fn as_ref(&self) -> &[u8] {
        self
    }
}
