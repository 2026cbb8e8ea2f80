//! Nobody new is broken off, or refused, because bytes are missing: while the origin is well, who
//! comes after they went gets all.
//!
//! Of a body that an instance has in memory in part the head is out before it is known that the rest
//! is gone. That may happen to those who read it then, and to nobody who comes a moment later: it
//! has been found out.

use super::Ledger;
use crate::world::World;

/// How soon all know that bytes are missing which somebody missed, in ms.
const FOUND_OUT_MS: u64 = 1_000;

impl Ledger {
    /// Judges a request whose answer did not end well, after it had got so many bytes.
    pub fn ends_badly(&self, world: &World, request: u64, (arrived, arrived_ms): (u64, u64), got: usize) {
        let now = world.now();
        let mut inner = self.inner();
        let before = inner.gone.iter().any(|gone| *gone < arrived);
        let meanwhile = inner.gone.iter().any(|gone| *gone > arrived);
        let missed = before.then(|| *inner.missed_ms.get_or_insert(now));
        drop(inner);
        let in_time = |missed: u64| got > 0 && arrived_ms <= missed + FOUND_OUT_MS;
        if world.plan.sound && before && !meanwhile && !missed.is_some_and(in_time) {
            world.broken(format_args!(
                "request {request} came after bytes went, and is broken off or refused after {got}"
            ));
        }
    }
}
