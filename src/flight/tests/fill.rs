//! S3–S7, S14, F7–F8: from the lease to its end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::support::*;
use crate::dust::{Dust, Error, Renewal};
use crate::flight::{Entered, Fill, Noted, Product, Published, Standing};
use crate::testkit::faulty::{Fault, Op};
use tokio::time::{Instant, advance, sleep};

async fn publish(fill: Fill, text: &str) -> Published {
    fill.publish(Product::new(text, None), || Standing::Live).await
}

async fn alone(instance: &Instance) -> Fill {
    instance.line.down();
    let entered = instance.enter(secs(1)).await;
    instance.line.up();
    match entered {
        Entered::Alone(fill) => fill,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn s3_the_lease_lives_as_long_as_the_fill() {
    let rig = Rig::new();
    let a = rig.instance();
    let fill = a.win().await;
    sleep(10 * TTL).await;
    assert!(!fill.lost());
    assert_eq!(rig.holder().await, Some(fill.token()));
    assert_eq!(a.spy.count(Op::Renew), 29, "every third of its time");
    assert!(matches!(publish(fill, "v").await, Published::Computed(_)));
}

#[tokio::test(start_paused = true)]
async fn s3_not_held_ends_it() {
    let rig = Rig::new();
    let a = rig.instance();
    let fill = a.win().await;
    rig.store.delete(&names().lock, None).await.unwrap();
    let start = Instant::now();
    fill.until_lost().await;
    assert_eq!(start.elapsed(), TTL / 3);
    a.spy.calls();
    sleep(TTL).await;
    assert_eq!(a.spy.count(Op::Renew), 0);
    assert_eq!(publish(fill, "v").await, Published::Fenced);
    a.flight.idle().await;
    assert_eq!(a.spy.calls(), [], "known lost: no write, no release");
    assert_eq!(a.flight.counters().lost_not_held.load(Ordering::Relaxed), 1);
    assert_eq!(a.flight.counters().lost_unanswered.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn s3_no_answer_does_not_end_it_it_asks_again_after_a_sixth() {
    let rig = Rig::new();
    let a = rig.instance();
    let fill = a.win().await;
    a.line.next(Some(Op::Renew), Fault::RequestLost);
    sleep(TTL / 3 + ms(1)).await;
    assert_eq!(a.spy.count(Op::Renew), 1);
    sleep(ms(998)).await;
    assert_eq!(a.spy.count(Op::Renew), 1);
    sleep(ms(2)).await;
    assert_eq!(a.spy.count(Op::Renew), 2);
    sleep(3 * TTL).await;
    assert!(!fill.lost());
}

#[tokio::test(start_paused = true)]
async fn s3_it_is_lost_a_lease_after_the_last_answered_renewal_was_sent() {
    let rig = Rig::new();
    let a = rig.instance();
    let fill = a.win().await;
    let start = Instant::now();
    // Renewals land from here on, and none is heard of: that does not count.
    for _ in 0..20 {
        a.line.next(Some(Op::Renew), Fault::AnswerLost);
    }
    fill.until_lost().await;
    assert_eq!(start.elapsed(), TTL);
    assert!(fill.lost());
    assert_eq!(a.flight.counters().lost_unanswered.load(Ordering::Relaxed), 1);
    assert_eq!(rig.holder().await, Some(fill.token()), "the store holds it still");
    assert_eq!(publish(fill, "v").await, Published::Fenced);
    a.flight.idle().await;
    assert_eq!(rig.holder().await, None, "so it is given back");
    assert_eq!(rig.text("k").await, None);
}

#[tokio::test(start_paused = true)]
async fn s3_a_slow_lease_counts_from_when_it_was_asked_for() {
    let rig = Rig::new();
    let a = rig.instance();
    let start = Instant::now();
    a.line.next(Some(Op::Enter), Fault::Delay(ms(150)));
    let fill = a.win().await;
    a.line.down();
    fill.until_lost().await;
    assert_eq!(start.elapsed(), TTL);
}

#[tokio::test(start_paused = true)]
async fn s3_a_slow_renewal_counts_from_when_it_was_sent() {
    let rig = Rig::new();
    let a = rig.instance();
    let fill = a.win().await;
    let start = Instant::now();
    a.line.next(Some(Op::Renew), Fault::Delay(ms(150)));
    sleep(TTL / 3 + ms(160)).await;
    a.line.down();
    fill.until_lost().await;
    assert_eq!(start.elapsed(), TTL / 3 + TTL);
}

#[tokio::test(start_paused = true)]
async fn s3_the_heartbeat_runs_through_the_publish() {
    let rig = Rig::new();
    let a = rig.instance();
    let fill = a.win().await;
    sleep(ms(1950)).await;
    a.line.next(Some(Op::Publish), Fault::Delay(ms(150)));
    assert!(matches!(publish(fill, "v").await, Published::Computed(_)));
    assert_eq!(a.spy.count(Op::Renew), 1);
}

#[tokio::test(start_paused = true)]
async fn s4_publishing_puts_under_the_fence_and_releases() {
    let rig = Rig::new();
    let a = rig.instance();
    let fill = a.win().await;
    let token = fill.token();
    let Published::Computed(number) = publish(fill, "v").await else { panic!("it lands") };
    assert!(number > token);
    assert_eq!(a.flight.seen(), number);
    assert_eq!(rig.text("k").await.as_deref(), Some("v"));
    assert_eq!(rig.holder().await, None);
    a.spy.calls();
    sleep(TTL).await;
    assert_eq!(a.spy.calls(), [], "the heartbeat stopped");
}

#[tokio::test(start_paused = true)]
async fn s5_a_fenced_publish_neither_overwrites_nor_releases() {
    let rig = Rig::new();
    let (a, b) = (rig.instance(), rig.instance());
    let old = a.win().await;
    rig.store.delete(&names().lock, None).await.unwrap();
    let new = b.win().await;
    a.spy.calls();
    assert_eq!(publish(old, "zombie").await, Published::Fenced);
    assert_eq!(a.spy.calls(), [(Op::Publish, names().lock.to_string())]);
    assert_eq!(rig.text("k").await, None);
    assert_eq!(rig.holder().await, Some(new.token()));
    assert!(matches!(publish(new, "v").await, Published::Computed(_)));
}

#[tokio::test(start_paused = true)]
async fn s5_any_other_error_of_the_put_releases_and_is_told() {
    let rig = Rig::new();
    for fault in [Fault::Unavailable, Fault::RequestLost, Fault::AnswerLost, Fault::Hang] {
        let a = rig.instance();
        rig.store.delete("k", None).await.unwrap();
        let fill = a.win().await;
        a.line.next(Some(Op::Publish), fault);
        let published = publish(fill, "v").await;
        assert!(matches!(published, Published::Failed(Error::Unavailable(_))), "{fault:?}: {published:?}");
        assert_eq!(rig.holder().await, None, "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn s6_aborting_leaves_no_value_and_releases() {
    let rig = Rig::new();
    let a = rig.instance();
    let fill = a.win().await;
    fill.abort(None).await;
    assert_eq!((rig.text("k").await, rig.text("k!").await, rig.holder().await), (None, None, None));
}

#[tokio::test(start_paused = true)]
async fn f7_an_abort_with_a_verdict_leaves_it_under_the_fence() {
    let rig = Rig::new();
    let (a, b) = (rig.instance(), rig.instance());
    let fill = a.win().await;
    let wait = b.enter_aside(secs(9)).await;
    fill.abort(Some(("pass", Some(secs(1))))).await;
    assert!(matches!(wait.await.unwrap(), Entered::Awaited(verdict) if verdict == "pass"));
    assert_eq!(rig.holder().await, None);

    rig.store.delete("k!", None).await.unwrap();
    let void = a.win().await;
    rig.store.delete(&names().lock, None).await.unwrap();
    void.abort(Some(("pass", None))).await;
    assert_eq!(rig.text("k!").await, None, "without the lease nothing is left");
}

#[tokio::test(start_paused = true)]
async fn s7_a_fill_that_panics_releases_nothing_and_is_taken_over_within_the_ttl() {
    let rig = Rig::new();
    let (a, b) = (rig.instance(), rig.instance());
    let fill = a.win().await;
    let token = fill.token();
    let start = Instant::now();
    let task = tokio::spawn(async move {
        let _fill = fill;
        sleep(ms(10)).await;
        panic!("as planned");
    });
    assert!(task.await.unwrap_err().is_panic());
    a.flight.idle().await;
    assert_eq!(rig.holder().await, Some(token));
    assert!(matches!(b.enter(secs(30)).await, Entered::Won(_)));
    assert!(start.elapsed() <= TTL + JITTER, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_dropped_fill_hands_on_at_once() {
    let rig = Rig::new();
    let (a, b) = (rig.instance(), rig.instance());
    let fill = a.win().await;
    let wait = b.enter_aside(secs(30)).await;
    let start = Instant::now();
    drop(fill);
    assert!(matches!(wait.await.unwrap(), Entered::Won(_)));
    assert!(start.elapsed() <= JITTER, "{:?}", start.elapsed());
}

#[test]
fn a_fill_dropped_outside_a_runtime_does_not_panic() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let fill = runtime.block_on(async { Rig::new().instance().win().await });
    drop(runtime);
    drop(fill);
}

#[tokio::test(start_paused = true)]
async fn a_publish_given_up_half_way_gives_the_lease_back() {
    let rig = Rig::new();
    let a = rig.instance();
    let fill = a.win().await;
    a.line.next(Some(Op::Publish), Fault::Hang);
    let task = tokio::spawn(async move { publish(fill, "v").await });
    settle().await;
    task.abort();
    settle().await;
    a.flight.idle().await;
    assert_eq!(rig.holder().await, None);
}

#[tokio::test(start_paused = true)]
async fn notes_and_other_keys_are_written_under_the_same_fence() {
    let rig = Rig::new();
    let a = rig.instance();
    let fill = a.win().await;
    assert!(matches!(fill.note("pass", None).await, Noted::Written(_)));
    assert!(matches!(fill.side_put("node", "vary", Some(secs(5))).await, Noted::Written(_)));
    assert_eq!(rig.text("k!").await.as_deref(), Some("pass"));
    assert_eq!(rig.text("node").await.as_deref(), Some("vary"));
    a.line.next(Some(Op::Put), Fault::Unavailable);
    assert_eq!(fill.note("x", None).await, Noted::Unavailable);
    rig.store.delete(&names().lock, None).await.unwrap();
    assert_eq!(fill.note("x", None).await, Noted::Fenced);
    sleep(TTL).await;
    a.spy.calls();
    assert_eq!(fill.side_put("node", "x", None).await, Noted::Fenced);
    assert_eq!(a.spy.calls(), [], "known lost: not even asked");
}

#[tokio::test(start_paused = true)]
async fn f8_what_a_purge_covers_by_the_end_is_not_published() {
    let rig = Rig::new();
    let a = rig.instance();
    let fill = a.win().await;
    let published = fill.publish(Product::new("v", None), || Standing::Covered).await;
    assert_eq!(published, Published::Covered);
    assert_eq!((rig.text("k").await, rig.holder().await), (None, None));
}

#[tokio::test(start_paused = true)]
async fn s14_the_result_of_a_lone_fill_is_offered_under_a_lease_in_the_background() {
    let rig = Rig::new();
    let a = rig.instance();
    let fill = alone(&a).await;
    let start = Instant::now();
    assert_eq!(publish(fill, "v").await, Published::Offered);
    assert_eq!(start.elapsed(), ms(0));
    a.flight.idle().await;
    assert_eq!((rig.text("k").await.as_deref(), rig.holder().await), (Some("v"), None));
}

#[tokio::test(start_paused = true)]
async fn s14_a_lone_fill_may_replace_what_was_there_when_it_began() {
    let rig = Rig::new();
    let a = rig.instance();
    a.flight.saw(rig.put("k", "old").await);
    let fill = alone(&a).await;
    assert_eq!(publish(fill, "v").await, Published::Offered);
    a.flight.idle().await;
    assert_eq!(rig.text("k").await.as_deref(), Some("v"));
}

#[tokio::test(start_paused = true)]
async fn s14_a_lone_result_replaces_nothing_newer() {
    let rig = Rig::new();
    let a = rig.instance();
    let fill = alone(&a).await;
    rig.put("k", "newer").await;
    assert_eq!(publish(fill, "v").await, Published::Offered);
    a.flight.idle().await;
    assert_eq!((rig.text("k").await.as_deref(), rig.holder().await), (Some("newer"), None));
}

#[tokio::test(start_paused = true)]
async fn s14_a_lone_result_that_a_stamp_covers_is_dropped() {
    let rig = Rig::new();
    let a = rig.instance();
    let fill = alone(&a).await;
    let asked = Arc::new(AtomicBool::new(false));
    let note = asked.clone();
    let standing = move || {
        note.store(true, Ordering::Relaxed);
        Standing::Covered
    };
    assert_eq!(fill.publish(Product::new("v", None), standing).await, Published::Offered);
    a.flight.idle().await;
    assert!(asked.load(Ordering::Relaxed));
    assert_eq!((rig.text("k").await, rig.holder().await), (None, None));
}

#[tokio::test(start_paused = true)]
async fn s14_a_lone_result_is_offered_once_and_dropped_if_somebody_leads_or_nothing_answers() {
    let rig = Rig::new();
    let a = rig.instance();
    let first = alone(&a).await;
    let fill = rig.instance().win().await;
    a.spy.calls();
    assert_eq!(publish(first, "v").await, Published::Offered);
    a.flight.idle().await;
    assert_eq!(a.spy.count(Op::Lease), 1);
    drop(fill);
    settle().await;
    let second = alone(&a).await;
    a.line.down();
    a.spy.calls();
    assert_eq!(publish(second, "v").await, Published::Offered);
    sleep(TTL).await;
    a.flight.idle().await;
    assert_eq!(a.spy.count(Op::Lease), 1);
    assert_eq!(rig.text("k").await, None);
}

#[tokio::test(start_paused = true)]
async fn a_lone_fill_writes_no_verdicts_and_is_never_lost() {
    let rig = Rig::new();
    let a = rig.instance();
    a.flight.saw(41);
    let fill = alone(&a).await;
    assert_eq!(fill.token(), 41, "what was seen when it began");
    assert_eq!(fill.note("pass", None).await, Noted::Unavailable);
    assert!(fill.lease().is_none());
    tokio::select! {
        () = fill.until_lost() => panic!("there is nothing to lose"),
        () = sleep(10 * TTL) => {}
    }
    fill.abort(None).await;
}

#[tokio::test(start_paused = true)]
async fn renewing_does_not_bring_a_lease_back() {
    let rig = Rig::new();
    let lease = rig.hold(TTL).await;
    advance(TTL).await;
    assert_eq!(rig.store.renew(&lease, TTL).await, Ok(Renewal::NotHeld));
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_given_back_early_is_free_at_once_and_the_result_is_offered_at_the_end() {
    let rig = Rig::new();
    let (a, b) = (rig.instance(), rig.instance());
    let mut fill = a.win().await;
    let token = fill.token();
    fill.yield_lease();
    a.flight.idle().await;
    assert_eq!((fill.token(), fill.lease(), fill.lost(), fill.degraded()), (token, None, false, false));
    assert_eq!(fill.note("n", None).await, Noted::Fenced, "the verdict is its successor's");
    let next = b.win().await;
    sleep(2 * TTL).await;
    assert_eq!(rig.holder().await, Some(next.token()));
    next.abort(None).await;
    assert_eq!(publish(fill, "v").await, Published::Offered);
    a.flight.idle().await;
    assert_eq!(rig.text(&names().value).await.as_deref(), Some("v"));
}

#[tokio::test(start_paused = true)]
async fn what_is_offered_late_does_not_take_the_place_of_what_is_newer() {
    let rig = Rig::new();
    let (a, b) = (rig.instance(), rig.instance());
    let mut fill = a.win().await;
    fill.yield_lease();
    a.flight.idle().await;
    assert!(matches!(publish(b.win().await, "newer").await, Published::Computed(_)));
    assert_eq!(publish(fill, "older").await, Published::Offered);
    a.flight.idle().await;
    assert_eq!(rig.text(&names().value).await.as_deref(), Some("newer"));
}

#[tokio::test(start_paused = true)]
async fn a_lost_lease_is_not_given_back_early() {
    let rig = Rig::new();
    let a = rig.instance();
    let mut fill = a.win().await;
    rig.store.delete(&names().lock, None).await.unwrap();
    fill.until_lost().await;
    fill.yield_lease();
    assert!(!fill.yielded());
    assert_eq!(publish(fill, "v").await, Published::Fenced);
}
