//! A client's connection, as far as a request knows it: what it is doing, whether its client is there,
//! and what of the answer has been written.
//!
//! - `phase`: what a connection is doing, and how long it may.
//! - `presence`: whether its client is there, and for which exchange it waits.
//! - `answer`: what the client has of an answer, and how it learns that it broke off.

use std::time::Duration;

pub(crate) use answer::Closing;
pub(crate) use phase::{Busy, Phase};
pub(crate) use presence::{Presence, Seat};

pub(crate) mod answer;
pub(crate) mod phase;
pub(crate) mod presence;

/// What comes together in so long at so many bytes a second.
pub(crate) fn bytes_in(rate: u64, window: Duration) -> u64 {
    let ms = crate::clock::millis(window);
    rate.saturating_mul(ms) / 1000
}
