//! How much of the memory is looked at to tell how many records a purge covers.

use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

/// The most entries that are looked at for one purge.
const MOST: usize = 65_536;
/// How many may be looked at in a second, on the whole. More purges are told a coarser estimate: a storm of them
/// must not take a core.
const PER_SECOND: usize = 131_072;
/// How many are looked at in any case.
const LEAST: usize = 64;

/// How many entries may be looked at, as of when.
#[derive(Debug, Default)]
pub(crate) struct Counting(Mutex<Option<(usize, Instant)>>);

// === impl Counting ===

impl Counting {
    /// Takes as many as one count may look at now.
    pub(crate) fn take(&self) -> usize {
        let now = Instant::now();
        // One assignment changes it: a panic elsewhere broke nothing.
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (left, since) = state.unwrap_or((MOST, now));
        let more = (now - since).as_micros().saturating_mul(PER_SECOND as u128) / 1_000_000;
        let left = left.saturating_add(usize::try_from(more).unwrap_or(MOST)).min(MOST);
        *state = Some((0, now));
        left.max(LEAST)
    }

    /// Gives back what was taken and not looked at.
    pub(crate) fn give_back(&self, count: usize) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((left, _)) = state.as_mut() {
            *left = left.saturating_add(count).min(MOST);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_storm_of_counts_looks_at_little_and_one_alone_at_much() {
        let counting = Counting::default();
        let mut taken = counting.take();
        assert_eq!(taken, MOST);
        for _ in 0..1_000 {
            tokio::time::advance(Duration::from_millis(1)).await;
            taken += counting.take();
        }
        assert!(taken < MOST + PER_SECOND + 1_000 * LEAST, "{taken}");
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(counting.take(), MOST);
        counting.give_back(MOST - 10);
        assert_eq!(counting.take(), MOST - 10, "a small memory is counted as often as it likes");
    }
}
