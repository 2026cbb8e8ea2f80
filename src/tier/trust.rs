//! Whether this instance may answer from its own tier without asking anybody.
//!
//! It may while it has heard from the store lately enough: a purge waits for its word for exactly
//! that long. Past it the tier is *unsure*. A hit asks one number; everything else is asked only
//! when that says no.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::clock::WallMs;

/// The trust that this instance may put into its tier.
#[derive(Debug)]
pub struct Trust {
    /// Until when it may, on the store's clock. A process that was stopped and goes on finds by
    /// the wall that it is over, before any timer has told it.
    until: AtomicU64,
    /// Milliseconds from `base`, and 1, at which the tier became unsure; 0 if it is not.
    since: AtomicU64,
    base: Instant,
    when: WhenUnsure,
}

/// What a fresh record is worth while the tier is unsure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenUnsure {
    /// It is served, for so long; then upstream is asked first.
    Serve(Duration),
    /// Upstream is asked first.
    Validate,
}

/// What an unsure tier does with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubt {
    /// It is served, and its answer says so.
    Serve,
    /// Upstream is asked first.
    Validate,
}

// === impl Trust ===

impl Trust {
    /// Of an instance that is alone with its store: nobody else can change what it holds.
    pub fn alone() -> Self {
        Self::until(u64::MAX, 0, WhenUnsure::Validate)
    }

    /// Of one among several: unsure until it has heard from the store.
    pub fn shared(when: WhenUnsure) -> Self {
        Self::until(0, 1, when)
    }

    fn until(until: u64, since: u64, when: WhenUnsure) -> Self {
        Self { until: AtomicU64::new(until), since: AtomicU64::new(since), base: Instant::now(), when }
    }

    /// Whether the tier may be believed at `now`, on the store's clock. One load.
    pub fn holds(&self, now: WallMs) -> bool {
        now < self.until.load(Ordering::Acquire)
    }

    /// What to do with a record while it may not.
    #[cold]
    pub fn doubt(&self) -> Doubt {
        let now = self.mono();
        let since = match self.since.compare_exchange(0, now, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => now,
            Err(since) => since,
        };
        match self.when {
            WhenUnsure::Serve(span) if u128::from(now - since.min(now)) < span.as_millis() => Doubt::Serve,
            WhenUnsure::Serve(_) | WhenUnsure::Validate => Doubt::Validate,
        }
    }

    /// Whether a stale record may stand in for an upstream that fails. While unsure it may be one
    /// that was purged: under `validate` that is not to be.
    pub fn lets_stale(&self, now: WallMs) -> bool {
        self.when != WhenUnsure::Validate || self.holds(now)
    }

    /// It has been confirmed, and holds until `until`, on the store's clock.
    pub fn confirm(&self, until: WallMs) {
        self.since.store(0, Ordering::Release);
        self.until.store(until, Ordering::Release);
    }

    /// It is over.
    pub fn lose(&self) {
        self.until.store(0, Ordering::Release);
        let _ = self.since.compare_exchange(0, self.mono(), Ordering::AcqRel, Ordering::Acquire);
    }

    fn mono(&self) -> u64 {
        u64::try_from(self.base.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPAN: Duration = Duration::from_mins(5);

    #[tokio::test(start_paused = true)]
    async fn who_is_alone_is_always_sure() {
        assert!(Trust::alone().holds(u64::MAX - 1));
        assert!(Trust::alone().lets_stale(1));
    }

    #[tokio::test(start_paused = true)]
    async fn unsure_records_are_served_for_a_while() {
        let trust = Trust::shared(WhenUnsure::Serve(SPAN));
        assert!(!trust.holds(5));
        trust.confirm(100);
        assert!(trust.holds(99));
        assert!(!trust.holds(100), "a process that was stopped finds out by itself");
        assert_eq!(trust.doubt(), Doubt::Serve);
        tokio::time::advance(SPAN * 9 / 10).await;
        trust.lose();
        assert_eq!(trust.doubt(), Doubt::Serve);
        tokio::time::advance(SPAN / 10).await;
        assert_eq!(trust.doubt(), Doubt::Validate, "counted from when it began");
        trust.confirm(200);
        trust.lose();
        assert_eq!(trust.doubt(), Doubt::Serve, "it begins anew");
    }

    #[tokio::test(start_paused = true)]
    async fn or_not_at_all() {
        let trust = Trust::shared(WhenUnsure::Validate);
        trust.confirm(100);
        assert!(trust.lets_stale(99));
        trust.lose();
        assert_eq!(trust.doubt(), Doubt::Validate);
        assert!(!trust.lets_stale(99));
    }
}
