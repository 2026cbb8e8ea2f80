//! The writes that were sent and are not answered.
//!
//! A write is settled by its reply or by its own event, whichever comes first.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::gate::{Class, Ticket};
use super::op::{Kind, Tag, Write};
use super::state::{CALL_BOUND, Outcome};

/// How long a server may take to answer: it gives a writer five seconds.
const LONGEST: Duration = Duration::from_secs(6);

/// What a write that landed brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Done {
    /// Its count; a release of what is not held has none.
    pub count: Option<u64>,
    /// When the lease expires that it concerns.
    pub expires_at: Option<u64>,
}

/// The writes that are not settled, by their reference.
#[derive(Debug, Default)]
pub(super) struct Pending {
    waiting: BTreeMap<u64, Waiting>,
    settled: Option<Instant>,
    /// The latest that was settled.
    latest: u64,
    /// When a write was sent last although an earlier one is late.
    tried: Option<Instant>,
}

/// A write that is not settled.
#[derive(Debug)]
pub(super) struct Waiting {
    pub key: Arc<str>,
    pub kind: Kind,
    pub tag: Tag,
    /// The token of the lease that it renews or releases.
    pub token: Option<u64>,
    pub sent: Instant,
    pub tell: oneshot::Sender<Outcome>,
    pub ticket: Ticket,
    /// The holder of the lease that is asked for.
    pub holder: Option<Arc<str>>,
}

// === impl Pending ===

impl Pending {
    pub(super) fn add(
        &mut self,
        reference: u64,
        write: &Write,
        tell: oneshot::Sender<Outcome>,
        mut ticket: Ticket,
        now: Instant,
    ) {
        let Write { key, kind, tag, token, .. } = write;
        ticket.sent();
        let (key, holder) = (key.clone(), write.holder());
        let waiting = Waiting { key, kind: *kind, tag: *tag, token: *token, sent: now, tell, ticket, holder };
        self.waiting.insert(reference, waiting);
    }

    /// Takes the write that is settled now, unless it was before.
    pub(super) fn settle(&mut self, reference: u64, now: Instant) -> Option<Waiting> {
        let waiting = self.waiting.remove(&reference)?;
        self.settled = Some(now);
        self.latest = self.latest.max(reference);
        Some(waiting)
    }

    /// Returns whether another write may be sent. While the server answers none, one is sent per call bound. So
    /// is one that begins something while the server is behind.
    pub(super) fn admits(&self, class: Class, now: Instant) -> bool {
        let waits = self.is_stuck(now, CALL_BOUND) || class != Class::Owed && self.is_behind(now);
        !waits || self.tried.is_none_or(|tried| now >= tried + CALL_BOUND)
    }

    /// Records that a write is sent now.
    pub(super) fn sends(&mut self, now: Instant) {
        self.tried = (self.is_stuck(now, CALL_BOUND) || self.is_behind(now)).then_some(now);
    }

    /// Returns whether the server has answered no write for so long that the channel must be gone.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.is_stuck(now, LONGEST)
    }

    /// Forgets the writes whose answers are late, or all of them: `None`. Returns the leases among them, which
    /// may land nevertheless: their keys and their holders.
    pub(super) fn forget(&mut self, late: Option<Instant>) -> Vec<(Arc<str>, Arc<str>)> {
        let is_forgotten =
            |_: &u64, waiting: &mut Waiting| late.is_none_or(|now| now >= waiting.sent + LONGEST);
        let forgotten = self.waiting.extract_if(.., is_forgotten);
        forgotten.filter_map(|(_, waiting)| Some((waiting.key, waiting.holder?))).collect()
    }

    /// Returns whether the server is late with a write that it comes to next: it answers one after another, so
    /// the answer of one before the latest settled was lost.
    fn is_behind(&self, now: Instant) -> bool {
        let mut next = self.waiting.range(self.latest + 1..);
        next.any(|(_, waiting)| now >= waiting.sent + CALL_BOUND)
    }

    /// Returns whether nothing was settled since a write was sent, and that is longer ago than `bound`.
    fn is_stuck(&self, now: Instant, bound: Duration) -> bool {
        let is_late = |waiting: &Waiting| {
            now >= waiting.sent + bound && self.settled.is_none_or(|settled| settled < waiting.sent)
        };
        self.waiting.values().any(is_late)
    }
}

#[cfg(test)]
mod tests {
    use super::super::gate::Moment;
    use super::*;

    fn write() -> Write {
        Write::delete("k".into(), &["k".into()], Tag::default(), None)
    }

    fn sent(pending: &mut Pending, reference: u64, now: Instant) -> oneshot::Receiver<Outcome> {
        let (tell, told) = oneshot::channel();
        let ticket = Ticket::of_debt(&Arc::default(), Moment { at: now, server_ms: 0 });
        pending.add(reference, &write(), tell, ticket, now);
        told
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_is_settled_once() {
        let (mut pending, now) = (Pending::default(), Instant::now());
        let _told = sent(&mut pending, 7, now);
        assert!(pending.settle(7, now).is_some() && pending.settle(7, now).is_none());
        assert!(pending.settle(8, now).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_answers_nothing_is_asked_once_per_bound() {
        let (mut pending, now) = (Pending::default(), Instant::now());
        let _first = sent(&mut pending, 1, now);
        assert!(pending.admits(Class::Owed, now + CALL_BOUND / 2));
        let late = now + CALL_BOUND;
        assert!(
            pending.admits(Class::Owed, late) && pending.admits(Class::Owed, late),
            "one that was not sent does not count"
        );
        pending.sends(late);
        assert!(!pending.admits(Class::Owed, late) && pending.admits(Class::Owed, late + CALL_BOUND));
        assert!(!pending.is_over(late) && pending.is_over(now + LONGEST));
        // Another one is answered: only the answer of the first was lost.
        let _second = sent(&mut pending, 2, late);
        pending.settle(2, late);
        assert!(
            pending.admits(Class::Owed, late)
                && pending.admits(Class::Owed, late)
                && !pending.is_over(now + LONGEST)
        );
        assert!(pending.forget(Some(now + LONGEST)).is_empty() && pending.waiting.is_empty(), "no lease");
        let lease = Write::lease("l".into(), &["l".into()], 30_000, "holder");
        let (tell, _told) = oneshot::channel();
        let ticket = Ticket::of_debt(&Arc::default(), Moment { at: late, server_ms: 0 });
        pending.add(3, &lease, tell, ticket, late);
        let late = late + CALL_BOUND;
        pending.sends(late);
        assert!(!pending.admits(Class::Lease, late), "it is behind: one a bound is begun");
        assert!(pending.forget(Some(late)).is_empty(), "its answer may come");
        assert_eq!(pending.forget(None), [("l".into(), "holder".into())], "it may land");
    }
}
