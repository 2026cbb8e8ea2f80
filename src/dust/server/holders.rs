//! Which holders ask for leases, and which have them.
//!
//! A lease may land for a request that was given up: its holder may have asked again meanwhile. Then the lease
//! belongs to whichever request is told of it, and must not be released. If no request is told of it, it is
//! released: else it would block its key until it expires.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::{Error, Lease, Number};
use super::debts::Debt;
use super::state::{Shared, lock};
use crate::clock::WallMs;

/// How many keys there are at least before those are dropped whose leases have expired.
const SWEEP: usize = 64;

/// The holders by key.
#[derive(Debug, Default)]
pub(super) struct Holders {
    of: BTreeMap<Arc<str>, Vec<Of>>,
    sweep_at: usize,
}

/// What is known of a holder at a key.
#[derive(Debug)]
struct Of {
    holder: Arc<str>,
    /// The requests under way.
    asks: usize,
    /// Leases that were granted, and of which no request under way has been told.
    landed: Vec<Landed>,
    /// The lease that a caller has.
    held: Option<Landed>,
}

/// A lease in the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Landed {
    /// Its token in the server.
    pub token: u64,
    /// Its number.
    pub number: Number,
    /// When it expires, on the server's clock.
    pub until: WallMs,
}

/// What becomes of a lease that has landed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    /// A request of its holder is under way, and finds it.
    Asked,
    /// Its holder has it.
    Held,
    /// Nobody knows of it.
    Nobody,
}

/// A request for a lease under way. If it ends without the lease, what has landed for it is released.
#[derive(Debug)]
pub(super) struct Asking<'a> {
    shared: &'a Shared,
    key: Arc<str>,
    holder: Arc<str>,
    has_ended: bool,
}

// === impl Holders ===

impl Holders {
    fn begins(&mut self, key: &Arc<str>, holder: &Arc<str>, owed: Vec<Landed>, now: WallMs) {
        if self.of.len() >= self.sweep_at.max(SWEEP) {
            self.of.retain(|_, holders| {
                holders.retain(|of| of.asks > 0 || of.held.is_some_and(|held| held.until > now));
                !holders.is_empty()
            });
            self.sweep_at = self.of.len() * 2;
        }
        let holders = self.of.entry(key.clone()).or_default();
        let at = holders.iter().position(|of| of.holder == *holder).unwrap_or_else(|| {
            holders.push(Of { holder: holder.clone(), asks: 0, landed: Vec::new(), held: None });
            holders.len() - 1
        });
        holders[at].asks += 1;
        holders[at].landed.extend(owed);
    }

    /// Ends a request. Returns the leases that are nobody's now.
    fn ends(&mut self, key: &str, holder: &str, has: Option<Landed>) -> Vec<Landed> {
        let Some(of) = self.get(key, holder) else { return Vec::new() };
        of.asks = of.asks.saturating_sub(1);
        if has.is_some() {
            // The others were before it, and ended with it.
            of.landed.clear();
            of.held = has;
        }
        let left = if of.asks == 0 { std::mem::take(&mut of.landed) } else { Vec::new() };
        self.tidy(key);
        left
    }

    /// Records that a lease has landed, and returns whose it is.
    pub(super) fn landed(&mut self, key: &str, holder: &str, lease: Landed) -> Whose {
        let Some(of) = self.get(key, holder) else { return Whose::Nobody };
        if of.held.is_some_and(|held| held.token == lease.token) {
            return Whose::Held;
        }
        if of.asks == 0 {
            return Whose::Nobody;
        }
        if !of.landed.iter().any(|known| known.token == lease.token) {
            of.landed.push(lease);
        }
        Whose::Asked
    }

    /// Records that a lease was renewed.
    pub(super) fn prolonged(&mut self, key: &str, token: u64, until: WallMs) {
        for of in self.of.get_mut(key).into_iter().flatten() {
            if let Some(held) = of.held.as_mut().filter(|held| held.token == token) {
                held.until = until;
            }
        }
    }

    /// Records that a lease is over.
    pub(super) fn closed(&mut self, key: &str, token: u64) {
        for of in self.of.get_mut(key).into_iter().flatten() {
            of.landed.retain(|landed| landed.token != token);
            of.held = of.held.filter(|held| held.token != token);
        }
        self.tidy(key);
    }

    fn get(&mut self, key: &str, holder: &str) -> Option<&mut Of> {
        self.of.get_mut(key)?.iter_mut().find(|of| *of.holder == *holder)
    }

    fn tidy(&mut self, key: &str) {
        let Some(holders) = self.of.get_mut(key) else { return };
        holders.retain(|of| of.asks > 0 || of.held.is_some());
        if holders.is_empty() {
            self.of.remove(key);
        }
    }
}

// === impl Asking ===

impl<'a> Asking<'a> {
    /// Begins a request. What is owed of earlier requests is not released any more, unless its release is on
    /// its way.
    pub(super) fn begin(shared: &'a Shared, key: &str, holder: &Arc<str>) -> Self {
        let key: Arc<str> = key.into();
        shared.forgets_strays(&key, holder);
        // In one step, as all that moves between the two: what lands meanwhile is neither's else.
        let mut holders = lock(&shared.holders);
        let owed = lock(&shared.debts).taken_back(&key, holder);
        holders.begins(&key, holder, owed, shared.server_ms());
        drop(holders);
        Self { shared, key, holder: holder.clone(), has_ended: false }
    }

    /// Records that the server has this lease for its holder. It is released if the request ends without it.
    pub(super) fn finds(&self, lease: Landed) {
        lock(&self.shared.holders).landed(&self.key, &self.holder, lease);
    }

    /// Ends it: its caller has this lease.
    pub(super) fn has(mut self, lease: Landed) {
        self.ends(Some(lease));
    }

    fn ends(&mut self, has: Option<Landed>) {
        self.has_ended = true;
        let mut holders = lock(&self.shared.holders);
        for lease in holders.ends(&self.key, &self.holder, has) {
            self.shared.owes(Debt::new(&self.key, &self.holder, lease));
        }
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        if !self.has_ended {
            self.ends(None);
        }
    }
}

// === impl Shared ===

impl Shared {
    /// Records that a lease has landed that was asked for under this name. If nobody knows of it, it is released.
    pub(super) fn lands(&self, key: &Arc<str>, holder: &str, lease: Landed) {
        let (holder, _) = self.numbers.unsigned(holder);
        let mut holders = lock(&self.holders);
        if holders.landed(key, holder, lease) == Whose::Nobody {
            self.owes(Debt::new(key, &holder.into(), lease));
        }
    }

    /// Releases a lease that its caller does not hear of, after a release that has failed so.
    pub(super) fn takes_back(&self, lease: &Lease, until: WallMs, failed: &Error) {
        let token = self.numbers.count(self.spot(&lease.key), lease.token);
        let landed = Landed { token, number: lease.token, until };
        let debt = Debt::new(&lease.key.as_str().into(), &lease.holder.0, landed);
        let mut holders = lock(&self.holders);
        holders.closed(&lease.key, token);
        match failed {
            Error::NotDone(_) => self.owes(debt),
            Error::Unavailable(_) => self.owes(debt.tried()),
            // The server would say the same again, and the caller is told.
            Error::Refused(_) | Error::Broken(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::dust::Holder;
    use crate::dust::server::Target;

    const ONE: Landed = Landed { token: 7, number: 7, until: 30_000 };
    const TWO: Landed = Landed { token: 9, number: 9, until: 30_000 };

    fn begun(times: usize) -> Holders {
        let mut holders = Holders::default();
        for _ in 0..times {
            holders.begins(&"k".into(), &"h".into(), Vec::new(), 0);
        }
        holders
    }

    #[test]
    fn a_lease_that_lands_for_a_request_that_was_given_up_is_that_of_the_next_one() {
        let mut holders = begun(2);
        assert_eq!(holders.ends("k", "h", None), [], "the first is given up");
        assert_eq!(holders.landed("k", "h", ONE), Whose::Asked);
        assert_eq!(holders.landed("k", "another", ONE), Whose::Nobody);
        assert_eq!(holders.ends("k", "h", Some(ONE)), []);
        assert_eq!(holders.landed("k", "h", ONE), Whose::Held, "it is looked for once more");
        holders.closed("k", 7);
        assert_eq!(holders.landed("k", "h", ONE), Whose::Nobody);
        assert!(holders.of.is_empty());
    }

    #[test]
    fn what_no_request_was_told_of_is_nobodys_when_the_last_one_ends() {
        let mut holders = begun(2);
        holders.landed("k", "h", ONE);
        assert_eq!(holders.ends("k", "h", None), []);
        assert_eq!(holders.ends("k", "h", None), [ONE]);
        assert!(holders.of.is_empty());
        // What was owed before belongs to the request, too.
        holders.begins(&"k".into(), &"h".into(), vec![ONE], 0);
        assert_eq!(holders.ends("k", "h", None), [ONE]);
    }

    #[test]
    fn what_is_released_or_void_is_not_owed() {
        let mut holders = begun(1);
        holders.landed("k", "h", ONE);
        holders.closed("k", 7);
        holders.landed("k", "h", TWO);
        holders.closed("k", 7);
        assert_eq!(holders.ends("k", "h", Some(TWO)), []);
        holders.prolonged("k", TWO.token, 60_000);
        assert_eq!(holders.of["k"][0].held.map(|held| held.until), Some(60_000));
    }

    #[test]
    fn those_whose_leases_have_expired_are_dropped() {
        let mut holders = Holders::default();
        for n in 0..10 * SWEEP as u64 {
            let key: Arc<str> = n.to_string().into();
            holders.begins(&key, &"h".into(), Vec::new(), n * 1_000);
            holders.ends(&key, "h", Some(Landed { token: n, number: n, until: n * 1_000 + 500 }));
        }
        assert!(holders.of.len() <= SWEEP, "{}", holders.of.len());
    }

    fn shared() -> Shared {
        let target = Target::parse("dust+ws://localhost/ws/sync?store=acme/cache").unwrap().with_token("t");
        Shared::new(target, "dustgate", Arc::new(SystemClock)).unwrap()
    }

    #[tokio::test]
    async fn a_lease_that_its_holder_has_found_is_released_if_it_is_not_told_of_it() {
        let (shared, name) = (shared(), Arc::<str>::from("h"));
        let asking = Asking::begin(&shared, "k", &name);
        asking.finds(ONE);
        drop(asking);
        assert!(lock(&shared.debts).has("k", ONE.token));
        // And again, if it has it.
        let asking = Asking::begin(&shared, "k", &name);
        assert!(!lock(&shared.debts).has("k", ONE.token), "it is its holder's again");
        asking.has(ONE);
        assert!(!lock(&shared.debts).has("k", ONE.token));
    }

    #[tokio::test]
    async fn a_lease_whose_release_was_sent_is_not_its_holders_any_more() {
        let lease = Lease { key: "k".into(), token: ONE.number, holder: Holder("h".into()) };
        for (failed, is_owed, is_back) in [
            (Error::Unavailable("no answer".into()), true, false),
            (Error::NotDone("not sent".into()), true, true),
            (Error::Refused("no".into()), false, false),
            (Error::Broken("no".into()), false, false),
        ] {
            let shared = shared();
            shared.takes_back(&lease, WallMs::MAX, &failed);
            assert_eq!(lock(&shared.debts).has("k", ONE.token), is_owed, "{failed:?}");
            let back = lock(&shared.debts).taken_back("k", "h");
            assert_eq!(!back.is_empty(), is_back, "{failed:?}");
        }
    }
}
