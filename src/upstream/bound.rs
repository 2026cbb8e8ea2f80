//! Authentication that is bound to a connection (NTLM, Negotiate; RFC 4559 §6): the origin takes every later
//! request on that connection for the same user's, so it must not be reused.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use http::{HeaderMap, header};
use tokio::time::Instant;

const SCHEMES: [&str; 4] = ["ntlm", "negotiate", "kerberos", "nego2"];
/// For how long no connection is kept after a challenge. Not for ever: a client that makes an origin echo a
/// field could switch keep-alive off.
const LASTS: Duration = Duration::from_mins(10);

/// Whether connections to an origin are kept: not for a while after the origin was seen to bind them.
#[derive(Debug)]
pub(super) struct Latch {
    made: Instant,
    lasts: Duration,
    /// Until when no connection is kept, in ms since `made`.
    until: AtomicU64,
    /// Challenges whose content is still under way: their connections are not idle yet.
    open: AtomicUsize,
}

/// A challenge whose content is under way. Hold it until that has ended.
#[derive(Debug)]
pub(super) struct Challenge(Arc<Latch>);

// === impl Latch ===

impl Latch {
    /// The latch for an origin whose idle connections are kept for `pool_idle`. It lasts for longer than
    /// that, so a challenged connection has left the pool before any is reused.
    pub(super) fn new(pool_idle: Duration) -> Self {
        let lasts = LASTS.max(pool_idle.saturating_mul(2));
        Self { made: Instant::now(), lasts, until: AtomicU64::new(0), open: AtomicUsize::new(0) }
    }

    /// Returns whether a request must have a connection of its own.
    pub(super) fn holds(&self) -> bool {
        let until = self.until.load(Ordering::Acquire);
        // Most origins never challenge: no clock is read for them.
        until > 0 && (self.open.load(Ordering::Acquire) > 0 || self.now_ms() < until)
    }

    /// Records a challenge. Returns a guard to hold until its content has ended, and whether it is the first
    /// since connections were last kept.
    pub(super) fn challenged(self: &Arc<Self>) -> (Challenge, bool) {
        self.open.fetch_add(1, Ordering::AcqRel);
        let now = self.now_ms();
        (Challenge(self.clone()), self.lasts_from(now) <= now)
    }

    /// Prolongs the latch from `now` on. Returns until when it was to last before.
    fn lasts_from(&self, now: u64) -> u64 {
        self.until.fetch_max(now.saturating_add(crate::clock::millis(self.lasts)), Ordering::AcqRel)
    }

    fn now_ms(&self) -> u64 {
        crate::clock::millis(self.made.elapsed())
    }
}

impl Drop for Challenge {
    fn drop(&mut self) {
        // Its connection may be idle from now on.
        self.0.lasts_from(self.0.now_ms());
        self.0.open.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Returns whether a request would bind its connection.
pub(super) fn binds(request: &HeaderMap) -> bool {
    request.get_all(header::AUTHORIZATION).into_iter().any(|line| is_bound(line.as_bytes()))
}

/// Returns whether a response shows that its origin binds connections.
pub(super) fn challenges(response: &HeaderMap) -> bool {
    let mut lines = [header::WWW_AUTHENTICATE, header::PROXY_AUTHENTICATE]
        .into_iter()
        .flat_map(|field| response.get_all(field).into_iter());
    // A comma in quotes begins no challenge; taking it for one is on the safe side.
    lines.any(|line| line.as_bytes().split(|&byte| byte == b',').any(is_bound))
        || response.contains_key("persistent-auth")
}

fn is_bound(credentials: &[u8]) -> bool {
    let scheme = credentials.trim_ascii().split(u8::is_ascii_whitespace).next().unwrap_or_default();
    SCHEMES.iter().any(|bound| scheme.eq_ignore_ascii_case(bound.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn none_is_kept_for_a_while_after_the_last_challenge_and_the_first_says_so() {
        let latch = Arc::new(Latch::new(Duration::from_secs(4)));
        assert!(!latch.holds());
        for _ in 0..2 {
            let (first, begins) = latch.challenged();
            assert!(begins && latch.holds());
            drop(first);
            tokio::time::advance(LASTS / 2).await;
            let (second, begins) = latch.challenged();
            assert!(!begins);
            tokio::time::advance(LASTS * 2).await;
            assert!(latch.holds(), "its content is under way");
            drop(second);
            tokio::time::advance(LASTS * 9 / 10).await;
            assert!(latch.holds());
            tokio::time::advance(LASTS / 10).await;
            assert!(!latch.holds());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_outlasts_what_was_idle_when_it_began() {
        let idle = Duration::from_hours(1);
        let latch = Arc::new(Latch::new(idle));
        drop(latch.challenged());
        tokio::time::advance(idle).await;
        assert!(latch.holds());
    }
}
