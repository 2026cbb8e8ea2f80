use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use super::super::sync::Arc;
use super::{Flights, Follower, Joined, Leader, Settled};

type Keyed = Flights<&'static str, u32>;

/// Counts how often it is woken.
#[derive(Default)]
struct Bell(AtomicUsize);

impl Wake for Bell {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn lead(flights: &Keyed, key: &'static str) -> Leader<&'static str, u32> {
    match flights.join(&key) {
        Joined::Lead(leader) => leader,
        Joined::Follow(_) => panic!("somebody leads {key} already"),
    }
}

fn follow(flights: &Keyed, key: &'static str) -> Follower<u32> {
    match flights.join(&key) {
        Joined::Follow(follower) => follower,
        Joined::Lead(_) => panic!("nobody leads {key}"),
    }
}

fn registered(leader: &Leader<&'static str, u32>) -> usize {
    leader.cell.waiters()
}

#[test]
fn the_first_leads_and_the_rest_follow() {
    let flights = Keyed::new();
    let mut leader = lead(&flights, "a");
    let (one, two) = (follow(&flights, "a"), follow(&flights, "a"));
    assert_eq!(leader.followers(), 2);
    leader.settle(7);
    assert_eq!((one.told(), two.told()), (Some(7), Some(7)));
}

#[test]
fn keys_do_not_meet_in_one_shard() {
    let flights = Keyed::with_shards(1);
    let mut a = lead(&flights, "a");
    let _b = lead(&flights, "b");
    a.settle(1);
    assert_eq!(follow(&flights, "a").told(), Some(1));
    assert_eq!(follow(&flights, "b").told(), None);
}

#[tokio::test]
async fn every_follower_hears_what_is_told() {
    let flights = Keyed::new();
    let mut leader = lead(&flights, "a");
    let waits: Vec<_> = (0..10)
        .map(|_| {
            let follower = follow(&flights, "a");
            tokio::spawn(async move { follower.settled().await })
        })
        .collect();
    tokio::task::yield_now().await;
    leader.settle(3);
    for wait in waits {
        assert_eq!(wait.await.expect("no panic"), Settled::Told(3));
    }
}

#[test]
fn the_first_word_stands() {
    let flights = Keyed::new();
    let mut leader = lead(&flights, "a");
    let follower = follow(&flights, "a");
    leader.settle(1);
    leader.settle(2);
    drop(leader);
    assert_eq!(follower.told(), Some(1));
}

#[test]
fn who_comes_late_rides_a_settled_flight_until_it_is_retired() {
    let flights = Keyed::new();
    let mut leader = lead(&flights, "a");
    leader.settle(1);
    assert_eq!(follow(&flights, "a").told(), Some(1));
    let inside = follow(&flights, "a");
    leader.retire();
    assert!(flights.peek(&"a").is_none());
    let _next = lead(&flights, "a");
    assert_eq!(inside.told(), Some(1), "who is inside stays inside");
}

#[tokio::test]
async fn a_leader_dropped_without_a_word_is_heard_and_its_slot_is_free() {
    let flights = Keyed::new();
    let leader = lead(&flights, "a");
    let follower = follow(&flights, "a");
    drop(leader);
    assert_eq!(follower.settled().await, Settled::Abandoned);
    assert!(flights.is_empty());
    let _next = lead(&flights, "a");
}

#[test]
fn a_flight_told_something_of_no_use_is_superseded_once() {
    let flights = Keyed::new();
    let mut first = lead(&flights, "a");
    let (x, y) = (follow(&flights, "a"), follow(&flights, "a"));
    first.settle(1);
    let Joined::Lead(mut second) = flights.join_after(&"a", &x) else { panic!("the first refused leads") };
    let Joined::Follow(y) = flights.join_after(&"a", &y) else { panic!("the other follows it") };
    let z = follow(&flights, "a");
    drop(first);
    assert!(flights.peek(&"a").is_some(), "the old leader does not take the new slot with it");
    second.settle(2);
    assert_eq!((y.told(), z.told()), (Some(2), Some(2)));
}

#[test]
fn after_a_flight_that_is_gone_the_next_one_is_led() {
    let flights = Keyed::new();
    let mut leader = lead(&flights, "a");
    let x = follow(&flights, "a");
    leader.settle(1);
    drop(leader);
    assert!(matches!(flights.join_after(&"a", &x), Joined::Lead(_)));
}

#[test]
fn a_flight_may_stand_at_a_second_key_and_leave_the_first() {
    let flights = Keyed::new();
    let mut leader = lead(&flights, "a");
    assert!(leader.also(&"a/br"));
    assert!(leader.also(&"a/br"), "it stands there already");
    leader.leave(&"a");
    let _other = lead(&flights, "a");
    leader.settle(5);
    assert_eq!(follow(&flights, "a/br").told(), Some(5));
    drop(leader);
    assert!(flights.peek(&"a/br").is_none());
    assert!(flights.peek(&"a").is_some());
}

#[test]
fn a_second_key_that_is_taken_stays_its_leaders() {
    let flights = Keyed::new();
    let mut one = lead(&flights, "a");
    let _two = lead(&flights, "b");
    assert!(!one.also(&"b"));
    drop(one);
    assert!(flights.peek(&"b").is_some());
}

#[test]
fn a_leader_is_unwanted_when_the_last_place_is_given_up() {
    let flights = Keyed::new();
    let leader = lead(&flights, "a");
    let own = leader.follower();
    let other = own.clone();
    let bell = std::sync::Arc::new(Bell::default());
    let waker = Waker::from(bell.clone());
    let mut cx = Context::from_waker(&waker);
    let mut unwanted = pin!(leader.unwanted());
    assert!(unwanted.as_mut().poll(&mut cx).is_pending());
    drop(own);
    assert!(unwanted.as_mut().poll(&mut cx).is_pending());
    drop(other);
    assert_eq!(bell.0.load(Ordering::Relaxed), 1);
    assert!(unwanted.as_mut().poll(&mut cx).is_ready());
}

#[test]
fn a_wait_that_is_dropped_takes_its_waker_back_s17() {
    let flights = Keyed::new();
    let leader = lead(&flights, "a");
    let follower = follow(&flights, "a");
    let bell = std::sync::Arc::new(Bell::default());
    let waker = Waker::from(bell.clone());
    {
        let mut wait = pin!(follower.settled());
        assert!(wait.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        assert_eq!(registered(&leader), 1);
    }
    assert_eq!(registered(&leader), 0);
    drop(leader);
    assert_eq!(bell.0.load(Ordering::Relaxed), 0);
}

#[test]
fn a_wait_polled_again_is_woken_by_its_newest_waker_only() {
    let flights = Keyed::new();
    let mut leader = lead(&flights, "a");
    let follower = follow(&flights, "a");
    let (old, new) = (std::sync::Arc::new(Bell::default()), std::sync::Arc::new(Bell::default()));
    let mut wait = pin!(follower.settled());
    for bell in [&old, &new] {
        let waker = Waker::from(bell.clone());
        assert!(wait.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    }
    assert_eq!(registered(&leader), 1);
    leader.settle(1);
    assert_eq!((old.0.load(Ordering::Relaxed), new.0.load(Ordering::Relaxed)), (0, 1));
    let waker = Waker::from(new);
    assert_eq!(wait.as_mut().poll(&mut Context::from_waker(&waker)), Poll::Ready(Settled::Told(1)));
}

#[test]
fn a_list_shows_each_flight_once_with_what_its_leader_says() {
    let flights: Flights<&str, u32, &str> = Flights::new();
    let Joined::Lead(mut leader) = flights.join(&"a") else { panic!("nobody else is here") };
    assert!(leader.also(&"b"));
    leader.inform(|info| *info = "body");
    let own = leader.follower();
    leader.settle(1);
    let list = flights.list();
    assert_eq!(list.len(), 1);
    assert_eq!((list[0].info, list[0].followers, list[0].settled), ("body", 1, true));
    assert_eq!(list[0].serial, leader.serial());
    drop((own, leader));
    assert!(flights.list().is_empty());
}

#[test]
fn the_shared_parts_may_cross_threads() {
    fn crosses<T: Send + Sync>() {}
    crosses::<Flights<String, Arc<str>>>();
    crosses::<Leader<String, Arc<str>>>();
    crosses::<Follower<Arc<str>>>();
}
