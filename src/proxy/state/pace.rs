//! How fast a request moves from flight to flight.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::clock::Dice;

/// How often a request moves on to another flight at once. Each move has a reason that ends (a purge, a
/// variant, an exchange under way), so more of them are not foreseen: then it pauses before each, and
/// ends at its deadline. It never goes by itself: what moves one request moves all that wait with it.
const MOVES: u32 = 8;
/// The longest of those pauses.
const PAUSE: Duration = Duration::from_secs(2);
/// Re-election backs off by up to this (S12).
pub(crate) const BACKOFF: Duration = Duration::from_millis(250);

/// Pauses before a move too many, the longer the more there were. Returns whether there is time for it.
pub(crate) async fn moves_on(dice: &Dice, moves: u32, deadline: Instant) -> bool {
    let Some(more) = moves.checked_sub(MOVES) else { return true };
    let most = BACKOFF.saturating_mul(1_u32.checked_shl(more).unwrap_or(u32::MAX)).min(PAUSE);
    sleep_until(deadline.min(Instant::now() + dice.up_to(most))).await;
    Instant::now() < deadline
}
