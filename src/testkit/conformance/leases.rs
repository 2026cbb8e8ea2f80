//! Leases: grant, hold, renew, release, expire.

use std::time::Duration;

use super::{Case, Rig, granted, is_held, is_lease};
use crate::dust::{Grant, Lease, Renewal, Value};

pub async fn all(rig: &dyn Rig) {
    one_holder_at_a_time(rig).await;
    a_race_has_one_winner(rig).await;
    if rig.nature().reenters {
        the_same_holder_gets_its_own(rig).await;
    }
    a_lease_runs_out(rig).await;
    a_lock_may_not_hold_a_value(rig).await;
    if rig.nature().goes_on {
        tokens_are_above_what_was_seen(rig).await;
    }
    a_lease_reads_as_a_lease(rig).await;
    renewing(rig).await;
    only_the_very_lease_is_renewed(rig).await;
    releasing(rig).await;
    an_old_release_leaves_the_successor(rig).await;
    releasing_by_holder(rig).await;
    writing_over_a_lease_ends_it(rig).await;
}

async fn one_holder_at_a_time(rig: &dyn Rig) {
    let case = Case::new(rig, "hold");
    let lease = case.lease("lock", 10, "one").await;
    assert_eq!((lease.key.as_str(), &lease.holder), (case.key("lock").as_str(), &case.holder("one")));
    assert!(lease.token > 0);
    case.pass(4).await;
    match case.ask("lock", 10, "two").await {
        Grant::Held { rest, token, holder } if rig.nature().tells_holder => {
            assert_eq!(token, Some(lease.token));
            assert_eq!(holder, Some(lease.holder.clone()));
            let rest = rest.expect("this store tells the rest");
            assert!(rest > case.beats(3) && rest <= case.beats(6), "{rest:?} left");
        }
        Grant::Held { .. } => {}
        other => panic!("held, but {other:?}"),
    }
    // Asking does not prolong.
    case.pass(7).await;
    assert!(case.lease("lock", 10, "two").await.token > lease.token);
    assert!(matches!(case.ask("another", 10, "three").await, Grant::Granted(_)));
}

async fn a_race_has_one_winner(rig: &dyn Rig) {
    let case = Case::new(rig, "race");
    for round in 0..5 {
        let asks = (0..40).map(|n| {
            let (dust, key, ttl) = (case.dust.clone(), case.key("lock"), case.beats(60));
            let holder = case.holder(&format!("{round}/{n}"));
            tokio::spawn(async move { dust.lease(&key, ttl, &holder, 0).await.expect("it is answered") })
        });
        let mut winners = Vec::new();
        for ask in asks.collect::<Vec<_>>() {
            match ask.await.expect("it does not panic") {
                Grant::Granted(lease) => winners.push(lease),
                other => assert!(is_held(&other), "{other:?}"),
            }
        }
        assert_eq!(winners.len(), 1, "{winners:?}");
        case.dust.release(&winners[0]).await.expect("it is answered");
    }
}

async fn the_same_holder_gets_its_own(rig: &dyn Rig) {
    let case = Case::new(rig, "reenter");
    let lease = case.lease("lock", 10, "one").await;
    case.pass(6).await;
    assert_eq!(case.lease("lock", 10, "one").await, lease);
    // It has its whole time anew.
    case.pass(6).await;
    assert!(is_held(&case.ask("lock", 10, "two").await));
    // Once it has run out it is another one.
    case.pass(6).await;
    let again = case.lease("lock", 10, "one").await;
    assert!(again.token > lease.token);
    assert_eq!(case.dust.renew(&lease, case.beats(10)).await, Ok(Renewal::NotHeld));
    // A holder's name holds one lock, not all of them.
    assert!(case.lease("another", 10, "one").await.token > again.token);
}

async fn a_lease_runs_out(rig: &dyn Rig) {
    let case = Case::new(rig, "run-out");
    let lease = case.lease("lock", 5, "one").await;
    case.pass(4).await;
    assert!(is_held(&case.ask("lock", 5, "two").await));
    case.pass(2).await;
    assert_eq!(case.entry("lock").await, None);
    let next = case.lease("lock", 5, "two").await;
    assert!(next.token > lease.token);
    assert!(is_held(&case.ask("lock", 5, "one").await));
}

async fn a_lock_may_not_hold_a_value(rig: &dyn Rig) {
    let case = Case::new(rig, "occupied");
    case.put("a", "x").await;
    assert_eq!(case.ask("a", 5, "one").await, Grant::Occupied);
    assert_eq!(case.text("a").await.as_deref(), Some("x"));
    case.delete("a").await;
    assert!(matches!(case.ask("a", 5, "one").await, Grant::Granted(_)));
}

async fn tokens_are_above_what_was_seen(rig: &dyn Rig) {
    let case = Case::new(rig, "seen");
    let number = case.put("a", "x").await;
    let seen = number + 5_000_000;
    let lease = granted(case.ask_after("lock", 5, "one", seen).await);
    assert!(lease.token > seen);
    // And everything after it is above it.
    let after = case.put("a", "x").await;
    assert!(after > lease.token);
    // No number that the store gives is above the ceiling.
    assert!(after <= case.dust.ceiling());
    assert!(granted(case.ask_after("lock 2", 5, "one", number).await).token > lease.token);
}

async fn a_lease_reads_as_a_lease(rig: &dyn Rig) {
    let case = Case::new(rig, "read-lease");
    let lease = case.lease("lock", 10, "one").await;
    let entry = case.entry("lock").await.expect("it is held");
    assert!(is_lease(Some(&entry)));
    assert_eq!(entry.number, lease.token);
    if let Value::Lease { rest: Some(rest) } = entry.value {
        // An instance that estimates the store's clock may be off by some ms.
        let most = case.beats(10) + Duration::from_millis(50);
        assert!(rest > Duration::ZERO && rest <= most, "{rest:?} left");
    }
    case.dust.release(&lease).await.expect("it is answered");
    assert_eq!(case.entry("lock").await, None);
}

async fn renewing(rig: &dyn Rig) {
    let case = Case::new(rig, "renew");
    let lease = case.lease("lock", 5, "one").await;
    for _ in 0..4 {
        case.pass(3).await;
        assert_eq!(case.dust.renew(&lease, case.beats(5)).await, Ok(Renewal::Renewed));
    }
    assert!(is_held(&case.ask("lock", 5, "two").await));
    case.pass(6).await;
    assert_eq!(case.dust.renew(&lease, case.beats(5)).await, Ok(Renewal::NotHeld), "it ran out");
    // An attempt to renew does not bring it back.
    assert_eq!(case.entry("lock").await, None);
    let next = case.lease("lock", 5, "two").await;
    assert_eq!(case.dust.renew(&lease, case.beats(50)).await, Ok(Renewal::NotHeld), "it was stolen");
    case.dust.release(&next).await.expect("it is answered");
    assert_eq!(case.dust.renew(&next, case.beats(5)).await, Ok(Renewal::NotHeld), "it was released");
}

async fn only_the_very_lease_is_renewed(rig: &dyn Rig) {
    let case = Case::new(rig, "renew-other");
    let lease = case.lease("lock", 5, "one").await;
    let wrong = [
        Lease { token: lease.token + 1, ..lease.clone() },
        Lease { token: lease.token - 1, ..lease.clone() },
        Lease { key: case.key("other"), ..lease.clone() },
    ];
    for wrong in &wrong {
        assert_eq!(case.dust.renew(wrong, case.beats(50)).await, Ok(Renewal::NotHeld), "{wrong:?}");
        case.dust.release(wrong).await.expect("it is answered");
    }
    assert!(is_held(&case.ask("lock", 5, "two").await));
    case.pass(6).await;
    assert!(matches!(case.ask("lock", 5, "two").await, Grant::Granted(_)));
}

async fn releasing(rig: &dyn Rig) {
    let case = Case::new(rig, "release");
    let lease = case.lease("lock", 10, "one").await;
    case.dust.release(&lease).await.expect("it is answered");
    let next = case.lease("lock", 10, "two").await;
    assert!(next.token > lease.token);
    case.dust.release(&next).await.expect("it is answered");
    case.dust.release(&next).await.expect("a second time is no error");
    case.dust.release(&lease).await.expect("an old one is no error");
    let void = case.lease("lock", 10, "two").await;
    let stranger = Lease { holder: case.holder("four"), ..void };
    case.dust.release(&stranger).await.expect("the token names it, whoever gives it back");
    let third = case.lease("lock", 2, "three").await;
    case.pass(3).await;
    case.dust.release(&third).await.expect("one that ran out is no error");
    assert!(matches!(case.ask("lock", 2, "four").await, Grant::Granted(_)));
}

async fn an_old_release_leaves_the_successor(rig: &dyn Rig) {
    let case = Case::new(rig, "old-release");
    let lease = case.lease("lock", 2, "one").await;
    case.pass(3).await;
    let next = case.lease("lock", 10, "two").await;
    case.dust.release(&lease).await.expect("it is answered");
    case.dust.release_holder(&case.key("lock"), &case.holder("one")).await.expect("it is answered");
    assert!(is_held(&case.ask("lock", 10, "three").await));
    assert_eq!(case.dust.renew(&next, case.beats(10)).await, Ok(Renewal::Renewed));
}

async fn releasing_by_holder(rig: &dyn Rig) {
    let case = Case::new(rig, "release-holder");
    let (key, one, two) = (case.key("lock"), case.holder("one"), case.holder("two"));
    case.dust.release_holder(&key, &one).await.expect("nothing held is no error");
    let lease = case.lease("lock", 10, "one").await;
    let elsewhere = case.lease("elsewhere", 10, "one").await;
    case.dust.release_holder(&key, &two).await.expect("another's name is no error");
    assert!(is_held(&case.ask("lock", 10, "two").await));
    case.dust.release_holder(&key, &one).await.expect("it is answered");
    assert!(case.lease("lock", 10, "two").await.token > lease.token);
    assert_eq!(case.dust.renew(&elsewhere, case.beats(10)).await, Ok(Renewal::Renewed), "another lock");
    case.put("value", "x").await;
    case.dust.release_holder(&case.key("value"), &one).await.expect("a value is no lease");
    assert_eq!(case.text("value").await.as_deref(), Some("x"));
}

async fn writing_over_a_lease_ends_it(rig: &dyn Rig) {
    let case = Case::new(rig, "overwrite");
    let lease = case.lease("lock", 10, "one").await;
    case.put("lock", "x").await;
    assert_eq!(case.dust.renew(&lease, case.beats(10)).await, Ok(Renewal::NotHeld));
    assert_eq!(case.ask("lock", 10, "two").await, Grant::Occupied);
    case.dust.release(&lease).await.expect("it is answered");
    assert_eq!(case.text("lock").await.as_deref(), Some("x"), "the release took a value away");

    let lease = case.lease("lock 2", 10, "one").await;
    case.delete("lock 2").await;
    assert_eq!(case.dust.renew(&lease, case.beats(10)).await, Ok(Renewal::NotHeld));
    assert!(case.lease("lock 2", 10, "two").await.token > lease.token);
}
