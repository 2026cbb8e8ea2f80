use std::sync::Arc;
use std::time::Duration;

use crate::dust::Dust;
use crate::proxy::quota::Fleet as Living;
use crate::proxy::quota::tests::support::*;
use crate::testkit::faulty::Faulty;
use crate::upstream::limit::Gate;
use crate::upstream::{ErrorKind, Lane};

/// A fleet without a rate.
async fn fleet() -> Fleet {
    Fleet::new(Make { rate: None, ..Make::default() }).await
}

fn limited(status: u16, seconds: u32) -> Result<u16, ErrorKind> {
    Err(ErrorKind::Limited { status, seconds })
}

impl Fleet {
    /// Asks by the instance `nth`. The store's clock goes on meanwhile.
    async fn ask(&self, nth: usize) -> Result<u16, ErrorKind> {
        let asked = self.instances[nth].asks(Lane::Fill, "/");
        while !asked.is_finished() {
            self.pass(ms(10)).await;
        }
        asked.await.unwrap()
    }

    fn gates_are_open(&self) -> bool {
        self.instances.iter().all(|instance| instance.limit.gate() == Gate::Open)
    }
}

#[tokio::test(start_paused = true)]
async fn one_answer_of_429_keeps_the_whole_fleet_away_until_then_and_one_exchange_ends_it() {
    let fleet = fleet().await;
    fleet.origin.answers(1, 429, "7");
    assert_eq!(fleet.ask(0).await, Ok(429));
    fleet.pass(ms(50)).await;
    for nth in [0, 1, 2] {
        assert_eq!(fleet.ask(nth).await, limited(429, 7));
    }
    fleet.pass(Duration::from_secs(6)).await;
    assert!(matches!(fleet.ask(2).await, Err(ErrorKind::Limited { .. })));
    assert_eq!(fleet.origin.count(), 1);
    fleet.pass(Duration::from_secs(1)).await;
    // All at once: one of them goes out, and the others wait for what it brings.
    fleet.origin.takes(ms(300));
    let asked: Vec<_> = (0..9).map(|nth| fleet.instances[nth % 3].asks(Lane::Fill, "/")).collect();
    fleet.pass(ms(200)).await;
    assert_eq!(fleet.origin.count(), 2);
    fleet.pass(ms(600)).await;
    assert_eq!(fleet.origin.count(), 10);
    for asked in asked {
        assert_eq!(asked.await.unwrap(), Ok(200));
    }
    assert!(fleet.gates_are_open());
    fleet.pass(ms(100)).await;
    assert_eq!(fleet.store.entries("p/").await.unwrap(), [], "no note and no lease is left");
}

#[tokio::test(start_paused = true)]
async fn a_trial_that_is_limited_again_sends_all_away_again() {
    let fleet = fleet().await;
    fleet.origin.answers(1, 503, "3");
    fleet.origin.answers(2, 429, "5");
    assert_eq!(fleet.ask(0).await, Ok(503));
    fleet.pass(Duration::from_secs(4)).await;
    let asked: Vec<_> = (0..6).map(|nth| fleet.instances[nth % 3].asks(Lane::Fill, "/")).collect();
    fleet.pass(ms(100)).await;
    let mut answers = Vec::new();
    for asked in asked {
        answers.push(asked.await.unwrap());
    }
    assert_eq!(answers.iter().filter(|answer| **answer == Ok(429)).count(), 1, "{answers:?}");
    assert_eq!(answers.iter().filter(|answer| **answer == limited(429, 5)).count(), 5, "{answers:?}");
    assert_eq!(fleet.origin.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_begins_in_the_pause_keeps_to_it_and_one_after_it_tries_first() {
    let mut fleet = fleet().await;
    fleet.origin.answers(1, 429, "7");
    assert_eq!(fleet.ask(0).await, Ok(429));
    fleet.pass(ms(50)).await;
    fleet.joins(&Make { rate: None, ..Make::default() }, 11);
    fleet.pass(ms(50)).await;
    assert_eq!(fleet.ask(3).await, limited(429, 7));
    fleet.pass(Duration::from_secs(8)).await;
    fleet.joins(&Make { rate: None, ..Make::default() }, 12);
    fleet.pass(ms(50)).await;
    fleet.origin.takes(ms(100));
    let asked: Vec<_> = (0..4).map(|_| fleet.instances[4].asks(Lane::Fill, "/")).collect();
    fleet.pass(ms(50)).await;
    assert_eq!(fleet.origin.count(), 2, "one of the four");
    for asked in asked {
        assert_eq!(asked.await.unwrap(), Ok(200));
    }
}

#[tokio::test(start_paused = true)]
async fn a_trial_whose_instance_dies_is_made_by_another() {
    let mut fleet = fleet().await;
    fleet.origin.answers(1, 429, "2");
    assert_eq!(fleet.ask(0).await, Ok(429));
    fleet.pass(Duration::from_secs(3)).await;
    fleet.origin.takes(Duration::from_mins(10));
    let dead = fleet.instances[0].asks(Lane::Fill, "/");
    fleet.pass(ms(50)).await;
    assert_eq!(fleet.origin.count(), 2);
    fleet.origin.takes(Duration::ZERO);
    // Its way to the store is gone before its lease can be given back.
    fleet.instances[0].line.down();
    drop(fleet.instances.remove(0));
    dead.abort();
    // A request that waits meanwhile does so no longer than in any queue.
    assert_eq!(fleet.ask(0).await, Err(ErrorKind::QueueTimeout));
    fleet.pass(TTL.saturating_sub(PATIENCE)).await;
    assert_eq!(fleet.ask(0).await, Ok(200));
    fleet.pass(ms(100)).await;
    assert!(fleet.gates_are_open());
}

#[tokio::test(start_paused = true)]
async fn without_the_store_each_instance_keeps_to_what_it_was_told_itself() {
    let fleet = fleet().await;
    fleet.instances.iter().for_each(|instance| instance.line.down());
    fleet.origin.answers(1, 429, "2");
    assert_eq!(fleet.ask(0).await, Ok(429));
    assert_eq!(fleet.ask(0).await, limited(429, 2));
    assert_eq!(fleet.ask(1).await, Ok(200), "it can't know");
    fleet.pass(Duration::from_secs(2)).await;
    assert_eq!(fleet.ask(0).await, Ok(200));
    assert!(fleet.gates_are_open());
}

#[tokio::test(start_paused = true)]
async fn an_instance_with_a_store_of_its_own_tries_by_itself_and_asks_the_store_for_nothing() {
    let origin = Arc::new(Origin::default());
    let fleet = fleet().await;
    let line = Arc::new(Faulty::sound(fleet.store.clone()));
    line.down();
    let alone = Instance::over(line.clone(), &origin, Living::Alone, None, 5);
    origin.answers(1, 503, "2");
    let ask = || alone.asks(Lane::Pass, "/");
    assert_eq!(ask().await.unwrap(), Ok(503));
    assert_eq!(ask().await.unwrap(), limited(503, 2));
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(ask().await.unwrap(), Ok(200));
    assert_eq!((line.struck(), alone.limit.gate()), (0, Gate::Open));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_its_trial_leaves_it_to_the_next() {
    let fleet = fleet().await;
    fleet.origin.answers(1, 429, "2");
    assert_eq!(fleet.ask(0).await, Ok(429));
    fleet.pass(Duration::from_secs(3)).await;
    fleet.origin.takes(Duration::from_mins(10));
    let leaves = fleet.instances[0].asks(Lane::Fill, "/");
    fleet.pass(ms(50)).await;
    fleet.origin.takes(Duration::ZERO);
    let waits = fleet.instances[0].asks(Lane::Fill, "/");
    fleet.pass(ms(50)).await;
    assert_eq!(fleet.origin.count(), 2);
    leaves.abort();
    fleet.pass(ms(50)).await;
    assert_eq!(waits.await.unwrap(), Ok(200));
}

#[tokio::test(start_paused = true)]
async fn an_answer_to_a_question_from_before_the_pause_ends_nothing() {
    let fleet = fleet().await;
    fleet.origin.takes(Duration::from_secs(4));
    let early = fleet.instances[0].asks(Lane::Fill, "/");
    fleet.pass(ms(50)).await;
    fleet.origin.takes(Duration::ZERO);
    fleet.origin.answers(2, 429, "2");
    assert_eq!(fleet.ask(0).await, Ok(429));
    fleet.pass(ms(2_500)).await;
    // The pause is over, and its trial is under way.
    fleet.origin.takes(Duration::from_secs(3));
    let trial = fleet.instances[0].asks(Lane::Fill, "/");
    fleet.pass(ms(50)).await;
    assert_eq!(early.await.unwrap(), Ok(200));
    fleet.pass(ms(50)).await;
    assert!(matches!(fleet.instances[0].limit.gate(), Gate::Trial(_)));
    assert_eq!(trial.await.unwrap(), Ok(200));
    assert_eq!(fleet.instances[0].limit.gate(), Gate::Open);
}

#[tokio::test(start_paused = true)]
async fn a_trial_that_takes_long_holds_nobody_up_and_its_answer_still_counts() {
    let fleet = fleet().await;
    let origin = Arc::new(Origin::default());
    let alone = Instance::over(Arc::new(Faulty::sound(fleet.store.clone())), &origin, Living::Alone, None, 5);
    for (instance, origin) in [(&alone, &origin), (&fleet.instances[0], &fleet.origin)] {
        for shows in ["the next answers first", "the long one answers first"] {
            origin.takes(Duration::ZERO);
            origin.answers(origin.count() + 1, 429, "2");
            assert_eq!(instance.asks(Lane::Pass, "/").await.unwrap(), Ok(429));
            fleet.pass(Duration::from_secs(3)).await;
            let long = Duration::from_secs(if shows.starts_with("the next") { 600 } else { 4 });
            origin.takes(long);
            let slow = instance.asks(Lane::Pass, "/slow");
            fleet.pass(ms(50)).await;
            origin.takes(if long > PATIENCE { Duration::ZERO } else { long * 2 });
            let asked: Vec<_> = (0..3).map(|_| instance.asks(Lane::Fill, "/")).collect();
            let before = origin.count();
            fleet.pass(ms(1_500)).await;
            assert_eq!(origin.count(), before, "{shows}: they wait");
            fleet.pass(ms(1_000)).await;
            let went = origin.count() - before;
            assert_eq!(went, if long > PATIENCE { 3 } else { 1 }, "{shows}");
            fleet.pass(ms(2_000)).await;
            assert_eq!(instance.limit.gate(), Gate::Open, "{shows}");
            assert_eq!(slow.is_finished(), long < PATIENCE, "{shows}");
            slow.abort();
            for asked in asked {
                fleet.pass(long.min(PATIENCE) * 2).await;
                assert_eq!(asked.await.unwrap(), Ok(200), "{shows}");
            }
            fleet.pass(ms(100)).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_long_trial_leaves_the_next_one_to_another_instance_that_has_a_request() {
    let fleet = fleet().await;
    fleet.origin.answers(1, 429, "2");
    assert_eq!(fleet.ask(0).await, Ok(429));
    fleet.pass(Duration::from_secs(3)).await;
    fleet.origin.takes(Duration::from_mins(10));
    let slow = fleet.instances[0].asks(Lane::Pass, "/slow");
    fleet.pass(ms(50)).await;
    fleet.origin.takes(Duration::ZERO);
    assert_eq!(fleet.ask(1).await, Ok(200));
    fleet.pass(ms(100)).await;
    assert!(fleet.gates_are_open());
    slow.abort();
}

#[tokio::test(start_paused = true)]
async fn a_note_whose_time_is_over_sends_no_waiting_request_away() {
    let mut fleet = fleet().await;
    fleet.origin.answers(1, 429, "2");
    assert_eq!(fleet.ask(0).await, Ok(429));
    fleet.pass(Duration::from_secs(3)).await;
    fleet.joins(&Make { rate: None, ..Make::default() }, 11);
    let late = &fleet.instances[3];
    // It has not read the note yet: all its places are taken, and one request waits.
    late.limit.resize(0);
    let waits = late.asks(Lane::Fill, "/");
    tokio::task::yield_now().await;
    fleet.pass(ms(50)).await;
    assert!(matches!(late.limit.gate(), Gate::Trial(_)), "{:?}", late.limit.gate());
    late.limit.resize(1);
    fleet.pass(ms(50)).await;
    assert_eq!(waits.await.unwrap(), Ok(200));
    assert_eq!(late.limit.counts().pauses, 0);
}
