//! Whether this instance may serve from its own tier without asking the store.
//!
//! It may while it has heard from the store recently: a purge waits for its confirmation for exactly that
//! long. After that the tier is *unsure*. A hit compares one number; everything else is checked only while
//! the tier is unsure.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::clock::WallMs;

/// Until when this instance may trust its tier.
#[derive(Debug)]
pub struct Trust {
    /// The end of the trust, on the store's clock. A process that was stopped and goes on finds by the wall
    /// clock that it is over, before any timer fires.
    until: AtomicU64,
    /// When the tier became unsure, in milliseconds from `base` plus 1; 0 if it is not.
    since: AtomicU64,
    base: Instant,
    when: WhenUnsure,
}

/// What to do with a fresh record while the tier is unsure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenUnsure {
    /// Serve it for this long; after that validate it with upstream first.
    Serve(Duration),
    /// Validate it with upstream first.
    Validate,
}

/// What to do with a record of an unsure tier now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubt {
    /// Serve it, with a response that says so.
    Serve,
    /// Validate it with upstream first.
    Validate,
}

// === impl Trust ===

impl Trust {
    /// The trust of an instance that does not share its store: no other can change what it holds.
    pub fn alone() -> Self {
        Self::until(u64::MAX, 0, WhenUnsure::Validate)
    }

    /// The trust of an instance of a fleet: unsure until it has heard from the store.
    pub fn shared(when: WhenUnsure) -> Self {
        Self::until(0, 1, when)
    }

    fn until(until: u64, since: u64, when: WhenUnsure) -> Self {
        Self { until: AtomicU64::new(until), since: AtomicU64::new(since), base: Instant::now(), when }
    }

    /// Returns whether the tier may be trusted at `now`, on the store's clock. One atomic load.
    pub fn holds(&self, now: WallMs) -> bool {
        now < self.until.load(Ordering::Acquire)
    }

    /// What to do with a record while the tier is unsure. The first call after the trust ran out starts the
    /// time of [`WhenUnsure::Serve`].
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

    /// Returns whether a stale record may be served for an upstream that fails. While the tier is unsure the
    /// record may have been purged: under `validate` it must not be served.
    pub fn lets_stale(&self, now: WallMs) -> bool {
        self.when != WhenUnsure::Validate || self.holds(now)
    }

    /// Confirms the trust until `until`, on the store's clock.
    pub fn confirm(&self, until: WallMs) {
        self.since.store(0, Ordering::Release);
        self.until.store(until, Ordering::Release);
    }

    /// Ends the trust: the tier is unsure.
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
