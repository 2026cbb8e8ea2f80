//! A client's connection, as far as a request knows it: what it is doing, whether its client is there,
//! and what of the answer has been written.
//!
//! - `phase`: what a connection is doing, and how long it may.
//! - `presence`: whether its client is there, and for which exchange it waits.
//! - `answer`: what the client has of an answer, and how it learns that it broke off.

use std::time::Duration;

mod answer;
mod phase;
mod presence;

pub(crate) use answer::Closing;
pub(crate) use phase::{Busy, Phase};
pub(crate) use presence::{Presence, Seat};

/// How the data port treats its connections. A duration of zero is for ever.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// From the first byte of a head to its last.
    pub header_timeout: Duration,
    /// Between two requests of a connection, from when the last byte of an answer was written.
    pub idle_timeout: Duration,
    /// In which a client takes nothing of an answer.
    pub send_timeout: Duration,
    /// Bytes a second that a client takes at least, over `send_timeout` of being waited for. Zero:
    /// any number.
    pub min_rate: u64,
    /// The most connections; the newest above it is refused.
    pub max_connections: usize,
    /// The longest head, in bytes.
    pub max_header_size: usize,
    /// The most fields of a head.
    pub max_fields: usize,
}

impl Limits {
    /// What a client has to take in so long, in bytes.
    pub(crate) fn enough_in(&self, window: Duration) -> u64 {
        bytes_in(self.min_rate, window)
    }
}

/// What comes together in so long at so many bytes a second.
pub(crate) fn bytes_in(rate: u64, window: Duration) -> u64 {
    let ms = crate::clock::millis(window);
    rate.saturating_mul(ms) / 1000
}
