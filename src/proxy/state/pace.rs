//! How fast a request may move from flight to flight.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::clock::Dice;

/// How many moves to another flight a request makes without a pause. Each move has a reason that ends (a
/// purge, a variant, an exchange under way), so more are not expected: the request then pauses before each
/// move, and ends at its deadline. It never goes upstream by itself, for what moves one request moves all
/// that wait with it.
const MOVES: u32 = 8;
/// The longest of those pauses.
const PAUSE: Duration = Duration::from_secs(2);
/// The longest pause before a re-election (S12).
pub(crate) const BACKOFF: Duration = Duration::from_millis(250);

/// Pauses before a move beyond [`MOVES`], the longer the more there were. Returns whether the deadline is
/// still ahead.
pub(crate) async fn moves_on(dice: &Dice, moves: u32, deadline: Instant) -> bool {
    let Some(more) = moves.checked_sub(MOVES) else { return true };
    let most = BACKOFF.saturating_mul(1_u32.checked_shl(more).unwrap_or(u32::MAX)).min(PAUSE);
    sleep_until(deadline.min(Instant::now() + dice.up_to(most))).await;
    Instant::now() < deadline
}
