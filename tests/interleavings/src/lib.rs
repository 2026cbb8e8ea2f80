//! The very files of the product, over loom's primitives in place of std's.

#![allow(dead_code, reason = "the product uses the rest")]

#[path = "../../../src/flight/cell.rs"]
mod cell;
#[path = "../../../src/flight/local.rs"]
pub mod local;

mod sync {
    pub(super) use loom::sync::atomic::{AtomicU64, Ordering};
    pub(super) use loom::sync::{Arc, Mutex, MutexGuard};
}
