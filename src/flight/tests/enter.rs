//! S1, S2, S14, S16, F2, F8, F11: entering until it has to wait.

use super::support::*;
use crate::dust::{Dust, Value};
use crate::flight::{Attempt, Entered, Flight, Names, OnUnavailable, Product, Settings, Uncoordinated};
use crate::testkit::faulty::{Fault, Op};
use tokio::time::Instant;

#[tokio::test(start_paused = true)]
async fn s1_what_is_there_returns_in_one_step_and_no_lease_is_taken() {
    let (rig, names) = (Rig::new(), names());
    rig.put("k", "v").await;
    let a = rig.instance();
    assert!(matches!(a.enter(secs(1)).await, Entered::Cached(value) if value == "v"));
    assert_eq!(a.spy.calls(), [(Op::Enter, names.lock.to_string())]);
    assert_eq!(rig.holder().await, None);
}

#[tokio::test(start_paused = true)]
async fn s1_a_verdict_that_answers_returns_at_once_too() {
    let rig = Rig::new();
    rig.put("k!", "pass").await;
    assert!(matches!(rig.instance().enter(secs(1)).await, Entered::Cached(value) if value == "pass"));
}

#[tokio::test(start_paused = true)]
async fn a_growing_verdict_counts_only_while_its_lease_lives() {
    let rig = Rig::new();
    let lease = rig.hold(TTL).await;
    let growing = format!("growing {}", lease.token);
    rig.put("k!", &growing).await;
    assert!(matches!(rig.instance().enter(secs(1)).await, Entered::Cached(found) if found == growing));
    rig.store.release(&lease).await.unwrap();
    let fill = rig.instance().win().await;
    assert!(fill.verdict().is_some(), "the dead one is there to be resumed");
}

#[tokio::test(start_paused = true)]
async fn f8_an_attempt_takes_the_lease_from_a_void_holder_alone() {
    let rig = Rig::new();
    let (a, b) = (rig.instance(), rig.instance());
    let void = a.win().await;
    let stamp = void.token();
    assert!(matches!(b.flight.attempt_after(&names(), stamp).await, Attempt::Taken), "it is not below it");
    let attempt = b.flight.attempt_after(&names(), stamp + 1).await;
    let Attempt::Won(fill) = attempt else { panic!("the holder is void") };
    let published = void.publish(Product::new("from before", None), || crate::flight::Standing::Live).await;
    assert!(matches!(published, crate::flight::Published::Fenced));
    assert_eq!(rig.holder().await, Some(fill.token()));
}

#[tokio::test(start_paused = true)]
async fn s2_the_lease_is_taken_on_the_lock_key_for_its_time() {
    let rig = Rig::new();
    let a = rig.instance();
    let fill = a.win().await;
    assert_eq!(&*fill.names().lock, "_dust:sf/k");
    let entry = rig.store.entry("_dust:sf/k").await.unwrap().unwrap();
    assert_eq!(entry.value, Value::Lease { rest: Some(TTL) });
    assert_eq!(entry.number, fill.token());
    assert!(fill.coordinated() && fill.lone().is_none() && !fill.lost());
    assert_eq!(Settings::default().lease_ttl, secs(6));
}

#[tokio::test(start_paused = true)]
async fn s2_a_fill_enters_in_one_step_and_ends_in_one() {
    let rig = Rig::new();
    let a = rig.instance();
    let fill = a.win().await;
    let _ = fill.publish(Product::new("v", None), || crate::flight::Standing::Live).await;
    let calls: Vec<Op> = a.spy.calls().into_iter().map(|(op, _)| op).collect();
    assert_eq!(calls, [Op::Enter, Op::Publish]);
}

#[tokio::test(start_paused = true)]
async fn s14_a_store_that_is_down_makes_the_fill_run_alone() {
    let rig = Rig::new();
    let a = rig.instance();
    a.line.down();
    let Entered::Alone(fill) = a.enter(secs(1)).await else { panic!("it runs alone") };
    assert!(!fill.coordinated());
    assert_eq!(fill.lone().map(Uncoordinated::as_str), Some("unavailable"));
}

#[tokio::test(start_paused = true)]
async fn s14_a_store_that_never_answers_is_given_up_after_one_call_bound() {
    let rig = Rig::new();
    for op in [Op::Enter] {
        let a = rig.instance();
        a.line.next(Some(op), Fault::Hang);
        let start = Instant::now();
        let Entered::Alone(fill) = a.enter(secs(9)).await else { panic!("{op:?}: it runs alone") };
        assert_eq!(start.elapsed(), BOUND, "{op:?}");
        assert_eq!(fill.lone().map(Uncoordinated::as_str), Some("unavailable"));
    }
}

#[tokio::test(start_paused = true)]
async fn s14_where_unavailable_is_an_error_it_is_said() {
    let rig = Rig::new();
    let a = rig.instance_with(Settings { on_unavailable: OnUnavailable::Error, ..settings() });
    a.line.down();
    let entered = a.enter(secs(1)).await;
    assert!(matches!(&entered, Entered::Unavailable(why) if why.as_str() == "unavailable"), "{entered:?}");
}

#[tokio::test(start_paused = true)]
async fn s14_a_lock_key_that_holds_a_value_runs_alone_even_where_unavailable_is_an_error() {
    let rig = Rig::new();
    rig.put(&names().lock, "somebody's").await;
    let a = rig.instance_with(Settings { on_unavailable: OnUnavailable::Error, ..settings() });
    let Entered::Alone(fill) = a.enter(secs(1)).await else { panic!("it runs alone") };
    assert_eq!(fill.lone(), Some(&Uncoordinated::Occupied));
    let counters = a.flight.counters();
    assert_eq!(counters.occupied.load(std::sync::atomic::Ordering::Relaxed), 1);
    assert_eq!(counters.occupied_key(), Some(names().lock));
}

#[tokio::test(start_paused = true)]
async fn s16_a_lease_at_the_value_key_is_absent() {
    let rig = Rig::new();
    let holder = crate::dust::Holder("x".into());
    rig.store.lease("k", TTL, &holder, 0).await.unwrap();
    let fill = rig.instance().win().await;
    assert!(fill.value().is_none());
}

#[tokio::test(start_paused = true)]
async fn f2_a_winner_finds_what_was_published_just_before_and_gives_the_lease_back() {
    let rig = Rig::new();
    let a = rig.instance();
    let store = rig.store.clone();
    a.spy.before(Op::Enter, async move {
        store.put("k", "just now", crate::dust::Put::default()).await.unwrap();
    });
    assert!(matches!(a.enter(secs(1)).await, Entered::Cached(value) if value == "just now"));
    a.flight.idle().await;
    assert_eq!(rig.holder().await, None);
}

#[tokio::test(start_paused = true)]
async fn f2_a_winner_is_handed_what_it_has_to_replace() {
    let rig = Rig::new();
    rig.put("k", "old").await;
    rig.put("k!", "half").await;
    let fill = rig.instance().win().await;
    let text = |entry: Option<&crate::dust::Entry>| entry.and_then(|entry| entry.text().cloned());
    assert_eq!(text(fill.value()).as_deref(), Some("old"));
    assert_eq!(text(fill.verdict()).as_deref(), Some("half"));
}

#[tokio::test(start_paused = true)]
async fn f8_a_holder_below_the_stamp_is_released_and_the_lock_taken() {
    let rig = Rig::new();
    let (a, b) = (rig.instance(), rig.instance());
    let void = a.win().await;
    let stamp = rig.put("stamp", "purge").await;
    let entered = b.flight.enter(&names(), Instant::now() + secs(9), stamp, &Any).await;
    let Entered::Won(fill) = entered else { panic!("{entered:?}") };
    assert!(fill.token() > stamp);
    let published = void.publish(Product::new("from before", None), || crate::flight::Standing::Live).await;
    assert_eq!(published.as_str(), "fenced");
    assert_eq!(rig.holder().await, Some(fill.token()), "the void fill's end leaves the new one alone");
}

#[tokio::test(start_paused = true)]
async fn f8_a_holder_above_the_stamp_is_waited_for() {
    let rig = Rig::new();
    let stamp = rig.put("stamp", "purge").await;
    let a = rig.instance();
    let fill = a.win().await;
    assert!(fill.token() > stamp);
    let b = rig.instance();
    let entered = b.flight.enter(&names(), Instant::now() + secs(1), stamp, &Any).await;
    assert!(matches!(entered, Entered::TimedOut(None)));
    assert_eq!(rig.holder().await, Some(fill.token()));
}

#[tokio::test(start_paused = true)]
async fn tokens_are_above_what_the_instance_has_seen_elsewhere() {
    let rig = Rig::new();
    let a = rig.instance();
    a.flight.saw(5_000);
    assert!(a.win().await.token() > 5_000);
    assert!(a.flight.seen() > 5_000);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_does_not_wait() {
    let rig = Rig::new();
    let (a, b) = (rig.instance(), rig.instance());
    let Attempt::Won(fill) = a.flight.attempt(&names()).await else { panic!("it is free") };
    assert!(matches!(b.flight.attempt(&names()).await, Attempt::Taken));
    assert!(matches!(b.flight.attempt(&Names::of("other")).await, Attempt::Won(_)));
    b.line.down();
    assert!(matches!(b.flight.attempt(&names()).await, Attempt::Unavailable(_)));
    fill.release().await;
}

#[test]
fn futures_of_a_flight_may_cross_threads() {
    fn crosses<T: Send>(_: T) {}
    fn check(flight: &std::sync::Arc<Flight>, names: &Names) {
        crosses(flight.enter(names, Instant::now(), 0, &Any));
        crosses(flight.attempt(names));
    }
    let _ = check;
}
