//! A record is never fresh for longer than its lifetime on the true clock, whatever clocks were set
//! to meanwhile.

use super::Ledger;
use crate::world::World;

/// What clocks that are not wrong may differ by, and an answer may be under way, in ms.
const SLACK_MS: u64 = 1_500;

impl Ledger {
    /// Judges a hit: `validated` is the exchange that its bytes are from, or that confirmed them.
    pub fn is_fresh(&self, world: &World, request: u64, key: usize, validated: u64, arrived_ms: u64) {
        if !world.plan.sound {
            return;
        }
        let Some(exchange) = self.exchange(validated) else { return };
        let of = &world.plan.keys[key];
        let over = exchange.sent_ms + (of.fresh_s + of.swr_s) * 1000 + SLACK_MS;
        if of.shared() && arrived_ms > over {
            world.broken(format_args!(
                "request {request} is a hit on exchange {validated}, which was over at {over}"
            ));
        }
    }
}
