//! Which requests are bound by a verdict that is not a stored response: a failure (F7), a pass (F10).
//!
//! One request that leads a fill must not decide for all others. Its verdict binds a request that
//! would send the same fields beside the key. It binds all requests once a second leader, with other
//! fields and for another client, has come to the same verdict.

/// The digest of what a fill sends beside its key.
pub type CarriedDigest = [u8; 16];

/// One exchange that came to a verdict, or a request that may be bound by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Witness {
    /// The digest of what it carried beside the key.
    pub carried: CarriedDigest,
    /// A digest of the client's address, comparable only under one key.
    pub client: u64,
    /// A digest of the fields that `Vary` of the response selects by; 0 if it has none.
    pub selection: u64,
    /// Until when it may confirm another one, in ms on the store's clock.
    pub until: u64,
    /// For how long its verdict is remembered, in ms.
    pub lasts: u64,
}

/// The last exchange that came to a verdict, and the one that confirms it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Evidence {
    last: Option<Witness>,
    before: Option<Witness>,
}

/// Why a request is bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// It would send the same fields as one of the exchanges.
    Alike,
    /// Two exchanges with different fields, of two clients, came to the verdict.
    Confirmed,
    /// Two exchanges with different fields, of its own client, came to the verdict.
    OwnClient,
}

// === impl Evidence ===

impl Evidence {
    /// The evidence of `last`, confirmed by one of `earlier` that carried other fields and still counts at
    /// `now`. One of another client is preferred.
    pub fn of(last: Witness, earlier: impl IntoIterator<Item = Witness>, now: u64) -> Self {
        let confirms = |one: &Witness| one.carried != last.carried && one.until > now;
        let before =
            earlier.into_iter().filter(confirms).max_by_key(|one| (one.client != last.client, one.until));
        Self { last: Some(last), before }
    }

    /// The evidence for the request that tries again at `now`, after the verdict has expired. If it was
    /// confirmed, the last exchange counts once more, so that a lasting failure need not be shown by two
    /// leaders each time. Only the last one does, so a client that always tries first can't keep another's
    /// exchange for ever.
    #[must_use]
    pub fn renewed(self, now: u64) -> Self {
        let once_more = |last: Witness| Witness { until: last.until.max(now.saturating_add(1)), ..last };
        match self.before {
            Some(_) => Self { last: self.last.map(once_more), ..self },
            None => self,
        }
    }

    /// Makes it from a list: the last exchange, then the one that confirms it.
    pub(super) fn from_list(list: &[Witness]) -> Option<Self> {
        match *list {
            [] => Some(Self::default()),
            [last] => Some(Self { last: Some(last), before: None }),
            [last, before] if last.carried != before.carried => {
                Some(Self { last: Some(last), before: Some(before) })
            }
            _ => None,
        }
    }

    /// The exchanges, the last one first.
    pub fn witnesses(&self) -> impl Iterator<Item = Witness> {
        self.last.into_iter().chain(self.before)
    }

    /// Returns whether two leaders with different fields came to the verdict.
    pub fn is_confirmed(&self) -> bool {
        self.before.is_some()
    }

    /// Returns whether `request` as the second leader would prove little: it is of the same client as the
    /// last exchange, or `Vary` selects the same for both.
    pub fn tells_little_by(&self, request: &Witness) -> bool {
        self.last.is_some_and(|last| {
            last.client == request.client || (last.selection != 0 && last.selection == request.selection)
        })
    }

    /// For how long the verdict binds requests with other fields, in ms after the last exchange: the
    /// shorter of the times of its exchanges.
    pub fn lasts_for_others(&self) -> u64 {
        self.witnesses().map(|one| one.lasts).min().unwrap_or(0)
    }

    /// When the last exchange came to its verdict, in ms on the store's clock.
    pub fn at(&self) -> u64 {
        self.last.map_or(0, |last| last.until.saturating_sub(last.lasts))
    }

    /// Returns why the verdict binds `request`, if it does.
    ///
    /// Two leaders of one client confirm it for that client alone. If the response varies, it binds the
    /// requests that select as both leaders did. If the leaders selected differently, the verdict does
    /// not depend on the selection: then a request is bound that has `waited` for it.
    pub fn binds(&self, request: &Witness, waited: bool) -> Option<Bound> {
        let last = self.last?;
        if last.carried == request.carried {
            return Some(Bound::Alike);
        }
        let before = self.before?;
        if before.carried == request.carried {
            return Some(Bound::Alike);
        }
        let selected_alike = last.selection == before.selection;
        let selects = if selected_alike { last.selection == request.selection } else { waited };
        match (selects, last.client == before.client) {
            (true, false) => Some(Bound::Confirmed),
            (true, true) if last.client == request.client => Some(Bound::OwnClient),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn witness(carried: u8, client: u64, selection: u64) -> Witness {
        Witness { carried: [carried; 16], client, selection, until: 100, lasts: 100 }
    }

    #[test]
    fn a_verdict_binds_its_like_alone_until_another_client_confirms_it() {
        let (evil, other, third) = (witness(1, 1, 0), witness(2, 2, 0), witness(3, 3, 0));
        let alone = Evidence::of(evil, [], 0);
        let by_itself = Evidence::of(witness(2, 1, 0), [evil], 0);
        let confirmed = Evidence::of(other, [evil], 0);
        for (name, evidence, request, bound) in [
            ("the same fields", alone, witness(1, 9, 0), Some(Bound::Alike)),
            ("other fields", alone, other, None),
            ("other fields of the same client", alone, witness(2, 1, 0), None),
            ("one client twice, for itself", by_itself, witness(3, 1, 0), Some(Bound::OwnClient)),
            ("one client twice, for another", by_itself, third, None),
            ("the fields of the first", by_itself, witness(1, 9, 0), Some(Bound::Alike)),
            ("two clients, for all", confirmed, third, Some(Bound::Confirmed)),
            ("no evidence", Evidence::default(), evil, None),
        ] {
            assert_eq!(evidence.binds(&request, false), bound, "{name}");
        }
        assert!(!alone.is_confirmed() && confirmed.is_confirmed());
    }

    #[test]
    fn vary_of_the_answer_selects_which_requests_it_binds() {
        let alike = Evidence::of(witness(2, 2, 7), [witness(1, 1, 7)], 0);
        assert!(alike.binds(&witness(3, 3, 7), false).is_some(), "it selects as they did");
        assert!(alike.binds(&witness(3, 3, 8), true).is_none(), "it selects something else");
        let across = Evidence::of(witness(2, 2, 7), [witness(1, 1, 8)], 0);
        assert!(across.binds(&witness(3, 3, 9), true).is_some(), "it fails whatever is selected");
        assert!(across.binds(&witness(3, 3, 9), false).is_none(), "and that is not remembered");
        assert!(across.binds(&witness(3, 3, 7), false).is_none(), "nor for what one has shown");
    }

    #[test]
    fn a_probe_that_fails_too_is_confirmed_by_the_last_exchange_before_it_and_no_other() {
        let confirmed = Evidence::of(witness(2, 2, 0), [witness(1, 1, 0)], 0);
        let probe = |client, earlier: Evidence| {
            let last = Witness { until: 900, ..witness(9, client, 0) };
            Evidence::of(last, earlier.renewed(500).witnesses(), 500)
        };
        let again = probe(3, confirmed);
        assert!(again.binds(&witness(4, 4, 0), false).is_some(), "another client's goes on");
        let own = probe(2, confirmed);
        assert!(own.binds(&witness(4, 4, 0), false).is_none(), "by itself a client proves nothing to others");
        let alone = Evidence::of(witness(1, 1, 0), [], 0);
        assert!(!probe(3, alone).is_confirmed(), "what was not confirmed is over");
    }

    #[test]
    fn others_are_bound_for_the_shorter_of_two_times() {
        let long = Witness { until: 30_100, lasts: 30_000, ..witness(1, 1, 0) };
        let confirmed = Evidence::of(long, [witness(2, 2, 0)], 0);
        assert_eq!((confirmed.at(), confirmed.lasts_for_others()), (100, 100));
    }

    #[test]
    fn what_confirms_is_of_other_fields_in_time_and_best_of_another_client() {
        let last = witness(1, 1, 0);
        let late = Witness { until: 50, ..witness(2, 2, 0) };
        assert!(!Evidence::of(last, [last], 0).is_confirmed(), "the same again");
        assert!(!Evidence::of(last, [late], 50).is_confirmed(), "too late");
        let chosen = Evidence::of(last, [witness(3, 1, 0), witness(2, 2, 0), witness(4, 1, 0)], 0);
        assert_eq!(chosen.before.map(|before| before.client), Some(2));
    }

    #[test]
    fn a_list_that_does_not_hold_together_is_none() {
        let (one, two) = (witness(1, 1, 0), witness(2, 1, 0));
        for list in [vec![], vec![one], vec![one, two]] {
            let read = Evidence::from_list(&list).unwrap();
            assert_eq!(read.witnesses().collect::<Vec<_>>(), list);
        }
        assert_eq!(Evidence::from_list(&[one, one]), None);
        assert_eq!(Evidence::from_list(&[one, two, witness(3, 1, 0)]), None);
    }
}
