//! A flight's last step: its result and its verdict land under its fence, and its lease is released.

use super::entrance::won;
use super::{Case, Rig, events, soon};
use crate::dust::{Known, Landing, Lease, Note, Publication, Publish, What, Written};

pub async fn all(rig: &dyn Rig) {
    all_of_it_lands_and_the_lease_is_free(rig).await;
    a_part_of_it_lands_alone(rig).await;
    it_is_told_in_order(rig).await;
    only_the_very_lease_lets_through(rig).await;
    a_lease_that_is_not_live_fences(rig).await;
    a_zombie_never_overwrites(rig).await;
    if rig.nature().expires {
        each_has_its_own_time(rig).await;
    }
}

async fn all_of_it_lands_and_the_lease_is_free(rig: &dyn Rig) {
    let case = Case::new(rig, "publish");
    let mut last = 0;
    for round in ["one", "two", "three"] {
        let found = case.look(Known::default()).await;
        let known = Known::of(found.value.as_ref(), found.verdict.as_ref());
        let lease = won(case.enter(known, 10, round).await.lock);
        assert!(lease.token > last, "{} after {last}", lease.token);
        let landed = at(case.publish(&lease, Some(round), Some("verdict")).await);
        let (value, verdict) = (case.entry("value").await, case.entry("verdict").await);
        let (value, verdict) = (value.expect("it was put"), verdict.expect("it was put"));
        assert_eq!((value.text().map(|text| &**text), value.number), (Some(round), landed));
        assert_eq!(verdict.text().map(|text| &**text), Some("verdict"));
        assert!(landed > lease.token && verdict.number > landed, "{landed} and {}", verdict.number);
        last = verdict.number;
        assert_eq!(case.entry("lock").await, None);
        assert_eq!(case.publish(&lease, Some("late"), None).await, Landing::Fenced);
    }
}

async fn a_part_of_it_lands_alone(rig: &dyn Rig) {
    let case = Case::new(rig, "publish-part");
    let lease = case.lease("lock", 10, "one").await;
    let number = at(case.publish(&lease, None, Some("y")).await);
    assert_eq!(case.entry("verdict").await.map(|entry| entry.number), Some(number));
    assert_eq!((case.entry("value").await, case.entry("lock").await), (None, None));
    let lease = case.lease("lock", 10, "two").await;
    let later = at(case.publish(&lease, Some("x"), None).await);
    assert!(later > number);
    assert_eq!(case.text("verdict").await.as_deref(), Some("y"), "it stays");
    assert_eq!(case.entry("lock").await, None);
    let lease = case.lease("lock", 10, "three").await;
    assert_eq!(case.publish(&lease, None, None).await, Landing::At(0));
    assert_eq!(case.entry("value").await.map(|entry| entry.number), Some(later));
    assert_eq!(case.entry("lock").await, None);
}

async fn it_is_told_in_order(rig: &dyn Rig) {
    let case = Case::new(rig, "publish-told");
    let mut feed = case.dust.feed().await.expect("a feed is answered");
    let lease = case.lease("lock", 10, "one").await;
    let [value, verdict] = ["value", "verdict"].map(|name| case.key(name));
    let result = Publish { key: &value, text: "x", expires_in: Some(case.beats(40)), body: None, keeps: &[] };
    let note = Note { key: &verdict, text: "y", expires_in: None };
    let publication = Publication { lease: &lease, value: Some(result), verdict: Some(note) };
    let number = at(case.dust.publish(publication).await.expect("it is answered"));
    let noted = case.entry("verdict").await.expect("it was put").number;
    let mark = case.put("mark", "x").await;
    let expected = [
        ("lock", What::Lease(case.beats(10)), lease.token),
        ("value", What::Set { lives: Some(case.beats(40)) }, number),
        ("verdict", What::Set { lives: None }, noted),
        ("lock", What::Release, lease.token),
        ("mark", What::Set { lives: None }, mark),
    ];
    for (key, what, number) in expected {
        let change = soon("a change", events::next_of(&case, &mut feed)).await;
        assert_eq!(change, (case.key(key), what, number));
    }
}

async fn only_the_very_lease_lets_through(rig: &dyn Rig) {
    let case = Case::new(rig, "publish-fence");
    let lease = case.lease("lock", 60, "one").await;
    let (value, verdict) = (case.put("value", "old").await, case.put("verdict", "old").await);
    let wrong = [
        Lease { token: lease.token + 1, ..lease.clone() },
        Lease { token: lease.token - 1, ..lease.clone() },
        Lease { token: 0, ..lease.clone() },
        Lease { key: case.key("free"), ..lease.clone() },
        Lease { key: case.key("value"), ..lease.clone() },
    ];
    let mut feed = case.dust.feed().await.expect("a feed is answered");
    // What was written before may be told late.
    let begin = case.put("begin", "x").await;
    soon("the beginning", async { while events::next_of(&case, &mut feed).await.2 != begin {} }).await;
    for wrong in &wrong {
        for (result, note) in [(Some("new"), Some("new")), (Some("new"), None), (None, Some("new"))] {
            assert_eq!(case.publish(wrong, result, note).await, Landing::Fenced, "{wrong:?}");
        }
    }
    let found = case.look(Known::default()).await;
    assert_eq!(Known::of(found.value.as_ref(), found.verdict.as_ref()), Known { value, verdict });
    assert_eq!(case.entry("lock").await.map(|entry| entry.number), Some(lease.token), "it is held still");
    let mark = case.put("mark", "x").await;
    let told = soon("the mark", events::next_of(&case, &mut feed)).await;
    assert_eq!(told, (case.key("mark"), What::Set { lives: None }, mark), "nothing else is told");
    at(case.publish(&lease, Some("new"), None).await);
}

async fn a_lease_that_is_not_live_fences(rig: &dyn Rig) {
    let case = Case::new(rig, "publish-lost");
    let number = case.put("value", "old").await;
    let expired = case.lease("lock", 2, "one").await;
    case.pass(3).await;
    // No holder has taken it since.
    assert_eq!(case.publish(&expired, Some("new"), Some("new")).await, Landing::Fenced);
    let released = case.lease("lock", 60, "two").await;
    case.dust.release(&released).await.expect("it is answered");
    assert_eq!(case.publish(&released, Some("new"), None).await, Landing::Fenced);
    let holder = case.lease("lock", 60, "three").await;
    for old in [&expired, &released] {
        assert_eq!(case.publish(old, Some("new"), None).await, Landing::Fenced);
    }
    case.delete("lock").await;
    assert_eq!(case.publish(&holder, Some("new"), None).await, Landing::Fenced);
    assert_eq!(case.entry("value").await.map(|entry| entry.number), Some(number));
    assert_eq!(case.entry("verdict").await, None);
}

async fn a_zombie_never_overwrites(rig: &dyn Rig) {
    let case = Case::new(rig, "publish-zombie");
    let zombie = case.lease("lock", 2, "one").await;
    case.pass(3).await;
    let last = case.lease("lock", 60, "two").await;
    assert_eq!(case.publish(&zombie, Some("zombie"), Some("zombie")).await, Landing::Fenced);
    assert!(matches!(case.put_fenced("verdict", "y", &last).await, Written::At(_)), "its lease is live");
    let number = at(case.publish(&last, Some("last"), None).await);
    assert_eq!(case.publish(&zombie, Some("zombie"), None).await, Landing::Fenced);
    let entry = case.entry("value").await.expect("it was put");
    assert_eq!((entry.text().map(|text| &**text), entry.number), (Some("last"), number));
}

async fn each_has_its_own_time(rig: &dyn Rig) {
    let case = Case::new(rig, "publish-expiry");
    let lease = case.lease("lock", 10, "one").await;
    let [value, verdict] = ["value", "verdict"].map(|name| case.key(name));
    let result = Publish { key: &value, text: "x", expires_in: Some(case.beats(20)), body: None, keeps: &[] };
    let note = Note { key: &verdict, text: "y", expires_in: Some(case.beats(5)) };
    let publication = Publication { lease: &lease, value: Some(result), verdict: Some(note) };
    at(case.dust.publish(publication).await.expect("it is answered"));
    case.pass(8).await;
    assert_eq!((case.text("value").await.as_deref(), case.entry("verdict").await), (Some("x"), None));
    case.pass(14).await;
    assert_eq!(case.entry("value").await, None);
}

pub(super) fn at(landing: Landing) -> u64 {
    match landing {
        Landing::At(number) => number,
        other => panic!("not landed and released but {other:?}"),
    }
}
