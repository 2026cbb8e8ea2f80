//! Time and chance, handed in.
//!
//! Deadlines are monotonic (S18) and use [`tokio::time::Instant`], which tests pause. Dates in
//! HTTP and in records need the wall clock: a [`Clock`] gives it. Jitter comes from [`Dice`],
//! which simulations seed, so that the same seed gives the same run.

use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

mod steady;

pub use steady::Steady;

/// Milliseconds since the Unix epoch, on some wall clock.
pub type WallMs = u64;

/// The wall clock of this instance.
pub trait Clock: Send + Sync + Debug {
    /// Milliseconds since the Unix epoch. May jump; never used for a deadline.
    fn wall_ms(&self) -> WallMs;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

/// A clock that a test sets by hand.
#[derive(Debug, Default)]
pub struct ManualClock {
    wall: AtomicU64,
}

/// The source of randomness: for jitter, and for names that are used once.
#[derive(Debug)]
pub struct Dice {
    rng: Mutex<fastrand::Rng>,
}

/// A duration in whole milliseconds. One that is too long for the number gives the largest number.
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

// === impl SystemClock ===

impl Clock for SystemClock {
    fn wall_ms(&self) -> WallMs {
        #[expect(clippy::disallowed_methods, reason = "the one place that reads the wall")]
        let now = SystemTime::now();
        now.duration_since(UNIX_EPOCH).map_or(0, millis)
    }
}

// === impl ManualClock ===

impl ManualClock {
    /// A clock that stands at `wall_ms`.
    pub fn at(wall_ms: WallMs) -> Self {
        Self { wall: AtomicU64::new(wall_ms) }
    }

    /// Moves the clock on.
    pub fn advance(&self, by: Duration) {
        let ms = millis(by);
        self.wall.fetch_add(ms, Ordering::Relaxed);
    }

    /// Sets the clock, also back.
    pub fn set(&self, wall_ms: WallMs) {
        self.wall.store(wall_ms, Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn wall_ms(&self) -> WallMs {
        self.wall.load(Ordering::Relaxed)
    }
}

// === impl Dice ===

impl Dice {
    /// Dice seeded by the machine.
    pub fn new() -> Self {
        Self { rng: Mutex::new(fastrand::Rng::new()) }
    }

    /// Dice that give the same numbers in each run.
    pub fn seeded(seed: u64) -> Self {
        Self { rng: Mutex::new(fastrand::Rng::with_seed(seed)) }
    }

    /// A duration from zero up to `max`, both included (full jitter, S12).
    pub fn up_to(&self, max: Duration) -> Duration {
        let max = u64::try_from(max.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(self.with(|rng| rng.u64(0..=max)))
    }

    /// A number below `below`; 0 if `below` is 0.
    pub fn below(&self, below: u64) -> u64 {
        if below == 0 { 0 } else { self.with(|rng| rng.u64(0..below)) }
    }

    /// 32 hexadecimal digits: a name that is used once.
    pub fn name(&self) -> String {
        format!("{:032x}", self.with(|rng| rng.u128(..)))
    }

    fn with<T>(&self, roll: impl FnOnce(&mut fastrand::Rng) -> T) -> T {
        // A generator has no invariant that a panic elsewhere could have broken.
        roll(&mut self.rng.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Default for Dice {
    fn default() -> Self {
        Self::new()
    }
}
