//! Fenced writes land only while that very lease lives.

use super::{Case, Rig, at};
use crate::dust::{Lease, Written};

pub async fn all(rig: &dyn Rig) {
    a_live_lease_lets_through(rig).await;
    only_the_very_lease_lets_through(rig).await;
    a_lease_that_ran_out_fences(rig).await;
    a_released_or_stolen_lease_fences(rig).await;
    a_zombie_never_overwrites(rig).await;
}

async fn a_live_lease_lets_through(rig: &dyn Rig) {
    let case = Case::new(rig, "fence");
    let lease = case.lease("lock", 10, "one").await;
    let number = at(case.put_fenced("a", "x", &lease).await);
    assert!(number > lease.token);
    assert_eq!(case.text("a").await.as_deref(), Some("x"));
    // As often as it likes, while it is renewed.
    case.pass(8).await;
    case.dust.renew(&lease, case.beats(10)).await.expect("it is answered");
    case.pass(8).await;
    assert!(at(case.put_fenced("b", "y", &lease).await) > number);
    let deleted = case.dust.delete(&case.key("a"), Some(&lease)).await.expect("it is answered");
    assert!(matches!(deleted, Written::At(_)));
    assert_eq!(case.entry("a").await, None);
    // A fenced write does not use the lease up.
    case.dust.release(&lease).await.expect("it is answered");
}

async fn only_the_very_lease_lets_through(rig: &dyn Rig) {
    let case = Case::new(rig, "fence-other");
    let lease = case.lease("lock", 10, "one").await;
    case.put("a", "old").await;
    let wrong = [
        Lease { token: lease.token + 1, ..lease.clone() },
        Lease { token: lease.token - 1, ..lease.clone() },
        Lease { token: 0, ..lease.clone() },
        Lease { key: case.key("free"), ..lease.clone() },
        Lease { key: case.key("a"), ..lease.clone() },
    ];
    for wrong in &wrong {
        assert_eq!(case.put_fenced("a", "new", wrong).await, Written::Fenced, "{wrong:?}");
        assert_eq!(case.dust.delete(&case.key("a"), Some(wrong)).await, Ok(Written::Fenced), "{wrong:?}");
    }
    assert_eq!(case.text("a").await.as_deref(), Some("old"));
}

async fn a_lease_that_ran_out_fences(rig: &dyn Rig) {
    let case = Case::new(rig, "fence-expired");
    let lease = case.lease("lock", 3, "one").await;
    let number = case.put("a", "old").await;
    case.pass(4).await;
    // No holder has taken it since, but it is no longer live.
    assert_eq!(case.put_fenced("a", "new", &lease).await, Written::Fenced);
    assert_eq!(case.dust.delete(&case.key("a"), Some(&lease)).await, Ok(Written::Fenced));
    let entry = case.entry("a").await.expect("nothing touched it");
    assert_eq!((entry.text().map(|text| &**text), entry.number), (Some("old"), number));
}

async fn a_released_or_stolen_lease_fences(rig: &dyn Rig) {
    let case = Case::new(rig, "fence-lost");
    let lease = case.lease("lock", 10, "one").await;
    case.dust.release(&lease).await.expect("it is answered");
    assert_eq!(case.put_fenced("a", "x", &lease).await, Written::Fenced);
    let next = case.lease("lock", 10, "two").await;
    assert_eq!(case.put_fenced("a", "x", &lease).await, Written::Fenced);
    assert!(matches!(case.put_fenced("a", "y", &next).await, Written::At(_)));
    case.delete("lock").await;
    assert_eq!(case.put_fenced("a", "x", &next).await, Written::Fenced);
    assert_eq!(case.text("a").await.as_deref(), Some("y"));
}

async fn a_zombie_never_overwrites(rig: &dyn Rig) {
    let case = Case::new(rig, "zombie");
    let mut leases = Vec::new();
    for n in 0..4 {
        leases.push(case.lease("lock", 2, &format!("h{n}")).await);
        case.pass(3).await;
    }
    let last = case.lease("lock", 10, "last").await;
    let number = at(case.put_fenced("a", "last", &last).await);
    for zombie in &leases {
        assert_eq!(case.put_fenced("a", "zombie", zombie).await, Written::Fenced);
    }
    let entry = case.entry("a").await.expect("it was put");
    assert_eq!((entry.text().map(|text| &**text), entry.number), (Some("last"), number));
}
