//! S8–S13, S17, F6: waiting while another instance fills.

use super::support::*;
use crate::dust::{Change, Dust, Grant, Holder, Put, What};
use crate::flight::{Entered, Product, Standing};
use crate::testkit::faulty::{Fault, Op};
use tokio::time::{Instant, advance, sleep};

fn awaited(entered: &Entered<String>, text: &str) -> bool {
    matches!(entered, Entered::Awaited(found) if found == text)
}

#[tokio::test(start_paused = true)]
async fn s8_the_subscription_is_confirmed_before_value_verdict_and_lock_are_read_again() {
    let rig = Rig::new();
    let holder = rig.hold(TTL).await;
    let b = rig.instance();
    let wait = b.enter_aside(secs(3)).await;
    let calls = b.spy.calls();
    let names = names();
    let all = [&*names.value, &*names.verdict, &*names.lock, &*names.aside(holder.token)].join(" ");
    let want = [(Op::Enter, names.lock.to_string()), (Op::On, all), (Op::Look, names.lock.to_string())];
    assert_eq!(calls, want);
    wait.abort();
}

#[tokio::test(start_paused = true)]
async fn s8_a_release_between_held_and_subscribing_is_seen_at_once() {
    let rig = Rig::new();
    let lease = rig.hold(TTL).await;
    let b = rig.instance();
    let store = rig.store.clone();
    b.spy.before(Op::On, async move { store.release(&lease).await.unwrap() });
    let start = Instant::now();
    assert!(matches!(b.enter(secs(9)).await, Entered::Won(_)));
    assert_eq!(start.elapsed(), ms(0));
}

#[tokio::test(start_paused = true)]
async fn s8_a_publish_between_held_and_subscribing_is_seen_at_once() {
    let rig = Rig::new();
    rig.hold(TTL).await;
    let b = rig.instance();
    let store = rig.store.clone();
    b.spy.before(Op::On, async move {
        store.put("k", "v", Put::default()).await.unwrap();
    });
    let start = Instant::now();
    assert!(awaited(&b.enter(secs(9)).await, "v"));
    assert_eq!(start.elapsed(), ms(0));
}

#[tokio::test(start_paused = true)]
async fn s9_a_waiter_rides_what_is_published() {
    let rig = Rig::new();
    let (a, b) = (rig.instance(), rig.instance());
    let fill = a.win().await;
    let wait = b.enter_aside(secs(9)).await;
    let published = fill.publish(Product::new("v", None), || Standing::Live).await;
    assert_eq!(published.as_str(), "computed");
    let start = Instant::now();
    assert!(awaited(&wait.await.unwrap(), "v"));
    assert_eq!(start.elapsed(), ms(0));
}

#[tokio::test(start_paused = true)]
async fn s9_a_verdict_ends_the_wait_while_the_fill_goes_on() {
    let rig = Rig::new();
    let (a, b) = (rig.instance(), rig.instance());
    let fill = a.win().await;
    let wait = b.enter_aside(secs(9)).await;
    let growing = format!("growing {}", fill.token());
    let _ = fill.note(&growing, None).await;
    assert!(awaited(&wait.await.unwrap(), &growing));
}

#[tokio::test(start_paused = true)]
async fn s9_an_event_alone_is_not_a_result() {
    let rig = Rig::new();
    let a = rig.instance();
    let fill = a.win().await;
    let b = rig.instance();
    let wait = b.enter_aside(secs(30)).await;
    rig.put("k", "old").await;
    rig.put("k!", "nothing to speak of").await;
    settle().await;
    assert!(!wait.is_finished());
    rig.put("k", "v").await;
    assert!(awaited(&wait.await.unwrap(), "v"));
    drop(fill);
}

#[tokio::test(start_paused = true)]
async fn s10_a_release_without_a_result_elects_again_within_the_back_off() {
    let rig = Rig::new();
    let (a, b) = (rig.instance(), rig.instance());
    let fill = a.win().await;
    let wait = b.enter_aside(secs(30)).await;
    fill.release().await;
    let start = Instant::now();
    assert!(matches!(wait.await.unwrap(), Entered::Won(_)));
    assert!(start.elapsed() <= JITTER, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn s10_a_deleted_lock_elects_again() {
    let rig = Rig::new();
    rig.hold(secs(60)).await;
    let b = rig.instance();
    let wait = b.enter_aside(secs(30)).await;
    rig.store.delete(&names().lock, None).await.unwrap();
    let start = Instant::now();
    assert!(matches!(wait.await.unwrap(), Entered::Won(_)));
    assert!(start.elapsed() <= JITTER, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn s10_a_steal_is_not_a_release_the_new_holder_is_waited_for() {
    let rig = Rig::new();
    let (a, b) = (rig.instance(), rig.instance());
    let first = rig.hold(secs(60)).await;
    let wait = b.enter_aside(secs(30)).await;
    // Released and taken before the waiter gets to run: it hears both at once.
    rig.store.release(&first).await.unwrap();
    let fill = a.win().await;
    settle().await;
    sleep(ms(500)).await;
    assert!(!wait.is_finished());
    assert_eq!(b.spy.count(Op::Enter), 1, "the waiter did not try again");
    let _ = fill.publish(Product::new("v", None), || Standing::Live).await;
    assert!(awaited(&wait.await.unwrap(), "v"));
}

#[tokio::test(start_paused = true)]
async fn s10_a_release_below_the_lease_known_here_is_old() {
    let rig = Rig::new();
    let old = rig.hold(secs(1)).await;
    advance(secs(2)).await;
    let fill = rig.instance().win().await;
    let b = rig.instance();
    // A store that repeats events, and delivers them late.
    let hub = b.spy.hear_only_this();
    let wait = b.enter_aside(secs(30)).await;
    let release = |token| Change { key: names().lock, what: What::Release, number: token };
    b.spy.calls();
    hub.emit(release(old.token));
    settle().await;
    assert!(!wait.is_finished());
    let calls = b.spy.calls();
    assert_eq!(calls, [(Op::Look, names().lock.to_string())], "what is there is read again, once");
    let token = fill.token();
    fill.release().await;
    hub.emit(release(token));
    assert!(matches!(wait.await.unwrap(), Entered::Won(_)));
}

#[tokio::test(start_paused = true)]
async fn s11_a_dead_holder_is_taken_over_when_its_lease_is_due_not_a_whole_lease_later() {
    let rig = Rig::new();
    rig.hold(TTL).await;
    advance(secs(4)).await;
    let b = rig.instance();
    let start = Instant::now();
    assert!(matches!(b.enter(secs(30)).await, Entered::Won(_)));
    let took = start.elapsed();
    assert!(took >= secs(2) && took <= secs(2) + JITTER + ms(2), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn s11_renewals_move_the_takeover_on() {
    let rig = Rig::new();
    let lease = rig.hold(TTL).await;
    let b = rig.instance();
    let wait = b.enter_aside(secs(30)).await;
    let start = Instant::now();
    for _ in 0..2 {
        sleep(secs(4)).await;
        rig.store.renew(&lease, TTL).await.unwrap();
    }
    assert!(matches!(wait.await.unwrap(), Entered::Won(_)));
    let took = start.elapsed();
    assert!(took >= secs(14) && took <= secs(14) + JITTER + ms(2), "{took:?}");
    assert_eq!(b.spy.count(Op::Enter), 2, "it tried once it was due, and not before");
}

#[tokio::test(start_paused = true)]
async fn s11_a_longer_lease_than_ones_own_is_tried_after_ones_own_time() {
    let rig = Rig::new();
    let lease = rig.hold(secs(60)).await;
    let b = rig.instance();
    let wait = b.enter_aside(secs(30)).await;
    sleep(TTL + ms(500)).await;
    assert_eq!(b.spy.count(Op::Enter), 2);
    rig.store.release(&lease).await.unwrap();
    assert!(matches!(wait.await.unwrap(), Entered::Won(_)));
}

#[tokio::test(start_paused = true)]
async fn s11_a_lease_that_falls_due_within_the_deadline_gets_one_last_attempt() {
    for seed in 0..20 {
        let rig = Rig::new();
        for _ in 0..seed {
            drop(rig.instance());
        }
        rig.hold(TTL).await;
        let b = rig.instance();
        // Whatever the jitter is, it must not carry the attempt past the deadline.
        let start = Instant::now();
        assert!(matches!(b.enter(TTL + ms(5)).await, Entered::Won(_)));
        assert!(start.elapsed() <= TTL + ms(6), "{:?}", start.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn s12_waiters_come_back_at_different_times() {
    let rig = Rig::new();
    let fill = rig.instance().win().await;
    let (b, c) = (rig.instance(), rig.instance());
    let start = Instant::now();
    let tried = |instance: &Instance| {
        let (tell, told) = tokio::sync::oneshot::channel();
        instance.spy.before(Op::Enter, async {});
        instance.spy.before(Op::Enter, async move {
            let _ = tell.send(start.elapsed());
        });
        told
    };
    let (first, second) = (tried(&b), tried(&c));
    let waits = [b.enter_aside(secs(30)).await, c.enter_aside(secs(30)).await];
    fill.release().await;
    let (first, second) = (first.await.unwrap(), second.await.unwrap());
    assert_ne!(first, second);
    assert!(first <= JITTER && second <= JITTER, "{first:?} {second:?}");
    for wait in waits {
        wait.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn s13_past_the_deadline_the_last_known_value_is_stale_or_it_timed_out() {
    let rig = Rig::new();
    let fill = rig.instance().win().await;
    let b = rig.instance();
    let start = Instant::now();
    assert!(matches!(b.enter(secs(1)).await, Entered::TimedOut(None)));
    assert_eq!(start.elapsed(), secs(1));
    rig.put("k", "old").await;
    assert!(matches!(b.enter(secs(1)).await, Entered::TimedOut(Some(old)) if old == "old"));
    drop(fill);
}

#[tokio::test(start_paused = true)]
async fn s13_a_result_whose_event_was_lost_is_found_at_the_deadline() {
    let rig = Rig::new();
    let (a, b) = (rig.instance(), rig.instance());
    let fill = a.win().await;
    let wait = b.enter_aside(secs(1)).await;
    b.line.lose_events(true);
    let _ = fill.publish(Product::new("v", None), || Standing::Live).await;
    assert!(awaited(&wait.await.unwrap(), "v"));
}

#[tokio::test(start_paused = true)]
async fn s17_nothing_stays_subscribed_on_any_way_out() {
    let rig = Rig::new();
    let fill = rig.instance().win().await;
    let b = rig.instance();
    assert!(matches!(b.enter(secs(1)).await, Entered::TimedOut(None)));
    assert_eq!(b.line.subscriptions(), 0, "timed out");
    let wait = b.enter_aside(secs(9)).await;
    assert_eq!(b.line.subscriptions(), 1);
    wait.abort();
    settle().await;
    assert_eq!(b.line.subscriptions(), 0, "cancelled");
    let wait = b.enter_aside(secs(9)).await;
    b.line.down();
    assert!(matches!(wait.await.unwrap(), Entered::Alone(_)));
    b.line.up();
    assert_eq!(b.line.subscriptions(), 0, "degraded");
    let wait = b.enter_aside(secs(9)).await;
    let _ = fill.publish(Product::new("v", None), || Standing::Live).await;
    assert!(awaited(&wait.await.unwrap(), "v"));
    assert_eq!(b.line.subscriptions(), 0, "found");
}

#[tokio::test(start_paused = true)]
async fn f6_word_that_the_store_is_lost_ends_a_wait_at_once() {
    let rig = Rig::new();
    let _fill = rig.instance().win().await;
    let b = rig.instance();
    let wait = b.enter_aside(secs(30)).await;
    let start = Instant::now();
    b.line.down();
    assert!(matches!(wait.await.unwrap(), Entered::Alone(_)));
    assert_eq!(start.elapsed(), ms(0));
}

#[tokio::test(start_paused = true)]
async fn f6_a_gap_in_the_events_is_read_over_and_the_wait_goes_on() {
    let rig = Rig::new();
    let fill = rig.instance().win().await;
    let b = rig.instance();
    let wait = b.enter_aside(secs(30)).await;
    // Down and up again before any probe: events were lost, the store was not.
    b.line.down();
    b.line.up();
    settle().await;
    assert!(!wait.is_finished());
    assert_eq!(b.spy.count(Op::On), 2);
    let _ = fill.publish(Product::new("v", None), || Standing::Live).await;
    assert!(awaited(&wait.await.unwrap(), "v"));
}

#[tokio::test(start_paused = true)]
async fn f6_a_store_that_falls_silent_is_noticed_by_the_probe() {
    let rig = Rig::new();
    let _fill = rig.instance().win().await;
    let b = rig.instance();
    let waits = [b.enter_aside(secs(30)).await, b.enter_aside(secs(30)).await];
    sleep(secs(1)).await;
    let start = Instant::now();
    b.line.next(Some(Op::Entry), Fault::Hang);
    for wait in waits {
        assert!(matches!(wait.await.unwrap(), Entered::Alone(_)));
    }
    assert!(start.elapsed() <= 2 * BOUND, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn f6_one_probe_serves_all_waiters_and_ends_with_the_last() {
    let rig = Rig::new();
    let _fill = rig.instance().win().await;
    let b = rig.instance();
    let waits = [b.enter_aside(secs(30)).await, b.enter_aside(secs(30)).await];
    sleep(ms(10)).await;
    b.spy.calls();
    sleep(secs(1)).await;
    assert_eq!(b.spy.count(Op::Entry), 5, "once per call bound");
    for wait in waits {
        wait.abort();
    }
    sleep(secs(1)).await;
    b.spy.calls();
    sleep(secs(1)).await;
    assert_eq!(b.spy.count(Op::Entry), 0);
}

#[tokio::test(start_paused = true)]
async fn f8_a_void_holder_met_while_waiting_is_released() {
    let rig = Rig::new();
    let b = rig.instance();
    // *Held* has no token here (a store may not know it); the re-read has it.
    let lease = rig.hold(secs(60)).await;
    let stamp = rig.put("stamp", "purge").await;
    let entered = b.flight.enter(&names(), Instant::now() + secs(9), stamp, &Any).await;
    assert!(matches!(&entered, Entered::Won(fill) if fill.token() > lease.token));
}

/// It came before the purge, so the result that it waited for may answer it.
#[tokio::test(start_paused = true)]
async fn f8_a_waiter_hears_its_holder_though_a_purge_took_the_lease() {
    for heard_late in [false, true] {
        let rig = Rig::new();
        let holder = rig.hold(TTL).await;
        let b = rig.instance();
        let wait = b.enter_aside(secs(9)).await;
        rig.store.release(&holder).await.unwrap();
        let next = rig.hold(TTL).await;
        if heard_late {
            // It waits for the next holder by then, and that one has lost its lease too.
            sleep(ms(500)).await;
            rig.store.release(&next).await.unwrap();
            rig.hold(TTL).await;
            sleep(ms(500)).await;
        }
        b.flight.tell_aside(&names(), holder.token, "from before", TTL).await.unwrap();
        let start = Instant::now();
        assert!(awaited(&wait.await.unwrap(), "from before"));
        assert_eq!(start.elapsed(), ms(0));
    }
}

/// Each holder loses its lease to a request that came after another purge. Any of them may answer this one.
#[tokio::test(start_paused = true)]
async fn f8_a_waiter_hears_each_holder_that_follows_on_another_though_purges_take_their_leases() {
    let rig = Rig::new();
    let first = rig.hold(TTL).await;
    let b = rig.instance();
    let wait = b.enter_aside(secs(9)).await;
    rig.store.release(&first).await.unwrap();
    let second = rig.hold(TTL).await;
    settle().await;
    rig.store.release(&second).await.unwrap();
    rig.hold(TTL).await;
    settle().await;
    let start = Instant::now();
    b.flight.tell_aside(&names(), second.token, "of the second", TTL).await.unwrap();
    assert!(awaited(&wait.await.unwrap(), "of the second"));
    assert_eq!(start.elapsed(), ms(0));
}

#[tokio::test(start_paused = true)]
async fn f8_a_waiter_hears_nothing_of_a_holder_from_before_its_purge() {
    let rig = Rig::new();
    let b = rig.instance();
    let lease = rig.hold(secs(60)).await;
    let stamp = rig.put("stamp", "purge").await;
    b.flight.tell_aside(&names(), lease.token, "from before", TTL).await.unwrap();
    let entered = b.flight.enter(&names(), Instant::now() + secs(9), stamp, &Any).await;
    assert!(matches!(&entered, Entered::Won(fill) if fill.token() > lease.token));
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_reads_free_and_is_held_does_not_spin() {
    let rig = Rig::new();
    let b = rig.instance();
    // Each time the waiter asks, the lock is held; each time it reads, the lock is free.
    for n in 0..100 {
        let (take, give) = (rig.store.clone(), rig.store.clone());
        let holder = Holder(format!("{n}").into());
        let same = holder.clone();
        b.spy.before(Op::Enter, async move {
            let grant = take.lease(&names().lock, TTL, &holder, 0).await.unwrap();
            assert!(matches!(grant, Grant::Granted(_)));
        });
        b.spy.before(Op::On, async move { give.release_holder(&names().lock, &same).await.unwrap() });
    }
    let entered = b.enter(secs(3)).await;
    assert!(matches!(entered, Entered::TimedOut(None)), "{entered:?}");
    let tries = b.spy.count(Op::Enter);
    assert!(tries > 10 && tries < 99, "{tries}");
}
