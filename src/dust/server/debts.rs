//! Releases that are owed: of leases that landed for nobody.
//!
//! Each is tried until the server has answered it or the lease has expired, as far as the token's rate limit
//! allows.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::sleep;

use super::fault::Reason;
use super::holders::Landed;
use super::op::Write;
use super::state::{Shared, lock};
use crate::clock::WallMs;

/// How many are tried at once, oldest first.
const BATCH: usize = 32;
/// The most that are owed. Beyond it the oldest are left to expire.
const MOST: usize = 1024;
/// The pause after a failure; it doubles with each one in a row.
const PAUSE: Duration = Duration::from_millis(100);
/// The longest.
const LONGEST: Duration = Duration::from_secs(2);

/// What is owed, oldest first.
#[derive(Debug, Default)]
pub(super) struct Debts(VecDeque<Debt>);

/// A lease to release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Debt {
    key: Arc<str>,
    holder: Arc<str>,
    lease: Landed,
    /// Whether its release may be on its way.
    is_tried: bool,
}

// === impl Debt ===

impl Debt {
    pub(super) fn new(key: &Arc<str>, holder: &Arc<str>, lease: Landed) -> Self {
        Self { key: key.clone(), holder: holder.clone(), lease, is_tried: false }
    }

    fn is_of(&self, key: &str, token: u64) -> bool {
        *self.key == *key && self.lease.token == token
    }
}

// === impl Debts ===

impl Debts {
    fn add(&mut self, debt: Debt) {
        if self.has(&debt.key, debt.lease.token) {
            return;
        }
        if self.0.len() == MOST {
            self.0.pop_front();
        }
        self.0.push_back(debt);
    }

    /// Returns whether the release of this lease is owed.
    pub(super) fn has(&self, key: &str, token: u64) -> bool {
        self.0.iter().any(|debt| debt.is_of(key, token))
    }

    /// Takes out those of a holder that asks again, unless their releases may be on their way.
    pub(super) fn taken_back(&mut self, key: &str, holder: &str) -> Vec<Landed> {
        let mut back = Vec::new();
        self.0.retain(|debt| {
            let is_back = *debt.key == *key && *debt.holder == *holder && !debt.is_tried;
            back.extend(is_back.then_some(debt.lease));
            !is_back
        });
        back
    }

    /// The next ones to try, which count as tried now. Those that have expired are dropped.
    fn next(&mut self, now: WallMs) -> Vec<Debt> {
        self.0.retain(|debt| debt.lease.until > now);
        let batch = self.0.iter_mut().take(BATCH);
        batch
            .map(|debt| {
                debt.is_tried = true;
                debt.clone()
            })
            .collect()
    }

    /// Records what came of tries: paid ones are dropped, others come after those that were not tried.
    fn tried(&mut self, batch: &[Debt], outcomes: &[Try]) {
        for (tried, outcome) in batch.iter().zip(outcomes) {
            let at = self.0.iter().position(|debt| debt.is_of(&tried.key, tried.lease.token));
            let Some(debt) = at.and_then(|at| self.0.remove(at)) else { continue };
            match outcome {
                Try::Paid => {}
                Try::NotSent => self.0.push_back(Debt { is_tried: false, ..debt }),
                Try::Unknown => self.0.push_back(debt),
            }
        }
    }
}

/// What came of a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Try {
    /// The lease is over.
    Paid,
    /// It was not sent.
    NotSent,
    /// It may have landed, or may land later.
    Unknown,
}

/// Releases what is owed, until it is dropped.
pub(super) async fn pay(shared: Arc<Shared>) {
    let mut pause = PAUSE;
    loop {
        let rung = shared.indebted.notified();
        let batch = lock(&shared.debts).next(shared.server_ms());
        if batch.is_empty() {
            rung.await;
            continue;
        }
        let outcomes = join_all(batch.iter().map(|debt| shared.tries(debt))).await;
        lock(&shared.debts).tried(&batch, &outcomes);
        if outcomes.iter().all(|outcome| *outcome == Try::Paid) {
            pause = PAUSE;
        } else {
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST);
        }
    }
}

// === impl Shared ===

impl Shared {
    /// Records that a release is owed.
    pub(super) fn owes(&self, debt: Debt) {
        lock(&self.debts).add(debt);
        self.indebted.notify_one();
    }

    async fn tries(&self, debt: &Debt) -> Try {
        let (key, Landed { token, number, .. }) = (&debt.key, debt.lease);
        let release = Write::release(key.clone(), &self.names.path(key), token, number);
        match self.write(self.spot(key), release).await {
            Ok(Ok(_) | Err(Reason::NotHeld)) => Try::Paid,
            Ok(Err(Reason::Limited)) | Err(super::super::Error::NotDone(_)) => Try::NotSent,
            Ok(Err(_)) | Err(_) => Try::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn debt(token: u64) -> Debt {
        Debt::new(&"k".into(), &"h".into(), Landed { token, number: token, until: 1_000 })
    }

    #[test]
    fn what_is_not_answered_is_tried_again_until_it_expires() {
        let mut debts = Debts::default();
        debts.add(debt(1));
        debts.add(debt(2));
        debts.add(debt(2));
        let batch = debts.next(0);
        assert_eq!(batch.len(), 2);
        debts.tried(&batch, &[Try::Paid, Try::Unknown]);
        assert!(!debts.has("k", 1) && debts.has("k", 2));
        assert_eq!(debts.taken_back("k", "h"), [], "its release may land");
        let batch = debts.next(999);
        debts.tried(&batch, &[Try::NotSent]);
        assert_eq!(debts.next(1_000), [], "it has expired");
    }

    #[test]
    fn what_was_not_sent_is_left_to_its_holder_if_that_asks_again() {
        let mut debts = Debts::default();
        debts.add(debt(1));
        let batch = debts.next(0);
        debts.tried(&batch, &[Try::NotSent]);
        assert_eq!(debts.taken_back("k", "another"), []);
        assert_eq!(debts.taken_back("k", "h"), [debt(1).lease]);
        assert!(debts.next(0).is_empty());
    }

    #[test]
    fn there_is_a_bound() {
        let mut debts = Debts::default();
        (0..2 * MOST as u64).for_each(|token| debts.add(debt(token)));
        assert!(debts.0.len() == MOST && debts.has("k", 2 * MOST as u64 - 1));
    }
}
