//! Asks the server how many writes a token has: at the start, and when one was held back although there may be
//! room for it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::super::Result;
use super::fault;
use super::gate::{Class, Ticket};
use super::state::{SPREAD, Shared, lock};

/// The shortest time between two questions: each is a write.
const PAUSE: Duration = Duration::from_secs(5);

/// Asks when a write was held back, until it is dropped.
pub(super) async fn appraise(shared: Arc<Shared>) {
    loop {
        shared.held_back.notified().await;
        let asks = lock(&shared.gate).may_be_told_more();
        if asks {
            // Without an answer all goes on with what is known.
            let _ = shared.ask_allowance().await;
        }
        sleep(PAUSE).await;
    }
}

// === impl Shared ===

impl Shared {
    /// Asks the server how many writes the token has left.
    pub(super) async fn ask_allowance(&self) -> Result<()> {
        let ticket = Ticket::admit(&self.gate, Class::Owed, self.moment());
        let mut ticket = ticket.map_err(fault::denied)?;
        let (sent, answered) = (Instant::now(), lock(&self.gate).answered(self.moment()));
        ticket.sent();
        let Some(allowance) = self.reads.allowance(&self.stores[0].entries).await? else { return Ok(()) };
        let (now, mut gate) = (self.moment(), lock(&self.gate));
        match allowance {
            Ok(allowance) => {
                gate.passed(sent);
                gate.told(allowance, answered, now);
            }
            Err(rest) => gate.refused(now.at + rest + self.dice.up_to(SPREAD), false, now),
        }
        Ok(())
    }
}
