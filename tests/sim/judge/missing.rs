//! Nobody new is broken off, or refused, because bytes are missing: while the origin is well, who
//! comes after they went gets all.

use super::Ledger;
use crate::world::World;

impl Ledger {
    /// Judges a request whose answer did not end well.
    pub fn ends_badly(&self, world: &World, request: u64, arrived: u64, how: &str) {
        let inner = self.inner();
        let before = inner.gone.iter().any(|gone| *gone < arrived);
        let meanwhile = inner.gone.iter().any(|gone| *gone > arrived);
        drop(inner);
        if world.plan.sound && before && !meanwhile {
            world.broken(format_args!("request {request} came after bytes went, and {how}"));
        }
    }
}
