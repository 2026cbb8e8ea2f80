//! The readers that wait for the next bytes of a body.

use std::task::Waker;

/// The wakers of one round. A round ends when all of them are taken to be woken.
#[derive(Debug, Default)]
pub(super) struct ReadWaiter {
    wakers: Vec<Waker>,
    round: u64,
}

/// Where a reader's waker is: round and index.
#[derive(Debug, Default)]
pub(super) struct Place(Option<(u64, usize)>);

// === impl ReadWaiter ===

impl ReadWaiter {
    /// Registers `waker`: one per reader and round, however often the reader is polled.
    pub(super) fn enter(&mut self, place: &mut Place, waker: &Waker) {
        if let Place(Some((round, index))) = *place
            && round == self.round
            && let Some(mine) = self.wakers.get_mut(index)
        {
            mine.clone_from(waker);
            return;
        }
        *place = Place(Some((self.round, self.wakers.len())));
        self.wakers.push(waker.clone());
    }

    /// Ends the round and returns its wakers. They are to be woken when no lock is held.
    pub(super) fn take(&mut self) -> Vec<Waker> {
        self.round += 1;
        std::mem::take(&mut self.wakers)
    }
}

pub(super) fn wake(wakers: Vec<Waker>) {
    for waker in wakers {
        waker.wake();
    }
}
