//! Which requests a verdict binds that is not a stored response: a failure (F7), a pass (F10).
//!
//! The request that leads a fill must not decide for the others. Its verdict binds a request that
//! would send the same fields beside the key, and all requests once a second leader, with other
//! fields and for another client, has come to the same verdict.

/// The digest of what a fill sends beside its key.
pub type CarriedDigest = [u8; 16];

/// One exchange that came to a verdict, or a request that may be bound by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Witness {
    /// What it carried beside the key.
    pub carried: CarriedDigest,
    /// A digest of the client's address; it means something only under one key.
    pub client: u64,
    /// A digest of what `Vary` of the answer selects by; 0 where it has none.
    pub selection: u64,
    /// Until when it may confirm another one, in ms on the store's clock.
    pub until: u64,
}

/// The last exchange that came to a verdict, and the one that confirms it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Evidence {
    last: Option<Witness>,
    before: Option<Witness>,
}

// === impl Evidence ===

impl Evidence {
    /// Of `last`, confirmed by one of `earlier` that carried other fields and still counts at
    /// `now`. One of another client is taken first.
    pub fn of(last: Witness, earlier: impl IntoIterator<Item = Witness>, now: u64) -> Self {
        let confirms = |one: &Witness| one.carried != last.carried && one.until > now;
        let before =
            earlier.into_iter().filter(confirms).max_by_key(|one| (one.client != last.client, one.until));
        Self { last: Some(last), before }
    }

    /// As it was read: the last one first, one that confirms it behind that.
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

    /// The exchanges that it is of, the last one first.
    pub fn witnesses(&self) -> impl Iterator<Item = Witness> {
        self.last.into_iter().chain(self.before)
    }

    /// Returns whether two leaders with different fields came to the verdict.
    pub fn is_confirmed(&self) -> bool {
        self.before.is_some()
    }

    /// Returns whether the last exchange was made for this client.
    pub fn is_of_client(&self, client: u64) -> bool {
        self.last.is_some_and(|last| last.client == client)
    }

    /// Returns whether the verdict binds `request`.
    ///
    /// Two leaders of one client confirm it for that client alone. Where the answer varies, they
    /// confirm it for the requests that select as the last one did, or, if the two selected
    /// differently, for all.
    pub fn binds(&self, request: &Witness) -> bool {
        let Some(last) = self.last else { return false };
        if last.carried == request.carried {
            return true;
        }
        let Some(before) = self.before else { return false };
        if before.carried == request.carried {
            return true;
        }
        let of_clients = last.client != before.client || last.client == request.client;
        let of_selection = last.selection == request.selection || last.selection != before.selection;
        of_clients && of_selection
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn witness(carried: u8, client: u64, selection: u64) -> Witness {
        Witness { carried: [carried; 16], client, selection, until: 100 }
    }

    #[test]
    fn a_verdict_binds_its_like_alone_until_another_client_confirms_it() {
        let (evil, other, third) = (witness(1, 1, 0), witness(2, 2, 0), witness(3, 3, 0));
        let alone = Evidence::of(evil, [], 0);
        let by_itself = Evidence::of(witness(2, 1, 0), [evil], 0);
        let confirmed = Evidence::of(other, [evil], 0);
        for (name, evidence, request, bound) in [
            ("the same fields", alone, witness(1, 9, 0), true),
            ("other fields", alone, other, false),
            ("other fields of the same client", alone, witness(2, 1, 0), false),
            ("one client twice, for itself", by_itself, witness(3, 1, 0), true),
            ("one client twice, for another", by_itself, third, false),
            ("the fields of the first", by_itself, witness(1, 9, 0), true),
            ("two clients, for all", confirmed, third, true),
            ("no evidence", Evidence::default(), evil, false),
        ] {
            assert_eq!(evidence.binds(&request), bound, "{name}");
        }
        assert!(!alone.is_confirmed() && confirmed.is_confirmed());
    }

    #[test]
    fn vary_of_the_answer_selects_which_requests_it_binds() {
        let alike = Evidence::of(witness(2, 2, 7), [witness(1, 1, 7)], 0);
        assert!(alike.binds(&witness(3, 3, 7)), "it selects as they did");
        assert!(!alike.binds(&witness(3, 3, 8)), "it selects something else");
        let across = Evidence::of(witness(2, 2, 7), [witness(1, 1, 8)], 0);
        assert!(across.binds(&witness(3, 3, 9)), "it fails whatever is selected");
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
