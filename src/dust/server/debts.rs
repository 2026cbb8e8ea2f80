//! Releases that are owed: of leases that landed for nobody.
//!
//! Each is tried until the server has answered it or the lease has expired, as far as the token's rate limit
//! allows. A store that is joined again is tried at once. What the server refuses for ever is given up.
//!
//! Each store is paid for itself, so that one that does not answer holds up no other. What is new goes out at once, for
//! its store may answer that.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::super::{Error, Result};
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
/// How long the end of the process waits for what is owed.
const AT_THE_END: Duration = Duration::from_secs(2);
/// How often it looks.
const LOOK: Duration = Duration::from_millis(10);

/// What is owed, oldest first.
#[derive(Debug, Default)]
pub(super) struct Debts {
    owed: VecDeque<Debt>,
    /// Why the last one was given up that was, and when its lease expires.
    given_up: Option<(Error, WallMs)>,
}

/// A lease to release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Debt {
    key: Arc<str>,
    holder: Arc<str>,
    lease: Landed,
    /// Whether its release was never tried.
    is_new: bool,
    /// Whether its release is being tried.
    is_out: bool,
    /// Whether one that was tried before may be on its way.
    may_land: bool,
}

// === impl Debt ===

impl Debt {
    pub(super) fn new(key: &Arc<str>, holder: &Arc<str>, lease: Landed) -> Self {
        Self { key: key.clone(), holder: holder.clone(), lease, is_new: true, is_out: false, may_land: false }
    }

    /// The same, of a lease whose release may be on its way.
    pub(super) fn tried(self) -> Self {
        Self { may_land: true, ..self }
    }

    fn is_of(&self, key: &str, token: u64) -> bool {
        *self.key == *key && self.lease.token == token
    }
}

// === impl Debts ===

impl Debts {
    fn add(&mut self, debt: Debt) {
        if let Some(owed) = self.owed.iter_mut().find(|owed| owed.is_of(&debt.key, debt.lease.token)) {
            owed.may_land |= debt.may_land;
            return;
        }
        if self.owed.len() == MOST {
            self.owed.pop_front();
        }
        self.owed.push_back(debt);
    }

    /// Returns whether the release of this lease is owed.
    pub(super) fn has(&self, key: &str, token: u64) -> bool {
        self.owed.iter().any(|debt| debt.is_of(key, token))
    }

    /// Takes out those of a holder that asks again, unless their releases may be on their way.
    pub(super) fn taken_back(&mut self, key: &str, holder: &str) -> Vec<Landed> {
        let mut back = Vec::new();
        self.owed.retain(|debt| {
            let is_back = *debt.key == *key && *debt.holder == *holder && !debt.is_out && !debt.may_land;
            back.extend(is_back.then_some(debt.lease));
            !is_back
        });
        back
    }

    /// The next ones of these to try, which are out now. Those that have expired are dropped.
    fn next(&mut self, now: WallMs, is_meant: impl Fn(&Debt) -> bool) -> Vec<Debt> {
        self.owed.retain(|debt| debt.lease.until > now);
        let batch = self.owed.iter_mut().filter(|debt| is_meant(debt)).take(BATCH);
        batch
            .map(|debt| {
                // One that is out already was left so by a thread that has fallen.
                debt.may_land |= std::mem::replace(&mut debt.is_out, true);
                debt.is_new = false;
                debt.clone()
            })
            .collect()
    }

    /// Records what came of tries: paid ones are dropped, others come after those that were not tried.
    fn tried(&mut self, batch: &[Debt], outcomes: Vec<Try>) {
        for (tried, outcome) in batch.iter().zip(outcomes) {
            let at = self.owed.iter().position(|debt| debt.is_of(&tried.key, tried.lease.token));
            let Some(debt) = at.and_then(|at| self.owed.remove(at)) else { continue };
            match outcome {
                Try::Paid => {}
                Try::NotSent => self.owed.push_back(Debt { is_out: false, ..debt }),
                Try::Unknown => self.owed.push_back(Debt { is_out: false, may_land: true, ..debt }),
                Try::Never(why) => self.given_up = Some((why, debt.lease.until)),
            }
        }
    }

    /// How many are owed.
    pub(super) fn len(&self) -> usize {
        self.owed.len()
    }

    /// Takes why the last one was given up that was, if its lease still lives.
    pub(super) fn given_up(&mut self, now: WallMs) -> Option<Error> {
        self.given_up.take().filter(|(_, until)| *until > now).map(|(why, _)| why)
    }
}

/// What came of a release.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Try {
    /// The lease is over.
    Paid,
    /// It was not sent.
    NotSent,
    /// It may have landed, or may land later.
    Unknown,
    /// The server refuses it, and would again: the lease is left to expire.
    Never(Error),
}

/// Releases what is owed, until it is dropped.
pub(super) async fn pay(shared: Arc<Shared>) {
    join_all((0..shared.stores.len()).map(|store| pay_in(&shared, store))).await;
}

/// The same, of the leases in one store.
async fn pay_in(shared: &Shared, store: usize) {
    let bells = &shared.stores[store];
    let mut pause = PAUSE;
    // When those are tried again that were in vain; only new ones go out before.
    let mut again: Option<Instant> = None;
    loop {
        again = again.filter(|again| *again > Instant::now());
        let is_meant =
            |debt: &Debt| shared.spot(&debt.key).store == store && (debt.is_new || again.is_none());
        let batch = lock(&shared.debts).next(shared.server_ms(), is_meant);
        if batch.is_empty() {
            let due = async {
                if let Some(again) = again { sleep_until(again).await } else { std::future::pending().await }
            };
            tokio::select! {
                () = bells.indebted.notified() => {}
                () = due => {}
                () = bells.rejoined.notified() => (again, pause) = (None, PAUSE),
            }
            continue;
        }
        let outcomes = join_all(batch.iter().map(|debt| shared.tries(debt))).await;
        let is_over = outcomes.iter().all(|outcome| matches!(outcome, Try::Paid | Try::Never(_)));
        lock(&shared.debts).tried(&batch, outcomes);
        if again.is_some() {
            continue;
        }
        if is_over {
            pause = PAUSE;
        } else {
            again = Some(Instant::now() + pause);
            pause = (pause * 2).min(LONGEST);
        }
    }
}

// === impl Shared ===

impl Shared {
    /// Records that a release is owed.
    pub(super) fn owes(&self, debt: Debt) {
        let store = self.spot(&debt.key).store;
        lock(&self.debts).add(debt);
        self.stores[store].indebted.notify_one();
    }

    async fn tries(&self, debt: &Debt) -> Try {
        let (key, Landed { token, number, .. }) = (&debt.key, debt.lease);
        let release = Write::release(key.clone(), &self.names.path(key), token, number);
        match self.write(self.spot(key), release).await {
            Ok(Ok(_) | Err(Reason::NotHeld)) => Try::Paid,
            Ok(Err(Reason::Limited)) | Err(Error::NotDone(_)) => Try::NotSent,
            // It may be answered otherwise later: by another writer, another channel, in a store with room.
            Ok(Err(Reason::Busy | Reason::Gone | Reason::Error(Error::Unavailable(_))))
            | Err(Error::Unavailable(_)) => Try::Unknown,
            Ok(Err(reason)) => Try::Never(reason.error()),
            Err(error) => Try::Never(error),
        }
    }

    /// Waits until nothing is owed any more, at the end of the process: leases that land for nobody, and that of a
    /// walk, which ends here.
    pub(super) async fn settle(&self) -> Result<()> {
        self.ends.send_replace(true);
        // What was tried in vain is tried once more.
        self.stores.iter().for_each(|store| store.rejoined.notify_one());
        let paid = async {
            while !self.is_settled() {
                sleep(LOOK).await;
            }
        };
        let is_paid = timeout(AT_THE_END, paid).await.is_ok();
        let (left, why) = {
            let mut debts = lock(&self.debts);
            (debts.len(), debts.given_up(self.server_ms()))
        };
        match why {
            Some(why) => Err(why.of("a lease was not given back, and expires by itself")),
            None if is_paid => Ok(()),
            None if left > 0 => Err(Error::Unavailable(format!(
                "{left} leases were not given back, and expire by themselves"
            ))),
            None if lock(&self.gate).asks() => Err(Error::Unavailable(
                "a lease that was asked for may still be granted, and expires by itself".into(),
            )),
            None => Err(Error::Unavailable("the deletion of expired entries did not end in time".into())),
        }
    }

    fn is_settled(&self) -> bool {
        let is_idle = !self.walks.load(Ordering::Acquire) && !lock(&self.gate).asks();
        is_idle && lock(&self.debts).len() == 0
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
        let batch = debts.next(0, |_| true);
        assert_eq!(batch.len(), 2);
        debts.tried(&batch, vec![Try::Paid, Try::Unknown]);
        assert!(!debts.has("k", 1) && debts.has("k", 2));
        assert_eq!(debts.taken_back("k", "h"), [], "its release may land");
        let batch = debts.next(999, |_| true);
        debts.tried(&batch, vec![Try::NotSent]);
        assert_eq!(debts.taken_back("k", "h"), [], "the one before may land");
        assert_eq!(debts.next(1_000, |_| true), [], "it has expired");
    }

    #[test]
    fn what_was_not_sent_is_left_to_its_holder_if_that_asks_again() {
        let mut debts = Debts::default();
        debts.add(debt(1));
        let batch = debts.next(0, |_| true);
        debts.tried(&batch, vec![Try::NotSent]);
        assert_eq!(debts.taken_back("k", "another"), []);
        assert_eq!(debts.taken_back("k", "h"), [debt(1).lease]);
        assert!(debts.next(0, |_| true).is_empty());
    }

    #[test]
    fn what_is_refused_for_ever_is_given_up_and_told_once() {
        let mut debts = Debts::default();
        debts.add(debt(1));
        let batch = debts.next(0, |_| true);
        let why = Error::Broken("no".into());
        debts.tried(&batch, vec![Try::Never(why.clone())]);
        assert_eq!((debts.len(), debts.given_up(999), debts.given_up(999)), (0, Some(why.clone()), None));
        debts.add(debt(2));
        let batch = debts.next(0, |_| true);
        debts.tried(&batch, vec![Try::Never(why)]);
        assert_eq!(debts.given_up(1_000), None, "its lease has expired");
    }

    #[test]
    fn a_lease_whose_release_may_be_on_its_way_is_not_its_holders_again() {
        let mut debts = Debts::default();
        debts.add(debt(1).tried());
        assert_eq!(debts.taken_back("k", "h"), []);
        debts.add(debt(2));
        assert_eq!(debts.taken_back("k", "h"), [debt(2).lease]);
        debts.add(debt(3));
        debts.add(debt(3).tried());
        assert_eq!(debts.taken_back("k", "h"), [], "one of the two was tried");
    }

    #[test]
    fn what_was_tried_in_vain_holds_up_nothing_new() {
        let mut debts = Debts::default();
        (0..BATCH as u64).for_each(|token| debts.add(debt(token)));
        let batch = debts.next(0, |debt| debt.is_new);
        debts.tried(&batch, vec![Try::Unknown; BATCH]);
        debts.add(debt(100));
        assert_eq!(debts.next(0, |debt| debt.is_new).len(), 1);
        assert_eq!(debts.next(0, |debt| debt.is_new), [], "it is not new any more");
        assert_eq!(debts.next(0, |_| true).len(), BATCH);
    }

    #[test]
    fn there_is_a_bound() {
        let mut debts = Debts::default();
        (0..2 * MOST as u64).for_each(|token| debts.add(debt(token)));
        assert!(debts.owed.len() == MOST && debts.has("k", 2 * MOST as u64 - 1));
    }
}
