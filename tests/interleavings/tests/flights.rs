//! Every interleaving of a few members of a flight.

use dustgate_interleavings::local::{Flights, Follower, Joined, Leader, Settled};
use loom::future::block_on;
use loom::thread;

type Slots = Flights<u8, u32>;
const KEY: u8 = 0;

/// Every schedule with up to three preemptions (seconds); LOOM_MAX_PREEMPTIONS looks further.
fn model(check: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(3));
    builder.check(check);
}

fn slots() -> Slots {
    Flights::with_shards(1)
}

fn lead(flights: &Slots) -> Leader<u8, u32> {
    match flights.join(&KEY) {
        Joined::Lead(leader) => leader,
        Joined::Follow(_) => panic!("somebody leads already"),
    }
}

fn follow(flights: &Slots) -> Follower<u32> {
    match flights.join(&KEY) {
        Joined::Follow(follower) => follower,
        Joined::Lead(_) => panic!("nobody leads"),
    }
}

#[test]
fn no_follower_misses_what_is_told() {
    model(|| {
        let flights = slots();
        let mut leader = lead(&flights);
        let followers = [follow(&flights), follow(&flights)];
        let waits = followers.map(|follower| thread::spawn(move || block_on(follower.settled())));
        leader.settle(1);
        for wait in waits {
            assert_eq!(wait.join().unwrap(), Settled::Told(1));
        }
    });
}

#[test]
fn no_follower_of_a_dropped_leader_is_left_waiting_or_meets_it_again() {
    model(|| {
        let flights = slots();
        let leader = lead(&flights);
        let follower = follow(&flights);
        let other = thread::spawn({
            let flights = flights.clone();
            move || {
                assert_eq!(block_on(follower.settled()), Settled::Abandoned);
                match flights.join(&KEY) {
                    Joined::Lead(_) => {}
                    Joined::Follow(again) => panic!("met {again:?} after hearing that it was abandoned"),
                }
            }
        });
        drop(leader);
        other.join().unwrap();
        assert!(flights.is_empty());
    });
}

#[test]
fn of_two_who_hear_abandoned_one_leads_and_the_other_follows() {
    model(|| {
        let flights = slots();
        let leader = lead(&flights);
        let waits = [follow(&flights), follow(&flights)].map(|follower| {
            let flights = flights.clone();
            thread::spawn(move || {
                assert_eq!(block_on(follower.settled()), Settled::Abandoned);
                match flights.join_after(&KEY, &follower) {
                    Joined::Lead(mut leader) => {
                        leader.settle(2);
                        2
                    }
                    Joined::Follow(follower) => match block_on(follower.settled()) {
                        Settled::Told(value) => value,
                        Settled::Abandoned => panic!("that leader settles"),
                    },
                }
            })
        });
        drop(leader);
        for wait in waits {
            assert_eq!(wait.join().unwrap(), 2);
        }
        assert!(flights.is_empty());
    });
}

#[test]
fn who_joins_while_a_flight_settles_and_retires_rides_it_or_leads() {
    model(|| {
        let flights = slots();
        let mut leader = lead(&flights);
        let joiners = [(); 2].map(|()| {
            let flights = flights.clone();
            thread::spawn(move || match flights.join(&KEY) {
                // Both may lead, one after the other; neither may be left without a result.
                Joined::Lead(mut next) => {
                    next.settle(2);
                    2
                }
                Joined::Follow(follower) => match block_on(follower.settled()) {
                    Settled::Told(value) => value,
                    Settled::Abandoned => panic!("every leader here settles"),
                },
            })
        });
        leader.settle(1);
        leader.retire();
        drop(leader);
        for joiner in joiners {
            assert!(matches!(joiner.join().unwrap(), 1 | 2));
        }
        assert!(flights.is_empty());
    });
}

#[test]
fn of_two_refused_at_once_one_leads_the_next_flight_and_the_other_rides_it() {
    model(|| {
        let flights = slots();
        let mut leader = lead(&flights);
        let refused = [follow(&flights), follow(&flights)];
        leader.settle(1);
        let after = refused.map(|follower| {
            let flights = flights.clone();
            thread::spawn(move || match flights.join_after(&KEY, &follower) {
                Joined::Lead(leader) => Ok(leader),
                Joined::Follow(follower) => Err(follower),
            })
        });
        // The old leader ends meanwhile: it must not take the next flight's slot away.
        drop(leader);
        let [one, two] = after.map(|after| after.join().unwrap());
        let (mut next, rider) = match (one, two) {
            (Ok(next), Err(rider)) | (Err(rider), Ok(next)) => (next, rider),
            (Ok(_), Ok(_)) => panic!("both lead"),
            (Err(_), Err(_)) => panic!("both follow"),
        };
        next.settle(2);
        assert_eq!(rider.told(), Some(2));
        assert_eq!(follow(&flights).told(), Some(2));
    });
}

#[test]
fn a_leader_hears_when_the_last_place_is_given_up() {
    model(|| {
        let flights = slots();
        let leader = lead(&flights);
        let places = [leader.follower(), leader.follower()];
        let leaving = places.map(|place| thread::spawn(move || drop(place)));
        block_on(leader.unwanted());
        assert_eq!(leader.followers(), 0);
        for gone in leaving {
            gone.join().unwrap();
        }
    });
}

#[test]
fn two_flights_that_want_each_others_second_key_do_not_lock_up() {
    model(|| {
        let flights: Flights<u8, u32> = Flights::with_shards(2);
        let leaders = [0, 1].map(|key| match flights.join(&key) {
            Joined::Lead(leader) => (leader, 1 - key),
            Joined::Follow(_) => panic!("nobody else is here"),
        });
        let tries = leaders.map(|(mut leader, other)| thread::spawn(move || leader.also(&other)));
        let took = tries.map(|tried| tried.join().unwrap());
        assert!(!(took[0] && took[1]), "each took the other's key while that one stood there");
        assert!(flights.is_empty());
    });
}

#[test]
fn a_wait_given_up_while_it_is_told_leaves_the_others_whole() {
    model(|| {
        let flights = slots();
        let mut leader = lead(&flights);
        let (gone, stays) = (follow(&flights), follow(&flights));
        let given_up = thread::spawn(move || {
            block_on(async {
                let mut wait = Box::pin(gone.settled());
                std::future::poll_fn(|cx| {
                    let _ = wait.as_mut().poll(cx);
                    std::task::Poll::Ready(())
                })
                .await;
            });
        });
        let waits = thread::spawn(move || block_on(stays.settled()));
        leader.settle(1);
        given_up.join().unwrap();
        assert_eq!(waits.join().unwrap(), Settled::Told(1));
    });
}
