//! A flight's first step: to read, and to take the lease if nothing new is there.

use std::time::Duration;

use super::{Case, Rig, soon, wakes};
use crate::dust::{Entry, Inquiry, Known, Landing, Lease, LeaseRequest, Lock, Written};

pub async fn all(rig: &dyn Rig) {
    where_nothing_is_the_lease_is_granted(rig).await;
    to_read_takes_nothing(rig).await;
    what_is_new_is_returned_and_nothing_taken(rig).await;
    what_is_known_does_not_keep_from_the_lease(rig).await;
    what_is_no_text_counts_as_absent(rig).await;
    a_lease_that_is_held_is_told(rig).await;
    a_value_at_the_lock_occupies_it(rig).await;
    a_lease_that_ran_out_is_taken(rig).await;
    if rig.nature().reenters {
        the_same_holder_gets_its_own(rig).await;
    }
    if rig.nature().goes_on {
        tokens_are_above_what_was_seen(rig).await;
    }
    a_race_has_one_winner(rig).await;
    no_update_is_lost(rig).await;
    only_a_grant_is_told(rig).await;
}

async fn where_nothing_is_the_lease_is_granted(rig: &dyn Rig) {
    let case = Case::new(rig, "enter");
    let found = case.enter(Known::default(), 10, "one").await;
    assert_eq!((&found.value, &found.verdict, &found.body), (&None, &None, &None));
    let lease = won(found.lock);
    assert_eq!((lease.key.as_str(), &lease.holder), (case.key("lock").as_str(), &case.holder("one")));
    assert_eq!(case.entry("lock").await.map(|entry| entry.number), Some(lease.token));
    assert!(matches!(case.put_fenced("value", "x", &lease).await, Written::At(_)));
    // Its time is what was asked for.
    case.pass(8).await;
    assert!(super::is_held(&case.ask("lock", 10, "two").await));
    case.pass(3).await;
    assert!(case.lease("lock", 10, "two").await.token > lease.token);
}

async fn to_read_takes_nothing(rig: &dyn Rig) {
    let case = Case::new(rig, "enter-read");
    let found = case.look(Known::default()).await;
    assert_eq!((found.value, found.verdict, found.lock), (None, None, Lock::Free));
    let (value, verdict) = (case.put("value", "x").await, case.put("verdict", "y").await);
    let found = case.look(Known::default()).await;
    assert_eq!(
        (told(found.value), told(found.verdict)),
        (Some(("x".into(), value)), Some(("y".into(), verdict)))
    );
    assert_eq!((found.lock, case.entry("lock").await), (Lock::Free, None));
    // What is known is returned all the same.
    let found = case.look(Known { value, verdict }).await;
    assert_eq!((told(found.value), found.lock), (Some(("x".into(), value)), Lock::Free));
    let lease = case.lease("lock", 10, "one").await;
    held_by(rig, &case.look(Known { value, verdict }).await.lock, &lease);
}

async fn what_is_new_is_returned_and_nothing_taken(rig: &dyn Rig) {
    let case = Case::new(rig, "enter-new");
    let value = case.put("value", "x").await;
    let found = case.enter(Known::default(), 10, "one").await;
    assert_eq!((told(found.value), found.verdict, found.lock), (Some(("x".into(), value)), None, Lock::Free));
    let verdict = case.put("verdict", "y").await;
    let found = case.enter(Known { value, verdict: 0 }, 10, "one").await;
    assert_eq!((told(found.verdict), found.lock), (Some(("y".into(), verdict)), Lock::Free));
    let newer = case.put("value", "z").await;
    let found = case.enter(Known { value, verdict }, 10, "one").await;
    assert_eq!((told(found.value), found.lock), (Some(("z".into(), newer)), Lock::Free));
    assert_eq!(case.entry("lock").await, None);
    // The lock is told beside it.
    let lease = case.lease("lock", 10, "two").await;
    held_by(rig, &case.enter(Known { value, verdict }, 10, "one").await.lock, &lease);
}

async fn what_is_known_does_not_keep_from_the_lease(rig: &dyn Rig) {
    let case = Case::new(rig, "enter-known");
    let (value, verdict) = (case.put("value", "x").await, case.put("verdict", "y").await);
    let found = case.enter(Known { value, verdict }, 10, "one").await;
    assert_eq!(
        (told(found.value), told(found.verdict)),
        (Some(("x".into(), value)), Some(("y".into(), verdict)))
    );
    let lease = won(found.lock);
    assert!(lease.token > verdict);
    case.dust.release(&lease).await.expect("it is answered");
    // What was deleted is nothing new either.
    case.delete("value").await;
    let found = case.enter(Known { value, verdict }, 10, "two").await;
    assert_eq!(found.value, None);
    assert!(won(found.lock).token > lease.token);
}

async fn what_is_no_text_counts_as_absent(rig: &dyn Rig) {
    let case = Case::new(rig, "enter-no-text");
    case.lease("value", 50, "h").await;
    case.lease("verdict", 50, "h").await;
    let found = case.enter(Known::default(), 10, "one").await;
    assert!(super::is_lease(found.value.as_ref()) && super::is_lease(found.verdict.as_ref()), "{found:?}");
    won(found.lock);
}

async fn a_lease_that_is_held_is_told(rig: &dyn Rig) {
    let case = Case::new(rig, "enter-held");
    let lease = won(case.enter(Known::default(), 10, "one").await.lock);
    case.pass(4).await;
    let lock = case.enter(Known::default(), 10, "two").await.lock;
    held_by(rig, &lock, &lease);
    if let Lock::Held { rest, holder, .. } = lock
        && rig.nature().tells_holder
    {
        assert_eq!(holder, Some(case.holder("one")));
        let rest = rest.expect("this store tells the rest");
        assert!(rest > case.beats(3) && rest <= case.beats(6), "{rest:?} left");
    }
    // To ask does not prolong it.
    case.pass(7).await;
    won(case.enter(Known::default(), 10, "two").await.lock);
}

async fn a_value_at_the_lock_occupies_it(rig: &dyn Rig) {
    let case = Case::new(rig, "enter-occupied");
    case.put("lock", "x").await;
    assert_eq!(case.enter(Known::default(), 10, "one").await.lock, Lock::Occupied);
    assert_eq!(case.look(Known::default()).await.lock, Lock::Occupied);
    assert_eq!(case.text("lock").await.as_deref(), Some("x"));
    case.delete("lock").await;
    won(case.enter(Known::default(), 10, "one").await.lock);
}

async fn a_lease_that_ran_out_is_taken(rig: &dyn Rig) {
    let case = Case::new(rig, "enter-steal");
    let lease = won(case.enter(Known::default(), 2, "one").await.lock);
    case.pass(3).await;
    assert_eq!(case.look(Known::default()).await.lock, Lock::Free);
    let thief = won(case.enter(Known::default(), 10, "two").await.lock);
    assert!(thief.token > lease.token);
    assert_eq!(case.put_fenced("value", "x", &lease).await, Written::Fenced);
    held_by(rig, &case.enter(Known::default(), 10, "one").await.lock, &thief);
}

async fn the_same_holder_gets_its_own(rig: &dyn Rig) {
    let case = Case::new(rig, "enter-again");
    let lease = won(case.enter(Known::default(), 10, "one").await.lock);
    case.pass(6).await;
    assert_eq!(won(case.enter(Known::default(), 10, "one").await.lock), lease);
    // It has its whole time anew.
    case.pass(6).await;
    held_by(rig, &case.enter(Known::default(), 10, "two").await.lock, &lease);
    // However it was asked for.
    assert_eq!(case.lease("lock", 10, "one").await, lease);
    // With something new there it is not taken anew, and still held.
    case.put("value", "x").await;
    held_by(rig, &case.enter(Known::default(), 10, "one").await.lock, &lease);
}

async fn tokens_are_above_what_was_seen(rig: &dyn Rig) {
    let case = Case::new(rig, "enter-seen");
    let number = case.put("a", "x").await;
    let seen = number + 5_000_000;
    let (holder, names) = (case.holder("one"), ["value", "verdict", "lock"].map(|name| case.key(name)));
    let lease = Some(LeaseRequest { ttl: case.beats(10), holder: &holder, seen });
    let inquiry =
        Inquiry { value: &names[0], verdict: &names[1], lock: &names[2], known: Known::default(), lease };
    let lease = won(case.dust.enter(inquiry).await.expect("it is answered").lock);
    assert!(lease.token > seen);
    assert!(case.put("a", "x").await > lease.token);
}

async fn a_race_has_one_winner(rig: &dyn Rig) {
    let case = Case::new(rig, "enter-race");
    for round in 0..5 {
        let names: Vec<String> = (0..40).map(|n| format!("{round}/{n}")).collect();
        let asked = names.iter().map(|name| case.enter(Known::default(), 60, name));
        let found = futures_util::future::join_all(asked).await;
        let winners: Vec<Lease> = found.into_iter().filter_map(|found| granted(found.lock)).collect();
        assert_eq!(winners.len(), 1, "{winners:?}");
        case.dust.release(&winners[0]).await.expect("it is answered");
    }
}

/// Each winner counts on from what it found: a value that was published between the reads and the lease
/// would be counted over (F2).
async fn no_update_is_lost(rig: &dyn Rig) {
    const ROUNDS: u32 = 10;
    let case = Case::new(rig, "enter-atomic");
    let workers = ["a", "b", "c", "d", "e"];
    let count = async |who: &str| {
        let (mut known, mut won) = (Known::default(), 0);
        while won < ROUNDS {
            let found = case.enter(known, 60, &format!("{who}/{won}")).await;
            known = Known::of(found.value.as_ref(), None);
            let Some(lease) = granted(found.lock) else {
                tokio::task::yield_now().await;
                continue;
            };
            let counted = told(found.value).map_or(0, |(text, _)| text.parse::<u32>().expect("a count"));
            let landing = case.publish(&lease, Some(&format!("{}", counted + 1)), None).await;
            assert!(matches!(landing, Landing::At(_)), "{landing:?}");
            won += 1;
        }
    };
    soon("the counts", futures_util::future::join_all(workers.map(count))).await;
    assert_eq!(case.text("value").await.as_deref(), Some("50"));
}

async fn only_a_grant_is_told(rig: &dyn Rig) {
    let case = Case::new(rig, "enter-told");
    let mut changes = case.on(&["value", "verdict", "lock"]).await;
    let lease = won(case.enter(Known::default(), 10, "one").await.lock);
    let wake = wakes("lease", &mut changes, |wake| wake.lease.is_some()).await;
    assert_eq!((wake.lease, wake.touched), (Some((lease.token, case.beats(10))), false));
    case.look(Known::default()).await;
    case.enter(Known::default(), 20, "two").await;
    // Comes last and is heard last: whatever else is heard was told before it.
    case.dust.renew(&lease, case.beats(30)).await.expect("it is answered");
    let wake = soon("renewal", changes.next()).await;
    assert_eq!((wake.lease, wake.touched, wake.released), (Some((lease.token, case.beats(30))), false, None));
}

/// The text of an entry, and its number.
fn told(entry: Option<Entry>) -> Option<(String, u64)> {
    entry.and_then(|entry| entry.text().map(|text| ((**text).to_owned(), entry.number)))
}

fn granted(lock: Lock) -> Option<Lease> {
    match lock {
        Lock::Granted(lease) => Some(lease),
        _ => None,
    }
}

pub(super) fn won(lock: Lock) -> Lease {
    match lock {
        Lock::Granted(lease) => lease,
        other => panic!("not granted but {other:?}"),
    }
}

fn held_by(rig: &dyn Rig, lock: &Lock, lease: &Lease) {
    match lock {
        Lock::Held { rest, token, .. } if rig.nature().tells_holder => {
            assert_eq!(*token, Some(lease.token));
            assert!(rest.is_none_or(|rest| rest > Duration::ZERO), "{rest:?} left");
        }
        Lock::Held { .. } => {}
        other => panic!("held, but {other:?}"),
    }
}
