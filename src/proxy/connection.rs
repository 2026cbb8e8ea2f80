//! The parts of a client's connection that requests use: what the connection is doing, whether its client is
//! still there, and how much of the response has been written.
//!
//! - `phase`: what a connection is doing, and how long it may do it.
//! - `presence`: whether its client is still there, and for which exchange it waits.
//! - `answer`: how much of a response has been written, and how the client learns that it broke off.

use std::time::Duration;

pub(crate) use answer::Closing;
pub(crate) use phase::{Busy, Phase};
pub(crate) use presence::{Presence, Seat};

pub(crate) mod answer;
pub(crate) mod phase;
pub(crate) mod presence;

/// The bytes that come in `window` at `rate` bytes a second.
pub(crate) fn bytes_in(rate: u64, window: Duration) -> u64 {
    let ms = crate::clock::millis(window);
    rate.saturating_mul(ms) / 1000
}
