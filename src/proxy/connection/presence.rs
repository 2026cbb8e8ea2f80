//! Whether a client is still there, as far as its connection tells, and which exchange it waits for.
//!
//! A client that has ended its side of the connection may have closed all of it: the two look alike until
//! something is written to it. Such a client is answered. But until then it does not count among the clients
//! that are known to wait for an exchange, so that exchanges for clients that are gone give way when places
//! at the upstream are short.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::upstream::Interest;

/// Whether the client of a connection is still there, and what it waits for.
#[derive(Debug, Default)]
pub struct Presence(Mutex<PresenceState>);

#[derive(Debug, Default)]
struct PresenceState {
    /// The client has ended its side of the connection.
    ended: bool,
    /// The exchange that it waits for: one at a time, as the requests of a connection are.
    waits: Option<Interest>,
    /// Whether it counts as known to wait for that.
    counts: bool,
}

/// A request's wait for an exchange. Dropped, it waits no more.
#[derive(Debug)]
pub(crate) struct Seat {
    presence: Arc<Presence>,
    interest: Interest,
}

// === impl Presence ===

impl Presence {
    /// The client has ended its side of the connection, and may be gone.
    pub(crate) fn ends(&self) {
        let mut state = self.lock();
        state.ended = true;
        state.count(false);
    }

    /// Bytes were written to the client: if it is gone, the connection will be reset.
    pub(crate) fn is_written_to(&self) {
        self.lock().count(true);
    }

    /// Returns whether the client has not ended its side of the connection.
    pub(crate) fn is_sure(&self) -> bool {
        !self.lock().ended
    }

    fn lock(&self) -> MutexGuard<'_, PresenceState> {
        // Each change is one step that cannot panic half way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl PresenceState ===

impl PresenceState {
    fn count(&mut self, counts: bool) {
        let Some(interest) = &self.waits else { return };
        match (self.counts, counts) {
            (false, true) => interest.believe(),
            (true, false) => interest.doubt(),
            (true, true) | (false, false) => {}
        }
        self.counts = counts;
    }

    /// The client waits for no exchange any more.
    fn rises(&mut self) {
        let Some(interest) = self.waits.take() else { return };
        if std::mem::take(&mut self.counts) {
            interest.leave();
        } else {
            interest.leave_doubted();
        }
    }
}

// === impl Seat ===

impl Seat {
    /// A request of this client waits for that exchange, and for no other any more.
    pub(crate) fn take(presence: Arc<Presence>, interest: Interest) -> Self {
        let mut state = presence.lock();
        state.rises();
        if state.ended {
            interest.enter_doubted();
        } else {
            interest.enter();
        }
        state.counts = !state.ended;
        state.waits = Some(interest.clone());
        drop(state);
        Self { presence, interest }
    }

    /// The exchange that it waits for.
    pub(crate) fn interest(&self) -> &Interest {
        &self.interest
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.presence.lock().rises();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn is_there(interest: &Interest) -> bool {
        Box::pin(interest.deserted()).now_or_never().is_none()
    }

    #[test]
    fn a_client_that_ends_its_side_counts_again_when_something_is_written_to_it() {
        let (presence, interest) = (Arc::new(Presence::default()), Interest::default());
        let seat = Seat::take(presence.clone(), interest.clone());
        assert!(interest.is_known());
        presence.ends();
        assert!(!interest.is_known());
        presence.is_written_to();
        presence.is_written_to();
        assert!(interest.is_known());
        assert!(is_there(&interest));
        drop(seat);
        assert!(!interest.is_known() && !is_there(&interest));
        presence.is_written_to();
        assert!(!interest.is_known());
        let next = Seat::take(presence, interest.clone());
        assert!(!interest.is_known(), "its next request is from a client that may be gone");
        assert!(is_there(&interest), "and waits for it");
        drop(next);
        assert!(!is_there(&interest));
    }

    #[test]
    fn others_go_on_counting() {
        let interest = Interest::default();
        let one = Arc::new(Presence::default());
        let seats = [one.clone(), Arc::default()].map(|presence| Seat::take(presence, interest.clone()));
        one.ends();
        assert!(interest.is_known());
        drop(seats);
        assert!(!interest.is_known());
    }
}
