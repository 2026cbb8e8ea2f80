//! The gate before a token's rate limit.
//!
//! The server counts writes by the minute of its clock, failed ones too. After a refusal no call goes out
//! until that minute is over; then one goes first, and the others follow if it is let through.

use std::time::Duration;

use tokio::time::Instant;

/// How long the first call after a refusal may take before another one is sent.
const PROBE: Duration = Duration::from_secs(2);

/// Whether calls may go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Gate {
    /// They may.
    #[default]
    Open,
    /// Not before then.
    Shut(Instant),
    /// One was sent then, and is not answered yet.
    Probing(Instant),
}

// === impl Gate ===

impl Gate {
    /// Returns whether a call may go out now.
    pub(super) fn admits(&mut self, now: Instant) -> bool {
        match *self {
            Self::Open => true,
            Self::Shut(until) if now >= until => {
                *self = Self::Probing(now);
                true
            }
            Self::Probing(sent) if now >= sent + PROBE => {
                *self = Self::Probing(now);
                true
            }
            Self::Shut(_) | Self::Probing(_) => false,
        }
    }

    /// Records that a call was refused for the limit; the next minute begins at `until`.
    pub(super) fn refused(&mut self, until: Instant) {
        *self = match *self {
            Self::Shut(already) => Self::Shut(already.max(until)),
            Self::Open | Self::Probing(_) => Self::Shut(until),
        };
    }

    /// Records that a call sent at `sent` was let through.
    pub(super) fn passed(&mut self, sent: Instant) {
        // An answer from before the refusal says nothing.
        if matches!(*self, Self::Probing(since) if sent >= since) {
            *self = Self::Open;
        }
    }
}

/// How long the minute of the server's clock still lasts.
pub(super) fn rest_of_minute(server_ms: u64) -> Duration {
    Duration::from_millis(60_000 - server_ms % 60_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn after_a_refusal_one_call_goes_first() {
        let (mut gate, now, second) = (Gate::Open, Instant::now(), Duration::from_secs(1));
        assert!(gate.admits(now));
        gate.refused(now + second * 10);
        gate.passed(now);
        assert!(!gate.admits(now + second * 9), "an earlier answer does not open it");
        assert!(gate.admits(now + second * 10));
        assert!(!gate.admits(now + second * 11), "only one");
        gate.refused(now + second * 70);
        assert!(!gate.admits(now + second * 69) && gate.admits(now + second * 70));
        gate.passed(now + second * 70);
        assert!(gate.admits(now + second * 70) && gate.admits(now + second * 70));
    }

    #[tokio::test(start_paused = true)]
    async fn a_first_call_that_is_lost_is_sent_again() {
        let (mut gate, now) = (Gate::Open, Instant::now());
        gate.refused(now);
        assert!(gate.admits(now) && !gate.admits(now + PROBE / 2) && gate.admits(now + PROBE));
    }

    #[test]
    fn the_limit_ends_with_the_servers_minute() {
        assert_eq!(rest_of_minute(1_790_000_040_000), Duration::from_mins(1));
        assert_eq!(rest_of_minute(1_790_000_095_000), Duration::from_secs(5));
    }
}
