//! The primitives that the election inside a process is built on.
//!
//! `tests/interleavings` compiles the same `cell.rs` and `local.rs` against loom's in their place.

pub(super) use std::sync::atomic::{AtomicU64, Ordering};
pub(super) use std::sync::{Arc, Mutex, MutexGuard};
