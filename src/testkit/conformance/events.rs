//! Changes reach their subscribers, in order, and no others.

use super::{Case, Rig, soon, wakes};
use crate::dust::{Feed, FeedItem, Number, What};

pub async fn all(rig: &dyn Rig) {
    every_change_wakes(rig).await;
    what_changes_nothing_tells_nothing(rig).await;
    a_confirmed_subscription_misses_nothing(rig).await;
    who_leaves_leaves_nothing_behind(rig).await;
    the_feed_tells_all_in_order(rig).await;
    what_is_announced_is_told_and_not_kept(rig).await;
}

async fn every_change_wakes(rig: &dyn Rig) {
    let case = Case::new(rig, "wake");
    let mut changes = case.on(&["value", "verdict", "lock"]).await;
    let lease = case.lease("lock", 10, "one").await;
    let wake = wakes("lease", &mut changes, |wake| wake.lease.is_some()).await;
    assert_eq!(wake.lease, Some((lease.token, case.beats(10))));
    case.dust.renew(&lease, case.beats(20)).await.expect("it is answered");
    let wake = wakes("renewal", &mut changes, |wake| wake.lease.is_some()).await;
    assert_eq!(wake.lease, Some((lease.token, case.beats(20))));
    assert!(!wake.touched && wake.released.is_none() && wake.deleted.is_none() && !wake.lost, "{wake:?}");
    case.put_fenced("verdict", "x", &lease).await;
    assert!(wakes("put", &mut changes, |wake| wake.touched).await.deleted.is_none());
    case.put("value", "x").await;
    wakes("another put", &mut changes, |wake| wake.touched).await;
    case.dust.release(&lease).await.expect("it is answered");
    let wake = wakes("release", &mut changes, |wake| wake.released.is_some()).await;
    assert_eq!((wake.released, wake.lease), (Some(lease.token), None));
    let number = case.delete("value").await;
    let wake = wakes("delete", &mut changes, |wake| wake.deleted.is_some()).await;
    assert_eq!((wake.deleted, wake.touched), (Some(number), true));
    // A steal is a lease, not a release.
    let stolen = case.lease("lock", 1, "one").await;
    case.pass(2).await;
    let thief = case.lease("lock", 10, "two").await;
    let newest = |wake: &crate::dust::Wake| wake.lease.is_some_and(|(token, _)| token > stolen.token);
    let wake = wakes("steal", &mut changes, newest).await;
    assert_eq!((wake.lease, wake.released), (Some((thief.token, case.beats(10))), None));
    let number = case.delete("lock").await;
    let wake = wakes("delete of a lease", &mut changes, |wake| wake.deleted.is_some()).await;
    assert_eq!(wake.deleted, Some(number));
}

async fn what_changes_nothing_tells_nothing(rig: &dyn Rig) {
    let case = Case::new(rig, "no-wake");
    let stale = case.lease("stale", 10, "one").await;
    case.dust.release(&stale).await.expect("it is answered");
    case.put("occupied", "x").await;
    let held = case.lease("held", 50, "one").await;
    // These are heard before what follows, in case they come late.
    let mut changes = case.on(&["a", "stale", "held", "occupied", "mark"]).await;
    let mark = case.delete("mark").await;
    wakes("mark", &mut changes, |wake| wake.deleted == Some(mark)).await;
    case.put("elsewhere", "x").await;
    case.ask("held", 10, "two").await;
    case.ask("occupied", 10, "two").await;
    case.put_fenced("a", "x", &stale).await;
    case.dust.renew(&stale, case.beats(10)).await.expect("it is answered");
    case.dust.release(&stale).await.expect("it is answered");
    case.dust.release_holder(&case.key("held"), &case.holder("two")).await.expect("it is answered");
    case.entry("a").await;
    // Renewing comes last and is heard last: whatever else is heard was told before it.
    case.dust.renew(&held, case.beats(60)).await.expect("it is answered");
    let wake = wakes("last", &mut changes, |wake| wake.lease.is_some()).await;
    assert_eq!(wake.lease, Some((held.token, case.beats(60))));
    assert!(!wake.touched && wake.released.is_none() && wake.deleted.is_none() && !wake.lost, "{wake:?}");
}

async fn a_confirmed_subscription_misses_nothing(rig: &dyn Rig) {
    let case = Case::new(rig, "confirmed");
    for round in 0..20 {
        let key = format!("k{round}");
        let mut changes = case.on(&[&key]).await;
        let number = case.delete(&key).await;
        assert_eq!(soon("deletion", changes.next()).await.deleted, Some(number));
    }
}

async fn who_leaves_leaves_nothing_behind(rig: &dyn Rig) {
    let case = Case::new(rig, "leave");
    let before = rig.subscriptions();
    let mut changes = case.on(&["a", "b"]).await;
    {
        let mut waiting = Box::pin(changes.next());
        assert!(futures_util::poll!(&mut waiting).is_pending());
    }
    // A cancelled wait loses nothing.
    case.put("a", "x").await;
    assert!(soon("put", changes.next()).await.touched);
    let feed = case.dust.feed().await.expect("a feed is answered");
    let task = tokio::spawn(async move { changes.next().await });
    tokio::task::yield_now().await;
    if let (Some(before), Some(now)) = (before, rig.subscriptions()) {
        assert_eq!(now, before + 2);
    }
    task.abort();
    assert!(task.await.is_err());
    drop(feed);
    assert_eq!(rig.subscriptions(), before);
}

async fn the_feed_tells_all_in_order(rig: &dyn Rig) {
    let case = Case::new(rig, "feed");
    let mut feed = case.dust.feed().await.expect("a feed is answered");
    let put = case.put("a", "x").await;
    let brief = case.put_for("c", "x", 30).await;
    let lease = case.lease("lock", 10, "one").await;
    let fenced = super::at(case.put_fenced("b", "x", &lease).await);
    case.dust.renew(&lease, case.beats(20)).await.expect("it is answered");
    case.dust.release(&lease).await.expect("it is answered");
    let deleted = case.delete("a").await;
    let expected = [
        ("a", What::Set { lives: None }, put),
        ("c", What::Set { lives: Some(case.beats(30)) }, brief),
        ("lock", What::Lease(case.beats(10)), lease.token),
        ("b", What::Set { lives: None }, fenced),
        ("lock", What::Renew(case.beats(20)), lease.token),
        ("lock", What::Release, lease.token),
        ("a", What::Delete, deleted),
    ];
    for (key, what, number) in expected {
        let change = soon("a change", next_of(&case, &mut feed)).await;
        assert_eq!(change, (case.key(key), what, number));
    }
}

/// The next change of this case's keys.
pub(super) async fn next_of(case: &Case<'_>, feed: &mut Feed) -> (String, What, Number) {
    loop {
        match feed.next().await {
            FeedItem::Change(change) if change.key.starts_with(&case.key("")) => {
                return ((*change.key).into(), change.what, change.number);
            }
            FeedItem::Change(_) => {}
            FeedItem::Lost | FeedItem::Doubt => panic!("a feed that is read at once lost something"),
        }
    }
}

async fn what_is_announced_is_told_and_not_kept(rig: &dyn Rig) {
    let case = Case::new(rig, "announce");
    let before = case.put("kept", "x").await;
    let mut changes = case.on(&["told", "kept"]).await;
    let announce = async |key: &str| {
        let number = case.dust.announce(&case.key(key), case.beats(5)).await;
        number.expect("it is answered")
    };
    let first = announce("told").await;
    assert!(first > before, "{first} after {before}");
    wakes("what was announced", &mut changes, |wake| wake.touched).await;
    assert_eq!(case.entry("told").await, None);
    let second = announce("kept").await;
    assert!(second > first, "{second} after {first}");
    let kept = case.entry("kept").await.expect("it stays");
    assert_eq!((kept.text().map(|text| &**text), kept.number), (Some("x"), before));
    let listed = case.dust.entries(&case.key("")).await.expect("it is answered");
    assert_eq!(listed.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>(), [case.key("kept")]);
    assert!(case.put("kept", "y").await > second);
}
