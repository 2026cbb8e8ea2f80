//! What the server does wrong, until it is told otherwise.

use std::time::Duration;

/// The faults of a server. The default has none. What is random follows the seed of the server.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// How much later replies to writes are sent. Events keep their time: the echo comes long before.
    pub reply_delay: Duration,
    /// How much later live events are sent, also to the writer: its echo may follow the reply.
    pub event_delay: Duration,
    /// How much later live events are sent to all but their writer.
    pub fan_out_delay: Duration,
    /// Each live event is sent later by a random time up to this: they overtake each other.
    pub scatter: Duration,
    /// How many times more each live event is sent.
    pub repeats: usize,
    /// How many of the last operations are also sent as live events at a join, in reverse, before the
    /// catch-up: what a join during writes shows.
    pub overlap: usize,
    /// How much later the catch-up of a join comes than its reply. Live events come in between.
    pub catch_up_delay: Duration,
    /// Live events are kept back until [`let_go`](super::DustServer::let_go).
    pub holds_events: bool,
    /// Writes that are committed without an event.
    pub swallowed_events: Next,
    /// Writes that are committed and whose reply never comes.
    pub lost_replies: Next,
    /// Writes that are lost before the server reads them.
    pub lost_requests: Next,
    /// Writes that get `{:writer_unavailable, …}` and are committed nevertheless, without an event.
    pub unavailable_committed: Next,
    /// How much later those are committed, at the next frame or request from then on.
    pub commit_delay: Duration,
    /// Writes that get `{:writer_unavailable, …}` and are not committed.
    pub unavailable: Next,
    /// Writes that get `rate_limited`, whatever was spent. HTTP writes get 429.
    pub rate_limited: Next,
    /// Writes that are refused for this reason.
    pub refused: Next,
    pub reason: &'static str,
    /// Writes whose channel crashes: `phx_error`, and no reply.
    pub crashed: Next,
    /// Upgrades are answered with this status.
    pub refused_upgrades: Option<u16>,
    /// HTTP requests are answered with this status.
    pub refused_requests: Option<u16>,
    pub silence: Silence,
}

/// How much of the server answers nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Silence {
    /// It speaks.
    #[default]
    None,
    /// No channel answers, also no heartbeat, and no event is sent. Upgrades, pings and HTTP work.
    Frames,
    /// It is frozen: it accepts connections, and reads and answers nothing. What waits is answered once
    /// it is healed.
    Everything,
}

/// Which writes a fault hits: the next few, or all.
#[derive(Debug, Clone, Default)]
pub struct Next {
    left: u64,
    op: Option<String>,
}

// === impl Next ===

impl Next {
    /// The next `count` writes.
    pub fn writes(count: u64) -> Self {
        Self { left: count, op: None }
    }

    /// The next `count` writes of this operation, as `lease` or `set`.
    pub fn of(op: &str, count: u64) -> Self {
        Self { left: count, op: Some(op.to_owned()) }
    }

    /// All writes.
    pub fn all() -> Self {
        Self::writes(u64::MAX)
    }

    /// How many writes are still to be hit.
    pub fn left(&self) -> u64 {
        self.left
    }

    pub(super) fn takes(&mut self, op: &str) -> bool {
        let hit = self.left > 0 && self.op.as_deref().is_none_or(|wanted| wanted == op);
        if hit && self.left != u64::MAX {
            self.left -= 1;
        }
        hit
    }
}
