//! F11: a lost answer leaves no lease behind.

use std::sync::atomic::Ordering;

use super::support::*;
use crate::dust::Dust;
use crate::flight::Entered;
use crate::testkit::faulty::{Fault, Op};
use tokio::time::{Instant, sleep};

#[tokio::test(start_paused = true)]
async fn f11_a_lease_that_landed_unheard_is_given_back() {
    let rig = Rig::new();
    let a = rig.instance();
    a.line.next(Some(Op::Enter), Fault::AnswerLost);
    let Entered::Alone(_fill) = a.enter(secs(9)).await else { panic!("it heard nothing") };
    a.flight.idle().await;
    assert_eq!(rig.holder().await, None);
}

#[tokio::test(start_paused = true)]
async fn f11_it_is_given_back_within_a_second_of_the_stores_answering_again() {
    let rig = Rig::new();
    let a = rig.instance();
    a.line.next(Some(Op::Enter), Fault::AnswerLost);
    let wait = a.enter_aside(secs(9)).await;
    a.line.down();
    assert!(matches!(wait.await.unwrap(), Entered::Alone(_)));
    sleep(secs(2)).await;
    assert!(rig.holder().await.is_some());
    a.line.up();
    let start = Instant::now();
    a.flight.idle().await;
    assert!(start.elapsed() <= secs(1), "{:?}", start.elapsed());
    assert_eq!(rig.holder().await, None);
}

#[tokio::test(start_paused = true)]
async fn f11_a_request_that_was_dropped_holds_nothing() {
    let rig = Rig::new();
    let a = rig.instance();
    a.line.next(Some(Op::Enter), Fault::RequestLost);
    assert!(matches!(a.enter(secs(9)).await, Entered::Alone(_)));
    a.flight.idle().await;
    assert_eq!(rig.holder().await, None);
}

#[tokio::test(start_paused = true)]
async fn f11_who_is_cancelled_while_asking_gives_back_what_lands_later() {
    let rig = Rig::new();
    let a = rig.instance();
    a.line.next(Some(Op::Enter), Fault::Delay(ms(100)));
    let wait = a.enter_aside(secs(9)).await;
    // The first release comes too early: the lease has not landed yet.
    wait.abort();
    sleep(ms(150)).await;
    a.flight.idle().await;
    assert_eq!(rig.holder().await, None);
    assert_eq!(a.flight.counters().orphaned.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn f11_nothing_is_given_back_after_an_answer() {
    let rig = Rig::new();
    let (a, b) = (rig.instance(), rig.instance());
    let fill = a.win().await;
    assert!(matches!(b.enter(secs(1)).await, Entered::TimedOut(None)));
    b.flight.idle().await;
    assert_eq!(b.spy.count(Op::ReleaseHolder), 0);
    assert_eq!(rig.holder().await, Some(fill.token()));
}

#[tokio::test(start_paused = true)]
async fn holders_are_named_once() {
    let rig = Rig::new();
    let a = rig.instance();
    let one = a.win().await;
    let first = one.lease().unwrap().holder.clone();
    one.release().await;
    assert_ne!(first, a.win().await.lease().unwrap().holder);
}

#[tokio::test(start_paused = true)]
async fn what_runs_out_by_itself_is_not_owed_any_more() {
    let rig = Rig::new();
    let a = rig.instance();
    let fill = a.win().await;
    a.line.down();
    drop(fill);
    let start = Instant::now();
    a.flight.idle().await;
    assert!(start.elapsed() >= TTL && start.elapsed() <= TTL + secs(1), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_thousand_debts_are_paid_together() {
    let rig = Rig::new();
    let a = rig.instance();
    a.line.down();
    for _ in 0..1000 {
        assert!(matches!(a.flight.attempt(&names()).await, crate::flight::Attempt::Unavailable(_)));
    }
    a.line.up();
    let start = Instant::now();
    a.flight.idle().await;
    assert!(start.elapsed() <= secs(1), "{:?}", start.elapsed());
    assert!(rig.store.entry(&names().lock).await.unwrap().is_none());
}
